"""What choices and searches cost: tables that are kept with the book, and their charts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import altair as alt
import pandas as pd

from companion import ROOT
from fptlib.charts.common import GREY, colour, dash, finish, intervals, level, log_axis, numbers, periods, rule, shape
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.response.results import named, spelt
from fptlib.study import Key

Means: TypeAlias = Mapping[Key | None, Estimate]
RESULTS = ROOT / "book" / "results" / "closed_loop"


def comparison(study: str) -> pd.DataFrame:
    """Return the mean regret of each kind of search against the budget, in epochs, as ``benchmarks/closed_loop.py`` measured it.

    Of several settings of a method the best one at each budget counts, which is kinder than anybody can be who has to choose beforehand.
    ``right`` is the share of repeats that found the best schedule. An InputError says if there is no such study.
    """
    path = RESULTS / f"{study}.csv"
    if not path.exists():
        raise InputError(f"{path}: no such table; python benchmarks/closed_loop.py writes it")
    table = pd.read_csv(path)
    kinds = table.assign(method=table["method"].str.split(",").str[0])
    best = kinds.groupby(["threshold", "accounts", "method", "budget"])["regret"].idxmin()
    return kinds.loc[best].reset_index(drop=True)


def costs(settings: pd.DataFrame, means: pd.DataFrame) -> alt.LayerChart:
    """Draw what ways to choose cost: columns ``way, factor, setting`` of single settings, and ``way, factor, runs`` of means over them."""
    kinds = list(dict.fromkeys(means["runs"]))
    axis = log_axis(0.95, settings["factor"].max() * 1.1)
    x = alt.X("factor:Q", title="cost of the choice (best = 1)", **axis)
    y = alt.Y("way:N", title=None, sort=None, axis=alt.Axis(labelLimit=200))
    dots = alt.Chart(settings).mark_circle(size=50, opacity=0.45, color=GREY)
    marks = alt.Chart(means).mark_point(filled=True, size=140, opacity=1)
    dots = dots.encode(x=x, y=y, tooltip=["setting", *numbers(["factor"])])
    marks = marks.encode(x=x, y=y, color=colour(kinds, "runs"), shape=shape(kinds, "runs"))
    text = "; ".join(f"{row.way} with {row.runs}: {row.factor:.2f}" for row in means.itertuples())
    text = f"Epochs of a choice over those of the best schedule, mean over settings: {text}."
    return finish([dots, marks], text).properties(height=190)


def against_period(sets: Mapping[str, Means], title: str) -> alt.LayerChart:
    """Draw means of the published ensembles against their period, in one set or several; ``None``: without perturbation."""
    rows = [(spelt(k[0]), k[1], e.mean, e.low, e.high, at) for at, es in sets.items() for k, e in es.items() if k]
    table = pd.DataFrame(rows, columns=["perturbation", "period", "mean", "low", "high", "read at"])
    names, plain = sorted(table["perturbation"].unique()), [es[None].mean for es in sets.values()]
    axis = {"title": title, **log_axis(float(table["low"].min()) * 0.95, max(*table["high"], *plain) * 1.1)}
    base = alt.Chart(table).encode(x=periods(table), color=colour(names, "perturbation"), detail="read at:N")
    dashes = dash(list(sets), "read at", lines=True)
    line = base.mark_line(strokeWidth=1.5).encode(y=alt.Y("mean:Q", **axis), strokeDash=dashes)
    tips = ["perturbation", "period", "read at", *numbers(["mean", "low", "high"])]
    layers = [*level(plain[0], "without perturbation"), *map(rule, plain[1:]), line]
    layers += intervals(base, axis, shape=shape(names, "perturbation"), tips=tips)
    ends = min(rows, key=lambda row: row[2]), max(rows, key=lambda row: row[2])
    parts = [f"{row[2]:.1f} with {named(row[0], row[1])}" for row in ends]
    return finish(
        layers, f"{title} against the period: from {' to '.join(parts)}; {plain[0]:.1f} without perturbation."
    )
