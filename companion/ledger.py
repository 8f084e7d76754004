"""What predictions were off by, and what was said of them, as tables for a page: the two tables of a chapter on failures.

Known answers come from `companion.audit` of processes, measured ones from ensembles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from companion.audit import Audit


def audit_table(found: Sequence[Audit]) -> pd.DataFrame:
    """Columns ``period, exact, mean, error, covered, valid, unverified, not_valid, off, missed, false_alarm, repeats``."""
    names = ("period", "exact", "mean", "error", "covered", "valid", "unverified", "not_valid", "off", "missed")
    return pd.DataFrame([{name: getattr(a, name) for name in (*names, "false_alarm", "repeats")} for a in found])


def audit_errors(table: pd.DataFrame) -> pd.DataFrame:
    """An `audit_table` as the columns of `error_table`: the mean error without interval, and the most frequent status."""
    shares = table[["valid", "unverified", "not_valid"]].rename(columns={"not_valid": "not valid"})
    error = table["error"]
    columns = {"period": table["period"], "off": error, "off_low": error, "off_high": error}
    return pd.DataFrame({**columns, "status": shares.idxmax(axis=1)})


def spelled_audit(table: pd.DataFrame) -> pd.DataFrame:
    """An `audit_table` in words for a page.

    Columns ``period, exact, predicted, off, valid, unverified, not valid, missed, false alarm``; the last five are shares of the studies.
    """
    words = {"period": table["period"], "exact": table["exact"].map("{:.1f}".format)}
    words |= {"predicted": table["mean"].map("{:.1f}".format), "off": table["error"].map(_percent)}
    for name in ("valid", "unverified", "not_valid", "missed", "false_alarm"):
        words[name.replace("_", " ")] = table[name].map("{:.0%}".format)
    return pd.DataFrame(words)


def failures_known(audits: Mapping[tuple[str, str], pd.DataFrame]) -> pd.DataFrame:
    """The worst of each `audit_table`, by the failure it shows and its process.

    Columns ``failure, process, period, exact, predicted, off, missed, false alarms``: the period with the largest mean error, the largest
    share of studies missed at any period, and the mean share of false alarms.
    """
    rows = []
    for (failure, process), table in audits.items():
        worst = table.loc[table["error"].abs().idxmax()]
        rows.append(
            {
                "failure": failure,
                "process": process,
                "period": int(worst["period"]),
                "exact": f"{worst['exact']:.1f}",
                "predicted": f"{worst['mean']:.1f}",
                "off": _percent(worst["error"]),
                "missed": f"{table['missed'].max():.0%}",
                "false alarms": f"{table['false_alarm'].mean():.0%}",
            }
        )
    return pd.DataFrame(rows)


def failures_measured(
    compared: Mapping[tuple[str, str], tuple[pd.DataFrame, pd.DataFrame]], *, tolerance: float = 0.1
) -> pd.DataFrame:
    """Predictions that are off by more than the tolerance, by the failure they show and the case.

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
    rows = []
    for (failure, case), (predicted, measured) in compared.items():
        both = predicted.merge(measured, on="period", suffixes=("", "_true"))
        for line in both.to_dict("records"):
            off = line["mean"] / line["mean_true"] - 1
            if abs(off) > tolerance:
                overlap = line["low"] <= line["high_true"] and line["low_true"] <= line["high"]
                rows.append(
                    {
                        "failure": failure,
                        "case": case,
                        "period": line["period"],
                        "predicted": _interval(line["mean"], line["low"], line["high"]),
                        "measured": _interval(line["mean_true"], line["low_true"], line["high_true"]),
                        "off": _percent(off),
                        "chance": "intervals overlap" if overlap else "",
                        "status": line["status"],
                        "reason": line["reason"],
                    }
                )
    columns = ["failure", "case", "period", "predicted", "measured", "off", "chance", "status", "reason"]
    return pd.DataFrame(rows, columns=columns)


def _percent(ratio: float) -> str:
    return f"{100 * ratio:+.0f} %"


def _interval(mean: float, low: float, high: float) -> str:
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"
