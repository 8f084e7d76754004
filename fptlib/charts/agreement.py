"""Predicted over measured, for many predictions in many cases: which intervals lie within what is accepted."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from fptlib.charts.common import GREY, INK, finish, log_axis

VERDICT_COLOURS = {
    "reproduces": "#0072B2",
    "within the interval": "#E69F00",
    "does not reproduce": "#D55E00",
    "cannot be tested here": "#555555",
}
VERDICT_SHAPES = {
    "reproduces": "circle",
    "within the interval": "triangle-up",
    "does not reproduce": "square",
    "cannot be tested here": "cross",
}
_STEP = 11  # pixels from one line to the next


def agreement(
    table: pd.DataFrame,
    *,
    accepted: tuple[float, float] = (0.9, 1.1),
    span: tuple[float, float] = (0.6, 3.0),
    title: str = "predicted / measured mean first-passage time",
    description: str = "",
) -> alt.LayerChart:
    """Ratios with intervals, one line for each period, below the name of their case.

    Parameters
    ----------
    table
        Columns ``case, period, ratio, ratio_low, ratio_high, verdict, status`` of `companion.published.ratios`, in the order of the page.
    accepted
        Shaded range.
    span
        Ends of the axis; what lies beyond is drawn at the edge.
    title
        Of the axis.
    """
    frame = table.dropna(subset=["ratio", "ratio_low", "ratio_high"]).reset_index(drop=True)
    number = (frame["case"] != frame["case"].shift()).cumsum()
    frame["line"] = frame.index + 2.0 * number  # the name of a case has a line and a half of its own
    frame["label"] = "P = " + frame["period"].astype(str)
    names = frame.groupby(number).agg(case=("case", "first"), line=("line", "min")).assign(at=span[0])
    names["line"] -= 1
    present = [name for name in VERDICT_COLOURS if name in set(frame["verdict"])]
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, columns=2)
    hue = alt.Color(
        "verdict:N", scale=alt.Scale(domain=present, range=[VERDICT_COLOURS[v] for v in present]), legend=legend
    )
    shape = alt.Shape(
        "verdict:N", scale=alt.Scale(domain=present, range=[VERDICT_SHAPES[v] for v in present]), legend=legend
    )
    ends = alt.Scale(domain=[0, float(frame["line"].max()) + 1], reverse=True, nice=False)
    y = alt.Y("line:Q", scale=ends, axis=None)
    low, mean, edge = (alt.X(f"{n}:Q", title=title, **log_axis(*span)) for n in ("ratio_low", "ratio", "at"))
    numbers = [alt.Tooltip(name, format=".2f") for name in ("ratio", "ratio_low", "ratio_high")]
    tips = ["case", "period", "status", "verdict", *numbers]
    base = alt.Chart(frame).encode(y=y)
    shaded = alt.Chart(pd.DataFrame({"at": [accepted[0]], "to": [accepted[1]]}))
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "dx": 4}
    layers = [
        shaded.mark_rect(color=GREY, opacity=0.15).encode(x=edge, x2="to:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=low, x2="ratio_high:Q", color=hue),
        base.mark_point(filled=True, size=45, opacity=1).encode(x=mean, shape=shape, color=hue, tooltip=tips),
        alt.Chart(frame.assign(at=span[0])).mark_text(**text, fontSize=9, color=GREY).encode(x=edge, y=y, text="label"),
        alt.Chart(names).mark_text(**text, fontWeight="bold", color=INK).encode(x=edge, y=y, text="case"),
    ]
    counts = frame["verdict"].value_counts()
    said = (
        f"Ratio of predicted to measured means for {len(frame)} predictions in {len(names)} cases: "
        f"{', '.join(f'{counts[v]} {v}' for v in present)}. Shaded is {accepted[0]:g} to {accepted[1]:g}."
    )
    height = int(frame["line"].max() + 1) * _STEP
    return finish(layers, description or said).properties(height=height)
