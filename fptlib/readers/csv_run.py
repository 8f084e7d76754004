"""One CSV file of one run: a header line, then rows of numbers, with the epoch or the step where a column says so."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Log, Series

EPOCH = ("epoch",)
STEP = ("step", "_step", "global_step", "trainer/global_step")
UNUSED = ("", "run", "_runtime", "_timestamp")  # what tools write beside the metrics


@dataclass(frozen=True, slots=True)
class Column:
    """Cells of a column ``(rows,)``: numbers, which of them hold anything, and what is wrong with one that should be a number."""

    value: NDArray[np.float64]
    there: NDArray[np.bool_]
    fault: str | None = None


def read_csv_run(path: Path, *, name: str | None = None) -> Log:
    """What one run logged: each column is a metric, but for those that hold the epoch or the step.

    Without such columns rows are epochs. An empty cell is a metric that was not logged in this row. A column where most cells hold text
    is no metric; one where some do is a metric with a fault.

    Raises
    ------
    InputError
        Naming file and line: not a CSV text file, no header, a row with too few or too many values, no rows.
    """
    columns, line = read_columns(path)
    epoch, step = (next((columns.pop(name) for name in names if name in columns), None) for names in (EPOCH, STEP))
    for place in (epoch, step):
        if place is not None and place.fault is not None:
            raise InputError(place.fault)
    if epoch is None and step is None:
        everywhere = np.ones(len(line), dtype=bool)
        epoch = Column(value=np.arange(1.0, len(line) + 1), there=everywhere)
    columns = {name: cells for name, cells in columns.items() if name not in (*STEP, *UNUSED)}
    if columns:
        empty = ~np.any([cells.there for cells in columns.values()], axis=0)
        if empty.any():
            raise InputError(
                f"{path}, line {line[empty.argmax()]}: no metric in this line; leave it out if the run had ended before"
            )
    metrics, faults = {}, {}
    for column, cells in columns.items():
        if cells.fault is not None:
            faults[column] = cells.fault
            continue
        at = cells.there
        metrics[column] = Series(
            value=cells.value[at],
            epoch=None if epoch is None else epoch.value[at],
            step=None if step is None else step.value[at],
            line=line[at],
        )
    return Log(path, name=name or path.stem, metrics=metrics, faults=faults)


def read_columns(path: Path) -> tuple[dict[str, Column], NDArray[np.int64]]:
    """The columns of a CSV file but for those of text, and the line of each row.

    Raises
    ------
    InputError
        As in `read_csv_run`.
    """
    try:
        return _read_numbers(path) or _read_cells(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV text file ({error})") from None


def header_of(path: Path) -> list[str]:
    """Names of the columns of a CSV file; none if it has no first line or is no text."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            return [column.strip() for column in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _read_numbers(path: Path) -> tuple[dict[str, Column], NDArray[np.int64]] | None:
    """The columns and their lines if every cell is a plain number, and ``None`` if that is not so or not sure; ten times as fast."""
    head, _, body = path.read_text(encoding="utf-8-sig").partition("\n")
    rows = body.rstrip("\n").split("\n")
    names = [name.strip() for name in head.split(",")]
    if '"' in head or any(row.count(",") != len(names) - 1 for row in rows):
        return None
    try:
        _check_header(path, names)
        cells = np.array(list(map(float, ",".join(rows).split(",")))).reshape(len(rows), len(names))
    except (InputError, ValueError):
        return None
    there = np.ones(len(rows), dtype=bool)
    return {name: Column(cells[:, j], there) for j, name in enumerate(names)}, np.arange(2, len(rows) + 2)


def _read_cells(path: Path) -> tuple[dict[str, Column], NDArray[np.int64]]:
    """The columns but for those of text, and their lines."""
    rows, line = [], []
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        _check_header(path, names)
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                raise InputError(
                    f"{path}, line {reader.line_num}: {len(row)} values, but the header names {len(names)} columns"
                )
            rows.append(row)
            line.append(reader.line_num)
    if not rows:
        raise InputError(f"{path}: no epochs below the header line")
    cells = {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    read = {name: _column(path, name, column, line) for name, column in cells.items()}
    return {name: column for name, column in read.items() if column is not None}, np.array(line)


def _check_header(path: Path, names: list[str]) -> None:
    if not names or names == [""]:
        raise InputError(f"{path}: empty; expected a header line and one line for each epoch")
    if all(_number(name) is not None for name in names):
        raise InputError(f"{path}, line 1: a number where the names of the columns are expected")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path}, line 1: two columns are named {twice!r}")


def _column(path: Path, name: str, cells: list[str], line: list[int]) -> Column | None:
    """A column of numbers, some cells empty; ``None`` if most of what is there is text."""
    there = np.array([bool(cell.strip()) for cell in cells])
    found = [_number(cell) for cell in cells]
    wrong = [i for i, number in enumerate(found) if number is None and there[i]]
    if len(wrong) > there.sum() / 2:
        return None
    fault = f"{path}, line {line[wrong[0]]}: {name} is {cells[wrong[0]]!r}, a number is needed" if wrong else None
    return Column(np.array([np.nan if number is None else number for number in found]), there, fault)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
