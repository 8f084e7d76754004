"""The command line refuses in one line, with status 2, everything that a user can do wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import Fpt

from fptlib.processes import OrnsteinUhlenbeck
from known import ENSEMBLE

Refused = Callable[..., str]
PAIR = "--unperturbed plain.csv --threshold 1.5"
PREDICT = f"predict {PAIR} --perturbed ten.csv --period 10"
OPTIMISE = (
    f"optimise {Path(__file__).resolve().parents[1] / 'params' / 'ensembles' / 'digits_bn.yml'} --threshold 0.942"
)
WORDS = "a number, or several separated by commas, are needed"
# A call, with files of the folder below, and a fragment of the line.
TABLE: list[tuple[str, str]] = [
    (f"{PREDICT} --threshold 9.5", "no run reaches the threshold 9.5 (above); the best values are"),
    (f"{PREDICT} --threshold -9.5 --direction below", "no run reaches the threshold -9.5 (below)"),
    (f"{PREDICT} --threshold nan", f"--threshold nan: {WORDS}"),
    (f"{PREDICT} --threshold high", f"--threshold high: {WORDS}"),
    (f"{PREDICT} --threshold 98,99", "no run reaches the threshold 98"),
    (f"{PREDICT} --period 0", "period 0 of the runs of the perturbation is not between 1 and 59"),
    (f"{PREDICT} --period 60", "period 60 of the runs of the perturbation is not between 1 and 59"),
    (f"{PREDICT} --period 2.5", "Invalid value for '--period'"),
    (f"{PREDICT} --periods 5,0", "period 0 is not between 1 and 59"),
    (f"{PREDICT} --periods 61", "period 61 is not between 1 and 59, below the horizon 60"),
    (f"{PREDICT} --periods 5;7", "--periods 5;7: whole numbers separated by commas are needed"),
    (f"{PREDICT} --form 2", "No such option: --form"),
    (f"{PREDICT} --budgets 30,70", "budget 70 is not between 0 and the horizon 60"),
    (f"{PREDICT} --budgets soon", "--budgets soon: whole numbers separated by commas are needed"),
    (f"{PREDICT} --direction up", "'up' is not one of 'above', 'below'"),
    (f"{PREDICT} --axis day", "'day' is not one of 'auto', 'epoch', 'step'"),
    (f"{PREDICT} --level 95", "level 95.0 is not between 0 and 1"),
    (f"{PREDICT} --seed -1", "seed -1 is not possible"),
    (f"{PREDICT} --metric ac", "no metric 'ac'; there is acc; did you mean 'acc'?"),
    (f"{PREDICT} --threshold -99", "is -99 on the scale of the metric ("),
    (f"{PREDICT} --threshold -99", "or is --direction below meant?"),
    (f"{PREDICT} --metric loss", "no metric 'loss'; there is acc"),
    (f"{PREDICT} --unperturbed nowhere", "nowhere: no such file or folder"),
    (f"{PREDICT} --threshhold 1", "No such option: --threshhold"),
    (f"{PREDICT} --chart x.pdf", "ends in .svg or .png or .html"),
    (f"predict {PAIR} --perturbed ten.csv", "which period? write P0="),
    (f"predict {PAIR} --perturbed 10=ten.csv --perturbed 10=five.csv", "period 10 was given twice"),
    (f"predict {PAIR} --perturbed 10=ten.csv --period 7", "--period 7: --perturbed was given for 10"),
    (f"predict {PAIR} --perturbed 10=plain.csv", "--unperturbed and --perturbed both name"),
    (f"predict {PAIR} --perturbed 10=ten.csv --perturbed 5=ten.csv", "--perturbed and --perturbed both name"),
    ("predict", "--unperturbed"),
    ("qss somewhere", "threshold"),
    ("predcit", "No such command 'predcit'"),
    ("data fetch publishd", "published"),
    (f"recommend {PAIR} --perturbed ten.csv", "NAME:P0=PATH is needed"),
    (
        f"recommend {PAIR} --perturbed shrink_pertub:10=ten.csv",
        "did you mean 'shrink_perturb'? Allowed: shrink_perturb, ",
    ),
    (f"recommend {PAIR} --perturbed s:x=ten.csv", "NAME:P0=PATH is needed"),
    (f"recommend {PAIR} --perturbed s:10=ten.csv --perturbed s:10=five.csv", "s with period 10 was given twice"),
    (f"recommend {PAIR} --perturbed s:70=ten.csv", "period 70 of the runs of s is not between 1 and 59"),
    (f"recommend {PAIR} --perturbed s:10=ten.csv --once k", "once names k, of which no runs were given"),
    (f"recommend {PAIR} --perturbed s:10=nowhere.csv", "nowhere.csv: no such file or folder"),
    (f"recommend {PAIR} --report out.pdf", "a name that ends in .html is needed"),
    (f"recommend {PAIR} --metric loss", "no metric 'loss'"),
    (f"plan {PAIR} --period 10 --width 3", "width is 3"),
    (f"{OPTIMISE} --candidates shrink", "unknown perturbation 'shrink'"),
    (f"{OPTIMISE} --candidates partial_reset:quantile=2", "perturbation.quantile: 2"),
    (f"{OPTIMISE} --candidates full_reset --candidates full_reset", "is given twice"),
    (f"{OPTIMISE} --candidates full_reset --budget 0", "budget 0 is not possible"),
    (f"{OPTIMISE} --candidates full_reset --metric valid_metric", "no metric 'valid_metric' is recorded"),
    ("fork nowhere --at 4 --perturbation full_reset", "nowhere/store.json: No such file"),
    ("train small.yml --set optimiser.lrr=0.1", "lr"),
    ("train small.yml --set rums=3", "runs"),
    ("train small.yml --set data.name=digitz", "digits"),
    ("train small.yml --set model.widths=[0]", "widths"),
    ("train small.yml --set runs", "runs"),
    ("train small.yml --runs 0", "runs"),
    ("train small.yml --workers 0", "workers"),
    ("train small.yml --keep a", "--keep a: whole numbers separated by commas are needed"),
    ("train small.yml --keep 99", "snapshot at epoch 99: not between 1 and epochs ="),
    ("train small.yml --threshold 0.9 --metric acc", "retirement: no metric 'acc' is recorded"),
    ("train small.yml --scheduler here", "scheduler here: "),
    ("train small.yml --out file", "file"),
    ("train nowhere.yml", "nowhere.yml"),
    ("train odd.yml", "odd.yml"),
    ("book --chapter 01 --set threshold", "--set threshold: key=value is needed"),
    ("book --chapter nothing", "nothing"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with tables of unperturbed and perturbed runs, and with parameters."""
    path = tmp_path_factory.mktemp("refusals")
    for i, (name, period) in enumerate({"plain": None, "ten": 10, "five": 5}.items()):
        runs = OrnsteinUhlenbeck(shrink=0.4).sample(np.random.default_rng(i), n_runs=50, horizon=60, period=period)
        run, epoch = np.indices(runs.metric().shape)
        frame = pd.DataFrame({"run": run.ravel(), "epoch": epoch.ravel() + 1, "acc": runs.metric().ravel()})
        frame.to_csv(path / f"{name}.csv", index=False)
    for name, text in {"small.yml": ENSEMBLE, "odd.yml": "a: [1,\n", "file": ""}.items():
        (path / name).write_text(text)
    return path


@pytest.mark.parametrize(("call", "fragment"), TABLE)
def test_wrong_input_is_refused_in_one_line(
    refused: Refused, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, fragment: str
) -> None:
    monkeypatch.chdir(folder)
    out = ["--out", tmp_path] if call.startswith("train") and "--out" not in call else []
    assert fragment in refused(*call.split(), *out)


@pytest.mark.parametrize("command", [["inspect"], ["qss", "--threshold", 1]])
@pytest.mark.parametrize(
    ("files", "fragment"),
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
    refused: Refused, tmp_path: Path, command: list[Any], files: dict[str, str], fragment: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_bytes(text.encode(errors="surrogatepass"))
    assert fragment in refused(*command, tmp_path)


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
