"""What all predictions beside those of `predict` share: from ensembles to samples, and from parts of an error to a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import Direction, Estimate, first_passage, percentile_interval
from fptlib.response.forms import sum_cycles
from fptlib.response.prediction import check_options, check_periods
from fptlib.response.sample import Sample, draw_all, estimate
from fptlib.response.validity import FAR, MIN_SURVIVORS, OUT_OF_RANGE, Status, Verdict
from fptlib.trajectories import Trajectories

Repeat = Literal["periodic", "once"]
Replicates = NDArray[np.float64]  # (replicates,), the data first


def samples(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction,
    metric: str | None,
    others: Mapping[int, Trajectories] | None = None,
    repeat: Repeat | None = None,
    level: float,
    n_boot: int,
    seed: int,
) -> list[Sample]:
    """Samples of one or more perturbed ensembles up to the common horizon, replicates drawn together.

    Where runs ended early, the horizon is the last epoch that enough runs of each ensemble were followed to, see
    `fptlib.firstpassage.FirstPassageTimes.supported`.

    Runs perturbed only ``"once"`` (which their store says, unless ``repeat`` does) have a single cycle, as long as the horizon allows.

    Raises
    ------
    InputError
        If a period or an option is not possible, or as `fptlib.response.sample.draw_all`.
    """
    if repeat not in (None, "periodic", "once"):
        raise InputError(f"repeat {repeat!r} is not known; choose periodic or once")
    check_options("auto", level)
    measured = [(period, perturbed), *((p, runs) for p, runs in (others or {}).items() if p != period)]
    horizon = check_periods(unperturbed, measured, None)
    for runs in (unperturbed, *(runs for _, runs in measured)):
        times = first_passage(runs.head(epochs=horizon), threshold=threshold, direction=direction, metric=metric)
        horizon = times.supported(horizon)
    for p, _ in measured:
        if p >= horizon:
            raise InputError(f"period {p} is not before epoch {horizon}, the last that enough runs were followed to")
    drawn = draw_all(
        unperturbed.head(epochs=horizon),
        [(p, runs.head(epochs=horizon)) for p, runs in measured],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    once = [(repeat or _said(runs)) == "once" for _, runs in measured]
    return [
        replace(sample, cycles=sum_cycles([sample.residual.curve])) if single else sample
        for sample, single in zip(drawn, once, strict=True)
    ]


def _said(perturbed: Trajectories) -> str:
    spec = perturbed.meta.get("spec")
    rule = (spec.get("perturbation") if isinstance(spec, dict) else None) or {}
    return str(rule.get("repeat", "periodic"))


def unlike(sample: Sample, period: int) -> str | None:
    """Why what follows the cycles seen cannot be taken to be like them; ``None`` if it can.

    Runs that pass within ``period`` epochs of the second perturbation (of all later ones, where few meet it) must be as frequent as those
    that do after the first.
    """
    first, p0 = sample.cycles[0], sample.period
    if first.length < period:
        return f"the cycles that were seen are {first.length} epochs long, those asked for {period}"
    if any(cycle.curve[0, period] == 0 for cycle in sample.cycles):
        return None  # nothing follows
    entered = round(sample.n_survivors * float(first.curve[0, -1]))
    if sample.horizon < 3 * p0 or first.length > p0:
        return f"no second cycle was seen after epoch {p0}: the horizon is {sample.horizon}, and perturbations until {2 * p0} need {3 * p0}"
    if len(sample.cycles) < 2 or entered < MIN_SURVIVORS:
        return f"{entered} runs met a second perturbation, and {MIN_SURVIVORS} are needed to see whether it does what the first did"
    passed = [1 - cycle.value(period) for cycle in sample.cycles[:2]]
    low, high = percentile_interval((passed[1] - passed[0])[1:], sample.level)
    if low <= 0 <= high:
        return None
    shares = " and ".join(percent(float(share[0]), sign=False) for share in passed)
    return (
        f"{shares} of the runs pass within {period} epochs of the first and of a later perturbation: the difference is "
        f"{spread((low, high))}, not 0"
    )


def after_entering(entering: Replicates, tau: Replicates) -> Replicates:
    """``S(P) tau``: an infinite time that nobody meets counts for nothing."""
    return np.multiply(entering, tau, out=np.zeros_like(tau), where=entering > 0)


def unbounded(replicates: Replicates, level: float) -> tuple[float, float]:
    """Percentile interval of a number that is infinite in some replicates; those in which it is not defined are left out."""
    defined = replicates[1:][~np.isnan(replicates[1:])]
    if not len(defined):
        return float("nan"), float("nan")
    if np.isfinite(defined).all():
        return percentile_interval(defined, level)
    low = np.quantile(defined, 0.5 - level / 2, method="lower")
    return float(low), float(np.quantile(defined, 0.5 + level / 2, method="higher"))


def estimate_unbounded(replicates: Replicates, n_runs: int, n_censored: int, level: float) -> Estimate:
    """Estimate from the data (first entry) and its replicates (the others), some of which may be infinite."""
    if np.isinf(replicates).any():
        return Estimate(float(replicates[0]), *unbounded(replicates, level), n_runs, n_censored, level)
    return estimate(replicates, n_runs, n_censored, level)


def weigh_error(
    sample: Sample,
    *,
    below: Replicates,
    above: Replicates,
    drift: Replicates,
    possible: tuple[float, float],
    outside: float,
    shift: float,
    where: str,
    seen: str,
    tolerance: float,
) -> Verdict:
    """Verdict on a prediction from the parts of its relative error, as `fptlib.response.validity` weighs them.

    Parameters
    ----------
    below, above
        Bracket of the error that repeated perturbation causes.
    drift
        Error by the drift of the metric between ``P0`` and the perturbations predicted for.
    possible
        Errors that the mean can have at all.
    outside, shift, where, seen
        Share of runs perturbed there whose metric was not seen at ``P0``, their mean metric less that at ``P0`` in standard
        deviations, and "there" and "at ``P0``" in words.
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
        said = f"repeated perturbation alone puts the mean {spread(again)} from the prediction"
        return Verdict(Status.NOT_VALID, f"{said}, beyond {limit}", error, *whole)
    elif outside > OUT_OF_RANGE:
        share = percent(outside, sign=False)
        status, said = Status.UNVERIFIED, f"{share} of the runs {where} have a metric not seen {seen}"
    elif abs(shift) > FAR and not within(whole, tolerance):
        said = f"the metric of the runs {where} is on average {shift:+.1f} standard deviations from that {seen}"
        status = Status.UNVERIFIED
    elif beyond(whole, tolerance):
        status, said = Status.NOT_VALID, f"{said}, beyond {limit}"
    elif all(within(part, tolerance) for part in (whole, again, drifts)):
        status, said = Status.VALID, f"{said}, within {limit}"
    else:
        status, said = Status.UNVERIFIED, f"{said}, across {limit}"
    return flag_few(sample, Verdict(status, said, error, *whole))


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
