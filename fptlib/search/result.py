"""Settings of a search and its result: the choice, the steps, and what was spent."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, ratio
from fptlib.record import Record, plain
from fptlib.response import Prediction
from fptlib.response.advice import interval
from fptlib.response.results import named
from fptlib.study import Key
from fptlib.trajectories import Target

Purpose = Literal["unperturbed", "fork", "bracket", "measure", "follow", "more runs", "confirm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a search; impossible values raise an InputError.

    Parameters
    ----------
    periods, budget
        Periods to choose from, in epochs, by default a spread up to the horizon; run-epochs that it never exceeds, ``None`` for no limit.
    batch, confirm, max_runs
        Runs of the first ensembles; fresh runs that measure the choice (0 to leave this out); runs at one period at most.
    precision, level, n_boot, seed
        Relative difference of means not worth telling apart; confidence of decisions and intervals; bootstrap replicates, and their seed.
    """

    periods: tuple[int, ...] | None = None
    budget: int | None = None
    precision: float = 0.05
    level: float = 0.95
    batch: int = 8
    confirm: int = 32
    max_runs: int = 1024
    n_boot: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        reason = ""
        if self.periods is not None and (not self.periods or min(self.periods) < 1):
            reason = "periods: at least one is needed, each of 1 epoch or more"
        elif self.budget is not None and self.budget < 1:
            reason = f"budget {self.budget} is not possible; at least 1 run-epoch is needed, or none for no limit"
        elif not 0 < self.precision < 1 or not 0.5 < self.level < 1:
            reason = f"precision {self.precision:g} must lie between 0 and 1, level {self.level:g} between 0.5 and 1"
        elif self.batch < 8 or self.confirm < 0 or self.max_runs < self.batch or self.n_boot < 50:
            reason = "batch of 8 runs or more, confirm of 0 or more, max_runs of a batch or more, n_boot of 50 or more are needed"
        if reason:
            raise InputError(reason)


@dataclass(frozen=True, slots=True)
class Step(Record):
    """One action, why and what, the run-epochs spent so far, and the recommendation after it, ``None`` where there is none."""

    purpose: Purpose
    what: str
    spent: int
    candidate: str | None
    period: int | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Standing(Record):
    """Result for one candidate: its best period so far, those at which it was perturbed, and its cost.

    A candidate is dropped if no period of it can be better than the choice, by more than the precision.
    """

    label: str
    best: Prediction | None
    measured: tuple[int, ...]
    status: Literal["chosen", "dropped", "undecided"]
    spent: int


