"""Settings of a search and its result: the choice, the steps, and what was spent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.optimise.candidates import Candidate

Purpose = Literal["unperturbed", "fork", "bracket", "measure", "follow", "more runs", "confirm"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of a search.

    Parameters
    ----------
    periods
        Periods to choose from, in epochs; a spread of them up to the horizon by default.
    budget
        Run-epochs that it may spend, which it never exceeds; ``None`` for as many as the precision takes.
    precision
        Relative difference of means that is not worth telling apart.
    level
        Confidence of every decision and interval.
    batch
        Runs of the first ensembles.
    confirm
        Runs that measure the choice once it is made, and had no part in it; 0 to leave this out.
    max_runs
        Runs at one period at most.
    n_boot, seed
        Bootstrap replicates over seeds, and the seed of their random numbers.

    Raises
    ------
    InputError
        If a value is impossible.
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
        if self.periods is not None and (not self.periods or min(self.periods) < 1):
            raise InputError("periods: at least one is needed, each of 1 epoch or more")
        if self.budget is not None and self.budget < 1:
            raise InputError(
                f"budget {self.budget} is not possible; at least 1 run-epoch is needed, or none for no limit"
            )
        if not 0 < self.precision < 1 or not 0.5 < self.level < 1:
            raise InputError(
                f"precision {self.precision:g} must lie between 0 and 1, level {self.level:g} between 0.5 and 1"
            )
        if self.batch < 8 or self.confirm < 0 or self.max_runs < self.batch or self.n_boot < 50:
            raise InputError(
                "batch of 8 runs or more, confirm of 0 or more, max_runs of a batch or more, n_boot of 50 or more are needed"
            )


@dataclass(frozen=True, slots=True)
class Step:
    """One action, and the recommendation after it.

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
    """Result for one candidate: its best period so far, and why it was left there.

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
    relaxation_epoch, fork_period
        Epoch from which unperturbed training rests, ``None`` if it was not seen to, and the period ``P0`` of the first forks.
    unperturbed
        Their restricted mean; where they were not followed to the horizon, ``mean`` and ``low`` are lower bounds and ``high`` is NaN.
    threshold, horizon
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
    relaxation_epoch: int | None
    fork_period: int | None
    unperturbed: Estimate
    threshold: float
    horizon: int
    spent: int
    spent_unperturbed: int

    def words(self) -> str:
        """Return the answer in a sentence.

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
