"""Stores of this library; a folder that holds exactly one stands for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fptlib.errors import InputError
from fptlib.readers.logs import Format
from fptlib.trajectories import STORE_FILE, Trajectories, read_store


def _find(path: Path) -> list[Path]:
    return [path] if (path / STORE_FILE).exists() else sorted(one.parent for one in path.glob(f"*/{STORE_FILE}"))


def _read(path: Path, stores: Sequence[Path]) -> Trajectories:
    if len(stores) > 1:
        raise InputError(f"{path}: holds {len(stores)} stores; name one of {', '.join(store.name for store in stores)}")
    return read_store(stores[0])


FORMAT = Format("store", find=_find, read=_read)
