"""Figures that respond: sliders and buttons over numbers that are computed here and drawn by Vega-Lite in the page.

Each function returns one chart with its data inside; what it draws is written in the file of its name, and a picture shows it as it is at
first where no scripts run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import yaml
from scipy import stats

from companion import published
from fptlib import firstpassage
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.qss import MIN_SURVIVORS, TOLERANCE
from fptlib.response import predict

__all__ = ["hazard", "period", "restart", "survivors"]

THRESHOLDS = (72.0, 73.0, 74.0)  # test accuracy of the published runs, per cent
KINDS = {"shrink_perturb": "shrink-and-perturb", "partial_reset": "partial reset"}
LONGEST = 100  # period, in epochs
EPOCHS = range(5, 51, 5)  # at which survivors are looked at
PANEL = 250  # pixels: width of a panel in the picture; the live chart takes the width of the page


def period(*, source: int = 50) -> alt.VConcatChart:
    """Slide the period of a perturbation: what is known without it, what was measured once, and the curve that both make.

    All is predicted from the unperturbed runs and the ensemble perturbed every ``source`` epochs; published were 20 and 50.
    """
    rows, numbers = [], _curves(LONGEST + 81)
    numbers |= {"tau": {name: {} for name in KINDS.values()}, "nearest": {}}
    for kind, name in KINDS.items():
        for t in THRESHOLDS:
            means = published.means(threshold=t, perturbations=[kind])
            ranking = predict(published.study(threshold=t, keys=[(kind, source)]), [p for _, p in means])
            numbers["tau"][name][f"{t:g}"] = round(ranking.residual[1].mean, 3)
            for p in ranking.predictions:
                seen = round(means[kind, p.period].mean, 2)
                rows.append((name, f"{t:g}", p.period, p.mean, p.low, p.high, p.grade, seen))
        known = np.array([p for _, p in means])
        apart = np.abs(np.log(known / np.maximum(np.arange(LONGEST + 1), 1)[:, None]))
        numbers["nearest"][name] = known[apart.argmin(axis=1)].tolist()
    columns = ["perturbation", "threshold", "period", "predicted", "low", "high", "grade", "measured"]
    frame = pd.DataFrame(rows, columns=columns)
    numbers["measured"] = {name: {f"{t:g}": {} for t in THRESHOLDS} for name in KINDS.values()}
    for name, t, at, *_, seen in rows:
        numbers["measured"][name][t][str(at)] = seen
    return figure(
        "period", f"Mean against period, predicted from one ensemble at {source} epochs", numbers, cells=frame
    )


def restart() -> alt.VConcatChart:
    """Restart runs of which some are stuck: a falling hazard, a coefficient of variation above one, and a period that is best."""
    return figure("restart", "Mean against the period of a full restart, with the hazard without restart", {})


def hazard() -> alt.VConcatChart:
    """Compare the hazard of unperturbed runs with 1/tau: where it falls below, waiting for another epoch no longer pays."""
    taus, last, fine = np.arange(61), 60, 25
    numbers, bins = _curves(last + 1) | {"shortest": {}, "inner": {}}, []
    for t in THRESHOLDS:
        times, name = published.times(t), f"{t:g}"
        alive, before = (np.array(numbers[key][name]) for key in ("S", "A"))
        means, h = (
            before[1:] + alive[1:] * taus[:, None],
            1 - alive[1:] / alive[:-1],
        )  # (tau, period), of epochs 1, 2, ...
        peak = int(h.argmax())
        inner = np.where(h[peak] * taus > 1, means[:, peak:].argmin(axis=1) + peak + 1, 0)
        numbers["shortest"][name], numbers["inner"][name] = (means.argmin(axis=1) + 1).tolist(), inner.tolist()
        one, five = (firstpassage.hazard(times, width=width).to_frame() for width in (1, 5))
        both = pd.concat([one[one["last"] <= fine], five[(five["first"] > fine) & (five["last"] <= last)]])
        bins.append(both.assign(threshold=name, begin=both["first"] - 1).drop(columns=["first", "n_passed"]))
    return figure("hazard", "Hazard of unperturbed runs, and mean against period", numbers, bins=pd.concat(bins))


def survivors(
    runs: Mapping[str, tuple[pd.DataFrame, FirstPassageTimes]], *, tolerance: float = TOLERANCE
) -> alt.VConcatChart:
    """Compare the runs still below the threshold at an epoch with those at a later one: distributions, and their distance.

    ``runs`` holds by name the metric, a row for each run and a column for each epoch that is known, and the first-passage times. An
    InputError is raised where enough runs are left at no pair of epochs.
    """
    numbers: dict[str, Any] = {"curves": {}, "pairs": {}, "ends": {}, "tolerance": tolerance}
    rows = []
    for name, (values, times) in runs.items():
        kept = [t for t in values if t % 5 == 0 and t <= 2 * EPOCHS[-1] and times.running(t).sum() >= MIN_SURVIVORS]
        left = {t: values[t].to_numpy()[times.running(t)] for t in kept}
        curves = {str(t): np.quantile(left[t], (np.arange(40) + 0.5) / 40).round(4).tolist() for t in kept}
        numbers["curves"][name], numbers["pairs"][name] = curves, {}
        for lag, later in (("2t", lambda t: 2 * t), ("t + 5", lambda t: t + 5)):
            pairs = [_gap(left, t, later(t)) for t in EPOCHS if {t, later(t)} <= set(kept)]
            if not pairs:
                raise InputError(f"{name}: at no epoch t and {lag} are {MIN_SURVIVORS} runs left")
            numbers["pairs"][name][lag] = [
                max(pairs, key=lambda pair: (pair["epoch"] <= t, pair["epoch"])) for t in (0, *EPOCHS)
            ]
            rows += [
                {"data": name, "lag": lag, **{k: pair[k] for k in ("epoch", "later", "n", "distance")}}
                for pair in pairs
            ]
        numbers["ends"][name] = [min(map(min, curves.values())), max(map(max, curves.values()))]
    text = "Distribution of the metric among the runs left at two epochs, and its Kolmogorov-Smirnov distance at every epoch"
    return figure("survivors", text, numbers, {"data": list(runs)}, distances=pd.DataFrame(rows))


def _gap(left: Mapping[int, Any], epoch: int, later: int) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov distance of the runs left at two epochs, where it is, and both shares there."""
    test = stats.ks_2samp(left[epoch], left[later])
    low, high = sorted(float((left[t] <= test.statistic_location).mean()) for t in (epoch, later))
    place = {"x": test.statistic_location, "low": low, "high": high, "distance": high - low}
    sizes = {"epoch": epoch, "later": later, "n": len(left[epoch]), "m": len(left[later])}
    return sizes | {name: round(float(value), 4) for name, value in place.items()}


