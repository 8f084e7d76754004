"""Kolmogorov-Smirnov tests of whether the metric of unperturbed runs still changes.

The plain two-sample test takes the runs at two epochs for different runs. They are the same ones, whose values vary together, so that it
rejects far less often than its level says; and whoever survives to the later epoch also survived to the earlier one. The bootstrap over
runs, each drawn with both values, takes that into account.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from fptlib.firstpassage import FirstPassageTimes
from fptlib.firstpassage.resampling import bootstrap_weights, generator
from fptlib.qss import MIN_SURVIVORS, N_GRID

LAGS = (25, 50)  # epochs


def steadiness(values: pd.DataFrame, times: FirstPassageTimes, *, n_boot: int = 500, seed: int = 0) -> pd.DataFrame:
    """Compare the metric of unperturbed runs at pairs of epochs, of all runs and of those below the threshold.

    ``values`` has a row for each run of ``times`` and a column for each epoch. The table returned has the columns ``survivors`` (only runs
    still below the threshold), ``lag`` (25, 50 or "double"), ``epoch, later, n, n_later, distance, p_value`` (two-sample test) and
    ``p_bootstrap`` (distance of the replicates' differences from that of the data).
    """
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    grid = np.unique(np.quantile(values, np.linspace(0, 1, N_GRID)))
    pairs = [(lag, e, e + lag) for lag in LAGS for e in values.columns] + [("double", e, 2 * e) for e in values.columns]
    rows = []
    for survivors in (False, True):
        kept = {e: times.running(e) if survivors else np.ones(times.n_runs, dtype=bool) for e in values.columns}
        kept = {e: at for e, at in kept.items() if at.sum() >= MIN_SURVIVORS}
        sample = {e: values[e].to_numpy()[at] for e, at in kept.items()}
        curves = {}  # distribution function under each row of weights, (1 + n_boot, grid)
        for e, at in kept.items():
            below = (sample[e][:, None] <= grid).astype(np.float32)
            curves[e] = weights[:, at] @ below / np.maximum(weights[:, at].sum(axis=1, keepdims=True), 1)
        for lag, first, later in pairs:
            if first in kept and later in kept:
                plain = stats.ks_2samp(sample[first], sample[later])
                difference = curves[first] - curves[later]
                shift = np.abs(difference[1:] - difference[0]).max(axis=1)
                p_bootstrap = (1 + (shift >= np.abs(difference[0]).max()).sum()) / (1 + n_boot)
                line = (survivors, lag, first, later, len(sample[first]), len(sample[later]))
                rows.append((*line, plain.statistic, plain.pvalue, p_bootstrap))
    columns = ["survivors", "lag", "epoch", "later", "n", "n_later", "distance", "p_value", "p_bootstrap"]
    return pd.DataFrame(rows, columns=columns)
