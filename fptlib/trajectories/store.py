"""The Parquet store of trajectories.

A *store* is a folder with ``store.json`` (what was trained, how many runs and epochs were asked for) and one Parquet shard for each
block of runs. Shards hold one row per run and epoch that was trained; blocks are trained whole, so shards may hold more than was
asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.trajectories.record import Retirement, Trajectories, concatenate, holds, retire

STORE_FILE = "store.json"
STORE_FORMAT = 1
_METADATA_KEY = b"fptlib"
_HORIZON_KEY = b"fptlib_horizon"


def write_atomically(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then move it there in one step.

    A reader sees the old content or the new one and never a part, whenever the process is stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(_file_mode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _file_mode() -> int:
    """Permissions that a plain `open` would give; temporary files are private."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def to_table(trajectories: Trajectories) -> pa.Table:
    """One row per run and epoch that was recorded: columns ``run``, ``epoch`` and the metrics; in the schema ``meta`` and the horizon."""
    recorded = np.arange(trajectories.n_epochs) < trajectories.lengths[:, None]  # (runs, epochs)
    columns: dict[str, pa.Array] = {
        "run": pa.array(np.repeat(trajectories.run, trajectories.lengths)),
        "epoch": pa.array((np.nonzero(recorded)[1] + 1).astype(np.int32)),
    }
    columns |= {name: pa.array(values[recorded]) for name, values in trajectories.metrics.items()}
    meta = json.dumps(dict(trajectories.meta), sort_keys=True)
    return pa.table(columns).replace_schema_metadata(
        {_METADATA_KEY: meta.encode(), _HORIZON_KEY: str(trajectories.n_epochs).encode()}
    )


def checksum(metrics: Mapping[str, NDArray[np.float64]]) -> str:
    """16 hexadecimal digits of SHA-256 over names and values, float64, whatever their order."""
    state = hashlib.sha256()
    for name in sorted(metrics):
        state.update(name.encode())
        state.update(np.ascontiguousarray(metrics[name]).tobytes())
    return state.hexdigest()[:16]


def write_shard(path: str | os.PathLike[str], trajectories: Trajectories) -> None:
    """Write a Parquet shard atomically."""
    table = to_table(trajectories)
    write_atomically(Path(path), lambda file: pq.write_table(table, file, compression="zstd"))


def read_shard(path: str | os.PathLike[str]) -> Trajectories:
    """Read a shard that `write_shard` wrote.

    Raises
    ------
    InputError
        If the file is damaged or was not written by `write_shard`.
    """
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    metadata = table.schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise InputError(f"{path}: a Parquet file without the metadata of a shard")
    try:
        horizon = int(metadata[_HORIZON_KEY]) if _HORIZON_KEY in metadata else None
        return _from_table(table, json.loads(metadata[_METADATA_KEY]), horizon)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def _from_table(table: pa.Table, meta: Mapping[str, Any], horizon: int | None) -> Trajectories:
    """Undo `to_table`; a ValueError or KeyError says what is not as it would have left it."""
    columns = {name: table[name].to_numpy() for name in table.column_names}
    run, epoch = columns.pop("run"), columns.pop("epoch")
    starts = np.flatnonzero(epoch == 1)
    lengths = np.diff(starts, append=len(epoch))  # of each run
    if lengths.sum() != len(epoch) or len(epoch) == 0:
        raise ValueError("rows do not start at epoch 1")
    if (run != np.repeat(run[starts], lengths)).any() or (
        epoch - 1 != np.arange(len(epoch)) - np.repeat(starts, lengths)
    ).any():
        raise ValueError("rows are not in the order of runs and epochs")
    n_epochs = int(epoch.max()) if horizon is None else horizon
    recorded = np.arange(n_epochs) < lengths[:, None]
    metrics = {name: np.full(recorded.shape, np.nan) for name in columns}
    for name, values in columns.items():
        metrics[name][recorded] = values.astype(np.float64)
    followed = None if recorded.all() else lengths
    return Trajectories(metrics=metrics, run=run[starts].astype(np.int64), meta=meta, followed=followed)


def write_store_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``store.json``: ``spec``, ``digest``, ``runs`` and ``epochs`` asked for, ``retirement`` if any; the format is added."""
    text = json.dumps({"format": STORE_FORMAT, **content}, indent=1, sort_keys=True) + "\n"
    write_atomically(folder / STORE_FILE, lambda file: file.write(text.encode()))


def read_store_file(folder: Path) -> dict[str, Any]:
    """Content of ``store.json``.

    Raises
    ------
    InputError
        If it is missing, damaged or of another format.
    """
    path = folder / STORE_FILE
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a store has this file") from None
    except ValueError:
        raise InputError(f"{path}: damaged (not JSON)") from None
    if not isinstance(content, dict) or content.get("format") != STORE_FORMAT:
        raise InputError(f"{path}: not a store of format {STORE_FORMAT}")
    if not all(isinstance(content.get(name), kind) for name, kind in (("digest", str), ("runs", int), ("epochs", int))):
        raise InputError(f"{path}: damaged (digest, runs or epochs missing)")
    if content.get("retirement") is not None:
        try:
            Retirement.from_dict(content["retirement"])
        except InputError as error:
            raise InputError(f"{path}: damaged ({error})") from None
    return content


def read_store(folder: str | os.PathLike[str]) -> Trajectories:
    """Runs and epochs of a store that were asked for, all cut at the retirement asked for, if any.

    Raises
    ------
    InputError
        If the store is damaged, or has not all the runs and epochs asked for (its training was interrupted, or its runs were retired
        too early).
    """
    folder = Path(folder)
    content = read_store_file(folder)
    runs, epochs = content["runs"], content["epochs"]
    retirement = None if content.get("retirement") is None else Retirement.from_dict(content["retirement"])
    parts: list[Trajectories] = []
    for path in sorted(folder.glob("runs-*.parquet")):
        part = read_shard(path)
        if part.meta.get("digest") != content["digest"]:
            raise InputError(f"{path}: belongs to another ensemble (digest {part.meta.get('digest')})")
        if int(part.run[0]) < runs and holds(part, epochs=epochs, retirement=retirement):
            part = part.head(epochs=epochs)
            parts.append(part if retirement is None else retire(part, retirement))
    found = sum(part.n_runs for part in parts)
    if found < runs:
        raise InputError(
            f"{folder}: {found} of {runs} runs are trained to epoch {epochs}; train again with the same parameters to resume"
        )
    whole = concatenate(parts).head(runs=runs)
    if not np.array_equal(whole.run, np.arange(runs)):
        raise InputError(f"{folder}: runs are missing or repeated; delete the shards concerned and train again")
    meta = {**whole.meta, "source": str(folder)}
    return Trajectories(metrics=whole.metrics, run=whole.run, meta=meta, followed=whole.followed)
