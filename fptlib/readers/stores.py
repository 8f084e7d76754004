"""Stores of this library; a folder that holds exactly one stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptlib.errors import InputError
from fptlib.readers.logs import Format
from fptlib.trajectories import STORE_FILE, Trajectories, read_store


def _read(path: Path, files: Sequence[Path]) -> Trajectories:
    if len(files) > 1:
        raise InputError(f"{path}: holds {len(files)} stores; name one of {', '.join(f.parent.name for f in files)}")
    return read_store(files[0].parent)


FORMAT = Format("store", find=lambda path: [*path.glob(STORE_FILE)] or sorted(path.glob(f"*/{STORE_FILE}")), read=_read)
