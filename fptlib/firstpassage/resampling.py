"""Bootstrap over runs or seeds: replicates as weights ``(replicates, runs)``, row 0 the data themselves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError

_ROWS = 256  # replicates drawn at a time: their counts stay in the processor's cache
_ROWS_OF_SUMS = 2048  # replicates summed at a time: enough for a matrix product to be fast, few enough for memory


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
