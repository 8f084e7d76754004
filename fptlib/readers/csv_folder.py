"""A folder with one CSV file for each run, or one sub-folder with one CSV file for each run.

A column ``epoch`` or ``step``, if there is one, counts; without it rows are epochs. All other columns of numbers are metrics; an empty cell
is a metric that was not logged in this row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.readers.logs import Format, Log
from fptlib.readers.tables import EPOCH, STEP, Table, read_table

_UNUSED = ("", "run", "_runtime", "_timestamp")  # what tools write beside the metrics


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    here = sorted(folder.glob("*.csv"))
    if here:
        return here
    inside = sorted(folder.glob("*/*.csv"))
    return inside if len({path.parent for path in inside}) == len(inside) else []


def _read(folder: Path, files: Sequence[Path]) -> list[Log]:
    return [read_run(file, name=file.stem if file.parent == folder else file.parent.name) for file in files]


def read_run(path: Path, *, name: str) -> Log:
    """Read one CSV file as what one run logged; a line without a metric raises an InputError."""
    table = read_table(path)
    epoch, step = _place(table, EPOCH), _place(table, STEP)
    if epoch is None and step is None:
        epoch = np.arange(1.0, len(table.line) + 1)
    names = [column for column in table.columns if column not in (*EPOCH, *STEP, *_UNUSED)]
    metrics, faults = table.metrics(names, epoch=epoch, step=step)
    return Log(path, name=name, metrics=metrics, faults=faults)


def _place(table: Table, names: Sequence[str]) -> NDArray[np.float64] | None:
    columns = (table.numbers(name) for name in names if name in table.columns)
    return next((column[0] for column in columns if column is not None), None)


FORMAT = Format("folder of CSV files", find=_find, read=_read)
