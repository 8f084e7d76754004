"""The labelled array runs x epochs, and its Parquet store.

A *store* is a folder with ``store.json`` (what was trained, how many runs and epochs were asked for) and one Parquet shard for each
block of runs. Shards hold one row per run and epoch; blocks are trained whole, so shards may hold more than was asked for.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fptlib.errors import InputError

DEFAULT_METRIC = "test_metric"
STORE_FILE = "store.json"
STORE_FORMAT = 1
_METADATA_KEY = b"fptlib"


@dataclass(frozen=True, slots=True)
class Trajectories:
    """Metrics of many trainings, epoch by epoch.

    Parameters
    ----------
    metrics
        Name of a metric to its values, float64, shape ``(runs, epochs)``; column ``j`` is epoch ``j + 1``.
    run
        Label of each run (its seed or number), int64, shape ``(runs,)``, all different.
    meta
        What is known of the origin: ``spec``, ``digest``, ``n_evaluated`` (images behind an accuracy), ``source``.

    Raises
    ------
    InputError
        If there is no run, no epoch or no metric, if shapes disagree, a label is repeated or a value is not finite.

    Examples
    --------
    >>> t = Trajectories(metrics={"test_metric": np.array([[0.2, 0.5], [0.1, 0.9]])}, run=np.array([3, 4]))
    >>> t.n_runs, t.n_epochs
    (2, 2)
    """

    metrics: Mapping[str, NDArray[np.float64]]
    run: NDArray[np.int64]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        where = self.meta.get("source", "trajectories")
        if not self.metrics:
            raise InputError(f"{where}: no metric; at least one is needed")
        for name, values in self.metrics.items():
            if values.ndim != 2 or values.shape[0] != len(self.run):
                raise InputError(
                    f"{where}: metric {name!r} has shape {values.shape}, expected ({len(self.run)} runs, epochs)"
                )
            if values.size == 0:
                raise InputError(f"{where}: metric {name!r} is empty; at least one run and one epoch are needed")
            if values.shape[1] != self.n_epochs:
                raise InputError(
                    f"{where}: metric {name!r} has {values.shape[1]} epochs, the others have {self.n_epochs}"
                )
        if len(np.unique(self.run)) != len(self.run):
            labels, counts = np.unique(self.run, return_counts=True)
            raise InputError(f"{where}: run {labels[counts > 1][0]} occurs more than once; labels must be unique")

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.run)

    @property
    def n_epochs(self) -> int:
        """Number of epochs recorded for every run: the horizon."""
        return int(next(iter(self.metrics.values())).shape[1])

    def metric(self, name: str | None = None) -> NDArray[np.float64]:
        """Values of one metric, shape ``(runs, epochs)``; by default ``test_metric``, or the only metric there is.

        Raises
        ------
        InputError
            If there is no such metric, several to choose from, or a value in it is not a finite number.
        """
        where = self.meta.get("source", "trajectories")
        known = ", ".join(sorted(self.metrics))
        if name is None:
            name = next(iter(self.metrics)) if len(self.metrics) == 1 else DEFAULT_METRIC
            if name not in self.metrics:
                raise InputError(f"{where}: which metric? name one of {known}")
        if name not in self.metrics:
            raise InputError(f"{where}: no metric {name!r}; there is {known}")
        values = self.metrics[name]
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{where}: metric {name!r} of run {self.run[row]} at epoch {column + 1} is {values[row, column]}; "
                "finite numbers are needed"
            )
        return values

    def head(self, *, runs: int | None = None, epochs: int | None = None) -> Trajectories:
        """The first runs and epochs (all where ``None``)."""
        metrics = {name: values[:runs, :epochs] for name, values in self.metrics.items()}
        return Trajectories(metrics=metrics, run=self.run[:runs], meta=self.meta)


def concatenate(parts: Iterable[Trajectories]) -> Trajectories:
    """Runs of several records with the same metrics and the same number of epochs, in the order given.

    Raises
    ------
    InputError
        If metrics or numbers of epochs differ, or a label is repeated.
    """
    parts = list(parts)
    first = parts[0]
    for part in parts[1:]:
        if set(part.metrics) != set(first.metrics) or part.n_epochs != first.n_epochs:
            raise InputError("records with different metrics or numbers of epochs cannot be put together")
    metrics = {name: np.concatenate([part.metrics[name] for part in parts]) for name in first.metrics}
    return Trajectories(metrics=metrics, run=np.concatenate([part.run for part in parts]), meta=first.meta)


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
    """One row per run and epoch: columns ``run``, ``epoch`` and the metrics; ``meta`` as JSON in the schema."""
    columns: dict[str, pa.Array] = {
        "run": pa.array(np.repeat(trajectories.run, trajectories.n_epochs)),
        "epoch": pa.array(np.tile(np.arange(1, trajectories.n_epochs + 1, dtype=np.int32), trajectories.n_runs)),
    }
    columns |= {name: pa.array(values.reshape(-1)) for name, values in trajectories.metrics.items()}
    meta = json.dumps(dict(trajectories.meta), sort_keys=True)
    return pa.table(columns).replace_schema_metadata({_METADATA_KEY: meta.encode()})


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
        return _from_table(table, json.loads(metadata[_METADATA_KEY]))
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: damaged ({' '.join(str(error).split())})") from None


def _from_table(table: pa.Table, meta: Mapping[str, Any]) -> Trajectories:
    """Undo `to_table`; a ValueError or KeyError says what is not as it would have left it."""
    n_epochs = int(np.max(table["epoch"].to_numpy(), initial=1))
    grid = {name: table[name].to_numpy().reshape(-1, n_epochs) for name in table.column_names}
    run, epoch = grid.pop("run"), grid.pop("epoch")
    if (run != run[:, :1]).any() or (epoch != np.arange(1, n_epochs + 1)).any():
        raise ValueError("rows are not in the order of runs and epochs")
    metrics = {name: values.astype(np.float64) for name, values in grid.items()}
    return Trajectories(metrics=metrics, run=run[:, 0].astype(np.int64), meta=meta)


def write_store_file(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``store.json``: ``spec``, ``digest``, ``runs`` and ``epochs`` asked for; the format is added."""
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
    return content


def read_store(folder: str | os.PathLike[str]) -> Trajectories:
    """Runs and epochs of a store that were asked for.

    Raises
    ------
    InputError
        If the store is damaged, or has not all the runs and epochs asked for (its training was interrupted).
    """
    folder = Path(folder)
    content = read_store_file(folder)
    runs, epochs = content["runs"], content["epochs"]
    parts: list[Trajectories] = []
    for path in sorted(folder.glob("runs-*.parquet")):
        part = read_shard(path)
        if part.meta.get("digest") != content["digest"]:
            raise InputError(f"{path}: belongs to another ensemble (digest {part.meta.get('digest')})")
        if part.n_epochs >= epochs and int(part.run[0]) < runs:
            parts.append(part.head(epochs=epochs))
    found = sum(part.n_runs for part in parts)
    if found < runs:
        raise InputError(
            f"{folder}: {found} of {runs} runs are trained to epoch {epochs}; train again with the same parameters to resume"
        )
    whole = concatenate(parts).head(runs=runs)
    if not np.array_equal(whole.run, np.arange(runs)):
        raise InputError(f"{folder}: runs are missing or repeated; delete the shards concerned and train again")
    return Trajectories(metrics=whole.metrics, run=whole.run, meta={**whole.meta, "source": str(folder)})
