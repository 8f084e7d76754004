"""Value of a search: regret against the epochs that it trained."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, colour, dash, finish, log_axis, numbers, shape

_NEAR_ZERO = 0.1  # epochs: below this the regret axis is linear, so that zero has a place on it


def regret(curves: pd.DataFrame, *, first: str = "closed loop") -> alt.LayerChart:
    """Draw the mean regret of each method against the run-epochs it was given.

    ``curves`` has columns ``method, budget, regret`` and, where there is an interval, ``low, high``. The method ``first``
    has the first colour and a thicker line.
    """
    methods = set(curves["method"])
    names = [*([first] if first in methods else []), *sorted(methods - {first})]
    ends = float(curves["budget"].min()) * 0.9, float(curves["budget"].max()) * 1.1
    top = float(curves["regret"].max()) * 1.05 + _NEAR_ZERO
    ticks = [t for t in (0, 0.1, 0.3, 1, 3, 10, 30, 100) if t <= top]
    axis: dict[str, Any] = {
        "title": "regret (epochs)",
        "scale": alt.Scale(type="symlog", constant=_NEAR_ZERO, domain=[0, top], nice=False, clamp=True),
        "axis": alt.Axis(values=ticks, format="~r", gridOpacity=0.5),
    }
    x = alt.X("budget:Q", title="run-epochs trained", **log_axis(*ends))
    base, y = alt.Chart(curves).encode(x=x, color=colour(names, "method")), alt.Y("regret:Q", **axis)
    width = alt.condition(alt.datum.method == first, alt.value(3), alt.value(1.5))
    line = base.mark_line().encode(y=y, strokeWidth=width)
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GREY)
    layers = [zero.encode(y=alt.Y("at:Q", **axis)), line.encode(strokeDash=dash(names, "method"))]
    if {"low", "high"} <= set(curves.columns):
        layers.insert(1, base.mark_rule(strokeWidth=1).encode(y=alt.Y("low:Q", **axis), y2="high:Q"))
    tips = ["method", "budget", *numbers([name for name in ("regret", "low", "high") if name in curves])]
    points = base.mark_point(size=55, filled=True, opacity=1)
    layers.append(points.encode(y=y, tooltip=tips, shape=shape(names, "method")))
    last = curves.sort_values("budget").groupby("method")["regret"].last()
    text = "; ".join(f"{name} ends at {last[name]:.2f}" for name in names)
    unit = f"from {int(curves['budget'].min())} to {int(np.ceil(curves['budget'].max()))} run-epochs"
    return finish(layers, f"Regret in epochs against run-epochs trained, {unit}: {text}.")
