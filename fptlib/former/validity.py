r"""Can a prediction be relied on? Three answers, each with its reason.

Validity is about the error of the prediction, relative to the predicted mean ``T`` and to first order,

.. math:: E(P) = \frac{S(P)\,\Delta(P)}{T} + \frac{\langle T_P\rangle_{\text{cycles}} - T}{T}

The first part is the drift: the slope of the residual time on the metric at the perturbation times the shift of the mean metric
between the unperturbed survivors at ``P`` and the perturbed survivors at ``P0``. The second is what the cycle form (7) says about
repeated perturbation, a bracket where the cycles seen leave something open: beyond their length, and after the last of them. Each part
and their sum have bootstrap intervals. All within the tolerance: valid. The sum, or the cycles alone, beyond it: not valid. Else
unverified; so it is if the metric of the survivors was not seen at ``P0``, or is on average more than one standard deviation from
there (the drift is then extrapolated), or if there are too few survivors to give an interval. What is impossible is left out: the
mean lies between ``RM(P) + S(P)`` and ``RM(P) + S(P) (H - P)``.

Where the same perturbation was measured at a second period ``P1`` the two residual times say more than any first order: the error is then

.. math:: E(P) = \frac{S(P)\,(\tau_{P1} - \tau_{P1}^\text{predicted})}{T},

both restricted alike. With its interval within the tolerance every period between the two is valid; beyond it, periods from ``P0`` towards
``P1`` and further are not.

All of it takes training to be the same at every epoch. Where a record says otherwise (`fptlib.former.records`), the first error is
no error, and the prediction is unverified unless two measured periods speak for it.

Two things stay unseen: a state that the metric does not show, and survivors whom perturbations at another period would change in
another way.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage.resampling import percentile_interval
from fptlib.former.forms import Beyond, cycle_mean, restart_restricted_mean, splice_mean
from fptlib.former.sample import Sample
from fptlib.former.verdicts import (
    ERROR_TOLERANCE,
    MIN_SURVIVORS,
    Cause,
    Status,
    Verdict,
    beyond,
    flag_few,
    percent,
    spread,
    weigh_error,
    within,
)


def drift_error(
    sample: Sample, *, epoch: int, drift: NDArray[np.float64], mean: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the relative error of ``mean`` that the drift between ``P0`` and ``epoch``, see `Sample.drift`, causes, ``(replicates,)``."""
    return sample.survival.value(epoch) * drift / mean


