"""Choice of the next action: pure functions of what was seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fptlib.firstpassage import FirstPassageTimes
from fptlib.search.candidates import Candidate, cell, described
from fptlib.search.evidence import Arm, Evidence
from fptlib.search.result import Purpose

_HOPE = 0.1  # weight of what a mean could be at best beside what is likely: few that could be best are
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
        return f"{described(*cell(self.candidate, self.period))}: {self.n_runs} runs up to epoch {self.epochs}"


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


def leading(evidence: Evidence) -> Arm | None:
    """Return the choice: the smallest mean, where a prediction counts with the upper end of its interval; ``None`` if none is known.

    As long as doing nothing is known by its lower bound only, a prediction has to lie below that.
    """
    nothing = evidence.arm(None, None)
    limit = nothing.mean[0] if nothing.bound else math.inf
    able = (arm for arm in evidence.arms if arm.prediction.measured or (not arm.bound and arm.cautious < limit))
    return min(able, key=lambda arm: arm.cautious, default=None)


def promising(evidence: Evidence) -> Arm | None:
    """Return the perturbation tried that, one standard error added, promises most; ``None`` if none promises more than doing nothing."""
    tried = (arm for arm in evidence.arms if arm.candidate is not None and arm.n_runs and not arm.bound)
    best = min(tried, key=lambda arm: arm.slow, default=None)
    return best if best is not None and best.slow < evidence.arm(None, None).mean[0] else None


def rivals(evidence: Evidence, leader: Arm, *, precision: float, level: float) -> list[tuple[Arm, float]]:
    """Return the choices that may beat the leader by more than the precision and may be looked at now, and by how many epochs one hopes.

    The chance of it has to exceed ``1 - level``, over replicates with the optimistic ends of predictions. Periods beyond one that was worse
    than a candidate's best are left out, and for now those shorter than half, or longer than twice, of all that was measured of it: a
    perturbation far too frequent could cost a horizon for each run.
    """
    result = []
    for arm in evidence.arms:
        ahead = np.maximum((1.0 - precision) * leader.mean - arm.optimistic, 0.0)[1:]
        open_still = arm is not leader and float(np.mean(ahead > 0)) > 1.0 - level
        if open_still and (arm.period is None or arm.known or _reachable(evidence, arm, level)):
            likely = np.maximum((1.0 - precision) * leader.mean - arm.mean, 0.0)[1:]
            result.append((arm, float((1.0 - _HOPE) * likely.mean() + _HOPE * ahead.mean())))
    return result


def _reachable(evidence: Evidence, arm: Arm, level: float) -> bool:
    period, own = arm.period or 0, _own(evidence, arm)
    seen = {p: a for p, a in own.items() if a.n_runs > 0}
    if not seen or period in seen:
        return True
    best = min((a for a in seen.values() if a.known), key=lambda a: float(a.mean[0]), default=None)
    if best is not None and best.period is not None:
        worse = [p for p, a in seen.items() if _worse(a, best, level)]
        if any(period < p < best.period or best.period < p < period for p in worse):
            return False
    below = max((p for p in own if p < min(seen)), default=0)
    above = min((p for p in own if p > max(seen)), default=math.inf)
    return min(below, min(seen) / 2) <= period <= max(above, 2 * max(seen))


def inside(evidence: Evidence, leader: Arm, *, level: float) -> bool:
    """Test whether the minimum over periods lies between periods that were tried: no neighbour of the choice is likely to be better."""
    at = leader.period or 0
    above = {p: a for p, a in _own(evidence, leader).items() if a.mean[0] >= leader.mean[0]}
    worse = [p for p, a in above.items() if a.known or _worse(a, leader, level)]
    return any(p < at for p in worse) and any(p > at for p in worse)


def _own(evidence: Evidence, arm: Arm) -> dict[int, Arm]:
    return {a.period: a for a in evidence.arms if a.candidate == arm.candidate and a.period is not None}


def _worse(arm: Arm, best: Arm, level: float) -> bool:
    return bool(np.mean(arm.optimistic[1:] < best.mean[1:]) <= 1.0 - level)