@dataclass(frozen=True, slots=True)
class SearchResult(Record):
    """Result of a search: the choice, the steps that led there, and what was spent.

    Parameters
    ----------
    target, horizon, level, unperturbed
        What has to be reached, the last epoch that counts, the confidence of decisions and intervals, and the restricted mean without
        perturbation; where these runs were not followed to the horizon, ``mean`` and ``low`` are lower bounds and ``high`` is NaN.
    choice, next, fresh
        What to do, ``None`` if nothing could be chosen; perturbation and period to look at next, if not all was decided; and whether the
        choice was measured on runs that had no part in it (the mean of those that it was chosen by is too small on average).
    cells, candidates, steps
        All that was measured or predicted, in order of the mean; how each candidate came out; and what was done.
    stopped, decided, finished, inside
        Why the search ended, in a clause; whether because nothing else can be better by more than the precision; whether it did end; and
        whether a shorter and a longer period were found worse.
    relaxation_epoch, fork_period, spent, spent_unperturbed, notes
        Epoch from which unperturbed training rests; ``P0`` of the first forks; run-epochs in all, and before any perturbation; doubts.
    """

    target: Target
    horizon: int
    level: float
    unperturbed: Estimate
    choice: Prediction | None
    fresh: bool
    next: Key | None
    cells: tuple[Prediction, ...]
    candidates: tuple[Standing, ...]
    steps: tuple[Step, ...]
    stopped: str
    decided: bool
    inside: bool
    relaxation_epoch: int | None
    fork_period: int | None
    spent: int
    spent_unperturbed: int
    finished: bool = True
    notes: tuple[str, ...] = ()

    @property
    def speedup(self) -> Estimate | None:
        """Return the unperturbed mean over that of the choice, both up to the horizon; ``None`` without a perturbation."""
        if self.choice is None or self.choice.perturbation is None:
            return None
        return ratio(self.unperturbed, self.choice.estimate)

    @property
    def advice(self) -> tuple[str, ...]:
        """Return what to do and what that rests on, in sentences, the answer first."""
        choice, spent = self.choice, f"{self.spent} run-epochs were spent"
        notes = [f"Note: {note}." for note in self.notes]
        if choice is None:
            reason = self.stopped + "." * (not self.stopped.endswith("?"))
            return (f"Nothing can be recommended{'' if self.finished else ' yet'}: {reason}", f"{spent}.", *notes)
        if self.speedup is None:
            takes = f"{interval(choice)}, measured on {choice.n_runs} runs"
            answer = f"Train without perturbation, which takes {takes}: no candidate is known to be faster"
        else:
            low = math.floor(10 * self.speedup.low) / 10
            least = f"at least {low:g} times faster" if low > 1 else "not shown to be faster"
            same = f"the same {choice.n_runs} runs that led to the choice"
            basis = f"measured on {f'{choice.n_runs} fresh runs' if self.fresh else same}"
            if choice.method == "restart":
                basis = f"as follows from {choice.n_runs} unperturbed runs"
            elif not choice.measured:
                own = "from runs of its own that were not all followed to their end"
                basis = f"as predicted {own}" if choice.source == choice.period else "as predicted, not measured"
            start = "Use" if low > 1 else "Undecided: the best so far is"
            plain = self.unperturbed
            known = f"{plain.mean:.1f} epochs, {plain.low:.1f} to {plain.high:.1f}"
            without = f"at least {plain.low:.1f} epochs" if math.isnan(plain.high) else known
            faster = f"{least} than without perturbation ({without})"
            answer = f"{start} {choice}: training takes {interval(choice)}, {faster}, {basis}"
        ended = f"The search {'ended because' if self.finished else 'goes on:'} {self.stopped}"
        sentences = [f"{answer}; {spent}.", f"{ended}; means are up to epoch {self.horizon}."]
        if choice.period is not None and not self.inside:
            side = f"Periods on one side of {choice.period} were not shown to be slower"
            sentences.append(f"{side}, so the minimum may lie there.")
        key = (choice.perturbation, choice.period)
        mean = next((p.centre for p in self.cells if (p.perturbation, p.period) == key), choice.centre)
        if (first := next((p for p in self.cells if p.mean is not None and p.centre < mean), None)) is not None:
            ends = f"{first.low:.1f} to {first.high:.1f} epochs"
            sentences.append(f"The mean of {first} is smaller but less certain ({ends}).")
        if self.next is not None:
            open_for = "The last runs reopened one question" if self.decided else "Not all is decided"
            sentences.append(f"{open_for}: {named(*self.next)} may be faster still and is what to look at next.")
        return (*sentences, *notes)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return one row for each candidate: its best period, mean, interval and grade, where it was measured, and what it cost."""
        for c in self.candidates:
            names = ("period", "mean", "low", "high", "grade")
            best = {name: None if c.best is None else getattr(c.best, name) for name in names}
            measured = ", ".join(map(str, c.measured)) or None
            yield {"candidate": c.label, **best, "measured": measured, "status": c.status, "spent": c.spent}

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types, the choice first; its speed-up is ``None`` without a perturbation."""
        following = None if self.next is None else dict(zip(("perturbation", "period"), self.next, strict=True))
        choice, speedup = plain(self.choice), plain(self.speedup)
        first = {"choice": choice, "speedup": speedup, "next": following, "advice": list(self.advice)}
        rest = {field.name: plain(getattr(self, field.name)) for field in fields(self) if field.name not in first}
        return {**first, **rest, "target": asdict(self.target)}
