"""First-passage times of the published runs, kept as a table: all that chapters and tests analyse.

The archive is not needed for any of it. ``python -m companion.published`` makes the tables from it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from companion import ROOT
from companion.published.datasets import MAIN, dataset
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes

FOLDER = ROOT / "book" / "results" / "published"
PASSAGES, METRICS = FOLDER / "passages.parquet", FOLDER / "metrics.parquet"
LISTS = "cifar10_lists"  # name of the authors' lists of first-passage times among the data sets
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Epochs at which the values of unperturbed runs are kept: pairs of them lie 25 and 50 epochs apart, or one doubles the other.
VALUES = (5, 10, 15, 20, 25, 30, 40, 45, 50, 55, 65, 75, 80, 90, 100, 125, 150, 175, 200)


def times(
    threshold: float | None = None, perturbation: str = "none", period: int = 0, *, data: str = MAIN
) -> FirstPassageTimes:
    """Return the first-passage times of one ensemble; by default the unperturbed one of the main text, at its usual threshold.

    Raises
    ------
    InputError
        If this data set, perturbation or period was not published, or the table does not have the threshold.
    """
    if data != LISTS:
        known = dataset(data)
        threshold = known.threshold if threshold is None else threshold
        if perturbation != "none":
            known.check(perturbation, period)
    groups = _passages()
    key = (data, threshold, perturbation, period)
    if key not in groups:
        there = sorted({t for d, t, *_ in groups if d == data})
        raise InputError(
            f"{data}: no first-passage times for threshold {threshold:g}; the table has {', '.join(f'{t:g}' for t in there)}, "
            "anything else needs the trajectories: fpt data fetch published"
        )
    return groups[key]


@lru_cache(maxsize=1)
def _passages() -> dict[tuple[str, float, str, int], FirstPassageTimes]:
    """Read the first-passage times of all ensembles, by data set, threshold, perturbation and period."""
    frame = pd.read_parquet(PASSAGES)
    frame["threshold"] = frame["threshold"].astype(float).round(4)
    groups = {}
    for key, part in frame.groupby(["data", "threshold", "perturbation", "period"], sort=False):
        columns = (part[name].to_numpy(dtype=kind) for name, kind in (("epoch", int), ("observed", bool), ("run", int)))
        groups[key] = FirstPassageTimes(*columns)
    return groups


def listed(period: int) -> FirstPassageTimes:
    """Return the first-passage times of one of the authors' lists: 400 more runs with partial reset, to 72 %."""
    return times(72.0, "partial_reset", period, data=LISTS)


@lru_cache(maxsize=1)
def _metrics() -> pd.DataFrame:
    return pd.read_parquet(METRICS)


def metrics(statistic: str, *, data: str = MAIN, metric: str | None = None) -> pd.DataFrame:
    """Return what is kept of a metric of a data set.

    Parameters
    ----------
    statistic
        ``mean`` (of each ensemble at each epoch), ``best`` or ``last`` (of each run), ``value`` (of each unperturbed run at the epochs
        `VALUES`), or ``q05, q25, q50, q75, q95`` (of the unperturbed runs at each epoch).
    data, metric
        Name of the data set, and of the metric; the one that has the threshold by default.

    Returns
    -------
    DataFrame
        Columns ``perturbation, period, run, epoch, value``; unperturbed runs have "none" and 0.
    """
    known, table = dataset(data), _metrics()
    wanted = {"data": data, "metric": metric or known.metric, "statistic": statistic}
    for column, value in wanted.items():
        table = table[table[column] == value]
    if table.empty:
        raise InputError(f"{data}: the table has no {statistic} of {wanted['metric']}")
    return table.drop(columns=list(wanted)).reset_index(drop=True)


def fan() -> pd.DataFrame:
    """Return the spread of the unperturbed accuracy of the main text, as `fptlib.charts.fan` draws it."""
    columns = {}
    for q in QUANTILES:
        table = metrics(f"q{100 * q:02.0f}")
        columns[f"q{100 * q:02.0f}"] = table["value"]
    return pd.DataFrame({"epoch": table["epoch"], **columns})


def survivors(epoch: int, *, threshold: float | None = None, data: str = MAIN) -> NDArray[np.float64]:
    """Return the metric of the unperturbed runs that are below the threshold after an epoch, one of `VALUES`."""
    table = metrics("value", data=data)
    table = table[table["epoch"] == epoch].set_index("run")["value"]
    if table.empty:
        raise InputError(f"{data}: values are kept at epochs {', '.join(map(str, VALUES))}, not at {epoch}")
    first = times(threshold, data=data)
    return np.asarray(table.reindex(first.run[first.running(epoch)]), dtype=float)
