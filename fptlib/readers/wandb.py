"""Weights & Biases' CSV export of a chart: ``Step``, then ``RUN - METRIC``, ``RUN - METRIC__MIN``, ``RUN - METRIC__MAX`` for each run.

One file holds one metric of many runs, a folder may hold several such files. A chart over epochs has ``epoch`` in place of ``Step``, and
often ``RUN - _step`` beside the metric. The history of one run, as W&B's API gives it, is a plain CSV file with a column ``_step``: a
folder of these is read as any folder of CSV files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.csv_run import Column, header_of, read_columns
from fptlib.readers.logs import Format, Log, Series

_STEP_AXES = ("Step", "_step", "global_step", "trainer/global_step")
_AXES = (*_STEP_AXES, "epoch")
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


def _read(path: Path) -> Sequence[Log]:
    logs: dict[str, Log] = {}
    for file in _find(path):
        for run, log in _read_export(file).items():
            before = logs.get(run, Log(file, name=run, metrics={}))
            twice = {*before.metrics, *before.faults} & {*log.metrics, *log.faults}
            if twice:
                raise InputError(f"{file}: {min(twice)} of {run} is also in {before.path.name}")
            both = {**before.metrics, **log.metrics}, {**before.faults, **log.faults}
            logs[run] = Log(before.path, name=run, metrics=both[0], faults=both[1])
    return list(logs.values())


def _read_export(path: Path) -> dict[str, Log]:
    """What each run of one file logged."""
    columns, line = read_columns(path)
    axis = next((name for name in _AXES if name in columns), None)
    if axis is None:
        raise InputError(
            f"{path}: no column Step or epoch; export a chart over steps or epochs, not over {header_of(path)[0]}"
        )
    place = columns[axis]
    if place.fault is not None:
        raise InputError(place.fault)
    metrics: dict[str, dict[str, Series]] = {}
    faults: dict[str, dict[str, str]] = {}
    for name, cells in columns.items():
        if _BETWEEN not in name or name.endswith(_ENDS) or name.endswith(_BETWEEN + _OWN_STEP):
            continue
        run, metric = name.rsplit(_BETWEEN, 1)
        fault = cells.fault or _averaged(path, name, columns, line)
        if fault is not None:
            faults.setdefault(run, {})[metric] = fault
            continue
        at = cells.there
        own = columns.get(f"{run}{_BETWEEN}{_OWN_STEP}")
        step = place.value[at] if axis in _STEP_AXES else own.value[at] if own is not None else None
        metrics.setdefault(run, {})[metric] = Series(
            value=cells.value[at], epoch=place.value[at] if axis == "epoch" else None, step=step, line=line[at]
        )
    runs = dict.fromkeys([*metrics, *faults])
    return {run: Log(path, name=run, metrics=metrics.get(run, {}), faults=faults.get(run, {})) for run in runs}


def _averaged(path: Path, name: str, columns: dict[str, Column], line: NDArray[np.int64]) -> str | None:
    """One line if values are means of several, as in charts of groups or of many steps: such a curve passes when no run does."""
    for end in _ENDS:
        other = columns.get(name + end)
        if other is None:
            continue
        differs = np.flatnonzero(columns[name].there & other.there & (columns[name].value != other.value))
        if len(differs):
            i = int(differs[0])
            return (
                f"{path}, line {line[i]}: {name} is {columns[name].value[i]:.6g} but {end[2:]} is {other.value[i]:.6g}, the mean of "
                "several values; export each run by itself and each step, or its history"
            )
    return None


FORMAT = Format("Weights & Biases chart export", matches=lambda path: bool(_find(path)), read=_read)
