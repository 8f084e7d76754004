"""The response to a perturbation: mean first-passage time against its period."""

from __future__ import annotations

import altair as alt
import pandas as pd

from fptlib.charts.common import GREY, STATUS_COLOURS, STATUS_SHAPES, finish, log_axis, rule


def response(
    predicted: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    *,
    period: int | None = None,
    unperturbed: float | None = None,
    cap: float | None = None,
    description: str = "",
) -> alt.LayerChart:
    """Predicted and measured mean first-passage time against the perturbation period, with intervals.

    Parameters
    ----------
    predicted, measured
        Columns ``period, mean, low, high``, and in ``predicted`` also ``status``; see `fptlib.tables.response_table` and
        `fptlib.tables.measured_row`.
    period
        Period of the ensemble that the prediction is made from; marked by a dotted line.
    unperturbed
        Mean without perturbation, drawn as a dashed line.
    cap
        Upper end of the axis in epochs; predictions beyond it are drawn at the edge.
    """
    parts = [predicted]
    if measured is not None:
        parts.append(measured.assign(status="measured"))
    frame = pd.concat([part[["period", "mean", "low", "high", "status"]] for part in parts], ignore_index=True)
    present = [name for name in STATUS_COLOURS if name in set(frame["status"])]
    top = float(frame["high"].max()) if cap is None else cap
    x = alt.X(
        "period:Q",
        title="perturbation period P (epochs)",
        **log_axis(float(frame["period"].min()) * 0.85, float(frame["period"].max()) * 1.15),
    )
    title, lowest = "mean first-passage time (epochs)", float(frame["low"].min()) * 0.85
    words = "datum.label == 'measured' ? 'measured' : 'predicted, ' + datum.label"
    legend = alt.Legend(orient="top", columns=2, labelExpr=words)  # two fit on a phone
    colours = alt.Scale(domain=present, range=[STATUS_COLOURS[name] for name in present])
    shapes = alt.Scale(domain=present, range=[STATUS_SHAPES[name] for name in present])
    colour = alt.Color("status:N", title=None, scale=colours, legend=legend)
    shape = alt.Shape("status:N", title=None, scale=shapes, legend=legend)
    tips = ["status", "period", *(alt.Tooltip(name, format=".2f") for name in ("mean", "low", "high"))]
    layers = []
    for part, size, width in (
        (frame[frame["status"] != "measured"], 130, 2),
        (frame[frame["status"] == "measured"], 45, 1),
    ):
        if part.empty:
            continue
        base = alt.Chart(part).encode(x=x, color=colour)
        low, mean = (alt.Y(f"{name}:Q", title=title, **log_axis(lowest, top * 1.1)) for name in ("low", "mean"))
        layers.append(base.mark_rule(strokeWidth=width).encode(y=low, y2="high:Q"))
        layers.append(
            base.mark_point(filled=size < 100, size=size, strokeWidth=2, opacity=1).encode(
                y=mean, shape=shape, tooltip=tips
            )
        )
    if period is not None:
        source = alt.Chart(pd.DataFrame({"period": [period], "text": ["P0"]})).encode(x="period:Q")
        layers.insert(0, source.mark_rule(strokeDash=[2, 3], color=GREY))
        layers.insert(0, source.mark_text(align="left", dx=4, dy=8, color=GREY).encode(y=alt.value(0), text="text"))
    if unperturbed is not None:
        layers.insert(0, rule(unperturbed))
        level = alt.Chart(pd.DataFrame({"at": [unperturbed], "text": ["without perturbation"]})).encode(y="at:Q")
        layers.insert(
            0, level.mark_text(align="right", dx=-6, dy=-7, color=GREY).encode(x=alt.value("width"), text="text")
        )
    best = frame.sort_values("mean").iloc[0]
    said = (
        f"Mean first-passage time against period: {len(predicted)} predictions, "
        f"{0 if measured is None else len(measured)} measurements; the smallest is {best['mean']:.1f} epochs at period "
        f"{int(best['period'])} ({best['status']})."
    )
    return finish(layers, description or said)
