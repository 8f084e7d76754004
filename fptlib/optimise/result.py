"""What a search found, what it did, and what it spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fptlib.firstpassage import Estimate
from fptlib.optimise.candidates import Candidate
from fptlib.qss import QuasiSteadyState

Purpose = Literal["unperturbed", "fork", "bracket", "measure", "follow", "more runs", "confirm"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, and what would have been recommended after it.

    Parameters
    ----------
    purpose, what
        Why, in a word, and what, in a sentence.
    spent
        Run-epochs spent so far.
    candidate, period
        Recommendation at this moment: label and period, both ``None`` for no perturbation.
    mean
        What it was expected to need, in epochs; ``None`` before anything was known.
    """

    purpose: Purpose
    what: str
    spent: int
    candidate: str | None
    period: int | None
    mean: float | None


@dataclass(frozen=True, slots=True)
class Choice:
    """A perturbation with a period, or none (both ``None``), and its restricted mean.

    Parameters
    ----------
    basis
        ``fresh runs``: runs that had no part in the choice; ``all runs``: those that it was chosen by too, whose mean is
        too small on average, because the smallest was taken; ``prediction``: not measured at this period.
    """

    candidate: Candidate | None
    period: int | None
    estimate: Estimate
    basis: Literal["fresh runs", "all runs", "prediction"]


@dataclass(frozen=True, slots=True)
class Standing:
    """How one candidate came out: its best period so far, and why it was left there.

    Parameters
    ----------
    period, mean, low, high
        Best period and its restricted mean in epochs, ``None`` and NaN where no period was measured or predicted.
    measured
        Periods at which it was measured, in order.
    status
        ``chosen``, ``dropped`` (no period of it can be better than the choice, by more than the precision), or ``undecided``.
    spent
        Run-epochs after its perturbations.
    """

    label: str
    period: int | None
    mean: float
    low: float
    high: float
    measured: tuple[int, ...]
    status: Literal["chosen", "dropped", "undecided"]
    spent: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a search.

    Parameters
    ----------
    best
        The choice; ``None`` if nothing could be chosen (the budget ended before, or no run ever passed).
    standings
        All candidates, in the order given.
    steps
        What was done, in order.
    stopped
        Why the search ended, in a sentence.
    decided
        Whether it ended because nothing else can be better by more than the precision.
    inside
        Whether a shorter and a longer period were found worse; false at an edge of the periods allowed.
    settled, relaxation_epoch, fork_period
        Whether unperturbed training came to rest, from which epoch on, and the period ``P0`` that all candidates were forked at.
    state
        Verdict of `fptlib.qss.judge` on the unperturbed runs that were trained, where they tell enough.
    unperturbed
        Their restricted mean; where they were not followed to the horizon, ``mean`` and ``low`` are lower bounds and ``high`` is NaN.
    threshold, horizon, precision, level
        What was asked for.
    spent, spent_unperturbed
        Run-epochs in all, and those before any perturbation.
    """

    best: Choice | None
    standings: tuple[Standing, ...]
    steps: tuple[Step, ...]
    stopped: str
    decided: bool
    inside: bool
    settled: bool
    relaxation_epoch: int | None
    fork_period: int | None
    state: QuasiSteadyState
    unperturbed: Estimate
    threshold: float
    horizon: int
    precision: float
    level: float
    spent: int
    spent_unperturbed: int

    def words(self) -> str:
        """The answer in a sentence.

        Returns
        -------
        str
            Names the choice, its interval and what that rests on.
        """
        if self.best is None:
            return f"nothing to recommend: {self.stopped}"
        e = self.best.estimate
        name = (
            "no perturbation"
            if self.best.candidate is None
            else f"{self.best.candidate.label} every {self.best.period} epochs"
        )
        interval = f"{100 * e.level:g} % interval {e.low:.1f} to {e.high:.1f}, {e.n_runs} runs, {self.best.basis}"
        return f"{name}: {e.mean:.1f} epochs ({interval}); {self.spent} run-epochs spent; {self.stopped}"
