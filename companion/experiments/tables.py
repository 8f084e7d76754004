"""Tables over several rows, and the controls within one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from companion import published
from companion.experiments.gather import Ensembles, threshold_of
from companion.experiments.measure import Means, Measured, words_of
from companion.experiments.rows import Row
from companion.published.datasets import DATASETS
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import percentile_interval


def size_table(rows: Mapping[str, Row]) -> pd.DataFrame:
    """Tabulate what each row trains: columns ``row, network, images, runs, perturbed runs, horizon, P0, other periods, ensembles``."""
    lines = []
    for name, row in rows.items():
        spec = row.unperturbed
        lines.append(
            {
                "row": name,
                "network": _network(spec.model.model_dump(mode="json")),
                "training items": spec.data.n_train,
                "runs": row.runs,
                "perturbed runs": row.perturbed_runs,
                "horizon": row.epochs,
                "P0": row.period,
                "other periods": ", ".join(map(str, sorted(row.periods))),
                "ensembles": len(row.members()),
            }
        )
    return pd.DataFrame(lines)


def _network(model: Mapping[str, Any]) -> str:
    sizes = [f"{key} {value}" for key, value in model.items() if key in ("widths", "channels", "depth", "width")]
    return f"{model['name']} ({', '.join(sizes)}, {model['normalisation']} norm)".replace("[", "").replace("]", "")


def row_table(results: Mapping[str, Measured]) -> pd.DataFrame:
    """Tabulate the results of each row in one line.

    Columns ``row, threshold, censored, mean, low, high, relaxation_epoch, best, best_mean, best_low, best_high, predicted_best,
    predicted_best_mean``: without perturbation, the best candidate by measurement with its mean, the best by prediction with the mean
    measured for it. `status_table` counts the predictions.
    """
    lines = []
    for name, result in results.items():
        best, foretold = result.best("measured"), result.best("predicted")
        low, high = percentile_interval(result.measured[best][1:], result.unperturbed.level)
        lines.append(
            {
                "row": name,
                "threshold": result.threshold,
                "censored": result.unperturbed.n_censored / result.unperturbed.n_runs,
                "mean": result.unperturbed.mean,
                "low": result.unperturbed.low,
                "high": result.unperturbed.high,
                "relaxation_epoch": result.state.relaxation_epoch,
                "best": words_of(best),
                "best_mean": float(result.measured[best][0]),
                "best_low": low,
                "best_high": high,
                "predicted_best": words_of(foretold),
                "predicted_best_mean": float(result.measured[foretold][0]),
            }
        )
    return pd.DataFrame(lines)


def cells_of(results: Mapping[str, Measured], names: Iterable[str] | None = None) -> pd.DataFrame:
    """Collect predictions beside measurements of several rows, without ``P0`` and the controls, with a column ``row``; may be empty."""
    chosen = [name for name in (results if names is None else names) if name in results]
    parts = [results[name].cells.assign(row=name) for name in chosen]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[(table["status"] != "measured") & ~table["control"]].reset_index(drop=True)


def status_table(cells: pd.DataFrame, *, near: float = 0.1) -> pd.DataFrame:
    """Count how predictions with each verdict fared: columns ``row, status, predictions, within, agree, worst``.

    Parameters
    ----------
    cells
        See `cells_of`.
    near
        Relative error up to which a prediction counts as ``within``; ``agree`` counts those whose difference from the measurement is
        compatible with 0, ``worst`` is the largest relative error.
    """
    if cells.empty:
        return pd.DataFrame(columns=["row", "status", "predictions", "within", "agree", "worst"])
    sizes = cells["off"].abs()
    grouped = cells.assign(within=sizes <= near, size=sizes).groupby(["row", "status"], sort=False)
    table = grouped.agg(
        predictions=("off", "size"), within=("within", "sum"), agree=("agrees", "sum"), worst=("size", "max")
    )
    return table.reset_index()


def compare(result: Measured, first: str, second: str) -> pd.DataFrame:
    """Divide measured means of two perturbations of a row, at the periods that both were measured at.

    Returns
    -------
    DataFrame
        Columns ``first, second, period, ratio, low, high``: mean of the first over that of the second, with an interval over seeds, each of
        which carries the runs of both; empty where one of the two is not measured.
    """
    lines = []
    for key, means in result.measured.items():
        if key is not None and key[0] == first and (second, key[1]) in result.measured:
            ratio = means / result.measured[second, key[1]]
            low, high = percentile_interval(ratio[1:], result.unperturbed.level)
            lines.append((first, second, key[1], float(ratio[0]), low, high))
    return pd.DataFrame(lines, columns=["first", "second", "period", "ratio", "low", "high"])


def on_validation(ensembles: Ensembles) -> Ensembles:
    """Judge the same runs by validation data: its own threshold by the same rule, its own passages.

    Raises
    ------
    InputError
        If runs were retired by the test metric, or there is no validation metric.
    """
    row = ensembles.row
    if row.retire or row.metric != "test_metric" or "valid_metric" not in ensembles.unperturbed.metrics:
        raise InputError(f"row {row.name}: needs runs followed to the end (retire: false) and data.validation_size")
    other = row.sized(metric="valid_metric")
    return Ensembles(other, threshold_of(other, ensembles.unperturbed), ensembles.unperturbed, ensembles.perturbed)


def published_means() -> dict[str, Means]:
    """Return the means measured with shrink-and-perturb in each published data set, at its usual threshold: without replicates."""
    means: dict[str, Means] = {}
    for name, data in DATASETS.items():
        plain = published.unperturbed_mean(threshold=data.threshold, data=name)["mean"]
        table = published.measured("shrink_perturb", threshold=data.threshold, data=name)
        lines = zip(table["period"], table["mean"], strict=True)
        means[data.short] = {None: plain.to_numpy(), **{("shrink_perturb", p): np.array([mean]) for p, mean in lines}}
    return means
