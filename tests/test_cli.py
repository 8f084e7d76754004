"""The command line: what it prints, from logs and from parameters; `test_cli_refusals` has what it refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Fpt

from fptlib.processes import DelayedGeometric, OrnsteinUhlenbeck
from fptlib.readers import read
from fptlib.trajectories import Trajectories
from known import ENSEMBLE

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
KICK = "{name: shrink_perturb, shrink: 0.4, perturb: 0.1, scope: parameters, period: 4, repeat: periodic}"
INTERVAL = {"mean", "low", "high"}
PREDICTION = {"period", "sampling", "method", "factor", "grade", "measured", "notes", *INTERVAL}


def write(path: Path, runs: Trajectories) -> Path:
    """Write one tidy table, or a folder with one CSV file for each run where the name has no ending."""
    values = runs.metric()
    run, epoch = np.indices(values.shape)
    if path.suffix:
        frame = pd.DataFrame({"run": run.ravel(), "epoch": epoch.ravel() + 1, "acc": values.ravel()})
        frame.to_csv(path, index=False)
        return path
    path.mkdir()
    for label, series in zip(runs.run, values, strict=True):
        pd.DataFrame({"test_metric": series}).to_csv(path / f"run_{label}.csv", index=False)
    return path


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with logs of unperturbed (``plain``) and of perturbed runs (``kicked``, period 10), and three tables."""
    root, rng = tmp_path_factory.mktemp("logs"), np.random.default_rng(0)
    write(root / "plain", PROCESS.sample(rng, n_runs=120, horizon=60))
    write(root / "kicked", PROCESS.sample(rng, n_runs=120, horizon=60, period=10))
    for i, (name, period) in enumerate({"plain": None, "ten": 10, "five": 5}.items()):
        runs = PROCESS.sample(np.random.default_rng(i), n_runs=150, horizon=60, period=period)
        write(root / f"{name}.csv", runs)
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
    path.write_text(ENSEMBLE)
    return path


def words(command: str, logs: Path, *more: object) -> list[object]:
    return [command, "--unperturbed", logs / "plain.csv", "--threshold", 1.5, *more]


# What is printed


def test_json_has_the_documented_keys(fpt: Fpt, predict: list[Any], logs: Path) -> None:
    status, out, err = fpt(*predict, "--periods", "5,10,30", "--json")
    assert (status, err) == (0, "")
    content = json.loads(out)
    keys = ["threshold", "unperturbed", "qss", "residual", "predictions", "best", "next_period"]
    assert list(content) == [*keys, "advice", "notes", "final_metrics"]
    assert content["unperturbed"].keys() == {"n_runs", "n_censored", "horizon", "restricted_mean"}
    assert content["unperturbed"]["restricted_mean"].keys() == INTERVAL
    assert content["qss"].keys() == {"reached", "relaxation_epoch", "reasons"}
    assert content["residual"].keys() == {"period", "n_survivors", "n_censored", *INTERVAL}
    assert (content["unperturbed"]["n_runs"], content["unperturbed"]["horizon"], content["residual"]["period"]) == (
        120,
        60,
        10,
    )
    assert [p["period"] for p in content["predictions"]] == [5, 10, 30]
    for prediction in content["predictions"]:
        assert prediction.keys() == PREDICTION
        assert prediction["mean"] is None or prediction["low"] <= prediction["mean"] <= prediction["high"]
    assert [p["measured"] for p in content["predictions"]] == [False, True, False]
    assert content["best"].keys() == {"period", "grade", "speedup", *INTERVAL}
    assert content["final_metrics"]["without perturbation"].keys() == {"final", "best", "horizon"}
    ranked = json.loads(fpt(*words("recommend", logs, "--perturbed", f"kick:10={logs / 'ten.csv'}", "--json"))[1])
    assert list(ranked) == [
        "threshold",
        "unperturbed",
        "qss",
        "ranking",
        "choice",
        "next",
        "advice",
        "notes",
        "final_metrics",
    ]
    assert ranked["choice"].keys() == {"perturbation", "speedup", *PREDICTION}
    assert all(entry.keys() == {"perturbation", *PREDICTION} for entry in ranked["ranking"])
    assert None in {entry["perturbation"] for entry in ranked["ranking"]}


