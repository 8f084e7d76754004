"""Three answers to "can this prediction be relied on?", and how they follow from the parts of a relative error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage import percentile_interval
from fptlib.response.sample import Sample

Replicates = NDArray[np.float64]  # (replicates,), the data first

ERROR_TOLERANCE = 0.1  # relative error of a mean that a choice between perturbations can bear
OUT_OF_RANGE = 0.2  # share of survivors beyond the metrics seen at P0 from which the slope is an extrapolation
FAR = 1.0  # standard deviations of the metric at P0 from which first order says little: published, -1.4 gives +62 % for a true -4 %
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


def weigh_error(
    sample: Sample,
    *,
    below: Replicates,
    above: Replicates,
    drift: Replicates,
    possible: tuple[float, float],
    outside: float,
    shift: float,
    who: str,
    seen: str,
    tolerance: float = ERROR_TOLERANCE,
    open_because: str = "",
    doubt: str | None = None,
) -> Verdict:
    """Verdict on a prediction from the parts of its relative error, as `fptlib.response.validity` explains them.

    Parameters
    ----------
    below, above
        Bracket of the error that repeated perturbation causes.
    drift
        Error by the drift of the metric between ``P0`` and the perturbations predicted for.
    possible
        Errors that the mean can have at all.
    outside, shift, who, seen
        Share of the runs perturbed there whose metric was not seen at ``P0``, their mean metric less that at ``P0`` in standard
        deviations, and these runs and "at ``P0``" in words.
    open_because
        Added where the status stays open.
    doubt
        Why the error does not say what it seems to, see `fptlib.response.records`: then unverified, unless the mean has no choice.
    """
    possible = (min(possible[0], 0.0), max(possible[1], 0.0))

    def interval(low: Replicates, high: Replicates) -> tuple[float, float]:
        low_end, high_end = (unbounded(np.clip(part, *possible), sample.level) for part in (low, high))
        return low_end[0], high_end[1]

    whole, again, drifts = interval(below + drift, above + drift), interval(below, above), interval(drift, drift)
    error = float(np.clip((below[0] + above[0]) / 2 + drift[0], *possible))
    limit = percent(tolerance, sign=False)
    said = f"the mean is expected {percent(error)} from the prediction (interval {spread(whole)})"
    if above[0] - below[0] > 2 * tolerance:
        said = f"the cycles that were seen leave the mean open from {spread(whole)} of the prediction"
    if within(possible, tolerance):
        status, said = Status.VALID, f"whatever the perturbation does, the mean cannot be {limit} from the prediction"
    elif beyond(again, tolerance):
        said = f"repeated perturbation alone puts the mean {spread(again)} from the prediction, beyond {limit}"
        return doubted(Verdict(Status.NOT_VALID, said, error, *whole), doubt)
    elif outside > OUT_OF_RANGE:
        share = percent(outside, sign=False)
        status, said = Status.UNVERIFIED, f"{share} of {who} have a metric not seen {seen}"
    elif abs(shift) > FAR and not within(whole, tolerance):
        said = f"the metric of {who} is on average {shift:+.1f} standard deviations from that {seen}: too far for a first order"
        status = Status.UNVERIFIED
    elif beyond(whole, tolerance):
        status, said = Status.NOT_VALID, f"{said}, beyond {limit}"
    elif all(within(part, tolerance) for part in (whole, again, drifts)):
        status, said = Status.VALID, f"{said}, within {limit}"
    else:
        if within(whole, tolerance):
            said = "drift and repeated perturbation each move the mean and cancel only to first order"
        status, said = Status.UNVERIFIED, f"{said}, across {limit}{open_because}"
    judged = flag_few(sample, Verdict(status, said, error, *whole))
    return judged if within(possible, tolerance) else doubted(judged, doubt)


def doubted(judged: Verdict, doubt: str | None) -> Verdict:
    """The verdict, or unverified where there is a doubt about what it rests on."""
    if doubt is None:
        return judged
    return replace(judged, status=Status.UNVERIFIED, reason=f"{doubt}; by the runs alone, {judged.reason}")


def flag_few(sample: Sample, judged: Verdict) -> Verdict:
    """The verdict, or unverified where too few survivors carry it or none of them passed."""
    if sample.n_residual_censored == sample.n_survivors:
        reason = f"no run passed after the perturbation at epoch {sample.period}: the mean is no more than the horizon"
    elif sample.n_survivors < MIN_SURVIVORS:
        reason = (
            f"only {sample.n_survivors} survivors at epoch {sample.period}; {MIN_SURVIVORS} are needed for an interval"
        )
    else:
        return judged
    return replace(judged, status=Status.UNVERIFIED, reason=reason)


def unbounded(replicates: Replicates, level: float) -> tuple[float, float]:
    """Percentile interval of a number that is infinite in some replicates; those in which it is not defined are left out."""
    defined = replicates[1:][~np.isnan(replicates[1:])]
    if not len(defined):
        return float("nan"), float("nan")
    if np.isfinite(defined).all():
        return percentile_interval(defined, level)
    low = np.quantile(defined, 0.5 - level / 2, method="lower")
    return float(low), float(np.quantile(defined, 0.5 + level / 2, method="higher"))


def within(interval: tuple[float, float], tolerance: float) -> bool:
    """Whether an interval of a relative error lies within the tolerance."""
    return -tolerance <= interval[0] and interval[1] <= tolerance


def beyond(interval: tuple[float, float], tolerance: float) -> bool:
    """Whether it lies beyond the tolerance, on one side."""
    return interval[0] > tolerance or interval[1] < -tolerance


def percent(x: float, *, sign: bool = True) -> str:
    """A share in words."""
    digits = 1 if abs(x) < 0.0995 and sign else 0
    return f"{round(100 * x, digits) + 0.0:{'+' if sign else ''}.{digits}f} %"  # adding 0.0 turns -0.0 into 0.0


def spread(interval: tuple[float, float]) -> str:
    """An interval of a relative error in words."""
    return f"{percent(interval[0])} to {percent(interval[1])}"
