"""From the last state of a search to its result."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from fptlib.firstpassage import Estimate, FirstPassageTimes, restricted_mean
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.evidence import Arm
from fptlib.optimise.planning import inside, rivals
from fptlib.optimise.result import SearchResult, Standing
from fptlib.optimise.state import State
from fptlib.response import Prediction
from fptlib.response.interval import Interval


def conclude(state: State, *, fresh: FirstPassageTimes | None, stopped: str, decided: bool) -> SearchResult:
    """Return the result of a search; ``fresh`` are times of the leader's runs that had no part in the choice."""
    source, evidence, settings = state.source, state.evidence, state.settings
    leader = state.leader
    if leader is not None and leader.mean[0] >= source.horizon:
        leader, stopped = None, f"no run reached {source.retirement.threshold:g} within {source.horizon} epochs"
    still_open = [] if leader is None else rivals(evidence, leader, precision=settings.precision, level=settings.level)
    hopes = [(gain, arm.prediction) for arm, gain in still_open if arm.candidate is not None]
    promising = max(hopes, key=lambda pair: pair[0], default=(0.0, None))[1]
    nothing = evidence.arm(None, None)
    unperturbed = nothing.prediction.estimate
    if nothing.bound:
        n_censored = state.times(state.plain).n_censored
        unperturbed = replace(unperturbed, mean=float(nothing.mean[0]), high=float("nan"), n_censored=n_censored)
    cells = [arm.prediction for arm in evidence.arms if not arm.bound]
    return SearchResult(
        target=source.retirement,
        horizon=source.horizon,
        level=settings.level,
        unperturbed=unperturbed,
        choice=None if leader is None else _choice(state, leader, fresh),
        fresh=fresh is not None,
        next=None if promising is None else (promising.perturbation or "", promising.period or 0),
        cells=tuple(sorted(cells, key=lambda p: (p.centre, p.period or 0))),
        candidates=tuple(_standing(state, c, leader, [arm for arm, _ in still_open]) for c in state.candidates),
        steps=tuple(state.steps),
        stopped=stopped,
        decided=decided and leader is not None,
        inside=leader is not None and inside(evidence, leader, level=settings.level),
        relaxation_epoch=state.start,
        fork_period=state.forked_at,
        spent=source.ledger.spent,
        spent_unperturbed=source.ledger.unperturbed,
    )


def _choice(state: State, leader: Arm, fresh: FirstPassageTimes | None) -> Prediction:
    if fresh is None:
        return leader.prediction
    settings = state.settings
    e: Estimate = restricted_mean(
        fresh, horizon=state.source.horizon, level=settings.level, n_boot=settings.n_boot, seed=settings.seed
    )
    interval = Interval(e.mean, e.low, e.high, (e.low, e.high))
    return replace(leader.prediction, interval=interval, n_runs=e.n_runs, n_censored=e.n_censored)


def _standing(state: State, candidate: Candidate, leader: Arm | None, still_open: list[Arm]) -> Standing:
    own = [arm for arm in state.evidence.arms if arm.candidate == candidate and not arm.bound]
    best = min(own, key=lambda arm: arm.cautious, default=None)
    status: Literal["chosen", "dropped", "undecided"] = "dropped"
    if leader is not None and leader.candidate == candidate:
        best, status = leader, "chosen"
    elif leader is None or any(arm.candidate == candidate for arm in still_open):
        status = "undecided"
    return Standing(
        label=candidate.label,
        best=None if best is None else best.prediction,
        measured=tuple(sorted(p for c, p in state.cells if c == candidate)),
        status=status,
        spent=state.source.ledger.perturbed(candidate.label),
    )
