"""Writes the summary that stands in where the published trajectories are not at hand."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pandas as pd

from companion.published import cifar10, lists, supplement
from companion.published.summary import SUMMARY
from fptlib.files import write_atomically
from fptlib.sources import PUBLISHED

_DIGITS = 6


def write_summary(folder: Path = SUMMARY) -> None:
    """Write every table of the summary, and what it was made from, as CSV and JSON."""
    tables: dict[str, list[pd.DataFrame]] = {}

    def keep(name: str, frame: pd.DataFrame, **keys: object) -> None:
        tables.setdefault(name, []).append(pd.DataFrame({**{k: [v] * len(frame) for k, v in keys.items()}, **frame}))

    keep("quantiles", cifar10.quantiles())
    for threshold in cifar10.THRESHOLDS:
        keep("survival", cifar10.survival_curve(threshold=threshold), threshold=threshold)
        keep("hazard", cifar10.hazard_bins(threshold=threshold), threshold=threshold)
        keep("unperturbed", cifar10.unperturbed_mean(threshold=threshold), threshold=threshold)
        keep("state", cifar10.state(threshold=threshold), threshold=threshold)
        keep("verdict", cifar10.state_verdict(threshold=threshold), threshold=threshold)
        for name in cifar10.FOLDERS:
            keys = {"perturbation": name, "threshold": threshold}
            keep("measured", cifar10.measured(name, threshold=threshold), **keys)  # type: ignore[arg-type]
            for form in cifar10.FORMS:
                for period in cifar10.SOURCE_PERIODS:
                    frame = cifar10.predicted(name, period=period, threshold=threshold, form=form)  # type: ignore[arg-type]
                    keep("predicted", frame, **keys, from_period=period, asked=form)
    for name in cifar10.FOLDERS:
        for period in cifar10.SOURCE_PERIODS:
            frame = cifar10.beyond(name, period=period)  # type: ignore[arg-type]
            keep("beyond", frame, perturbation=name, from_period=period)
    for threshold in cifar10.RANKED:
        keep("ranking", cifar10.ranking(threshold=threshold), threshold=threshold)
        keep("advice", pd.DataFrame({"said": cifar10.advice(threshold=threshold)}), threshold=threshold)
    keep("speedups", cifar10.speedups())
    keep("final_metrics", cifar10.final_metrics())
    keep("listed", lists.listed())
    for period in lists.SOURCE_PERIODS:
        keep("listed_predicted", lists.listed_predicted(period=period), from_period=period)
    for row, found in supplement.SETUPS.items():
        keep("supplement_outcomes", supplement.row_outcomes(row), row=row)
        for threshold in found.thresholds:
            keys = {"row": row, "threshold": threshold}
            keep("supplement_unperturbed", supplement.row_unperturbed(row, threshold=threshold), **keys)
            keep("supplement_measured", supplement.row_measured(row, threshold=threshold), **keys)
            keep("supplement_survival", supplement.row_survival(row, threshold=threshold), **keys)
            for period in found.source_periods:
                for form in cifar10.FORMS:
                    frame = supplement.row_predicted(row, threshold=threshold, period=period, form=form)  # type: ignore[arg-type]
                    keep("supplement_predicted", frame, **keys, from_period=period, asked=form)
    for name, parts in tables.items():
        text = pd.concat(parts).round(_DIGITS).to_csv(index=False)
        write_atomically(folder / f"{name}.csv", partial(_write_text, text))
    about = {
        "command": "FPTLIB_DATA=FOLDER python -m companion.published",
        "data": {"url": PUBLISHED.url, "digest": PUBLISHED.digest},
        "tables": sorted(tables),
    }
    write_atomically(folder / "about.json", partial(_write_text, json.dumps(about, indent=1) + "\n"))


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode())
