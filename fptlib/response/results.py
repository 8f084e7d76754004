"""A prediction, and a ranking of predictions with the choice that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from fptlib.firstpassage import Estimate, ratio
from fptlib.qss import QuasiSteadyState
from fptlib.record import Record, plain
from fptlib.response.interval import OPEN, Interval
from fptlib.study import Key, Note
from fptlib.trajectories import Target

Method = Literal["measured", "single", "cycles", "restart"]
WORDS = {
    "shrink_perturb": "shrink-and-perturb",
    "weight_noise": "weight noise",
    "full_reset": "full reset",
    "partial_reset": "partial reset",
    "last_layer_reset": "last-layer reset",
    "restart_from_best": "restart from the best epoch",
    "warm_restart": "warm restart",
    "rate_bump": "rate bump",
    "rate_drop": "rate drop",
}


@dataclass(frozen=True, slots=True)
class Prediction(Record):
    """Restricted mean first-passage time at one period of a perturbation, measured or predicted, with its interval and grade.

    Parameters
    ----------
    perturbation, period
        Its name and period in epochs; both ``None`` for no perturbation.
    interval
        The mean with its prediction interval, see `fptlib.response.interval`.
    method
        ``measured`` at this period; ``cycles``: carried from another period, every perturbation counted as observed; ``single``: the
        same for a perturbation that is applied once; ``restart``: a full reset, from unperturbed runs alone.
    source
        Period of the perturbed runs that it rests on; ``None`` where unperturbed ones are enough.
    n_runs, n_censored
        Runs behind it, those left at the source period, and how many of them were censored.
    level
        Confidence level of the interval.
    notes
        What speaks against it.
    once
        Whether the perturbation is applied once, at its period, and not again.
    """

    perturbation: str | None
    period: int | None
    interval: Interval
    method: Method
    source: int | None
    n_runs: int
    n_censored: int
    level: float
    notes: tuple[Note, ...] = ()
    once: bool = False

    @property
    def centre(self) -> float:
        """Return the mean by the formula, whatever the grade; NaN where nothing is known."""
        return self.interval.centre

    @property
    def mean(self) -> float | None:
        """Return the mean; ``None`` where the grade is open, and only the range is known."""
        return None if self.grade == OPEN else self.interval.centre

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.interval.low

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.interval.high

    @property
    def sampling(self) -> tuple[float, float]:
        """Return the ends of the part of the interval that more runs would narrow."""
        return self.interval.sampling

    @property
    def factor(self) -> float:
        """Return the larger of the factors between the mean and an end of the interval."""
        return self.interval.factor

    @property
    def grade(self) -> str:
        """Return how well the mean is known: to 10 %, to 20 %, to a factor 1.5, to a factor 2, or open."""
        return self.interval.grade

    @property
    def measured(self) -> bool:
        """True if runs were perturbed at this period, or it is no perturbation."""
        return self.method == "measured"

    @property
    def estimate(self) -> Estimate:
        """Return the mean and its interval as an estimate."""
        return Estimate(self.centre, self.low, self.high, self.n_runs, self.n_censored, self.level)

    def to_dict(self) -> dict[str, Any]:
        """Return perturbation, period, mean, low, high, sampling, method, factor, grade, measured and notes as JSON types."""
        names = ("perturbation", "period", "mean", "low", "high", "sampling", "method", "factor", "grade", "measured")
        return {name: plain(getattr(self, name)) for name in names} | {"notes": [str(note) for note in self.notes]}

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row, with the ends of the sampling part in columns of their own."""
        row = self.to_dict() | {"source": self.source, "notes": "; ".join(map(str, self.notes))}
        low, high = row.pop("sampling")
        yield row | {"sampling_low": low, "sampling_high": high}

    def __str__(self) -> str:
        return named(self.perturbation, self.period, once=self.once)


def named(perturbation: str | None, period: int | None, *, once: bool = False) -> str:
    """Return a perturbation with its period in words.

    >>> named(None, None), named("full_reset", 1), named("shrink_perturb", 20), named("my_rule", 20, once=True)
    ('no perturbation', 'full reset every epoch', 'shrink-and-perturb every 20 epochs', 'my_rule at epoch 20')
    """
    return "no perturbation" if perturbation is None else f"{spelt(perturbation)} {when(period, once=once)}"


