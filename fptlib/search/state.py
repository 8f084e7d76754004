"""State of a search: what was seen so far, actions that the budget allows, and the result at the end."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, restricted_mean
from fptlib.response import Prediction
from fptlib.response.interval import Interval
from fptlib.response.ranking import DEFAULT_PERIODS
from fptlib.search.candidates import Candidate
from fptlib.search.evidence import Arm, Evidence, gather
from fptlib.search.planning import Action, inside, leading, rivals
from fptlib.search.result import SearchResult, Settings, Standing, Step
from fptlib.search.source import Source
from fptlib.trajectories import Trajectories

_Result = TypeVar("_Result")
Course: TypeAlias = Generator[Action, Trajectories | None, _Result]  # asks for actions, and is sent their runs


class State:
    """All trajectories of a search so far, what they say, and the steps that led there.

    ``leader`` is the best choice at this moment; ``start`` the first epoch at which unperturbed runs rest, if they do; ``forked_at`` the
    period at which all candidates are perturbed first; ``refused`` why the last action that was too expensive was not performed.
    """

    plain: Trajectories

    def __init__(self, source: Source, candidates: Sequence[Candidate], settings: Settings) -> None:
        self.source, self.candidates, self.settings = source, tuple(candidates), settings
        asked = DEFAULT_PERIODS if settings.periods is None else settings.periods
        self.periods = tuple(sorted({p for p in asked if p < source.horizon}))
        if not self.periods:
            raise InputError(f"no period is shorter than the horizon of {source.horizon} epochs")
        self.cells: dict[tuple[Candidate, int], Trajectories] = {}
        self.evidence = Evidence((), 0, np.ones(1))
        self.start: int | None = None
        self.forked_at: int | None = None
        self.leader: Arm | None = None
        self.steps: list[Step] = []
        self.refused = ""

    def do(self, action: Action, *, reserve: bool = True) -> Course[bool]:
        """Ask for an action if it can be paid; runs that were added to a known mean are followed until it is known again."""
        while True:
            runs = (yield action) if self.payable(action, reserve=reserve) else None
            if runs is None:
                # What is paid is paid, but a mean of runs cut short would look too good.
                self.refused = self.refusal(action, reserve=reserve)
                return False
            if action.purpose not in ("more runs", "confirm") or action.candidate is None or self.complete(runs):
                break
            action = replace(action, epochs=min(2 * action.epochs, self.source.horizon))
        if action.candidate is None or action.period is None:
            self.plain = runs
        else:
            self.cells[action.candidate, action.period] = runs
        self._weigh()
        leader = self.leader
        named = None if leader is None or leader.candidate is None else leader.candidate.label
        period, mean = (None, None) if leader is None else (leader.period, float(leader.mean[0]))
        self.steps.append(Step(action.purpose, str(action), self.source.ledger.spent, named, period, mean))
        return True

    def payable(self, action: Action, *, reserve: bool = True) -> bool:
        """Return whether the budget allows an action, however it turns out, and the runs that are to confirm the choice."""
        budget = self.settings.budget
        return budget is None or self.source.ledger.spent + self.at_most(action) + self._kept(reserve) <= budget

    def refusal(self, action: Action, *, reserve: bool = True) -> str:
        """Return the reason why an action cannot be paid."""
        left, kept = (self.settings.budget or 0) - self.source.ledger.spent, math.ceil(self._kept(reserve))
        reserved = f", {kept} of them reserved to measure the choice" if kept else ""
        return (
            f"the next step could take {self.at_most(action)} run-epochs, and {left} of the budget of {self.settings.budget} "
            f"were left{reserved}"
        )

    def _kept(self, reserve: bool) -> float:
        """Return the run-epochs that the runs to confirm the choice need."""
        return self.settings.confirm * float(self.leader.mean[0]) if reserve and self.leader is not None else 0.0

    def at_most(self, action: Action) -> int:
        """Return the run-epochs that an action takes if no further run passes."""
        return self.source.at_most(action.candidate, action.period, action.n_runs, action.epochs)

    def price(self, action: Action) -> float:
        """Return the run-epochs that an action is expected to take."""
        if action.candidate is not None:
            mean = float(self.evidence.arm(action.candidate, action.period).mean[0])
            known = self.cells.get((action.candidate, action.period or 0))
            least = (action.period or 0) + 1 if known is None else 1
            action = replace(action, epochs=int(np.clip(math.ceil(mean), least, action.epochs)))
        return max(self.at_most(action), 1)

    def whole(self, n_runs: int) -> int:
        """Return a number of runs, rounded up to the unit of the source."""
        return math.ceil(n_runs / self.source.unit) * self.source.unit

    def times(self, runs: Trajectories) -> FirstPassageTimes:
        """Return first-passage times at the threshold of the source."""
        return first_passage(runs, self.source.retirement)

    def complete(self, runs: Trajectories) -> bool:
        """Return whether runs were followed to the horizon or to their ends."""
        return runs.n_epochs >= self.source.horizon or self.times(runs).n_censored == 0

    def _weigh(self) -> None:
        self.evidence = gather(
            self.plain,
            self.cells,
            candidates=self.candidates,
            periods=self.periods,
            source=self.source,
            start=self.start,
            settings=self.settings,
        )
        self.leader = leading(self.evidence)


def conclude(
    state: State, *, fresh: FirstPassageTimes | None, stopped: str, decided: bool, finished: bool = True
) -> SearchResult:
    """Return the result of a search; ``fresh`` are times of the leader's runs that had no part in the choice."""
    source, evidence, settings = state.source, state.evidence, state.settings
    leader = state.leader
    if leader is not None and leader.mean[0] >= source.horizon and finished:
        leader, stopped = None, f"no run reached {source.retirement.threshold:g} within {source.horizon} epochs"
    still_open = [] if leader is None else rivals(evidence, leader, precision=settings.precision, level=settings.level)
    hopes = [(gain, arm.prediction) for arm, gain in still_open if arm.candidate is not None]
    promising = max(hopes, key=lambda pair: pair[0], default=(0.0, None))[1]
    unperturbed = Estimate(1.0, 1.0, math.nan, 0, 0, settings.level)  # before anything is known
    if state.steps and (nothing := evidence.arm(None, None)):
        unperturbed = nothing.prediction.estimate
        if nothing.bound:
            n_censored = state.times(state.plain).n_censored
            unperturbed = replace(unperturbed, mean=float(nothing.mean[0]), high=math.nan, n_censored=n_censored)
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
        finished=finished,
    )


def _choice(state: State, leader: Arm, fresh: FirstPassageTimes | None) -> Prediction:
    if fresh is None:
        return leader.prediction
    settings = state.settings
    e = restricted_mean(
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
