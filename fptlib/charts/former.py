"""Mean first-passage time against the period of a perturbation or of several, and speed-up against the threshold."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from fptlib.charts.common import (
    GREY,
    STATUS_COLOURS,
    STATUS_SHAPES,
    colour,
    dash,
    finish,
    intervals,
    level,
    log_axis,
    numbers,
    periods,
    rule,
    shape,
    statuses,
)

_INTERVAL = ("mean", "low", "high")


def response(
    predicted: pd.DataFrame,
    measured: pd.DataFrame | None = None,
    *,
    period: int | None = None,
    unperturbed: float | None = None,
    cap: float | None = None,
    description: str = "",
) -> alt.LayerChart:
    """Draw predicted and measured mean first-passage times against the perturbation period, with intervals.

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
    parts = [predicted, *([] if measured is None else [measured.assign(status="measured")])]
    frame = pd.concat([part[["period", "mean", "low", "high", "status"]] for part in parts], ignore_index=True)
    words = "datum.label == 'measured' ? 'measured' : 'predicted, ' + datum.label"
    legend = alt.Legend(orient="top", columns=2, labelExpr=words)  # two fit on a phone
    hue = statuses(frame, alt.Color, STATUS_COLOURS, legend)
    marks = statuses(frame, alt.Shape, STATUS_SHAPES, legend)
    layers = [] if unperturbed is None else level(unperturbed, "without perturbation")
    if period is not None:
        source = alt.Chart(pd.DataFrame({"period": [period], "text": ["P0"]})).encode(x="period:Q")
        layers.append(source.mark_text(align="left", dx=4, dy=8, color=GREY).encode(y=alt.value(0), text="text"))
        layers.append(source.mark_rule(strokeDash=[2, 3], color=GREY))
    axis, x, tips = _means(frame, cap), periods(frame), ["status", "period", *numbers(_INTERVAL)]
    is_measured = frame["status"] == "measured"
    for part, size, width in ((frame[~is_measured], 130, 2), (frame[is_measured], 45, 1)):
        if len(part):
            base = alt.Chart(part).encode(x=x, color=hue)
            layers += intervals(base, axis, shape=marks, tips=tips, size=size, width=width, filled=size < 100)
    best = frame.sort_values("mean").iloc[0]
    text = (
        f"Mean first-passage time against period: {len(predicted)} predictions, "
        f"{0 if measured is None else len(measured)} measurements; the smallest is {best['mean']:.1f} epochs at period "
        f"{int(best['period'])} ({best['status']})."
    )
    return finish(layers, description or text)


def ranking(
    table: pd.DataFrame, *, unperturbed: float | None = None, cap: float | None = None, description: str = ""
) -> alt.LayerChart:
    """Draw predicted mean first-passage times of several perturbations against their period.

    Parameters
    ----------
    table
        Columns ``perturbation, period, mean, low, high, status`` of `fptlib.tables.ranking_table`. Colour and dashes tell the perturbation,
        shape the status; predictions that are not valid are hollow.
    unperturbed
        Mean without perturbation, drawn as a dashed line.
    cap
        Upper end of the axis in epochs; what lies beyond is drawn at the edge.
    """
    names = sorted(table["perturbation"].unique())
    axis, x = _means(table, cap), periods(table)
    marks = statuses(table, alt.Shape, STATUS_SHAPES, alt.Legend(orient="bottom"))
    hue, dashes = colour(names, "perturbation", lines=True), dash(names, "perturbation", lines=True)
    tips: list[Any] = ["perturbation", "period", "status", *numbers(_INTERVAL)]
    layers = [] if unperturbed is None else level(unperturbed, "without perturbation")
    is_valid = table["status"] == "valid"
    valid, others = table[is_valid], table[~is_valid]
    for part, filled in ((others, False), (valid, True)):
        if len(part):
            base = alt.Chart(part).encode(x=x, color=hue)
            layers += intervals(base, axis, shape=marks, tips=tips, size=70, filled=filled)
    if len(valid):
        line = alt.Chart(valid).encode(x=x, color=hue, strokeDash=dashes).mark_line(strokeWidth=1.5)
        layers.append(line.encode(y=alt.Y("mean:Q", **axis)))
    text = f"Predicted mean first-passage time of {', '.join(names)} against their period; {len(valid)} of {len(table)} are valid"
    if len(valid):
        best = valid.sort_values("mean").iloc[0]
        text += f", the smallest is {best['mean']:.1f} epochs for {best['perturbation']} every {int(best['period'])}"
    return finish(layers, description or f"{text}.")


def speedup(table: pd.DataFrame, *, metric: str = "threshold", description: str = "") -> alt.LayerChart:
    """Draw the speed-up over training without perturbation against the threshold, for the best valid period of each perturbation.

    Parameters
    ----------
    table
        Columns of `fptlib.tables.speedup_table`. Both means end at the horizon, so that a speed-up is a lower bound where unperturbed
        runs are censored.
    metric
        Title of the horizontal axis, with its unit.
    """
    names = sorted(table["perturbation"].unique())
    ends = min(0.9, float(table["speedup_low"].min()) * 0.9), max(1.1, float(table["speedup_high"].max()) * 1.1)
    axis: dict[str, Any] = {"title": "speed-up (ratio of means)", **log_axis(*ends)}
    columns = ("speedup", "speedup_low", "speedup_high")
    tips: list[Any] = ["perturbation", "threshold", "period", *numbers(columns)]
    x = alt.X("threshold:Q", title=metric, scale=alt.Scale(zero=False, padding=20))
    base = alt.Chart(table).encode(x=x, color=colour(names, "perturbation"))
    line = base.mark_line(strokeWidth=1.5).encode(y=alt.Y("speedup:Q", **axis), strokeDash=dash(names, "perturbation"))
    points = intervals(base, axis, names=columns, shape=shape(names, "perturbation"), tips=tips)
    last = table.loc[table["threshold"] == table["threshold"].max()]
    text = "; ".join(f"{row.perturbation} every {row.period}: {row.speedup:.1f}" for row in last.itertuples())
    text = f"Speed-up against threshold. At {table['threshold'].max():g}: {text}."
    return finish([rule(1.0), line, *points], description or text)


def _means(table: pd.DataFrame, cap: float | None) -> dict[str, Any]:
    """Return the axis of mean first-passage times."""
    top = float(table["high"].max()) if cap is None else cap
    return {"title": "mean first-passage time (epochs)", **log_axis(float(table["low"].min()) * 0.85, top * 1.1)}
