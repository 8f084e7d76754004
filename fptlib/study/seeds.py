"""Runs of several ensembles that are one seed, and bootstrap weights that draw a seed with all its runs.

With common random numbers an unperturbed run and the perturbed runs made from it are not independent: drawn apart,
differences between perturbations would get intervals that are wrong by factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes, require_passage
from fptlib.firstpassage.resampling import bootstrap_weights, generator
from fptlib.trajectories import Target
from fptlib.trajectories.checks import FEWEST_DISTINCT, twins

_FEWEST = 3  # runs that are equal, or equal unperturbed ones, by no chance
_PER_CENT = 10.0  # a threshold beyond may be a percentage, of a metric that is a fraction and near to its hundredth
_NEARLY_ALL = 0.9  # of the runs that part


@dataclass(frozen=True, slots=True)
class Ensemble:
    """First-passage times, the metric ``(runs, epochs)`` where it is known, and the epoch of the first perturbation, if any."""

    times: FirstPassageTimes
    values: NDArray[np.float64] | None = None
    period: int | None = None


def joint_weights(ensembles: Sequence[Ensemble], *, n_boot: int, seed: int) -> list[NDArray[np.float32]]:
    """Return the weights of the runs of each ensemble, the data first, each ``(1 + n_boot, runs)``; runs of one seed are drawn together.

    Seeds are drawn among those that have runs in the same ensembles, so that every replicate has as many of each kind as the data.
    """
    places = seeds_of(ensembles)
    n_seeds = 1 + max(int(place.max()) for place in places)
    member = np.zeros((n_seeds, len(ensembles)), dtype=bool)
    for e, place in enumerate(places):
        member[place, e] = True
    _, kind = np.unique(~member, axis=0, return_inverse=True)  # seeds that are in the first ensembles come first
    order = np.argsort(kind.reshape(-1), kind="stable")
    strata = [part for part in np.split(np.arange(n_seeds), np.cumsum(np.bincount(kind.reshape(-1)))[:-1]) if len(part)]
    table = bootstrap_weights(strata, n_boot=n_boot, rng=generator(seed))
    column = np.empty(n_seeds, dtype=np.int64)
    column[order] = np.arange(n_seeds)
    return [_columns(table, column[place]) for place in places]


def seeds_of(ensembles: Sequence[Ensemble]) -> list[NDArray[np.int64]]:
    """Return the number of the seed of each run, for each ensemble ``(runs,)``.

    Runs of two ensembles that carry the same label and agree exactly up to the first perturbation of either, or to their passage, are one
    seed. If any that share a label disagree, labels mean nothing between these two, and no run is shared.
    """
    places: list[NDArray[np.int64]] = []
    n_seeds = 0
    for e, ensemble in enumerate(ensembles):
        place = np.full(ensemble.times.n_runs, -1, dtype=np.int64)
        for earlier, known in zip(ensembles[:e], places, strict=True):
            there, here = _shared(earlier, ensemble)
            here, there = here[place[here] < 0], there[place[here] < 0]
            place[here] = known[there]
        new = np.flatnonzero(place < 0)
        place[new] = n_seeds + np.arange(len(new))
        n_seeds += len(new)
        places.append(place)
    return places


def agreement(first: Ensemble, second: Ensemble) -> int:
    """Return the last epoch until which the metric of all runs that share their seed agrees; 0 if none does or it is not known."""
    x, y = _paired(first, second)
    differ = ((x != y) & np.isfinite(x) & np.isfinite(y)).any(axis=0)
    return int(differ.argmax()) if differ.any() else x.shape[1] * bool(len(x))


class DoubtfulError(InputError):
    """Runs that cannot be what was asked for."""


def require_use(ensembles: Mapping[str, Ensemble], target: Target) -> None:
    """Raise a DoubtfulError if runs, unperturbed ones first, use no seed or no perturbation, or a fraction is to reach a percentage."""
    plain, *_ = ensembles.values()
    values = np.asarray(plain.values)
    pairs, low, high = twins(values), np.nanmin(values), np.nanmax(values)
    if _FEWEST <= len(values) == len(pairs) + 1:
        n = np.isfinite(values).sum(axis=1).max()
        raise DoubtfulError(
            f"all {len(values)} unperturbed runs are equal over their {n} epochs: does training use the seed?"
        )
    if low >= 0 and high <= 1 and max(_PER_CENT, 50 * high) < target.threshold < 200 * high:
        try:
            require_passage(target, unperturbed=values)
        except InputError as error:
            raise DoubtfulError(str(error)) from None
    for name, ensemble in ensembles.items():
        x, y = _paired(plain, ensemble)
        after = np.isfinite(x) & np.isfinite(y)
        after[:, : ensemble.period] = False
        enough = after.any(axis=1).sum() >= _FEWEST and len(np.unique(x[after])) >= FEWEST_DISTINCT
        if enough and (x == y)[after].all():
            message = f"the runs of {name} equal unperturbed ones to their end"
            raise DoubtfulError(f"{message}: does training use the perturbation and the period?")


def _paired(first: Ensemble, second: Ensemble) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the metric of both ensembles up to a common epoch for the runs that share their seed, none where it is not known."""
    a, b = _shared(first, second)
    if first.values is None or second.values is None:
        return np.zeros((0, 0)), np.zeros((0, 0))
    n = min(first.values.shape[1], second.values.shape[1])
    return first.values[a, :n], second.values[b, :n]


