"""The command line: what it prints, and one line with status 2 for everything a user can do wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fptlib import cli
from fptlib.processes import DelayedGeometric, OrnsteinUhlenbeck
from fptlib.trajectories import Trajectories

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
SMALL_ENSEMBLE = """
data: {name: digits, train_size: 60, validation_size: 0, label_noise: 0.0, seed: 0}
model: {name: mlp, widths: [8], normalisation: none}
optimiser: {name: sgd, lr: 0.1, momentum: 0.0, weight_decay: 0.0}
training: {batch_size: 20, dtype: float32}
perturbation: null
runs: 4
epochs: 12
seed: 0
device: cpu
"""
KICK = "{name: shrink_perturb, shrink: 0.4, perturb: 0.1, scope: parameters, period: 4, repeat: periodic}"

Fpt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fpt(capsys: pytest.CaptureFixture[str]) -> Fpt:
    """Run the command line; return its status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.run([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


@pytest.fixture
def refused(fpt: Fpt) -> Callable[..., str]:
    """Run the command line; return the one line with which it refuses."""

    def run(*arguments: object) -> str:
        status, out, err = fpt(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith("fpt: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        return err

    return run


def write_logs(folder: Path, runs: Trajectories) -> Path:
    """Write a folder with one CSV file for each run."""
    folder.mkdir()
    for run, values in zip(runs.run, runs.metric(), strict=True):
        pd.DataFrame({"test_metric": values}).to_csv(folder / f"run_{run}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the logs of unperturbed (``plain``) and of perturbed runs (``kicked``, period 10)."""
    root = tmp_path_factory.mktemp("logs")
    rng = np.random.default_rng(0)
    write_logs(root / "plain", PROCESS.sample(rng, n_runs=120, horizon=60))
    write_logs(root / "kicked", PROCESS.sample(rng, n_runs=120, horizon=60, period=10))
    return root


@pytest.fixture
def predict(logs: Path) -> list[Any]:
    """Return the arguments of a prediction that works; later options replace earlier ones."""
    pair = ["--unperturbed", logs / "plain", "--perturbed", logs / "kicked"]
    return ["predict", *pair, "--period", 10, "--threshold", 1.5]


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the parameters of a tiny ensemble."""
    path = tmp_path_factory.mktemp("params") / "small.yml"
    path.write_text(SMALL_ENSEMBLE)
    return path


# What is printed


def test_json_has_exactly_the_documented_keys(fpt: Fpt, predict: list[Any]) -> None:
    status, out, err = fpt(*predict, "--periods", "5,10,30", "--json")
    assert (status, err) == (0, "")
    said = json.loads(out)
    interval = {"mean", "low", "high"}
    assert said.keys() == {"threshold", "unperturbed", "qss", "residual", "predictions", "best", "outcomes"}
    assert said["unperturbed"].keys() == {"n_runs", "n_censored", "horizon", "restricted_mean"}
    assert said["unperturbed"]["restricted_mean"].keys() == interval
    assert said["qss"].keys() == {"reached", "relaxation_epoch", "reasons"}
    assert said["residual"].keys() == {"period", "n_survivors", "n_censored", *interval}
    assert [p["period"] for p in said["predictions"]] == [5, 10, 30]
    for prediction in said["predictions"]:
        assert prediction.keys() == {"period", "form", "valid", "status", "reason", *interval}
        assert isinstance(prediction["valid"], bool)
        assert prediction["low"] <= prediction["mean"] <= prediction["high"]
    assert said["best"].keys() == {"period", "speedup_at_least", *interval}
    assert (said["unperturbed"]["n_runs"], said["unperturbed"]["horizon"], said["residual"]["period"]) == (120, 60, 10)


def test_the_text_says_what_the_json_says(fpt: Fpt, predict: list[Any]) -> None:
    said = json.loads(fpt(*predict, "--periods", "5,10,30", "--json")[1])
    status, text, err = fpt(*predict, "--periods", "5,10,30")
    assert (status, err) == (0, "")
    mean = said["unperturbed"]["restricted_mean"]
    assert f"unperturbed: {mean['mean']:.2f} ({mean['low']:.2f} to {mean['high']:.2f}) epochs up to 60" in text
    for prediction in said["predictions"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"{prediction['period']} ")]
        assert f"{prediction['mean']:.2f}" in line
        status_word, reason = prediction["reason"].split(": ", 1)
        assert status_word in line
        assert reason in line
        assert prediction["valid"] == (status_word == "valid")
    assert f"best valid period: {said['best']['period']}" in text


def test_options_reach_the_library(fpt: Fpt, predict: list[Any], logs: Path, tmp_path: Path) -> None:
    plain = json.loads(fpt(*predict, "--periods", "5", "--json")[1])
    wide = json.loads(fpt(*predict, "--periods", "5", "--json", "--level", 0.5, "--form", "2", "--seed", 3)[1])
    assert wide["predictions"][0]["form"] == 2
    assert plain["predictions"][0]["form"] == 7
    (a, b) = (p["unperturbed"]["restricted_mean"] for p in (plain, wide))
    assert b["high"] - b["low"] < a["high"] - a["low"]
    # The mirrored logs, as tidy tables.
    for name in ("plain", "kicked"):
        parts = [pd.read_csv(path).assign(run=path.stem) for path in sorted((logs / name).glob("*.csv"))]
        frame = pd.concat([part.assign(epoch=part.index + 1, loss=-part["test_metric"]) for part in parts])
        frame.drop(columns="test_metric").to_csv(tmp_path / f"{name}.csv", index=False)
    tables = ["--unperturbed", tmp_path / "plain.csv", "--perturbed", tmp_path / "kicked.csv", "--threshold", -1.5]
    below = ["--period", 10, "--direction", "below", "--metric", "loss", "--periods", 5, "--json"]
    mirrored = json.loads(fpt("predict", *tables, *below)[1])
    for key in ("mean", "low", "high"):
        assert mirrored["predictions"][0]["mean"] == pytest.approx(plain["predictions"][0]["mean"])
        assert key in mirrored["unperturbed"]["restricted_mean"]


def test_the_quasi_steady_state_in_words_and_json(fpt: Fpt, logs: Path) -> None:
    status, out, _ = fpt("qss", logs / "plain", "--threshold", 1.5, "--json")
    said = json.loads(out)
    assert status == 0
    assert said.keys() == {"reached", "relaxation_epoch", "reasons", "profile"}
    assert said["profile"][0]["epoch"] == 1
    status, text, _ = fpt("qss", logs / "plain", "--threshold", 1.5)
    assert status == 0
    word = f"reached at epoch {said['relaxation_epoch']}" if said["reached"] else "not reached"
    assert f"quasi-steady state: {word}" in text
    assert all(reason in text for reason in said["reasons"])


def test_inspect_says_what_is_there(fpt: Fpt, logs: Path) -> None:
    status, out, err = fpt("inspect", logs / "plain")
    assert (status, err) == (0, "")
    assert "120 runs of 60 epochs" in out
    assert "test_metric" in out


def test_a_negative_verdict_is_a_result(fpt: Fpt, tmp_path: Path) -> None:
    rng, epoch = np.random.default_rng(0), np.arange(1, 41)
    drifting = rng.standard_normal((60, 40)) - epoch
    write_logs(tmp_path / "drift", Trajectories(metrics={"m": drifting}, run=np.arange(60)))
    status, out, err = fpt("qss", tmp_path / "drift", "--threshold", drifting.max())
    assert (status, err) == (0, "")
    assert "not reached" in out
    few = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
    pair = []
    for name, period in (("unperturbed", None), ("perturbed", 20)):
        runs = few.sample(rng, n_runs=20, horizon=60, period=period)
        pair += [f"--{name}", write_logs(tmp_path / name, runs)]
    arguments = ["predict", *pair, "--period", 20, "--threshold", 0.5]
    status, out, err = fpt(*arguments)
    assert status == 0
    assert all(line.startswith("warning: Only ") for line in err.splitlines())
    assert "no prediction is valid" in out
    assert json.loads(fpt(*arguments, "--json")[1])["best"] is None


def test_data_list_and_help(fpt: Fpt) -> None:
    status, out, _ = fpt("data", "list")
    assert status == 0
    assert {"digits", "published"} <= {line.split()[0] for line in out.splitlines()}
    assert fpt("data", "fetch", "digits")[0] == 0
    for arguments in ([], ["--help"], ["predict", "--help"]):
        status, out, _ = fpt(*arguments)
        assert status == 0
        assert "Usage" in out


# From parameters to a prediction


def test_train_inspect_qss_predict(fpt: Fpt, params: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    out = tmp_path / "stores"
    status, printed, _ = fpt("train", params, "--out", out, "--workers", 1)
    plain = Path(printed.strip())
    assert status == 0
    assert plain.parent == out
    assert fpt("train", params, "--out", out)[1] == printed  # reused
    status, printed, err = fpt("train", params, "--out", out, "--set", f"perturbation={KICK}", "--runs", 6)
    kicked = Path(printed.strip())
    assert status == 0
    assert kicked != plain
    assert "6 runs of 12 epochs" in err
    status, printed, _ = fpt("inspect", plain)
    assert status == 0
    assert "4 runs of 12 epochs" in printed
    assert plain.name in printed
    assert '"train_size": 60' in printed
    pair = ["--unperturbed", plain, "--perturbed", kicked, "--period", 4, "--metric", "test_metric"]
    reached = float(np.median(_metric(plain)[:, -1]))
    status, printed, _ = fpt("qss", plain, "--threshold", reached)
    assert status == 0
    assert "too few to compare distributions" in printed
    status, printed, err = fpt("predict", *pair, "--threshold", reached, "--json")
    assert status == 0
    assert "Only 4 unperturbed runs" in err
    assert json.loads(printed)["unperturbed"]["n_runs"] == 4


def test_retire_fork_and_what_it_would_cost(fpt: Fpt, params: Path, tmp_path: Path) -> None:
    out = tmp_path / "stores"
    status, printed, err = fpt("train", params, "--out", out, "--dry-run")
    assert (status, err) == (0, "")
    assert [line.split()[0] for line in printed.splitlines()] == [
        "runs",
        "arithmetic",
        "speed",
        "time",
        "memory",
        "disk",
    ]
    assert not out.exists()
    retire: list[Any] = ["--threshold", 0.6]
    status, printed, err = fpt("train", params, "--out", out, "--keep", 4, *retire)
    assert status == 0, err
    store = Path(printed.strip())
    assert "each followed until test_metric above 0.6; " in err
    assert f"{json.loads((store / 'store.json').read_text())['retirement']['threshold']}" == "0.6"
    status, printed, _ = fpt("inspect", store)
    assert "each followed until test_metric above 0.6" in printed
    assert "mean at the end of each" in printed
    status, printed, err = fpt("fork", store, "--at", 4, "--perturbation", "shrink_perturb", "--set", "shrink=0.5")
    assert status == 0, err
    assert re.match(r"\d+ of \d+ runs went on; \d+ runs of \d+ epochs, each followed until", err)
    forked = json.loads((Path(printed.strip()) / "store.json").read_text())
    assert forked["spec"]["perturbation"] == {
        "name": "shrink_perturb",
        "period": 4,
        "repeat": "periodic",
        "fresh_optimiser": True,
        "shrink": 0.5,
        "perturb": 0.1,
        "scope": "parameters",
    }


def _metric(store: Path) -> Any:
    from fptlib.readers import read

    return read(store).metric()


# What is refused


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--threshold", "9.5"], "no run reaches the threshold 9.5 (above); the best values are"),
        (["--threshold", "-9.5", "--direction", "below"], "no run reaches the threshold -9.5 (below)"),
        (["--threshold", "nan"], "--threshold nan: a number, or several separated by commas, are needed"),
        (["--threshold", "high"], "--threshold high: a number, or several separated by commas, are needed"),
        (["--period", "0"], "period 0 of the perturbed runs is not between 1 and 59"),
        (["--period", "-3"], "period -3 of the perturbed runs is not between 1 and 59"),
        (["--period", "60"], "period 60 of the perturbed runs is not between 1 and 59"),
        (["--period", "2.5"], "Invalid value for '--period'"),
        (["--periods", "5,0"], "period 0 is not between 1 and the horizon 60"),
        (["--periods", "61"], "period 61 is not between 1 and the horizon 60"),
        (["--periods", "5;7"], "--periods 5;7: whole numbers separated by commas are needed"),
        (["--periods", ""], "whole numbers separated by commas are needed"),
        (["--form", "3"], "--form 3: choose auto, 2 or 7"),
        (["--direction", "up"], "--direction up: choose above or below"),
        (["--level", "95"], "level 95.0 is not between 0 and 1"),
        (["--seed", "-1"], "seed -1 is not possible"),
        (["--metric", "loss"], "no metric 'loss'; there is test_metric"),
        (["--unperturbed", "nowhere"], "nowhere: no such file or folder"),
        (["--threshhold", "1"], "No such option: --threshhold"),
    ],
)
def test_a_prediction_that_cannot_be_is_refused_in_one_line(
    refused: Callable[..., str], predict: list[Any], change: list[str], said: str
) -> None:
    assert said in refused(*predict, *change)


def test_missing_options_and_unknown_commands_are_refused(refused: Callable[..., str]) -> None:
    assert "--unperturbed" in refused("predict")
    assert "threshold" in refused("qss", "somewhere")
    assert "No such command 'predcit'" in refused("predcit")
    assert "published" in refused("data", "fetch", "publishd")


@pytest.mark.parametrize("command", ["inspect", "qss"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "nothing in this folder that can be read"),
        ({"a.csv": "acc\n1\n2,3\n"}, "a.csv, line 3: 2 values, but the header names 1 columns"),
        ({"a.csv": "acc\n1\nhigh\n"}, "a.csv, line 3: acc is 'high', a number is needed"),
        ({"a.csv": "acc\n1\n", "b.csv": "loss\n1\n2\n"}, "metric"),
        ({"a.csv": "\x00\ud8ff"}, "a.csv"),
        ({"store.json": "{}"}, "store.json: not a store of format 1"),
    ],
)
def test_logs_that_cannot_be_read_are_refused_in_one_line(
    refused: Callable[..., str], tmp_path: Path, command: str, files: dict[str, str], said: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    assert said in refused(command, tmp_path, *(["--threshold", 1] if command == "qss" else []))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--set", "optimiser.lrr=0.1"], "lr"),
        (["--set", "rums=3"], "runs"),
        (["--set", "data.name=digitz"], "digits"),
        (["--set", "model.widths=[0]"], "widths"),
        (["--set", "runs"], "runs"),
        (["--runs", "0"], "runs"),
        (["--workers", "0"], "workers"),
    ],
)
def test_parameters_that_cannot_be_are_refused_with_what_is_allowed(
    refused: Callable[..., str], params: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    assert said in refused("train", params, "--out", tmp_path, *arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fork", "nowhere", "--at", "4", "--perturbation", "full_reset"], "nowhere/store.json: No such file"),
        (["train", "PARAMS", "--keep", "a"], "--keep a: whole numbers separated by commas are needed"),
        (["train", "PARAMS", "--keep", "99"], "snapshot at epoch 99: not between 1 and epochs ="),
        (["train", "PARAMS", "--threshold", "0.9", "--metric", "acc"], "retirement: no metric 'acc' is recorded"),
        (["train", "PARAMS", "--direction", "up", "--threshold", "1"], "--direction up: choose above or below"),
        (["train", "PARAMS", "--scheduler", "here"], "scheduler here: "),
    ],
)
def test_what_the_engine_cannot_do_is_refused_in_one_line(
    refused: Callable[..., str], params: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    options = ["--out", tmp_path] if arguments[0] == "train" else []
    assert said in refused(*[params if text == "PARAMS" else text for text in arguments], *options)


def test_a_parameter_file_that_is_not_there_or_no_yaml_is_refused(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "nowhere.yml" in refused("train", tmp_path / "nowhere.yml")
    (tmp_path / "odd.yml").write_text("a: [1,\n")
    assert "odd.yml" in refused("train", tmp_path / "odd.yml")
    (tmp_path / "file").write_text("")
    (tmp_path / "small.yml").write_text(SMALL_ENSEMBLE)
    assert "file" in refused("train", tmp_path / "small.yml", "--out", tmp_path / "file")


def test_a_chapter_option_without_a_value_is_refused(
    refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "--set threshold: key=value is needed" in refused("book", "--chapter", "01", "--set", "threshold")
    refused("book", "--chapter", "nothing")


def test_an_interruption_is_no_traceback(fpt: Fpt, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fptlib.readers.read", interrupt)
    assert fpt("inspect", "logs") == (130, "", "")


def test_as_a_module_it_exits_with_the_same_status_and_line(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fptlib", "inspect", "nowhere"], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "fpt: nowhere: no such file or folder\n")


def test_the_analysis_half_loads_neither_torch_nor_sklearn(root: Path, logs: Path) -> None:
    code = (
        "import sys; from fptlib import cli; "
        f"status = cli.run(['qss', {str(logs / 'plain')!r}, '--threshold', '1.5']); "
        "sys.exit(status or bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
