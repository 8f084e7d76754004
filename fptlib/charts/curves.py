"""Curves against epoch: survival, means, hazard, spread of a metric, single runs, distance to later epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fptlib.charts.common import (
    GREY,
    PALETTE,
    colour,
    dash,
    finish,
    intervals,
    level,
    log_axis,
    named,
    numbers,
    rule,
    settled,
    shape,
    thin,
)
from fptlib.firstpassage import first_passage
from fptlib.trajectories import Target, Trajectories


def survival(curves: Mapping[str, pd.DataFrame]) -> alt.LayerChart:
    """Draw survival functions with their intervals: share of runs that have not passed against epoch.

    ``curves`` holds tables by name, with columns ``epoch, survival`` and, where there is an interval, ``low, high``.
    """
    frame = named(curves)
    axis: dict[str, Any] = {"title": "share of runs not yet passed, S", "scale": alt.Scale(domain=[0, 1])}
    layers = _banded(frame, list(curves), "survival", axis, number=".3f", opacity=0.2, interpolate="step-after")
    last = "; ".join(f"{name} ends at {table['survival'].iloc[-1]:.2f}" for name, table in curves.items())
    return finish(layers, f"Survival against epoch: {last}.")


def lines(
    tables: Mapping[str, pd.DataFrame],
    *,
    y: str = "mean",
    title: str = "mean test accuracy (fraction)",
    at: int | None = None,
) -> alt.LayerChart:
    """Draw lines of one quantity against the epoch, each with its interval as a band.

    Parameters
    ----------
    tables
        Name of a line to its table: columns ``epoch``, the quantity and, where there is an interval, ``low, high``, as in
        `fptlib.tables.mean_table`.
    y, title
        Column of the quantity, and title of its axis with the unit.
    at
        Epoch that is marked, such as that of a perturbation.
    """
    frame = named(tables)
    low, high = ("low", "high") if {"low", "high"} <= set(frame.columns) else (y, y)
    lowest, highest = (frame[end].fillna(frame[y]).groupby(frame["epoch"]) for end in (low, high))
    scale = settled(lowest.min().to_numpy(np.float64), highest.max().to_numpy(np.float64), None)
    layers = _banded(frame, list(tables), y, {"title": title, "scale": scale}, number=".4f", opacity=0.15, clip=True)
    if at is not None:
        mark = alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY)
        layers.append(mark.encode(x="at:Q"))
    text = f"{title} against epoch: {', '.join(tables)}" + (f"; epoch {at} is marked." if at is not None else ".")
    return finish(layers, text)


def _banded(
    frame: pd.DataFrame, names: list[str], y: str, axis: Mapping[str, Any], *, number: str, opacity: float, **mark: Any
) -> list[alt.Chart]:
    """Return lines against the epoch, over their intervals where there are some."""
    x, hue = alt.X("epoch:Q", title="epoch"), colour(names, "curve", lines=True)
    tips: list[Any] = ["curve", "epoch", *numbers([name for name in (y, "low", "high") if name in frame], number)]
    line = alt.Chart(frame).mark_line(**mark).encode(x=x, y=alt.Y(f"{y}:Q", **axis), color=hue, tooltip=tips)
    layers = [line.encode(strokeDash=dash(names, "curve", lines=True))]
    if {"low", "high"} <= set(frame.columns):
        band = alt.Chart(frame.dropna(subset=["low", "high"])).mark_area(opacity=opacity, **mark)
        layers.insert(0, band.encode(x=x, y=alt.Y("low:Q", **axis), y2="high:Q", color=hue))
    return layers


def fan(
    table: pd.DataFrame, *, threshold: float | None = None, metric: str = "test accuracy (fraction)"
) -> alt.LayerChart:
    """Draw the spread of a metric over runs against epoch: median, middle half and middle nine tenths.

    ``table`` comes from `fptlib.tables.quantile_table`; a ``threshold`` is a dashed line; ``metric`` is the axis's
    title, with its unit.
    """
    table = thin(table)
    scale = settled(table["q05"].to_numpy(), table["q95"].to_numpy(), threshold)
    axis: dict[str, Any] = {"title": metric, "scale": scale}
    base = alt.Chart(table).encode(x=alt.X("epoch:Q", title="epoch"))
    layers = [
        base.mark_area(opacity=opacity, color=PALETTE[0], clip=True).encode(y=alt.Y(f"{low}:Q", **axis), y2=f"{high}:Q")
        for low, high, opacity in (("q05", "q95", 0.18), ("q25", "q75", 0.30))
    ]
    line = base.mark_line(color=PALETTE[0], clip=True)
    layers.append(line.encode(y=alt.Y("q50:Q", **axis), tooltip=["epoch", *numbers(["q50"], ".4g")]))
    if threshold is not None:
        layers.append(rule(threshold))
    text = (
        f"Median {metric} over runs goes from {table['q50'].iloc[0]:.3g} to {table['q50'].iloc[-1]:.3g} in "
        f"{table['epoch'].iloc[-1]} epochs; bands hold half and nine tenths of the runs."
    )
    return finish(layers, text)


def trajectories(
    runs: Trajectories, target: Target | float, *, title: str = "test accuracy (fraction)"
) -> alt.LayerChart:
    """Draw the first six runs one by one, with the threshold and a mark where each first reaches it."""
    shown, target = runs.head(runs=6), Target.of(target)
    values, times = shown.metric(target.metric), first_passage(shown, target)  # (runs, epochs)
    step = max(1, int(np.ceil(values.size / 1800)))
    thinned = np.isfinite(values) & (np.arange(shown.n_epochs) % step == 0)  # some runs end early
    (run, at), passed = np.nonzero(thinned), np.flatnonzero(times.observed)
    recorded = values[:, np.isfinite(values).any(axis=0)]
    scale = settled(np.nanmin(recorded, axis=0), np.nanmax(recorded, axis=0), target.threshold)
    hue = colour([str(label) for label in shown.run], "run")
    x, y = alt.X("epoch:Q", title="epoch"), alt.Y("metric:Q", title=title, scale=scale)

    def chart(run: NDArray[np.int64], at: NDArray[np.int64]) -> alt.Chart:
        rows = {"run": [str(label) for label in shown.run[run]], "epoch": at + 1, "metric": values[run, at]}
        return alt.Chart(pd.DataFrame(rows)).encode(x=x, y=y, color=hue)

    tips = ["run", "epoch", *numbers(["metric"], ".4g")]
    layers = [chart(run, at).mark_line(strokeWidth=1, clip=True).encode(tooltip=tips), rule(target.threshold)]
    if len(passed):
        points = chart(passed, times.time[passed] - 1).mark_point(size=80, filled=True, opacity=1)
        layers.append(points.encode(tooltip=["run", "epoch"]))
    text = f"{len(values)} runs; {len(passed)} of them reach {target.threshold:g} within {values.shape[1]} epochs."
    return finish(layers, text)


def distance(
    profiles: Mapping[str, pd.DataFrame], *, tolerance: float, relaxation: Mapping[str, int | None] | None = None
) -> alt.LayerChart:
    """Draw the Kolmogorov-Smirnov distance of the survivors' metric to later epochs against epoch, with the tolerance.

    ``profiles`` holds frames of `fptlib.qss.QuasiSteadyState` by name; ``tolerance`` is a dashed line, ``relaxation`` a
    dotted one at each relaxation epoch.
    """
    frame, names = named(profiles), list(profiles)
    first, last = float(frame["epoch"].min()), float(frame["epoch"].max())
    base = alt.Chart(frame).encode(
        x=alt.X("epoch:Q", title="epoch t", **log_axis(first * 0.95, last * 1.05)),
        y=alt.Y("distance:Q", title="KS distance to survivors up to 2t", scale=alt.Scale(domain=[0, 1])),
        color=colour(names, "curve"),
    )
    tips: list[Any] = ["curve", "epoch", "n_survivors", *numbers(["distance"]), *numbers(["p_value"], ".3f")]
    layers = [
        base.mark_line().encode(strokeDash=dash(names, "curve")),
        base.mark_point(filled=True, size=40, opacity=1).encode(shape=shape(names, "curve"), tooltip=tips),
        rule(tolerance),
    ]
    starts = pd.DataFrame([(n, e) for n, e in (relaxation or {}).items() if e is not None], columns=["curve", "epoch"])
    if len(starts):
        layers.append(alt.Chart(starts).mark_rule(strokeDash=[2, 3]).encode(x="epoch:Q", color=colour(names, "curve")))
    last_rows = {name: table.iloc[-1] for name, table in profiles.items()}
    text = "; ".join(f"{name}: {row['distance']:.2f} at epoch {row['epoch']:g}" for name, row in last_rows.items())
    return finish(layers, f"Distance of the survivors' distribution while the epoch doubles. {text}.")


def hazard(curves: Mapping[str, pd.DataFrame], *, tau: float | None = None) -> alt.LayerChart:
    """Draw the hazard in bins of epochs with exact intervals (without a passage only these), on a logarithmic axis.

    ``curves`` holds frames of `fptlib.firstpassage.Hazard` by name; ``tau`` is a mean residual time, of which one over it is drawn as a
    dashed line: where the hazard lies below, perturbing soon is better than waiting.
    """
    frame = named(curves)
    frame = frame.assign(middle=(frame["first"] + frame["last"]) / 2)
    # a logarithmic axis has no zero: an interval that starts there starts below everything else that is drawn
    drawn = frame[["hazard", "high"]].to_numpy()
    floor = float(drawn[drawn > 0].min()) / 3
    frame = frame.assign(low=frame["low"].clip(lower=floor), hazard=frame["hazard"].where(frame["hazard"] > 0))
    names = list(curves)
    base = alt.Chart(frame).encode(x=alt.X("middle:Q", title="epoch"), color=colour(names, "curve"))
    top = max(float(frame["high"].max()), 1 / tau if tau else 0)
    axis: dict[str, Any] = {"title": "hazard (per epoch)", **log_axis(floor, top * 1.2)}
    tips: list[Any] = ["curve", "first", "last", "n_passed", *numbers(("hazard", "low", "high"), ".4f")]
    layers = intervals(base, axis, names=("hazard", "low", "high"), shape=shape(names, "curve"), tips=tips, size=55)
    if tau:
        layers += level(1 / tau, f"1/τ = {1 / tau:.2g}")
    ends = {name: (table["hazard"].iloc[0], table["hazard"].iloc[-1]) for name, table in curves.items()}
    text = "; ".join(f"{name} from {first:.2g} to {last:.2g}" for name, (first, last) in ends.items())
    return finish(layers, f"Hazard per epoch: {text}{f'; 1/τ is {1 / tau:.2g}' if tau else ''}.")
