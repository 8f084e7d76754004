"""Write the summary that stands in for the published trajectories: ``FPTLIB_DATA=FOLDER python -m companion.published``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pandas as pd

from companion.published import lists, tables
from companion.published.datasets import DATASETS, MAIN
from companion.published.summary import SUMMARY, available
from fptlib.files import write_atomically
from fptlib.sources import PUBLISHED

_DIGITS = 6
_KEYS = (
    "row",
    "perturbation",
    "threshold",
    "from_period",
    "asked",
)  # columns of a file that name its table, in this order
_ARGUMENTS = {"row": "data", "from_period": "period", "asked": "form"}  # of the functions, where they have another name
# File, function, and the keys that it is written for, the outermost loop first.
_MAIN: list[tuple[str, Callable[..., pd.DataFrame], str]] = [
    ("quantiles", tables.quantiles, ""),
    ("survival", tables.survival_curve, "threshold"),
    ("hazard", tables.hazard_bins, "threshold"),
    ("unperturbed", tables.unperturbed_mean, "threshold"),
    ("state", tables.state, "threshold"),
    ("verdict", tables.state_verdict, "threshold"),
    ("measured", tables.measured, "threshold perturbation"),
    ("predicted", tables.predicted, "threshold perturbation asked from_period"),
    ("beyond", tables.beyond, "perturbation from_period"),
    ("ranking", tables.ranking, "ranked"),
    ("advice", lambda threshold: pd.DataFrame({"said": tables.advice(threshold=threshold)}), "ranked"),
    ("speedups", tables.speedups, ""),
    ("final_metrics", tables.final_metrics, ""),
    ("listed", lists.listed, ""),
    ("listed_predicted", lists.listed_predicted, "from_period"),
]
_SUPPLEMENT: list[tuple[str, Callable[..., pd.DataFrame], str]] = [
    ("supplement_outcomes", tables.final_metrics, "row"),
    ("supplement_unperturbed", tables.unperturbed_mean, "row threshold"),
    ("supplement_measured", tables.measured, "row threshold"),
    ("supplement_survival", tables.survival_curve, "row threshold"),
    ("supplement_predicted", tables.predicted, "row threshold from_period asked"),
]


def write_summary(folder: Path = SUMMARY) -> None:
    """Write every table of the summary, and what it was made from, as CSV and JSON."""
    parts: dict[str, list[pd.DataFrame]] = {}
    for data in DATASETS:
        known = DATASETS[data]
        values: dict[str, tuple[object, ...]] = {
            "row": (data,),
            "perturbation": tuple(known.periods),
            "threshold": known.thresholds,
            "ranked": tables.RANKED,
            "from_period": known.source_periods,
            "asked": tuple(tables.FORMS),
        }
        for file, function, loops in _MAIN if data == MAIN else _SUPPLEMENT:
            for chosen in product(*(values[name] for name in loops.split())):
                keys = dict(zip(loops.replace("ranked", "threshold").split(), chosen, strict=True))
                frame = function(**{_ARGUMENTS.get(name, name): value for name, value in keys.items()})
                columns = {name: [keys[name]] * len(frame) for name in _KEYS if name in keys}
                parts.setdefault(file, []).append(pd.DataFrame({**columns, **frame}))
    about = {
        "command": "FPTLIB_DATA=FOLDER python -m companion.published",
        "data": {"url": PUBLISHED.url, "digest": PUBLISHED.digest},
        "tables": sorted(parts),
    }
    texts = {f"{file}.csv": pd.concat(frames).round(_DIGITS).to_csv(index=False) for file, frames in parts.items()}
    for name, text in {**texts, "about.json": json.dumps(about, indent=1) + "\n"}.items():
        write_atomically(folder / name, lambda file, text=text: file.write(text.encode()))  # type: ignore[misc]


if __name__ == "__main__":
    if not available():
        raise SystemExit("the published trajectories are not here; name their folder in $FPTLIB_DATA")
    write_summary()
    sys.stdout.write(f"wrote {SUMMARY}\n")
