"""Verdicts on predictions: three answers to "can this be relied on?", each with a named cause, from the parts of a relative error."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage.resampling import percentile_interval
from fptlib.former.sample import Sample

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


class Cause(StrEnum):
    """Reasons for a status, each with its sentence; what stands in braces comes from the case."""

    MEASURED = "measured at this period"
    BOUNDED = "whatever the perturbation does, the mean cannot be {limit} from the prediction"
    REPEATED = "repeated perturbation alone puts the mean {range} from the prediction, beyond {limit}"
    OUTSIDE = "{share} of {who} have a metric not seen {seen}"
    TOO_FAR = (
        "the metric of {who} is on average {shift:+.1f} standard deviations from that {seen}: too far for a first order"
    )
    BEYOND = "{error}, beyond {limit}"
    WITHIN = "{error}, within {limit}"
    ACROSS = "{error}, across {limit}{why}"
    CANCELS = "drift and repeated perturbation each move the mean and cancel only to first order, across {limit}{why}"
    FEW_SURVIVORS = "only {n} survivors at epoch {epoch}; {least} are needed for an interval"
    NONE_PASSED = "no run passed after the perturbation at epoch {epoch}: the mean is no more than the horizon"
    RECORD = "{doubt}; by the runs alone, {reason}"
    NOT_THE_PERIOD = (
        "the perturbed runs differ from the unperturbed ones before epoch {epoch} already (their mean by themselves is {off} from that "
        "after unperturbed epochs, interval {low} to {high}): is {epoch} their period?"
    )
    RESTART = "the store says full reset; {error}"
    EXACT = "a restart is exact for any process, from unperturbed runs alone; {n} of {of} pass within a period"
    FEW_PASSAGES = "only {n} of {of} unperturbed runs pass within {period} epochs; {least} are needed"
    SLOPE = "a perturbation at a random epoch leaves {after:.3g} epochs of {without:.3g}: {reason}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Status of a prediction, its cause and reason, and the expected relative error of the mean with its interval."""

    status: Status
    cause: Cause
    reason: str
    error: float
    error_low: float
    error_high: float

    @classmethod
    def because(cls, status: Status, cause: Cause, *error: float, **words: object) -> Verdict:
        """Return a verdict with the sentence of its cause; `error` is the relative error with its interval, 0 if not given."""
        return cls(status, cause, cause.value.format(**words), *(error or (0.0, 0.0, 0.0)))


def weigh_error(
    sample: Sample,
    *,
    period: int,
    below: Replicates,
    above: Replicates,
    drift: Replicates,
    possible: tuple[float, float],
    tolerance: float = ERROR_TOLERANCE,
    open_because: str = "",
) -> Verdict:
    """Return the verdict on a prediction from the parts of its relative error, as `fptlib.former.validity` explains them.

    Parameters
    ----------
    sample, period
        Runs perturbed at ``P0``, and the period predicted for.
    below, above
        Bracket of the error that repeated perturbation causes.
    drift
        Error by the drift of the metric between ``P0`` and the period.
    possible
        Errors that the mean can have at all.
    open_because
        Added where the status stays open.
    """

    def interval(low: Replicates, high: Replicates) -> tuple[float, float]:
        low_end, high_end = (percentile_interval(np.clip(part, *possible)[1:], sample.level) for part in (low, high))
        return low_end[0], high_end[1]

    in_all, again, drifts = interval(below + drift, above + drift), interval(below, above), interval(drift, drift)
    error = float(np.clip((below[0] + above[0]) / 2 + drift[0], *possible))
    expected = f"the mean is expected {percent(error)} from the prediction (interval {spread(in_all)})"
    if above[0] - below[0] > 2 * tolerance:
        expected = f"the cycles that were seen leave the mean open from {spread(in_all)} of the prediction"
    outside, shift = sample.outside(period), sample.shift(period)
    words = {
        "error": expected,
        "limit": percent(tolerance, sign=False),
        "range": spread(again),
        "share": percent(outside, sign=False),
        "who": f"the survivors at epoch {period}",
        "seen": f"at epoch {sample.period}",
        "shift": shift,
        "why": open_because,
    }
    doubt = sample.records.doubt(period, sample.period)
    if within(possible, tolerance):
        return flag_few(sample, Verdict.because(Status.VALID, Cause.BOUNDED, error, *in_all, **words))
    if beyond(again, tolerance):
        return doubted(Verdict.because(Status.NOT_VALID, Cause.REPEATED, error, *in_all, **words), doubt)
    if outside > OUT_OF_RANGE:
        status, cause = Status.UNVERIFIED, Cause.OUTSIDE
    elif abs(shift) > FAR and not within(in_all, tolerance):
        status, cause = Status.UNVERIFIED, Cause.TOO_FAR
    elif beyond(in_all, tolerance):
        status, cause = Status.NOT_VALID, Cause.BEYOND
    elif all(within(part, tolerance) for part in (in_all, again, drifts)):
        status, cause = Status.VALID, Cause.WITHIN
    else:
        status, cause = Status.UNVERIFIED, Cause.CANCELS if within(in_all, tolerance) else Cause.ACROSS
    return doubted(flag_few(sample, Verdict.because(status, cause, error, *in_all, **words)), doubt)


def doubted(verdict: Verdict, doubt: str | None) -> Verdict:
    """Return the verdict, or unverified where there is a doubt about what it rests on."""
    if doubt is None:
        return verdict
    reason = Cause.RECORD.value.format(doubt=doubt, reason=verdict.reason)
    return replace(verdict, status=Status.UNVERIFIED, cause=Cause.RECORD, reason=reason)


def flag_few(sample: Sample, verdict: Verdict) -> Verdict:
    """Return the verdict, or unverified where too few survivors carry it or none of them passed."""
    if sample.n_residual_censored == sample.n_survivors:
        cause = Cause.NONE_PASSED
    elif sample.n_survivors < MIN_SURVIVORS:
        cause = Cause.FEW_SURVIVORS
    else:
        return verdict
    reason = cause.value.format(n=sample.n_survivors, epoch=sample.period, least=MIN_SURVIVORS)
    return replace(verdict, status=Status.UNVERIFIED, cause=cause, reason=reason)


def within(interval: tuple[float, float], tolerance: float) -> bool:
    """Return whether an interval of a relative error lies within the tolerance."""
    return -tolerance <= interval[0] and interval[1] <= tolerance


def beyond(interval: tuple[float, float], tolerance: float) -> bool:
    """Return whether an interval of a relative error lies beyond the tolerance, on one side."""
    return interval[0] > tolerance or interval[1] < -tolerance


def percent(x: float, *, sign: bool = True) -> str:
    """Write a share in words."""
    digits = 1 if abs(x) < 0.0995 and sign else 0
    return f"{round(100 * x, digits) + 0.0:{'+' if sign else ''}.{digits}f} %"  # adding 0.0 turns -0.0 into 0.0


def spread(interval: tuple[float, float]) -> str:
    """Write an interval of a relative error in words."""
    return f"{percent(interval[0])} to {percent(interval[1])}"
