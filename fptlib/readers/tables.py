"""Tables, text or Parquet: named columns of cells, the line of each row, the columns that count epochs, and metrics taken from the others.

Text is in UTF-8, maybe gzipped, and separated by commas, semicolons, tabs, bars or blanks; lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import csv
import functools
import gzip
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Series

_Floats = NDArray[np.float64]
_Bools = NDArray[np.bool_]
# What counts, in order of preference, two patterns for epochs and two for steps: names in lower case, letters and figures only.
_OF, _NO = (
    "(?:trainer|training|train|global|current|total|cumulative|num|n)*",
    "(?:no|num|number|idx|index|id|count|seen)?",
)
_STEPS = "(?:optimi[sz]er|gradient|time|env)?steps?|iterations?|iters?|it|updates?|(?:mini)?batch(?:es)?|episodes?"
_COUNTING = [
    "epochs?",
    f"{_OF}epochs?{_NO}|ep|(?:server|communication)?rounds?|trainingiterations?|generations?",
    "(?:trainer)?globalsteps?|steps?",
    f"{_OF}(?:{_STEPS}|samples?|examples?|images?|tokens?|frames?){_NO}",
]
_CALLS = "_step"  # of Weights & Biases: calls of its logger, which go on where a run is resumed
# Indices of rows, as pandas and R write them, and what tools write beside the metrics.
_BESIDE = re.compile(
    r"(unnamed: ?\d+|index|level_\d)?|_?runtime|_?timestamp|wall ?time|relative|pid|(iterations|time)_since_restore",
    re.IGNORECASE,
)
_NO_COUNT = re.compile(r".*(time|second|loss|acc|err|reward|score|lr).*|relative|secs?", re.IGNORECASE)

# What pandas, R and spreadsheets write where there is no value; ``nan`` may also be the value of a run that diverged.
_BLANK = frozenset({"", "-", "--", "na", "n/a", "#n/a", "<na>", "null", "none"})
_OF_TOTAL = re.compile(r"[^\d.]*(\d+)(?:\s*(?:/|of)\s*\d+)?[^\d.]*")  # 5/60, [5/60], Epoch 5
_TENSOR = re.compile(
    r"[\w.]*(?:tensor|array|float\d+|int\d+)\(\[*([^\s,()\[\]]+)\]*(?:,[^()\"]*(?:\(\)[^()\"]*)*)?\)", re.IGNORECASE
)
_DECIMAL_COMMA = re.compile(r"[-+]?(0,\d+|\d+,(\d\d?|\d{4,}))(e[-+]?\d+)?\s*%?", re.IGNORECASE)  # 1,234 may be 1234
_FIGURES = re.compile(r"(?!\d+([-/.:])\d+\1\d|\d+:)[\W\d]*\d[\W\d]*")  # no date, and no time of day
UNREADABLE = (UnicodeDecodeError, csv.Error, OSError, EOFError, zlib.error)


@final
@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table as they stand in its file, by the names of the columns; methods raise `InputError` with file and line.

    ``line`` has the line of each row, or its number where there are no lines, which ``word`` tells. ``comma`` says that a comma in a number
    is its decimal sign. ``notes`` collects sentences on what was adjusted or left out, with a place for each.
    """

    path: Path
    columns: Mapping[str, Sequence[Any]]  # text, or numbers where the file has them
    line: NDArray[np.int64]
    word: str = "line"
    comma: bool = False
    notes: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_rows(cls, path: Path, rows: Mapping[int, Mapping[str, Any]], *, word: str = "line") -> Table:
        """Return the table of rows by line, such as JSON objects, each of which may lack some of the columns."""
        names = dict.fromkeys(name for row in rows.values() for name in row)
        columns = {name: [_cell(row.get(name)) for row in rows.values()] for name in names}
        return cls(path, columns, np.array([*rows], dtype=np.int64), word)

    def where(self, row: int) -> str:
        """Return file and line of a row, in words."""
        return f"{self.path}, {self.word} {self.line[row]}"

    def numbers(self, name: str) -> tuple[_Floats, _Bools] | None:
        """Return a column as numbers, NaN where a cell is empty or says so, and which are not empty; ``None`` if it seems to be text."""
        cells = self.columns[name]
        with suppress(ValueError):
            return np.array([*map(float, cells)]), np.ones(len(cells), dtype=bool)
        text = [str(cell).strip() for cell in cells]
        there = np.array([cell.lower() not in _BLANK for cell in text])
        filled = np.flatnonzero(there).tolist()
        rank, comma = meaning(name), self.comma or any(map(_DECIMAL_COMMA.fullmatch, text))
        read = [_value(cell, comma=comma, counts=rank is not None) for cell in text]
        odd = [row for row in filled if read[row] is None]
        if 2 * len(odd) > len(filled) and rank not in (0, 2) and not any(_FIGURES.fullmatch(text[row]) for row in odd):
            return None
        percent = {row for row in filled if text[row].endswith("%")}
        for row in (odd or [row for row in filled if percent and row not in percent])[:1]:
            how = ", with % as in other cells" if percent else ", with a point for its decimals" * ("," in text[row])
            raise InputError(f"{self.where(row)}: {name} is {cells[row]!r}, a number is needed{how}")
        for row in [row for row in filled if rank is None and _number(text[row]) is None][:1]:
            self.notes[f"{name} is read from text"] = f"{text[row]} as {read[row]:.6g}, {self.where(row)}"
        return np.array(read, dtype=np.float64), there

    def series(self, name: str, *, epoch: _Floats | None, step: _Floats | None) -> Series | None:
        """Return a column as a metric, without its empty cells; ``None`` if it seems to be text."""
        numbers = self.numbers(name)
        return numbers and Series(numbers[0], epoch=epoch, step=step, line=self.line).take(numbers[1])

    def metrics(self, *, besides: set[str]) -> tuple[dict[str, tuple[_Floats, _Bools]], dict[str, str]]:
        """Return the `numbers` of each metric, and those with faults, as `Log` has them, besides some columns; text is noted."""
        metrics, faults, texts = {}, {}, []
        for name in [name for name in self.columns if name not in besides and not _BESIDE.fullmatch(name)]:
            try:
                if numbers := self.numbers(name):
                    metrics[name] = numbers
                else:
                    texts.append(name)
            except InputError as fault:
                faults[name] = str(fault)
        if not metrics and not faults:
            seen = "".join(f"; {self.where(0)}: {name} is {self.columns[name][0]!r}" for name in texts[:1])
            raise InputError(f"{self.path}: no column of numbers that could be a metric{seen}")
        if texts:
            self.notes[f"columns of text are left out: {', '.join(texts)}"] = str(self.path)
        return metrics, faults

    def progress(self, run: NDArray[np.int64] | None = None) -> tuple[_Floats | None, _Floats | None, set[str]]:
        """Return epoch and step of each row, ``None`` where no column has them, and the columns that count.

        A column is known by its name, and where none is, by whole numbers at equal distances, which are taken for epochs. One that starts
        again within each epoch does not count. Where no column does, rows are, which is noted, but not where ``run`` numbers several runs.
        """
        same = np.ones(len(self.line) - 1, dtype=bool) if run is None else run[1:] == run[:-1]
        kinds = {name: rank // 2 for name in self.columns if (rank := meaning(name)) is not None}  # 0 epochs, 1 steps
        values = {name: numbers[0] for name in kinds if (numbers := self.numbers(name))}
        moves = {name: np.where(same, np.diff(value), 0) for name, value in values.items()}
        chosen: dict[int, _Floats] = {}
        for name in sorted(values, key=lambda name: (not moves[name].any(), meaning(name))):
            above = [one for one in values if one not in (name, _CALLS) and kinds[one] <= kinds[name]]
            starts_again = any(((moves[name] < 0) & (moves[one] > 0)).any() for one in above)
            if ("/" not in name or moves[name].any()) and not starts_again:
                chosen.setdefault(kinds[name], values[name])
        if chosen:
            return chosen.get(0), chosen.get(1), {*values}
        for name, value in self._unknown(same, several=run is not None):
            self.notes[f"the column {name or 'without a name'} is taken to count epochs"] = str(self.path)
            return value, None, {name}
        if run is not None:
            raise InputError(f"{self.path}: no column 'epoch'; there is {', '.join(self.columns)}")
        self.notes["no column counts epochs, so rows are counted as epochs"] = str(self.path)
        return np.arange(1.0, len(self.line) + 1), None, set()

    def _unknown(self, same: _Bools, *, several: bool) -> Iterator[tuple[str, _Floats]]:
        """Yield columns of whole numbers at equal distances, but where a run was resumed; there has to be another, for a metric.

        The first of all may rise by any distances: they are refused where epochs are counted, and rows are not counted instead.
        """
        for place, (name, cells) in enumerate(self.columns.items() if len(self.columns) > 1 else ()):
            value = np.array([_number(cell) for cell in cells], dtype=np.float64)  # NaN for text
            whole = np.isfinite(value) & (value >= 0) & (value == np.floor(value))
            if whole.all() and not _NO_COUNT.fullmatch(name) and not (several and (np.diff(value) == 1).all()):
                apart = np.diff(value)[same]
                up = apart[apart > 0]
                even = (up == up[:1]).all() or (place == 0 and len(up) == len(apart))
                if even and len(up) >= max(2, 0.75 * len(apart)):
                    yield name, value


@functools.lru_cache(maxsize=1024)
def meaning(name: str) -> int | None:
    """Return the place of a name among those of columns that count: 0 and 1 for epochs, 2 and 3 for steps; ``None`` for another."""
    key = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*\)|\[.*\]", "", name.lower()))
    rank = 3 if name == _CALLS else next((i for i, known in enumerate(_COUNTING) if re.fullmatch(known, key)), None)
    return meaning(name.rpartition("/")[2]) if rank is None and "/" in name else rank


