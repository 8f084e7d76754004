"""What a search is worth: regret against the epochs that it trained."""

from __future__ import annotations

from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, PALETTE, finish, log_axis

_NEAR_ZERO = 0.1  # epochs: below this the regret axis is linear, so that zero has a place on it


def regret(
    curves: pd.DataFrame, *, steps: bool = False, first: str = "closed loop", description: str = ""
) -> alt.LayerChart:
    """Mean regret of each method against the run-epochs it was given.

    Parameters
    ----------
    curves
        Columns ``method, budget, regret`` and, where there is an interval, ``low, high``; see `fptlib.optimise.compare`.
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
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, columns=3) if len(names) > 1 else None
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    colour = alt.Color("method:N", scale=alt.Scale(domain=names, range=colours), legend=legend)
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
    shape = alt.Shape("method:N", scale=alt.Scale(domain=names), legend=legend)
    tips = ["method", "budget", alt.Tooltip("regret", format=".2f")]
    width = alt.condition(alt.datum.method == first, alt.value(3), alt.value(1.5))
    base = alt.Chart(curves).encode(x=x, color=colour)
    drawn: Literal["step-after", "linear"] = "step-after" if steps else "linear"
    layers = [base.mark_line(interpolate=drawn).encode(y=alt.Y("regret:Q", **y), strokeWidth=width)]
    if not steps:
        layers.append(base.mark_point(size=45, filled=True).encode(y=alt.Y("regret:Q", **y), shape=shape, tooltip=tips))
    if {"low", "high"} <= set(curves.columns):
        layers.insert(0, base.mark_rule(opacity=0.45).encode(y=alt.Y("low:Q", **y), y2="high:Q"))
    zero = alt.Chart(pd.DataFrame({"at": [0.0]})).mark_rule(color=GREY, opacity=0.6)
    layers.insert(0, zero.encode(y=alt.Y("at:Q", **y)))
    ends = curves.sort_values("budget").groupby("method")["regret"].last()
    said = "; ".join(f"{name} ends at {ends[name]:.2f}" for name in names)
    unit = f"from {int(curves['budget'].min())} to {int(np.ceil(curves['budget'].max()))} run-epochs"
    return finish(layers, description or f"Regret in epochs against run-epochs trained, {unit}: {said}.")
