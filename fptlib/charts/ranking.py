"""Several perturbations side by side: mean first-passage time against period, and speed-up against threshold."""

from __future__ import annotations

import altair as alt
import pandas as pd

from fptlib.charts.common import GREY, STATUS_SHAPES, colour, dash, finish, log_axis, rule, shape

_STATUS = ("valid", "unverified", "not valid")


def ranking(
    table: pd.DataFrame, *, unperturbed: float | None = None, cap: float | None = None, description: str = ""
) -> alt.LayerChart:
    """Predicted mean first-passage time of several perturbations against their period.

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
    top = float(table["high"].max()) if cap is None else cap
    x = alt.X(
        "period:Q",
        title="perturbation period P (epochs)",
        **log_axis(float(table["period"].min()) * 0.85, float(table["period"].max()) * 1.15),
    )
    ends = (float(table["low"].min()) * 0.85, top * 1.1)
    title = "mean first-passage time (epochs)"
    present = [status for status in _STATUS if status in set(table["status"])]
    marks = alt.Shape(
        "status:N",
        title=None,
        scale=alt.Scale(domain=present, range=[STATUS_SHAPES[s] for s in present]),
        legend=alt.Legend(orient="bottom"),
    )
    hue, dashes = colour(names, "perturbation", lines=True), dash(names, "perturbation", lines=True)
    tips = ["perturbation", "period", "status", *(alt.Tooltip(name, format=".2f") for name in ("mean", "low", "high"))]
    layers = []
    for strong in (False, True):
        part = table[(table["status"] == "valid") == strong]
        if part.empty:
            continue
        base = alt.Chart(part).encode(x=x, color=hue, strokeDash=dashes)
        low, mean = (alt.Y(f"{name}:Q", title=title, **log_axis(*ends)) for name in ("low", "mean"))
        points = alt.Chart(part).encode(x=x, color=hue)
        layers.append(points.mark_rule(strokeWidth=1).encode(y=low, y2="high:Q"))
        layers.append(
            points.mark_point(size=70, filled=strong, strokeWidth=1.5, opacity=1).encode(
                y=mean, shape=marks, tooltip=tips
            )
        )
        if strong:
            layers.append(base.mark_line(strokeWidth=1.5).encode(y=mean))
    if unperturbed is not None:
        layers.insert(0, rule(unperturbed))
        text = alt.Chart(pd.DataFrame({"at": [unperturbed], "text": ["without perturbation"]})).encode(y="at:Q")
        layers.insert(
            0, text.mark_text(align="right", dx=-6, dy=-7, color=GREY).encode(x=alt.value("width"), text="text")
        )
    valid = table[table["status"] == "valid"]
    said = f"Predicted mean first-passage time of {', '.join(names)} against their period; {len(valid)} of {len(table)} are valid"
    if len(valid):
        best = valid.sort_values("mean").iloc[0]
        said += f", the smallest is {best['mean']:.1f} epochs for {best['perturbation']} every {int(best['period'])}"
    return finish(layers, description or f"{said}.")


def speedup(table: pd.DataFrame, *, metric: str = "threshold", description: str = "") -> alt.LayerChart:
    """Speed-up over training without perturbation against the threshold, for the best valid period of each perturbation.

    Parameters
    ----------
    table
        Columns of `fptlib.tables.speedup_table`. Both means end at the horizon, so that a speed-up is a lower bound where unperturbed
        runs are censored.
    metric
        Title of the horizontal axis, with its unit.
    """
    names = sorted(table["perturbation"].unique())
    hue = colour(names, "perturbation")
    ends = (min(0.9, float(table["speedup_low"].min()) * 0.9), max(1.1, float(table["speedup_high"].max()) * 1.1))
    title = "speed-up (ratio of means)"
    base = alt.Chart(table).encode(
        x=alt.X("threshold:Q", title=metric, scale=alt.Scale(zero=False, padding=20)), color=hue
    )
    mean = alt.Y("speedup:Q", title=title, **log_axis(*ends))
    tips = [
        "perturbation",
        "threshold",
        "period",
        *(alt.Tooltip(n, format=".2f") for n in ("speedup", "speedup_low", "speedup_high")),
    ]
    layers = [
        rule(1.0),
        base.mark_line(strokeWidth=1.5).encode(y=mean, strokeDash=dash(names, "perturbation")),
        base.mark_rule(strokeWidth=1).encode(
            y=alt.Y("speedup_low:Q", title=title, **log_axis(*ends)), y2="speedup_high:Q"
        ),
        base.mark_point(filled=True, size=60, opacity=1).encode(
            y=mean, shape=shape(names, "perturbation"), tooltip=tips
        ),
    ]
    ends_at = table.loc[table["threshold"] == table["threshold"].max()]
    said = "; ".join(f"{row.perturbation} every {row.period}: {row.speedup:.1f}" for row in ends_at.itertuples())
    return finish(layers, description or f"Speed-up against threshold. At {table['threshold'].max():g}: {said}.")
