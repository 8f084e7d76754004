"""One tidy table, CSV or Parquet: columns ``run``, ``epoch`` (or ``step``) and one for each metric, rows in any order.

Runs may be labelled by numbers or by names, and may have different lengths. Columns of text are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log
from fptlib.readers.tables import EPOCH, STEP, Table, read_table

# What pandas, R and spreadsheets write into an empty cell.
_BLANK = frozenset({"", "nan", "NaN", "-nan", "NA", "N/A", "n/a", "#N/A", "<NA>", "NULL", "null", "None"})


def _read(path: Path, _: Sequence[Path]) -> list[Log]:
    table = read_table(path, blank=_BLANK)
    roles = [next((name for name in names if name in table.columns), None) for names in (EPOCH, STEP)]
    for known, needed in (("run" in table.columns, "run"), (any(roles), "epoch")):
        if not known:
            raise InputError(f"{path}: no column {needed!r}; there is {', '.join(table.columns)}")
    epoch, step = (None if role is None else table.complete(role) for role in roles)
    codes, names = _runs(table)
    others = [name for name in table.columns if name not in ("run", *EPOCH, *STEP)]
    metrics, faults = table.metrics(others, epoch=epoch, step=step)
    if not metrics and not faults:
        texts = [f"; {table.where(0).split(', ')[-1]}: {name} is {table.columns[name][0]!r}" for name in others[:1]]
        raise InputError(f"{path}: no column of numbers beside run and epoch" + "".join(texts))
    logs = [Log(path, name=name, metrics={}, faults=faults, word=table.word) for name in names]
    for name, series in metrics.items():
        run = codes[np.searchsorted(table.line, np.asarray(series.line))]
        place: Any = series.step if series.epoch is None else series.epoch
        order = np.lexsort((place, run))  # by run, in it by epoch
        ends = np.searchsorted(run[order], range(1, len(names)))
        for log, rows in zip(logs, np.split(order, ends), strict=True):
            log.metrics[name] = series.take(rows)
    return logs


def _runs(table: Table) -> tuple[NDArray[np.int64], list[str]]:
    """Return for each row the place of its run among the sorted names of runs, and these names."""
    import pandas as pd

    cells = pd.Series(table.columns["run"])
    missing = cells.isna() | cells.isin(table.blank)
    if missing.any():
        raise InputError(f"{table.where(int(missing.argmax()))}: no run given")
    numbers = pd.to_numeric(cells, errors="coerce")
    codes, names = pd.factorize(cells if numbers.isna().any() else numbers, sort=True)
    return codes, [str(name) for name in names]


FORMAT = Format("tidy table", find=lambda path: [path] if path.is_file() else [], read=_read)
