"""Tables, text or Parquet: named columns of cells, the line of each row, the columns that count epochs, and metrics taken from the others.

Text may be separated by commas, semicolons, tabs, bars or blanks, packed by gzip, and have comment lines that begin with ``#``.
"""

from __future__ import annotations

import codecs
import csv
import functools
import gzip
import io
import itertools
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Series

_Floats = NDArray[np.float64]
# What counts, in order of preference: names in lower case, letters and figures only. Every second stands for others too, if it changes.
_OF, _NO = "(?:trainer|training|train|global|current|total|cumulative|num|n)*", "(?:no|num|number|idx|index|id|count)?"
_COUNTING = [
    "epochs?",
    f"{_OF}epochs?{_NO}|ep|(?:server|communication)?rounds?|trainingiterations?|generations?",
    "(?:trainer)?globalsteps?|steps?",
    f"{_OF}(?:(?:optimi[sz]er|gradient|time|env)?steps?|iterations?|iters?|it|updates?|(?:mini)?batch(?:es)?|episodes?){_NO}|{_OF}(?:samples?|examples?|images?|tokens?|frames?)(?:seen)?",
]
_CALLS = "_step"  # of Weights & Biases: calls of its logger, which go on where a run is resumed
_INDEX = re.compile(r"(unnamed: ?\d+|index)?", re.IGNORECASE)  # of rows, as pandas and R write it
_NO_COUNT = re.compile(
    r".*(time|second|date|elapsed|duration|loss|acc|error|reward|score|lr).*|relative|secs?|pid", re.IGNORECASE
)
_CLOCK = re.compile(r"_?runtime|_?timestamp|wall ?time|relative", re.IGNORECASE)  # what tools write beside the metrics

