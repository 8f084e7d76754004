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


def restart() -> alt.VConcatChart:
    """Restart runs of which some are stuck: a falling hazard, a coefficient of variation above one, and a period that is best.

    Suggested caption: "Runs wait for a delay and then pass at a constant hazard, but a share of them is stuck and passes at 0.005 per
    epoch. Left, the share still running without restart and its hazard; right, the mean if all that still run start anew every P epochs.
    A coefficient of variation (CV) above 1 is enough for restarts to help. Without stuck runs and delay there is no memory, the CV is 1
    and the line is flat."
    """
    return figure(
        "restart", "Mean first-passage time against the period of a full restart, with the hazard without restart"
    )


def hazard() -> alt.VConcatChart:
    """Compare the hazard of unperturbed runs with 1/tau: where it falls below, waiting for another epoch no longer pays.

    Suggested caption: "Above, the hazard of unperturbed ResNet-18 runs, with 95 % intervals, in bins of one epoch and later of five; the
    line is 1/τ. Below, the mean at every period if a perturbed run needs τ epochs more, whenever it is perturbed. The mean falls with P
    while the hazard is above 1/τ, and rises where it is below: the best period is the end of such a stretch, or the shortest."
    """
    taus, longest, fine = np.arange(61), 60, 25
    numbers: dict[str, dict[str, Any]] = {"S": {}, "A": {}, "shortest": {}, "inner": {}}
    bins = []
    for t in THRESHOLDS:
        times, name = published.times(t), f"{t:g}"
        alive = survival(times)[: longest + 1]
        before, h = np.cumsum(alive) - alive, 1 - alive[1:] / alive[:-1]  # h[k]: hazard of epoch k + 1
        means = before[1:] + alive[1:] * taus[:, None]  # (tau, period)
        peak = int(h.argmax())
        inner = np.where(h[peak] * taus > 1, means[:, peak:].argmin(axis=1) + peak + 1, 0)
        best = means.argmin(axis=1) + 1
        values = (rounded(alive), rounded(before, 3), best.tolist(), inner.tolist())
        for key, value in zip(numbers, values, strict=True):
            numbers[key][name] = value
        one, five = (firstpassage.hazard(times, width=width).to_frame() for width in (1, 5))
        both = pd.concat([one[one["last"] <= fine], five[(five["first"] > fine) & (five["last"] <= longest)]])
        bins.append(
            both.assign(threshold=name, begin=both["first"] - 1)[
                ["threshold", "begin", "last", "hazard", "low", "high"]
            ]
        )
    return figure(
        "hazard",
        "Hazard of unperturbed runs, and mean against period for a residual time",
        numbers,
        bins=pd.concat(bins),
    )


def survivors(
    runs: Mapping[str, tuple[pd.DataFrame, FirstPassageTimes]], *, tolerance: float = TOLERANCE
) -> alt.VConcatChart:
    """Compare the runs still below the threshold at an epoch with those at a later one: distributions, and their distance.

    Suggested caption: "Left, the distribution of the test accuracy among the runs still below the threshold at epoch t and later; the
    bar is the Kolmogorov-Smirnov distance, the largest difference of the two curves. Right, this distance at every epoch, with the
    tolerance below which survivors count as settled. Without a pair of epochs at which enough runs are left, the pair before is shown."

    Parameters
    ----------
    runs
        By name: the metric, a row for each run and a column for each epoch that is known, and the first-passage times of these runs.
    tolerance
        Distance up to which a distribution counts as settled.
    """
    curves: dict[str, dict[str, list[float]]] = {}
    pairs: dict[str, dict[str, list[dict[str, float]]]] = {}
    rows, ends = [], {}
    for name, (values, times) in runs.items():
        left = {
            t: np.sort(values[t].to_numpy()[times.running(t)])
            for t in values
            if times.running(t).sum() >= MIN_SURVIVORS
        }
        shown = [t for t in left if t <= 2 * EPOCHS[-1] and t % 5 == 0]
        curves[name] = {str(t): rounded(np.quantile(left[t], (np.arange(40) + 0.5) / 40)) for t in shown}
        pairs[name] = {}
        for lag, later in (("2t", lambda t: 2 * t), ("t + 5", lambda t: t + 5)):
            known = [gap(left, t, later(t)) for t in EPOCHS if t in shown and later(t) in shown]
            if not known:
                raise InputError(f"{name}: at no epoch t and {lag} are {MIN_SURVIVORS} runs left")
            pairs[name][lag] = [max(known, key=lambda one: (one["epoch"] <= t, one["epoch"])) for t in (0, *EPOCHS)]
            rows += [(name, lag, one["epoch"], one["later"], one["n"], one["distance"]) for one in known]
        ends[name] = [min(map(min, curves[name].values())), max(map(max, curves[name].values()))]
    frame = pd.DataFrame(rows, columns=["data", "lag", "epoch", "later", "runs left", "distance"])
    numbers = {"curves": curves, "pairs": pairs, "ends": ends, "tolerance": tolerance}
    text = "Distribution of the metric among the runs left at two epochs, and its Kolmogorov-Smirnov distance at every epoch"
    return figure("survivors", text, numbers, options={"data": list(runs)}, distances=frame)


def gap(left: Mapping[int, NDArray[np.float64]], epoch: int, later: int) -> dict[str, float]:
    """Return the Kolmogorov-Smirnov distance of two sorted samples, where it is, and the two shares there."""
    x = np.concatenate([left[epoch], left[later]])
    shares = [np.searchsorted(left[t], x, side="right") / len(left[t]) for t in (epoch, later)]
    at = int(np.abs(shares[0] - shares[1]).argmax())
    low, high = sorted(float(share[at]) for share in shares)
    found = {"distance": high - low, "x": float(x[at]), "low": low, "high": high}
    return {
        "epoch": epoch,
        "later": later,
        "n": len(left[epoch]),
        "m": len(left[later]),
        **{k: round(v, 4) for k, v in found.items()},
    }


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


def figure(
    name: str,
    text: str,
    numbers: Mapping[str, Any] | None = None,
    *,
    options: Mapping[str, Sequence[str]] | None = None,
    **tables: pd.DataFrame,
) -> alt.VConcatChart:
    """Return the chart that a file describes, with numbers as parameters, options of its buttons, and tables as data sets."""
    spec = yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text())
    params = [{"name": key, "value": value} for key, value in (numbers or {}).items()]
    for param in spec["params"]:
        if param["name"] in (options or {}):
            chosen = list((options or {})[param["name"]])
            param.update(value=chosen[0], bind=param["bind"] | {"options": chosen})
    params += [*spec["params"], {"name": "spoken", "expr": spec["spoken"]}]
    records = {
        key: table.round(4).astype(object).where(table.notna(), None).to_dict("records")
        for key, table in tables.items()
    }
    panels = {key: spec[key] for key in ("hconcat", "vconcat") if key in spec}
    whole = {
        "params": params,
        "datasets": records,
        "description": text,
        "spacing": 8,
        "vconcat": [readout(spec["readout"]), sized(panels)],
    }
    return alt.VConcatChart.from_dict({"$schema": alt.SCHEMA_URL, **whole})


def sized(part: dict[str, Any], width: int = 2 * _PANEL) -> dict[str, Any]:
    """Return panels with the width that they have in the picture."""
    for key, share in (("hconcat", 2), ("vconcat", 1)):
        if key in part:
            return part | {key: [sized(panel, width // share) for panel in part[key]]}
    return part | {"width": width}


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
