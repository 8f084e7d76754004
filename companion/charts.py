"""Charts of the book's own tables: predictions beside measurements, regrets and errors (Altair), drawn as `fptlib.charts` draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import (
    GRADE_COLOURS,
    GRADE_SHAPES,
    GREY,
    INK,
    SHAPES,
    finish,
    grades,
    log_axis,
    numbers,
)

_LIGHTEST, _DARKEST = "#F3F6FA", "#0B3C66"  # cells with no regret, and from `_SHOWN` on
_SHOWN = 0.3  # regret at which colours end
_DARK = 0.19  # regret from which light letters stand out from a cell more than dark ones
# Letters stand on cells, which are the same on a dark page: they must not be `INK`, which follows the page.
_ON_DARK, _ON_LIGHT = "#FFFFFF", "#0A0A0A"
_ROOMY = 10  # columns up to which letters have their full size
_ASIDE = 0.03  # of the period, between sets of predictions
_BAND = 20.0  # error that is shaded, in per cent
_CAP = 100.0  # largest error on the axis, in per cent: larger ones are drawn at its edge


def predictions(cells: pd.DataFrame) -> alt.LayerChart:
    """Draw predicted against measured mean first-passage time, with both intervals; colour and shape say the grade.

    Parameters
    ----------
    cells
        Columns ``row, perturbation, period, grade, predicted, low, high, measured, measured_low, measured_high, error, covered``; see
        `companion.experiments.cells_of`.
    """
    ends = cells[["predicted", "measured"]].to_numpy(dtype=float)
    low, high = float(np.nanmin(ends)) * 0.6, float(np.nanmax(ends)) * 1.1
    axis = log_axis(low, high)
    title = "measured mean first-passage time (epochs)"
    measured, least = (alt.X(f"{name}:Q", title=title, **axis) for name in ("measured", "measured_low"))
    predicted, lower = (alt.Y(f"{name}:Q", title="predicted (epochs)", **axis) for name in ("predicted", "low"))
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, columns=2)
    base = alt.Chart(cells).encode(color=grades(cells, alt.Color, GRADE_COLOURS, legend))
    shape = grades(cells, alt.Shape, GRADE_SHAPES, legend)
    tips = ["row", "perturbation", "period", "grade", "covered", *numbers(("predicted", "measured"), ".1f")]
    diagonal = alt.Chart(pd.DataFrame({"a": [low, high]})).mark_line(strokeDash=[6, 4], color=GREY)
    points = base.mark_point(filled=True, size=60, opacity=1)
    layers = [
        diagonal.encode(x=alt.X("a:Q", title=title, **axis), y=alt.Y("a:Q", title="predicted (epochs)", **axis)),
        base.mark_rule(opacity=0.4).encode(x=measured, y=lower, y2="high:Q"),
        base.mark_rule(opacity=0.4).encode(x=least, x2="measured_high:Q", y=predicted),
        points.encode(x=measured, y=predicted, shape=shape, tooltip=tips),
    ]
    description = (
        f"Predicted against measured mean first-passage time of {len(cells)} perturbed ensembles in {cells['row'].nunique()} rows: "
        f"{int((cells['error'].abs() <= 0.2).sum())} predictions lie within 20 per cent of the measurement, "
        f"{int(cells['covered'].sum())} intervals hold it."
    )
    return finish(layers, description)


def matrix(table: pd.DataFrame) -> alt.LayerChart:
    """Draw the regret of taking over the choice of one row (down the side) in another (along the top), in per cent.

    Parameters
    ----------
    table
        Columns ``source, target, choice, regret, low, high``; see `companion.experiments.transfer`.
    """
    sources, targets = (list(dict.fromkeys(table[name])) for name in ("source", "target"))
    sources = [name for name in sources if name in targets] + [name for name in sources if name not in targets]
    shown = table.assign(text=[f"{100 * value:.0f}" for value in table["regret"]])
    top = alt.Axis(orient="top", labelAngle=-90, labelLimit=120)
    base = alt.Chart(shown).encode(
        x=alt.X("target:N", title="used in: regret in per cent", sort=targets, axis=top),
        y=alt.Y("source:N", title="chosen in", sort=sources, axis=alt.Axis(labelLimit=120)),
    )
    scale = alt.Scale(domain=[0, _SHOWN], range=[_LIGHTEST, _DARKEST], clamp=True, interpolate="rgb")
    tips = ["source", "target", "choice", *numbers(("regret", "low", "high"), ".1%")]
    cell = base.mark_rect().encode(color=alt.Color("regret:Q", scale=scale, legend=None), tooltip=tips)
    letters = alt.condition(alt.datum.regret > _DARK, alt.value(_ON_DARK), alt.value(_ON_LIGHT))
    text = base.mark_text(fontSize=12 if len(targets) <= _ROOMY else 9).encode(text="text:N", color=letters)
    others = table[(table["source"] != table["target"]) & table["source"].isin(targets)]
    average = 100 * others["regret"].mean()
    description = f"Matrix of regrets between {len(targets)} rows; between rows the mean is {average:.0f} per cent."
    return finish([cell, text], description).properties(height=26 * len(sources) + 20)


def compared(curves: Mapping[str, pd.DataFrame]) -> alt.LayerChart:
    """Draw the error of predictions against the period, with its interval and the band of 20 per cent.

    Parameters
    ----------
    curves
        Name of a set of predictions to its table, columns ``period, grade, error, error_low, error_high``; see
        `fptlib.response.Comparison`. The colour says the grade, the shape the set; sets are drawn side by side, a little off their period.
    """
    aside = {name: 1 + _ASIDE * (i - (len(curves) - 1) / 2) for i, name in enumerate(curves)}
    sets = [table.assign(curve=name, at=table["period"] * aside[name]) for name, table in curves.items()]
    frame = pd.concat(sets, ignore_index=True)
    names = ["error", "error_low", "error_high"]
    frame[names] = (100 * frame[names]).clip(-100, _CAP)
    scale = alt.Scale(domain=[min(-30.0, float(frame["error_low"].min())), max(30.0, float(frame["error_high"].max()))])
    ends = float(frame["at"].min()) * 0.9, float(frame["at"].max()) * 1.1
    x = alt.X("at:Q", title="perturbation period P (epochs)", **log_axis(*ends))

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title="prediction less truth (% of truth)", scale=scale)

    below: dict[str, Any] = {"orient": "bottom", "title": None, "columns": 1, "labelLimit": 300}
    below |= {"symbolStrokeColor": GREY, "symbolFillColor": "transparent"}
    shapes = alt.Scale(domain=list(curves), range=list(SHAPES[: len(curves)]))
    shape = alt.Shape("curve:N", title=None, scale=shapes, legend=alt.Legend(**below))
    band = alt.Chart(pd.DataFrame({"low": [-_BAND], "high": [_BAND]})).mark_rect(color=GREY, opacity=0.15)
    legend = alt.Legend(orient="top", title=None, columns=2, symbolType="stroke", symbolStrokeWidth=4)
    base = alt.Chart(frame).encode(x=x, color=grades(frame, alt.Color, GRADE_COLOURS, legend))
    tips = ["curve", "period", "grade", alt.Tooltip("error", format="+.0f", title="error (%)")]
    layers = [
        band.encode(y=y("low"), y2="high:Q"),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=INK, strokeWidth=1).encode(y="at:Q"),
        base.mark_rule(strokeWidth=2).encode(y=y("error_low"), y2="error_high:Q"),
        base.mark_point(size=110, strokeWidth=2, opacity=1).encode(y=y("error"), shape=shape, tooltip=tips),
    ]
    parts = []
    for name, table in curves.items():
        worst = table.loc[table["error"].abs().idxmax()]
        parts.append(
            f"{name}: at most {100 * worst['error']:+.0f} % at period {int(worst['period'])} ({worst['grade']})"
        )
    return finish(layers, f"Error of predictions against period. {'; '.join(parts)}.")
