"""The closed loop: settle, fork, predict, drop, bracket, until nothing left can be better by more than the precision.

Every decision is a function of trajectories and settings: a search over stores that hold them repeats itself without training anything.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias, TypeVar

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, restricted_mean
from fptlib.qss import LEAST_PAIRS, relaxation
from fptlib.response import Prediction
from fptlib.response.interval import Interval
from fptlib.response.ranking import DEFAULT_PERIODS
from fptlib.search.candidates import UNPERTURBED, Candidate, cell, check
from fptlib.search.evidence import Arm, Choice, Evidence, gather
from fptlib.search.planning import Action, fork_period, inside, leading, promising, rivals
from fptlib.search.result import SearchResult, Settings, Standing, Step
from fptlib.search.source import Source
from fptlib.study.seeds import DoubtfulError
from fptlib.trajectories import Trajectories

_Result = TypeVar("_Result")
Course: TypeAlias = Generator[Action, Trajectories | None, _Result]  # asks for actions, and is sent their runs

FIRST_EPOCHS = 16  # unperturbed runs are followed so far at first, and twice as far each time this shows no rest
GREATEST = 4  # times the first batch of unperturbed runs is trained at most, so that enough of them are left to tell
DECISIVE = 24  # runs of the choice before anything is decided; no runs are cheaper than those at the optimum
CHANGES_OF_MIND = 3  # times that fresh runs may overturn a choice before it is left with all that was seen
GROWTH = 1.5  # factor on the runs of a period that is measured again
FOLLOW = 2.0  # perturbed runs are followed at first to this many times the mean of the best choice so far


def optimise(source: Source, candidates: Sequence[Candidate], *, settings: Settings | None = None) -> SearchResult:
    """Find the perturbation and the period with the smallest mean first-passage time.

    A source, which knows threshold and horizon, gives the runs; not to perturb is one more choice. No candidate, two that share a label,
    no period below the horizon, and runs that cannot be what was asked for raise an InputError.

    Unperturbed runs are followed until their metric rests, unless runs perturbed early pass at once; all candidates are perturbed at one
    period; then the step is taken that promises most for its costs; fresh runs measure the choice.
    """
    decisions = Decisions(source, candidates, settings or Settings())
    while (action := decisions.action) is not None:
        runs = source.runs(action.candidate, action.period, n_runs=action.n_runs, epochs=action.epochs)
        decisions.take(runs)
    if decisions.doubt:
        raise InputError(decisions.doubt)
    return decisions.result()


class Decisions:
    """The decisions of a search, one after the other, and what they rest on: all its runs so far, and what these say.

    ``action`` is what it asks for now, ``None`` once it has ended; ``leader`` the best choice so far; ``start`` the first epoch at which
    unperturbed runs rest; ``forked_at`` the period of the first perturbations; ``refused`` why the last action was too expensive;
    ``doubt`` why runs cannot be what was asked for, which ends a search.
    """

    def __init__(self, source: Source, candidates: Sequence[Candidate], settings: Settings) -> None:
        self.source, self.candidates, self.settings = source, tuple(candidates), settings
        periods = DEFAULT_PERIODS if settings.periods is None else settings.periods
        self.periods = tuple(sorted({p for p in periods if p < source.horizon}))
        if not self.periods:
            raise InputError(f"no period is shorter than the horizon of {source.horizon} epochs")
        self.runs: dict[Choice, Trajectories] = {}
        self.evidence = Evidence((), np.ones(1))
        self.start: int | None = None
        self.forked_at: int | None = None
        self.leader: Arm | None = None
        self.steps: list[Step] = []
        self.refused = ""
        self._further: dict[tuple[Any, ...], int] = {}  # epochs up to which so many runs of a choice are wanted
        self.action: Action | None = None
        self.doubt = ""
        self._end: SearchResult | None = None
        self._course = self._decide()
        self.take(None)

    def take(self, runs: Trajectories | None) -> None:
        """Go on with the runs that the action asked for, ``None`` if they cannot be had."""
        try:
            self.action = self._course.send(runs)
        except StopIteration as end:
            self.action, self._end = None, end.value
        except DoubtfulError as error:
            self.action, self.doubt = None, str(error)

    def result(self) -> SearchResult:
        """Return the result as far as it is known."""
        waiting = f"runs are to be told of {self.action}"
        return self._end or conclude(self, stopped=self.doubt or waiting, finished=bool(self.doubt))

    def _decide(self) -> Course[SearchResult]:
        """Settle, fork, race, confirm."""
        check(self.candidates)
        stopped, decided, fresh = "", False, None
        if (yield from self._settle()) and (yield from self._fork()):
            for _ in range(CHANGES_OF_MIND):
                stopped, decided = yield from self._race()
                chosen, before = self.leader and self.leader.choice, self.source.ledger.spent
                fresh = yield from self._confirm()
                if (took := self.source.ledger.spent - before) and not decided:
                    verb = "would take more than" if fresh is None else "then took"
                    stopped += f"; measuring the choice {verb} {took}"
                if fresh is None or (self.leader and self.leader.choice) == chosen:
                    break
                fresh = None  # what looked best does not any more
        if not self.steps:
            need = self.whole(self.settings.batch) * min(FIRST_EPOCHS, self.source.horizon)
            message = f"budget {self.settings.budget} is too small: the first unperturbed runs take {need} run-epochs"
            raise InputError(message)
        return conclude(self, fresh=fresh, stopped=stopped or self.refused, decided=decided)

    def _settle(self) -> Course[bool]:
        """Follow unperturbed runs until they rest, or to the horizon, with enough of them left to perturb."""
        n_runs, epochs = self.whole(self.settings.batch), min(FIRST_EPOCHS, self.source.horizon)
        if not (yield from self.do(Action("unperturbed", None, None, n_runs, epochs))):
            return False
        # A short look ahead: if runs that are perturbed soon pass soon, long periods are out of the question, and rest with them.
        self.forked_at = fork_period(self.times(self.plain), self.periods, start=None, epochs=epochs)
        if not (yield from self._fork(cycles=2)):
            return False
        if self._soon():
            return True
        while True:
            epochs = min(2 * epochs, self.source.horizon) if epochs == FIRST_EPOCHS else epochs
            if not (yield from self.do(Action("unperturbed", None, None, n_runs, epochs))):
                return False
            times = self.times(self.plain)
            self.start = relaxation(self.plain, times, metric=self.source.retirement.name)
            if self.start is not None:
                break
            most = GREATEST * self.whole(self.settings.batch)
            if times.running(epochs).sum() < LEAST_PAIRS and n_runs < most:
                n_runs = min(self.whole(math.ceil(GROWTH * n_runs)), most)
            elif epochs < self.source.horizon:
                epochs = min(2 * epochs, self.source.horizon)
            else:
                break
        self.forked_at = fork_period(times, self.periods, start=self.start, epochs=epochs)
        if self.forked_at is None:
            return True
        share = float(np.mean(times.running(self.forked_at)))
        total = self.whole(min(math.ceil(self.settings.batch / share), GREATEST * self.settings.batch))
        return total <= n_runs or (yield from self.do(Action("unperturbed", None, None, total, epochs)))

    def _fork(self, *, cycles: int = 3) -> Course[bool]:
        """Perturb every candidate at one period, and follow it for so many of them."""
        at = self.forked_at
        if at is None:
            return True
        n_runs, epochs = self.plain.n_runs, min(cycles * at, self.source.horizon)
        done = {c for (c, p), runs in self.runs.items() if p == at and runs.n_runs >= n_runs}
        for candidate in [c for c in self.candidates if not c.restarts and c not in done]:
            if not (yield from self.do(Action("fork", candidate, at, n_runs, epochs))):
                return False
        return True

    def _soon(self) -> bool:
        """Test whether a perturbed mean is known that no period beyond the epochs followed can beat, whatever happens there."""
        leader = self.leader
        if leader is None or leader.candidate is None:
            return False
        mean = leader.mean if leader.known else leader.prediction.high
        return bool(np.mean((self.evidence.floor > (1.0 - self.settings.precision) * mean)[1:]) >= self.settings.level)

    def _race(self) -> Course[tuple[str, bool]]:
        """Look closer at what promises most for what it costs; return why that ended, and whether nothing was left open."""
        while True:
            evidence, leader = self.evidence, self.leader
            if leader is None:  # nothing is known to its end yet
                started = [arm for arm in evidence.arms if arm.candidate is None or arm.n_runs > 0]
                rest = [(arm, self.source.horizon - float(arm.optimistic[0])) for arm in started]
            else:
                rest = rivals(evidence, leader, precision=self.settings.precision, level=self.settings.level)
                if not rest and leader.known and leader.n_runs >= DECISIVE:
                    return f"nothing else can be better by more than {100 * self.settings.precision:g} %", True
                rest = rest or [(leader, 1.0)]
            closer = {action: gain for arm, gain in rest if (action := self._closer(arm)) is not None}
            if not closer:
                return f"{self.settings.max_runs} runs do not tell the choices apart", False
            payable = [action for action in closer if self.payable(action)]
            if not payable:
                return self.refusal(min(closer, key=self.at_most)), False
            yield from self.do(max(payable, key=lambda action: closer[action] / self.price(action)))

    def _confirm(self) -> Course[FirstPassageTimes | None]:
        """Measure the choice with runs that had no part in it; return these, or ``None`` where that is not asked for or cannot be paid."""
        before = max((runs.n_runs for runs in self.runs.values()), default=0)
        for action in self._confirmations():
            if self.payable(action, reserve=False) and (yield from self.do(action, reserve=False)):
                times = self.times(self.runs[action.candidate, action.period])
                return FirstPassageTimes(times.time[before:], times.observed[before:], times.run[before:])
        return None

    def _confirmations(self) -> list[Action]:
        """Return the actions that measure the choice with fresh runs, each with fewer of them; none where nothing is perturbed for it."""
        leader, unit, n_fresh, result = self.leader, self.source.unit, self.whole(self.settings.confirm), []
        if leader is None or leader.candidate is None or leader.period is None or leader.prediction.method == "restart":
            return []
        before, epochs = max(runs.n_runs for runs in self.runs.values()), self._first_epochs(leader.period)
        while n_fresh >= max(unit, 8):
            result.append(Action("confirm", *leader.choice, before + n_fresh, epochs))
            n_fresh = n_fresh // 2 // unit * unit
        return result

    def _closer(self, arm: Arm) -> Action | None:
        """Return the action that looks more closely at a choice, or separates it from the leader; ``None`` where all runs were trained."""
        leader = self.leader
        if arm.known and leader is not None and leader is not arm and (not leader.known or leader.n_runs < arm.n_runs):
            arm = leader
        plain, choice, runs = self.plain, arm.choice, self.runs.get(arm.choice)
        if arm.candidate is None or arm.period is None or arm.candidate.restarts or arm.period > plain.n_epochs:
            choice, runs = UNPERTURBED, plain
            on = plain.n_epochs < self.source.horizon and not (arm.candidate is not None and arm.known)
        elif runs is None:
            measured = [p for candidate, p in self.runs if p is not None and candidate == arm.candidate]
            outside = not measured or arm.period < min(measured) or arm.period > max(measured)
            n_runs, epochs = self.whole(self.settings.batch), self._first_epochs(arm.period)
            return Action("bracket" if outside else "measure", *choice, n_runs, epochs)
        else:
            on = not self.complete(runs)
        if on:
            return Action("follow", *choice, runs.n_runs, min(2 * runs.n_epochs, self.source.horizon))
        n_runs = self.whole(math.ceil(GROWTH * runs.n_runs))
        epochs = self._further.get((*choice, n_runs), runs.n_epochs)
        return Action("more runs", *choice, n_runs, epochs) if n_runs <= self.settings.max_runs else None

    def _first_epochs(self, period: int) -> int:
        """Return how far runs of a period are followed at first."""
        horizon = self.source.horizon
        expected = horizon if self.leader is None else math.ceil(FOLLOW * float(self.leader.mean[0]))
        return min(max(expected, 2 * period), horizon)

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
            self._further[action.candidate, action.period, action.n_runs] = action.epochs
        self.runs[action.candidate, action.period] = runs
        self.evidence = gather(
            self.runs,
            candidates=self.candidates,
            periods=self.periods,
            source=self.source,
            start=self.start,
            settings=self.settings,
        )
        self.leader = leading(self.evidence)
        best = self.recommended
        choice, mean = (UNPERTURBED, None) if best is None else (best.choice, float(best.mean[0]))
        self.steps.append(Step(action.purpose, str(action), self.source.ledger.spent, *cell(*choice), mean))
        return True

    @property
    def plain(self) -> Trajectories:
        """Unperturbed runs."""
        return self.runs[UNPERTURBED]

    def payable(self, action: Action, *, reserve: bool = True) -> bool:
        """Return whether the budget allows an action, however it turns out, and the runs that are to confirm the choice."""
        budget = self.settings.budget
        return budget is None or self.source.ledger.spent + self.at_most(action) + self._kept(reserve) <= budget

    def refusal(self, action: Action, *, reserve: bool = True) -> str:
        """Return the reason why an action cannot be paid, and the budget that would pay for it."""
        spent, budget, need = self.source.ledger.spent, self.settings.budget or 0, self.at_most(action)
        kept = min(math.ceil(self._kept(reserve)), budget - spent)
        reserved = f", {kept} of them reserved for measuring the choice" if kept else ""
        enough = spent + need + math.ceil(self._confirmation if reserve else 0)
        left = f"{budget - spent} of the budget of {budget} were left{reserved}"
        more = f"a budget of {enough} would pay for it, though deciding may take more; nothing is trained twice"
        return f"no further step could be paid for: the next may take {need} run-epochs, and {left} ({more})"

    @property
    def _confirmation(self) -> float:
        """Run-epochs that the runs to confirm the choice are expected to take."""
        return self.settings.confirm * float(self.leader.mean[0]) if self.leader and self._confirmations() else 0.0

    def _kept(self, reserve: bool) -> float:
        """Return the run-epochs reserved to confirm the choice: none if what is left does not pay for the fewest runs."""
        least = self._confirmations()[-1:] if reserve else []
        return self._confirmation if least and self.payable(least[0], reserve=False) else 0.0

    def at_most(self, action: Action) -> int:
        """Return the run-epochs that an action takes if no further run passes."""
        return self.source.at_most(action.candidate, action.period, action.n_runs, action.epochs)

    @property
    def recommended(self) -> Arm | None:
        """The leader; as long as no mean is known, what promises most."""
        return self.leader or promising(self.evidence)

    def price(self, action: Action) -> float:
        """Return the run-epochs that an action is expected to take."""
        if action.candidate is not None:
            mean = float(self.evidence.arm(action.candidate, action.period).mean[0])
            known = self.runs.get((action.candidate, action.period))
            if known is not None and known.n_runs == action.n_runs:  # followed on: what it takes until all have passed
                return max(mean * known.n_runs - float(known.lengths.sum()), 1.0)
            least = (action.period or 0) + 1 if known is None else 1
            action = replace(action, epochs=int(np.clip(math.ceil(mean), least, self.source.horizon)))
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


def conclude(
    state: Decisions,
    *,
    stopped: str,
    fresh: FirstPassageTimes | None = None,
    decided: bool = False,
    finished: bool = True,
) -> SearchResult:
    """Return the result of a search; ``fresh`` are times of the leader's runs that had no part in the choice."""
    source, evidence, settings = state.source, state.evidence, state.settings
    leader = None if state.doubt else state.recommended
    if leader is not None and leader.mean[0] >= source.horizon and finished:
        leader, reached = None, f"no run reached {source.retirement.threshold:g} within {source.horizon} epochs"
        stopped = f"{reached}; a longer horizon or an easier threshold may help"
    still_open = [] if leader is None else rivals(evidence, leader, precision=settings.precision, level=settings.level)
    hopes = [(gain, arm) for arm, gain in still_open if arm.candidate is not None]
    hope = max(hopes, key=lambda pair: pair[0], default=(0.0, None))[1]
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
        choice=None if leader is None else leader.prediction if fresh is None else _measured(state, leader, fresh),
        fresh=fresh is not None,
        next=None if hope is None or hope.candidate is None else (hope.candidate.label, hope.period or 0),
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


def _measured(state: Decisions, leader: Arm, fresh: FirstPassageTimes) -> Prediction:
    how = {name: getattr(state.settings, name) for name in ("level", "n_boot", "seed")}
    e = restricted_mean(fresh, horizon=state.source.horizon, **how)
    interval = Interval(e.mean, e.low, e.high, (e.low, e.high))
    return replace(leader.prediction, interval=interval, n_runs=e.n_runs, n_censored=e.n_censored)


def _standing(state: Decisions, candidate: Candidate, leader: Arm | None, still_open: list[Arm]) -> Standing:
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
        measured=tuple(sorted(p for c, p in state.runs if p is not None and c == candidate)),
        status=status,
        spent=state.source.ledger.perturbed(candidate.label),
    )
