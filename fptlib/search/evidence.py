"""Means of every candidate at every period from all runs so far, each with its interval, data and bootstrap replicates alike.

A period is measured, or predicted from the measured period with the smallest reach; a full reset and doing nothing need unperturbed runs
only. As the first ``P`` epochs are unperturbed, no mean is below ``RM(P) + S(P)``: where nothing else is known that is the bound.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.firstpassage.estimates import survival_curves
from fptlib.response import Prediction
from fptlib.response.curves import Curves, conditional, continued, restarted, spliced
from fptlib.response.interval import Interval, Source, combined, reach, sampling, transfer
from fptlib.response.results import named
from fptlib.search.candidates import UNPERTURBED, Candidate, cell
from fptlib.search.result import Settings
from fptlib.search.source import Source as SourceOfRuns
from fptlib.study.seeds import Ensemble, joint_weights, require_use
from fptlib.trajectories import Trajectories

Array = NDArray[np.float64]
Choice = tuple[Candidate | None, int | None]  # both None: no perturbation
_WIDEST = 2.0  # times that replicates are spread further at most; where they are nearer to each other, runs happened to be alike


@dataclass(frozen=True, slots=True)
class Arm:
    """One choice: a candidate with a period, or no perturbation (``candidate`` is ``None``).

    ``mean`` and ``optimistic`` are the restricted mean, or its lower bound (the prediction's centre is then NaN), and what it could be at
    best, of the data and each replicate, ``(1 + replicates,)``; ``n_runs`` the runs at this period, or the unperturbed ones that tell all.
    """

    candidate: Candidate | None
    prediction: Prediction
    mean: Array
    optimistic: Array
    n_runs: int

    @property
    def period(self) -> int | None:
        """Period; ``None`` for no perturbation."""
        return self.prediction.period

    @property
    def choice(self) -> Choice:
        """Candidate and period."""
        return self.candidate, self.period

    @property
    def bound(self) -> bool:
        """True if nothing but a lower bound is known."""
        return math.isnan(self.prediction.centre)

    @property
    def known(self) -> bool:
        """True if sampling is all that is uncertain: the mean was measured, or follows from unperturbed runs."""
        return not self.bound and self.prediction.method in ("measured", "restart")

    @property
    def cautious(self) -> float:
        """Mean and one standard error of what is measured, upper end of what is not: of many noisy means the smallest is too small."""
        return self.slow if self.prediction.measured else self.prediction.high

    @property
    def slow(self) -> float:
        """Mean and one standard error."""
        return float(self.mean[0] * np.exp(np.std(np.log(self.mean[1:]))))


@dataclass(frozen=True, slots=True)
class Evidence:
    """Every arm, and ``RM + S`` at the last epoch that unperturbed runs were followed to, below which no later period lies."""

    arms: tuple[Arm, ...]
    floor: Array

    def arm(self, candidate: Candidate | None, period: int | None) -> Arm:
        """Return the arm of a candidate at a period."""
        return next(a for a in self.arms if a.candidate == candidate and a.period == period)


def gather(
    runs: Mapping[Choice, Trajectories],
    *,
    candidates: Sequence[Candidate],
    periods: Sequence[int],
    source: SourceOfRuns,
    start: int | None,
    settings: Settings,
) -> Evidence:
    """Combine all runs so far, the unperturbed ones first, into one estimate for each arm; from ``start`` on these rest, if they do."""
    target, horizon, level = source.retirement, source.horizon, settings.level
    times = {key: first_passage(each, target) for key, each in runs.items()}
    ensembles = [Ensemble(times[key], each.metric(target.metric), key[1]) for key, each in runs.items()]
    require_use({named(*cell(*key)): each for key, each in zip(runs, ensembles, strict=True)}, target)
    weights = dict(zip(runs, joint_weights(ensembles, n_boot=settings.n_boot, seed=settings.seed), strict=True))
    curves = {key: survival_curves(times[key], weights[key], horizon=runs[key].n_epochs).T for key in runs}
    followed, plain = runs[UNPERTURBED].n_epochs, continued(curves[UNPERTURBED], horizon, since=start)
    view = _View(plain, followed, times[UNPERTURBED], start is not None, level)
    arms = [view.nothing()]
    for candidate in candidates:
        own = {period: each for (c, period), each in runs.items() if period is not None and c == candidate}
        sources = [view.source(candidate, p, times[candidate, p], curves[candidate, p]) for p in own]
        arms += [view.arm(candidate, p, sources, own[p].n_runs if p in own else 0) for p in periods]
    return Evidence(tuple(arms), view.floor(horizon))


@dataclass(frozen=True, slots=True)
class _View:
    """Unperturbed survival, beyond the epoch ``followed`` continued, and the times behind it."""

    survival: Curves
    followed: int
    times: FirstPassageTimes
    settled: bool
    level: float

    @property
    def horizon(self) -> int:
        return len(self.survival) - 1

    def floor(self, period: int) -> Array:
        """Return ``RM(P) + S(P)``, below which no mean lies; at the last epoch known, for longer periods."""
        at = min(period, self.followed)
        return np.asarray(self.survival[:at].sum(axis=0) + self.survival[at])

    def source(self, candidate: Candidate, period: int, times: FirstPassageTimes, curve: Curves) -> Source:
        """Reduce perturbed runs; where there are more of them than unperturbed ones, their own first epochs stand for those."""
        before = self.survival
        if period <= self.followed and times.n_runs > self.times.n_runs:
            before = spliced(curve, np.nan_to_num(conditional(before, period)), period)
        if times.n_censored == 0:
            curve = np.pad(curve, ((0, self.horizon + 1 - len(curve)), (0, 0)))  # all have passed
        return Source.of((candidate.label, period), times, curve, before)

    def nothing(self) -> Arm:
        times, mean = self.times, self.survival[:-1].sum(axis=0)
        if self.followed < self.horizon and times.n_censored:
            floor = self.floor(self.horizon)
            return self._bound(UNPERTURBED, np.maximum(mean, floor) if self.settled else floor, times.n_runs)
        part = sampling(mean, self.level, n=times.n_runs)
        how = {"method": "measured", "source": None, "n_runs": times.n_runs, "n_censored": times.n_censored}
        return self._arm(UNPERTURBED, mean, part, np.zeros_like(mean), how, times.n_runs)

    def arm(self, candidate: Candidate, period: int, sources: Sequence[Source], n_runs: int) -> Arm:
        floor = self.floor(period)
        if candidate.restarts and period <= self.followed:
            mean, n = restarted(self.survival, period)[:-1].sum(axis=0), self.times.n_runs
            n_passed = n - int(self.times.running(period).sum())
            part = sampling(mean, self.level, n=n, n_passed=n_passed, least=float(floor[0]))
            how = {"method": "restart", "source": None, "n_runs": n, "n_censored": self.times.n_censored}
            return self._arm((candidate, period), mean, part, floor, how, n)
        able = [s for s in sources if s.n_survivors > 1]
        able.sort(key=lambda s: (reach(period, s.period), -s.n_survivors))
        if not able or (period > self.followed and not self.settled):
            return self._bound((candidate, period), floor, n_runs)
        if period > self.followed:  # at rest the hazard does not rise: survival lies above what it is continued to
            mean, low, _ = transfer(able[0], period)
            return self._bound((candidate, period), np.maximum(mean * (low / mean[0]), floor), n_runs)
        arm = self._carried(candidate, period, able[0], n_runs)
        other = next((s for s in able if (s.period > period) != (able[0].period > period)), None)
        if other is None or able[0].period == period:
            return arm
        # Between two measured periods it may be as good as either of them says.
        best = self._carried(candidate, period, other, n_runs).optimistic
        return replace(arm, optimistic=np.minimum(arm.optimistic, best))

    def _carried(self, candidate: Candidate, period: int, at: Source, n_runs: int) -> Arm:
        mean, *ends = transfer(at, period)
        n, floor = at.n_survivors, np.asarray(at.survival[:period].sum(axis=0) + at.survival[period])
        part = sampling(mean, self.level, n=n, n_passed=at.n_passed, least=float(floor[0]))
        method = "measured" if at.measures(period) else "cycles"
        how = {"method": method, "source": at.period, "n_runs": n, "n_censored": n - at.n_passed}
        return self._arm((candidate, period), mean, part, floor, how, n_runs, *ends)

    def _arm(
        self, choice: Choice, mean: Array, part: float, floor: Array, how: dict[str, Any], n_runs: int, *ends: float
    ) -> Arm:
        """Return an arm from its mean, the half-width of the sampling of its log, and its ends beside sampling, if there are any."""
        centre = float(mean[0])
        low, high = ends or (centre, centre)
        interval = combined(centre, low, high, part, floor=self._quantile(floor), horizon=self.horizon)
        spread = np.maximum(self._spread(mean, part), floor)
        prediction = Prediction(*cell(*choice), interval, level=self.level, **how)
        return Arm(choice[0], prediction, spread, np.maximum(spread * (low / centre), floor), n_runs)

    def _bound(self, choice: Choice, floor: Array, n_runs: int) -> Arm:
        low, high = self._quantile(floor), float(self.horizon)
        interval = Interval(math.nan, low, high, (low, high))
        prediction = Prediction(*cell(*choice), interval, "cycles", None, n_runs, n_runs, self.level)
        return Arm(choice[0], prediction, floor, floor, n_runs)

    def _quantile(self, floor: Array) -> float:
        return float(np.quantile(floor[1:], 0.5 - self.level / 2))

    def _spread(self, mean: Array, part: float) -> Array:
        """Return replicates whose logs deviate as ``sampling`` asks for: those of few runs do not show how uncertain they are."""
        logs = np.nan_to_num(np.log(mean / mean[0]))  # of a replicate in which no run was perturbed nothing is known
        spread, own = part / float(special.ndtri(0.5 + self.level / 2)), float(np.std(logs[1:]))
        if own * _WIDEST >= spread:
            logs *= spread / own if own > 0 else 1.0
        else:
            logs[1:] = spread * np.random.default_rng(len(mean)).standard_normal(len(mean) - 1)
        return np.asarray(mean[0] * np.exp(logs))
