"""Tables, CSV text or Parquet: named columns of cells, the line of each row, and metrics taken from them."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Series

if TYPE_CHECKING:
    import pandas as pd

EPOCH = ("epoch",)
STEP = ("step", "_step", "global_step", "trainer/global_step")
_Floats = NDArray[np.float64]
_Columns = Mapping[str, Sequence[Any]]  # text, or numbers where the file has them


@final
@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table as they stand in its file, by the names of the columns; methods raise `InputError` with file and line.

    ``line`` has the line of each row, or its number where there are no lines, which ``word`` tells. ``blank`` is the text that stands for
    an empty cell.
    """

    path: Path
    columns: _Columns
    line: NDArray[np.int64]
    word: str
    blank: frozenset[str]

    def where(self, row: int) -> str:
        """Return file and line of a row, in words."""
        return f"{self.path}, {self.word} {self.line[row]}"

    def numbers(self, name: str) -> tuple[_Floats, NDArray[np.bool_]] | None:
        """Return a column as numbers, NaN where a cell is empty, and which cells are not; ``None`` if most cells hold text."""
        cells = self.columns[name]
        try:
            value = np.array([*map(float, cells)])
            if not np.isnan(value).any():
                return value, np.ones(len(value), dtype=bool)
        except ValueError:
            value = np.array([_number(cell) for cell in cells], dtype=np.float64)  # NaN for what is no number
        there = np.array([str(cell).strip() not in self.blank for cell in cells])
        text = [row for row in np.flatnonzero(there & np.isnan(value)).tolist() if _number(cells[row]) is None]
        if len(text) > there.sum() / 2:
            return None
        if text:
            raise self._not_a_number(name, text[0])
        return value, there

    def complete(self, name: str) -> _Floats:
        """Return a column in which each cell has to be a number."""
        value, there = self.numbers(name) or (None, None)
        if value is None or there is None:
            raise self._not_a_number(name, [_number(cell) for cell in self.columns[name]].index(None))
        if not there.all():
            raise self._not_a_number(name, int(there.argmin()))
        return value

    def series(self, name: str, *, epoch: _Floats | None, step: _Floats | None) -> Series | None:
        """Return a column as a metric, without its empty cells; ``None`` if most hold text."""
        numbers = self.numbers(name)
        return numbers and Series(numbers[0], epoch=epoch, step=step, line=self.line).take(numbers[1])

    def metrics(
        self, names: Iterable[str], *, epoch: _Floats | None, step: _Floats | None
    ) -> tuple[dict[str, Series], dict[str, str]]:
        """Return those of some columns that are metrics, and those with faults, as `Log` has them; refuse a row without a metric."""
        metrics, faults = {}, {}
        logged = np.zeros(len(self.line), dtype=bool)
        for name in names:
            try:
                series = self.series(name, epoch=epoch, step=step)
            except InputError as fault:
                faults[name] = str(fault)
                continue
            if series is not None and series.line is not None:
                metrics[name] = series
                logged |= np.isin(self.line, series.line) if len(series.line) < len(logged) else True
        if metrics and not faults and not logged.all():
            where = self.where(int(logged.argmin()))
            raise InputError(f"{where}: no metric in this {self.word}; leave it out if the run had ended before")
        return metrics, faults

    def _not_a_number(self, name: str, row: int) -> InputError:
        return InputError(f"{self.where(row)}: {name} is {self.columns[name][row]!r}, a number is needed")


def read_table(path: Path, *, blank: frozenset[str] = frozenset({""})) -> Table:
    """Read a CSV text file with a header line, maybe packed by gzip, or a Parquet file; which it is shows in the content.

    Another file, no header, no rows, and a row with too few or too many values raise an InputError that names file and line.
    """
    with open(path, "rb") as file:
        packed = file.read(4)
    if packed == b"PAR1":
        columns = _read_parquet(path)
        line, word = np.arange(1, len(next(iter(columns.values()), ())) + 1), "row"
    else:
        try:
            with _opened(path, gzipped=packed[:2] == b"\x1f\x8b") as text:
                columns, line = _read_csv(path, text)
        except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
            raise InputError(f"{path}: not a CSV text file ({error})") from None
        word = "line"
    if not len(line):
        raise InputError(f"{path}: no rows below the header line")
    return Table(path, columns, line, word, blank)


def header_of(path: Path) -> list[str]:
    """Return the names of the columns of a CSV file; none if it has no first line or is not text."""
    try:
        with _opened(path) as file:
            return [column.strip() for column in next(csv.reader(file), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _opened(path: Path, *, gzipped: bool = False) -> IO[str]:
    return (gzip.open if gzipped else open)(path, "rt", newline="", encoding="utf-8-sig")


def _read_csv(path: Path, text: IO[str]) -> tuple[_Columns, NDArray[np.int64]]:
    reader = csv.reader(text)
    names = [name.strip() for name in next(reader, [])]
    if not names or names == [""]:
        raise InputError(f"{path}: empty; expected a header line and one line for each epoch")
    if all(_number(name) is not None for name in names):
        raise InputError(f"{path}, line 1: a number where the names of the columns are expected")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}, line 1: two columns are named {name!r}")
    rows, line = [], []
    for row in reader:
        if row and len(row) != len(names):
            raise InputError(
                f"{path}, line {reader.line_num}: {len(row)} values, but the header names {len(names)} columns"
            )
        if row:
            rows.append(tuple(row))  # of which, other than of lists, the garbage collector looks at each once
            line.append(reader.line_num)
    return dict(zip(names, zip(*rows, strict=True), strict=bool(rows))), np.array(line, dtype=np.int64)


def _read_parquet(path: Path) -> _Columns:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame: pd.DataFrame = pq.read_table(path).to_pandas()
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None
    named = [name for name in frame.index.names if name is not None]  # pandas may have kept columns as an index
    frame = frame.reset_index(named) if named else frame
    return {str(name): [_cell(cell) for cell in frame[name].tolist()] for name in frame.columns}


def _cell(value: Any) -> float | str:
    """Return a number as it is, and text for anything else."""
    return value if type(value) in (float, int) else "" if value is None else str(value)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None
