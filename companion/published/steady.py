"""Kolmogorov-Smirnov tests of whether the metric of unperturbed runs still changes.

The plain two-sample test takes the runs at two epochs for different runs. They are the same ones, so that their values vary together, and
it rejects far less often than its level says; whoever survives to the later epoch also survived to the earlier one. The bootstrap over
runs, each with both values, knows that: its p-value is beside the plain one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from fptlib.firstpassage import FirstPassageTimes
from fptlib.firstpassage.resampling import bootstrap_weights, generator

LAGS = (25, 50)  # epochs
_N_GRID = 200  # metric values at which distribution functions are compared
_FEWEST = 30  # survivors below which a distribution is known to about 0.2 only


def steadiness(values: pd.DataFrame, times: FirstPassageTimes, *, n_boot: int = 500, seed: int = 0) -> pd.DataFrame:
    """Compare the metric of unperturbed runs at pairs of epochs, of all runs and of those below the threshold.

    Parameters
    ----------
    values
        Metric, a row for each run of ``times`` in its order and a column for each epoch.
    times
        First-passage times of these runs.
    n_boot, seed
        Bootstrap replicates over runs, and the seed of their random numbers.

    Returns
    -------
    DataFrame
        Columns ``survivors`` (only runs still below the threshold), ``lag`` (25, 50 or "double"), ``epoch, later, n, n_later, distance,
        p_value`` (two-sample test) and ``p_bootstrap`` (distance of the replicates' differences from that of the data).
    """
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    table = values.to_numpy()  # (runs, epochs)
    place = {int(epoch): i for i, epoch in enumerate(values.columns)}
    rows = []
    for survivors in (False, True):
        kept = {e: times.running(e) if survivors else np.ones(times.n_runs, dtype=bool) for e in place}
        grid = np.unique(np.quantile(table, np.linspace(0, 1, _N_GRID)))
        curves = {e: _distribution(table[kept[e], i], weights[:, kept[e]], grid) for e, i in place.items()}
        for lag, first, later in _pairs(place):
            n, m = int(kept[first].sum()), int(kept[later].sum())
            if min(n, m) < _FEWEST:
                continue
            one, other = (table[kept[e], place[e]] for e in (first, later))
            plain = stats.ks_2samp(one, other)
            difference = curves[first] - curves[later]  # (1 + n_boot, grid)
            shift = np.abs(difference[1:] - difference[0]).max(axis=1)
            p_bootstrap = (1 + (shift >= np.abs(difference[0]).max()).sum()) / (1 + n_boot)
            line = {"survivors": survivors, "lag": lag, "epoch": first, "later": later, "n": n, "n_later": m}
            rows.append({**line, "distance": plain.statistic, "p_value": plain.pvalue, "p_bootstrap": p_bootstrap})
    columns = ["survivors", "lag", "epoch", "later", "n", "n_later", "distance", "p_value", "p_bootstrap"]
    return pd.DataFrame(rows, columns=columns)


def _pairs(epochs: dict[int, int]) -> Iterator[tuple[int | str, int, int]]:
    """Yield the pairs of epochs that one of the lags, or a doubling, lies between."""
    for lag in LAGS:
        yield from ((lag, e, e + lag) for e in epochs if e + lag in epochs)
    yield from (("double", e, 2 * e) for e in epochs if 2 * e in epochs)


def _distribution(
    values: NDArray[np.float64], weights: NDArray[np.float32], grid: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the distribution function on a grid under each row of weights, ``(replicates, grid)``."""
    below = (values[:, None] <= grid).astype(np.float32)
    return np.asarray(weights @ below / np.maximum(weights.sum(axis=1, keepdims=True), 1), dtype=float)
