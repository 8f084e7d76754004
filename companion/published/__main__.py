"""Write the tables that chapters and tests analyse: ``FPTLIB_DATA=FOLDER python -m companion.published``.

``passages.parquet`` has a row for each run and threshold: ``data, perturbation, period, run, threshold, epoch, observed``; of unperturbed
runs the perturbation is "none" and the period 0. ``metrics.parquet`` has what else is used of the metrics: ``data, perturbation, period,
metric, statistic, run, epoch, value``; run or epoch is 0 where it has no meaning. `companion.published.table` reads both.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pandas as pd

from companion.published.archive import listed_times, perturbed, unperturbed
from companion.published.datasets import DATASETS
from companion.published.table import LISTED_PERIODS, LISTS, METRICS, PASSAGES, QUANTILES, VALUES
from fptlib.files import write_atomically
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.sources import PUBLISHED
from fptlib.trajectories import Target, Trajectories

_TYPES = {"period": "int16", "run": "int32", "epoch": "int16", "threshold": "float32"}
_DIGITS = 5


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compute both tables from the archive."""
    passages, metrics = [], []
    for data, known in DATASETS.items():
        for name, period in [("none", 0), *known.keys]:
            runs = perturbed(name, period, data) if period else unperturbed(data)
            about = {"data": data, "perturbation": name, "period": period}
            times = {t: first_passage(runs, Target(t, "above", known.metric)) for t in known.thresholds}
            passages += [_passages(part, **about, threshold=threshold) for threshold, part in times.items()]
            metrics += [pd.DataFrame({**about, **part}) for part in _metrics(runs, known.metric, plain=not period)]
    about = {"data": LISTS, "perturbation": "partial_reset", "threshold": 72.0}
    passages += [_passages(listed_times(period), **about, period=period) for period in LISTED_PERIODS]
    return pd.concat(passages, ignore_index=True), pd.concat(metrics, ignore_index=True).round({"value": _DIGITS})


def _passages(times: FirstPassageTimes, **about: object) -> pd.DataFrame:
    return pd.DataFrame({**about, "run": times.run, "epoch": times.time, "observed": times.observed})


def _metrics(runs: Trajectories, own: str, *, plain: bool) -> Iterator[dict[str, object]]:
    """Yield mean curves, the best and the last value of each run and, of unperturbed runs, quantiles, and values at some epochs."""
    values, epochs = runs.metric(own), np.arange(1, runs.n_epochs + 1)
    curves = {("mean", name): v.mean(axis=0) for name, v in runs.metrics.items() if plain or name == own}
    rows: dict[tuple[str, str], tuple[object, object, object]]  # run, epoch, value
    rows = {key: (0, epochs, curve) for key, curve in curves.items()}
    rows |= {("best", own): (runs.run, 0, values.max(axis=1)), ("last", own): (runs.run, 0, values[:, -1])}
    if plain:
        rows |= {(f"q{100 * q:02.0f}", own): (0, epochs, np.quantile(values, q, axis=0)) for q in QUANTILES}
        kept = [epoch for epoch in VALUES if epoch <= runs.n_epochs]
        every = np.repeat(runs.run, len(kept)), np.tile(kept, runs.n_runs)
        rows["value", own] = (*every, values[:, [epoch - 1 for epoch in kept]].ravel())
    for (statistic, metric), (run, epoch, value) in rows.items():
        yield {"metric": metric, "statistic": statistic, "run": run, "epoch": epoch, "value": value}


if __name__ == "__main__":
    for path, table in zip((PASSAGES, METRICS), tables(), strict=True):
        small = table.astype({name: kind for name, kind in _TYPES.items() if name in table})
        small.attrs = {"command": "python -m companion.published", "archive": PUBLISHED.digest}
        write_atomically(path, lambda file, small=small: small.to_parquet(file, index=False, compression="zstd"))  # type: ignore[misc]
        sys.stdout.write(f"wrote {path}\n")
