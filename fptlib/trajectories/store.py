"""The Parquet store of trajectories.

A *store* is a folder with ``store.json`` (what was trained, how many runs and epochs were asked for) and one Parquet shard for each
block of runs. Shards hold one row per run and epoch that was trained; blocks are trained whole, so shards may hold more than was
asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.trajectories.record import Trajectories, concatenate, holds, retire
from fptlib.trajectories.target import Target

if TYPE_CHECKING:
    import pyarrow as pa

STORE_FILE = "store.json"
STORE_FORMAT = 1
_METADATA_KEY = b"fptlib"
_HORIZON_KEY = b"fptlib_horizon"


def to_table(trajectories: Trajectories) -> pa.Table:
    """Return one row per run and epoch that was recorded: columns ``run``, ``epoch`` and the metrics.

    The schema holds ``meta`` with a checksum of the metrics, and the horizon.
    """
    import pyarrow as pa

    recorded = ~trajectories.later  # (runs, epochs)
    columns: dict[str, pa.Array] = {
        "run": pa.array(np.repeat(trajectories.run, trajectories.lengths)),
        "epoch": pa.array((np.nonzero(recorded)[1] + 1).astype(np.int32)),
    }
    columns |= {name: pa.array(values[recorded]) for name, values in trajectories.metrics.items()}
    meta = {**trajectories.meta, "content": _checksum(trajectories)}
    kept = {_METADATA_KEY: json.dumps(meta, sort_keys=True), _HORIZON_KEY: str(trajectories.n_epochs)}
    return pa.table(columns).replace_schema_metadata({key: text.encode() for key, text in kept.items()})


def _checksum(trajectories: Trajectories) -> str:
    """Return 16 hexadecimal digits of SHA-256 over names and values, whatever the order of the metrics."""
    state, later = hashlib.sha256(), trajectories.later
    for name in sorted(trajectories.metrics):
        state.update(name.encode())
        state.update(np.where(later, np.nan, trajectories.metrics[name]).tobytes())
    return state.hexdigest()[:16]


def write_shard(path: str | os.PathLike[str], trajectories: Trajectories, *, level: int | None = None) -> None:
    """Write a Parquet shard in one step, compressed at a level of zstd."""
    import pyarrow.parquet as pq

    table = to_table(trajectories)
    write_atomically(Path(path), lambda file: pq.write_table(table, file, compression="zstd", compression_level=level))


def read_shard(path: str | os.PathLike[str], *, digest: str | None = None, first: int | None = None) -> Trajectories:
    """Read a shard that `write_shard` wrote, of the ensemble with this digest, with runs labelled from ``first`` on.

    An InputError says that the file is not a shard, is damaged or altered, or holds other runs than asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    metadata = table.schema.metadata or {}
    if _METADATA_KEY not in metadata:
        raise InputError(f"{path}: a Parquet file without the metadata of a shard")
    try:
        meta = dict(json.loads(metadata[_METADATA_KEY]))
        content = meta.pop("content", None)
        record = _from_table(table, meta, int(metadata[_HORIZON_KEY]))
    except (KeyError, TypeError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    if content != _checksum(record):
        raise InputError(f"{path}: damaged (its checksum differs)")
    if digest is not None and meta.get("digest") != digest:
        raise InputError(f"{path}: belongs to another ensemble (digest {meta.get('digest')})")
    if first is not None and not np.array_equal(record.run, first + np.arange(record.n_runs)):
        raise InputError(f"{path}: damaged (its runs are not {first} to {first + record.n_runs - 1})")
    return record


def _from_table(table: pa.Table, meta: Mapping[str, Any], n_epochs: int) -> Trajectories:
    """Undo `to_table`; a ValueError or KeyError says what is not as it would have left it."""
    columns = {name: table[name].to_numpy() for name in table.column_names}
    run, epoch = columns.pop("run"), columns.pop("epoch")
    starts = np.flatnonzero(epoch == 1)
    lengths = np.diff(starts, append=len(epoch))  # of each run
    if lengths.sum() != len(epoch) or len(epoch) == 0:
        raise ValueError("rows do not start at epoch 1")
    places = np.arange(len(epoch)) - np.repeat(starts, lengths)
    if (run != np.repeat(run[starts], lengths)).any() or (epoch - 1 != places).any():
        raise ValueError("rows are not in the order of runs and epochs")
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
    """Read ``store.json``; an InputError if it is missing, damaged or of another format."""
    path = folder / STORE_FILE
    try:
        content = json.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a store has this file") from None
    except ValueError:
        raise InputError(f"{path}: damaged (not JSON)") from None
    if not isinstance(content, dict) or content.get("format") != STORE_FORMAT:
        raise InputError(f"{path}: not a store of format {STORE_FORMAT}")
    counts = [content.get(name) for name in ("runs", "epochs")]
    if not isinstance(content.get("digest"), str) or not all(isinstance(n, int) and n > 0 for n in counts):
        raise InputError(f"{path}: damaged (digest, runs or epochs missing or impossible)")
    if content.get("retirement") is not None:
        try:
            Target.from_dict(content["retirement"])
        except InputError as error:
            raise InputError(f"{path}: damaged ({error})") from None
    return content


def read_store(folder: str | os.PathLike[str]) -> Trajectories:
    """Return the requested runs and epochs of a store, all cut at the requested retirement, if any.

    An InputError says that the store is damaged or altered, or its training was interrupted.
    """
    folder = Path(folder)
    content = read_store_file(folder)
    runs, epochs = content["runs"], content["epochs"]
    retirement = None if content.get("retirement") is None else Target.from_dict(content["retirement"])
    parts: list[Trajectories] = []
    for path in sorted(folder.glob("runs-*.parquet")):
        part = read_shard(path, digest=content["digest"])
        if int(part.run[0]) < runs and holds(part, epochs=epochs, retirement=retirement):
            part = part.head(epochs=epochs)
            parts.append(part if retirement is None else retire(part, retirement))
    n_runs = sum(part.n_runs for part in parts)
    if n_runs < runs:
        raise InputError(
            f"{folder}: {n_runs} of {runs} runs are trained to epoch {epochs}; train again with the same parameters to resume"
        )
    record = concatenate(parts).head(runs=runs)
    if not np.array_equal(record.run, np.arange(runs)):
        raise InputError(f"{folder}: runs are missing or repeated; delete the shards concerned and train again")
    return replace(record, meta={**record.meta, "source": str(folder)})