def spelt(perturbation: str) -> str:
    """Return the name of a perturbation for readers; a name that the library does not know stays as it is."""
    kind, colon, parameters = perturbation.partition(":")
    return WORDS.get(kind, kind) + colon + parameters


def least(factor: float) -> float:
    """Return a lower bound of a speed-up as it is printed: rounded down, to a tenth below 10."""
    if not math.isfinite(factor):
        return factor
    return math.floor(10 * factor) / 10 if factor < 10 else float(math.floor(factor))


def when(period: int | None, *, once: bool) -> str:
    """Return in words when a perturbation is applied."""
    return f"at epoch {period}" if once else "every epoch" if period == 1 else f"every {period} epochs"


@dataclass(frozen=True, slots=True)
class Ranking(Record):
    """Predictions and their consequences: what to do, and what to measure next.

    Parameters
    ----------
    target, horizon, level
        What has to be reached, the last epoch that counts, and the confidence level of all intervals.
    unperturbed
        Restricted mean without perturbation.
    predictions
        In order of the period (`predict`) or of the mean, open ones included (`recommend`).
    choice
        What to do by what is known.
    next
        Perturbation and period of the one more ensemble that would tell most; ``None`` where none promises to be better than the choice.
    qss
        Whether unperturbed training reaches a quasi-steady state; ``None`` where only first-passage times were given.
    notes
        What the runs give to think about, beside the notes of each prediction.
    residual
        Source period and the mean residual time after it, where all predictions have one source.
    advice
        What to do, how sure that is, and what to measure next, in sentences.
    """

    target: Target
    horizon: int
    level: float
    unperturbed: Estimate
    predictions: tuple[Prediction, ...]
    choice: Prediction
    next: Key | None
    qss: QuasiSteadyState | None
    notes: tuple[Note, ...]
    residual: tuple[int, Estimate] | None = None
    advice: tuple[str, ...] = ()

    def speedup(self, prediction: Prediction | None = None) -> Estimate:
        """Return the unperturbed mean over that of a prediction, by default of the choice.

        Both means end at the horizon: where unperturbed runs are censored, the ratio without a horizon is larger.
        """
        prediction = self.choice if prediction is None else prediction
        if prediction.perturbation is None:
            return replace(self.unperturbed, mean=1.0, low=1.0, high=1.0)
        return ratio(self.unperturbed, prediction.estimate)

    def at(self, period: int | None, perturbation: str | None = None) -> Prediction:
        """Return the prediction at a period, of the named perturbation if there are several; a KeyError without one."""
        for p in self.predictions:
            if p.period == period and perturbation in (None, p.perturbation):
                return p
        raise KeyError(f"no prediction at period {period}")

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row for each prediction."""
        for p in self.predictions:
            speedup = self.speedup(p)
            gain = {"speedup": None if p.mean is None else speedup.mean}
            gain |= {"speedup_low": speedup.low, "speedup_high": speedup.high}
            yield from (row | gain for row in p.rows())

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON types: threshold, unperturbed, qss, ranking, choice, next, advice and notes."""
        speedup, mean = self.speedup(), self.unperturbed
        unperturbed = {"n_runs": mean.n_runs, "n_censored": mean.n_censored, "horizon": self.horizon}
        chosen = self.choice.to_dict() | {"speedup": {name: getattr(speedup, name) for name in ("mean", "low", "high")}}
        following = None if self.next is None else dict(zip(("perturbation", "period"), self.next, strict=True))
        content = {
            "threshold": self.target.threshold,
            "unperturbed": unperturbed | {"restricted_mean": {"mean": mean.mean, "low": mean.low, "high": mean.high}},
            "qss": self.qss,
            "ranking": self.predictions,
            "choice": chosen,
            "next": following,
            "advice": self.advice,
            "notes": [str(note) for note in self.notes],
        }
        return {name: plain(value) for name, value in content.items()}