def cycle_error(
    sample: Sample, *, period: int, form: int, mean: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the bracket of the relative error of ``mean`` that repeated perturbation causes, lower and upper, each ``(replicates,)``."""
    n_after = sample.horizon - period
    alike = _cycles_alike(sample, period)
    entering = sample.survival.value(period)
    bounds: tuple[Beyond, ...] = ("drop", "hold")
    (low, _), (high, later) = (
        cycle_mean(sample.cycles, period=period, n_epochs=n_after, beyond=bound, after="repeat" if alike else bound)
        for bound in bounds
    )
    # cycles that are alike may be repeated, with all that this adds as its uncertainty
    closure = np.where(entering > 0, entering * later, 0.0) / mean if alike else np.zeros(len(mean))
    unseen = np.zeros(len(mean))
    if (
        form == 2 and period < sample.period
    ):  # the residual curve ends before the horizon and was held at its last value
        unseen = entering * sample.residual.value(sample.horizon) * (sample.period - period) / mean
    low, high = (splice_mean(sample.survival, m, period=period) for m in (low, high))
    return low / mean - 1.0 - closure - unseen, high / mean - 1.0 + closure


def verdict(
    sample: Sample,
    *,
    period: int,
    form: int,
    mean: NDArray[np.float64],
    drift: NDArray[np.float64],
    tolerance: float = ERROR_TOLERANCE,
) -> Verdict:
    """Judge the prediction ``mean`` (data and replicates) of one form at one period, with the drift to it (`Sample.drift`)."""
    if form == 4 and sample.records.full_restart:
        return _restart_verdict(sample, tolerance)
    prefix = _prefix(sample, tolerance)
    if prefix is not None:
        return prefix
    if form == 2 and period == sample.period:  # form 1
        return flag_few(sample, Verdict.because(Status.VALID, Cause.MEASURED))
    drift = drift_error(sample, epoch=period, drift=drift, mean=mean)
    below, above = cycle_error(sample, period=period, form=form, mean=mean)
    return weigh_error(
        sample,
        period=period,
        below=below,
        above=above,
        drift=drift,
        possible=_possible(sample, period, mean),
        tolerance=tolerance,
        open_because=_why(sample, period),
    )


def checked(
    first: Verdict,
    sample: Sample,
    second: Sample,
    *,
    period: int,
    form: int,
    mean: NDArray[np.float64],
    tolerance: float = ERROR_TOLERANCE,
) -> Verdict:
    """Return the verdict on a prediction from ``sample`` in the light of runs measured at a second period, drawn with the same seeds."""
    at = second.period
    few = min(sample.n_survivors, second.n_survivors) < MIN_SURVIVORS
    few = few or any(s.n_residual_censored == s.n_survivors for s in (sample, second))
    towards = period > sample.period if at > sample.period else period < sample.period
    if few or not towards or form == 4:
        return first
    left = sample.horizon - max(sample.period, at)
    predicted = sample.residual.mean(left)
    if form == 7 and at < sample.period:
        predicted, _ = cycle_mean(sample.cycles, period=at, n_epochs=left)
    error = sample.survival.value(period) * (second.residual.mean(left) - predicted) / mean
    error = np.clip(error, *_possible(sample, period, mean))
    interval = percentile_interval(error[1:], sample.level)
    off = f"measured at epoch {at}, the residual time puts the mean {percent(float(error[0]))} from the prediction"
    words = {"error": f"{off} (interval {spread(interval)})", "limit": percent(tolerance, sign=False)}
    if beyond(interval, tolerance):
        return Verdict.because(Status.NOT_VALID, Cause.BEYOND, float(error[0]), *interval, **words)
    between = min(sample.period, at) <= period <= max(sample.period, at)
    if within(interval, tolerance) and between and first.status is Status.UNVERIFIED:
        return Verdict.because(Status.VALID, Cause.WITHIN, float(error[0]), *interval, **words)
    return first


def _prefix(sample: Sample, tolerance: float) -> Verdict | None:
    """Return unverified where the perturbed runs cannot be what they are taken for: unperturbed up to ``P0``.

    If they are, their mean by themselves is that put together from the unperturbed runs up to ``P0`` and their residual time.
    """
    spliced = splice_mean(sample.survival, sample.residual.mean(sample.horizon - sample.period), period=sample.period)
    error = sample.alone / spliced - 1.0
    interval = percentile_interval(error[1:], sample.level)
    if not beyond(interval, tolerance):
        return None
    off, low, high = (percent(x) for x in (float(error[0]), *interval))
    words = {"epoch": sample.period, "off": off, "low": low, "high": high}
    return Verdict.because(Status.UNVERIFIED, Cause.NOT_THE_PERIOD, float(error[0]), *interval, **words)


def _possible(sample: Sample, period: int, mean: NDArray[np.float64]) -> tuple[float, float]:
    """Return the relative errors between which the mean lies whatever the perturbation does."""
    reached, entering = float(sample.survival.mean(period)[0]), float(sample.survival.value(period)[0])
    ends = reached + entering, reached + entering * (sample.horizon - period)
    return min(ends[0] / float(mean[0]) - 1.0, 0.0), max(ends[1] / float(mean[0]) - 1.0, 0.0)


def _cycles_alike(sample: Sample, period: int) -> bool:
    """Return whether enough runs were seen in a second cycle and passed there as they did in the first."""
    if len(sample.cycles) < 2:
        return False
    first, second = sample.cycles[0], sample.cycles[1]
    entered = sample.n_survivors * float(first.curve[0, -1])
    low, high = percentile_interval((first.value(period) - second.value(period))[1:], sample.level)
    return entered >= MIN_SURVIVORS and low <= 0 <= high


def _restart_verdict(sample: Sample, tolerance: float) -> Verdict:
    """Test form 4 on the perturbed runs at ``P0``; a full reset restarts by construction, so that it is exact."""
    residual = sample.residual.mean(sample.horizon - sample.period)
    measured = splice_mean(sample.survival, residual, period=sample.period)
    error = measured / restart_restricted_mean(sample.survival, period=sample.period) - 1.0
    low, high = percentile_interval(error[1:], sample.level)
    off = f"perturbed runs at epoch {sample.period} are {percent(float(error[0]))} from a restart"
    words = {"error": f"{off} (interval {spread((low, high))})", "limit": percent(tolerance, sign=False)}
    if beyond((low, high), tolerance):
        return Verdict.because(Status.NOT_VALID, Cause.BEYOND, float(error[0]), low, high, **words)
    return flag_few(sample, Verdict.because(Status.VALID, Cause.RESTART, float(error[0]), low, high, **words))


def _why(sample: Sample, period: int) -> str:
    first = sample.cycles[0]
    if period > sample.period and first.length >= sample.period and first.curve[0, -1] > 0:
        again = percent(float(first.curve[0, -1]), sign=False)
        return f": {again} of the runs meet a second perturbation, which {period} epochs would delay"
    return ""
