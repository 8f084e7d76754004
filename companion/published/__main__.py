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

from companion.published.archive import (
    LISTED_PERIODS,
    LISTED_THRESHOLD,
    available,
    listed_times,
    perturbed,
    unperturbed,
)
from companion.published.datasets import DATASETS
from companion.published.table import LISTS, METRICS, PASSAGES, QUANTILES, VALUES
from fptlib.files import write_atomically
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.sources import PUBLISHED
from fptlib.trajectories import Target, Trajectories

_SMALL = {"period": "int16", "run": "int32", "epoch": "int16", "threshold": "float32"}
_DIGITS = 5


def ensembles(data: str) -> Iterator[tuple[str, int, Trajectories]]:
    """Read every ensemble of a data set, with the name of the perturbation and the period that the tables have."""
    yield "none", 0, unperturbed(data)
    for name, period in DATASETS[data].keys:
        yield name, period, perturbed(name, period, data)


def passage_table() -> pd.DataFrame:
    """Compute the first-passage times of every run at every threshold."""
    parts = []
    for data, known in DATASETS.items():
        for name, period, runs in ensembles(data):
            for threshold in known.thresholds:
                times = first_passage(runs, Target(threshold, "above", known.metric))
                parts.append(_rows(times, data=data, perturbation=name, period=period, threshold=threshold))
    for period in LISTED_PERIODS:
        at = {"data": LISTS, "perturbation": "partial_reset", "period": period, "threshold": LISTED_THRESHOLD}
        parts.append(_rows(listed_times(period), **at))
    return pd.concat(parts, ignore_index=True)


def _rows(times: FirstPassageTimes, **columns: object) -> pd.DataFrame:
    return pd.DataFrame({**columns, "run": times.run, "epoch": times.time, "observed": times.observed})


def metric_table() -> pd.DataFrame:
    """Compute mean curves, and the best and the last value of each run; of unperturbed runs also quantiles, and values at some epochs."""
    parts = []
    for data, known in DATASETS.items():
        for name, period, runs in ensembles(data):
            about: dict[str, object] = {"data": data, "perturbation": name, "period": period}
            epochs = np.arange(1, runs.n_epochs + 1)
            for metric, values in runs.metrics.items():
                curves = {"mean": values.mean(axis=0)} if name == "none" or metric == known.metric else {}
                if name == "none" and metric == known.metric:
                    curves |= {f"q{100 * q:02.0f}": np.quantile(values, q, axis=0) for q in QUANTILES}
                for statistic, curve in curves.items():
                    line = {
                        **about,
                        "metric": metric,
                        "statistic": statistic,
                        "run": 0,
                        "epoch": epochs,
                        "value": curve,
                    }
                    parts.append(pd.DataFrame(line))
            values, about = runs.metric(known.metric), about | {"metric": known.metric}
            for statistic, ends in {"best": values.max(axis=1), "last": values[:, -1]}.items():
                parts.append(
                    pd.DataFrame({**about, "statistic": statistic, "run": runs.run, "epoch": 0, "value": ends})
                )
            for epoch in VALUES if name == "none" else ():
                if epoch <= runs.n_epochs:
                    line = {
                        **about,
                        "statistic": "value",
                        "run": runs.run,
                        "epoch": epoch,
                        "value": values[:, epoch - 1],
                    }
                    parts.append(pd.DataFrame(line))
    return pd.concat(parts, ignore_index=True).round({"value": _DIGITS})


def write() -> None:
    """Write both tables, with the digest of the archive in their metadata."""
    for path, table in ((PASSAGES, passage_table()), (METRICS, metric_table())):
        small = table.astype({name: kind for name, kind in _SMALL.items() if name in table})
        small.attrs = {"command": "python -m companion.published", "archive": PUBLISHED.digest}
        write_atomically(path, lambda file, small=small: small.to_parquet(file, index=False, compression="zstd"))  # type: ignore[misc]


if __name__ == "__main__":
    if not available():
        raise SystemExit("the published trajectories are not here; name their folder in $FPTLIB_DATA")
    write()
    sys.stdout.write(f"wrote {PASSAGES} and {METRICS}\n")
