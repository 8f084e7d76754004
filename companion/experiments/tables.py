"""Tables over several rows, and the controls within one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from companion import published
from companion.experiments.gather import Ensembles
from companion.experiments.measure import Measured, best_of, spelled
from companion.experiments.rows import Key, Row
from companion.experiments.threshold import threshold_of
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, percentile_interval
from fptlib.qss import QuasiSteadyState

_NORMAL = 1.959964  # half a 95 % interval, in standard deviations


def size_table(rows: Mapping[str, Row]) -> pd.DataFrame:
    """What each row trains: columns ``row, network, images, runs, perturbed runs, horizon, P0, other periods, ensembles``."""
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
    """One line for each row.

    Columns ``row, threshold, censored, mean, low, high, relaxation_epoch, best, best_mean, best_low, best_high, predicted_best,
    predicted_best_mean``: without perturbation, the best candidate by measurement with its mean, the best by prediction with the mean
    measured for it. `status_table` counts the predictions.
    """
    lines = []
    for name, result in results.items():
        best, said = best_of(result, by="measured"), best_of(result, by="predicted")
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
                "best": spelled(best),
                "best_mean": float(result.measured[best][0]),
                "best_low": low,
                "best_high": high,
                "predicted_best": spelled(said),
                "predicted_best_mean": float(result.measured[said][0]),
            }
        )
    return pd.DataFrame(lines)


def cells_of(results: Mapping[str, Measured], names: Iterable[str] | None = None) -> pd.DataFrame:
    """Predictions beside measurements of several rows, without ``P0`` and the controls, with a column ``row``; may be empty."""
    chosen = [name for name in (results if names is None else names) if name in results]
    parts = [results[name].cells.assign(row=name) for name in chosen]
    if not parts:
        return pd.DataFrame()
    table = pd.concat(parts, ignore_index=True)
    return table[(table["status"] != "measured") & ~table["control"]].reset_index(drop=True)


def status_table(cells: pd.DataFrame, *, near: float = 0.1) -> pd.DataFrame:
    """How predictions with each verdict fared: columns ``row, status, predictions, within, agree, worst``.

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
    """Measured means of two perturbations of a row against each other, at the periods that both were measured at.

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
    """The same runs judged by validation data: its own threshold by the same rule, its own passages.

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


def published_results(*, n_boot: int = 1000, seed: int = 0) -> dict[str, Measured]:
    """The published trainings as rows, from the tables kept with the book: ResNet-18 on CIFAR-10, and the supplementary rows.

    Notes
    -----
    Only shrink-and-perturb was published for all of them. Runs are not at hand here, so replicates are normal, with the widths of the
    published intervals, and independent of each other.
    """
    rng = np.random.default_rng(seed)
    table = published.stored("measured", perturbation="shrink_perturb", threshold=72.0)
    predicted = published.stored(
        "predicted", perturbation="shrink_perturb", threshold=72.0, from_period=50, asked="auto"
    )
    plain = published.stored("unperturbed", threshold=72.0)
    found = {
        "ResNet-18, CIFAR-10": _as_measured("ResNet-18, CIFAR-10", 50, 72.0, 200, plain, table, predicted, n_boot, rng)
    }
    for name in published.supplementary():
        known = published.setup(name)
        at, source = known.thresholds[1], known.source_periods[0]
        keys = {"row": name, "threshold": at}
        said = published.stored("supplement_predicted", **keys, from_period=source, asked="auto")
        plain = published.stored("supplement_unperturbed", **keys)
        table = published.stored("supplement_measured", **keys)
        found[known.title] = _as_measured(known.title, source, at, known.horizon, plain, table, said, n_boot, rng)
    return found


def _as_measured(
    name: str,
    period: int,
    threshold: float,
    horizon: int,
    plain: pd.DataFrame,
    measured: pd.DataFrame,
    predicted: pd.DataFrame,
    n_boot: int,
    rng: np.random.Generator,
) -> Measured:
    def draws(line: Any) -> Any:
        spread = max(float(line["high"] - line["low"]), 0.0) / (2 * _NORMAL)
        return np.maximum(np.append(line["mean"], rng.normal(line["mean"], spread, n_boot)), 1.0)

    none = plain.iloc[0]
    both = predicted.merge(measured, on="period", suffixes=("", "_measured"))
    means: dict[Key, Any] = {None: draws(none)}
    said: dict[Key, Any] = {None: means[None]}
    lines = []
    for _, line in both.iterrows():
        key = ("shrink_perturb", int(line["period"]))
        means[key] = draws({end: line[f"{end}_measured"] for end in ("mean", "low", "high")})
        said[key] = means[key] if line["period"] == period else draws(line)
        off = said[key] / means[key] - 1
        off_low, off_high = percentile_interval(off[1:], 0.95)
        lines.append(
            {
                "perturbation": "shrink_perturb",
                "period": int(line["period"]),
                "control": False,
                "form": int(line["form"]),
                **{f"predicted{end}": line[end[1:] or "mean"] for end in ("", "_low", "_high")},
                "status": "measured" if line["period"] == period else line["status"],
                **{f"measured{end}": line[f"{end[1:] or 'mean'}_measured"] for end in ("", "_low", "_high")},
                "n_runs": int(line["n_runs"]),
                "n_censored": int(line["n_censored"]),
                "off": float(off[0]),
                "off_low": off_low,
                "off_high": off_high,
                "agrees": bool(off_low <= 0 <= off_high),
            }
        )
    unperturbed = Estimate(none["mean"], none["low"], none["high"], int(none["n_runs"]), int(none["n_censored"]))
    return Measured(
        name=name,
        title=name,
        threshold=threshold,
        horizon=horizon,
        period=period,
        unperturbed=unperturbed,
        state=_unknown(unperturbed.n_runs),
        cells=pd.DataFrame(lines),
        predicted=said,
        measured=means,
    )


def _unknown(n_runs: int) -> QuasiSteadyState:
    """No verdict on runs that are not at hand."""
    none = np.empty(0)
    whole = np.empty(0, dtype=np.int64)
    return QuasiSteadyState(
        False, None, (), whole, whole, none, whole, none, none, none, none, none, 0.2, float("nan"), n_runs
    )
