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
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.optimise import candidates as naming
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.closing import conclude
from fptlib.optimise.evidence import ERROR_PER_OCTAVE, Arm, Evidence, gather
from fptlib.optimise.planning import LEAST_PAIRS, Action, Rival, fork_period, leading, relaxation, rivals
from fptlib.optimise.result import Outcome, Purpose, Step
from fptlib.optimise.settings import Settings
from fptlib.optimise.source import Source
from fptlib.response.prediction import DEFAULT_PERIODS
from fptlib.trajectories import Trajectories

FIRST_EPOCHS = 16  # unperturbed runs are followed so far at first, and twice as far each time this shows no rest
UNSETTLED_ERROR = 0.5  # of the mean for each doubling of the period, where unperturbed training does not come to rest
GREATEST = 4  # times the first batch of unperturbed runs is trained at most, so that enough of them are left to tell
DECISIVE = 24  # runs of the choice before anything is decided; no runs are cheaper than those at the optimum
CHANGES_OF_MIND = 3  # times that fresh runs may overturn a choice before it is left with all that was seen
GROWTH = 1.5  # factor on the runs of a period that is measured again
FOLLOW = 2.0  # perturbed runs are followed at first to this many times the mean of the best choice so far


def optimise(source: Source, candidates: Sequence[Candidate], *, settings: Settings | None = None) -> Outcome:
    """Find the perturbation and the period with the smallest mean first-passage time.

    Parameters
    ----------
    source
        Where trajectories come from; it knows threshold and horizon.
    candidates
        Perturbations to choose from; not to perturb is always one more choice.
    settings
        What is asked for; see `Settings`.

    Returns
    -------
    Outcome
        The choice with its interval, how each candidate came out, every step, and what was spent.

    Raises
    ------
    InputError
        If there is no candidate, two share a label, or no period is left below the horizon.

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
    naming.check(candidates)
    search = _Search(source, tuple(candidates), settings or Settings())
    return search.run()


class _Search:
    """State of a search: all trajectories so far, and the steps that led there."""

    def __init__(self, source: Source, candidates: tuple[Candidate, ...], settings: Settings) -> None:
        self.source, self.candidates, self.settings = source, candidates, settings
        asked = DEFAULT_PERIODS if settings.periods is None else settings.periods
        self.periods = tuple(sorted({p for p in asked if p < source.horizon}))
        if not self.periods:
            raise InputError(f"no period is shorter than the horizon of {source.horizon} epochs")
        self.unperturbed: Trajectories | None = None
        self.cells: dict[tuple[Candidate, int], Trajectories] = {}
        self.start: int | None = None
        self.forked_at: int | None = None
        self.leader: Arm | None = None
        self.seen: Evidence | None = None
        self.steps: list[Step] = []

    def run(self) -> Outcome:
        """Settle, fork, race, confirm."""
        stopped, decided, fresh = "the budget is spent", False, None
        if self._settle() and self._fork():
            for _ in range(CHANGES_OF_MIND):
                stopped, decided = self._race()
                chosen = self._named(self.leader)
                fresh = self._confirm()
                if fresh is None or self._named(self.leader) == chosen:
                    break
                fresh = None  # what looked best does not any more
        if self.unperturbed is None:
            need = self._whole(self.settings.batch) * min(FIRST_EPOCHS, self.source.horizon)
            raise InputError(
                f"budget {self.settings.budget} is too small: the first unperturbed runs take {need} run-epochs"
            )
        return conclude(
            self.source,
            self.candidates,
            self.settings,
            plain=self.plain,
            cells=self.cells,
            evidence=self.evidence,
            leader=self.leader,
            fresh=fresh,
            start=self.start,
            forked_at=self.forked_at,
            steps=tuple(self.steps),
            stopped=stopped,
            decided=decided,
        )

    # -- the course

    def _settle(self) -> bool:
        """Follow unperturbed runs until they rest, or to the horizon, with enough of them left to perturb."""
        n_runs, epochs = self._whole(self.settings.batch), min(FIRST_EPOCHS, self.source.horizon)
        if not self._do(Action("unperturbed", None, None, n_runs, epochs)):
            return False
        # A short look ahead: if runs that are perturbed soon pass soon, long periods are out of the question, and rest with them.
        self.forked_at = fork_period(self._times(self.plain), self.periods, start=None, epochs=epochs)
        if not self._fork(cycles=2):
            return False
        if self._soon():
            return True
        while True:
            epochs = min(2 * epochs, self.source.horizon) if epochs == FIRST_EPOCHS else epochs
            if not self._do(Action("unperturbed", None, None, n_runs, epochs)):
                return False
            times = self._times(self.plain)
            self.start = relaxation(self.plain, times, metric=self.source.retirement.metric)
            if self.start is not None:
                break
            most = GREATEST * self._whole(self.settings.batch)
            if times.running(epochs).sum() < LEAST_PAIRS and n_runs < most:
                n_runs = min(self._whole(math.ceil(GROWTH * n_runs)), most)
            elif epochs < self.source.horizon:
                epochs = min(2 * epochs, self.source.horizon)
            else:
                break
        self.forked_at = fork_period(times, self.periods, start=self.start, epochs=epochs)
        if self.forked_at is None:
            return True
        share = float(np.mean(times.running(self.forked_at)))
        wanted = self._whole(min(math.ceil(self.settings.batch / share), GREATEST * self.settings.batch))
        return wanted <= n_runs or self._do(Action("unperturbed", None, None, wanted, epochs))

    def _fork(self, *, cycles: int = 3) -> bool:
        """Perturb every candidate at one period, and follow it for so many of them."""
        at = self.forked_at
        if at is None:
            return True
        n_runs, epochs = self.plain.n_runs, min(cycles * at, self.source.horizon)
        done = {c for (c, p), runs in self.cells.items() if p == at and runs.n_runs >= n_runs}
        wanted = [c for c in self.candidates if not c.restarts and c not in done]
        return all(self._do(Action("fork", candidate, at, n_runs, epochs)) for candidate in wanted)

    def _soon(self) -> bool:
        """Whether a perturbed mean is known that no period beyond the epochs followed can beat, whatever unperturbed runs do there."""
        leader, known = self.leader, self.evidence
        if leader is None or leader.candidate is None or not leader.known:
            return False
        floor = known.survival.mean(known.followed) + known.survival.value(known.followed)
        return bool(np.mean((floor > (1.0 - self.settings.precision) * leader.mean)[1:]) >= self.settings.level)

    def _race(self) -> tuple[str, bool]:
        """Look closer at what promises most for what it costs; says why that ended, and whether nothing was left open."""
        while True:
            evidence, leader = self.evidence, self.leader
            if leader is None:  # nothing is known to its end yet
                started = [arm for arm in evidence.arms if arm.candidate is None or arm.n_runs > 0]
                open_arms = [Rival(arm, 1.0, self.source.horizon - float(arm.optimistic[0])) for arm in started]
            else:
                open_arms = rivals(evidence, leader, precision=self.settings.precision, level=self.settings.level)
                if not open_arms and not leader.known:
                    open_arms = [Rival(leader, 1.0, leader.error)]
                if not open_arms and leader.n_runs < DECISIVE:
                    open_arms = [Rival(leader, 1.0, 1.0)]
                if not open_arms:
                    return f"nothing else can be better by more than {100 * self.settings.precision:g} %", True
            closer = {self._closer(rival.arm): rival for rival in open_arms}
            closer.pop(None, None)
            if not closer:
                return f"{self.settings.max_runs} runs do not tell the choices apart", False
            payable = [action for action in closer if action is not None and self._payable(action)]
            if not payable:
                return "the budget is spent", False
            self._do(max(payable, key=lambda action: closer[action].gain / self._price(action)))

    def _confirm(self) -> FirstPassageTimes | None:
        """Measure the choice with runs that had no part in it; these, or ``None`` where that is not asked for or cannot be paid."""
        leader = self.leader
        if leader is None or leader.candidate is None or leader.period is None or leader.kind == "exact":
            return None
        before = max(runs.n_runs for runs in (self.plain, *self.cells.values()))
        key = (leader.candidate, leader.period)
        epochs = self._first_epochs(leader.period)
        n_fresh = self._whole(self.settings.confirm) if self.settings.confirm else 0
        while n_fresh >= max(self.source.unit, 8):
            action = Action("confirm", *key, before + n_fresh, epochs)
            if self._payable(action, reserve=False) and self._do(action, reserve=False):
                return _later(self._times(self.cells[key]), before)
            n_fresh = (n_fresh // 2) // self.source.unit * self.source.unit
        return None

    @staticmethod
    def _named(arm: Arm | None) -> tuple[Candidate | None, int | None] | None:
        return None if arm is None else (arm.candidate, arm.period)

    # -- one action

    def _closer(self, arm: Arm) -> Action | None:
        """What looks more closely at a choice, or tells it from the leader; ``None`` if the most runs were trained."""
        leader = self.leader
        if arm.known and leader is not None and leader is not arm and (not leader.known or leader.n_runs < arm.n_runs):
            arm = leader
        if arm.candidate is None or arm.period is None or arm.candidate.restarts or arm.period > self.plain.n_epochs:
            if self.plain.n_epochs < self.source.horizon and not (arm.candidate is not None and arm.kind == "exact"):
                return Action(
                    "follow", None, None, self.plain.n_runs, min(2 * self.plain.n_epochs, self.source.horizon)
                )
            return self._more(Action("more runs", None, None, self.plain.n_runs, self.plain.n_epochs))
        cell = self.cells.get((arm.candidate, arm.period))
        if cell is None:
            measured = [p for candidate, p in self.cells if candidate == arm.candidate]
            outside = not measured or arm.period < min(measured) or arm.period > max(measured)
            n_runs, epochs = self._whole(self.settings.batch), self._first_epochs(arm.period)
            purpose: Purpose = "bracket" if outside else "measure"
            return Action(purpose, arm.candidate, arm.period, n_runs, epochs)
        if not arm.known:
            epochs = min(2 * cell.n_epochs, self.source.horizon)
            return Action("follow", arm.candidate, arm.period, cell.n_runs, epochs)
        return self._more(Action("more runs", arm.candidate, arm.period, cell.n_runs, cell.n_epochs))

    def _more(self, action: Action) -> Action | None:
        n_runs = self._whole(math.ceil(GROWTH * action.n_runs))
        return replace(action, n_runs=n_runs) if n_runs <= self.settings.max_runs else None

    def _first_epochs(self, period: int) -> int:
        """How far runs of a period are followed at first."""
        horizon = self.source.horizon
        expected = horizon if self.leader is None else math.ceil(FOLLOW * float(self.leader.mean[0]))
        return min(max(expected, 2 * period), horizon)

    def _price(self, action: Action) -> float:
        """Run-epochs that an action is expected to take."""
        if action.candidate is None:
            return max(self._at_most(action), 1)
        mean = float(self.evidence.arm(action.candidate, action.period).mean[0])
        known = self.cells.get((action.candidate, action.period or 0))
        least = (action.period or 0) + 1 if known is None else 1
        return max(self._at_most(replace(action, epochs=int(np.clip(math.ceil(mean), least, action.epochs)))), 1)

    def _payable(self, action: Action, *, reserve: bool = True) -> bool:
        """Whether the budget allows an action, however it turns out, and the runs that are to confirm the choice."""
        if self.settings.budget is None:
            return True
        kept = self.settings.confirm * float(self.leader.mean[0]) if reserve and self.leader is not None else 0.0
        return self.source.ledger.spent + self._at_most(action) + kept <= self.settings.budget

    def _at_most(self, action: Action) -> int:
        label = None if action.candidate is None else action.candidate.label
        return self.source.ledger.at_most(label, period=action.period, n_runs=action.n_runs, epochs=action.epochs)

    def _do(self, action: Action, *, reserve: bool = True) -> bool:
        """Perform an action if it can be paid; runs that were added to a known mean are followed until it is known again."""
        if not self._payable(action, reserve=reserve):
            return False
        if action.candidate is None or action.period is None:
            self.unperturbed = self.source.unperturbed(n_runs=action.n_runs, epochs=action.epochs)
        else:
            key = (action.candidate, action.period)
            found = self._ask(action)
            while action.purpose in ("more runs", "confirm") and not self._complete(found):
                action = replace(action, epochs=min(2 * action.epochs, self.source.horizon))
                if not self._payable(action, reserve=reserve):
                    return False  # what is paid is paid, but a mean of runs cut short would look too good
                found = self._ask(action)
            self.cells[key] = found
        self._weigh()
        self.steps.append(self._step(action))
        return True

    def _ask(self, action: Action) -> Trajectories:
        assert action.candidate is not None
        assert action.period is not None
        return self.source.perturbed(action.candidate, period=action.period, n_runs=action.n_runs, epochs=action.epochs)

    def _complete(self, runs: Trajectories) -> bool:
        return runs.n_epochs >= self.source.horizon or self._times(runs).n_censored == 0

    def _step(self, action: Action) -> Step:
        leader = self.leader
        who = "unperturbed" if action.candidate is None else f"{action.candidate.label} every {action.period} epochs"
        return Step(
            action.purpose,
            f"{who}: {action.n_runs} runs up to epoch {action.epochs}",
            self.source.ledger.spent,
            leader.candidate.label if leader is not None and leader.candidate is not None else None,
            None if leader is None else leader.period,
            None if leader is None else float(leader.mean[0]),
        )

    # -- what is known

    @property
    def plain(self) -> Trajectories:
        """Unperturbed runs."""
        assert self.unperturbed is not None
        return self.unperturbed

    @property
    def evidence(self) -> Evidence:
        """What all runs say."""
        assert self.seen is not None
        return self.seen

    def _weigh(self) -> None:
        self.seen = gather(
            self.plain,
            self.cells,
            candidates=self.candidates,
            periods=self.periods,
            horizon=self.source.horizon,
            retirement=self.source.retirement,
            start=self.start,
            per_octave=UNSETTLED_ERROR if self.start is None else ERROR_PER_OCTAVE,
            n_boot=self.settings.n_boot,
            seed=self.settings.seed,
        )
        self.leader = leading(self.seen, start=self.start)

    def _whole(self, n_runs: int) -> int:
        """So many runs, rounded up to the unit of the source."""
        return math.ceil(n_runs / self.source.unit) * self.source.unit

    def _times(self, runs: Trajectories) -> FirstPassageTimes:
        at = self.source.retirement
        return first_passage(runs, threshold=at.threshold, direction=at.direction, metric=at.metric)


def _later(times: FirstPassageTimes, before: int) -> FirstPassageTimes:
    """Runs from number ``before`` on."""
    later = times.run >= before
    return FirstPassageTimes(times.time[later], times.observed[later], times.run[later])
