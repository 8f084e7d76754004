"""From trajectories to first-passage times, survival, restricted mean and hazard, each with an interval.

Time is discrete: epochs count from 1, the first-passage time ``T`` is the first epoch at which the metric reaches the threshold, and
``S(k) = P(T > k)``. A run that ends before it reaches the threshold is right-censored at its last epoch. A run that was retired at
some threshold is censored at none: it has passed there, and of any harder threshold it says nothing.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fptlib.errors import InputError
from fptlib.trajectories import Direction as Direction
from fptlib.trajectories import Trajectories, reached

N_BOOT = 2000
_ROWS = 256  # replicates drawn at a time: their counts stay in the processor's cache
_ROWS_OF_SUMS = 2048  # replicates summed at a time: enough for a matrix product to be fast, few enough for memory


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval and the runs behind it.

    Parameters
    ----------
    mean, low, high
        Estimate and ends of its interval at confidence ``level``, in epochs unless said otherwise; ends are NaN where no interval
        can be given.
    n_runs, n_censored
        Runs behind the estimate, and how many of them were censored.
    level
        Confidence level of the interval.
    """

    mean: float
    low: float
    high: float
    n_runs: int
    n_censored: int
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class FirstPassageTimes:
    """First-passage times of many runs, some of them censored.

    Parameters
    ----------
    time
        First-passage epoch, or the last epoch of a run that did not pass, int64, shape ``(runs,)``.
    observed
        Whether the run passed, bool, shape ``(runs,)``.
    run
        Labels of the runs, int64, shape ``(runs,)``.

    Raises
    ------
    InputError
        If there is no run or a time is below 1.
    """

    time: NDArray[np.int64]
    observed: NDArray[np.bool_]
    run: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.time) == len(self.observed) == len(self.run):
            raise InputError("time, observed and run must have one entry for each run")
        if len(self.time) == 0 or self.time.min() < 1:
            raise InputError("first-passage times need at least one run and epochs counted from 1")

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.time)

    @property
    def n_censored(self) -> int:
        """Number of runs that did not reach the threshold."""
        return int(np.sum(~self.observed))

    @property
    def horizon(self) -> int:
        """Last epoch that any run was followed to."""
        return int(self.time.max())

    def running(self, epoch: int) -> NDArray[np.bool_]:
        """Which runs are known to be still below the threshold after ``epoch`` epochs, shape ``(runs,)``."""
        return np.asarray((self.time > epoch) | ((self.time == epoch) & ~self.observed))


def first_passage(
    trajectories: Trajectories, *, threshold: float, direction: Direction = "above", metric: str | None = None
) -> FirstPassageTimes:
    """First epoch at which each run reaches the threshold; runs that do not are censored at their last epoch.

    Parameters
    ----------
    trajectories
        The runs.
    threshold
        Metric value to reach, in the unit of the metric; reaching it exactly counts.
    direction
        ``"above"`` for a metric to maximise, ``"below"`` for one to minimise.
    metric
        Name of the metric; ``test_metric``, or the only one, by default.

    Raises
    ------
    InputError
        If the metric is missing or not finite, the direction is unknown, or runs were retired before they could reach this threshold:
        at an easier one, or one of another metric or direction.

    Examples
    --------
    >>> t = Trajectories(metrics={"acc": np.array([[0.2, 0.5, 0.4], [0.1, 0.2, 0.3]])}, run=np.array([0, 1]))
    >>> times = first_passage(t, threshold=0.5)
    >>> times.time, times.observed
    (array([2, 3]), array([ True, False]))
    """
    if direction not in ("above", "below"):
        raise InputError(f"direction {direction!r} is not known; choose above or below")
    name = trajectories.metric_name(metric)
    passed = reached(trajectories.metric(name), threshold=threshold, direction=direction)  # (runs, epochs)
    trajectories.require_followed(threshold=threshold, direction=direction, metric=name)
    observed = np.asarray(passed.any(axis=1))
    time = np.where(observed, passed.argmax(axis=1) + 1, trajectories.n_epochs)
    return FirstPassageTimes(time=time.astype(np.int64), observed=observed, run=trajectories.run)


def require_passage(threshold: float, *, direction: Direction = "above", **values: NDArray[np.float64]) -> None:
    """Make sure that some run of some ensemble reaches the threshold; ``values`` are metrics ``(runs, epochs)`` by ensemble,
    NaN after the last epoch that a run was followed to.

    Raises
    ------
    InputError
        If none does, saying what was reached.
    """
    best = {name: float(np.nanmax(v) if direction == "above" else np.nanmin(v)) for name, v in values.items()}
    if not any(value >= threshold if direction == "above" else value <= threshold for value in best.values()):
        reached = ", ".join(f"{value:.6g} ({name})" for name, value in best.items())
        raise InputError(f"no run reaches the threshold {threshold:g} ({direction}); the best values are {reached}")


