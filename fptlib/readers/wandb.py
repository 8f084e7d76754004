"""Weights & Biases' CSV export of a chart: ``Step``, then ``RUN - METRIC`` for each run, often with ``__MIN`` and ``__MAX`` of it.

One file holds one metric of many runs, a folder may hold several such files. A chart over epochs has ``epoch`` in place of ``Step``, and
often ``RUN - _step`` beside the metric. The history of one run, as W&B's API gives it, is a CSV file like any other.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, numbered
from fptlib.readers.tables import Table, header_of, read_table

_COLUMN = re.compile(r"(.+) - (.+?)(__MIN|__MAX)?( \(\d+\))?")  # run, metric, and which of the runs of this name
_SAME = "runs of one name are told apart by a number, in the order of their columns"


def _find(path: Path) -> list[Path]:
    files = [path] if path.is_file() else sorted(path.glob("[!.]*.csv"))
    headers = [header_of(file)[1:] for file in files]
    return files if all(names and all(map(_COLUMN.fullmatch, names)) for names in headers) else []


def _rename(names: Sequence[str]) -> list[str]:
    """Number columns of one name, which pandas had told apart by ``.1``, ``.2``, ... at their end."""
    return numbered([cut if (cut := re.sub(r"\.\d+$", "", name)) in names else name for name in names])


def _read(_: Path, files: Sequence[Path]) -> list[Log]:
    logs: dict[str, Log] = {}
    for file in files:
        table = read_table(file, rename=_rename)
        axis, *columns = table.columns
        epoch, step, counting = Table(file, {axis: table.columns[axis]}, table.line).progress()
        if axis not in counting:
            raise InputError(f"{file}: no column Step or epoch; export a chart over steps or epochs, not over {axis}")
        for name, match in zip(columns, map(_COLUMN.fullmatch, columns), strict=True):
            run, metric, end, number = match.groups("") if match else ("", "", "", "")
            if end or metric == "_step":
                continue
            log = logs.setdefault(run + number, Log(file, name=run + number, metrics={}, notes=(_SAME,) * bool(number)))
            if log.has(metric):
                raise InputError(f"{file}: {metric} of {log.name} is also in {log.path.name}")
            try:
                own = table.numbers(f"{run} - _step{number}") if f"{run} - _step{number}" in columns else None
                for end in ("__MIN", "__MAX"):
                    _refuse_means(table, name, f"{run} - {metric}{end}{number}")
                if series := table.series(name, epoch=epoch, step=own[0] if own else step):
                    log.metrics[metric] = series
            except InputError as fault:
                log.faults[metric] = str(fault)
    return list(logs.values())


def _refuse_means(table: Table, name: str, end: str) -> None:
    """Refuse means of several values, as in charts of groups or of many steps: such a curve passes when no run does."""
    if end in table.columns and (own := table.numbers(name)) and (other := table.numbers(end)):
        for row in np.flatnonzero(own[1] & other[1] & (own[0] != other[0]))[:1]:
            means = f"{name} is {own[0][row]:.6g} but {end} is {other[0][row]:.6g}, the mean of several values"
            raise InputError(f"{table.where(row)}: {means}; export each run by itself and each step, or its history")


FORMAT = Format("Weights & Biases chart export", find=_find, read=_read)
