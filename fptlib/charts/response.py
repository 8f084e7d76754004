"""Mean first-passage time against the period of a perturbation or of several, and speed-up against the threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from fptlib.charts.common import (
    CURVE_COLOURS,
    GRADE_COLOURS,
    GRADE_SHAPES,
    GREY,
    colour,
    dash,
    finish,
    grades,
    intervals,
    level,
    log_axis,
    numbers,
    periods,
    rule,
    shape,
)
from fptlib.firstpassage import Estimate
from fptlib.response import Ranking
from fptlib.response.results import spelt
from fptlib.study import Key
from fptlib.trajectories.origin import FULL_RESET

_INTERVAL = ("mean", "low", "high")
_ASIDE = 0.03  # of the period, between perturbations
_SPEEDUP = ("speedup", "speedup_low", "speedup_high")


def response(
    predicted: pd.DataFrame,
    measured: Mapping[Key, Estimate] | pd.DataFrame | None = None,
    *,
    period: int | None = None,
    unperturbed: float | None = None,
    cap: float | None = None,
    formula: ArrayLike | None = None,
    bound: ArrayLike | None = None,
) -> alt.LayerChart:
    """Draw predicted and measured mean first-passage times of one perturbation against its period, with intervals.

    Parameters
    ----------
    predicted
        Frame of a `fptlib.response.Ranking`, columns ``period, mean, low, high, grade, measured``. Colour and shape tell the grade; of an
        open prediction only the range is drawn.
    measured
        Means of ensembles by perturbation and period, see `fptlib.study.Study.means`, or columns ``period, mean, low, high``.
    period, unperturbed
        Period of the ensemble that the prediction is made from, a dotted line; mean without perturbation, a dashed one.
    cap
        Upper end of the axis in epochs; predictions beyond it are drawn at the edge.
    formula, bound
        Means, of which number ``P`` belongs to period ``P``, as lines: what the survivors' residual time at one period says of all others,
        ``before + S * tau``; and in grey what is known without a perturbed run, ``before + S``, where ``before[P]`` is the sum of ``S[k]``
        up to ``P - 1``.
    """
    frame = _with_measured(predicted, measured)
    lines = _lines(frame, formula, bound)
    legend = alt.Legend(orient="top", columns=2, symbolOpacity=1)  # two fit on a phone
    layers = [] if unperturbed is None else level(unperturbed, "without perturbation")
    if period is not None:
        source = alt.Chart(pd.DataFrame({"period": [period], "text": ["P0"]})).encode(x="period:Q")
        layers.append(source.mark_text(align="left", dx=4, dy=8, color=GREY).encode(y=alt.value(0), text="text"))
        layers.append(source.mark_rule(strokeDash=[2, 3], color=GREY))
    drawn = pd.concat([frame, lines]) if len(lines) else frame
    hue = grades(drawn, alt.Color, GRADE_COLOURS | CURVE_COLOURS, legend)
    marks = grades(drawn, alt.Shape, GRADE_SHAPES | dict.fromkeys(CURVE_COLOURS, "stroke"), legend)
    axis, x, tips = _means(drawn, cap), periods(frame), ["grade", "period", *numbers(_INTERVAL)]
    if len(lines):
        curves = alt.Chart(lines).mark_line(strokeWidth=2)
        layers.append(curves.encode(x=x, color=hue, y=alt.Y("mean:Q", **axis), tooltip=tips[:3]))
    is_measured = frame["grade"] == "measured"
    for part, filled in ((frame[~is_measured], False), (frame[is_measured], True)):
        if part.empty:
            continue
        base, size = alt.Chart(part).encode(x=x, color=hue), 45 if filled else 130
        layers += intervals(base, axis, shape=marks, tips=tips, size=size, width=1 if filled else 2, filled=filled)
    n_measured = int(is_measured.sum())
    text = f"Mean first-passage time against period: {len(frame) - n_measured} predictions, {n_measured} measurements"
    return finish(layers, f"{text}{_smallest(frame)}.")


def ranking(table: pd.DataFrame, *, unperturbed: float | None = None, cap: float | None = None) -> alt.LayerChart:
    """Draw mean first-passage times of several perturbations against their period.

    Parameters
    ----------
    table
        Frame of a `fptlib.response.Ranking`, columns ``perturbation, period, mean, low, high, grade, measured``. Colour and dashes tell
        the perturbation, the shape how well the mean is known; of an open prediction only the range is drawn.
    unperturbed
        Mean without perturbation, drawn as a dashed line; by default that of the row without a perturbation, if there is one.
    cap
        Upper end of the axis in epochs; what lies beyond is drawn at the edge.
    """
    nothing = table["perturbation"].isna()
    if unperturbed is None:
        unperturbed = next(iter(table.loc[nothing, "mean"].dropna()), None)
    frame = _with_measured(_spelt(table[~nothing]), None)
    names = _names(frame)
    aside = {name: 1 + _ASIDE * (i - (len(names) - 1) / 2) for i, name in enumerate(names)}
    frame = frame.assign(at=frame["period"] * frame["perturbation"].map(aside))
    axis, x, hue = _means(frame, cap), periods(frame, "at"), colour(names, "perturbation", lines=True)
    below: dict[str, Any] = {"orient": "bottom", "columns": 2, "symbolFillColor": GREY, "symbolStrokeColor": GREY}
    marks = grades(frame, alt.Shape, GRADE_SHAPES, alt.Legend(**below, symbolStrokeWidth=1.5))
    tips: list[Any] = ["perturbation", "period", "grade", *numbers(_INTERVAL)]
    layers = [] if unperturbed is None else level(unperturbed, "without perturbation")
    base = alt.Chart(frame).encode(x=x, color=hue)
    layers += intervals(base, axis, shape=marks, tips=tips, size=70)
    line = alt.Chart(frame.dropna(subset=["mean"])).mark_line(strokeWidth=1.5)
    dashes = dash(names, "perturbation", lines=True)
    layers.append(line.encode(x=x, color=hue, strokeDash=dashes, y=alt.Y("mean:Q", **axis)))
    text = f"Mean first-passage time of {', '.join(names)} against their period"
    return finish(layers, f"{text}{_smallest(frame)}.")


def speedup(answers: Mapping[float, Ranking | str], *, metric: str = "threshold") -> alt.LayerChart:
    """Draw the speed-up over training without perturbation against the threshold, for the best period of each perturbation.

    Rankings come by threshold, as from `fptlib.response.at_each`; ``metric`` is the title of the horizontal axis, with
    its unit. Both means end at the horizon, so that a speed-up is a lower bound where unperturbed runs are censored.
    Where the mean is open, only the range is drawn.
    """
    known = {x: answer for x, answer in answers.items() if not isinstance(answer, str)}
    table = _spelt(pd.concat([_best(answer).assign(threshold=x) for x, answer in known.items()]))
    names = _names(table)
    ends = min(0.9, float(table["speedup_low"].min()) * 0.9), max(1.1, float(table["speedup_high"].max()) * 1.1)
    axis: dict[str, Any] = {"title": "speed-up (ratio of means)", **log_axis(*ends)}
    tips: list[Any] = ["perturbation", "threshold", "period", "grade", *numbers(_SPEEDUP)]
    ticks = alt.Axis(values=sorted(known), format="~g")
    x = alt.X("threshold:Q", title=metric, scale=alt.Scale(zero=False, padding=20), axis=ticks)
    hue = colour(names, "perturbation")
    line = alt.Chart(table.dropna(subset=["speedup"])).mark_line(strokeWidth=1.5).encode(x=x, color=hue)
    line = line.encode(y=alt.Y("speedup:Q", **axis), strokeDash=dash(names, "perturbation"))
    base = alt.Chart(table).encode(x=x, color=hue)
    points = intervals(base, axis, names=_SPEEDUP, shape=shape(names, "perturbation"), tips=tips)
    last = table.loc[table["threshold"] == table["threshold"].max()]
    text = "; ".join(f"{r.perturbation} every {r.period:g}: at least {r.speedup_low:.2g}" for r in last.itertuples())
    text = f"Speed-up against threshold. At {table['threshold'].max():g}: {text}."
    return finish([rule(1.0), line, *points], text)


def _with_measured(predicted: pd.DataFrame, measured: Mapping[Key, Estimate] | pd.DataFrame | None) -> pd.DataFrame:
    """Return predictions, and measurements under the grade "measured", which stand in for what was measured at the same period."""
    frame = predicted.assign(grade=predicted["grade"].where(~predicted["measured"].astype(bool), "measured"))
    if measured is None:
        return frame
    if isinstance(measured, Mapping):
        rows = [(period, m.mean, m.low, m.high) for (_, period), m in measured.items()]
        return _with_measured(predicted, pd.DataFrame(rows, columns=["period", *_INTERVAL]))
    doubled = (frame["grade"] == "measured") & frame["period"].isin(measured["period"])
    parts = [frame[~doubled], measured.assign(grade="measured")]
    return pd.concat([part for part in parts if len(part)], ignore_index=True)[["period", *_INTERVAL, "grade"]]


def _lines(frame: pd.DataFrame, *curves: ArrayLike | None) -> pd.DataFrame:
    """Return the means of curves over all periods that the frame spans, in the place of a grade the name of the curve."""
    first, last = int(frame["period"].min()), int(frame["period"].max())
    parts = []
    for name, curve in zip(CURVE_COLOURS, curves, strict=True):
        if curve is not None:
            means = np.asarray(curve, dtype=float)[first : last + 1]
            part = pd.DataFrame({"period": first + np.arange(len(means)), "mean": means, "low": means, "high": means})
            parts.append(part.assign(grade=name))
    return pd.concat(parts, ignore_index=True) if parts else frame.head(0)


def _names(table: pd.DataFrame) -> list[str]:
    """Return the perturbations in order, a full reset last: it is not at every threshold, and the others keep their colours."""
    return sorted(table["perturbation"].unique(), key=lambda name: (name == spelt(FULL_RESET), name))


def _spelt(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(perturbation=table["perturbation"].map(spelt))


def _best(answer: Ranking) -> pd.DataFrame:
    """Return the smallest mean of each perturbation, of those with a grade where there are any."""
    frame = answer.to_frame().dropna(subset=["perturbation"])
    return frame.sort_values("mean", kind="stable", na_position="last").drop_duplicates("perturbation")


def _smallest(frame: pd.DataFrame) -> str:
    known = frame.dropna(subset=["mean"])
    if known.empty:
        return ", all of them open"
    best = known.sort_values("mean").iloc[0]
    name = "" if "perturbation" not in frame or frame["perturbation"].nunique() < 2 else f" of {best['perturbation']}"
    return f"; the smallest is {best['mean']:.1f} epochs at period {int(best['period'])}{name} ({best['grade']})"


def _means(table: pd.DataFrame, cap: float | None) -> dict[str, Any]:
    """Return the axis of mean first-passage times."""
    top = float(table["high"].max()) if cap is None else cap
    return {"title": "mean first-passage time (epochs)", **log_axis(float(table["low"].min()) * 0.85, top * 1.1)}
