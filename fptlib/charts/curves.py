"""Curves against epoch: survival, hazard, spread of a metric, single runs, distance to later epochs."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import PALETTE, colour, dash, finish, log_axis, named, rule, settled, shape, thin
from fptlib.firstpassage import Direction, first_passage
from fptlib.trajectories import Trajectories


def survival(curves: Mapping[str, pd.DataFrame], *, description: str = "", log: bool = False) -> alt.LayerChart:
    """Survival functions with their intervals: share of runs that have not passed against epoch.

    Parameters
    ----------
    curves
        Name of a curve to its table, columns ``epoch, survival`` and, where there is an interval, ``low, high``.
    description
        What the chart shows, for readers who cannot see it; a general sentence by default.
    log
        Logarithmic survival axis, on which an exponential is a straight line; zeros are left out.
    """
    frame = named(curves)
    if log:
        frame = frame[frame["survival"] > 0]
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(domain=[0, 1])
    title = "share of runs not yet passed, S"
    base = alt.Chart(frame).encode(x=alt.X("epoch:Q", title="epoch"), color=colour(list(curves), "curve", lines=True))
    line = base.mark_line(interpolate="step-after").encode(
        y=alt.Y("survival:Q", title=title, scale=scale),
        strokeDash=dash(list(curves), "curve", lines=True),
        tooltip=["curve", "epoch", *(alt.Tooltip(n, format=".3f") for n in ("survival", "low", "high") if n in frame)],
    )
    layers = [line]
    if {"low", "high"} <= set(frame.columns):
        smallest = float(frame["survival"].min())
        band = frame.assign(low=frame["low"].clip(lower=smallest / 2)) if log else frame
        band = band.dropna(subset=["low", "high"])
        layers.insert(
            0,
            alt.Chart(band)
            .mark_area(opacity=0.2, interpolate="step-after")
            .encode(
                x="epoch:Q",
                y=alt.Y("low:Q", title=title, scale=scale),
                y2="high:Q",
                color=colour(list(curves), "curve", lines=True),
            ),
        )
    last = "; ".join(f"{name} ends at {table['survival'].iloc[-1]:.2f}" for name, table in curves.items())
    return finish(layers, description or f"Survival against epoch: {last}.")


def fan(
    table: pd.DataFrame,
    *,
    threshold: float | None = None,
    metric: str = "test accuracy (fraction)",
    description: str = "",
) -> alt.LayerChart:
    """Spread of a metric over runs against epoch: median, middle half and middle nine tenths.

    Parameters
    ----------
    table
        Columns of `fptlib.tables.quantile_table`.
    threshold
        Drawn as a dashed line if given, in the unit of the metric.
    metric
        Title of the axis, with its unit.
    """
    table = thin(table)
    scale = settled(table["q05"].to_numpy(), table["q95"].to_numpy(), threshold)
    base = alt.Chart(table).encode(x=alt.X("epoch:Q", title="epoch"))
    y = alt.Y("q50:Q", title=metric, scale=scale)
    layers = [
        base.mark_area(opacity=0.18, color=PALETTE[0], clip=True).encode(
            y=alt.Y("q05:Q", title=metric, scale=scale), y2="q95:Q"
        ),
        base.mark_area(opacity=0.30, color=PALETTE[0], clip=True).encode(
            y=alt.Y("q25:Q", title=metric, scale=scale), y2="q75:Q"
        ),
        base.mark_line(color=PALETTE[0], clip=True).encode(y=y, tooltip=["epoch", alt.Tooltip("q50", format=".4g")]),
    ]
    if threshold is not None:
        layers.append(rule(threshold))
    said = f"Median {metric} over runs goes from {table['q50'].iloc[0]:.3g} to {table['q50'].iloc[-1]:.3g}"
    return finish(
        layers,
        description or f"{said} in {table['epoch'].iloc[-1]} epochs; bands hold half and nine tenths of the runs.",
    )


def trajectories(
    runs: Trajectories,
    *,
    threshold: float,
    n_shown: int = 6,
    direction: Direction = "above",
    metric: str | None = None,
    title: str = "test accuracy (fraction)",
    description: str = "",
) -> alt.LayerChart:
    """The first few runs one by one, with the threshold and a mark where each first reaches it."""
    shown = runs.head(runs=n_shown)
    values = shown.metric(metric)
    times = first_passage(shown, threshold=threshold, direction=direction, metric=metric)
    step = max(1, int(np.ceil(values.size / 1800)))
    rows = [
        (str(label), epoch + 1, float(value))
        for label, series in zip(shown.run, values, strict=True)
        for epoch, value in enumerate(series)
        if epoch % step == 0 and np.isfinite(value)  # some runs end early
    ]
    reached = [
        (str(label), int(time), float(series[time - 1]))
        for label, series, time, passed in zip(shown.run, values, times.time, times.observed, strict=True)
        if passed
    ]
    recorded = values[:, np.isfinite(values).any(axis=0)]
    scale = settled(np.nanmin(recorded, axis=0), np.nanmax(recorded, axis=0), threshold)
    lines = (
        alt.Chart(pd.DataFrame(rows, columns=["run", "epoch", "metric"]))
        .mark_line(strokeWidth=1, clip=True)
        .encode(
            x=alt.X("epoch:Q", title="epoch"),
            y=alt.Y("metric:Q", title=title, scale=scale),
            color=colour([str(label) for label in shown.run], "run"),
            tooltip=["run", "epoch", alt.Tooltip("metric", format=".4g")],
        )
    )
    points = (
        alt.Chart(pd.DataFrame(reached, columns=["run", "epoch", "metric"]))
        .mark_point(size=80, filled=True, opacity=1)
        .encode(
            x="epoch:Q",
            y="metric:Q",
            color=colour([str(label) for label in shown.run], "run"),
            tooltip=["run", "epoch"],
        )
    )
    said = f"{len(values)} runs; {len(reached)} of them reach {threshold:g} within {values.shape[1]} epochs."
    return finish([lines, rule(threshold), *([points] if reached else [])], description or said)


def distance(
    profiles: Mapping[str, pd.DataFrame],
    *,
    tolerance: float,
    relaxation: Mapping[str, int | None] | None = None,
    description: str = "",
) -> alt.LayerChart:
    """Kolmogorov-Smirnov distance of the survivors' metric to later epochs against epoch, with the tolerance.

    Parameters
    ----------
    profiles
        Name of an ensemble to its table, columns of `fptlib.tables.state_table`.
    tolerance
        Drawn as a dashed line.
    relaxation
        Relaxation epoch of each ensemble; a dotted vertical line where there is one.
    """
    frame = named(profiles)
    names = list(profiles)
    first, last = float(frame["epoch"].min()), float(frame["epoch"].max())
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="epoch t", **log_axis(first * 0.95, last * 1.05)),
        y=alt.Y("distance:Q", title="KS distance to survivors up to 2t", scale=alt.Scale(domain=[0, 1])),
        color=colour(names, "curve"),
    )
    tips = [
        "curve",
        "epoch",
        "n_survivors",
        alt.Tooltip("distance", format=".2f"),
        alt.Tooltip("p_value", format=".3f"),
    ]
    layers = [
        base.mark_line().encode(strokeDash=dash(names, "curve")),
        base.mark_point(filled=True, size=40, opacity=1).encode(shape=shape(names, "curve"), tooltip=tips),
        rule(tolerance),
    ]
    starts = pd.DataFrame([(n, e) for n, e in (relaxation or {}).items() if e is not None], columns=["curve", "epoch"])
    if len(starts):
        layers.append(alt.Chart(starts).mark_rule(strokeDash=[2, 3]).encode(x="epoch:Q", color=colour(names, "curve")))
    said = "; ".join(
        f"{name}: {table['distance'].iloc[-1]:.2f} at epoch {table['epoch'].iloc[-1]}"
        for name, table in profiles.items()
    )
    return finish(layers, description or f"Distance of the survivors' distribution while the epoch doubles. {said}.")


def hazard(curves: Mapping[str, pd.DataFrame], *, description: str = "") -> alt.LayerChart:
    """Hazard in bins of epochs with exact intervals, on a logarithmic axis.

    Bins without a passage show their interval only.

    Parameters
    ----------
    curves
        Name of a curve to its table, columns of `fptlib.tables.hazard_table`.
    """
    frame = named(curves)
    frame = frame.assign(middle=(frame["first"] + frame["last"]) / 2)
    # a logarithmic axis has no zero: an interval that starts there starts below everything else that is drawn
    floor = (
        min(float(values[values > 0].min()) for values in (frame["hazard"], frame["high"]) if (values > 0).any()) / 3
    )
    frame = frame.assign(low=frame["low"].clip(lower=floor))
    names = list(curves)
    title, x = "hazard (per epoch)", alt.X("middle:Q", title="epoch")
    ends = floor, float(frame["high"].max()) * 1.2
    bars = (
        alt.Chart(frame)
        .mark_rule()
        .encode(x=x, y=alt.Y("low:Q", title=title, **log_axis(*ends)), y2="high:Q", color=colour(names, "curve"))
    )
    tips = ["curve", "first", "last", "n_passed", *(alt.Tooltip(n, format=".4f") for n in ("hazard", "low", "high"))]
    points = (
        alt.Chart(frame[frame["hazard"] > 0])
        .mark_point(filled=True, size=55, opacity=1)
        .encode(
            x=x,
            y=alt.Y("hazard:Q", title=title, **log_axis(*ends)),
            color=colour(names, "curve"),
            shape=shape(names, "curve"),
            tooltip=tips,
        )
    )
    said = "; ".join(
        f"{name} from {table['hazard'].iloc[0]:.2g} to {table['hazard'].iloc[-1]:.2g}" for name, table in curves.items()
    )
    return finish(
        [bars, *([points] if (frame["hazard"] > 0).any() else [])], description or f"Hazard per epoch: {said}."
    )
