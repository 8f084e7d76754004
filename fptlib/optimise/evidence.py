r"""Estimates from all runs so far for every candidate and period, data and bootstrap replicates alike.

A period of a candidate is measured, or predicted from the measured periods ``Q`` of that candidate. Below ``Q`` the truth lies between
form 2 (one perturbation counts) and form 7 (each perturbation counts alike); above it form 2 stands, less what came after a second
perturbation. Such a transfer has an error beside its noise, half of that bracket and a tenth of the mean for each doubling between ``Q``
and ``P``. All that bears on a period is averaged with the inverse squares of noise and error as weights. What could still be the best is
decided by the optimistic ends. Two things hold whatever the perturbation does: no mean is below ``RM(P) + S(P)``, as the first ``P``
epochs are unperturbed; and a full reset has form 4, from unperturbed runs alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.firstpassage.estimates import survival_curves
from fptlib.firstpassage.resampling import percentile_interval
from fptlib.former.forms import (
    Summed,
    cycle_mean,
    cycle_residual,
    cycles,
    restart_restricted_mean,
    splice_mean,
    sum_cycles,
    summed,
)
from fptlib.former.recommendation import MIN_PASSED
from fptlib.former.seeds import Ensemble, joint_weights
from fptlib.former.verdicts import ERROR_TOLERANCE
from fptlib.optimise.candidates import Candidate
from fptlib.trajectories import Target, Trajectories

Array = NDArray[np.float64]
Kind = Literal["measured", "exact", "predicted", "bound"]
MIN_SURVIVORS = 5  # runs whose residual times bear on other periods; those of fewer are alike too often by chance
_LEAST_SPREAD = 0.01  # of the mean: runs that happen to be alike are no certainty
_SHARE = 0.5  # of a bracket: its half-width stands for the error of its middle


@dataclass(frozen=True, slots=True)
class Arm:
    """One choice, a candidate with a period, or no perturbation (both ``None``).

    Parameters
    ----------
    kind
        ``measured``: at this period, and followed until the mean is known; ``exact``: form 4, or unperturbed runs followed to the end;
        ``predicted``: from measured periods; ``bound``: only a lower bound is known.
    mean, optimistic
        Restricted mean, and what it could be at best, for the data (entry 0) and each replicate, ``(1 + replicates,)``.
    error
        Error of the mean beside its noise, in epochs.
    n_runs
        Perturbed runs at this period (unperturbed ones where these tell all).
    """

    candidate: Candidate | None
    period: int | None
    kind: Kind
    mean: Array
    optimistic: Array
    error: float
    n_runs: int

    @property
    def known(self) -> bool:
        """True if no error but noise is left."""
        return self.kind in ("measured", "exact")

    @property
    def cautious(self) -> float:
        """Mean with one standard error and its other error added: of many noisy means the smallest is mostly one too small."""
        return float(self.mean[0] + np.std(self.mean[1:]) + self.error)

    def interval(self, level: float) -> tuple[float, float]:
        """Return the interval of the mean."""
        return percentile_interval(self.mean[1:], level)


@dataclass(frozen=True, slots=True)
class Cell:
    """Perturbed runs at one period: survival ``(replicates, epochs + 1)``, its cycles, and whether all were followed to their end."""

    candidate: Candidate
    period: int
    times: FirstPassageTimes
    curve: Array
    seen: list[Array]
    complete: bool

    @property
    def known(self) -> bool:
        """True if the mean can be estimated: all runs followed to the end, or at least two cycles observed."""
        return self.complete or len(self.seen) > 1

    @property
    def n_survivors(self) -> int:
        """Number of runs that were perturbed."""
        return int(self.times.running(self.period).sum())


@dataclass(frozen=True, slots=True)
class Evidence:
    """Every arm, given what was seen."""

    arms: tuple[Arm, ...]
    survival: Summed
    followed: int

    def arm(self, candidate: Candidate | None, period: int | None) -> Arm:
        """Return the arm of a candidate at a period."""
        return next(a for a in self.arms if a.candidate == candidate and a.period == period)


def gather(
    plain: Trajectories,
    perturbed: Mapping[tuple[Candidate, int], Trajectories],
    *,
    candidates: Sequence[Candidate],
    periods: Sequence[int],
    horizon: int,
    retirement: Target,
    start: int | None,
    per_octave: float = ERROR_TOLERANCE,
    n_boot: int,
    seed: int,
) -> Evidence:
    """Combine all runs observed so far into one estimate for each arm.

    Parameters
    ----------
    plain, perturbed
        Unperturbed runs up to some epoch, and runs perturbed with one period up to some epoch, both retired at ``retirement``.
    periods
        Periods to choose from.
    horizon
        Epoch that all means are restricted to.
    start
        Epoch from which on the unperturbed runs rest, if they do.
    per_octave
        Relative error of a transfer for each doubling of the period.
    """
    measured = [
        (candidate, period, runs, times_of(runs, retirement)) for (candidate, period), runs in perturbed.items()
    ]
    times = times_of(plain, retirement)
    ensembles = [
        Ensemble(plain.metric(retirement.metric), times),
        *(Ensemble(runs.metric(retirement.metric), t, period) for _, period, runs, t in measured),
    ]
    weights, *others = joint_weights(ensembles, n_boot=n_boot, seed=seed)
    followed = plain.n_epochs
    curve = survival_curves(times, weights, horizon=followed)
    cells = [
        _reduced(candidate, period, t, survival_curves(t, w, horizon=runs.n_epochs), horizon)
        for (candidate, period, runs, t), w in zip(measured, others, strict=True)
    ]
    known = _View(summed(_prolonged(curve, horizon, 0.0)), followed, len(times.time), horizon, per_octave)
    # Beyond the last epoch that unperturbed runs were followed to. At rest the hazard does not rise: those that are left are the slow ones.
    since = followed if start is None else max(start, followed // 2)
    passing = 1.0 - _ratio(curve[:, -1], curve[:, since]) ** (1.0 / max(followed - since, 1))
    beyond = replace(known, survival=summed(_prolonged(curve, horizon, 1.0 if since == followed else passing)))
    arms = [known.unperturbed(times.n_censored, beyond)]
    for candidate in candidates:
        own = [cell for cell in cells if cell.candidate == candidate]
        arms += [known.arm(candidate, period, own, beyond) for period in periods]
    return Evidence(tuple(arms), known.survival, followed)


@dataclass(frozen=True, slots=True)
class _View:
    """Unperturbed survival, held at its last value after the epoch that it is known to."""

    survival: Summed
    followed: int
    n_runs: int
    horizon: int
    per_octave: float

    def floor(self, period: int) -> Array:
        """``RM(P) + S(P)``, below which no mean lies; at the last epoch known, for longer periods."""
        at = min(period, self.followed)
        return self.survival.mean(at) + self.survival.value(at)

    def unperturbed(self, n_censored: int, beyond: _View) -> Arm:
        if self.followed >= self.horizon or n_censored == 0:
            mean = self.survival.mean(self.horizon)
            return Arm(None, None, "exact", mean, mean, 0.0, self.n_runs)
        floor = np.maximum(self.floor(self.horizon), beyond.survival.mean(self.horizon))
        return Arm(None, None, "bound", floor, floor, 0.0, self.n_runs)

    def arm(self, candidate: Candidate, period: int, cells: Sequence[Cell], beyond: _View) -> Arm:
        floor = self.floor(period)
        if candidate.restarts and period <= self.followed:
            mean = restart_restricted_mean(self.survival, period=period)
            passed = self.n_runs * float(1.0 - self.survival.value(period)[0])
            if passed >= MIN_PASSED:
                return Arm(candidate, period, "exact", mean, mean, 0.0, self.n_runs)
            # RM / (1 - S) of a few passages: no bootstrap of these knows what could as well have happened.
            off = 1.0 / np.sqrt(passed + 1.0)
            optimistic = np.maximum(mean * (1 - off), floor)
            return Arm(candidate, period, "predicted", mean, optimistic, float(off * mean[0]), self.n_runs)
        here = next((cell for cell in cells if cell.period == period), None)
        parts = [] if here is None else [self._measured(here)]
        view = self if period <= self.followed else beyond
        enough = (c for c in cells if c.period != period and c.known and c.n_survivors >= MIN_SURVIVORS)
        parts += [view._transferred(cell, period) for cell in enough]
        n_runs = 0 if here is None else here.times.n_runs
        if not parts:
            return Arm(candidate, period, "bound", floor, floor, 0.0, n_runs)
        # What was not followed far enough bounds from below, and is no part of a mean where there is better.
        whole = [part for part in parts if part.known] or parts
        weight = np.array([1.0 / part.spread**2 for part in whole])
        weight /= weight.sum()
        mean = np.maximum(sum(w * part.mean for w, part in zip(weight, whole, strict=True)), floor)
        best = sum(w * part.optimistic for w, part in zip(weight, whole, strict=True))
        open_ended = [part.optimistic for part in parts if not part.known]
        optimistic = np.maximum.reduce([np.minimum(best, mean), floor, *open_ended])
        error = float(np.sqrt(sum((w * part.error) ** 2 for w, part in zip(weight, whole, strict=True))))
        predicted: Kind = "predicted" if any(part.known for part in parts) else "bound"
        kind = "measured" if here is not None and here.complete else predicted
        return Arm(candidate, period, kind, mean, optimistic, error, n_runs)

    def _measured(self, cell: Cell) -> _Part:
        """Apply form 1, with the unperturbed runs before the period where there are more of these."""
        residual, later = self._residual(cell)
        if cell.period <= self.followed and self.n_runs > cell.times.n_runs:
            before, entering = self.survival.mean(cell.period), self.survival.value(cell.period)
        else:
            before, entering = cell.curve[:, : cell.period].sum(axis=1), cell.curve[:, cell.period]
        mean = _widened(before + entering * residual.mean(self.horizon - cell.period), cell.times.n_runs)
        return _Part(mean, mean, _SHARE * float(entering[0] * later), cell.known)

    def _transferred(self, cell: Cell, period: int) -> _Part:
        """Apply forms 2 and 7 to the runs of another period."""
        residual, later = self._residual(cell)
        left, entering = self.horizon - period, self.survival.value(period)
        octaves = abs(float(np.log2(period / cell.period)))
        mean = splice_mean(self.survival, residual.mean(left), period=period)
        mean = low = high = _widened(mean, cell.n_survivors)
        if period > cell.period:
            # What came after a second perturbation came sooner than it would here, and may not come at all.
            again = np.maximum(residual.mean(left) - residual.mean(min(cell.period, left)), 0.0)
            low = mean - min(octaves, 1.0) * entering * again
        elif cell.seen:
            tau, _ = cycle_mean(sum_cycles(cell.seen), period=period, n_epochs=left)
            other = _widened(splice_mean(self.survival, np.nan_to_num(tau), period=period), cell.n_survivors)
            low, high = np.minimum(mean, other), np.maximum(mean, other)
            mean = (low + high) / 2
        drift = self.per_octave * octaves
        error = float(np.hypot(drift * mean[0], _SHARE * (high[0] - low[0] + entering[0] * later)))
        return _Part(mean, low * max(1.0 - drift, 0.0), error, cell.known)

    def _residual(self, cell: Cell) -> tuple[Summed, float]:
        """Return the survival after the first perturbation up to the horizon, and the mean time in it that is inferred from earlier cycles.

        Runs that were not followed to their end go on as they did in the last cycle seen, at best: those that are left are the slow ones.
        """
        n_after = self.horizon - cell.period
        tail = _ratio(cell.curve[:, cell.period :], cell.curve[:, [cell.period]])
        seen = tail.shape[1] - 1
        if cell.complete or not cell.known:
            return summed(np.pad(tail, ((0, 0), (0, max(n_after - seen, 0))))), 0.0
        go_on = np.nan_to_num(cycle_residual(cell.seen, period=cell.period, n_epochs=n_after))
        whole = np.concatenate([tail, go_on[:, seen + 1 :]], axis=1)
        return summed(whole), float(whole[0, seen:-1].sum())


@dataclass(frozen=True, slots=True)
class _Part:
    """Mean by one ensemble; not ``known`` where it was not followed far enough."""

    mean: Array
    optimistic: Array
    error: float
    known: bool

    @property
    def spread(self) -> float:
        """Noise and error together."""
        noise = float(np.std(self.mean[1:])) if len(self.mean) > 1 else 0.0
        return float(np.sqrt(noise**2 + self.error**2 + (_LEAST_SPREAD * self.mean[0]) ** 2))


def _reduced(candidate: Candidate, period: int, times: FirstPassageTimes, curve: Array, horizon: int) -> Cell:
    complete = curve.shape[1] > horizon or times.n_censored == 0
    seen = cycles(curve, period=period, n_runs=times.n_runs) if curve.shape[1] > 2 * period else []
    return Cell(candidate, period, times, curve, seen, complete)


def times_of(runs: Trajectories, retirement: Target) -> FirstPassageTimes:
    """Return first-passage times at a retirement's threshold."""
    return first_passage(runs, retirement)


def _widened(mean: Array, n_runs: int) -> Array:
    """Return replicates as far apart as Student's law asks for: resampling forgets that the spread of few runs is an estimate."""
    if n_runs < 2:
        return mean
    factor = float(stats.t.ppf(0.975, n_runs - 1) / stats.norm.ppf(0.975)) * np.sqrt(n_runs / (n_runs - 1))
    return np.asarray(mean[0] + factor * (mean - mean[0]))


def _prolonged(curve: Array, horizon: int, hazard: Array | float) -> Array:
    """Return curves up to the horizon, with one hazard for each replicate after their end."""
    later = np.arange(1, horizon + 2 - curve.shape[1])
    left = (1.0 - np.broadcast_to(hazard, (len(curve),)))[:, None] ** later
    return np.concatenate([curve, curve[:, -1:] * left], axis=1)


def _ratio(part: Array, whole: Array) -> Array:
    """Return parts of a whole, 0 where that is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
