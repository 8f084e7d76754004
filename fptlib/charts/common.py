"""Colours, dashes and shapes, axes, and the layers that all charts share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Blue, vermilion and green of Okabe and Ito (Color Universal Design, 2008); the rest was chosen by search: all stand
# out from a white and from a dark page by 3:1 or more (WCAG 2.2, criterion 1.4.11), and from one another with
# deuteranopia and protanopia, as tests compute.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#6B42FE", "#A487BA", "#74676F", "#7184FE")
# A second channel, for those who see no colours: lines differ in their dashes, points in their shapes.
DASHES = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4], [1, 3])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
# Ink and grey follow the colour of the text where the page is dark; the style sheet of the site knows these two.
INK, GREY = "#000000", "#555555"
# How well a mean is known: from violet to orange, in one order for every eye and at most 6:1 against either page; the tests compute both.
GRADE_COLOURS = {
    "measured": INK,
    "to 10 %": "#6440ED",
    "to 20 %": "#8A4CB3",
    "to a factor 1.5": "#AA5280",
    "to a factor 2": "#CE5250",
    "open": "#FD461A",
}
GRADE_SHAPES = dict(zip(GRADE_COLOURS, ("cross", "circle", "square", "triangle-up", "diamond", "stroke"), strict=True))
# Means that are computed for every period: from the residual time after one perturbation, and without any perturbed run.
CURVE_COLOURS = {"one perturbation counts": PALETTE[0], "lower bound, no perturbed run": GREY}
_C = TypeVar("_C", alt.Color, alt.StrokeDash, alt.Shape)
HEIGHT = 280
_PHONE, _SYMBOL, _LETTER = 300, 34, 6  # pixels: room for a legend, for a symbol in it, for a letter
MAX_POINTS = 500  # points on one curve: more cannot be seen on a page


def named(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return one table of several, thinned, with a column ``curve`` that names them."""
    return pd.concat([thin(table).assign(curve=name) for name, table in tables.items()])


def thin(table: pd.DataFrame) -> pd.DataFrame:
    """Return at most `MAX_POINTS` rows, evenly spread, both ends among them."""
    if len(table) <= MAX_POINTS:
        return table
    keep = np.unique(np.linspace(0, len(table) - 1, MAX_POINTS).round().astype(int))
    return table.iloc[keep]


def colour(names: list[str], field: str, *, lines: bool = False) -> alt.Color:
    """Return colours of the palette for names, in their order, with a legend where there are several, unless they are single runs.

    The legend shows points, or ``lines``, which then need `dash` with the same argument.
    """
    return _channel(alt.Color, names, field, [PALETTE[i % len(PALETTE)] for i in range(len(names))], lines)


def dash(names: list[str], field: str, *, lines: bool = False) -> alt.StrokeDash:
    """Return dashes for the same names; the first is a full line."""
    return _channel(alt.StrokeDash, names, field, _second(DASHES, len(names)), lines)


def shape(names: list[str], field: str) -> alt.Shape:
    """Return shapes of points for the same names, in the same legend."""
    return _channel(alt.Shape, names, field, _second(SHAPES, len(names)), lines=False)


