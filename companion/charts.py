"""Charts of the book's own tables: claims, rows of experiments, regrets and errors (Altair), drawn as `fptlib.charts` draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, INK, SHAPES, STATUS_COLOURS, STATUS_SHAPES, colour, finish, log_axis

VERDICT_COLOURS = {
    "reproduces": "#0072B2",
    "within the interval": "#E69F00",
    "does not reproduce": "#D55E00",
    "cannot be tested here": "#555555",
}
VERDICT_SHAPES = {
    "reproduces": "circle",
    "within the interval": "triangle-up",
    "does not reproduce": "square",
    "cannot be tested here": "cross",
}
_STEP = 11  # pixels from one line to the next


def agreement(
    table: pd.DataFrame,
    *,
    accepted: tuple[float, float] = (0.9, 1.1),
    span: tuple[float, float] = (0.6, 3.0),
    title: str = "predicted / measured mean first-passage time",
    description: str = "",
) -> alt.LayerChart:
    """Ratios with intervals, one line for each period, below the name of their case.

    Parameters
    ----------
    table
        Columns ``case, period, ratio, ratio_low, ratio_high, verdict, status`` of `companion.published.ratios`, in the order of the page.
    accepted
        Shaded range.
    span
        Ends of the axis; what lies beyond is drawn at the edge.
    title
        Of the axis.
    """
    frame = table.dropna(subset=["ratio", "ratio_low", "ratio_high"]).reset_index(drop=True)
    number = (frame["case"] != frame["case"].shift()).cumsum()
    frame["line"] = frame.index + 2.0 * number  # the name of a case has a line and a half of its own
    frame["label"] = "P = " + frame["period"].astype(str)
    names = frame.groupby(number).agg(case=("case", "first"), line=("line", "min")).assign(at=span[0])
    names["line"] -= 1
    present = [name for name in VERDICT_COLOURS if name in set(frame["verdict"])]
    legend = alt.Legend(orient="top", title=None, symbolOpacity=1, columns=2)
    hue = alt.Color(
        "verdict:N", scale=alt.Scale(domain=present, range=[VERDICT_COLOURS[v] for v in present]), legend=legend
    )
    shape = alt.Shape(
        "verdict:N", scale=alt.Scale(domain=present, range=[VERDICT_SHAPES[v] for v in present]), legend=legend
    )
    ends = alt.Scale(domain=[0, float(frame["line"].max()) + 1], reverse=True, nice=False)
    y = alt.Y("line:Q", scale=ends, axis=None)
    low, mean, edge = (alt.X(f"{n}:Q", title=title, **log_axis(*span)) for n in ("ratio_low", "ratio", "at"))
    numbers = [alt.Tooltip(name, format=".2f") for name in ("ratio", "ratio_low", "ratio_high")]
    tips = ["case", "period", "status", "verdict", *numbers]
    base = alt.Chart(frame).encode(y=y)
    shaded = alt.Chart(pd.DataFrame({"at": [accepted[0]], "to": [accepted[1]]}))
    text: dict[str, Any] = {"align": "left", "baseline": "middle", "dx": 4}
    layers = [
        shaded.mark_rect(color=GREY, opacity=0.15).encode(x=edge, x2="to:Q"),
        base.mark_rule(strokeWidth=2, opacity=0.7).encode(x=low, x2="ratio_high:Q", color=hue),
        base.mark_point(filled=True, size=45, opacity=1).encode(x=mean, shape=shape, color=hue, tooltip=tips),
        alt.Chart(frame.assign(at=span[0])).mark_text(**text, fontSize=9, color=GREY).encode(x=edge, y=y, text="label"),
        alt.Chart(names).mark_text(**text, fontWeight="bold", color=INK).encode(x=edge, y=y, text="case"),
    ]
    counts = frame["verdict"].value_counts()
    said = (
        f"Ratio of predicted to measured means for {len(frame)} predictions in {len(names)} cases: "
        f"{', '.join(f'{counts[v]} {v}' for v in present)}. Shaded is {accepted[0]:g} to {accepted[1]:g}."
    )
    height = int(frame["line"].max() + 1) * _STEP
    return finish(layers, description or said).properties(height=height)


_LIGHTEST, _DARKEST = "#F3F6FA", "#0B3C66"  # cells with no regret, and from `_SHOWN` on
_SHOWN = 0.3  # regret at which colours end
_DARK = 0.19  # regret from which light letters stand out from a cell more than dark ones
# Letters stand on cells, which are the same on a dark page: they must not be `INK`, which follows the page.
_ON_DARK, _ON_LIGHT = "#FFFFFF", "#0A0A0A"
_ROOMY = 10  # columns up to which letters have their full size


def agreement_by_row(
    cells: pd.DataFrame, *, unperturbed: Mapping[str, float] | None = None, description: str = ""
) -> alt.LayerChart:
    """Predicted against measured mean first-passage time, a colour for each row, a shape for each verdict, with both intervals.

    Parameters
    ----------
    cells
        Columns ``row, perturbation, period, status, predicted, predicted_low, predicted_high, measured, measured_low, measured_high``; see
        `companion.experiments.Measured`.
    unperturbed
        Mean without perturbation of each row, drawn as a diamond on the diagonal.
    """
    if cells.empty:
        nothing = alt.Chart(pd.DataFrame({"text": ["no row of this step was trained for this page"]}))
        said = "An empty figure: no row of this step was trained for this page."
        return finish([nothing.mark_text(color=GREY).encode(text="text:N")], description or said)
    names = list(dict.fromkeys(cells["row"]))
    ends = cells[[f"{kind}{end}" for kind in ("predicted", "measured") for end in ("", "_low", "_high")]]
    marks = list((unperturbed or {}).values())
    low = min([float(np.nanmin(ends.to_numpy())), *marks]) * 0.9
    high = max([float(np.nanmax(ends.to_numpy())), *marks]) * 1.1
    axis = log_axis(low, high)
    present = [name for name in STATUS_SHAPES if name in set(cells["status"])]
    shape = alt.Shape(
        "status:N",
        title=None,
        scale=alt.Scale(domain=present, range=[STATUS_SHAPES[name] for name in present]),
        legend=alt.Legend(
            orient="top", labelExpr="'predicted: ' + datum.label", symbolSize=100, labelLimit=300, columns=1
        ),
    )

    def x(name: str) -> alt.X:
        return alt.X(f"{name}:Q", title="measured mean first-passage time (epochs)", **axis)

    def y(name: str) -> alt.Y:
        return alt.Y(f"{name}:Q", title="predicted (epochs)", **axis)

    base = alt.Chart(cells).encode(color=colour(names, "row"))
    tips = ["row", "perturbation", "period", "status", alt.Tooltip("predicted", format=".1f")]
    tips.append(alt.Tooltip("measured", format=".1f"))
    diagonal = alt.Chart(pd.DataFrame({"a": [low, high]})).mark_line(strokeDash=[6, 4], color=GREY)
    layers = [
        diagonal.encode(x=x("a"), y=y("a")),
        base.mark_rule(opacity=0.6).encode(x=x("measured"), y=y("predicted_low"), y2="predicted_high:Q"),
        base.mark_rule(opacity=0.6).encode(x=x("measured_low"), x2="measured_high:Q", y=y("predicted")),
        base.mark_point(filled=True, size=70, opacity=1).encode(
            x=x("measured"), y=y("predicted"), shape=shape, tooltip=tips
        ),
    ]
    if unperturbed:
        frame = pd.DataFrame({"row": list(unperturbed), "mean": list(unperturbed.values())})
        plain = alt.Chart(frame).mark_point(shape="diamond", size=160, strokeWidth=2, opacity=1)
        tip = ["row", alt.Tooltip("mean", format=".1f", title="without perturbation")]
        layers.append(plain.encode(x=x("mean"), y=y("mean"), color=colour(names, "row"), tooltip=tip))
    off = (cells["predicted"] / cells["measured"] - 1).abs()
    said = (
        f"Predicted against measured mean first-passage time of {len(cells)} perturbed ensembles in {len(names)} rows "
        f"({', '.join(names)}): {int((off <= 0.1).sum())} predictions lie within 10 per cent of the measurement."
    )
    return finish(layers, description or said)


def matrix(table: pd.DataFrame, *, description: str = "") -> alt.LayerChart:
    """Regret of taking over the choice of one row (down the side) in another (along the top), in per cent.

    Parameters
    ----------
    table
        Columns ``source, target, choice, regret, low, high``; see `companion.experiments.transfer`.
    """
    sources, targets = (list(dict.fromkeys(table[name])) for name in ("source", "target"))
    sources = [name for name in sources if name in targets] + [name for name in sources if name not in targets]
    shown = table.assign(text=[f"{100 * value:.0f}" for value in table["regret"]])
    base = alt.Chart(shown).encode(
        x=alt.X(
            "target:N",
            title="used in: regret in per cent",
            sort=targets,
            axis=alt.Axis(orient="top", labelAngle=-90, labelLimit=120),
        ),
        y=alt.Y("source:N", title="chosen in", sort=sources, axis=alt.Axis(labelLimit=120)),
    )
    scale = alt.Scale(domain=[0, _SHOWN], range=[_LIGHTEST, _DARKEST], clamp=True, interpolate="rgb")
    tips = ["source", "target", "choice", *(alt.Tooltip(n, format=".1%") for n in ("regret", "low", "high"))]
    cell = base.mark_rect().encode(color=alt.Color("regret:Q", scale=scale, legend=None), tooltip=tips)
    letters = alt.condition(alt.datum.regret > _DARK, alt.value(_ON_DARK), alt.value(_ON_LIGHT))
    text = base.mark_text(fontSize=12 if len(targets) <= _ROOMY else 9).encode(text="text:N", color=letters)
    others = table[(table["source"] != table["target"]) & table["source"].isin(targets)]
    said = f"Matrix of regrets between {len(targets)} rows; between rows the mean is {100 * others['regret'].mean():.0f} per cent."
    chart = finish([cell, text], description or said)
    return chart.properties(height=26 * len(sources) + 20)


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
