"""Retrain a sample of the kept runs and compare.

On the machine and with the versions that trained them, runs must be the same bit for bit. Elsewhere they cannot: sums are taken in another
order, a rounding error of one part in ten million is there after the first step, and training multiplies it. What must agree is then
stated: the first epochs closely, and all epochs on average.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from companion.experiments.gather import retirement_of
from companion.experiments.kept import machine, read_kept
from companion.experiments.rows import Key, Row, words
from companion.experiments.threshold import Threshold, threshold_of
from fptlib.errors import InputError
from fptlib.firstpassage import generator
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Retirement, Trajectories

EARLY = 2  # epochs in which a rounding error has not grown yet
EARLY_TOLERANCE = 0.02  # of the metric: rounding errors move single images across a decision, not two in a hundred
CHANCE = 1e-4  # probability that the mean difference of sound runs is called one


@dataclass(frozen=True, slots=True)
class Compared:
    """One kept run beside the same run trained now.

    Parameters
    ----------
    row, ensemble, run
        Which run.
    epochs
        Epochs compared.
    first
        First epoch at which any kept metric differs, 0 if none does.
    largest
        Largest absolute difference of the row's metric.
    early
        The same in the first `EARLY` epochs.
    mean
        Mean over epochs of the row's metric now, less that of the kept run.
    """

    row: str
    ensemble: str
    run: int
    epochs: int
    first: int
    largest: float
    early: float
    mean: float

    def __str__(self) -> str:
        return f"run {self.run} of {self.row}, {self.ensemble}"


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Parameters
    ----------
    compared
        All runs compared.
    same_machine
        Names of the rows whose sampled runs were all trained on this machine with these versions, where bits must agree.
    faults
        Sentences that name the runs that differ; none if all is well.
    """

    compared: tuple[Compared, ...]
    same_machine: tuple[str, ...]
    faults: tuple[str, ...]


def verify(
    rows: Mapping[str, Row],
    *,
    runs: int = 4,
    seed: int = 0,
    folder: str | os.PathLike[str] | None = None,
) -> Verification:
    r"""Retrain some runs of every row and compare them with those that are kept.

    Parameters
    ----------
    rows
        Rows by name; those of which nothing is kept are passed over.
    runs
        Runs of each row, drawn at random among all its kept ensembles.
    seed
        Seed of the draw.
    folder
        See `companion.experiments.kept_folder`.

    Raises
    ------
    InputError
        If nothing at all is kept, a kept ensemble is stale, or a number is not possible.

    Notes
    -----
    Where machine, device and versions are those noted in the file, every number must be the same. Elsewhere the row's metric may differ by
    `EARLY_TOLERANCE` in the first `EARLY` epochs, and over the sampled runs of a row the mean of the difference must be compatible with
    zero: with ``n`` runs, :math:`|t| = |\bar d| \sqrt n / s_d` below the quantile of Student's t with ``n - 1`` degrees of freedom that
    sound runs exceed with probability `CHANCE`. Runs that retire are compared up to the earlier of the two ends.
    """
    from fptlib.ensemble.resources import device_of

    if runs < 1:
        raise InputError(f"runs {runs} is not possible; 1 or more of each row")
    rng = generator(seed)
    compared: list[Compared] = []
    same: list[str] = []
    faults: list[str] = []
    here = machine()
    for name, row in rows.items():
        plain = read_kept(row.unperturbed, folder=folder)
        if plain is None:
            continue
        threshold = threshold_of(row, plain)
        pairs = list(_sampled(row, plain, threshold, runs, rng, folder))
        found = [pair for kept, key, chosen in pairs for pair in _retrained(row, key, kept, chosen, threshold)]
        compared += found
        alike = (here, device_of(row.unperturbed))
        if all((kept.meta.get("machine"), kept.meta.get("device")) == alike for kept, _, _ in pairs):
            same.append(name)
            faults += [f"{c} differs from epoch {c.first} on, by up to {c.largest:.3g}" for c in found if c.first]
        else:
            faults += _faults_elsewhere(row, found)
    if not compared:
        raise InputError("nothing is kept of these rows: fpt experiments trains and keeps them")
    return Verification(tuple(compared), tuple(same), tuple(faults))


