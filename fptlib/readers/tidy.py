"""One tidy table, CSV or Parquet: columns ``run``, ``epoch`` and one for each metric."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fptlib.errors import InputError
from fptlib.trajectories import Trajectories

_PARQUET_MAGIC = b"PAR1"


def read_tidy(path: str | os.PathLike[str]) -> Trajectories:
    """Read a table with one row for each run and epoch, in any order.

    Runs may be labelled by numbers or by names; epochs count 1, 2, 3, ... and are the same for all runs. Columns of text are left
    out.

    Raises
    ------
    InputError
        If the file cannot be read, ``run`` or ``epoch`` is missing, a column of numbers holds a text, no column of numbers is
        left, an epoch is missing or repeated, or runs have different lengths.
    """
    path = Path(path)
    frame = _read_frame(path)
    for column in ("run", "epoch"):
        if column not in frame.columns:
            raise InputError(f"{path}: no column {column!r}; there is {', '.join(map(str, frame.columns))}")
    epoch = pd.to_numeric(frame["epoch"], errors="coerce")
    if epoch.isna().any():
        row = int(epoch.isna().to_numpy().argmax())
        raise InputError(f"{path}, line {row + 2}: epoch is {frame['epoch'].iloc[row]!r}, a number is needed")
    if frame.empty:
        raise InputError(f"{path}: no rows")
    for name in frame.columns.drop(["run", "epoch"]):
        _refuse_text(path, frame[name])
    codes, labels = pd.factorize(frame["run"], sort=True)
    if (codes < 0).any():
        raise InputError(f"{path}, line {int((codes < 0).argmax()) + 2}: no run given")
    frame = frame.assign(run=codes, epoch=epoch).sort_values(["run", "epoch"], kind="stable")
    lengths = frame.groupby("run").size().to_numpy()
    if (lengths != lengths[0]).any():
        other = int((lengths != lengths[0]).argmax())
        raise InputError(
            f"{path}: run {labels[other]} has {lengths[other]} epochs, run {labels[0]} has {lengths[0]}; "
            "runs of one table must be equally long"
        )
    epochs = frame["epoch"].to_numpy().reshape(len(labels), -1)
    wrong = np.flatnonzero((epochs != np.arange(1, epochs.shape[1] + 1)).any(axis=1))
    if len(wrong):
        raise InputError(
            f"{path}: epochs of run {labels[wrong[0]]} are not 1, 2, 3, ... to {epochs.shape[1]} (if they start at 0, add 1)"
        )
    numeric = [name for name in frame.columns if name not in ("run", "epoch") and _is_numeric(frame[name])]
    if not numeric:
        texts = frame.drop(columns=["run", "epoch"]).loc[[0]]  # the first line, wherever sorting has put it
        said = [f"; line 2: {name} is {column.iloc[0]!r}" for name, column in texts.items()]
        raise InputError(f"{path}: no column of numbers beside run and epoch" + "".join(said[:1]))
    metrics = {str(name): frame[name].to_numpy(dtype=np.float64).reshape(epochs.shape) for name in numeric}
    run = labels.to_numpy() if hasattr(labels, "to_numpy") else np.asarray(labels)
    if not np.issubdtype(run.dtype, np.integer):
        run = np.arange(len(run))
    return Trajectories(metrics=metrics, run=run.astype(np.int64), meta={"source": str(path)})


def _read_frame(path: Path) -> pd.DataFrame:
    try:
        with open(path, "rb") as file:
            is_parquet = file.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        if is_parquet:
            frame: pd.DataFrame = pq.read_table(path).to_pandas()
            named = [name for name in frame.index.names if name is not None]  # pandas may have kept columns as an index
            return (frame.reset_index(named) if named else frame).reset_index(drop=True)
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
    return frame


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _refuse_text(path: Path, column: pd.Series) -> None:
    """Refuse a column where at least half of the values are numbers and another is not: it is a metric with a fault."""
    if pd.api.types.is_numeric_dtype(column):
        return
    texts = (pd.to_numeric(column, errors="coerce").isna() & column.notna()).to_numpy()
    if 0 < texts.sum() <= column.notna().sum() / 2:
        row = int(texts.argmax())
        raise InputError(f"{path}, line {row + 2}: {column.name} is {column.iloc[row]!r}, a number is needed")