# What pandas, R and spreadsheets write where there is no value; ``nan`` may also be the value of a run that diverged.
_BLANK = frozenset({"", "-", "--", "na", "n/a", "#n/a", "<na>", "null", "none"})
_OF_TOTAL = re.compile(r"[^\d.]*(\d+)(?:\s*(?:/|of)\s*\d+)?[^\d.]*")  # 5/60, [5/60], Epoch 5
_IN_ARRAY = re.compile(r"(?:[A-Za-z][\w.]*\(\[?|\[|<.*numpy=)\s*([^\s,()\[\]]+?)\s*(?:\]?(?:,\s*[A-Za-z].*)?\)|\]|,?>)")
_ARGUMENTS = re.compile(
    r"(\w\(\[?[-+.\w]+\]?)\s*,[^()\"]*(?:\(\)[^()\"]*)*\)"
)  # of a tensor, which are no cells of their own
_THOUSANDS, _WHOLE_THOUSANDS = (
    re.compile(rf"(?<=\d)[{one}](?=\d{{3}}(?!\d))") for one in (" '\u00a0\u202f", " ',\u00a0\u202f")
)
_COMMA = re.compile(r"([-+]?\d+),(\d+(?:[eE][-+]?\d+)?\s*%?)")
_SURELY_DECIMAL = re.compile(r"[-+]?(0\d*,\d+|\d+,(\d{1,2}|\d{4,})|\d{4,},\d+)(e[-+]?\d+)?\s*%?", re.IGNORECASE)
_DATE = re.compile(r"\d+([-/.:])\d+\1\d+.*|\d+:\d+.*")


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

    def numbers(self, name: str) -> tuple[_Floats, NDArray[np.bool_]] | None:
        """Return a column as numbers, NaN where a cell is empty or says so, and which are not empty; ``None`` if it seems to be text."""
        cells = self.columns[name]
        try:
            return np.array([*map(float, cells)]), np.ones(len(cells), dtype=bool)
        except ValueError:
            text = [str(cell).strip() for cell in cells]
        rank = meaning(name)
        there = np.array([cell.lower() not in _BLANK for cell in text])
        comma = self.comma or any(map(_SURELY_DECIMAL.fullmatch, text))
        read = [_value(cell, comma=comma, counts=rank is not None) for cell in text]
        odd = [row for row in np.flatnonzero(there).tolist() if read[row] is None]
        if len(odd) > there.sum() / 2 and rank not in (0, 2) and not any(_is_quantity(text[row]) for row in odd):
            return None
        if odd:
            comma_said = ", with a point for its decimals" if "," in text[odd[0]] else ""
            raise InputError(f"{self.where(odd[0])}: {name} is {cells[odd[0]]!r}, a number is needed{comma_said}")
        percent = np.array([cell.endswith("%") for cell in text])
        for row in np.flatnonzero(there & ~percent)[:1] if percent.any() else ():
            raise InputError(f"{self.where(row)}: {name} is {cells[row]!r}, while others end in %; write all alike")
        for row in [row for row in np.flatnonzero(there).tolist() if _number(text[row]) is None and rank is None][:1]:
            self.notes[f"{name} is read from text"] = f"{text[row]} as {read[row]:.6g}, {self.where(row)}"
        return np.array(read, dtype=np.float64), there

    def series(self, name: str, *, epoch: _Floats | None, step: _Floats | None) -> Series | None:
        """Return a column as a metric, without its empty cells; ``None`` if it seems to be text."""
        numbers = self.numbers(name)
        return numbers and Series(numbers[0], epoch=epoch, step=step, line=self.line).take(numbers[1])

    def metrics(
        self, *, epoch: _Floats | None, step: _Floats | None, besides: set[str]
    ) -> tuple[dict[str, Series], dict[str, str]]:
        """Return the metrics, and those with faults, as `Log` has them, besides some columns; text is noted."""
        metrics, faults, texts = {}, {}, []
        for name in self.columns:
            if name in besides or _INDEX.fullmatch(name) or _CLOCK.fullmatch(name):
                continue
            try:
                series = self.series(name, epoch=epoch, step=step)
            except InputError as fault:
                faults[name] = str(fault)
                continue
            if series is None:
                texts.append(name)
            else:
                metrics[name] = series
        if not metrics and not faults:
            seen = "".join(f"; {self.where(0)}: {name} is {self.columns[name][0]!r}" for name in texts[:1])
            raise InputError(f"{self.path}: no column of numbers that could be a metric{seen}")
        if texts:
            self.notes[f"columns of text are left out: {', '.join(texts)}"] = str(self.path)
        return metrics, faults

    def progress(self, run: NDArray[np.int64] | None = None) -> tuple[_Floats | None, _Floats | None, set[str]]:
        """Return epoch and step of each row, ``None`` where no column has them, and the columns that count.

        A column is known by its name, and where none is, by whole numbers at equal distances, which are taken for epochs. One that starts
        again within each epoch does not count. Where no column does, rows are, which is noted; of several runs, of which ``run`` has the
        number for each row, they cannot be, and an InputError is raised.
        """
        same = np.ones(len(self.line) - 1, dtype=bool) if run is None else run[1:] == run[:-1]
        ranks: dict[str, tuple[int, bool, int]] = {}  # epochs first, and of each what changes
        found: dict[str, _Floats] = {}
        moves: dict[str, _Floats] = {}
        for name in self.columns:
            rank = meaning(name)
            numbers = None if rank is None else self.numbers(name)
            if rank is not None and numbers is not None:
                move = np.where(same, np.diff(numbers[0]), 0)
                if rank in (0, 2) or move.any():
                    ranks[name], found[name], moves[name] = (rank // 2, not move.any(), rank), numbers[0], move
        chosen: dict[int, str] = {}
        for name in sorted(found, key=lambda name: ranks[name]):
            above = [one for one in found if one not in (name, _CALLS) and ranks[one][0] <= ranks[name][0]]
            if not any(((moves[name] < 0) & (moves[one] > 0)).any() for one in above):
                chosen.setdefault(ranks[name][0], name)
        if chosen:
            return found.get(chosen.get(0, "")), found.get(chosen.get(1, "")), {*found}
        unknown = self._unknown(same, several=run is not None)
        if unknown is not None:
            title = f"column {unknown}" if unknown else "first column, which has no name,"
            self.notes[f"the {title} is taken to count epochs"] = str(self.path)
            return np.array([*map(float, self.columns[unknown])]), None, {unknown}
        if run is not None:
            raise InputError(f"{self.path}: no column 'epoch'; there is {', '.join(self.columns)}")
        self.notes["no column counts epochs, so rows are counted as epochs"] = str(self.path)
        return np.arange(1.0, len(self.line) + 1), None, set()

    def _unknown(self, same: NDArray[np.bool_], *, several: bool) -> str | None:
        """Return the first column of whole numbers at equal distances, but where a run was resumed, if another could be a metric."""
        numbers: dict[str, _Floats] = {}
        for name in self.columns:
            with suppress(ValueError):
                numbers[name] = np.array([*map(float, self.columns[name])])
        for name, value in numbers.items() if len(self.columns) > 1 else ():
            apart = np.diff(value)[same]
            up = apart[apart > 0]
            whole = (value >= 0).all() and (value == np.floor(value)).all()
            few = len(apart) < 2 - bool(_INDEX.fullmatch(name)) or len(up) < max(1, 0.75 * len(apart))
            is_index = several and (np.diff(value) == 1).all()
            if not whole or few or is_index or _NO_COUNT.fullmatch(name):
                continue
            if (up == up[0]).all():
                return name
            if name == next(iter(self.columns)) and len(up) == len(apart):
                raise InputError(
                    f"{self.path}: {name or 'the first column'} rises from row to row by unequal distances; name it epoch or step if it "
                    "counts these, else put a column epoch before it"
                )
        return None


@functools.lru_cache(maxsize=1024)
def meaning(name: str) -> int | None:
    """Return the place of a name among those of columns that count: 0 and 1 for epochs, 2 and 3 for steps; ``None`` for another."""
    key = re.sub(r"[^a-z0-9]", "", re.sub(r"\(.*\)|\[.*\]", "", name.lower()))
    return 3 if name == _CALLS else next((i for i, known in enumerate(_COUNTING) if re.fullmatch(known, key)), None)


def read_table(path: Path, *, rename: Callable[[list[str]], list[str]] = list) -> Table:
    """Read a text file with a header line, maybe packed by gzip, or a Parquet file; which it is shows in the content.

    ``rename`` may tell columns of one name apart. Another file, no header, no rows, and a row with too few or too many values raise an
    InputError that names file and line; a last line with too few was cut, and is left out.
    """
    try:
        with _opened(path) as text:
            table = _read_parquet(path) if text is None else _read_text(path, text.readlines(), rename)
    except (UnicodeError, csv.Error, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a CSV text file ({error})") from None
    if not len(table.line):
        raise InputError(f"{path}: no rows below the header line")
    return table


def header_of(path: Path) -> list[str]:
    """Return the names of the columns of a text file; none if it has no first line or is not text."""
    try:
        with _opened(path) as text:
            lines, separator, _ = _laid_out([] if text is None else list(itertools.islice(text, 100)))
        return [name.strip() for name in next(filter(None, csv.reader(lines, delimiter=separator)), [])]
    except (OSError, EOFError, UnicodeError, csv.Error, zlib.error):
        return []


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOWrapper | None]:
    """Open a text file, whatever its encoding says of itself; ``None`` stands for a Parquet file."""
    with open(path, "rb") as raw:
        start = raw.peek(4)[:4]
        file = gzip.GzipFile(fileobj=raw) if start[:2] == b"\x1f\x8b" else raw
        wide = file.peek(2)[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
        yield None if start == b"PAR1" else io.TextIOWrapper(file, encoding="utf-16" if wide else "utf-8-sig")


def _laid_out(lines: list[str]) -> tuple[list[str], str, list[int]]:
    """Return lines of which the first that is not blank is the header, their separator, and where comments below it were blanked.

    A comment right above a line of numbers is the header, as numpy writes it.
    """
    comments = {i: line.lstrip("#") for i, line in enumerate(lines) if line[0] == "#"}
    lines = ["\n" if i in comments else line for i, line in enumerate(lines)] if comments else lines
    filled = itertools.islice((i for i, line in enumerate(lines) if not line.isspace()), 2)
    first, second = (*filled, 0, 0)[:2]
    above = max((i for i in comments if i < first), default=None)
    if above is not None:
        separator = _separator(comments[above], lines[first])
        row = _cells(lines[first], separator)
        if len(row) == len(_cells(comments[above], separator)) and None not in map(_number, row):
            lines[above], first, second = comments[above], above, first
    separator = _separator(lines[first], lines[second]) if lines else ","
    if separator == "|" and lines[first].startswith("|"):
        lines = ["\n" if set(line) <= set("|-+=: \n") else line.strip().strip("|") for line in lines]
    elif separator[0] == " ":
        lines = [re.sub(f"{separator}+", "\t", line.strip()) + "\n" for line in lines]
    return lines, separator.replace("  ", " ").replace(" ", "\t"), [i for i in comments if i > first]


def _separator(header: str, row: str) -> str:
    """Return the separator by which a header and a row have equally many cells."""
    there = [one for one in (",", ";", "\t", "|", "  ", " ") if one in header.strip(" ")]
    for one in there:
        if header.count(one) == row.count(one) or len(_cells(header, one)) == len(_cells(row, one)):
            return one
    return max((one for one in there if one.strip(" ")), key=header.count, default=",")


def _cells(line: str, separator: str) -> list[str]:
    if separator[0] == " ":
        return re.split(f"{separator}+", line.strip())
    return next(csv.reader([line.strip("\n")], delimiter=separator, skipinitialspace=True), [])


def _read_text(path: Path, lines: list[str], rename: Callable[[list[str]], list[str]]) -> Table:
    lines, separator, comments = _laid_out(lines)
    lines = [_ARGUMENTS.sub(r"\1)", line) if "(" in line else line for line in lines]
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    header = next(filter(None, reader), [])
    names = rename([name.strip() for name in header])
    if not names or names == [""]:
        raise InputError(f"{path}: empty; expected a header line and one line for each epoch")
    if None not in map(_number, names):
        raise InputError(f"{path}, line {reader.line_num}: a number where the names of the columns are expected")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}, line {reader.line_num}: two columns are named {name!r}")
    rows, line, cut = [], list[int](), ""
    notes = {"comment lines are left out": f"{path}, line {comments[0] + 1}"} if comments else {}
    for row in filter(None, reader):
        if cut or len(row) != len(names):
            wrong = f"{path}, line {reader.line_num}: {len(row)} values, but the header names {len(names)} columns"
            if cut or len(row) > len(names):
                raise InputError(cut or wrong)
            cut = wrong
        elif row == header:
            notes["a header line stands again; what follows belongs to the same run"] = (
                f"{path}, line {reader.line_num}"
            )
        else:
            rows.append(tuple(row))  # of which, other than of lists, the garbage collector looks at each once
            line.append(reader.line_num)
    if cut:
        notes["the last line was cut, and is left out"] = f"{path}, line {reader.line_num}"
    columns = dict(zip(names, zip(*rows, strict=True), strict=bool(rows)))
    return Table(path, columns, np.array(line, dtype=np.int64), comma=separator == ";", notes=notes)


def _read_parquet(path: Path) -> Table:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        frame = pq.read_table(path).to_pandas()
    except pa.ArrowException as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None
    named = [name for name in frame.index.names if name is not None]  # pandas may have kept columns as an index
    if named:
        frame = frame.reset_index(named)
    elif not frame.index.equals(pd.RangeIndex(len(frame))):
        frame.insert(0, "", frame.index)
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
    """Return the number for which a cell stands; where it ``counts``, 5 for 5/60."""
    if match := _IN_ARRAY.fullmatch(cell):
        cell = match[1]
    cell = (_WHOLE_THOUSANDS if counts and not comma else _THOUSANDS).sub("", cell).replace("\u2212", "-")
    cell = _COMMA.sub(r"\1.\2", cell) if comma else cell
    if cell.endswith("%"):
        cell = f"{cell[:-1].strip()}e-2"  # 91.14 / 100 is not always the number nearest to 0.9114
    match = _OF_TOTAL.fullmatch(cell) if counts and _number(cell) is None else None
    return float(match[1]) if match else _number(cell)


def _is_quantity(cell: str) -> bool:
    """Test whether a cell that is no number is mostly figures, so that a metric may have been meant."""
    figures = sum(letter.isdigit() or letter in ".,+-%" for letter in cell)
    return 2 * figures > len(cell) and re.match(r"[^\w]*\d", cell) is not None and not _DATE.fullmatch(cell)