@pytest.mark.parametrize("command", ["predict", "recommend"])
def test_the_answer_comes_first_and_fits_a_page(fpt: Fpt, logs: Path, command: str) -> None:
    names = {"predict": "", "recommend": "shrink:"}[command]
    arguments = words(
        command, logs, *(f"--perturbed={names}{p}={logs / file}" for p, file in ((10, "ten.csv"), (5, "five.csv")))
    )
    content = json.loads(fpt(*arguments, "--json")[1])
    status, text, err = fpt(*arguments)
    lines = text.splitlines()
    assert (status, err) == (0, "")
    assert lines[: len(content["advice"])] == content["advice"]
    assert len(lines) <= 30
    start = lines.index("") + 1
    table = lines[start : lines.index("", start)]
    assert len([line for line in table if not line.startswith("(")]) <= 12
    chosen = content["choice"] if command == "recommend" else content["best"]
    (row,) = [line for line in table if line.endswith("choice")]
    assert f"{chosen['low']:.1f} to {chosen['high']:.1f}" in row
    ranking = content["ranking"] if command == "recommend" else content["predictions"]
    assert len(fpt(*arguments, "--all")[1].splitlines()) > len(lines)
    assert sum(" to " in line and "predicted" in line for line in fpt(*arguments, "--all")[1].splitlines()) >= sum(
        not p["measured"] and p["mean"] is not None for p in ranking
    )


def test_options_reach_the_library(fpt: Fpt, predict: list[Any], logs: Path, tmp_path: Path) -> None:
    plain = json.loads(fpt(*predict, "--periods", "5", "--json")[1])
    wide = json.loads(fpt(*predict, "--periods", "5", "--json", "--level", 0.5, "--once", "--seed", 3)[1])
    assert [p["predictions"][0]["method"] for p in (plain, wide)] == ["cycles", "single"]
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
    for name in INTERVAL:
        assert mirrored["predictions"][0][name] == pytest.approx(plain["predictions"][0][name])


def test_a_perturbation_that_was_applied_once_is_named(fpt: Fpt, logs: Path) -> None:
    arguments = words("recommend", logs, "--perturbed", f"kick:10={logs / 'ten.csv'}", "--once", "kick")
    content = json.loads(fpt(*arguments, "--json")[1])
    assert {p["method"] for p in content["ranking"] if p["perturbation"] == "kick"} == {"measured", "single"}
    text = fpt(*arguments)[1]
    assert "kick at epoch" in text
    assert "kick every" not in text


def test_the_quasi_steady_state_in_words_and_json(fpt: Fpt, logs: Path) -> None:
    status, out, _ = fpt("qss", logs / "plain", "--threshold", 1.5, "--json")
    state = json.loads(out)
    assert status == 0
    assert state.keys() == {"reached", "relaxation_epoch", "reasons", "advice", "profile", "notes"}
    at = f"drop it by epoch {state['relaxation_epoch']}, where training has settled; an earlier drop is often faster."
    none = "No advice on when to drop the learning rate: these runs do not show that training settles."
    assert state["advice"] == [f"If the learning rate is to drop once, {at}" if state["reached"] else none]
    assert state["profile"][0]["epoch"] == 1
    status, text, _ = fpt("qss", logs / "plain", "--threshold", 1.5)
    assert status == 0
    word = f"reached at epoch {state['relaxation_epoch']}" if state["reached"] else "not reached"
    assert f"quasi-steady state: {word}" in text
    assert all(line in text for line in (*state["reasons"], *state["advice"]))


