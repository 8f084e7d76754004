# ruff: noqa: T201
"""What retiring, forking and predicting save: run-epochs for the mean first-passage time at twelve periods, at equal interval width.

Run with ``python benchmarks/savings.py``; ``--help`` lists the options. The process is ``params/ensembles/digits_bn.yml``. The
prediction comes first: an unperturbed ensemble, retired at the threshold, and one fork. Then each period is trained from scratch to
the horizon, with as many runs as make the interval of the measured mean as wide as the predicted one: the widths of as many runs as
the prediction had tell the number, and runs are added where more are needed. This also checks the predictions and the forks; the
runs have the seeds of those that the prediction was made from, so the two differ less than ensembles of other seeds would.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np

import fptlib as fpt
from fptlib import ensemble, former, spec
from fptlib.cli.output import print_table
from fptlib.firstpassage import Estimate
from fptlib.former import Response
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Target, Trajectories, retire

PARAMS = Path(__file__).resolve().parents[1] / "params" / "ensembles" / "digits_bn.yml"
PERTURBATION = {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1}
PERIODS = (10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 60, 70)


@dataclass(frozen=True, slots=True)
class Method:
    """The prediction, and what it took."""

    spec: EnsembleSpec
    plain: Trajectories
    forked: Trajectories
    response: Response
    run_epochs: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Period:
    """One period: the prediction, and what it takes to measure the mean with an interval of the same width.

    Parameters
    ----------
    predicted, low, high, status
        The prediction.
    runs
        Perturbed runs whose mean has an interval as wide.
    whole, retired
        Run-epochs of so many runs trained from scratch: to the horizon, and until they pass.
    forked
        Run-epochs of so many runs after ``period``, where the unperturbed ones are at hand.
    measured, measured_low, measured_high
        Mean of so many runs; of forks, as many as the prediction had, where runs are only counted.
    seconds
        Time that training from scratch to the horizon takes; NaN where runs are only counted.
    """

    period: int
    predicted: float
    low: float
    high: float
    status: str
    runs: int
    whole: int
    retired: float
    forked: float
    measured: float
    measured_low: float
    measured_high: float
    seconds: float


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=96, help="unperturbed runs of the method, a multiple of 16 best")
    parser.add_argument("--period", type=int, default=30, help="period P0 that the prediction is made from")
    parser.add_argument("--periods", type=int, nargs="+", default=list(PERIODS), help="periods asked for")
    parser.add_argument("--threshold", type=float, default=0.942, help="test accuracy to reach")
    parser.add_argument("--workers", type=int, default=len(machine.cores()), help="processes")
    parser.add_argument("--count", action="store_true", help="only count what training from scratch takes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    return parser.parse_args(arguments)


def _predict(asked: EnsembleSpec, options: argparse.Namespace, retirement: Target, folder: str) -> Method:
    """Unperturbed training, one fork, the prediction."""
    how: dict[str, Any] = {"out": folder, "workers": options.workers, "retirement": retirement}
    started = time.perf_counter()
    plain = ensemble.train(asked, keep=(options.period,), **how)
    forked = ensemble.fork(asked, at=options.period, perturbation=PERTURBATION, **how).trajectories
    response = former.predict(
        plain, forked, period=options.period, threshold=options.threshold, periods=options.periods
    )
    seconds = time.perf_counter() - started
    # What was asked for; the engine counts the rest of a shard of 16 too.
    run_epochs = plain.n_trained + int((forked.lengths - options.period)[plain.lengths >= options.period].clip(0).sum())
    if options.runs % ensemble.UNIT == 0:
        assert run_epochs == plain.meta["trained"] + forked.meta["trained"]
    return Method(asked, plain, forked, response, run_epochs, seconds)


def _mean(trajectories: Trajectories, threshold: float) -> Estimate:
    times = fpt.first_passage(trajectories, threshold)
    return fpt.restricted_mean(times, horizon=trajectories.n_epochs)


def _measure(method: Method, prediction: Any, options: argparse.Namespace, retirement: Target, folder: str) -> Period:
    """Runs that one period needs, trained from scratch to the horizon, or forked where they are only counted."""
    period, verdict = prediction.period, prediction.verdict.status.value
    if options.count:
        how: dict[str, Any] = {"out": folder, "workers": options.workers, "retirement": retirement}
        tried = ensemble.fork(method.spec, at=period, perturbation=PERTURBATION, **how).trajectories
        runs = _runs_for(tried, prediction, options.threshold)
        record, seconds = tried, math.nan
    else:
        tried, spent = _from_scratch(method.spec, period, options, folder)
        runs = _runs_for(tried, prediction, options.threshold)
        record, more = _from_scratch(spec.override(method.spec, {"runs": runs}), period, options, folder)
        trained = tried.meta["trained"] + record.meta["trained"]
        seconds = (spent + more) * record.n_trained / trained
        if period == method.response.period:
            _same(record, method.forked, retirement)
    passed = retire(record, retirement)
    share = runs / passed.n_runs
    forked = share * int((passed.lengths - period).clip(0).sum())
    mean = _mean(record, options.threshold)
    return Period(
        period, prediction.mean, prediction.low, prediction.high, verdict, runs, runs * method.spec.epochs,
        share * passed.n_trained, forked, mean.mean, mean.low, mean.high, seconds,
    )  # fmt: skip


def _runs_for(tried: Trajectories, prediction: Any, threshold: float) -> int:
    """Runs whose mean has an interval as wide as the predicted one: widths fall with the square root of their number."""
    mean = _mean(tried, threshold)
    return math.ceil(tried.n_runs * ((mean.high - mean.low) / (prediction.high - prediction.low)) ** 2)


def _from_scratch(
    asked: EnsembleSpec, period: int, options: argparse.Namespace, folder: str
) -> tuple[Trajectories, float]:
    """Perturbed runs, of which those are trained that the folder lacks, and the seconds that it takes."""
    started = time.perf_counter()
    perturbed = spec.override(asked, {"perturbation": {**PERTURBATION, "period": period}})
    return ensemble.train(perturbed, out=folder, workers=options.workers), time.perf_counter() - started


def _same(scratch: Trajectories, forked: Trajectories, retirement: Target) -> None:
    """Make sure that forks give what training from scratch gives."""
    n = min(scratch.n_runs, forked.n_runs)
    whole = retire(scratch.head(runs=n), retirement)
    for name, values in forked.head(runs=n).metrics.items():
        if not np.array_equal(values, whole.metrics[name], equal_nan=True):
            raise SystemExit(f"{name} of the forks differs from that of whole training runs")
    print(f"the first {n} forks are those of whole training runs, number by number", flush=True)


def _ways(method: Method, periods: Sequence[Period]) -> dict[str, tuple[float, float]]:
    """Run-epochs and seconds of each way to know these periods."""
    per_plain_run = method.plain.n_trained / method.plain.n_runs
    rest = [row for row in periods if row.status != "valid"]
    shared = per_plain_run * max((row.runs for row in periods), default=0)
    further = per_plain_run * max([0, *(row.runs - method.plain.n_runs for row in rest)])
    whole, seconds = sum(row.whole for row in periods), sum(row.seconds for row in periods)
    forked = method.run_epochs + further + sum(row.forked for row in rest)
    return {
        "every period from scratch, to the horizon": (whole, seconds),
        "the same, retired at the threshold": (sum(row.retired for row in periods), math.nan),
        "every period forked, retired": (shared + sum(row.forked for row in periods), math.nan),
        "predicted from one period": (method.run_epochs, method.seconds),
        "predicted where valid, else forked": (forked, math.nan if rest else method.seconds),
    }


def _print_periods(periods: Sequence[Period]) -> None:
    rows: list[dict[str, object]] = []
    for row in periods:
        predicted = f"{row.predicted:.1f} ({row.low:.1f} to {row.high:.1f})"
        measured = f"{row.measured:.1f} ({row.measured_low:.1f} to {row.measured_high:.1f})"
        off = f"{round(100 * (row.predicted / row.measured - 1)):+d} %"
        known = {"period": row.period, "predicted": predicted, "status": row.status, "runs": row.runs}
        rows.append({**known, "measured": measured, "off": off})
    print()
    print_table(rows)


def _print_ways(title: str, ways: dict[str, tuple[float, float]], method: Method) -> None:
    rows: list[dict[str, object]] = []
    for name, (run_epochs, seconds) in ways.items():
        times = None if math.isnan(seconds) else f"{seconds:.1f} s, {seconds / method.seconds:.1f} times"
        ratio = f"{run_epochs / method.run_epochs:.1f}"
        rows.append({title: name, "run-epochs": f"{run_epochs:.0f}", "ratio": ratio, "time": times})
    print()
    print_table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, count and print."""
    options = _options(arguments)
    asked = spec.override(spec.load(PARAMS), {"runs": options.runs, "device": "cpu"})
    retirement = Target(options.threshold, metric="test_metric")
    head = machine.head("fptlib", "torch", "numpy")
    print(f"{options.workers} processes")
    with tempfile.TemporaryDirectory() as folder:
        # Processes are started, and the libraries loaded in them, before anything is timed.
        small = spec.override(asked, {"runs": ensemble.UNIT * options.workers, "epochs": 1, "seed": 10**6})
        ensemble.train(small, out=folder, workers=options.workers)
        load = os.getloadavg()[0]
        method = _predict(asked, options, retirement, folder)
        print(
            f"{asked.runs} runs, of which {method.response.residual.n_runs} are perturbed at {options.period} epochs; threshold "
            f"{options.threshold:g}, horizon {asked.epochs}; other processes at the start: load {load:.1f}",
            flush=True,
        )
        with tempfile.TemporaryDirectory() as others:
            if options.count:  # all snapshots to fork from in one training
                how: dict[str, Any] = {"out": others, "workers": options.workers, "retirement": retirement}
                ensemble.train(asked, keep=options.periods, **how)
            rows = [_measure(method, p, options, retirement, others) for p in method.response.predictions]
    _print_periods(rows)
    widths = [row.high - row.low for row in rows]
    print("off: prediction less measurement, of the same seeds, which differ less than others would")
    print(
        f"runs: trained from scratch, for an interval as wide as predicted (median {statistics.median(widths):.1f} epochs)"
    )
    valid = [row for row in rows if row.status == "valid"]
    parts = {f"all {len(rows)} periods": rows, f"the {len(valid)} of a valid prediction": valid}
    ways = {title: _ways(method, part) for title, part in parts.items() if part}
    for title, part in ways.items():
        _print_ways(title, part, method)
    print("\nA prediction that is not valid replaces nothing: compare the last line, and the table of valid ones.")
    if options.json is not None:
        numbers = {
            title: {name: dict(zip(("run_epochs", "seconds"), way, strict=True)) for name, way in part.items()}
            for title, part in ways.items()
        }
        settings = {**vars(options), "horizon": asked.epochs, "json": None}
        periods = [dataclasses.asdict(row) for row in rows]
        content = {**head, "load": load, "settings": settings, "periods": periods, "ways": numbers}
        options.json.write_text(json.dumps(content, indent=1).replace("NaN", "null") + "\n")  # JSON has no NaN


if __name__ == "__main__":
    main()
