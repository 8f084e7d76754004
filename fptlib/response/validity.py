r"""Can a prediction be relied on? Three answers, each with its reason.

Validity is about the error of the prediction. To first order, and relative to the predicted mean ``T``,

.. math:: E(P) = \frac{S(P)\,\Delta(P) + \langle T_P\rangle_{\text{cycles}} - \langle T_P\rangle}{\langle T_P\rangle}

where :math:`\Delta` is the slope of the residual time on the metric at the perturbation times the shift of the mean metric between the
unperturbed survivors at ``P`` and the perturbed survivors at ``P0``, and the other part is what the cycle form (7) says about repeated
perturbation. The interval of ``E`` inside the tolerance means valid, outside means not valid, across means unverified; so does a
range of the metric that was not seen at ``P0``, or too few survivors to give an interval.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage import percentile_interval
from fptlib.response.forms import cycle_residual, full_restart, restricted, splice
from fptlib.response.sample import Sample

ERROR_TOLERANCE = 0.1  # relative error of a mean that a choice between perturbations can bear
OUT_OF_RANGE = 0.2  # share of survivors beyond the metrics seen at P0 from which the slope is an extrapolation
MIN_SURVIVORS = 30  # below this, intervals of a mean residual time do not cover as they should


class Status(StrEnum):
    """Three answers to "can this prediction be relied on?"."""

    VALID = "valid"
    NOT_VALID = "not valid"
    UNVERIFIED = "unverified"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status of a prediction, its reason, and the expected relative error of the mean with its interval."""

    status: Status
    reason: str
    error: float
    error_low: float
    error_high: float


def drift_error(sample: Sample, *, epoch: int, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative error of ``mean`` that the drift of the metric between ``P0`` and ``epoch`` causes, ``(replicates,)``."""
    return sample.survival[:, epoch] * sample.slope * sample.metric_shift(epoch) / mean


def expected_error(
    sample: Sample, *, period: int, form: int, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lower and upper bracket of the expected relative error of a prediction, each ``(replicates,)``.

    They differ where the cycles seen leave something open: beyond the cycle length, beyond the last cycle, beyond the horizon.
    """
    if form == 4:
        return _restart_error(sample)
    if form == 2 and period == sample.period:
        return np.zeros(len(mean)), np.zeros(len(mean))  # form 1: exact
    drift = drift_error(sample, epoch=period, mean=mean)
    n_after = sample.horizon - period
    low, high = (
        splice(
            sample.survival,
            cycle_residual(sample.cycles, period=period, n_epochs=n_after, beyond=beyond),
            period=period,
        )
        for beyond in ("drop", "hold")
    )
    if form == 7:
        closed = high[:, period * (len(sample.cycles) + 1) : -1].sum(axis=1) / mean
        width = np.maximum(closed, (restricted(high) - restricted(low)) / mean)
        return drift - width, drift + width
    unseen = np.zeros(len(mean))
    if period < sample.period:  # the residual curve ends before the horizon and was held at its last value
        unseen = sample.survival[:, period] * sample.residual[:, -1] * (sample.period - period) / mean
    return drift + (restricted(low) / mean - 1.0) - unseen, drift + (restricted(high) / mean - 1.0)


def verdict(
    sample: Sample, *, period: int, form: int, mean: NDArray[np.float64], tolerance: float = ERROR_TOLERANCE
) -> Verdict:
    """Judge the prediction ``mean`` (data and replicates) of one form at one period."""
    below, above = expected_error(sample, period=period, form=form, mean=mean)
    low, _ = percentile_interval(below[1:], sample.level)
    _, high = percentile_interval(above[1:], sample.level)
    error = float((below[0] + above[0]) / 2)
    outside = 0.0 if form == 4 else sample.outside(period)
    said = f"the mean is expected {_percent(error)} from the prediction (interval {_percent(low)} to {_percent(high)})"
    measured = form == 2 and period == sample.period
    if low > tolerance or high < -tolerance:
        status, reason = Status.NOT_VALID, f"{said}, beyond {_percent(tolerance, sign=False)}"
    elif outside > OUT_OF_RANGE and not measured:
        status = Status.UNVERIFIED
        reason = f"{_percent(outside, sign=False)} of the survivors at epoch {period} have a metric not seen at epoch {sample.period}"
    elif sample.n_survivors < MIN_SURVIVORS:
        status = Status.UNVERIFIED
        reason = (
            f"only {sample.n_survivors} survivors at epoch {sample.period}; {MIN_SURVIVORS} are needed for an interval"
        )
    elif -tolerance <= low and high <= tolerance:
        status = Status.VALID
        reason = "measured at this period" if measured else f"{said}, within {_percent(tolerance, sign=False)}"
    else:
        status, reason = (
            Status.UNVERIFIED,
            f"{said}, across {_percent(tolerance, sign=False)}{_why(sample, period, form)}",
        )
    return Verdict(status, reason, error, low, high)


def _why(sample: Sample, period: int, form: int) -> str:
    again = float(sample.cycles[0][0, -1])
    if form != 4 and period > sample.period and again > 0:
        return (
            f": {_percent(again, sign=False)} of the runs meet a second perturbation, which {period} epochs would delay"
        )
    return ""


def _restart_error(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Form 4 needs no perturbed run; the perturbed runs at ``P0`` tell whether they restart as it says."""
    measured = restricted(splice(sample.survival, sample.residual, period=sample.period))
    predicted = restricted(full_restart(sample.survival, period=sample.period))
    error = measured / predicted - 1.0
    return error, error


def _percent(x: float, *, sign: bool = True) -> str:
    digits = 1 if abs(x) < 0.0995 and sign else 0
    return f"{round(100 * x, digits) + 0.0:{'+' if sign else ''}.{digits}f} %"  # adding 0.0 turns -0.0 into 0.0
