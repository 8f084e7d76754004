"""Searches as tidy tables, and the comparison with other ways to search that is kept with the book."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from companion import ROOT
from fptlib.errors import InputError
from fptlib.search.result import SearchResult

RESULTS = ROOT / "book" / "results" / "closed_loop"


def steps_table(result: SearchResult) -> pd.DataFrame:
    """Return the steps of a search: ``purpose, what, spent, candidate, period, mean``, the last three of the recommendation after it."""
    return pd.DataFrame([step.to_dict() for step in result.steps]).astype({"period": "Int64", "mean": float})


def regret_table(
    result: SearchResult, truth: Mapping[tuple[str | None, int | None], float], *, name: str = "closed loop"
) -> pd.DataFrame:
    """Return the regret of what a search would have recommended after each step: columns ``method, budget, regret``.

    Parameters
    ----------
    truth
        Mean first-passage time by label of the candidate and period; ``(None, None)`` without perturbation, which is recommended while
        nothing is known.
    """
    best = min(truth.values())
    rows = [(name, step.spent, truth[(step.candidate, step.period)] - best) for step in result.steps]
    return pd.DataFrame(rows, columns=["method", "budget", "regret"])


def comparison(study: str) -> pd.DataFrame:
    """Return the regret of each method against the budget, as ``benchmarks/closed_loop.py`` measured it.

    Parameters
    ----------
    study
        ``published``, ``digits`` or ``live``.

    Returns
    -------
    DataFrame
        Columns ``study, threshold, method, accounts, budget, regret, low, high, right, repeats``: the mean regret over repeats in epochs,
        its interval, and the share of repeats that found the best cell.

    Raises
    ------
    InputError
        If there is no such study.
    """
    return pd.read_csv(_kept(f"{study}.csv"))


def about() -> dict[str, Any]:
    """Return what the comparison was made with: command, machine, sizes."""
    return dict(json.loads(_kept("about.json").read_text()))


def _kept(name: str) -> Path:
    path = RESULTS / name
    if not path.exists():
        raise InputError(f"{path}: no such table; python benchmarks/closed_loop.py writes it")
    return path


def families(table: pd.DataFrame) -> pd.DataFrame:
    """Return the comparison with one curve for each kind of method: of several settings the one that does best at each budget.

    That is kinder to a method than anybody can be who has to choose its setting beforehand.
    """
    kinds = table.assign(method=table["method"].str.split(",").str[0])
    keys = [k for k in ("study", "threshold", "accounts", "method", "budget") if k in kinds]
    return kinds.loc[kinds.groupby(keys)["regret"].idxmin()].reset_index(drop=True)


def epochs_to_reach(table: pd.DataFrame, levels: Sequence[float], *, ours: str = "closed loop") -> pd.DataFrame:
    """Return the budgets from which on the mean regret of each method stays at or below some levels.

    Between the budgets that were measured, regret is taken as linear in log(budget).

    Returns
    -------
    DataFrame
        One row for each level: ``regret``, a column for each method (missing where the largest budget was not enough), and ``share``, the
        budget of ``ours`` over the smallest one of the others.

    Examples
    --------
    >>> curves = pd.DataFrame({"method": ["closed loop", "grid"] * 2, "budget": [1, 1, 2, 2], "regret": [1.0, 5.0, 0.0, 1.0]})
    >>> epochs_to_reach(curves, [1.0])[["closed loop", "grid", "share"]].values.tolist()
    [[1.0, 2.0, 0.5]]
    """
    rows = []
    for level in levels:
        row: dict[str, float] = {"regret": level}
        for method, curve in table.groupby("method"):
            row[str(method)] = _crossing(curve.sort_values("budget"), level)
        others = [value for name, value in row.items() if name not in ("regret", ours)]
        row["share"] = row.get(ours, float("nan")) / pd.Series(others).min()
        rows.append(row)
    return pd.DataFrame(rows)


def _crossing(curve: pd.DataFrame, level: float) -> float:
    budget, regret = curve["budget"].to_numpy(float), curve["regret"].to_numpy(float)
    above = np.flatnonzero(regret > level)
    if len(above) == 0:
        return float(budget[0])
    last = int(above[-1])
    if last + 1 == len(budget):
        return float("nan")
    part = (regret[last] - level) / (regret[last] - regret[last + 1])
    return float(budget[last] * (budget[last + 1] / budget[last]) ** part)
