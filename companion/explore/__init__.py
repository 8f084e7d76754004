"""Figures that respond: sliders and buttons over numbers that are computed here and drawn by Vega-Lite in the page.

Each function returns one chart with its data inside; what it draws is written in the file of its name. Where no scripts run, a picture
shows it as it is at first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from companion import published
from fptlib.firstpassage import FirstPassageTimes
from fptlib.response import predict

__all__ = ["period"]

THRESHOLDS = (72.0, 73.0, 74.0)  # test accuracy of the published runs, per cent
KINDS = {"shrink_perturb": "shrink-and-perturb", "partial_reset": "partial reset"}
LONGEST = 100  # period, in epochs
_PANEL = 250  # pixels: width of a panel in the picture; the live chart takes the width of the page


def period(*, source: int = 50) -> alt.VConcatChart:
    """Slide the period of a perturbation: what is known without it, what was measured once, and the curve that both make.

    Suggested caption: "Slide the period P. Left, the share of unperturbed ResNet-18 runs still below the threshold: the blue area is
    the mean time before the first perturbation, the orange block what survivors need after it. Right, their sum at every P, predicted
    from unperturbed runs and one ensemble perturbed every 50 epochs; crosses are ensembles trained at other periods, bars the library's
    95 % intervals, and the dashed line the sum if a single epoch after the first perturbation were enough."

    Parameters
    ----------
    source
        Period of the ensemble from which all are predicted, in epochs: published were 20 and 50.
    """
    survivors = {t: survival(published.times(t))[: LONGEST + 81] for t in THRESHOLDS}
    cells, tau = [], {}
    for kind, name in KINDS.items():
        for t in THRESHOLDS:
            means = published.means(threshold=t, perturbations=[kind])
            ranking = predict(published.study(threshold=t, keys=[(kind, source)]), [p for _, p in means])
            tau[kind, t] = ranking.residual[1].mean
            for prediction in ranking.predictions:
                seen = means[kind, prediction.period].mean
                cells.append(
                    (
                        name,
                        f"{t:g}",
                        prediction.period,
                        prediction.mean,
                        prediction.low,
                        prediction.high,
                        prediction.grade,
                        seen,
                    )
                )
    columns = ["perturbation", "threshold", "period", "predicted", "low", "high", "grade", "measured"]
    frame = pd.DataFrame(cells, columns=columns)
    numbers = {
        "S": {f"{t:g}": rounded(curve) for t, curve in survivors.items()},
        "A": {f"{t:g}": rounded((np.cumsum(curve) - curve)[: LONGEST + 1], 3) for t, curve in survivors.items()},
        "tau": {name: {f"{t:g}": round(tau[kind, t], 3) for t in THRESHOLDS} for kind, name in KINDS.items()},
        "nearest": {name: nearest(part["period"]) for name, part in frame.groupby("perturbation")},
        "measured": {
            name: {
                t: dict(zip(part["period"].astype(str), rounded(part["measured"]), strict=True))
                for t, part in of.groupby("threshold")
            }
            for name, of in frame.groupby("perturbation")
        },
    }
    text = f"Mean first-passage time against the period, predicted from unperturbed runs and one ensemble perturbed every {source} epochs"
    return figure("period", text, numbers, cells=frame)


def survival(times: FirstPassageTimes) -> NDArray[np.float64]:
    """Return the share of runs still below the threshold after 0, 1, ... epochs; all of them were followed equally long."""
    return np.array([times.running(k).mean() for k in range(times.horizon + 1)])


def nearest(periods: Sequence[int] | pd.Series) -> list[int]:
    """Return the measured period closest to each P from 0 to `LONGEST`, as a ratio."""
    known = np.unique(periods)
    asked = np.maximum(np.arange(LONGEST + 1), 1)
    return [int(known[i]) for i in np.abs(np.log(known / asked[:, None])).argmin(axis=1)]


def rounded(values: Any, digits: int = 4) -> list[float]:
    """Return numbers with as many decimals as a page needs."""
    return [round(float(value), digits) for value in values]


def figure(name: str, text: str, numbers: Mapping[str, Any], **tables: pd.DataFrame) -> alt.VConcatChart:
    """Return the chart that a file describes, with numbers as parameters and tables as data sets."""
    spec = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text())
    entries = spec.pop("readout")
    params = [{"name": key, "value": value} for key, value in numbers.items()]
    params += [*spec.pop("params"), {"name": "spoken", "expr": spec.pop("spoken")}]
    records = {
        key: table.round(2).astype(object).where(table.notna(), None).to_dict("records")
        for key, table in tables.items()
    }
    panels = {"hconcat": spec.pop("hconcat")}
    for panel in panels["hconcat"]:
        panel["width"] = _PANEL
    whole = {
        "params": params,
        "datasets": records,
        "description": text,
        "spacing": 8,
        "vconcat": [readout(entries), panels],
    }
    return alt.VConcatChart.from_dict({"$schema": alt.SCHEMA_URL, **whole})


def readout(entries: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return a line of large numbers, each with its label below."""
    layers = []
    for i, entry in enumerate(entries):
        shift = -40 * (1 - i / max(len(entries) - 1, 1))  # pixels: the line begins above the titles of the axes
        x = {"field": "at", "type": "quantitative", "axis": None, "scale": {"domain": [0, len(entries)], "nice": False}}
        for key, y, look in (("text", 14, {"fontSize": 26, "fontWeight": "bold"}), ("label", 38, {"fontSize": 12})):
            mark = {"type": "text", "text": {"expr": entry[key]}, "color": entry["color"], "dx": shift, **look}
            layers.append(
                {"data": {"values": [{"at": i + 0.5}]}, "mark": mark, "encoding": {"x": x, "y": {"value": y}}}
            )
    return {"height": 44, "width": 2 * _PANEL, "view": {"stroke": None}, "layer": layers}