def test_inspect_says_what_is_there_and_what_to_type(fpt: Fpt, logs: Path, tmp_path: Path) -> None:
    status, out, err = fpt("inspect", logs / "plain")
    assert (status, err) == (0, "")
    first, how, _, heads, row, *_, reach, command = out.splitlines()
    assert first == f"{logs / 'plain'}: 120 runs of 60 epochs"
    assert how == "tables, epochs as logged"
    assert heads == "metric       scale  mean at start  mean at end  smallest  largest"
    assert row.startswith("test_metric  -      ")
    n = int(reach.split()[0])
    assert 60 <= n <= 80
    _, *typed = command.split()
    status, answer, _ = fpt(*typed, "--json")
    reached = read(logs / "plain").metric().max(axis=1) >= float(typed[-1])
    assert (status, n) == (0, reached.sum())
    assert json.loads(answer)["relaxation_epoch"] > 1
    content = json.loads(fpt("inspect", logs / "plain", "--json")[1])
    assert content["next"]["command"] == command
    assert (content["runs"], content["epochs"], content["one_epoch"]) == (120, 60, {"axis": "epoch", "every": 1})
    assert content["names"]["119"] == "run_119"
    assert content["metrics"][0].keys() == {"metric", "scale", "start", "end", "smallest", "largest"}


def test_inspect_names_the_command_for_perturbed_runs(fpt: Fpt, tmp_path: Path) -> None:
    path = write(tmp_path / "shrink_20", PROCESS.sample(np.random.default_rng(0), n_runs=12, horizon=60, period=20))
    *_, other, command = fpt("inspect", path)[1].splitlines()
    assert other == "or, if these runs were perturbed, as the name of the folder suggests:"
    assert command.startswith(
        f"fpt predict --unperturbed FOLDER --perturbed 20={path} --metric test_metric --threshold "
    )
    assert json.loads(fpt("inspect", path, "--json")[1])["next"]["if_perturbed"] == command


def table_of(path: Path, n_runs: int, n_epochs: int, **metrics: Any) -> Path:
    """Write a tidy table of metrics that are functions of run and epoch, counted from 0."""
    run, epoch = (place.ravel() for place in np.indices((n_runs, n_epochs)))
    columns = {name: function(run, epoch) for name, function in metrics.items()}
    pd.DataFrame({"run": run + 5, "epoch": epoch, **columns}).to_csv(path, index=False)
    return path


def test_inspect_fits_a_page(fpt: Fpt, tmp_path: Path) -> None:
    def falling(run: Any, epoch: Any) -> Any:
        return np.round(2.0 / (1 + epoch + run % 7), 4)

    def rising(run: Any, epoch: Any) -> Any:
        return np.round(100 - 50.0 / (1 + epoch + run % 7), 2)

    many = {f"head_{k}/train_loss": falling for k in range(40)}
    path = table_of(tmp_path / "a table.csv", 1000, 20, **many, val_loss=falling, lr=lambda run, epoch: 0.1 + 0 * run)
    status, out, err = fpt("inspect", path)
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 27)
    assert all(len(line) <= 80 for line in lines[1:-2])
    assert "labels of the runs: 5, 6, 7, " in out
    assert "(31 more with --all)" in lines
    assert "if 0 is an evaluation\n  before training, --epoch-zero before leaves it out" in out
    assert "head_39" in fpt("inspect", path, "--all")[1]
    goal = json.loads(fpt("inspect", path, "--epoch-zero", "first", "--json")[1])["next"]
    assert goal["command"].startswith(f"fpt qss '{path}' --metric val_loss --threshold 0.0")
    assert goal["command"].endswith(" --direction below --epoch-zero first")
    assert 500 <= int(goal["why"].split()[0]) <= 667
    one = table_of(tmp_path / "one.csv", 1, 20, acc=rising, loss=falling)
    lines = fpt("inspect", one)[1].splitlines()
    assert lines[0] == f"{one}: 1 run of 20 epochs"
    assert [line.split()[:3] for line in lines[5:7]] == [["acc", "per", "cent"], ["loss", "loss", "2"]]
    assert lines[-2:] == [
        "1 of 1 run reaches acc above 97.5; to go on, type",
        f"fpt qss {one} --metric acc --threshold 97.5",
    ]