def parting(first: Ensemble, second: Ensemble, until: int) -> int:
    """Return the epoch, up to ``until``, at which nearly all runs of one label that part by then do; 0 if there is none.

    Before it they agree and differ from other runs, so that training is the same until something is done to one of the two. Runs that
    never agreed, or part one by one as rounding errors grow, have no such epoch.
    """
    if first.values is None or second.values is None:
        return 0
    _, a, b = np.intersect1d(first.times.run, second.times.run, return_indices=True)
    x, y = first.values[a, :until], second.values[b, :until]
    differ = (x != y) & np.isfinite(x) & np.isfinite(y)
    parted, epoch = differ.any(axis=1), differ.argmax(axis=1)
    counts = np.bincount(epoch[parted], minlength=1)
    at = int(counts.argmax())
    together = parted & (epoch == at)
    apart = len(np.unique(x[together, :at], axis=0))
    return at + 1 if counts[at] >= _NEARLY_ALL * counts.sum() and at and apart >= FEWEST_DISTINCT else 0


def _shared(first: Ensemble, second: Ensemble) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the places in both ensembles of the runs that share their seed."""
    _, a, b = np.intersect1d(first.times.run, second.times.run, return_indices=True)
    periods = [e.period for e in (first, second) if e.period is not None]
    ends = [e.times.horizon if e.values is None else e.values.shape[1] for e in (first, second)]
    until = min([*periods, *ends])
    if first.values is None or second.values is None:
        alike = _pass_alike(first.times, a, second.times, b, until)
    else:
        last = np.minimum(first.times.time[a], second.times.time[b])  # of two that agree so far and pass, both pass
        looked_at = np.arange(1, until + 1) <= last[:, None]  # (shared runs, epochs)
        alike = bool((first.values[a, :until] == second.values[b, :until])[looked_at].all())
    return (a, b) if alike else (a[:0], b[:0])


def _pass_alike(
    first: FirstPassageTimes, a: NDArray[np.int64], second: FirstPassageTimes, b: NDArray[np.int64], until: int
) -> bool:
    """Test whether the same runs pass at the same epochs up to ``until``, some of them at all: without a metric nothing else is known."""
    early = first.observed[a] & (first.time[a] <= until)
    same = np.array_equal(early, second.observed[b] & (second.time[b] <= until))
    return same and bool(early.any()) and np.array_equal(first.time[a][early], second.time[b][early])


def _columns(table: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return columns of a table, without a copy where they are neighbours."""
    if (np.diff(places) == 1).all():
        return table[:, places[0] : places[0] + len(places)]
    return np.take(table, places, axis=1)
