"""What all charts share: colours, axes, and the last touch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STATUS_COLOURS = {"measured": "#000000", "valid": "#0072B2", "unverified": "#E69F00", "not valid": "#D55E00"}
STATUS_SHAPES = {"measured": "cross", "valid": "circle", "unverified": "triangle-up", "not valid": "square"}
GREY = "#555555"
HEIGHT = 280
MAX_POINTS = 500  # points on one curve: more cannot be told apart on a page


def named(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of several, thinned, with a column ``curve`` that names them."""
    return pd.concat([thin(table).assign(curve=name) for name, table in tables.items()])


def thin(table: pd.DataFrame) -> pd.DataFrame:
    """At most `MAX_POINTS` rows, evenly spread, both ends among them."""
    if len(table) <= MAX_POINTS:
        return table
    keep = np.unique(np.linspace(0, len(table) - 1, MAX_POINTS).round().astype(int))
    return table.iloc[keep]


def colour(names: list[str], field: str) -> alt.Color:
    """Colours of the palette for names, in their order, with a legend where there are several curves."""
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1) if len(names) > 1 and field == "curve" else None
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colours), legend=legend)


def log_axis(low: float, high: float) -> dict[str, Any]:
    """Scale and axis, logarithmic from ``low`` to ``high`` with readable ticks; values outside are drawn at the ends."""
    decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    for steps in ((1, 2, 3, 5, 7), (1, 1.5, 2, 2.5, 3, 4, 5, 6, 7, 8, 9), tuple(np.arange(1, 10, 0.2))):
        ticks = [round(m * 10.0**d, 9) for d in decades for m in steps if low <= m * 10.0**d <= high]
        if len(ticks) >= 4:
            break
    return {
        "scale": alt.Scale(type="log", domain=[low, high], nice=False, clamp=True),
        "axis": alt.Axis(values=ticks, format="~g", gridOpacity=0.5),
    }


def settled(low: NDArray[np.float64], high: NDArray[np.float64], threshold: float | None) -> alt.Scale:
    """Axis for what goes on after the first tenth of the epochs, which would squeeze everything else against an edge."""
    start = len(low) // 10
    late_low, late_high = float(low[start:].min()), float(high[start:].max())
    room = late_high - late_low
    marks = [] if threshold is None else [threshold]
    bottom = min(max(float(low.min()), late_low - room), *marks, late_low)
    top = max(min(float(high.max()), late_high + room), *marks, late_high)
    return alt.Scale(domain=[bottom, top], nice=True)


def rule(at: float) -> alt.Chart:
    """Dashed horizontal line."""
    rule: alt.Chart = alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY)
    return rule.encode(y="at:Q")


def finish(layers: list[alt.Chart], description: str) -> alt.LayerChart:
    """Layers as one chart of the width of the page, with what it shows in words."""
    return alt.LayerChart(layer=layers).properties(width="container", height=HEIGHT, description=description)