def test_inspect_names_what_is_left_out_and_how_to_read_it(fpt: Fpt, tmp_path: Path) -> None:
    fifth = table_of(
        *(tmp_path / "t.csv", 3, 20),
        loss=lambda run, epoch: 1.0 / (1 + run + epoch),
        val_acc=lambda run, epoch: np.where(epoch % 5 == 4, 0.1 * run + epoch / 100, np.nan),
    )
    out = fpt("inspect", fifth)[1]
    assert "Left out - val_acc: " in " ".join(out.split())
    assert out.endswith(f"\nval_acc is evaluated more rarely; to go on, type\nfpt inspect {fifth} --every 5\n")
    out = fpt("inspect", fifth, "--every", 5)[1]
    assert "tables, one epoch is 5 epochs of the log" in out
    assert "--metric val_acc --threshold" in out
    refused = fpt("qss", fifth, "--metric", "val_acc", "--threshold", 0.2)[2]
    assert "where it is logged every 5 epochs, --every 5 makes them one epoch" in refused


def test_runs_that_are_equal_are_named_with_every_answer(fpt: Fpt, tmp_path: Path) -> None:
    rising = [0.1, 0.4, 0.3, 0.5, 0.7, 0.6, 0.8]
    path = table_of(tmp_path / "t.csv", 8, 7, acc=lambda run, epoch: np.array(rising)[epoch])
    message = "runs 5 and 6 and 6 more pairs are equal over all their 7 common epochs"
    ask = ["--unperturbed", path, "--threshold", 0.6]
    for command in (["inspect", path], ["qss", path, "--threshold", 0.6], ["recommend", *ask]):
        status, out, err = fpt(*command)
        assert (status, err) == (0, "")
        assert message in " ".join(out.split())


def test_a_negative_verdict_is_a_result(fpt: Fpt, tmp_path: Path) -> None:
    rng, epoch = np.random.default_rng(0), np.arange(1, 41)
    drifting = rng.standard_normal((60, 40)) - epoch
    write(tmp_path / "drift", Trajectories(metrics={"m": drifting}, run=np.arange(60)))
    status, out, err = fpt("qss", tmp_path / "drift", "--threshold", drifting.max())
    assert (status, err) == (0, "")
    assert "not reached" in out


def test_data_list_and_help(fpt: Fpt) -> None:
    status, out, _ = fpt("data", "list")
    assert status == 0
    assert {"digits", "published"} <= {line.split()[0] for line in out.splitlines()}
    assert fpt("data", "fetch", "digits")[0] == 0
    for arguments in ([], ["--help"], ["predict", "--help"]):
        status, out, _ = fpt(*arguments)
        assert status == 0
        assert "Usage" in out


def test_several_periods_predict_from_the_nearest(fpt: Fpt, logs: Path) -> None:
    both = ["--perturbed", f"10={logs / 'ten.csv'}", "--perturbed", f"5={logs / 'five.csv'}"]
    status, out, _ = fpt(*words("predict", logs, *both, "--periods", "5,7,10,20", "--json"))
    content = json.loads(out)
    assert (status, content["residual"]["period"]) == (0, 10)
    assert [p["measured"] for p in content["predictions"]] == [True, False, True, False]


def test_one_path_with_a_period_is_one_without_and_its_period(fpt: Fpt, logs: Path) -> None:
    plain = fpt(*words("predict", logs, "--perturbed", logs / "ten.csv", "--period", 10, "--json"))
    assert plain == fpt(*words("predict", logs, "--perturbed", f"10={logs / 'ten.csv'}", "--json"))


def test_several_thresholds_give_an_answer_each(fpt: Fpt, logs: Path, tmp_path: Path) -> None:
    arguments = words("predict", logs, "--perturbed", f"10={logs / 'ten.csv'}", "--threshold", "1.4,1.5,99")
    status, out, _ = fpt(*arguments, "--json")
    content = json.loads(out)
    assert status == 0
    assert [answer["threshold"] for answer in content["answers"]] == [1.4, 1.5, 99]
    assert "no run reaches the threshold 99" in content["answers"][2]["error"]
    status, out, err = fpt(*arguments, "--chart", tmp_path / "speedup.svg")
    assert (status, (tmp_path / "speedup.svg").read_text()[:4]) == (0, "<svg")
    assert [line for line in out.splitlines() if line.startswith("threshold ")] == [
        "threshold 1.4",
        "threshold 1.5",
        "threshold 99",
    ]
    assert err == f"chart: {tmp_path / 'speedup.svg'}\n"