def read_table(path: Path, *, rename: Callable[[list[str]], list[str]] = list) -> Table:
    """Read a text or Parquet file, which shows in the content; ``rename`` may tell columns of one name apart.

    No header, no rows, and a row with too few or too many values are refused; a last line with too few was cut, and is left out.
    """
    try:
        with open(path, "rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        table = _read_parquet(path) if is_parquet else _read_text(path, rename)
    except UNREADABLE as error:
        raise InputError(f"{path}: not a text file in UTF-8 ({error})") from None
    if not len(table.line):
        raise InputError(f"{path}: no rows below the header line")
    return table


def header_of(path: Path) -> list[str]:
    """Return the names of the columns of a text file; none if it has no first line or is not text."""
    try:
        _, rows = _rows(path, 100)
    except UNREADABLE:
        return []
    return [name.strip() for _, header in rows[:1] for name in header]


def opened(path: Path) -> IO[str]:
    """Open a text file, which may be packed by gzip."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return (gzip.open if packed else open)(path, "rt", encoding="utf-8-sig")


def _rows(path: Path, most: int | None = None) -> tuple[str, list[tuple[int, tuple[str, ...]]]]:
    """Return the separator, which is what the header has most of, and of each row that is not blank, its line and its cells."""
    with opened(path) as text:
        lines = _uncommented([_TENSOR.sub(r"\1", line) if "(" in line else line for line in islice(text, most)])
    header, row = (*islice((line.strip(" \n") for line in lines if not line.isspace()), 2), "", "")[:2]
    separator = max(",;\t|", key=header.count)
    if separator not in header and " " in header and " " in row:
        lines, separator = ["\t".join(line.split()) for line in lines], "\t"
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    return separator, [(reader.line_num, tuple(row)) for row in reader if row]  # tuples spare the garbage collector


def _uncommented(lines: list[str]) -> list[str]:
    """Return lines with comments blanked, but one right above numbers, which is the header."""
    kept = ["\n" if line[0] == "#" else line for line in lines]
    first = next((i for i, line in enumerate(kept) if not line.isspace()), 0)
    if first and lines[first - 1][0] == "#" and re.match(r"\s*[-+.]?\d", lines[first]):
        kept[first - 1] = lines[first - 1].lstrip("# ")
    return kept


def _read_text(path: Path, rename: Callable[[list[str]], list[str]]) -> Table:
    separator, content = _rows(path)
    (top, header), *rows = content or [(1, ())]
    names = rename([name.strip() for name in header])
    if names in ([], [""]):
        raise InputError(f"{path}: empty; expected a header line and one line for each epoch")
    if None not in map(_number, names):
        raise InputError(f"{path}, line {top}: a number where the names of the columns are expected")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}, line {top}: two columns are named {name!r}")
    notes = {}
    if rows and len(rows[-1][1]) < len(names):
        notes["the last line was cut, and is left out"] = f"{path}, line {rows.pop()[0]}"
    for line, row in rows:
        if len(row) != len(names):
            raise InputError(f"{path}, line {line}: {len(row)} values, but the header names {len(names)} columns")
        if row == header:
            notes["a header line stands again; what follows belongs to the same run"] = f"{path}, line {line}"
    rows = [(line, row) for line, row in rows if row != header]
    columns = dict(zip(names, zip(*(row for _, row in rows), strict=True), strict=bool(rows)))
    places = np.array([line for line, _ in rows], dtype=np.int64)
    return Table(path, columns, places, comma=separator == ";", notes=notes)


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path).to_pandas().reset_index()  # where pandas may have kept epochs or runs
    except (pa.ArrowException, ValueError) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None
    columns = {str(name): [_cell(cell) for cell in frame[name].tolist()] for name in frame.columns}
    return Table(path, columns, np.arange(1, len(frame) + 1), word="row")


def _cell(value: Any) -> float | str:
    """Return a number as it is, and text for anything else."""
    return value if type(value) in (float, int) else "" if value is None else str(value)


def _number(cell: Any) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _value(cell: str, *, comma: bool, counts: bool) -> float | None:
    """Return the number for which a cell stands: 0.912 for ``91.2%`` and for ``[0.912]``; where it ``counts``, 5 for ``5/60``."""
    cell = _TENSOR.sub(r"\1", cell).strip("[]")
    cell = cell.replace(",", ".") if comma else cell
    if cell.endswith("%"):
        cell = f"{cell[:-1].strip()}e-2"  # 91.14 / 100 is not always the number nearest to 0.9114
    match = _OF_TOTAL.fullmatch(cell) if counts and _number(cell) is None else None
    return float(match[1]) if match else _number(cell)
