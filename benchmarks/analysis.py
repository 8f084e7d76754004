# ruff: noqa: T201
"""How long a prediction with its bootstrap takes: two ensembles of simulated runs, many replicates.

Run with ``python benchmarks/analysis.py``; ``--help`` lists the options. Times are those of a whole `fptlib.predict`, the verdict on
the quasi-steady state included; the data are made before, and one prediction of each kind is not counted.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

import machine
import numpy as np

from fptlib import former
from fptlib.processes import OrnsteinUhlenbeck

PROCESS = OrnsteinUhlenbeck(
    decay=0.9, noise=0.4, threshold=1.9, start=-2.0, shrink=0.4
)  # a third is censored at epoch 200
PERIOD = 20


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="runs of each of the two ensembles")
    parser.add_argument("--epochs", type=int, default=200, help="horizon")
    parser.add_argument("--replicates", type=int, default=10_000, help="of the bootstrap")
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each, in turn")
    return parser.parse_args(arguments)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    options = _options(arguments)
    unperturbed, perturbed = (
        PROCESS.sample(np.random.default_rng(seed), n_runs=options.runs, horizon=options.epochs, period=period)
        for seed, period in ((0, None), (1, PERIOD))
    )
    perturbed = dataclasses.replace(perturbed, run=perturbed.run + options.runs)  # other seeds, drawn by themselves

    def prediction(periods: list[int] | None) -> Callable[[], object]:
        how = {"period": PERIOD, "threshold": PROCESS.threshold, "periods": periods, "n_boot": options.replicates}
        return lambda: former.predict(unperturbed, perturbed, **how)

    machine.head("fptlib", "numpy", "scipy")
    print(
        f"2 x {options.runs} runs of {options.epochs} epochs, {options.replicates} replicates, {options.repeats} repeats"
    )
    kinds = {"default periods": prediction(None), "one period": prediction([50])}
    for work in kinds.values():
        work()
    measured = [{name: _seconds(work) for name, work in kinds.items()} for _ in range(options.repeats)]
    for name in kinds:
        times = [seconds[name] for seconds in measured]
        print(f"{name:>16}: median {statistics.median(times):.2f} s (from {min(times):.2f} to {max(times):.2f} s)")


if __name__ == "__main__":
    main()
