"""What many tests share: processes with known answers and samples of them, small ensembles, comparisons."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fptlib import spec
from fptlib.processes import (
    DelayedGeometric,
    FiniteChain,
    FrozenMixture,
    GeometricWithKick,
    Heterogeneous,
    OrnsteinUhlenbeck,
    Process,
)
from fptlib.search import Recorded
from fptlib.trajectories import DEFAULT_METRIC, Target, Trajectories

Fpt = Callable[..., tuple[int, str, str]]  # the fixture that runs the command line

KICK = GeometricWithKick(hazard=0.02, kick=0.3)
MIXTURE = FrozenMixture(silent=10, good=0.4, good_after=0.6, hazard=0.1)
DELAYED = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
CHAIN = FiniteChain.birth_death(n_states=6, up=0.3, down=0.2, kick=2)
RESET = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=1.5, start=-2.0)
SHRINK = dataclasses.replace(RESET, shrink=0.4)
TYPES = Heterogeneous(hazard=0.01, hazards_after=(0.3, 0.03), window=5)
PROCESSES: dict[str, Process] = {
    "kick": KICK,
    "mixture": MIXTURE,
    "delayed": DELAYED,
    "chain": CHAIN,
    "reset": RESET,
    "shrink": SHRINK,
    "types": TYPES,
}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())


def recorded(
    processes: Mapping[str, Process],
    periods: Iterable[int],
    *,
    horizon: int,
    threshold: float,
    seed: int = 0,
    **how: Any,
) -> Recorded:
    """Return records of 500 runs of each process at each period, to draw from; the first process gives the unperturbed runs."""
    rng, periods = np.random.default_rng(seed), [*periods]
    plain = next(iter(processes.values())).sample(rng, n_runs=500, horizon=horizon)
    perturbed = {
        (label, period): process.sample(rng, n_runs=500, horizon=horizon, period=period)
        for label, process in processes.items()
        for period in periods
    }
    return Recorded(plain, perturbed, retirement=Target(threshold, metric=DEFAULT_METRIC), seed=seed, **how)


# Small enough for a fraction of a second; 45 images in batches of 10 leave a last batch of 5.
SMALL: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 45},
    "model": {"name": "mlp", "widths": [16]},
    "optimiser": {"name": "sgd", "lr": 0.2},
    "training": {"batch_size": 10},
    "runs": 16,
    "epochs": 6,
    "device": "cpu",
}
# The same as a file, for the command line.
ENSEMBLE = """
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


def small(**changes: Any) -> spec.EnsembleSpec:
    """Return the small ensemble with other sections or, by dotted names, other values."""
    return spec.override(SMALL, changes)


def sampled(
    process: Process,
    seed: int = 0,
    *,
    n_runs: int = 300,
    horizon: int = 150,
    period: int | None = None,
    first: int | None = None,
) -> Trajectories:
    """Return a sample whose runs are labelled from `first` on; by default no two seeds and periods share a label."""
    runs = process.sample(np.random.default_rng([seed, period or 0]), n_runs=n_runs, horizon=horizon, period=period)
    start = 10**6 * (1000 * seed + (period or 0)) if first is None else first
    return dataclasses.replace(runs, run=runs.run + start)


def same(a: Trajectories | Mapping[str, Any], b: Trajectories | Mapping[str, Any]) -> bool:
    """Return whether two ensembles, or two sets of named arrays or tensors, are equal bit for bit."""
    if isinstance(a, Trajectories) and isinstance(b, Trajectories):
        return np.array_equal(a.run, b.run) and same(a.metrics, b.metrics)
    return a.keys() == b.keys() and all(
        value.equal(b[name]) if hasattr(value, "equal") else np.array_equal(value, b[name], equal_nan=True)
        for name, value in a.items()
    )


def wait_for(condition: Callable[[], object], process: subprocess.Popen[Any] | None = None) -> None:
    """Wait until a condition holds; fail where the process ends before, or after longer than it can take."""
    deadline = time.monotonic() + 600
    while not condition():
        assert process is None or process.poll() is None, "ended too early"
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def write_logs(folder: Path, *, seed: int, period: int | None) -> None:
    """Write the logs of sixty training runs that settle at levels of their own and draw a new one when they are perturbed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for run in range(60):
        level, rows = rng.normal(0.88, 0.015), []
        for epoch in range(1, 101):
            rows.append(level - 0.5 * np.exp(-epoch / 3) + rng.normal(0, 0.002))
            if period is not None and epoch % period == 0:
                level = rng.normal(0.885, 0.015)
        pd.DataFrame({"val_acc": rows}).to_csv(folder / f"run_{run}.csv", index=False)