def residual_times(times: FirstPassageTimes, *, period: int) -> FirstPassageTimes:
    """Residual times ``T - period`` of the runs that had not passed by epoch ``period``, censored as before.

    Raises
    ------
    InputError
        If no run was followed beyond ``period`` without passing.
    """
    later = times.time > period
    if not later.any():
        raise InputError(f"no run is still below the threshold after epoch {period} and followed beyond it")
    return FirstPassageTimes(time=times.time[later] - period, observed=times.observed[later], run=times.run[later])


@dataclass(frozen=True, slots=True)
class Survival:
    """Kaplan-Meier estimate of ``S(k)`` for ``k = 0 .. horizon``, with a pointwise interval; arrays of shape ``(horizon + 1,)``."""

    epoch: NDArray[np.int64]
    survival: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_runs: int
    n_censored: int
    level: float


def survival(times: FirstPassageTimes, *, level: float = 0.95) -> Survival:
    """Kaplan-Meier survival function with a pointwise log-log interval.

    Where the log-log interval is undefined (nobody or everybody has passed) the exact binomial interval of the runs whose state is
    known stands in.

    References
    ----------
    E. L. Kaplan and P. Meier, J. Am. Stat. Assoc. 53, 457 (1958).

    Examples
    --------
    >>> times = FirstPassageTimes(time=np.array([1, 2, 2]), observed=np.array([True, True, False]), run=np.arange(3))
    >>> survival(times).survival.round(3)
    array([1.   , 0.667, 0.333])
    """
    epoch = np.arange(times.horizon + 1)
    if times.n_censored == times.n_runs:
        estimate, low, high = np.ones((3, len(epoch)))
    else:
        sample = stats.CensoredData.right_censored(times.time.astype(float), ~times.observed)
        curve = stats.ecdf(sample).sf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # undefined ends are dealt with below
            interval = curve.confidence_interval(level, method="log-log")
        estimate, low, high = (np.array(f.evaluate(epoch), dtype=float) for f in (curve, interval.low, interval.high))
    undefined = (estimate <= 0) | (estimate >= 1) | ~np.isfinite(low) | ~np.isfinite(high)
    for k in np.flatnonzero(undefined):
        known = int(np.sum(times.observed | (times.time >= epoch[k])))  # all but those censored earlier
        exact = stats.binomtest(round(estimate[k] * known), known).proportion_ci(level, "exact")
        low[k], high[k] = exact.low, exact.high
    low[0] = high[0] = 1.0  # no run can have passed before its first epoch
    return Survival(
        epoch=epoch,
        survival=estimate,
        low=low,
        high=high,
        n_runs=times.n_runs,
        n_censored=times.n_censored,
        level=level,
    )


@dataclass(frozen=True, slots=True)
class Hazard:
    """Passages for each epoch at risk, in bins of epochs ``first .. last``; arrays of shape ``(bins,)``."""

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    hazard: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    n_passed: NDArray[np.int64]
    n_runs: int
    level: float


def hazard(times: FirstPassageTimes, *, width: int = 10, level: float = 0.95) -> Hazard:
    """Hazard: passages over run-epochs at risk, in bins of ``width`` epochs, with the exact binomial interval.

    Raises
    ------
    InputError
        If ``width`` is below 1.
    """
    if width < 1:
        raise InputError(f"width of a hazard bin is {width}; at least 1 epoch is needed")
    passed = np.bincount(times.time[times.observed], minlength=times.horizon + 1)[1:]  # at epochs 1, 2, ...
    followed = (times.time[:, None] >= np.arange(1, times.horizon + 1)).sum(axis=0)
    starts = np.arange(0, times.horizon, width)
    d, exposure = np.add.reduceat(passed, starts), np.add.reduceat(followed, starts)
    keep = exposure > 0
    intervals = [
        stats.binomtest(int(a), int(b)).proportion_ci(level, "exact")
        for a, b in zip(d[keep], exposure[keep], strict=True)
    ]
    return Hazard(
        first=starts[keep] + 1,
        last=np.minimum(starts[keep] + width, times.horizon),
        hazard=d[keep] / exposure[keep],
        low=np.array([interval.low for interval in intervals]),
        high=np.array([interval.high for interval in intervals]),
        n_passed=d[keep],
        n_runs=times.n_runs,
        level=level,
    )


