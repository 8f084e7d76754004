"""First-passage times of the published runs, kept as a table, and a `Study` of them: all that chapters and tests analyse.

The archive is not needed for any of it. ``python -m companion.published`` makes the tables from it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from companion import ROOT
from companion.published.datasets import MAIN, dataset
from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Estimate, FirstPassageTimes, restricted_mean
from fptlib.firstpassage.resampling import bootstrap_weights, generator, percentile_interval
from fptlib.study import Key, Study
from fptlib.trajectories import Target

PASSAGES, METRICS = (ROOT / "book" / "results" / "published" / f"{name}.parquet" for name in ("passages", "metrics"))
ORIGIN = "first-passage times of the published trajectories (book/results/published)"  # for the provenance of a page
LISTS = "cifar10_lists"  # name of the authors' lists of first-passage times among the data sets
LISTED_PERIODS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22)
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Epochs at which the values of unperturbed runs are kept: pairs of them lie 25 and 50 epochs apart, or one doubles the other.
VALUES = (5, 10, 15, 20, 25, 30, 40, 45, 50, 55, 65, 75, 80, 90, 100, 125, 150, 175, 200)


def times(
    threshold: float | None = None, perturbation: str = "none", period: int = 0, *, data: str = MAIN
) -> FirstPassageTimes:
    """Return the first-passage times of one ensemble; by default the unperturbed one, at the usual threshold of the data set.

    An InputError says what there is if this data set, perturbation or period was not published, or the table lacks the threshold.
    """
    if data != LISTS:
        threshold = dataset(data).threshold if threshold is None else threshold
        if perturbation != "none":
            dataset(data).check(perturbation, period)
    groups, key = _passages(), (data, threshold, perturbation, period)
    if key not in groups:
        there = ", ".join(f"{t:g}" for t in sorted({t for d, t, *_ in groups if d == data}))
        raise InputError(
            f"{data}: no first-passage times for threshold {threshold:g}; the table has {there}, anything else needs the trajectories: "
            "fpt data fetch published"
        )
    return groups[key]


@lru_cache(maxsize=1)
def _passages() -> dict[Any, FirstPassageTimes]:
    """Read the first-passage times of all ensembles, by data set, threshold, perturbation and period."""
    frame = pd.read_parquet(PASSAGES)
    frame["threshold"] = frame["threshold"].astype(float).round(4)
    types = {"epoch": int, "observed": bool, "run": int}
    return {
        key: FirstPassageTimes(*(part[name].to_numpy(dtype=kind) for name, kind in types.items()))
        for key, part in frame.groupby(["data", "threshold", "perturbation", "period"], sort=False)
    }


def study(
    data: str = MAIN,
    *,
    threshold: float | None = None,
    perturbations: Collection[str] | None = None,
    keys: Iterable[Key] | None = None,
    **options: Any,
) -> Study:
    """Return a published data set as evidence, as your own logs would be.

    Measured are the ensembles of these perturbations, or of these ``(perturbation, period)``, by default all. One whose runs all pass
    before they are perturbed has no residual time and is left out. Options are those of `fptlib.study.Study`: ``level, n_boot, seed``.
    """
    if keys is None:
        keys = [key for key in dataset(data).keys if perturbations is None or key[0] in perturbations]
    runs = {key: times(threshold, *key, data=data) for key in keys}
    left = {key: part for key, part in runs.items() if part.running(key[1]).any()}
    target = Target(dataset(data).threshold if threshold is None else threshold, "above", dataset(data).metric)
    return Study(times(threshold, data=data), left, target, **options)


def means(
    data: str = MAIN, *, threshold: float | None = None, perturbations: Collection[str] | None = None
) -> dict[Key, Estimate]:
    """Return the measured mean first-passage time of every perturbed ensemble, restricted to the epochs that all were followed for."""
    keys, horizon = dataset(data).keys, dataset(data).horizon
    keys = [key for key in keys if perturbations is None or key[0] in perturbations]
    return {key: restricted_mean(times(threshold, *key, data=data), horizon=horizon) for key in keys}


@lru_cache(maxsize=64)
def metrics(statistic: str, *, data: str = MAIN, metric: str | None = None) -> pd.DataFrame:
    """Return what is kept of a metric, by default the one that has the threshold: columns ``perturbation, period, run, epoch, value``.

    The statistic is ``mean`` (of each ensemble at each epoch), ``best`` or ``last`` (of each run), ``value`` (of each unperturbed run at
    the epochs `VALUES`), or ``q05, q25, q50, q75, q95`` (of the unperturbed runs at each epoch). Other metrics have a mean only.
    """
    table, name = pd.read_parquet(METRICS), metric or dataset(data).metric
    table = table[(table["data"] == data) & (table["metric"] == name) & (table["statistic"] == statistic)]
    if table.empty:
        raise InputError(f"{data}: the table has no {statistic} of {name}")
    return table.drop(columns=["data", "metric", "statistic"]).reset_index(drop=True)


def fan(data: str = MAIN) -> pd.DataFrame:
    """Return the spread of the metric of the unperturbed runs, as `fptlib.charts.fan` draws it."""
    columns = {
        name: metrics(name, data=data).set_index("epoch")["value"] for name in ("q05", "q25", "q50", "q75", "q95")
    }
    return pd.DataFrame(columns).reset_index()


def ends(statistic: str = "best", *, data: str = MAIN) -> dict[Key | None, Estimate]:
    """Return the mean over runs of their ``best``, or their ``last``, metric for each ensemble; ``None``: the unperturbed one."""
    estimates: dict[Key | None, Estimate] = {}
    for (name, period), part in metrics(statistic, data=data).groupby(["perturbation", "period"], sort=False):
        weights = bootstrap_weights([np.arange(len(part))], n_boot=N_BOOT, rng=generator(0))
        replicates = weights @ part["value"].to_numpy() / len(part)
        key = None if name == "none" else (str(name), int(period))
        estimates[key] = Estimate(float(replicates[0]), *percentile_interval(replicates[1:], 0.95), len(part), 0)
    return estimates


def values(data: str = MAIN) -> pd.DataFrame:
    """Return the metric of the unperturbed runs, a row for each run, in the order of `times`, and a column for each epoch of `VALUES`."""
    table = metrics("value", data=data).pivot(index="run", columns="epoch", values="value")
    return table.loc[times(data=data).run]
