"""Figures that respond: sliders and buttons over numbers that are computed here and drawn by Vega-Lite in the page.

Each function returns one chart with its data inside; what it draws is written in the file of its name, and a picture shows it as it is at
first where no scripts run.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import yaml
from scipy import stats

from companion import published
from fptlib import firstpassage
from fptlib.charts.common import readout
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.qss import MIN_SURVIVORS, TOLERANCE
from fptlib.response import predict
from fptlib.response.interval import GRADES, OPEN

__all__ = ["drop", "hazard", "period", "restart", "runs", "samplers", "survivors"]

THRESHOLDS = (72.0, 73.0, 74.0)  # test accuracy of the published runs, per cent
KINDS = {"shrink_perturb": "shrink-and-perturb", "partial_reset": "partial reset"}
LONGEST = 100  # period, in epochs
EPOCHS = range(5, 51, 5)  # at which survivors are looked at


def period(*, source: int = 50) -> alt.VConcatChart:
    """Slide the period of a perturbation: what is known without it, what was measured once, and the curve that both make.

    All is predicted from the unperturbed runs and the ensemble perturbed every ``source`` epochs; published were 20 and 50.
    """
    rows, numbers = [], _curves(LONGEST + 81)
    numbers |= {key: {name: {} for name in KINDS.values()} for key in ("tau", "measured", "nearest")}
    for (kind, name), t in itertools.product(KINDS.items(), THRESHOLDS):
        means = {p: round(e.mean, 2) for (_, p), e in published.means(threshold=t, perturbations=[kind]).items()}
        ranking = predict(published.study(threshold=t, keys=[(kind, source)]), list(means))
        assert ranking.residual is not None  # an ensemble was perturbed
        numbers["tau"][name][f"{t:g}"] = round(ranking.residual[1].mean, 3)
        numbers["measured"][name][f"{t:g}"] = {str(p): mean for p, mean in means.items()}
        table = ranking.to_frame()[["period", "mean", "low", "high", "grade"]]
        rows.append(table.assign(perturbation=name, threshold=f"{t:g}", measured=table["period"].map(means)))
        apart = np.abs(np.log(np.array([*means]) / np.maximum(np.arange(LONGEST + 1), 1)[:, None]))
        numbers["nearest"][name] = np.array([*means])[apart.argmin(axis=1)].tolist()
    return figure("period", numbers, cells=pd.concat(rows).rename(columns={"mean": "predicted"}))


def restart() -> alt.VConcatChart:
    """Restart runs of which some are stuck: a falling hazard, a coefficient of variation above one, and a period that is best."""
    return figure("restart", {})


def samplers() -> alt.VConcatChart:
    """Slide the learning rate of three samplers of a posterior: their distributions, and how far these are from it."""
    return figure("samplers", {})


def hazard() -> alt.VConcatChart:
    """Compare the hazard of unperturbed runs with 1/tau: where it falls below, waiting for another epoch no longer pays."""
    taus, last, fine = np.arange(61), 60, 25
    numbers, bins = _curves(last + 1) | {"shortest": {}, "inner": {}}, []
    for t in THRESHOLDS:
        times, name = published.times(t), f"{t:g}"
        alive, before = (np.array(numbers[key][name]) for key in ("S", "A"))
        means = before[1:] + alive[1:] * taus[:, None]  # (tau, period)
        h = 1 - alive[1:] / alive[:-1]  # of epochs 1, 2, ...
        peak = int(h.argmax())
        inner = np.where(h[peak] * taus > 1, means[:, peak:].argmin(axis=1) + peak + 1, 0)
        numbers["shortest"][name], numbers["inner"][name] = (means.argmin(axis=1) + 1).tolist(), inner.tolist()
        one, five = (firstpassage.hazard(times, width=width).to_frame() for width in (1, 5))
        both = pd.concat([one[one["last"] <= fine], five[(five["first"] > fine) & (five["last"] <= last)]])
        bins.append(both.assign(threshold=name, begin=both["first"] - 1).drop(columns=["first", "n_passed"]))
    return figure("hazard", numbers, bins=pd.concat(bins))


def survivors(
    runs: Mapping[str, tuple[pd.DataFrame, FirstPassageTimes]], *, tolerance: float = TOLERANCE
) -> alt.VConcatChart:
    """Compare the runs still below the threshold at an epoch with those at a later one: distributions, and their distance.

    ``runs`` holds by name the metric, a row for each run and a column for each epoch that is known, and the first-passage times. An
    InputError is raised where enough runs are left at no pair of epochs.
    """
    numbers: dict[str, Any] = {key: {} for key in ("curves", "pairs", "ends")}
    numbers |= {"names of data": list(runs), "tolerance": tolerance}
    rows = []
    for name, (values, times) in runs.items():
        kept = [t for t in values if t % 5 == 0 and t <= 2 * EPOCHS[-1] and times.running(t).sum() >= MIN_SURVIVORS]
        left = {t: values[t].to_numpy()[times.running(t)] for t in kept}
        curves = {str(t): np.quantile(left[t], (np.arange(40) + 0.5) / 40).round(4).tolist() for t in kept}
        numbers["curves"][name], numbers["pairs"][name] = curves, {}
        for lag, factor, more in (("2t", 2, 0), ("t + 5", 1, 5)):
            pairs = [_gap(left, t, factor * t + more) for t in EPOCHS if {t, factor * t + more} <= set(kept)]
            if not pairs:
                raise InputError(f"{name}: at no epoch t and {lag} are {MIN_SURVIVORS} runs left")
            shown = [max(pairs, key=lambda p: (p["epoch"] <= t, -abs(p["epoch"] - t))) for t in (0, *EPOCHS)]
            numbers["pairs"][name][lag] = shown
            rows += [{"data": name, "lag": lag, **pair} for pair in pairs]
        numbers["ends"][name] = [min(map(min, curves.values())), max(map(max, curves.values()))]
    return figure("survivors", numbers, distances=pd.DataFrame(rows))


def runs(cells: pd.DataFrame) -> alt.VConcatChart:
    """Choose how many runs: a table with columns ``n, m, period, low, high, factor, agrees, measured`` and the share of each grade."""
    cells = cells.reindex(columns=cells.columns.union([*GRADES, OPEN], sort=False), fill_value=0.0)
    known = {f"{row.n} {row.m} {row.period}": [row.factor, row.agrees] for row in cells.round(3).itertuples()}
    table = cells.drop(columns=["factor", "agrees"]).round(2).rename(columns=lambda name: name.replace("1.5", "1½"))
    return figure("runs", {"known": known}, cells=table)


def drop(curves: pd.DataFrame, times: pd.DataFrame, *, part: str | None = None) -> alt.VConcatChart:
    """Slide the epoch at which the learning rate drops: mean learning curves, and the mean time to a threshold.

    Tables as ``benchmarks/two_regimes.py`` writes them: ``curves`` with columns ``setting, way`` and the epochs, ``times`` with
    ``setting, part, threshold, drop, time_mean, time_low, time_high``; all settings of ``curves`` are shown.
    The threshold ``part`` is chosen at first, by default the first one.
    """
    epochs = [name for name in curves if name.isdigit()]
    values = {key: row.round(3).tolist() for key, row in curves.set_index(["setting", "way"])[epochs].iterrows()}
    names, drops = list(dict.fromkeys(curves["setting"])), np.unique(times["drop"])
    times = times[times["setting"].isin(names)].rename(columns={"setting": "data"})
    times = times.rename(columns=lambda name: name.removeprefix("time_")).rename(columns={"mean": "time"})
    parts = list(dict.fromkeys(times["part"]))
    numbers: dict[str, Any] = {"names of data": names, "names of part": parts, "horizon": len(epochs)}
    numbers["part at first"] = part or parts[0]
    numbers["nearest"] = drops[np.abs(np.arange(len(epochs))[:, None] - drops).argmin(axis=1)].tolist()
    numbers["curves"] = {name: {str(p): values[name, f"drop {p}"][p:] for p in drops} for name in names}
    numbers["alone"] = {name: {kind: values[name, f"{kind} rate"] for kind in ("large", "small")} for name in names}
    for key in ("thresholds", "cells"):
        numbers[key] = {name: {} for name in names}
    for (name, part), cell in times.groupby(["data", "part"], sort=False):
        numbers["thresholds"][name][part] = float(cell["threshold"].iloc[0])
        after = zip(cell["drop"], cell["time"].round(2), (cell["time"] - cell["before"]).round(2), strict=True)
        numbers["cells"][name][part] = {str(p): {"time": time, "after": rest} for p, time, rest in after}
    tops = {name: max(max(values[key]) for key in values if key[0] == name) for name in names}
    lows = {name: min(numbers["alone"][name]["large"][len(epochs) // 8 :]) for name in names}
    numbers["ends"] = {name: [2 * lows[name] - tops[name], tops[name] + 0.005] for name in names}
    return figure("drop", numbers, times=times[["data", "part", "drop", "time", "low", "high"]])


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


def figure(name: str, numbers: Mapping[str, Any], **tables: pd.DataFrame) -> alt.VConcatChart:
    """Return the chart that a file describes, with numbers as parameters and tables as data sets."""
    spec = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text())
    for param in spec["params"]:
        if chosen := numbers.get(f"names of {param['name']}"):
            param.update(
                value=numbers.get(f"{param['name']} at first", chosen[0]), bind=param["bind"] | {"options": chosen}
            )
    params = [{"name": key.replace(" ", "_"), "value": value} for key, value in numbers.items()] + spec["params"]
    params.append({"name": "spoken", "expr": spec["spoken"]})
    rows = {key: table.round(4).astype(object).where(table.notna(), None) for key, table in tables.items()}
    panels = [readout(spec["readout"]), {key: spec[key] for key in ("hconcat", "vconcat") if key in spec}]
    head = {"$schema": alt.SCHEMA_URL, "description": spec["description"], "spacing": 8, "params": params}
    sets = {key: table.to_dict("records") for key, table in rows.items()}
    return alt.VConcatChart.from_dict(head | {"vconcat": panels, "datasets": sets})
