"""The commands that compare: several periods, several thresholds, rankings and their page."""

from __future__ import annotations

import json
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
ENSEMBLES = Path(__file__).resolve().parents[1] / "params" / "ensembles"
OPTIMISE = ["optimise", ENSEMBLES / "digits_bn.yml", "--threshold", 0.942]
SMALL_ENSEMBLE = """
data: {name: digits, train_size: 60, validation_size: 0, label_noise: 0.0, seed: 0}
model: {name: mlp, widths: [8], normalisation: none}
optimiser: {name: sgd, lr: 0.1, momentum: 0.0, weight_decay: 0.0}
training: {batch_size: 20, dtype: float32}
epochs: 24
seed: 0
device: cpu
"""

Fpt = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fpt(capsys: pytest.CaptureFixture[str]) -> Fpt:
    """Run the command line; return its status, output and errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        status = cli.run([str(argument) for argument in arguments])
        return (status, *capsys.readouterr())

    return run


def write(path: Path, runs: Trajectories) -> None:
    """Write one tidy table."""
    values = runs.metric()
    run, epoch = np.indices(values.shape)
    frame = pd.DataFrame({"run": run.ravel(), "epoch": epoch.ravel() + 1, "acc": values.ravel()})
    frame.to_csv(path, index=False)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tables of unperturbed runs and of runs perturbed every 10 and every 5 epochs."""
    root = tmp_path_factory.mktemp("tables")
    for i, (name, period) in enumerate({"plain": None, "ten": 10, "five": 5}.items()):
        write(root / f"{name}.csv", PROCESS.sample(np.random.default_rng(i), n_runs=150, horizon=60, period=period))
    return root


def predict(logs: Path, *more: object) -> list[object]:
    return ["predict", "--unperturbed", logs / "plain.csv", "--threshold", 1.5, *more]


def recommend(logs: Path, *more: object) -> list[object]:
    return ["recommend", "--unperturbed", logs / "plain.csv", "--threshold", 1.5, *more]


# What is printed


def test_several_periods_check_each_other(fpt: Fpt, logs: Path) -> None:
    both = ["--perturbed", f"10={logs / 'ten.csv'}", "--perturbed", f"5={logs / 'five.csv'}"]
    status, out, _ = fpt(*predict(logs, *both, "--periods", "5,7,10,20", "--json"))
    assert status == 0
    said = json.loads(out)
    assert said["residual"]["period"] == 10
    by_period = {p["period"]: p for p in said["predictions"]}
    assert by_period[5]["reason"] == by_period[10]["reason"] == "valid: measured at this period"
    other = json.loads(fpt(*predict(logs, *both, "--period", 5, "--json"))[1])
    assert other["residual"]["period"] == 5


