"""A folder with one CSV file for each run: a header line, then one line for each epoch."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.trajectories import Trajectories

_INDEX_COLUMNS = ("run", "epoch")


def read_csv_folder(folder: str | os.PathLike[str]) -> Trajectories:
    """Read every ``*.csv`` file of a folder as one run.

    All files have the same columns and the same number of lines. The label of a run is the last number in its file's name where
    these are all different, else its place in the sorted list. A column ``epoch``, if there is one, counts 1, 2, 3, ...

    Raises
    ------
    InputError
        Naming file and line: no file, a line with too few or too many values, a value that is no number, different columns or lengths.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("*.csv"))
    if not paths:
        raise InputError(f"{folder}: no .csv file in this folder; expected one for each run, or a store")
    header, first = _read_run(paths[0])
    runs = [first]
    for path in paths[1:]:
        columns, values = _read_run(path)
        if columns != header:
            raise InputError(f"{path}: columns {', '.join(columns)}, but {paths[0].name} has {', '.join(header)}")
        if len(values) != len(first):
            raise InputError(
                f"{path}: {len(values)} epochs, but {paths[0].name} has {len(first)}; runs of one folder must be equally long"
            )
        runs.append(values)
    stacked = np.stack(runs)  # (runs, epochs, columns)
    if "epoch" in header:
        epochs = stacked[:, :, header.index("epoch")]
        wrong = np.flatnonzero((epochs != np.arange(1, epochs.shape[1] + 1)).any(axis=1))
        if len(wrong):
            raise InputError(
                f"{paths[wrong[0]]}: column epoch starts {', '.join(f'{e:g}' for e in epochs[wrong[0]][:3])}; it must count 1, 2, 3, ... "
                "(if it starts at 0, add 1 or leave the column out)"
            )
    metrics = {name: stacked[:, :, j] for j, name in enumerate(header) if name not in _INDEX_COLUMNS}
    return Trajectories(metrics=metrics, run=_labels(paths), meta={"source": str(folder)})


def _labels(paths: list[Path]) -> NDArray[np.int64]:
    numbers = [re.findall(r"\d+", path.stem) for path in paths]
    if all(numbers):
        labels = [int(found[-1]) for found in numbers]
        if len(set(labels)) == len(labels) and max(labels) <= np.iinfo(np.int64).max:
            return np.array(labels, dtype=np.int64)
    return np.arange(len(paths), dtype=np.int64)


def _read_run(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Column names and values ``(epochs, columns)`` of one file."""
    rows: list[list[float]] = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file)
            header = [name.strip() for name in next(lines, [])]
            if not header:
                raise InputError(f"{path}: empty; expected a header line and one line for each epoch")
            if all(_is_number(name) for name in header):
                raise InputError(f"{path}, line 1: a number where the names of the columns are expected")
            for row in lines:
                if not row:
                    continue
                if len(row) != len(header):
                    raise InputError(
                        f"{path}, line {lines.line_num}: {len(row)} values, but the header names {len(header)} columns"
                    )
                rows.append([_number(path, lines.line_num, name, text) for name, text in zip(header, row, strict=True)])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV text file ({error})") from None
    if not rows:
        raise InputError(f"{path}: no epochs below the header line")
    return header, np.array(rows)


def _number(path: Path, line: int, column: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{path}, line {line}: {column} is {text!r}, a number is needed") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
