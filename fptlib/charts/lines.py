"""Something against the epoch, with its interval where there is one."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, colour, dash, finish, named, settled


def lines(
    tables: Mapping[str, pd.DataFrame],
    *,
    y: str = "mean",
    title: str = "mean test accuracy (fraction)",
    at: int | None = None,
    description: str = "",
) -> alt.LayerChart:
    """Lines of one quantity against the epoch, each with its interval as a band.

    Parameters
    ----------
    tables
        Name of a line to its table: columns ``epoch``, the quantity and, where there is an interval, ``low, high``, as in
        `fptlib.tables.mean_table`.
    y
        Column of the quantity.
    title
        Title of its axis, with its unit.
    at
        Epoch that is marked, such as that of a perturbation.
    description
        What the chart shows, for readers who cannot see it; a general sentence by default.
    """
    frame = named(tables)
    banded = {"low", "high"} <= set(frame.columns)
    ends = [frame.groupby("epoch")[name] for name in (("low", "high") if banded else (y, y))]
    scale = settled(ends[0].min().to_numpy(dtype=np.float64), ends[1].max().to_numpy(dtype=np.float64), None)
    names = list(tables)
    base = alt.Chart(frame).encode(x=alt.X("epoch:Q", title="epoch"), color=colour(names, "curve", lines=True))
    axis = alt.Y(f"{y}:Q", title=title, scale=scale)
    shown = [name for name in (y, "low", "high") if name in frame]
    layers = [
        base.mark_line(clip=True).encode(
            y=axis,
            strokeDash=dash(names, "curve", lines=True),
            tooltip=["curve", "epoch", *(alt.Tooltip(name, format=".4f") for name in shown)],
        )
    ]
    if banded:
        band = base.mark_area(opacity=0.15, clip=True)
        layers.insert(0, band.encode(y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q"))
    if at is not None:
        mark = alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY)
        layers.append(mark.encode(x="at:Q"))
    spoken = f"{title} against epoch: {', '.join(names)}" + (f"; epoch {at} is marked." if at is not None else ".")
    return finish(layers, description or spoken)
