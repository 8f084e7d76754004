"""What a search is worth: regret against the epochs that it trained."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, colour, dash, finish, log_axis, shape

_NEAR_ZERO = 0.1  # epochs: below this the regret axis is linear, so that zero has a place on it


def regret(
    curves: pd.DataFrame, *, steps: bool = False, first: str = "closed loop", description: str = ""
) -> alt.LayerChart:
    """Mean regret of each method against the run-epochs it was given.

    Parameters
    ----------
    curves
        Columns ``method, budget, regret`` and, where there is an interval, ``low, high``; see `companion.compare`.
    steps
        Draw steps, as a recommendation stays until the next one; otherwise points at the budgets, joined by lines.
    first
        Method that is drawn first in the palette, and with a thicker line.
    """
    names = (
        [first, *sorted(set(curves["method"]) - {first})]
        if first in set(curves["method"])
        else sorted(set(curves["method"]))
    )
    x = alt.X(
        "budget:Q",
        title="run-epochs trained",
        **log_axis(float(curves["budget"].min()) * 0.9, float(curves["budget"].max()) * 1.1),
    )
    top = float(curves["regret"].max()) * 1.05 + _NEAR_ZERO
    ticks = [t for t in (0, 0.1, 0.3, 1, 3, 10, 30, 100) if t <= top]
    y: dict[str, Any] = {
        "title": "regret (epochs)",
        "scale": alt.Scale(type="symlog", constant=_NEAR_ZERO, domain=[0, top], nice=False, clamp=True),
        "axis": alt.Axis(values=ticks, format="~g", gridOpacity=0.5),
    }
    tips = ["method", "budget", *(alt.Tooltip(n, format=".2f") for n in ("regret", "low", "high") if n in curves)]
    width = alt.condition(alt.datum.method == first, alt.value(3), alt.value(1.5))
    base = alt.Chart(curves).encode(x=x, color=colour(names, "method", lines=steps))
    drawn: Literal["step-after", "linear"] = "step-after" if steps else "linear"
    dashes = dash(names, "method", lines=steps)
    line = base.mark_line(interpolate=drawn).encode(y=alt.Y("regret:Q", **y), strokeDash=dashes)
    layers = [line.encode(strokeWidth=width)]
    if not steps:
        points = base.mark_point(size=55, filled=True, opacity=1).encode(y=alt.Y("regret:Q", **y), tooltip=tips)
        layers.append(points.encode(shape=shape(names, "method")))
    if {"low", "high"} <= set(curves.columns):
        layers.insert(0, base.mark_rule(strokeWidth=1).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GREY)
    layers.insert(0, zero.encode(y=alt.Y("at:Q", **y)))
    ends = curves.sort_values("budget").groupby("method")["regret"].last()
    said = "; ".join(f"{name} ends at {ends[name]:.2f}" for name in names)
    unit = f"from {int(curves['budget'].min())} to {int(np.ceil(curves['budget'].max()))} run-epochs"
    return finish(layers, description or f"Regret in epochs against run-epochs trained, {unit}: {said}.")
