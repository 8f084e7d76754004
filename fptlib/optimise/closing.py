"""From the last state of a search to its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from fptlib.firstpassage import Estimate, FirstPassageTimes, restricted_mean
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.evidence import Arm
from fptlib.optimise.planning import inside, rivals
from fptlib.optimise.result import Choice, Outcome, Standing
from fptlib.optimise.state import State


def conclude(state: State, *, fresh: FirstPassageTimes | None, stopped: str, decided: bool) -> Outcome:
    """Return the result of a search; ``fresh`` are times of the leader's runs that had no part in the choice."""
    source, evidence, level = state.source, state.evidence, state.settings.level
    leader = state.leader
    if leader is not None and leader.mean[0] >= source.horizon:
        leader, stopped = None, f"no run reached {source.retirement.threshold:g} within {source.horizon} epochs"
    precision = state.settings.precision
    still_open = [] if leader is None else [r.arm for r in rivals(evidence, leader, precision=precision, level=level)]
    nothing, n_censored = evidence.arm(None, None), state.times(state.plain).n_censored
    low, high = nothing.interval(level) if nothing.known else (float(nothing.mean[0]), float("nan"))
    return Outcome(
        best=None if leader is None else _choice(state, leader, fresh),
        standings=tuple(_standing(state, c, leader, still_open) for c in state.candidates),
        steps=tuple(state.steps),
        stopped=stopped,
        decided=decided and leader is not None,
        inside=leader is not None and inside(evidence, leader, level=level),
        relaxation_epoch=state.start,
        fork_period=state.forked_at,
        unperturbed=Estimate(float(nothing.mean[0]), low, high, state.plain.n_runs, n_censored, level),
        threshold=source.retirement.threshold,
        horizon=source.horizon,
        spent=source.ledger.spent,
        spent_unperturbed=source.ledger.unperturbed,
    )


def _choice(state: State, leader: Arm, fresh: FirstPassageTimes | None) -> Choice:
    settings, level = state.settings, state.settings.level
    if fresh is not None:
        horizon = state.source.horizon
        estimate = restricted_mean(fresh, horizon=horizon, level=level, n_boot=settings.n_boot, seed=settings.seed)
        return Choice(leader.candidate, leader.period, estimate, "fresh runs")
    own = leader.candidate is None or leader.period is None or leader.kind == "exact"
    runs = state.plain if own else state.cells.get((leader.candidate, leader.period))  # type: ignore[arg-type]
    n_censored = 0 if runs is None else state.times(runs).n_censored
    estimate = Estimate(float(leader.mean[0]), *leader.interval(level), leader.n_runs, n_censored, level)
    return Choice(leader.candidate, leader.period, estimate, "all runs" if leader.known else "prediction")


def _standing(state: State, candidate: Candidate, leader: Arm | None, still_open: Sequence[Arm]) -> Standing:
    own = [arm for arm in state.evidence.arms if arm.candidate == candidate]
    best = min((arm for arm in own if arm.kind != "bound"), key=lambda arm: arm.cautious, default=None)
    status: Literal["chosen", "dropped", "undecided"]
    if leader is not None and leader.candidate == candidate:
        best, status = leader, "chosen"
    elif leader is None or any(arm in still_open for arm in own):
        status = "undecided"
    else:
        status = "dropped"
    low, high = (float("nan"), float("nan")) if best is None else best.interval(state.settings.level)
    return Standing(
        label=candidate.label,
        period=None if best is None else best.period,
        mean=float("nan") if best is None else float(best.mean[0]),
        low=low,
        high=high,
        measured=tuple(sorted(p for c, p in state.cells if c == candidate)),
        status=status,
        spent=state.source.ledger.perturbed(candidate.label),
    )
