"""Predictions beside measurements, with one rule for the interval of the error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fptlib.firstpassage import Estimate, ratio
from fptlib.record import Record
from fptlib.response.results import Prediction, Ranking
from fptlib.study import Key

_AT_HORIZON = 0.999  # of the horizon: a mean that no run lowers is known without a prediction


@dataclass(frozen=True, slots=True)
class Compared(Record):
    """One prediction and the measurement at its period.

    Parameters
    ----------
    prediction, measured
        The prediction, and the measured (or exactly known) restricted mean at the same horizon.
    error
        Predicted over measured mean, less 1, with the interval of that ratio, see `fptlib.firstpassage.ratio`.
    at_horizon
        Whether both sit at the horizon, where there is nothing to predict.
    """

    prediction: Prediction
    measured: Estimate
    error: Estimate
    at_horizon: bool

    @property
    def covered(self) -> bool:
        """True if the two agree within the prediction's interval and the measurement's own: the interval of their ratio holds 1."""
        if math.isnan(self.prediction.centre):  # only a range is known
            return self.prediction.low <= self.measured.high and self.measured.low <= self.prediction.high
        return self.error.low <= 0 <= self.error.high

    @property
    def covered_bare(self) -> bool:
        """True if the prediction's interval holds the measured mean itself."""
        return self.prediction.low <= self.measured.mean <= self.prediction.high

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row: the prediction, the measurement beside it, and whether they agree."""
        p, m = self.prediction, self.measured
        names = ("perturbation", "period", "method", "grade", "low", "high")
        row = {name: getattr(p, name) for name in names} | {"predicted": p.centre, "measured": m.mean}
        row |= {"measured_low": m.low, "measured_high": m.high, "n_runs": m.n_runs, "n_censored": m.n_censored}
        row |= {"error": self.error.mean, "error_low": self.error.low, "error_high": self.error.high}
        yield row | {name: getattr(self, name) for name in ("covered", "covered_bare", "at_horizon")}


@dataclass(frozen=True, slots=True)
class Comparison(Record):
    """Predictions beside measurements, in the order of the predictions."""

    cells: tuple[Compared, ...]

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row for each period that has both."""
        return [row for cell in self.cells for row in cell.rows()]


def compare(predicted: Ranking, measured: Mapping[Key, Estimate]) -> Comparison:
    """Put predictions beside measured or exact means at the periods that have both.

    Parameters
    ----------
    predicted
        From `fptlib.response.predict` or `fptlib.response.recommend`.
    measured
        Perturbation and period to the restricted mean at the same horizon, as `fptlib.study.Study.means` gives them. A mean that is
        known exactly has its value at both ends. Measurements that a prediction is itself are left out.

    Notes
    -----
    Where both means rest on the same seeds the error is known better than its interval says.
    """
    cells = []
    for p in predicted.predictions:
        if p.perturbation is None or p.period is None or p.measured or (p.perturbation, p.period) not in measured:
            continue
        truth = measured[p.perturbation, p.period]
        quotient = ratio(p.estimate, truth)
        ends = quotient.mean - 1, quotient.low - 1, quotient.high - 1
        error = Estimate(*ends, truth.n_runs, truth.n_censored, p.level)
        end = _AT_HORIZON * predicted.horizon
        cells.append(Compared(p, truth, error, at_horizon=p.centre >= end and truth.mean >= end))
    return Comparison(tuple(cells))