def test_recommend_writes_a_report(fpt: Fpt, logs: Path, tmp_path: Path) -> None:
    page = tmp_path / "out.html"
    status, out, err = fpt(*words("recommend", logs, "--perturbed", f"shrink:10={logs / 'ten.csv'}", "--report", page))
    assert (status, err) == (0, f"report: {page}\n")
    assert page.stat().st_size > 500_000
    assert out.splitlines()[0] in page.read_text()


def test_recommend_needs_no_perturbed_runs(fpt: Fpt, logs: Path) -> None:
    status, out, _ = fpt(*words("recommend", logs, "--json"))
    assert status == 0
    assert {entry["perturbation"] for entry in json.loads(out)["ranking"]} == {None, "full_reset"}


def test_with_a_handful_of_runs_the_answer_says_what_can_be_said(fpt: Fpt, tmp_path: Path) -> None:
    process = DelayedGeometric(silent=5, hazard=0.05, silent_after=2, hazard_after=0.2)
    for i, period in enumerate((None, 10)):
        runs = process.sample(np.random.default_rng(i), n_runs=8, horizon=60, period=period)
        write(tmp_path / f"{period}.csv", runs)
    pair = ["--unperturbed", tmp_path / "None.csv", "--perturbed", f"kick:10={tmp_path / '10.csv'}"]
    status, out, err = fpt("recommend", *pair, "--threshold", 0.5)
    assert (status, err) == (0, "")
    assert re.match(
        r"(Use|Perturbing helps|Train without|8 unperturbed runs and \d perturbed ones? .* do not tell) ", out
    )


def test_budgets_and_quantiles(fpt: Fpt, logs: Path) -> None:
    arguments = words(
        "predict", logs, "--perturbed", f"10={logs / 'ten.csv'}", "--periods", "10,20", "--budgets", "30,60"
    )
    status, out, _ = fpt(*arguments, "--json")
    assert status == 0
    fates = json.loads(out)["distributions"]
    assert [fate["period"] for fate in fates] == [10, 20]
    for fate in fates:
        within = [success["mean"] for success in fate["success"]]
        assert 0 <= within[0] <= within[1] <= 1
        assert [q["share"] for q in fate["quantiles"]] == [0.5, 0.9]
    assert "within 60" in fpt(*arguments)[1]


def test_plan_says_how_many_runs(fpt: Fpt, logs: Path) -> None:
    arguments = ["plan", "--unperturbed", logs / "plain.csv", "--period", 10, "--threshold", 1.5, "--periods", "10,20"]
    sizes = []
    for width in (0.4, 0.2, 0.1):
        status, out, _ = fpt(*arguments, "--perturbed", logs / "ten.csv", "--width", width, "--json")
        assert status == 0
        answer = json.loads(out)
        assert [r["period"] for r in answer["requirements"]] == [10, 20]
        assert answer["cautious"]["run_epochs"] >= answer["expected"]["run_epochs"] > 0
        sizes.append(answer["expected"]["unperturbed"])
    assert sizes == sorted(sizes)
    assert 2.5 < sizes[2] / sizes[1] < 5  # a quarter of the variance
    status, out, _ = fpt(*arguments)
    assert status == 0
    assert "as if the perturbation changed nothing" in out


# From parameters to a prediction


@pytest.mark.slow
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
    status, printed, _ = fpt("inspect", plain, "--all")
    assert status == 0
    assert "4 runs of 12 epochs" in printed
    assert plain.name in printed
    assert '"train_size": 60' in printed
    pair = ["--unperturbed", plain, "--perturbed", kicked, "--period", 4, "--metric", "test_metric"]
    reached = float(np.median(read(plain).metric()[:, -1]))
    status, printed, _ = fpt("qss", plain, "--threshold", reached)
    assert status == 0
    assert "too few to compare distributions" in printed
    status, printed, err = fpt("predict", *pair, "--threshold", reached, "--json")
    assert (status, err) == (0, "")
    assert json.loads(printed)["unperturbed"]["n_runs"] == 4


