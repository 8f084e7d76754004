"""Choice of the next action: pure functions of what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fptlib.firstpassage import FirstPassageTimes
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.evidence import Arm, Evidence
from fptlib.optimise.result import Purpose
from fptlib.trajectories import Trajectories

REST = 0.5  # spreads that the mean may move by while the epoch doubles: two normal laws so far apart have a KS distance of 0.2
LEAST_PAIRS = 8  # runs that a shift is estimated from
_LEAST_SHARE = 0.25  # of the runs that P0 should leave, where unperturbed training does not say where it should lie


@dataclass(frozen=True, slots=True)
class Action:
    """Ask for runs 0 to ``n_runs - 1`` of a candidate and period (both ``None``: unperturbed), each up to ``epochs``."""

    purpose: Purpose
    candidate: Candidate | None
    period: int | None
    n_runs: int
    epochs: int

    def __str__(self) -> str:
        who = "unperturbed" if self.candidate is None else f"{self.candidate.label} every {self.period} epochs"
        return f"{who}: {self.n_runs} runs up to epoch {self.epochs}"


@dataclass(frozen=True, slots=True)
class Rival:
    """A choice that may be better than the leader: the chance of that, and by how many epochs on average."""

    arm: Arm
    chance: float
    gain: float


def relaxation(plain: Trajectories, times: FirstPassageTimes, *, metric: str) -> int | None:
    """Return the first epoch from which the metric of the survivors rests, or ``None`` if that is not seen yet.

    The same runs are compared at ``t`` and ``2t``, those that have not passed by then: the shift of their mean, less its standard error, in
    units of their spread at ``t``. A search can begin with so few runs; a comparison of distributions (`fptlib.qss`)
    needs many.

    Examples
    --------
    >>> values = np.minimum(np.arange(1.0, 17.0), 4.0) + np.linspace(-1, 1, 8)[:, None]  # rises until epoch 4
    >>> plain = Trajectories({"m": values}, np.arange(8))
    >>> relaxation(plain, FirstPassageTimes(np.full(8, 16), np.zeros(8, bool), np.arange(8)), metric="m")
    4
    """
    values, start = plain.metric(metric), None
    for t in range(plain.n_epochs // 2, 0, -1):
        both = times.running(2 * t)
        if both.sum() < LEAST_PAIRS:
            continue
        earlier, later = values[both, t - 1], values[both, 2 * t - 1]
        moved, spread = later - earlier, float(np.std(earlier))
        noise = float(np.std(moved, ddof=1) / np.sqrt(len(moved)))
        if abs(float(np.mean(moved))) - noise > REST * spread:
            break
        start = t
    return start


def fork_period(times: FirstPassageTimes, periods: Sequence[int], *, start: int | None, epochs: int) -> int | None:
    """Return the period ``P0`` at which all candidates are perturbed first, or ``None`` if no run is left at any.

    Where unperturbed runs rest from epoch ``start`` on: the longest period that was seen to lie in the rest (its double was followed), as
    a longer period tells more about those below it, and its first epochs are paid. Otherwise the longest that leaves a quarter of the runs,
    up to half of the epochs.
    """
    alive = [p for p in periods if p < epochs and times.running(p).any()]
    if start is not None:
        at_rest = [p for p in alive if start <= p <= epochs // 2] or [p for p in alive if p >= start][:1]
        if at_rest:
            return at_rest[-1]
    many = [p for p in alive if p <= max(epochs // 2, min(periods)) and np.mean(times.running(p)) >= _LEAST_SHARE]
    left = many or alive[:1]
    return left[-1] if left else None


def leading(evidence: Evidence, *, start: int | None) -> Arm | None:
    """Return the choice with the smallest mean, errors added to means that are predicted.

    Predictions count from the epoch on at which unperturbed runs rest, and not below the shortest period that was measured of the
    candidate: there perturbations may add up in ways that were not seen. They lead only until the choice is measured.
    """

    def trusted(arm: Arm) -> bool:
        if arm.known:
            return True
        if arm.kind != "predicted" or start is None or not start <= (arm.period or 0) <= evidence.followed:
            return False
        return any(
            a.candidate == arm.candidate and a.n_runs > 0 and (a.period or 0) <= (arm.period or 0)
            for a in evidence.arms
        )

    return min((a for a in evidence.arms if trusted(a)), key=lambda a: a.cautious, default=None)


def rivals(evidence: Evidence, leader: Arm, *, precision: float, level: float) -> list[Rival]:
    """Return the choices that may beat the leader by more than the precision, and may be looked at now.

    Periods beyond one that was found worse than a candidate's own best, seen from there, are left out (the minimum is inside), and so are
    periods shorter than half, or longer than twice, of all that was measured of a candidate, for now: a perturbation far too frequent could
    cost a horizon for each run, and the steps in between tell whether it is.
    """
    bar = (1.0 - precision) * leader.mean
    result = []
    for arm in evidence.arms:
        ahead = np.maximum(bar - arm.optimistic, 0.0)[1:]
        chance = float(np.mean(ahead > 0))
        if arm is leader or chance <= 1.0 - level:
            continue
        named = arm.candidate is not None and arm.period is not None
        if named and not arm.known and not _reachable(evidence, arm, level):
            continue
        result.append(Rival(arm, chance, float(ahead.mean())))
    return result


def _reachable(evidence: Evidence, arm: Arm, level: float) -> bool:
    period = arm.period or 0
    own = [a for a in evidence.arms if a.candidate == arm.candidate and a.period is not None]
    seen = [a for a in own if a.n_runs > 0]
    if not seen or any(a.period == period for a in seen):
        return True
    if all(a.kind == "bound" for a in seen):
        return False  # follow what was begun: it tells of all periods
    best = min((a for a in seen if a.known), key=lambda a: float(a.mean[0]), default=None)
    if best is not None:
        worse = [a.period for a in seen if np.mean(a.optimistic[1:] < best.mean[1:]) <= 1.0 - level]
        at = best.period
        if any(period < p < at or at < p < period for p in worse if p is not None and at is not None):
            return False
    reached = [a.period for a in seen if a.period is not None]
    grid = [a.period for a in own if a.period is not None]
    below = max((p for p in grid if p < min(reached)), default=0)
    above = min((p for p in grid if p > max(reached)), default=math.inf)
    return min(below, min(reached) / 2) <= period <= max(above, 2 * max(reached))


def inside(evidence: Evidence, leader: Arm, *, level: float) -> bool:
    """Test whether the minimum over periods lies between periods that were tried: no neighbour of the choice is likely to be better."""
    own = [a for a in evidence.arms if a.candidate == leader.candidate and a.period is not None]
    shorter = [a for a in own if (a.period or 0) < (leader.period or 0)]
    longer = [a for a in own if (a.period or 0) > (leader.period or 0)]

    def worse(arm: Arm) -> bool:
        return bool(
            arm.mean[0] >= leader.mean[0]
            and (arm.known or np.mean(arm.optimistic[1:] < leader.mean[1:]) <= 1.0 - level)
        )

    return any(map(worse, shorter)) and any(map(worse, longer))