def _curves(epochs: int) -> dict[str, Any]:
    """Return, by threshold, the share of runs below it after 0, 1, ... epochs, and the mean time spent until then."""
    alive = {f"{t:g}": firstpassage.survival(published.times(t)).survival[:epochs] for t in THRESHOLDS}
    before = {name: np.cumsum(curve) - curve for name, curve in alive.items()}
    return {key: {n: c.round(4).tolist() for n, c in of.items()} for key, of in (("S", alive), ("A", before))}


def figure(
    name: str,
    text: str,
    numbers: Mapping[str, Any],
    options: Mapping[str, Sequence[str]] | None = None,
    **tables: pd.DataFrame,
) -> alt.VConcatChart:
    """Return the chart that a file describes, with numbers as parameters, options of its buttons, and tables as data sets."""
    spec = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text())
    for param in spec["params"]:
        if chosen := (options or {}).get(param["name"]):
            param.update(value=chosen[0], bind=param["bind"] | {"options": chosen})
    params = [{"name": key, "value": value} for key, value in numbers.items()] + spec["params"]
    params.append({"name": "spoken", "expr": spec["spoken"]})
    rows = {key: table.round(4).astype(object).where(table.notna(), None) for key, table in tables.items()}
    panels = _sized({key: spec[key] for key in ("hconcat", "vconcat") if key in spec}, 2 * PANEL)
    whole = {"params": params, "datasets": {key: table.to_dict("records") for key, table in rows.items()}, "spacing": 8}
    whole |= {"$schema": alt.SCHEMA_URL, "description": text, "vconcat": [_readout(spec["readout"]), panels]}
    return alt.VConcatChart.from_dict(whole)


def _sized(part: dict[str, Any], width: int) -> dict[str, Any]:
    """Return panels with the width that they have in the picture."""
    for key, share in (("hconcat", 2), ("vconcat", 1)):
        if key in part:
            return part | {key: [_sized(panel, width // share) for panel in part[key]]}
    return part | {"width": width}


def _readout(entries: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Return a line of large numbers, each with its label below."""
    layers, scale = [], {"domain": [0, len(entries)], "nice": False}
    for i, entry in enumerate(entries):
        shift = -40 * (1 - i / (len(entries) - 1))  # pixels: the line begins above the titles of the axes
        for key, y, look in (("text", 14, {"fontSize": 26, "fontWeight": "bold"}), ("label", 38, {"fontSize": 12})):
            mark = {"type": "text", "text": {"expr": entry[key]}, "color": entry["color"], "dx": shift, **look}
            x = {"field": "at", "type": "quantitative", "axis": None, "scale": scale}
            layers.append(
                {"data": {"values": [{"at": i + 0.5}]}, "mark": mark, "encoding": {"x": x, "y": {"value": y}}}
            )
    return {"height": 44, "width": 2 * PANEL, "view": {"stroke": None}, "layer": layers}
