"""Measures that chapters keep beside their results, and the claims of two related abstracts (``kept.yml``) held against them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from companion import ROOT
from companion.published.judges import verdict
from fptlib.files import write_atomically
from fptlib.firstpassage import Estimate

RESULTS = ROOT / "book" / "results"
COLUMNS = ["quantity", "mean", "low", "high", "runs"]
CLAIMS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("kept.yml").read_text())
_OURS = {"reproduces": "holds", "does not reproduce": "does not hold"}  # words for what the authors do not say


def record(folder: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows ``quantity, mean, low, high, runs`` into ``measures.csv``, in place of those of the same quantities."""
    path, new = folder / "measures.csv", pd.DataFrame(list(rows), columns=COLUMNS)
    old = pd.read_csv(path) if path.exists() else new.head(0)
    both = pd.concat([part for part in (old[~old["quantity"].isin(new["quantity"])], new) if len(part)])
    write_atomically(path, lambda file: both.to_csv(file, index=False, float_format="%.5g"))


def related(results: Path = RESULTS) -> pd.DataFrame:
    """Judge each claim by a measure that a chapter keeps; columns ``paper, claim, where, chapter, quantity, score, verdict``.

    ``score`` is an `Estimate`. A measure that is not kept cannot be tested.
    """
    lines, nothing = [], Estimate(*(float("nan"),) * 3, 0, 0)
    for row in CLAIMS:
        path = results / row["chapter"] / "measures.csv"
        kept = pd.read_csv(path, index_col="quantity").T if path.exists() else {}
        at = kept.get(row["quantity"])
        score = nothing if at is None else Estimate(at["mean"], at["low"], at["high"], int(at["runs"]), 0)
        word = verdict(score, row["accepted"])
        word = _OURS.get(word, word) if row["where"].startswith("ours") else word
        names = ("paper", "claim", "where", "chapter", "quantity")
        lines.append({**{name: row[name] for name in names}, "score": score, "verdict": word})
    return pd.DataFrame(lines)
