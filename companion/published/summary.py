"""Tables computed from the published trajectories where these are at hand, and read from the book's summary where they are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pandas as pd

from companion import ROOT
from companion.published.archive import read
from fptlib.errors import InputError
from fptlib.sources import PUBLISHED, find

__all__ = ["SUMMARY", "available", "origin", "read", "stored", "tabulate"]

SUMMARY = ROOT / "book" / "results" / "published"


def available() -> bool:
    """Test whether the trajectories themselves are at hand."""
    return find("published") is not None


def origin() -> str:
    """Say where the tables come from."""
    if available():
        return f"published trajectories ({PUBLISHED.name}, digest {PUBLISHED.digest[:16]})"
    return "summary table of the published trajectories (book/results/published)"


def tabulate(name: str, keys: Mapping[str, object], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Compute a table from the trajectories where they are at hand; else read the rows of the summary that carry these keys."""
    if available():
        return compute()
    return stored(name, **keys)


def stored(name: str, **keys: object) -> pd.DataFrame:
    """Read the rows of a table of the summary that carry these keys.

    Raises
    ------
    InputError
        If the summary has no such table or rows.
    """
    path = SUMMARY / f"{name}.csv"
    if not path.exists():
        raise InputError(f"{path}: no such table; fetch the trajectories with: fpt data fetch published")
    frame = pd.read_csv(path, dtype={"asked": str})
    for key, value in keys.items():
        known = frame[key].unique()
        frame = frame[frame[key] == value]
        if frame.empty:
            raise InputError(
                f"{path.name}: nothing for {key} = {value}; the summary has {', '.join(map(str, known))}, "
                "anything else needs the trajectories: fpt data fetch published"
            )
    return frame.drop(columns=list(keys)).reset_index(drop=True)