@pytest.mark.slow
def test_retire_fork_and_what_it_would_cost(fpt: Fpt, params: Path, tmp_path: Path) -> None:
    out = tmp_path / "stores"
    status, printed, err = fpt("train", params, "--out", out, "--dry-run")
    assert (status, err) == (0, "")
    assert " ".join(line.split()[0] for line in printed.splitlines()) == "runs arithmetic speed time memory disk"
    assert not out.exists()
    retire: list[Any] = ["--threshold", 0.6]
    status, printed, err = fpt("train", params, "--out", out, "--keep", 4, *retire)
    assert status == 0, err
    store = Path(printed.strip())
    assert "each followed until test_metric above 0.6; " in err
    assert f"{json.loads((store / 'store.json').read_text())['retirement']['threshold']}" == "0.6"
    status, printed, _ = fpt("inspect", store)
    assert "each followed until test_metric above 0.6" in printed
    assert "--threshold 0.6" in printed.splitlines()[-1]
    status, printed, err = fpt("fork", store, "--at", 4, "--perturbation", "shrink_perturb", "--set", "shrink=0.5")
    assert status == 0, err
    assert re.match(r"\d+ of \d+ runs went on; \d+ runs of \d+ epochs, each followed until", err)
    forked = json.loads((Path(printed.strip()) / "store.json").read_text())
    rule = {"name": "shrink_perturb", "shrink": 0.5, "perturb": 0.1, "scope": "parameters"}
    assert forked["spec"]["perturbation"] == {**rule, "period": 4, "repeat": "periodic", "fresh_optimiser": True}


@pytest.mark.slow
def test_optimise_goes_on_where_it_was(fpt: Fpt, tmp_path: Path) -> None:
    params = tmp_path / "small.yml"
    params.write_text(ENSEMBLE.replace("epochs: 12", "epochs: 24"))
    arguments = [
        *("optimise", params, "--threshold", 0.4, "--candidates", "shrink_perturb full_reset", "--periods", "3,6,12"),
        *("--budget", 1500, "--out", tmp_path / "stores", "--json"),
    ]
    status, out, err = fpt(*arguments)
    assert status == 0
    answer = json.loads(out)
    assert 0 < answer["spent"] <= 1500
    assert [c["label"] for c in answer["candidates"]] == ["shrink_perturb", "full_reset"]
    assert answer["choice"]["low"] <= answer["choice"]["mean"] <= answer["choice"]["high"]
    assert not err.startswith("0 run-epochs")
    status, again, err = fpt(*arguments)
    assert (status, again) == (0, out)
    assert err.startswith("0 run-epochs")
    first, *others = fpt(*arguments[:-1])[1].splitlines()
    assert first == answer["advice"][0]
    assert f"{answer['spent']} run-epochs were spent" in first
    assert len(others) < 30


def loaded_by(root: Path, arguments: list[Any]) -> set[str]:
    """Return the modules that a call of the command line loads in a fresh interpreter."""
    call = f"cli.run({[str(word) for word in arguments]!r})"
    code = (
        "import sys; before = set(sys.modules); from fptlib import cli; "
        f"assert {call} == 0; print(*set(sys.modules) - before, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def test_help_and_answers_in_words_load_what_they_need(root: Path, logs: Path) -> None:
    listed = loaded_by(root, ["--help"])
    others = {name.partition(".")[0] for name in listed if not name.startswith("_")} - sys.stdlib_module_names
    assert others <= {"fptlib", "companion", "typer", "shellingham", "annotated_doc"}
    assert {name for name in listed if name.startswith("fptlib.") and not name.startswith("fptlib.cli")} == {
        "fptlib.errors"
    }
    heavy = {"torch", "sklearn", "pandas", "scipy.stats"}
    state = ["qss", logs / "plain", "--threshold", 1.5]
    assert not {*heavy, "companion"} & loaded_by(root, state)
    choice = words("recommend", logs, "--unperturbed", logs / "plain", "--perturbed", f"kick:10={logs / 'kicked'}")
    assert not {*heavy, "altair"} & loaded_by(root, choice)
