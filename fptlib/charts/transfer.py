"""What transfers: predictions against measurements over several rows of experiments, and the regret of a choice taken over."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np
import pandas as pd

from fptlib.charts.common import GREY, STATUS_SHAPES, colour, finish, log_axis

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
