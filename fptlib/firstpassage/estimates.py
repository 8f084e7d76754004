"""Survival, hazard and restricted mean of censored first-passage times, each with an interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fptlib.errors import InputError
from fptlib.firstpassage.resampling import Floats, Weights, bootstrap_weights, corrected_interval, generator
from fptlib.firstpassage.times import FirstPassageTimes
from fptlib.record import Record

N_BOOT = 2000


@dataclass(frozen=True, slots=True)
class Estimate(Record):
    """A number with its interval and the runs behind it.

    Parameters
    ----------
    mean, low, high
        Estimate and ends of its interval at confidence ``level``, in epochs unless said otherwise; ends are NaN where no interval
        can be given.
    n_runs, n_censored
        Runs behind the estimate, and how many of them were censored.
    """

    mean: float
    low: float
    high: float
    n_runs: int
    n_censored: int
    level: float = 0.95


def ratio(numerator: Estimate, denominator: Estimate) -> Estimate:
    """Return the ratio of two independent positive means.

    On the logarithmic scale the distances from each mean to the ends of its interval add as squares. An end is NaN where the end of an
    interval that it comes from is NaN or not positive.

    >>> plain, perturbed = Estimate(80.0, 70.0, 90.0, n_runs=50, n_censored=9), Estimate(20.0, 19.0, 22.0, n_runs=30, n_censored=0)
    >>> speedup = ratio(plain, perturbed)
    >>> round(speedup.mean, 2), round(speedup.low, 2), round(speedup.high, 2), speedup.n_runs
    (4.0, 3.39, 4.55, 30)
    """
    mean = _quotient(numerator.mean, denominator.mean)
    below = _distance(numerator.mean, numerator.low) ** 2 + _distance(denominator.high, denominator.mean) ** 2
    above = _distance(numerator.high, numerator.mean) ** 2 + _distance(denominator.mean, denominator.low) ** 2
    ends = mean * math.exp(-math.sqrt(below)), mean * math.exp(math.sqrt(above))
    n_runs = min(numerator.n_runs, denominator.n_runs)
    return Estimate(mean, *ends, n_runs, numerator.n_censored + denominator.n_censored, numerator.level)


def _quotient(a: float, b: float) -> float:
    return a / b if a > 0 and b > 0 else math.nan


def _distance(larger: float, smaller: float) -> float:
    return math.log(_quotient(larger, smaller))


@dataclass(frozen=True, slots=True)
class Survival(Record):
    """Kaplan-Meier estimate of ``S(k)`` for ``k = 0 .. horizon``, with a pointwise interval; arrays of shape ``(horizon + 1,)``."""

    epoch: NDArray[np.int64]
    survival: Floats
    low: Floats
    high: Floats
    n_runs: int
    n_censored: int
    level: float


def survival(times: FirstPassageTimes, *, level: float = 0.95) -> Survival:
    """Estimate the survival function (Kaplan-Meier) with a pointwise log-log interval from Greenwood's variance.

    Where that interval is undefined (nobody or everybody has passed) the exact binomial interval of the runs whose
    state is known stands in. Source: E. L. Kaplan and P. Meier, J. Am. Stat. Assoc. 53, 457 (1958).

    >>> times = FirstPassageTimes(time=np.array([1, 2, 2]), observed=np.array([True, True, False]), run=np.arange(3))
    >>> survival(times).survival.round(3)
    array([1.   , 0.667, 0.333])
    """
    epoch = np.arange(times.horizon + 1)
    passing, lost = (np.bincount(times.time[kind], minlength=len(epoch)) for kind in (times.observed, ~times.observed))
    at_risk = times.n_runs - np.cumsum(passing + lost) + passing + lost
    estimate = np.cumprod((at_risk - passing) / at_risk, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):  # undefined ends are dealt with below
        greenwood = np.cumsum(passing / (at_risk * (at_risk - passing)))
        half = special.ndtri(0.5 + level / 2) * np.sqrt(greenwood / np.log(estimate) ** 2)
        low, high = (np.exp(-np.exp(np.log(-np.log(estimate)) + side)) for side in (half, -half))
    undefined = (estimate <= 0) | (estimate >= 1) | ~np.isfinite(low) | ~np.isfinite(high)
    known = (times.n_runs - np.cumsum(lost) + lost)[undefined]  # all but those censored earlier
    low[undefined], high[undefined] = binomial_interval(np.rint(estimate[undefined] * known), known, level)
    low[0] = high[0] = 1.0  # no run can have passed before its first epoch
    return Survival(epoch, estimate, low, high, times.n_runs, times.n_censored, level)


def binomial_interval(passed: NDArray[Any], n: NDArray[Any], level: float) -> tuple[Floats, Floats]:
    """Return the exact intervals of proportions ``passed / n`` (Clopper and Pearson, Biometrika 26, 404 (1934)).

    >>> low, high = binomial_interval(np.array([7]), np.array([50]), 0.95)
    >>> low.round(4), high.round(4)
    (array([0.0582]), array([0.2674]))
    """
    tail, k = (1 - level) / 2, np.asarray(passed, dtype=np.float64)
    inside = np.maximum(k, 1), np.minimum(k, n - 1)  # where nobody or everybody passed an end is 0 or 1
    low = np.where(k > 0, special.betaincinv(inside[0], n - inside[0] + 1, tail), 0.0)
    return low, np.where(k < n, special.betaincinv(inside[1] + 1, n - inside[1], 1 - tail), 1.0)


@dataclass(frozen=True, slots=True)
class Hazard(Record):
    """Runs that reach the threshold for each epoch at risk, in bins of epochs ``first .. last``; arrays of shape ``(bins,)``."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    hazard: Floats
    low: Floats
    high: Floats
    n_passed: NDArray[np.int64]
    n_runs: int
    level: float