def _sampled(
    row: Row,
    plain: Trajectories,
    threshold: Threshold,
    n: int,
    rng: np.random.Generator,
    folder: str | os.PathLike[str] | None,
) -> Iterator[tuple[Trajectories, Key, list[int]]]:
    """Ensembles with some of their runs, ``n`` in all, each run of the row's ensembles as likely as any other."""
    kept: dict[Key, Trajectories] = {None: plain}
    for key in row.members():
        if key is not None:
            found = read_kept(row.ensemble(key), retirement=retirement_of(row, threshold), folder=folder)
            if found is not None:
                kept[key] = found
    every = [(key, run) for key, record in kept.items() for run in record.run.tolist()]
    chosen: dict[Key, list[int]] = defaultdict(list)
    for i in sorted(rng.choice(len(every), size=min(n, len(every)), replace=False).tolist()):
        chosen[every[i][0]].append(every[i][1])
    for key, numbers in chosen.items():
        yield kept[key], key, numbers


def _retrained(row: Row, key: Key, kept: Trajectories, runs: list[int], threshold: Threshold) -> Iterable[Compared]:
    now = retrain(row.ensemble(key), runs, None if key is None else retirement_of(row, threshold))
    for i, run in enumerate(runs):
        place = int(np.flatnonzero(kept.run == run)[0])
        old = {name: values[place] for name, values in kept.metrics.items()}
        yield _compare(row, key, run, old, {name: now[name][i] for name in old})


def _compare(
    row: Row, key: Key, run: int, old: Mapping[str, NDArray[np.float64]], new: Mapping[str, NDArray[np.float64]]
) -> Compared:
    differs = np.zeros(len(old[row.metric]), dtype=bool)
    for name, values in old.items():
        differs |= ~((values == new[name]) | (np.isnan(values) & np.isnan(new[name])))
    gap = new[row.metric] - old[row.metric]
    both = np.flatnonzero(np.isfinite(gap))
    gap = gap[both]
    return Compared(
        row=row.name,
        ensemble=words(key),
        run=run,
        epochs=len(both),
        first=int(differs.argmax()) + 1 if differs.any() else 0,
        largest=float(np.abs(gap).max()),
        early=float(np.abs(gap[:EARLY]).max()),
        mean=float(gap.mean()),
    )


def _faults_elsewhere(row: Row, found: list[Compared]) -> Iterator[str]:
    for one in found:
        if one.early > EARLY_TOLERANCE:
            yield f"{one} differs by {one.early:.3g} in its first {EARLY} epochs; {EARLY_TOLERANCE:g} is allowed on another machine"
    means = np.array([one.mean for one in found])
    if len(means) < 2 or not means.any():
        return
    spread = float(means.std(ddof=1))
    limit = float(stats.t.isf(CHANCE / 2, len(means) - 1))
    if abs(means.mean()) > limit * spread / np.sqrt(len(means)):
        named = "; ".join(f"{one} by {one.mean:+.3g}" for one in found if one.first)
        yield f"{row.name}: the runs trained now differ on average by {means.mean():+.3g}, beyond chance ({named})"


def retrain(
    spec: EnsembleSpec, runs: Iterable[int], retirement: Retirement | None = None
) -> dict[str, NDArray[np.float64]]:
    """Train some runs of a specification by themselves, from their first epoch; no store is read or written.

    Parameters
    ----------
    spec
        Specification.
    runs
        Numbers of the runs.
    retirement
        Runs that reach this are trained no further.

    Returns
    -------
    dict
        Name of a metric to its values, shape ``(runs, epochs)``, NaN where a run was not followed.
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
