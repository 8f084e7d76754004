"""Predictions held against known answers: how far they are off, and whether their verdicts say so; the two tables of a chapter on failures.

A verdict may fail in two ways. It may vouch for a mean that is off by more than the tolerance: *missed*. Or it may not vouch for one that
is right: a *false alarm*, which costs a measurement. Both are shares of repeated studies, each with ensembles of its own, of a process
whose mean is known. Of training the answer is a measurement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from fptlib.errors import InputError
from fptlib.former.common import draw_ensembles
from fptlib.former.prediction import Form, predict_all
from fptlib.former.verdicts import ERROR_TOLERANCE, Status
from fptlib.processes import Process

__all__ = ["audit", "audit_errors", "failures_known", "failures_measured", "spelled_audit"]

N_BOOT = 200  # replicates of each study: verdicts need the ends of intervals to some per cent only


def audit(
    process: Process,
    *,
    period: int,
    periods: Sequence[int],
    horizon: int,
    threshold: float,
    n_runs: int = 200,
    n_perturbed: int = 100,
    record: Mapping[str, Any] | None = None,
    assumed: int | None = None,
    swapped: bool = False,
    form: Form = "auto",
    repeats: int = 20,
    tolerance: float = ERROR_TOLERANCE,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Predict again and again from new ensembles of a process whose means are known.

    Parameters
    ----------
    process, horizon
        Where runs come from, and for how many epochs they are followed.
    period, periods
        Of the perturbed runs, and to predict for.
    n_runs, n_perturbed
        Runs of the two ensembles of each study.
    record
        What a store would say of their training, as ``meta`` of the trajectories.
    assumed
        The period that the perturbed runs are taken to have, by default their own.
    swapped
        Whether each ensemble is taken for the other.
    repeats
        Studies, at least 1.
    threshold, form, tolerance, level, n_boot
        As in `fptlib.former.predict`.
    seed
        Of the studies; each has random numbers of its own.

    Returns
    -------
    DataFrame
        One row for each period: the true restricted mean ``exact`` and the mean of the predictions, ``mean``, in epochs, and its relative
        ``error``; the shares of the studies whose interval holds the truth (``covered``), with each status (``valid``, ``unverified``,
        ``not_valid``), whose prediction lies further from the truth than the tolerance (``off``), does so and is called valid all the same
        (``missed``), or does not and is not called valid (``false_alarm``).

    Raises
    ------
    InputError
        If there is no study, or as `fptlib.former.predict`.

    Examples
    --------
    Of a memoryless process with a kick form 2 knows the first perturbation only; at a quarter of its period it is far off, and says so.

    >>> from fptlib.processes import GeometricWithKick
    >>> kick = GeometricWithKick(hazard=0.02, kick=0.3)
    >>> table = audit(kick, period=20, periods=[5], horizon=150, threshold=0.5, form="2", n_perturbed=200, repeats=3)
    >>> table.loc[0, ["off", "missed", "exact"]].round(1).tolist()
    [1.0, 0.0, 14.3]
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; at least one study is needed")
    exact = [process.restricted_mean(horizon=horizon, period=p) for p in periods]
    rows = []
    for k in range(repeats):
        rng = np.random.default_rng([seed, k])
        plain = process.sample(rng, n_runs=n_runs, horizon=horizon)
        kicked = process.sample(rng, n_runs=n_perturbed, horizon=horizon, period=period)
        pair = [replace(runs, meta=dict(record or {})) for runs in (plain, kicked)]
        unperturbed, perturbed = reversed(pair) if swapped else pair
        drawn = draw_ensembles(
            unperturbed,
            [("the perturbed runs", period if assumed is None else assumed, perturbed)],
            threshold=threshold,
            level=level,
            n_boot=n_boot,
            seed=k,
        )
        predicted = predict_all(drawn.samples, periods, form=form, tolerance=tolerance)
        for p, true, (prediction, _) in zip(periods, exact, predicted, strict=True):
            status, off = prediction.verdict.status, abs(prediction.mean / true - 1.0) > tolerance
            row = {"period": p, "exact": true, "mean": prediction.mean}
            row["covered"] = prediction.low <= true <= prediction.high
            row |= {kind.name.lower(): status == kind for kind in Status}
            rows.append(row | {"off": off, "missed": off and status == Status.VALID})
    table = pd.DataFrame(rows).groupby(["period", "exact"], sort=False).mean().reset_index()
    table.insert(3, "error", table["mean"] / table["exact"] - 1)
    return table.assign(false_alarm=(1 - table["off"]) - (table["valid"] - table["missed"]))


def audit_errors(table: pd.DataFrame) -> pd.DataFrame:
    """Return an audit as the columns of `error_table`: the mean error without interval, and the most frequent status."""
    shares = table[["valid", "unverified", "not_valid"]].rename(columns={"not_valid": "not valid"})
    error = table["error"]
    columns = {"period": table["period"], "off": error, "off_low": error, "off_high": error}
    return pd.DataFrame({**columns, "status": shares.idxmax(axis=1)})


def spelled_audit(table: pd.DataFrame) -> pd.DataFrame:
    """Return an audit in words for a page.

    Columns ``period, exact, predicted, off, valid, unverified, not valid, missed, false alarm``; the last five are shares of the studies.
    """
    words = {"period": table["period"], "exact": table["exact"].map("{:.1f}".format)}
    words |= {"predicted": table["mean"].map("{:.1f}".format), "off": table["error"].map(_percent)}
    for name in ("valid", "unverified", "not_valid", "missed", "false_alarm"):
        words[name.replace("_", " ")] = table[name].map("{:.0%}".format)
    return pd.DataFrame(words)


def failures_known(audits: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """Return the worst of each audit, by the failure it shows and its process.

    Columns ``failure, process, period, exact, predicted, off, missed, false alarms``: the period with the largest mean error, the largest
    share of studies missed at any period, and the mean share of false alarms.
    """
    rows = []
    for (failure, process), table in audits.items():
        worst = table["error"].abs().idxmax()
        row = spelled_audit(table).loc[worst, ["period", "exact", "predicted", "off"]].to_dict()
        shares = {"missed": f"{table['missed'].max():.0%}", "false alarms": f"{table['false_alarm'].mean():.0%}"}
        rows.append({"failure": failure, "process": process, **row, **shares})
    return pd.DataFrame(rows)


def failures_measured(
    compared: Mapping[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]], *, tolerance: float = ERROR_TOLERANCE
) -> pd.DataFrame:
    """Return the predictions that are off by more than the tolerance, by the failure they show and the case.

    Parameters
    ----------
    compared
        Failure and case to predictions (`response_table`) and measurements (`measured_row`).

    Returns
    -------
    DataFrame
        Columns ``failure, case, period, predicted, measured, off, chance, status, reason``: ``chance`` says whether the intervals of
        prediction and measurement overlap, so that the difference could be one.
    """
    columns = ["failure", "case", "period", "predicted", "measured", "off", "chance", "status", "reason"]
    rows = []
    for (failure, case), (predicted, measured) in compared.items():
        both = predicted.merge(measured, on="period", suffixes=("", "_true"))
        for line in both.to_dict("records"):
            off = line["mean"] / line["mean_true"] - 1
            overlap = line["low"] <= line["high_true"] and line["low_true"] <= line["high"]
            chance = "intervals overlap" if overlap else ""
            intervals = [
                f"{line['mean' + s]:.1f} ({line['low' + s]:.1f} to {line['high' + s]:.1f})" for s in ("", "_true")
            ]
            if abs(off) > tolerance:
                rows.append(
                    (failure, case, line["period"], *intervals, _percent(off), chance, line["status"], line["reason"])
                )
    return pd.DataFrame(rows, columns=columns)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:+.0f} %"
