"""Charts of the book's own tables: predictions beside measurements, regrets and errors (Altair), drawn as `fptlib.charts` draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from fptlib.charts.common import (
    GRADE_COLOURS,
    GRADE_SHAPES,
    GREY,
    INK,
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
from fptlib.response.interval import GRADES, OPEN

_LIGHTEST, _DARKEST = "#F3F6FA", "#0B3C66"  # cells with no regret, and with the largest
_DARK = 0.63  # of the scale, from which light letters stand out from a cell more than dark ones
# Letters stand on cells, which are the same on a dark page: they must not be `INK`, which follows the page.
_ON_DARK, _ON_LIGHT = "#FFFFFF", "#0A0A0A"
# What a figure shows of a verdict: a sign, and the colour of its cell.
_VERDICTS = {
    **dict.fromkeys(("reproduces", "holds"), ("+", "#00609A")),
    "undecided": ("?", "#DDE3EA"),
    **dict.fromkeys(("does not reproduce", "does not hold"), ("\u2212", "#A63F00")),
}
_POWERS = ["10" + str(n).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")) for n in range(-20, 20)]  # on an axis
_ROOMY = 10  # columns up to which letters have their full size
_ERROR = ("error", "error_low", "error_high")
_RATIO = 4.0  # largest ratio of prediction and measurement on the axis: beyond, marks are drawn at its edge
_CAP = 100.0  # largest error on the axis, in per cent: larger ones are drawn at its edge


def predictions(cells: pd.DataFrame) -> alt.LayerChart:
    """Draw predictions over measured means, grouped by grade: points and bars predict, grey bars are the measurement's own interval.

    ``cells`` are as from `companion.experiments.cells_of`. Each grade is in the order of the measured mean; its box is what it allows.
    """
    names = [grade for grade in (*GRADES, OPEN) if grade in set(cells["grade"])]
    frame = cells.sort_values("measured")
    groups = frame.groupby("grade")["grade"]
    frame["at"] = frame["grade"].map(names.index) + (groups.cumcount() + 0.5) / groups.transform("size") * 0.9 + 0.05
    ends = ["predicted", "low", "high", "measured_low", "measured_high"]
    frame[[f"{name}_ratio" for name in ends]] = frame[ends].div(frame["measured"], axis=0)
    titles = [[name.removeprefix("to ").removeprefix("a "), f"({(cells['grade'] == name).sum()})"] for name in names]
    axis: dict[str, Any] = {"values": [i + 0.5 for i in range(len(names))], "grid": False, "ticks": False}
    axis["labelExpr"] = f"{titles}[floor(datum.value)]".replace("'", '"')
    x = alt.X("at:Q", title="grade (number of predictions)", scale=alt.Scale(domain=[0, len(names)]))
    x = x.axis(alt.Axis(**axis))
    log: dict[str, Any] = {"scale": alt.Scale(type="log", domain=[1 / _RATIO, _RATIO], clamp=True)}
    log["axis"] = alt.Axis(values=[0.25, 0.5, 0.8, 1, 1.25, 2, 4], format="~g")

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title="predicted / measured mean", **log)

    boxes = [{"at": i, "to": i + 1, "low": 1 / GRADES[g], "high": GRADES[g]} for i, g in enumerate(names) if g != OPEN]
    box = alt.Chart(pd.DataFrame(boxes, columns=["at", "to", "low", "high"])).mark_rect(color=GREY, opacity=0.14)
    base = alt.Chart(frame).encode(x=x, color=grades(frame, alt.Color, GRADE_COLOURS, None))
    faint = alt.condition(alt.datum.grade == OPEN, alt.value(0.35), alt.value(0.8))
    tips = ["row", "perturbation", "period", "grade", "covered", *numbers(("predicted", "measured"), ".1f")]
    layers = [
        box.encode(x=x, x2="to:Q", y=y("low"), y2="high:Q"),
        base.mark_rule(strokeWidth=4, opacity=0.35).encode(
            y=y("measured_low_ratio"), y2="measured_high_ratio:Q", color=alt.value(GREY)
        ),
        base.mark_rule().encode(y=y("low_ratio"), y2="high_ratio:Q", opacity=faint),
        alt.Chart(pd.DataFrame({"one": [1]})).mark_rule(strokeDash=[6, 4], color=GREY).encode(y=y("one")),
        base.mark_point(filled=True, size=35, opacity=1).encode(
            y=y("predicted_ratio"), shape=grades(frame, alt.Shape, GRADE_SHAPES, None), tooltip=tips
        ),
    ]
    description = (
        f"Predicted over measured mean first-passage time of {len(cells)} perturbed ensembles in {cells['row'].nunique()} settings: "
        f"{int((cells['error'].abs() <= 0.2).sum())} predictions lie within 20 per cent of the measurement, "
        f"{int(cells['covered'].sum())} intervals hold it."
    )
    return finish(layers, description)


def against_theory(tables: Mapping[str, pd.DataFrame], *, x: str, y: str, log: bool = False) -> alt.LayerChart:
    """Draw lines of theory and simulated points with their intervals; ``x`` and ``y`` are the titles of the axes.

    ``tables`` holds, by name, columns ``x, theory, mean, low, high``; both axes are logarithmic on request.
    """
    names, scale = list(tables), alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    frame = pd.concat([table.assign(curve=name) for name, table in tables.items()])
    label = f"datum.label && replace(split(datum.label, 'e')[0] + '·' + {_POWERS}[floor(log(datum.value) / LN10 + 20.001)], '1·', '')"
    number: Any = {"format": ".0e", "tickCount": 5, "labelExpr": label} if log else {}
    axis: dict[str, Any] = {"title": y, "scale": scale, "axis": alt.Axis(**number)}
    base = alt.Chart(frame).encode(x=alt.X("x:Q", **(axis | {"title": x})), color=colour(names, "curve"))
    line = base.transform_filter("isValid(datum.theory)").mark_line(strokeWidth=1.5)
    tips = ["curve", *numbers(("x", "theory", "mean", "low", "high"), ".4g")]
    line = line.encode(y=alt.Y("theory:Q", **axis), strokeDash=dash(names, "curve"))
    points = intervals(base, axis, shape=shape(names, "curve"), tips=tips)
    ends = (f"{name} ends at {table['mean'].iloc[-1]:.3g}" for name, table in tables.items())
    return finish([line, *points], f"Simulation and theory, {y} against {x}: {'; '.join(ends)}.")


def matrix(table: pd.DataFrame) -> alt.LayerChart:
    """Draw the regret of taking over the choice of one setting (down the side) in another (along the top), in per cent.

    ``table`` is as from `companion.experiments.transfer`. Colours follow the square root of the regret.
    """
    sources, targets = (list(dict.fromkeys(table[name])) for name in ("source", "target"))
    sources = [name for name in sources if name in targets] + [name for name in sources if name not in targets]
    shown = table.assign(text=[f"{100 * value:.0f}" for value in table["regret"]])
    base = _cells(shown, ("source", sources, "chosen in"), ("target", targets, "used in: regret in per cent"), 120)
    most = max(0.3, float(table["regret"].max()))
    scale = alt.Scale(type="sqrt", domain=[0, most], range=[_LIGHTEST, _DARKEST], interpolate="rgb")
    tips = ["source", "target", "choice", *numbers(("regret", "low", "high"), ".1%")]
    cell = base.mark_rect().encode(color=alt.Color("regret:Q", scale=scale, legend=None), tooltip=tips)
    letters = alt.condition(alt.datum.regret > _DARK**2 * most, alt.value(_ON_DARK), alt.value(_ON_LIGHT))
    text = base.mark_text(fontSize=12 if len(targets) <= _ROOMY else 9).encode(text="text:N", color=letters)
    others = table[(table["source"] != table["target"]) & table["source"].isin(targets)]
    description = f"Regrets between {len(targets)} settings: {100 * others['regret'].mean():.0f} per cent on average."
    return finish([cell, text], description).properties(height=26 * len(sources) + 20)


def verdicts(claims: pd.DataFrame) -> alt.LayerChart:
    """Draw the verdicts on claims (along the top) in each case (down the side): plus, question mark, minus; empty: no test.

    ``claims`` has columns ``short, label, verdict, measure, score, ours``, as from `companion.published.judge`.
    """
    names, cases = list(dict.fromkeys(claims["short"])), sorted(set(claims["label"]))
    shown = claims[claims["verdict"].isin(list(_VERDICTS))]
    signs = shown["verdict"].map(lambda name: _VERDICTS[name][0])
    values = [f"{score.mean:.2f} ({score.low:.2f} to {score.high:.2f})" for score in shown["score"]]
    tips = ["short", "label", "verdict", "measure", "value", "ours"]
    frame = shown.assign(sign=signs, value=values)[[*tips, "sign"]]
    base = _cells(frame, ("label", cases, None), ("short", names, None), 170)
    scale = alt.Scale(domain=list(_VERDICTS), range=[colour for _, colour in _VERDICTS.values()])
    cell = base.mark_rect().encode(color=alt.Color("verdict:N", scale=scale, legend=None), tooltip=tips)
    ink = alt.condition(alt.datum.verdict == "undecided", alt.value(_ON_LIGHT), alt.value(_ON_DARK))
    counts = ", ".join(f"{n} {name}" for name, n in frame["verdict"].value_counts().items())
    description = f"Verdicts on {len(names)} claims in {len(cases)} cases: {counts}."
    text = base.mark_text(fontSize=12).encode(text="sign:N", color=ink)
    return finish([cell, text], description).properties(height=20 * len(cases) + 20)


def _cells(
    frame: pd.DataFrame, side: tuple[str, list[str], str | None], top: tuple[str, list[str], str | None], limit: int
) -> alt.Chart:
    """Return the base of a matrix: field, order and title of its side and of its top, and the room for names at the side."""
    (y, ys, y_title), (x, xs, x_title) = side, top
    above = alt.Axis(orient="top", labelAngle=-90, labelLimit=190)
    base: alt.Chart = alt.Chart(frame).encode(
        x=alt.X(f"{x}:N", title=x_title, sort=xs, scale=alt.Scale(domain=xs), axis=above),
        y=alt.Y(f"{y}:N", title=y_title, sort=ys, scale=alt.Scale(domain=ys), axis=alt.Axis(labelLimit=limit)),
    )
    return base


def compared(curves: Mapping[str, pd.DataFrame]) -> alt.LayerChart:
    """Draw the error of predictions against the period, with its interval and the band of 20 per cent.

    ``curves`` holds frames of `fptlib.response.Comparison` by name. A point is hollow where the interval misses the truth.
    """
    frame, x = _beside(curves)
    frame[list(_ERROR)] = (100 * frame[list(_ERROR)]).clip(-100, _CAP)
    ends = min(-30.0, float(frame["error_low"].min())), max(30.0, float(frame["error_high"].max()))
    axis: dict[str, Any] = {"title": "prediction less truth (% of truth)", "scale": alt.Scale(domain=ends)}
    band = alt.Chart(pd.DataFrame({"low": [-20.0], "high": [20.0]})).mark_rect(color=GREY, opacity=0.15)
    zero = alt.Chart(pd.DataFrame({"at": [0]})).mark_rule(color=INK, strokeWidth=1)
    layers = [band.encode(y=alt.Y("low:Q", **axis), y2="high:Q"), zero.encode(y="at:Q")]
    tips = ["curve", "period", "grade", "covered", alt.Tooltip("error", format="+.0f", title="error (%)")]
    for covered, part in frame.groupby("covered"):
        base = alt.Chart(part).encode(x=x, color=colour(list(curves), "curve"))
        look: dict[str, Any] = {"shape": shape(list(curves), "curve"), "size": 90, "width": 2, "filled": bool(covered)}
        layers += intervals(base, axis, names=_ERROR, tips=tips, **look)
    worst = {name: table.loc[table["error"].abs().idxmax()] for name, table in curves.items()}
    parts = (f"{name}: at most {100 * row['error']:+.0f} % at period {row['period']}" for name, row in worst.items())
    return finish(layers, f"Error of predictions against period. {'; '.join(parts)}.")


def against_period(curves: Mapping[str, pd.DataFrame], title: str, *, plain: Sequence[float] = ()) -> alt.LayerChart:
    """Draw means against the period of a perturbation, with their intervals and levels without perturbation.

    ``curves`` holds tables by name, columns ``period, mean, low, high``.
    """
    frame, x = _beside(curves)
    axis: dict[str, Any] = {"title": title, **log_axis(frame["low"].min() * 0.9, max(*frame["high"], *plain) * 1.1)}
    base = alt.Chart(frame).encode(x=x, color=colour(list(curves), "curve"))
    line = base.mark_line(strokeWidth=1.5).encode(y=alt.Y("mean:Q", **axis), strokeDash=dash(list(curves), "curve"))
    tips = ["curve", "period", *numbers(("mean", "low", "high"), ".1f")]
    layers = [line, *intervals(base, axis, shape=shape(list(curves), "curve"), tips=tips)]
    layers += [layer for at in plain[:1] for layer in level(at, "without perturbation")] + [
        rule(at) for at in plain[1:]
    ]
    spans = (f"{name} from {table['mean'].min():.1f} to {table['mean'].max():.1f}" for name, table in curves.items())
    return finish(layers, f"{title} against the period: {'; '.join(spans)}.")


def _beside(curves: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, alt.X]:
    """Return one table of several, each a little off its periods, and the axis of periods."""
    aside = {name: 1 + 0.03 * (i - (len(curves) - 1) / 2) for i, name in enumerate(curves)}
    sets = [table.assign(curve=name, at=table["period"] * aside[name]) for name, table in curves.items()]
    frame = pd.concat(sets, ignore_index=True)
    return frame, periods(frame, "at")
