"""The closed loop: settle, fork, predict, drop, bracket, until nothing left can be better by more than the precision.

Every decision is a function of the trajectories seen so far and of the settings. A search over stores that hold them therefore repeats
itself to where it was interrupted without training anything, and goes on from there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.search import candidates as naming
from fptlib.search.candidates import Candidate
from fptlib.search.evidence import Arm
from fptlib.search.planning import LEAST_PAIRS, Action, fork_period, relaxation, rivals
from fptlib.search.result import Purpose, SearchResult, Settings
from fptlib.search.source import Source
from fptlib.search.state import Course, State, conclude

FIRST_EPOCHS = 16  # unperturbed runs are followed so far at first, and twice as far each time this shows no rest
GREATEST = 4  # times the first batch of unperturbed runs is trained at most, so that enough of them are left to tell
DECISIVE = 24  # runs of the choice before anything is decided; no runs are cheaper than those at the optimum
CHANGES_OF_MIND = 3  # times that fresh runs may overturn a choice before it is left with all that was seen
GROWTH = 1.5  # factor on the runs of a period that is measured again
FOLLOW = 2.0  # perturbed runs are followed at first to this many times the mean of the best choice so far


def optimise(source: Source, candidates: Sequence[Candidate], *, settings: Settings | None = None) -> SearchResult:
    """Find the perturbation and the period with the smallest mean first-passage time.

    Trajectories come from a source, which knows threshold and horizon; not to perturb is one more choice beside the candidates. The result
    holds the choice with its interval, how each candidate came out, every step, and what was spent. No candidate, two that share a label,
    and no period below the horizon raise an InputError.

    Notes
    -----
    1. A short look ahead: if runs that are perturbed soon pass soon, no long period can be better, and the search goes on below.
    2. Otherwise unperturbed runs are followed until the metric of the survivors comes to rest: from some epoch ``t*`` on its mean moves
       by less than half its spread while the epoch doubles. Not further: what comes later is needed only if long periods are still in
       the running.
    3. All candidates are perturbed at one period ``P0``, at or after ``t*``, on the same runs.
    4. From then on the choice that promises most for what it costs is looked at more closely: a period is measured that predictions
       leave open, runs that were cut short are followed on, or more runs are trained of the two that cannot be told apart. Where the
       predicted optimum is the shortest period that was measured, shorter ones follow, not shorter than half of it at a time, until
       one is worse: the minimum is inside.
    5. Nothing is chosen on a prediction alone, unless the budget ends: the choice is measured, at the end once more with runs that had
       no part in it.

    A choice stays open while the chance that it beats the best by more than the precision, over bootstrap replicates in which a seed
    carries all its runs, exceeds ``1 - level``; predictions enter with their optimistic end.
    """
    course, runs = Decisions(source, candidates, settings or Settings()).course(), None
    while True:
        try:
            action = course.send(runs)
        except StopIteration as end:
            result: SearchResult = end.value
            return result
        runs = source.runs(action.candidate, action.period, n_runs=action.n_runs, epochs=action.epochs)


class Decisions(State):
    """The decisions of a search: a course of actions that are asked for one after the other, each once the runs of the last are known."""

    def course(self) -> Course[SearchResult]:
        """Settle, fork, race, confirm; runs are those that the action asked for, ``None`` if they cannot be had."""
        naming.check(self.candidates)
        stopped, decided, fresh = "", False, None
        if (yield from self._settle()) and (yield from self._fork()):
            for _ in range(CHANGES_OF_MIND):
                stopped, decided = yield from self._race()
                chosen = _named(self.leader)
                fresh = yield from self._confirm()
                if fresh is None or _named(self.leader) == chosen:
                    break
                fresh = None  # what looked best does not any more
        if not self.steps:
            need = self.whole(self.settings.batch) * min(FIRST_EPOCHS, self.source.horizon)
            raise InputError(
                f"budget {self.settings.budget} is too small: the first unperturbed runs take {need} run-epochs"
            )
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
        wanted = self.whole(min(math.ceil(self.settings.batch / share), GREATEST * self.settings.batch))
        return wanted <= n_runs or (yield from self.do(Action("unperturbed", None, None, wanted, epochs)))

    def _fork(self, *, cycles: int = 3) -> Course[bool]:
        """Perturb every candidate at one period, and follow it for so many of them."""
        at = self.forked_at
        if at is None:
            return True
        n_runs, epochs = self.plain.n_runs, min(cycles * at, self.source.horizon)
        done = {c for (c, p), runs in self.cells.items() if p == at and runs.n_runs >= n_runs}
        wanted = [c for c in self.candidates if not c.restarts and c not in done]
        for candidate in wanted:
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
        leader = self.leader
        if leader is None or leader.candidate is None or leader.period is None or leader.prediction.method == "restart":
            return None
        before = max(runs.n_runs for runs in (self.plain, *self.cells.values()))
        key = (leader.candidate, leader.period)
        epochs = self._first_epochs(leader.period)
        n_fresh = self.whole(self.settings.confirm) if self.settings.confirm else 0
        while n_fresh >= max(self.source.unit, 8):
            action = Action("confirm", *key, before + n_fresh, epochs)
            if self.payable(action, reserve=False) and (yield from self.do(action, reserve=False)):
                return _later(self.times(self.cells[key]), before)
            n_fresh = (n_fresh // 2) // self.source.unit * self.source.unit
        return None

    def _closer(self, arm: Arm) -> Action | None:
        """Return the action that looks more closely at a choice, or separates it from the leader; ``None`` where all runs were trained."""
        leader = self.leader
        if arm.known and leader is not None and leader is not arm and (not leader.known or leader.n_runs < arm.n_runs):
            arm = leader
        if arm.candidate is None or arm.period is None or arm.candidate.restarts or arm.period > self.plain.n_epochs:
            if self.plain.n_epochs < self.source.horizon and not (arm.candidate is not None and arm.known):
                epochs = min(2 * self.plain.n_epochs, self.source.horizon)
                return Action("follow", None, None, self.plain.n_runs, epochs)
            return self._more(Action("more runs", None, None, self.plain.n_runs, self.plain.n_epochs))
        cell = self.cells.get((arm.candidate, arm.period))
        if cell is None:
            measured = [p for candidate, p in self.cells if candidate == arm.candidate]
            outside = not measured or arm.period < min(measured) or arm.period > max(measured)
            n_runs, epochs = self.whole(self.settings.batch), self._first_epochs(arm.period)
            purpose: Purpose = "bracket" if outside else "measure"
            return Action(purpose, arm.candidate, arm.period, n_runs, epochs)
        if not self.complete(cell):
            epochs = min(2 * cell.n_epochs, self.source.horizon)
            return Action("follow", arm.candidate, arm.period, cell.n_runs, epochs)
        return self._more(Action("more runs", arm.candidate, arm.period, cell.n_runs, cell.n_epochs))

    def _more(self, action: Action) -> Action | None:
        n_runs = self.whole(math.ceil(GROWTH * action.n_runs))
        return replace(action, n_runs=n_runs) if n_runs <= self.settings.max_runs else None

    def _first_epochs(self, period: int) -> int:
        """Return how far runs of a period are followed at first."""
        horizon = self.source.horizon
        expected = horizon if self.leader is None else math.ceil(FOLLOW * float(self.leader.mean[0]))
        return min(max(expected, 2 * period), horizon)


def _named(arm: Arm | None) -> tuple[Candidate | None, int | None] | None:
    return None if arm is None else (arm.candidate, arm.period)


def _later(times: FirstPassageTimes, before: int) -> FirstPassageTimes:
    """Return the times of runs from number ``before`` on."""
    later = times.run >= before
    return FirstPassageTimes(times.time[later], times.observed[later], times.run[later])
