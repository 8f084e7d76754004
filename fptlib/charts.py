"""Charts of estimates (Altair): tidy tables (`fptlib.tables`) in, one chart with a description in words out.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; shapes tell the status as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fptlib.firstpassage import Direction, first_passage
from fptlib.trajectories import Trajectories

Channel = TypeVar("Channel", alt.X, alt.Y)

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
STATUS_COLOURS = {"measured": "#000000", "valid": "#0072B2", "unverified": "#E69F00", "not valid": "#D55E00"}
STATUS_SHAPES = {"measured": "cross", "valid": "circle", "unverified": "triangle-up", "not valid": "square"}
GREY = "#555555"
HEIGHT = 280
MAX_POINTS = 500  # points on one curve: more cannot be told apart on a page


def survival(curves: Mapping[str, pd.DataFrame], *, description: str = "", log: bool = False) -> alt.LayerChart:
    """Survival functions with their intervals: share of runs still below the threshold against epoch.

    Parameters
    ----------
    curves
        Name of a curve to its table, columns ``epoch, survival`` and, where there is an interval, ``low, high``.
    description
        What the chart shows, for readers who cannot see it; a general sentence by default.
    log
        Logarithmic survival axis, on which an exponential is a straight line; zeros are left out.
    """
    frame = _named(curves)
    if log:
        frame = frame[frame["survival"] > 0]
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(domain=[0, 1])
    title = "share of runs below the threshold, S"
    base = alt.Chart(frame).encode(x=alt.X("epoch:Q", title="epoch"), color=_colour(list(curves), "curve"))
    line = base.mark_line(interpolate="step-after").encode(
        y=alt.Y("survival:Q", title=title, scale=scale),
        tooltip=["curve", "epoch", alt.Tooltip("survival", format=".3f")],
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
                color=_colour(list(curves), "curve"),
            ),
        )
    last = "; ".join(f"{name} ends at {table['survival'].iloc[-1]:.2f}" for name, table in curves.items())
    return _finish(layers, description or f"Survival against epoch: {last}.")


def fan(
    table: pd.DataFrame, *, threshold: float | None = None, metric: str = "test accuracy", description: str = ""
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
    table = _thin(table)
    scale = _settled(table["q05"].to_numpy(), table["q95"].to_numpy(), threshold)
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
        layers.append(_rule(threshold))
    said = f"Median {metric} over runs goes from {table['q50'].iloc[0]:.3g} to {table['q50'].iloc[-1]:.3g}"
    return _finish(
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
    title: str = "test accuracy",
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
        if epoch % step == 0 and np.isfinite(value)  # retired runs end early
    ]
    reached = [
        (str(label), int(time), float(series[time - 1]))
        for label, series, time, passed in zip(shown.run, values, times.time, times.observed, strict=True)
        if passed
    ]
    recorded = values[:, np.isfinite(values).any(axis=0)]
    scale = _settled(np.nanmin(recorded, axis=0), np.nanmax(recorded, axis=0), threshold)
    lines = (
        alt.Chart(pd.DataFrame(rows, columns=["run", "epoch", "metric"]))
        .mark_line(opacity=0.7, strokeWidth=1.2, clip=True)
        .encode(
            x=alt.X("epoch:Q", title="epoch"),
            y=alt.Y("metric:Q", title=title, scale=scale),
            color=_colour([str(label) for label in shown.run], "run"),
        )
    )
    points = (
        alt.Chart(pd.DataFrame(reached, columns=["run", "epoch", "metric"]))
        .mark_point(size=80, filled=True, opacity=1)
        .encode(
            x="epoch:Q",
            y="metric:Q",
            color=_colour([str(label) for label in shown.run], "run"),
            tooltip=["run", "epoch"],
        )
    )
    said = f"{len(values)} runs; {len(reached)} of them reach {threshold:g} within {values.shape[1]} epochs."
    return _finish([lines, _rule(threshold), *([points] if reached else [])], description or said)


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
    frame = _named(profiles)
    names = list(profiles)
    first, last = float(frame["epoch"].min()), float(frame["epoch"].max())
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="epoch t", **_log_axis(first * 0.95, last * 1.05)),
        y=alt.Y("distance:Q", title="distance to survivors up to 2t", scale=alt.Scale(domain=[0, 1])),
        color=_colour(names, "curve"),
    )
    tips = [
        "curve",
        "epoch",
        "n_survivors",
        alt.Tooltip("distance", format=".2f"),
        alt.Tooltip("p_value", format=".3f"),
    ]
    layers = [base.mark_line(), base.mark_point(filled=True, size=25).encode(tooltip=tips), _rule(tolerance)]
    starts = pd.DataFrame([(n, e) for n, e in (relaxation or {}).items() if e is not None], columns=["curve", "epoch"])
    if len(starts):
        layers.append(alt.Chart(starts).mark_rule(strokeDash=[2, 3]).encode(x="epoch:Q", color=_colour(names, "curve")))
    said = "; ".join(
        f"{name}: {table['distance'].iloc[-1]:.2f} at epoch {table['epoch'].iloc[-1]}"
        for name, table in profiles.items()
    )
    return _finish(layers, description or f"Distance of the survivors' distribution while the epoch doubles. {said}.")


def hazard(curves: Mapping[str, pd.DataFrame], *, description: str = "") -> alt.LayerChart:
    """Hazard in bins of epochs with exact intervals, on a logarithmic axis.

    Bins without a passage show their interval only.

    Parameters
    ----------
    curves
        Name of a curve to its table, columns of `fptlib.tables.hazard_table`.
    """
    frame = _named(curves)
    frame = frame.assign(middle=(frame["first"] + frame["last"]) / 2)
    # a logarithmic axis has no zero: an interval that starts there starts below everything else that is drawn
    floor = (
        min(float(values[values > 0].min()) for values in (frame["hazard"], frame["high"]) if (values > 0).any()) / 3
    )
    frame = frame.assign(low=frame["low"].clip(lower=floor))
    names = list(curves)
    title, x = "hazard per epoch", alt.X("middle:Q", title="epoch")
    ends = floor, float(frame["high"].max()) * 1.2
    bars = (
        alt.Chart(frame)
        .mark_rule(opacity=0.6)
        .encode(x=x, y=alt.Y("low:Q", title=title, **_log_axis(*ends)), y2="high:Q", color=_colour(names, "curve"))
    )
    tips = ["curve", "first", "last", "n_passed", alt.Tooltip("hazard", format=".4f")]
    points = (
        alt.Chart(frame[frame["hazard"] > 0])
        .mark_point(filled=True, size=45, opacity=1)
        .encode(x=x, y=alt.Y("hazard:Q", title=title, **_log_axis(*ends)), color=_colour(names, "curve"), tooltip=tips)
    )
    said = "; ".join(
        f"{name} from {table['hazard'].iloc[0]:.2g} to {table['hazard'].iloc[-1]:.2g}" for name, table in curves.items()
    )
    return _finish(
        [bars, *([points] if (frame["hazard"] > 0).any() else [])], description or f"Hazard per epoch: {said}."
    )


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
        **_log_axis(float(frame["period"].min()) * 0.85, float(frame["period"].max()) * 1.15),
    )
    title, lowest = "mean first-passage time (epochs)", float(frame["low"].min()) * 0.85
    legend = alt.Legend(orient="top", labelExpr="datum.label == 'measured' ? 'measured' : 'predicted, ' + datum.label")
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
        low, mean = (alt.Y(f"{name}:Q", title=title, **_log_axis(lowest, top * 1.1)) for name in ("low", "mean"))
        layers.append(base.mark_rule(opacity=0.7, strokeWidth=width).encode(y=low, y2="high:Q"))
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
        layers.insert(0, _rule(unperturbed))
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
    return _finish(layers, description or said)


def _named(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([_thin(table).assign(curve=name) for name, table in tables.items()])


def _thin(table: pd.DataFrame) -> pd.DataFrame:
    if len(table) <= MAX_POINTS:
        return table
    keep = np.unique(np.linspace(0, len(table) - 1, MAX_POINTS).round().astype(int))
    return table.iloc[keep]


def _colour(names: list[str], field: str) -> alt.Color:
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(names))]
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1) if len(names) > 1 and field == "curve" else None
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=names, range=colours), legend=legend)


def _log_axis(low: float, high: float) -> dict[str, Any]:
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


def _settled(low: NDArray[np.float64], high: NDArray[np.float64], threshold: float | None) -> alt.Scale:
    """Axis for what goes on after the first tenth of the epochs, which would squeeze everything else against an edge."""
    start = len(low) // 10
    late_low, late_high = float(low[start:].min()), float(high[start:].max())
    room = late_high - late_low
    marks = [] if threshold is None else [threshold]
    bottom = min(max(float(low.min()), late_low - room), *marks, late_low)
    top = max(min(float(high.max()), late_high + room), *marks, late_high)
    return alt.Scale(domain=[bottom, top], nice=True)


def _rule(at: float) -> alt.Chart:
    rule: alt.Chart = alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY)
    return rule.encode(y="at:Q")


def _finish(layers: list[alt.Chart], description: str) -> alt.LayerChart:
    return alt.LayerChart(layer=layers).properties(width="container", height=HEIGHT, description=description)
