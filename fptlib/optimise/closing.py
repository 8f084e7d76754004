"""From the last evidence of a search to its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, restricted_mean
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.evidence import Arm, Evidence
from fptlib.optimise.planning import inside, rivals
from fptlib.optimise.result import Choice, Outcome, Standing, Step
from fptlib.optimise.settings import Settings
from fptlib.optimise.source import Source
from fptlib.qss import judge
from fptlib.trajectories import Retirement, Trajectories

Cells = Mapping[tuple[Candidate, int], Trajectories]


def conclude(
    source: Source,
    candidates: Sequence[Candidate],
    settings: Settings,
    *,
    plain: Trajectories,
    cells: Cells,
    evidence: Evidence,
    leader: Arm | None,
    fresh: FirstPassageTimes | None,
    start: int | None,
    forked_at: int | None,
    steps: tuple[Step, ...],
    stopped: str,
    decided: bool,
) -> Outcome:
    """Result of a search, from what it saw; ``fresh`` are times of the leader's runs that had no part in the choice."""
    at, level, horizon = source.retirement, settings.level, source.horizon
    if leader is not None and leader.mean[0] >= horizon:
        leader, stopped = None, f"no run reached {at.threshold:g} within {horizon} epochs"
    still_open = (
        [] if leader is None else [r.arm for r in rivals(evidence, leader, precision=settings.precision, level=level)]
    )
    nothing, times = evidence.arm(None, None), _times(plain, at)
    low, high = nothing.interval(level) if nothing.known else (float(nothing.mean[0]), float("nan"))
    return Outcome(
        best=None if leader is None else _choice(leader, fresh, plain, cells, source, settings),
        standings=tuple(_standing(c, leader, still_open, evidence, cells, source, level) for c in candidates),
        steps=steps,
        stopped=stopped,
        decided=decided and leader is not None,
        inside=leader is not None and inside(evidence, leader, level=level),
        settled=start is not None,
        relaxation_epoch=start,
        fork_period=forked_at,
        state=judge(plain, threshold=at.threshold, direction=at.direction, metric=at.metric, seed=settings.seed),
        unperturbed=Estimate(float(nothing.mean[0]), low, high, plain.n_runs, times.n_censored, level),
        threshold=at.threshold,
        horizon=horizon,
        precision=settings.precision,
        level=level,
        spent=source.ledger.spent,
        spent_unperturbed=source.ledger.unperturbed,
    )


def _choice(
    leader: Arm, fresh: FirstPassageTimes | None, plain: Trajectories, cells: Cells, source: Source, settings: Settings
) -> Choice:
    level, horizon = settings.level, source.horizon
    if fresh is not None:
        estimate = restricted_mean(fresh, horizon=horizon, level=level, n_boot=settings.n_boot, seed=settings.seed)
        return Choice(leader.candidate, leader.period, estimate, "fresh runs")
    own = leader.candidate is None or leader.period is None or leader.kind == "exact"
    runs = plain if own else cells.get((leader.candidate, leader.period))  # type: ignore[arg-type]
    n_censored = 0 if runs is None else _times(runs, source.retirement).n_censored
    estimate = Estimate(float(leader.mean[0]), *leader.interval(level), leader.n_runs, n_censored, level)
    return Choice(leader.candidate, leader.period, estimate, "all runs" if leader.known else "prediction")


def _standing(
    candidate: Candidate,
    leader: Arm | None,
    still_open: Sequence[Arm],
    evidence: Evidence,
    cells: Cells,
    source: Source,
    level: float,
) -> Standing:
    own = [arm for arm in evidence.arms if arm.candidate == candidate]
    best = min((arm for arm in own if arm.kind != "bound"), key=lambda arm: arm.cautious, default=None)
    status: Literal["chosen", "dropped", "undecided"]
    if leader is not None and leader.candidate == candidate:
        best, status = leader, "chosen"
    elif leader is None or any(arm in still_open for arm in own):
        status = "undecided"
    else:
        status = "dropped"
    low, high = (float("nan"), float("nan")) if best is None else best.interval(level)
    return Standing(
        label=candidate.label,
        period=None if best is None else best.period,
        mean=float("nan") if best is None else float(best.mean[0]),
        low=low,
        high=high,
        measured=tuple(sorted(p for c, p in cells if c == candidate)),
        status=status,
        spent=source.ledger.perturbed(candidate.label),
    )


def _times(runs: Trajectories, at: Retirement) -> FirstPassageTimes:
    return first_passage(runs, threshold=at.threshold, direction=at.direction, metric=at.metric)
