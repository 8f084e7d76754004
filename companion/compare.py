"""Searches as tidy tables, and the comparison with other ways to search that is kept with the book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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
