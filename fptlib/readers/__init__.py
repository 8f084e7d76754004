"""Read training logs, whoever wrote them, into `Trajectories`; the kind is told from the content."""

from __future__ import annotations

import os
from pathlib import Path

from fptlib.errors import InputError
from fptlib.readers.csv_folder import read_csv_folder
from fptlib.readers.tidy import read_tidy
from fptlib.trajectories import STORE_FILE, Trajectories, read_store

__all__ = ["read", "read_csv_folder", "read_tidy"]


def read(path: str | os.PathLike[str]) -> Trajectories:
    """Trajectories of a store, of a folder with one CSV file for each run, or of one tidy CSV or Parquet table.

    A folder that holds exactly one store stands for it.

    Raises
    ------
    InputError
        If nothing is there, or what is there cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.is_file():
        return read_tidy(path)
    if (path / STORE_FILE).exists():
        return read_store(path)
    stores = sorted(inner.parent for inner in path.glob(f"*/{STORE_FILE}"))
    if len(stores) == 1:
        return read_store(stores[0])
    if stores:
        raise InputError(f"{path}: holds {len(stores)} stores; name one of {', '.join(store.name for store in stores)}")
    return read_csv_folder(path)