def restricted_mean(
    times: FirstPassageTimes, *, horizon: int | None = None, level: float = 0.95, n_boot: int = N_BOOT, seed: int = 0
) -> Estimate:
    """Restricted mean ``<min(T, horizon)> = sum of S(k), k < horizon``, with a percentile bootstrap interval over runs.

    Parameters
    ----------
    horizon
        Epochs to look at; all that were followed by default. Any where no run is censored: after the last passage nothing is left.

    Raises
    ------
    InputError
        If ``horizon`` is below 1, or beyond the last epoch followed while some run is censored.

    Examples
    --------
    >>> times = FirstPassageTimes(time=np.array([1, 3, 4]), observed=np.array([True, True, False]), run=np.arange(3))
    >>> round(restricted_mean(times).mean, 3)
    2.667
    """
    limit = times.horizon if horizon is None else horizon
    if limit < 1 or (limit > times.horizon and times.n_censored):
        raise InputError(f"horizon {limit} is not between 1 and {times.horizon}, the last epoch followed")
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    curves = survival_curves(times, weights, horizon=limit)  # (1 + n_boot, limit + 1)
    means = curves[:, :limit].sum(axis=1)
    low, high = percentile_interval(means[1:], level)
    n_censored = int(np.sum((times.time > limit) | ~times.observed))
    return Estimate(mean=float(means[0]), low=low, high=high, n_runs=times.n_runs, n_censored=n_censored, level=level)


def generator(seed: int) -> np.random.Generator:
    """Random numbers of a bootstrap.

    Raises
    ------
    InputError
        If ``seed`` is negative.
    """
    if seed < 0:
        raise InputError(f"seed {seed} is not possible; 0 or a positive whole number is needed")
    return np.random.default_rng(seed)


def bootstrap_weights(strata: list[NDArray[np.int64]], *, n_boot: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How often each run (or seed) occurs in the data (row 0: once) and in each replicate (the others), ``(1 + n_boot, runs)``.

    Indices of one stratum are drawn among themselves, so that every replicate has as many of each kind as the data.
    """
    weights = np.empty((1 + n_boot, sum(len(members) for members in strata)), dtype=np.float32)
    weights[0] = 1
    for members in strata:
        n = len(members)
        for first in range(1, 1 + n_boot, _ROWS):
            n_rows = min(_ROWS, 1 + n_boot - first)
            drawn = rng.integers(0, n, size=(n_rows, n)) + np.arange(n_rows)[:, None] * n
            counts = np.bincount(drawn.reshape(-1), minlength=n_rows * n).reshape(n_rows, n)
            weights[first : first + n_rows, members] = counts
    return weights


def survival_curves(
    times: FirstPassageTimes, weights: NDArray[np.float32], *, horizon: int | None = None
) -> NDArray[np.float64]:
    """Product-limit estimate of ``S(0), S(1), ...`` under weights ``(replicates, runs)``, shape ``(replicates, horizon + 1)``.

    The values of one epoch lie side by side in memory.
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
        curves[k] = curves[k - 1] * (1.0 - counts[k] / np.maximum(at_risk, 1.0))
        at_risk -= counts[k] + lost.get(k, 0.0)
    return curves.T


def weighted_sums(weights: NDArray[np.float32], columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over runs of columns ``(runs, columns)`` for each row of weights ``(replicates, runs)``, shape ``(replicates, columns)``."""
    sums = np.empty((len(weights), columns.shape[1]))
    for first in range(0, len(weights), _ROWS_OF_SUMS):
        rows = slice(first, first + _ROWS_OF_SUMS)
        sums[rows] = weights[rows].astype(np.float64) @ columns
    return sums


def percentile_interval(samples: NDArray[np.float64], level: float) -> tuple[float, float]:
    """Percentile interval of bootstrap replicates; replicates that are not finite are left out, NaN if none is left."""
    finite = samples[np.isfinite(samples)]
    if len(finite) == 0:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def weighted_slope(
    x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least-squares slope of ``y`` on ``x`` and mean of ``x`` for each row of weights ``(replicates, runs)``; 0 where ``x`` is constant.

    Parameters
    ----------
    x, y
        One value for each run, ``(runs,)``; or several targets ``y`` at once, ``(runs, targets)``, with slopes ``(replicates, targets)``.

    Examples
    --------
    >>> weighted_slope(np.array([0.0, 1.0, 2.0]), np.array([1.0, 3.0, 5.0]), np.ones((1, 3), dtype=np.float32))
    (array([2.]), array([1.]))
    """
    centre = x.mean()
    u, targets = (x - centre)[:, None], y.reshape(len(y), -1)
    moments = weighted_sums(weights, np.concatenate([np.ones_like(u), u, u**2, targets, u * targets], axis=1))
    n = np.maximum(moments[:, [0]], 1.0)
    mean_x, mean_xx = moments[:, [1]] / n, moments[:, [2]] / n
    mean_y, mean_xy = np.split(moments[:, 3:] / n, 2, axis=1)
    variance = mean_xx - mean_x**2
    spread = variance > 1e-12 * max(float(np.var(x)), 1e-300)
    slope = np.where(spread, (mean_xy - mean_x * mean_y) / np.where(spread, variance, 1.0), 0.0)
    return slope.reshape(len(weights), *y.shape[1:]), mean_x[:, 0] + centre
