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
    PALETTE,
    colour,
    dash,
    finish,
    grades,
    intervals,
    log_axis,
    numbers,
    periods,
    shape,
)
from fptlib.response.interval import GRADES

_LIGHTEST, _DARKEST = "#F3F6FA", "#0B3C66"  # cells with no regret, and from `_SHOWN` on
_SHOWN = 0.3  # regret at which colours end
_DARK = 0.19  # regret from which light letters stand out from a cell more than dark ones
# Letters stand on cells, which are the same on a dark page: they must not be `INK`, which follows the page.
_ON_DARK, _ON_LIGHT = "#FFFFFF", "#0A0A0A"
_ROOMY = 10  # columns up to which letters have their full size
_ERROR = ("error", "error_low", "error_high")
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

    ``curves`` holds frames of `fptlib.response.Comparison` by name. A point is hollow where the interval misses the truth.
    """
    frame, x = _beside(curves)
    frame[list(_ERROR)] = (100 * frame[list(_ERROR)]).clip(-100, _CAP)
    ends = min(-30.0, float(frame["error_low"].min())), max(30.0, float(frame["error_high"].max()))
    axis = {"title": "prediction less truth (% of truth)", "scale": alt.Scale(domain=ends)}
    band = alt.Chart(pd.DataFrame({"low": [-_BAND], "high": [_BAND]})).mark_rect(color=GREY, opacity=0.15)
    zero = alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=INK, strokeWidth=1)
    layers = [band.encode(y=alt.Y("low:Q", **axis), y2="high:Q"), zero.encode(y="at:Q")]
    tips = ["curve", "period", "grade", "covered", alt.Tooltip("error", format="+.0f", title="error (%)")]
    for covered, part in frame.groupby("covered"):
        base = alt.Chart(part).encode(x=x, color=colour(list(curves), "curve"))
        look: dict[str, Any] = {"shape": shape(list(curves), "curve"), "size": 90, "width": 2, "filled": bool(covered)}
        layers += intervals(base, axis, names=_ERROR, tips=tips, **look)
    worst = {name: table.loc[table["error"].abs().idxmax()] for name, table in curves.items()}
    parts = (f"{name}: at most {100 * row['error']:+.0f} % at period {row['period']}" for name, row in worst.items())
    return finish(layers, f"Error of predictions against period. {'; '.join(parts)}.")


def residuals(curves: Mapping[str, pd.DataFrame]) -> alt.LayerChart:
    """Draw the mean residual time after a perturbation against its period.

    ``curves`` holds tables by name, columns ``period, mean, low, high`` in epochs.
    """
    frame, x = _beside(curves)
    ends = float(frame["low"].min()) * 0.85, float(frame["high"].max()) * 1.1
    axis = {"title": "mean residual time (epochs)", **log_axis(*ends)}
    base = alt.Chart(frame).encode(x=x, color=colour(list(curves), "curve"))
    line = base.mark_line(strokeWidth=1.5).encode(y=alt.Y("mean:Q", **axis), strokeDash=dash(list(curves), "curve"))
    tips = ["curve", "period", *numbers(("mean", "low", "high"), ".1f")]
    points = intervals(base, axis, shape=shape(list(curves), "curve"), tips=tips)
    spans = (f"{name} from {table['mean'].min():.1f} to {table['mean'].max():.1f}" for name, table in curves.items())
    return finish([line, *points], f"Mean residual time in epochs against period: {'; '.join(spans)}.")


def promises(table: pd.DataFrame) -> alt.LayerChart:
    """Draw the span of predicted over measured means for each grade, with what the grade promises.

    ``table`` has grades as its index and columns ``predictions, agree, low, high``: their number, the share whose interval agrees with
    the measurement, and the span of the ratio.
    """
    frame = table.loc[[name for name in GRADES if name in table.index]].assign(promise=pd.Series(GRADES))
    frame["name"] = [f"{row.Index} ({row.predictions}; {100 * row.agree:.0f} % agree)" for row in frame.itertuples()]
    frame = frame.assign(least=1 / frame["promise"])
    axis = {"title": "predicted over measured mean", **log_axis(0.4, 3.5)}
    base = alt.Chart(frame).encode(y=alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=220)))
    bar = base.mark_rule(strokeWidth=8, color=PALETTE[0]).encode(x=alt.X("low:Q", **axis), x2="high:Q")
    ticks = base.mark_tick(thickness=3, height=24, color=PALETTE[1])
    layers = [bar.encode(tooltip=["name", *numbers(("low", "high"))])]
    layers += [ticks.encode(x=alt.X(f"{end}:Q", **axis)) for end in ("least", "promise")]
    text = "; ".join(f"{row.name}: {row.low:.2f} to {row.high:.2f}" for row in frame.itertuples())
    return finish(layers, f"Predicted over measured mean by grade: {text}.").properties(height=180)


def _beside(curves: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, alt.X]:
    """Return one table of several, each a little off its periods, and the axis of periods."""
    aside = {name: 1 + _ASIDE * (i - (len(curves) - 1) / 2) for i, name in enumerate(curves)}
    sets = [table.assign(curve=name, at=table["period"] * aside[name]) for name, table in curves.items()]
    frame = pd.concat(sets, ignore_index=True)
    return frame, periods(frame, "at")
