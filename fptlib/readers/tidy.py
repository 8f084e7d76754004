"""One tidy table, CSV or Parquet: columns ``run``, ``epoch`` (or ``step``) and one for each metric."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.assemble import Axis, assemble
from fptlib.readers.csv_run import EPOCH, STEP
from fptlib.readers.logs import Format, Log, Series
from fptlib.trajectories import Trajectories

_PARQUET_MAGIC = b"PAR1"


def read_tidy(path: str | os.PathLike[str], *, axis: Axis = "auto", every: int | None = None) -> Trajectories:
    """Read a table with one row for each run and epoch, in any order.

    Runs may be labelled by numbers or by names, and may have different lengths. Columns of text are left out.

    Parameters
    ----------
    path
        The table.
    axis, every
        As in `fptlib.readers.assemble`.

    Raises
    ------
    InputError
        If the file cannot be read, ``run`` or ``epoch`` is missing, no column of numbers is left, or no metric can be counted, see
        `fptlib.readers.assemble`.
    """
    return assemble(_read(Path(path)), source=str(path), axis=axis, every=every, kind=FORMAT.name)


def _read(path: Path) -> Sequence[Log]:
    frame, word, first = _read_frame(path)
    roles = [next((name for name in names if name in frame.columns), None) for names in (EPOCH, STEP)]
    for known, needed in (("run" in frame.columns, "run"), (any(roles), "epoch")):
        if not known:
            raise InputError(f"{path}: no column {needed!r}; there is {', '.join(map(str, frame.columns))}")
    if frame.empty:
        raise InputError(f"{path}: no rows")
    line = np.arange(first, first + len(frame))
    places = [None if role is None else _place(path, frame[role], word, line) for role in roles]
    codes, names = pd.factorize(frame["run"], sort=True)
    if (codes < 0).any():
        raise InputError(f"{path}, {word} {line[(codes < 0).argmax()]}: no run given")
    metrics = {name: frame[name] for name in frame.columns if name not in ("run", *EPOCH, *STEP)}
    faults = {str(name): said for name, column in metrics.items() if (said := _fault(path, column, word, line))}
    numbers = {
        str(name): column.to_numpy(dtype=np.float64, na_value=np.nan)
        for name, column in metrics.items()
        if _is_numeric(column)
    }
    if not numbers and not faults:
        texts = [f"; {word} {first}: {name} is {column.iloc[0]!r}" for name, column in metrics.items()]
        raise InputError(f"{path}: no column of numbers beside run and epoch" + "".join(texts[:1]))
    if numbers:
        empty = np.isnan(np.stack(list(numbers.values()))).all(axis=0)
        if empty.any():
            raise InputError(
                f"{path}, {word} {line[empty.argmax()]}: no metric in this {word}; leave it out if the run had ended before"
            )
    first_place = next(place for place in places if place is not None)
    order = np.lexsort((first_place, codes))  # by run, in it by epoch
    ends = np.flatnonzero(np.diff(codes[order])) + 1
    return [
        _log(path, str(name), rows, numbers, places, line, faults, word)
        for name, rows in zip(names, np.split(order, ends), strict=True)
    ]


def _log(
    path: Path,
    name: str,
    rows: NDArray[np.int64],
    numbers: dict[str, NDArray[np.float64]],
    places: list[NDArray[np.float64] | None],
    line: NDArray[np.int64],
    faults: dict[str, str],
    word: str,
) -> Log:
    """What the run in some rows logged; nothing where a cell is empty."""
    metrics = {}
    for metric, values in numbers.items():
        at = rows[~np.isnan(values[rows])]
        epoch, step = (None if place is None else place[at] for place in places)
        metrics[metric] = Series(value=values[at], epoch=epoch, step=step, line=line[at])
    return Log(path, name=name, metrics=metrics, faults=faults, word=word)


def _read_frame(path: Path) -> tuple[pd.DataFrame, str, int]:
    """The table, and what a row is called and the number of the first."""
    try:
        if _is_parquet(path):
            frame: pd.DataFrame = pq.read_table(path).to_pandas()
            named = [name for name in frame.index.names if name is not None]  # pandas may have kept columns as an index
            return (frame.reset_index(named) if named else frame).reset_index(drop=True), "row", 1
        # the default conversion is fast and misses the nearest number, enough to miss a threshold that was reached exactly
        frame = pd.read_csv(path, float_precision="round_trip")
    except pd.errors.EmptyDataError:
        raise InputError(f"{path}: empty; expected columns run, epoch and a metric") from None
    except (pd.errors.ParserError, UnicodeDecodeError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable table ({' '.join(str(error).split())})") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes surplus values at the start of rows for labels
        n_named = len(frame.columns)
        raise InputError(
            f"{path}: rows have {n_named + frame.index.nlevels} values, but the header names {n_named} columns"
        )
    return frame, "line", 2


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC


def _place(path: Path, column: pd.Series, word: str, line: NDArray[np.int64]) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce")
    if numbers.isna().any():
        row = int(numbers.isna().to_numpy().argmax())
        raise InputError(f"{path}, {word} {line[row]}: {column.name} is {column.iloc[row]!r}, a number is needed")
    return np.asarray(numbers.to_numpy(dtype=np.float64))


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _fault(path: Path, column: pd.Series, word: str, line: NDArray[np.int64]) -> str | None:
    """What is wrong with a column where at least half of the values are numbers and another is not: it is a metric with a fault."""
    if pd.api.types.is_numeric_dtype(column):
        return None
    texts = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if not 0 < texts.sum() <= column.notna().sum() / 2:
        return None
    row = int(texts.argmax())
    return f"{path}, {word} {line[row]}: {column.name} is {column.iloc[row]!r}, a number is needed"


FORMAT = Format("tidy table", matches=lambda path: path.is_file(), read=_read)