def test_one_path_with_a_period_is_as_before(fpt: Fpt, logs: Path) -> None:
    plain = fpt(*predict(logs, "--perturbed", logs / "ten.csv", "--period", 10, "--json"))
    named = fpt(*predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--json"))
    assert plain == named
    assert list(json.loads(plain[1]))[:6] == ["threshold", "unperturbed", "qss", "residual", "predictions", "best"]


def test_several_thresholds_give_a_list_and_a_table(fpt: Fpt, logs: Path, tmp_path: Path) -> None:
    arguments = predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--threshold", "1.4,1.5,99")
    status, out, _ = fpt(*arguments, "--json")
    said = json.loads(out)
    assert status == 0
    assert [answer["threshold"] for answer in said["answers"]] == [1.4, 1.5, 99]
    assert "no run reaches the threshold 99" in said["answers"][2]["error"]
    assert [o["runs"] for o in said["outcomes"]] == ["without perturbation", "perturbed every 10"]
    status, out, err = fpt(*arguments, "--chart", tmp_path / "speedup.svg")
    assert (status, (tmp_path / "speedup.svg").read_text()[:4]) == (0, "<svg")
    assert "threshold 1.4\n" in out
    assert "best valid period" in out
    assert f"chart: {tmp_path / 'speedup.svg'}" in err


def test_recommend_prints_the_ranking_and_the_advice(fpt: Fpt, logs: Path, tmp_path: Path) -> None:
    candidates = ["--perturbed", f"shrink:10={logs / 'ten.csv'}", "--perturbed", f"shrink:5={logs / 'five.csv'}"]
    page = tmp_path / "out.html"
    status, out, err = fpt(*recommend(logs, *candidates, "--report", page))
    assert status == 0
    assert "metric at epoch 60, and the best of each run" in out
    assert err == f"report: {page}\n"
    assert page.stat().st_size > 500_000
    said = json.loads(fpt(*recommend(logs, *candidates, "--json"))[1])
    assert {"ranking", "advice"} <= set(said)
    entry = said["ranking"][0]
    assert {"perturbation", "period", "mean", "low", "high", "valid", "reason"} <= set(entry)
    assert entry["low"] <= entry["mean"] <= entry["high"]
    assert said["advice"] in out.replace("\n- ", " ").replace("- ", "")


def test_recommend_needs_no_perturbed_runs(fpt: Fpt, logs: Path) -> None:
    status, out, _ = fpt(*recommend(logs, "--json"))
    assert status == 0
    assert {entry["perturbation"] for entry in json.loads(out)["ranking"]} == {"full_reset"}


def test_few_runs_are_warned_of_on_stderr(fpt: Fpt, tmp_path: Path) -> None:
    process = DelayedGeometric(silent=5, hazard=0.05, silent_after=2, hazard_after=0.2)
    for i, period in enumerate((None, 10)):
        write(
            tmp_path / f"{period}.csv", process.sample(np.random.default_rng(i), n_runs=40, horizon=60, period=period)
        )
    status, out, err = fpt(
        "predict",
        "--unperturbed",
        tmp_path / "None.csv",
        "--perturbed",
        f"10={tmp_path / '10.csv'}",
        "--threshold",
        0.5,
        "--json",
    )
    assert status == 0
    assert json.loads(out)["unperturbed"]["n_runs"] == 40
    assert "warning: Only 40 unperturbed runs" in err


def test_budgets_and_quantiles(fpt: Fpt, logs: Path) -> None:
    arguments = predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--periods", "10,20", "--budgets", "30,60")
    status, out, _ = fpt(*arguments, "--json")
    assert status == 0
    fates = json.loads(out)["distributions"]
    assert [fate["period"] for fate in fates] == [10, 20]
    for fate in fates:
        within = [success["mean"] for success in fate["success"]]
        assert 0 <= within[0] <= within[1] <= 1
        assert [q["share"] for q in fate["quantiles"]] == [0.5, 0.9]
    assert "passed within 60" in fpt(*arguments)[1]


def test_plan_says_how_many_runs(fpt: Fpt, logs: Path) -> None:
    arguments = ["plan", "--unperturbed", logs / "plain.csv", "--period", 10, "--threshold", 1.5, "--periods", "10,20"]
    sizes = []
    for width in (0.4, 0.2, 0.1):
        status, out, _ = fpt(*arguments, "--perturbed", logs / "ten.csv", "--width", width, "--json")
        assert status == 0
        said = json.loads(out)
        assert [r["period"] for r in said["requirements"]] == [10, 20]
        assert said["cautious"]["run_epochs"] >= said["expected"]["run_epochs"] > 0
        sizes.append(said["expected"]["unperturbed"])
    assert sizes == sorted(sizes)
    assert 2.5 < sizes[2] / sizes[1] < 5  # a quarter of the variance
    status, out, _ = fpt(*arguments)
    assert status == 0
    assert "as if the perturbation changed nothing" in out


def test_optimise_goes_on_where_it_was(fpt: Fpt, tmp_path: Path) -> None:
    params = tmp_path / "small.yml"
    params.write_text(SMALL_ENSEMBLE)
    arguments = [
        *("optimise", params, "--threshold", 0.4, "--candidates", "shrink_perturb full_reset", "--periods", "3,6,12"),
        *("--budget", 1500, "--out", tmp_path / "stores", "--json"),
    ]
    status, out, err = fpt(*arguments)
    assert status == 0
    said = json.loads(out)
    assert 0 < said["spent"] <= 1500
    assert [c["label"] for c in said["candidates"]] == ["shrink_perturb", "full_reset"]
    assert said["best"] is not None
    assert said["best"]["low"] <= said["best"]["mean"] <= said["best"]["high"]
    assert not err.startswith("0 run-epochs")
    status, again, err = fpt(*arguments)
    assert (status, again) == (0, out)
    assert err.startswith("0 run-epochs")
    assert f"spent: {said['spent']} run-epochs" in fpt(*arguments[:-1])[1]


# What is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (lambda logs: predict(logs, "--perturbed", logs / "ten.csv"), "which period? write P0="),
        (
            lambda logs: predict(
                logs, "--perturbed", f"10={logs / 'ten.csv'}", "--perturbed", f"10={logs / 'five.csv'}"
            ),
            "given twice",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--period", 7),
            "--period 7: --perturbed was given for 10",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'plain.csv'}"),
            "--unperturbed and --perturbed both name",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--perturbed", f"5={logs / 'ten.csv'}"),
            "--perturbed and --perturbed both name",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--threshold", "high"),
            "--threshold high: a number",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--threshold", "98,99"),
            "no run reaches the threshold 98",
        ),
        (
            lambda logs: predict(logs, "--perturbed", f"10={logs / 'ten.csv'}", "--chart", "x.pdf"),
            "ends in .svg or .png or .html",
        ),
        (lambda logs: recommend(logs, "--perturbed", logs / "ten.csv"), "NAME:P0=PATH is needed"),
        (lambda logs: recommend(logs, "--perturbed", f"s:x={logs / 'ten.csv'}"), "NAME:P0=PATH is needed"),
        (
            lambda logs: recommend(
                logs, "--perturbed", f"s:10={logs / 'ten.csv'}", "--perturbed", f"s:10={logs / 'five.csv'}"
            ),
            "s with period 10 was given twice",
        ),
        (
            lambda logs: recommend(logs, "--perturbed", f"s:70={logs / 'ten.csv'}"),
            "period 70 of the perturbed runs is not between",
        ),
        (lambda logs: recommend(logs, "--perturbed", "s:10=nowhere.csv"), "nowhere.csv: no such file or folder"),
        (lambda logs: recommend(logs, "--report", "out.pdf"), "a name that ends in .html is needed"),
        (lambda logs: recommend(logs, "--metric", "loss"), "no metric 'loss'"),
        (
            lambda logs: [
                "plan",
                "--unperturbed",
                logs / "plain.csv",
                "--period",
                10,
                "--threshold",
                1.5,
                "--width",
                3,
            ],
            "relative_width is 3",
        ),
        (lambda logs: [*OPTIMISE, "--candidates", "shrink"], "unknown perturbation 'shrink'"),
        (lambda logs: [*OPTIMISE, "--candidates", "partial_reset:quantile=2"], "perturbation.quantile: 2"),
        (lambda logs: [*OPTIMISE, "--candidates", "full_reset full_reset"], "is given twice"),
        (lambda logs: [*OPTIMISE, "--candidates", "full_reset", "--budget", 0], "budget 0 is not possible"),
        (
            lambda logs: [*OPTIMISE, "--candidates", "full_reset", "--metric", "valid_metric"],
            "no metric 'valid_metric' is recorded",
        ),
    ],
)
def test_wrong_input_is_one_line(fpt: Fpt, logs: Path, arguments: Callable[[Path], list[Any]], said: str) -> None:
    status, _, err = fpt(*arguments(logs))
    assert status == 2
    assert said in err
    assert err.splitlines()[-1].startswith("fpt: ")
    assert "Traceback" not in err
