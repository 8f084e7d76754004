"""Read the training logs of any tool into `Trajectories`; the format is recognised by the content.

Each format is one module with a `Format`: ``find`` recognises it, ``read`` returns what each run logged, and `assemble` counts epochs,
the same way for all. `Table` reads CSV and Parquet files for several of them. A new format is a new module and a line in ``_FORMATS``; one
outside this library joins by `register`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from fptlib.errors import InputError
from fptlib.readers import csv_folder, hugging_face, json_lines, lightning, mlflow, stores, tensorboard, wandb
from fptlib.readers.assemble import Axis, Zero, assemble
from fptlib.readers.csv_folder import is_table, require_one_folder
from fptlib.readers.logs import Format, Log, Series, visible_files
from fptlib.readers.tables import header_of, meaning
from fptlib.trajectories import Trajectories

__all__ = ["Format", "Log", "Series", "assemble", "read", "register"]

# Of those that find files, the first that finds them for most runs reads them. Trainers write event files beside their state.
_FORMATS = [
    form.FORMAT for form in (stores, mlflow, hugging_face, lightning, tensorboard, wandb, json_lines, csv_folder)
]
_COMPARED = [form.FORMAT for form in (mlflow, hugging_face, lightning, tensorboard, json_lines, csv_folder)]


def register(new: Format) -> None:
    """Register a format of your own, which `read` tries before all others; a name that is taken raises an InputError.

    A log with one line ``epoch accuracy`` for each epoch, in files ``*.acc``:

    >>> import numpy as np
    >>> def read_run(file):
    ...     epoch, acc = np.loadtxt(file, unpack=True, ndmin=2)
    ...     return Log(file, name=file.stem, metrics={"acc": Series(acc, epoch=epoch)})
    >>> mine = Format(
    ...     "my logs",
    ...     find=lambda path: sorted(path.glob("*.acc")),
    ...     read=lambda path, files: [read_run(file) for file in files],
    ... )
    >>> register(mine)  # doctest: +SKIP
    """
    if any(known.name == new.name for known in _FORMATS):
        raise InputError(f"a format named {new.name!r} is there; give another name")
    _FORMATS.insert(0, new)


def read(
    path: str | os.PathLike[str],
    *,
    axis: Axis = "auto",
    every: int | None = None,
    epoch_zero: Zero | None = None,
    metric: str | None = None,
) -> Trajectories:
    """Read a store or the logs of any tool from a file or folder; the options are explained in `assemble`.

    With ``metric`` only that one is read of logs, as if nothing else had been logged; a store is read whole. The chapter *Bring your own
    logs* lists the formats; `register` adds one. A folder that holds exactly one store stands for it. If nothing is there, or what is
    there cannot be read, an InputError names file and line.
    """
    path = Path(path)
    counting: dict[str, Any] = {"axis": axis, "every": every, "epoch_zero": epoch_zero}
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    visible_files.cache_clear()
    if matches := [(form, files) for form in _FORMATS if (files := form.find(path))]:
        form, files = max(matches, key=lambda each: _coverage(path, *each)) if len(matches) > 1 else matches[0]
        logs = form.read(path, files)
        if not isinstance(logs, Trajectories):
            require_one_folder(path, [log.name for log in logs])
            left_out = _left_out(path, form, {*files})
            logs = [replace(log, notes=(*log.notes, *left_out)) for log in logs]
            return assemble(logs, source=str(path), kind=form.name, metric=metric, **counting)
        if any(value not in (None, "auto") for value in counting.values()):
            raise InputError(f"{path}: a {form.name} counts epochs itself; leave out {', '.join(counting)}")
        return logs
    names = ", ".join(known.name for known in _FORMATS)
    raise InputError(f"{path}: nothing in this folder that can be read ({names})")


def _coverage(path: Path, form: Format, files: Sequence[Path]) -> tuple[float, bool]:
    """Return how many runs have files, any number if a file may hold many, and whether these are known to be logs."""
    if form not in _COMPARED or any(file.suffix == ".db" for file in files):
        return inf, True
    tables = form is csv_folder.FORMAT
    headers = {file: tuple(header_of(file)) if tables else () for file in files}
    header, _ = Counter(headers.values()).most_common(1)[0]
    runs = {file if file.parent == path else file.parent for file in files if headers[file] == header}
    counts = any(meaning(name) is not None for name in header) if tables else form is not json_lines.FORMAT
    return len(runs), counts or (not tables and json_lines.counts(files[0]))


def _left_out(path: Path, form: Format, used: set[Path]) -> list[str]:
    """Return a note on what looks like a log in a folder and was not read."""
    finders = [is_table, *(one.find for one in _FORMATS if one is not csv_folder.FORMAT)]
    seen = [file for file in visible_files(path) if file not in used]
    rest = [file.relative_to(path) for file in seen if any(find(file) for find in finders)]
    more = f" and {len(rest) - 1} more that look like logs" if len(rest) > 1 else ""
    return [f"left out, as no part of what is read as {form.name}: {file}{more}" for file in rest[:1]]