def _channel(kind: Callable[..., _C], names: list[str], field: str, values: list[Any], lines: bool) -> _C:
    """Return a channel of one value for each name, its legend in as many columns as fit on a phone."""
    legend = None
    if field != "run" and len(names) > 1:
        columns = max(1, _PHONE // (_SYMBOL + _LETTER * max(len(name) for name in names)))
        symbol = {"symbolType": "stroke", "symbolSize": 400, "symbolStrokeWidth": 2} if lines else {"symbolSize": 100}
        legend = alt.Legend(orient="top", title=None, columns=columns, symbolOpacity=1, labelLimit=_PHONE, **symbol)
    return kind(f"{field}:N", scale=alt.Scale(domain=names, range=values), legend=legend)


def _second(values: Sequence[Any], n: int) -> list[Any]:
    """Return values of the second channel: other ones where colours are used again, so that all names differ."""
    return [values[(i + i // len(PALETTE)) % len(PALETTE)] for i in range(n)]


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Return scale and axis, logarithmic from ``low`` to ``high`` with readable ticks; values outside are drawn at the ends."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    ticks = [round(m * 10.0**d, 9) for d in decades for m in (1, 2, 3, 5, 7) if low <= m * 10.0**d <= high]
    if len(ticks) < 4:  # a short axis: even steps, among which 1 is, as no change
        steps = (m * 10.0**d for d in reversed(range(decades[0] - 2, decades[-1] + 1)) for m in (5, 2, 1))
        step = next(s for s in steps if high // s - np.ceil(low / s) >= 3)
        ticks = [round(i * step, 9) for i in range(int(np.ceil(low / step)), int(high // step) + 1)]
    return {
        "scale": alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        "axis": alt.Axis(values=ticks, format="~g", gridOpacity=0.5),
    }


def settled(low: NDArray[np.float64], high: NDArray[np.float64], threshold: float | None) -> alt.Scale:
    """Return an axis for what goes on after the first tenth of the epochs, which would squeeze everything else against an edge."""
    start = len(low) // 10
    late_low, late_high = float(low[start:].min()), float(high[start:].max())
    room = late_high - late_low
    marks = [] if threshold is None else [threshold]
    bottom = min(max(float(low.min()), late_low - room), *marks, late_low)
    top = max(min(float(high.max()), late_high + room), *marks, late_high)
    return alt.Scale(domain=[bottom, top], nice=True)


def rule(at: float) -> alt.Chart:
    """Return a dashed horizontal line."""
    line: alt.Chart = alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY)
    return line.encode(y="at:Q")


def level(at: float, text: str) -> list[alt.Chart]:
    """Return a dashed horizontal line with its name at the right end."""
    named = alt.Chart(pd.DataFrame({"at": [at], "text": [text]})).mark_text(align="right", dx=-6, dy=-7, color=GREY)
    return [named.encode(y="at:Q", x=alt.value("width"), text="text"), rule(at)]


def periods(table: pd.DataFrame, column: str = "period") -> alt.X:
    """Return the axis of perturbation periods."""
    ends = float(table[column].min()) * 0.85, float(table[column].max()) * 1.15
    return alt.X(f"{column}:Q", title="perturbation period P (epochs)", **log_axis(*ends))


def grades(table: pd.DataFrame, channel: type[Any], values: Mapping[str, str], legend: alt.Legend | None) -> Any:
    """Return a channel with one of the values for each grade that the table holds."""
    present = [name for name in values if name in set(table["grade"])]
    scale = alt.Scale(domain=present, range=[values[name] for name in present])
    return channel("grade:N", title=None, scale=scale, legend=legend)


def numbers(names: Sequence[str], number: str = ".2f") -> list[alt.Tooltip]:
    """Return what a tooltip says of numbers."""
    return [alt.Tooltip(name, format=number) for name in names]


def intervals(
    base: alt.Chart,
    axis: Mapping[str, Any],
    *,
    names: tuple[str, str, str] = ("mean", "low", "high"),
    shape: alt.Shape,
    tips: Sequence[Any],
    size: int = 60,
    width: float = 1,
    filled: bool = True,
) -> list[alt.Chart]:
    """Return estimates as points, intervals as bars; ``names`` are the columns, ``axis`` is the vertical one."""
    mean, low, high = names
    bars = base.mark_rule(strokeWidth=width).encode(y=alt.Y(f"{low}:Q", **axis), y2=f"{high}:Q", tooltip=list(tips))
    known = f"isValid(datum.{mean})"  # of the others only the range is known
    points = base.transform_filter(known).mark_point(filled=filled, size=size, strokeWidth=1.5, opacity=1)
    return [bars, points.encode(y=alt.Y(f"{mean}:Q", **axis), shape=shape, tooltip=list(tips))]


def finish(layers: list[alt.Chart], description: str) -> alt.LayerChart:
    """Join layers to one chart of the width of the page, with what it shows in words."""
    return alt.LayerChart(layer=layers).properties(width="container", height=HEIGHT, description=description)


def readout(entries: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return a panel of large numbers, each with its label below; both are expressions of the parameters of the chart."""
    layers, scale = [], {"domain": [0, len(entries)], "nice": False}
    for i, entry in enumerate(entries):
        shift = -40 * (1 - i / (len(entries) - 1))  # pixels: the line begins above the titles of the axes
        for key, y, look in (("text", 14, {"fontSize": 26, "fontWeight": "bold"}), ("label", 38, {"fontSize": 12})):
            mark = {"type": "text", "text": {"expr": entry[key]}, "color": entry["color"], "dx": shift, **look}
            x = {"field": "at", "type": "quantitative", "axis": None, "scale": scale}
            layers.append(
                {"data": {"values": [{"at": i + 0.5}]}, "mark": mark, "encoding": {"x": x, "y": {"value": y}}}
            )
    return {"height": 44, "view": {"stroke": None}, "layer": layers}