def hazard(times: FirstPassageTimes, *, width: int = 10, level: float = 0.95) -> Hazard:
    """Estimate the hazard, arrivals over run-epochs at risk, in bins of ``width`` epochs, with the exact binomial interval."""
    if width < 1:
        raise InputError(f"width of a hazard bin is {width}; at least 1 epoch is needed")
    passed = np.bincount(times.time[times.observed], minlength=times.horizon + 1)[1:]  # at epochs 1, 2, ...
    followed = (times.time[:, None] >= np.arange(1, times.horizon + 1)).sum(axis=0)
    starts = np.arange(0, times.horizon, width)
    d, exposure = np.add.reduceat(passed, starts), np.add.reduceat(followed, starts)
    starts, d, exposure = (values[exposure > 0] for values in (starts, d, exposure))
    low, high = binomial_interval(d, exposure, level)
    last = np.minimum(starts + width, times.horizon)
    return Hazard(starts + 1, last, d / exposure, low, high, n_passed=d, n_runs=times.n_runs, level=level)


def restricted_mean(
    times: FirstPassageTimes, *, horizon: int | None = None, level: float = 0.95, n_boot: int = N_BOOT, seed: int = 0
) -> Estimate:
    """Estimate the restricted mean ``<min(T, horizon)> = sum of S(k), k < horizon``, with a bootstrap interval over runs.

    The horizon is by default the last epoch that enough runs were followed to, see `FirstPassageTimes.supported`; one
    beyond the last epoch followed is an InputError where some run is censored.

    >>> times = FirstPassageTimes(time=np.array([1, 3, 4]), observed=np.array([True, True, False]), run=np.arange(3))
    >>> round(restricted_mean(times).mean, 3)
    2.667
    """
    limit = times.supported(times.horizon) if horizon is None else horizon
    if limit < 1 or (limit > times.horizon and times.n_censored):
        raise InputError(f"horizon {limit} is not between 1 and {times.horizon}, the last epoch followed")
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    curves = survival_curves(times, weights, horizon=limit)  # (1 + n_boot, limit + 1)
    means = curves[:, :limit].sum(axis=1)
    low, high = corrected_interval(means, level, n_runs=times.n_runs)
    n_censored = int(np.sum((times.time > limit) | ~times.observed))
    return Estimate(float(means[0]), low, high, times.n_runs, n_censored, level)


def survival_curves(times: FirstPassageTimes, weights: Weights, *, horizon: int | None = None) -> Floats:
    """Return the product-limit estimate of ``S(0), S(1), ...`` under weights ``(replicates, runs)``, shape ``(replicates, horizon + 1)``.

    Where runs that had not passed were lost and none is left, it is NaN. The values of one epoch lie side by side in
    memory.
    """
    n_epochs = times.horizon if horizon is None else horizon
    lost_at = np.unique(times.time[~times.observed & (times.time < n_epochs)])
    epoch, time = np.arange(n_epochs + 1), times.time[:, None]
    passing, leaving = (time == epoch) & times.observed[:, None], (time == lost_at) & ~times.observed[:, None]
    kinds = np.concatenate([passing, leaving, np.ones_like(time, dtype=bool)], axis=1).astype(np.float32)
    counts = kinds.T @ weights.T  # (passing at each epoch, lost at each epoch, all; replicates): whole numbers, exact
    lost = dict(zip(lost_at.tolist(), counts[n_epochs + 1 : -1], strict=True))
    at_risk = counts[-1].astype(np.float64)
    curves = np.ones((n_epochs + 1, len(weights)))
    for k in range(1, n_epochs + 1):
        known = (at_risk > 0) | (curves[k - 1] == 0)
        curves[k] = np.where(known, curves[k - 1] * (1.0 - counts[k] / np.maximum(at_risk, 1.0)), np.nan)
        at_risk -= counts[k] + lost.get(k, 0.0)
    return curves.T


def contributions(times: FirstPassageTimes, *, horizon: int) -> Floats:
    """Return the contribution of each run to the restricted mean at ``horizon``, ``min(T, horizon)`` where all is known, shape ``(runs,)``.

    Where runs were lost before the horizon and before they passed, the jackknife's pseudo-observations stand in, ``n RM
    - (n - 1) RM_(-i)`` with the restricted mean ``RM_(-i)`` without run ``i``: if losses are independent of ``min(T,
    horizon)`` they have its mean, given anything known of a run. Where ``i`` is the last one followed, survival without
    it is held at its last known value. Source: P. K. Andersen, M. G. Hansen and J. P. Klein, Lifetime Data Anal. 10,
    335 (2004).

    >>> times = FirstPassageTimes(time=np.array([1, 2, 4]), observed=np.array([True, False, False]), run=np.arange(3))
    >>> contributions(times, horizon=4), contributions(times, horizon=2)
    (array([1., 4., 4.]), array([1., 2., 2.]))
    """
    if not (~times.observed & (times.time < horizon)).any():
        return np.minimum(times.time, horizon).astype(np.float64)
    n, kind = times.n_runs, 2 * times.time + times.observed
    _, example, place = np.unique(kind, return_index=True, return_inverse=True)  # runs of one fate contribute alike
    weights = np.ones((1 + len(example), n), dtype=np.float32)
    weights[np.arange(1, 1 + len(example)), example] = 0
    curves = np.fmin.accumulate(survival_curves(times, weights, horizon=horizon), axis=1)
    means = curves[:, :horizon].sum(axis=1)
    return np.asarray((n * means[0] - (n - 1) * means[1:])[place])
