"""Weights & Biases' CSV export of a chart: ``Step``, then ``RUN - METRIC``, ``RUN - METRIC__MIN``, ``RUN - METRIC__MAX`` for each run.

One file holds one metric of many runs, a folder may hold several such files. A chart over epochs has ``epoch`` in place of ``Step``, and
often ``RUN - _step`` beside the metric. The history of one run, as W&B's API gives it, is a plain CSV file with a column ``_step``: a
folder of these is read as any folder of CSV files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log
from fptlib.readers.tables import Table, header_of, read_table

_AXES = ("Step", "_step", "global_step", "trainer/global_step", "epoch")
_BETWEEN = " - "
_OWN_STEP = "_step"
_ENDS = ("__MIN", "__MAX")


def _is_export(path: Path) -> bool:
    names = set(header_of(path))
    return any(_BETWEEN in name and {name + end for end in _ENDS} <= names for name in names)


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if _is_export(path) else []
    files = sorted(path.glob("*.csv"))
    return files if files and all(_is_export(file) for file in files) else []


def _read(_: Path, files: Sequence[Path]) -> list[Log]:
    logs: dict[str, Log] = {}
    for file in files:
        table = read_table(file)
        axis = next((name for name in _AXES if name in table.columns), None)
        if axis is None:
            first = next(iter(table.columns))
            raise InputError(f"{file}: no column Step or epoch; export a chart over steps or epochs, not over {first}")
        numbers = table.numbers(axis)
        place = numbers and numbers[0]
        for name in table.columns:
            if _BETWEEN not in name or name.endswith((*_ENDS, _BETWEEN + _OWN_STEP)):
                continue
            run, metric = name.rsplit(_BETWEEN, 1)
            log = logs.setdefault(run, Log(file, name=run, metrics={}, faults={}))
            if log.has(metric):
                raise InputError(f"{file}: {metric} of {run} is also in {log.path.name}")
            own = f"{run}{_BETWEEN}{_OWN_STEP}"
            steps = table.numbers(own) if axis == "epoch" and own in table.columns else None
            epoch, step = (place, steps and steps[0]) if axis == "epoch" else (None, place)
            try:
                series = table.series(name, epoch=epoch, step=step)
                _refuse_means(table, name)
            except InputError as fault:
                log.faults[metric] = str(fault)
            else:
                log.metrics.update({} if series is None else {metric: series})
    return list(logs.values())


def _refuse_means(table: Table, name: str) -> None:
    """Refuse means of several values, as in charts of groups or of many steps: such a curve passes when no run does."""
    own = table.numbers(name)
    for end in _ENDS:
        other = table.numbers(name + end) if name + end in table.columns else None
        if own is None or other is None:
            continue
        for row in np.flatnonzero(own[1] & other[1] & (own[0] != other[0]))[:1]:
            raise InputError(
                f"{table.where(row)}: {name} is {own[0][row]:.6g} but {end[2:]} is {other[0][row]:.6g}, the mean of several values; "
                "export each run by itself and each step, or its history"
            )


FORMAT = Format("Weights & Biases chart export", find=_find, read=_read)
