"""Train a sample of the kept runs again and compare.

On the machine and with the versions that trained them, runs must be the same bit for bit. Elsewhere they cannot: sums are taken in another
order, a rounding error of one part in ten million is there after the first step, and training multiplies it. There the first epochs must
agree closely.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from companion import words
from companion.experiments.gather import read_row
from companion.experiments.kept import machine
from companion.experiments.rows import Key, Row
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import generator
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Target

EARLY = 2  # epochs in which a rounding error has not grown yet
EARLY_TOLERANCE = 0.02  # of the metric: rounding errors move single images across a decision, not two in a hundred


@dataclass(frozen=True, slots=True)
class Compared:
    """One kept run beside the same run trained now.

    Parameters
    ----------
    row, ensemble, run
        Which run.
    exact
        Whether bits must agree: it was trained on this machine with these versions.
    epochs
        Epochs compared.
    first
        First epoch at which any kept metric differs, 0 if none does.
    largest, early
        Largest absolute difference of the row's metric, in all epochs and in the first `EARLY`.
    """

    row: str
    ensemble: str
    run: int
    exact: bool
    epochs: int
    first: int
    largest: float
    early: float

    @property
    def fault(self) -> str:
        """The fault in a sentence; empty if there is none."""
        name = f"run {self.run} of {self.row}, {self.ensemble}"
        if self.exact and self.first:
            return f"{name}, differs from epoch {self.first} on, by up to {self.largest:.3g}"
        if not self.exact and self.early > EARLY_TOLERANCE:
            allowed = f"{EARLY_TOLERANCE:g} is allowed on another machine"
            return f"{name}, differs by {self.early:.3g} in its first {EARLY} epochs; {allowed}"
        return ""


def verify(rows: Mapping[str, Row], *, runs: int = 4, seed: int = 0) -> list[Compared]:
    """Train some runs of every row again and compare them with those that are kept.

    Parameters
    ----------
    rows
        Rows by name; those of which nothing is kept are passed over.
    runs
        Runs of each row, each of its kept runs as likely as any other.
    seed
        Seed of the draw.

    Raises
    ------
    InputError
        If nothing at all is kept, a kept ensemble is stale, or a number is not possible.

    Notes
    -----
    Where machine, device and versions are those noted in the file, every number must be the same. Elsewhere the row's metric may differ by
    `EARLY_TOLERANCE` in the first `EARLY` epochs. Runs that retire are compared up to the earlier of the two ends.
    """
    from fptlib.ensemble.resources import device_of

    if runs < 1:
        raise InputError(f"runs {runs} is not possible; 1 or more of each row")
    rng = generator(seed)
    compared: list[Compared] = []
    for row, kept in ((row, read_row(row)) for row in rows.values()):
        if kept is None:
            continue
        here = (machine(), device_of(row.unperturbed))
        keys: list[Key] = [None, *kept.perturbed]
        every = [(key, run) for key in keys for run in kept.of(key).run.tolist()]
        chosen: dict[Key, list[int]] = defaultdict(list)
        for i in sorted(rng.choice(len(every), size=min(runs, len(every)), replace=False).tolist()):
            chosen[every[i][0]].append(every[i][1])
        for key, numbers in chosen.items():
            record = kept.of(key)
            exact = (record.meta.get("machine"), record.meta.get("device")) == here
            at = kept.target if row.retire and key is not None else None
            now = retrain(row.ensemble(key), numbers, at)
            for i, run in enumerate(numbers):  # run `k` of a kept ensemble is its row `k`
                old = {name: values[run] for name, values in record.metrics.items()}
                same = [np.isclose(old[name], now[name][i], rtol=0, atol=0, equal_nan=True) for name in old]
                alike = np.logical_and.reduce(same)
                gap = np.abs(now[row.metric][i] - old[row.metric])
                gap = gap[np.isfinite(gap)]
                first = 0 if alike.all() else int(alike.argmin()) + 1
                sizes = float(gap.max()), float(gap[:EARLY].max())
                compared.append(Compared(row.name, words(key), run, exact, len(gap), first, *sizes))
    if not compared:
        raise InputError("nothing is kept of these rows: fpt experiments trains and keeps them")
    return compared


def retrain(
    spec: EnsembleSpec, runs: Iterable[int], retirement: Target | None = None
) -> dict[str, NDArray[np.float64]]:
    """Train some runs of a specification by themselves, from their first epoch; no store is read or written.

    Returns
    -------
    dict
        Name of a metric to its values, shape ``(runs, epochs)``, NaN where a run was not followed, as after it reached ``retirement``.
    """
    from fptlib import data
    from fptlib.ensemble.resources import device_of, numerics
    from fptlib.ensemble.training import Task, Training

    task = Task(spec, tuple(runs), spec.epochs, device_of(spec), retirement)
    with numerics():
        training = Training(task, data.load(spec.data))
        while training.active:
            training.step_epoch()
    return training.metrics
