"""Predictions relative to the truth, against the period they were made for."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from fptlib.charts.common import GREY, INK, SHAPES, STATUS_COLOURS, finish, log_axis

_ASIDE = 0.03  # of the period, between sets


def errors(
    curves: Mapping[str, pd.DataFrame], *, tolerance: float = 0.1, cap: float = 1.0, description: str = ""
) -> alt.LayerChart:
    """Error of predictions against the period, with the band within which a prediction serves.

    Parameters
    ----------
    curves
        Name of a set of predictions to its table, columns ``period, off, off_low, off_high, status``, errors relative to the truth; see
        `fptlib.tables.error_table`. The colour says the status, the shape the set; sets are drawn side by side, a little off their period.
    tolerance
        Half the width of the band.
    cap
        Largest relative error on the axis; those beyond it are drawn at its edge.
    """
    aside = {name: 1 + _ASIDE * (i - (len(curves) - 1) / 2) for i, name in enumerate(curves)}
    frame = pd.concat(
        [table.assign(curve=name, at=table["period"] * aside[name]) for name, table in curves.items()],
        ignore_index=True,
    )
    columns = {name: (100 * frame[name]).clip(-100, 100 * cap) for name in ("off", "off_low", "off_high")}
    frame = frame.assign(**columns)
    present = [name for name in STATUS_COLOURS if name in set(frame["status"])]
    names = list(curves)
    scale = alt.Scale(domain=[min(-30.0, float(frame["off_low"].min())), max(30.0, float(frame["off_high"].max()))])
    title = "prediction less truth (% of truth)"
    x = alt.X(
        "at:Q",
        title="perturbation period P (epochs)",
        **log_axis(float(frame["at"].min()) * 0.9, float(frame["at"].max()) * 1.1),
    )
    colour = alt.Color(
        "status:N",
        title=None,
        scale=alt.Scale(domain=present, range=[STATUS_COLOURS[name] for name in present]),
        legend=alt.Legend(orient="top", title=None, symbolType="stroke", symbolStrokeWidth=4),
    )
    shape = alt.Shape(
        "curve:N",
        title=None,
        scale=alt.Scale(domain=names, range=list(SHAPES[: len(names)])),
        legend=alt.Legend(
            orient="bottom",
            title=None,
            columns=1,
            symbolStrokeColor=GREY,
            symbolFillColor="transparent",
            labelLimit=300,
        ),
    )
    band = pd.DataFrame({"low": [-100 * tolerance], "high": [100 * tolerance]})
    base = alt.Chart(frame).encode(x=x, color=colour)
    tips = ["curve", "period", "status", alt.Tooltip("off", format="+.0f", title="off (%)")]
    layers = [
        alt.Chart(band)
        .mark_rect(color=GREY, opacity=0.15)
        .encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"),
        alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=INK, strokeWidth=1).encode(y="at:Q"),
        base.mark_rule(strokeWidth=2).encode(y=alt.Y("off_low:Q", title=title, scale=scale), y2="off_high:Q"),
        base.mark_point(size=110, strokeWidth=2, opacity=1).encode(
            y=alt.Y("off:Q", title=title, scale=scale), shape=shape, tooltip=tips
        ),
    ]
    parts = []
    for name, table in curves.items():
        worst = table.loc[table["off"].abs().idxmax()]
        parts.append(
            f"{name}: at most {100 * worst['off']:+.0f} % at period {int(worst['period'])} ({worst['status']})"
        )
    return finish(layers, description or f"Error of predictions against period. {'; '.join(parts)}.")
