"""What an ensemble keeps on disk: shards, snapshots and the note of what was asked for.

A shard holds the record of `UNIT` runs as it was asked for last; the snapshot beside it holds how far they ever came, with
their states. Epochs asked for are kept in snapshots of their own, to fork from. Every file is written in one step, checked
when it is read, and made again where it is damaged.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from fptlib import checkpoints, trajectories
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.training import Task
from fptlib.errors import InputError
from fptlib.sources import cache_dir
from fptlib.spec import ENGINE_VERSION, EnsembleSpec
from fptlib.trajectories import Retirement, Trajectories


def store_path(spec: EnsembleSpec, out: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the store of a specification: ``out/<digest>``.

    Parameters
    ----------
    spec
        Specification.
    out
        Folder of stores; by default ``ensembles`` in the folder that ``FPTLIB_CACHE`` names, else in the user's cache.
    """
    return (Path(out) if out is not None else cache_dir() / "ensembles") / spec.digest()


def shard_path(folder: Path, unit: int) -> Path:
    """Parquet file of the runs from ``unit`` on."""
    return folder / f"runs-{unit:05d}-{unit + UNIT - 1:05d}.parquet"


def snapshot_path(folder: Path, unit: int, epoch: int | None = None) -> Path:
    """Snapshot of the runs from ``unit`` on: how far they came, or after one epoch."""
    return shard_path(folder, unit).with_suffix(".ckpt" if epoch is None else f".epoch-{epoch:05d}.ckpt")


# -- what was asked for


def note_request(folder: Path, spec: EnsembleSpec, retirement: Retirement | None) -> None:
    """Put what was asked for in ``store.json``, unless more than that was asked for before.

    Files of the user's are kept there by their text, so that the request can be read without them; also those of which
    nothing is used yet, for a fork may.
    """
    digest, files = spec.digest(), [file.model_dump() for file in spec.uses]
    try:
        old = trajectories.read_store_file(folder)
        covered = (
            old.get("digest") == digest
            and old["runs"] >= spec.runs
            and old["epochs"] >= spec.epochs
            and _follows_further(old.get("retirement"), retirement)
        )
    except (InputError, KeyError, TypeError):
        covered = False
    written = spec.identity() | ({"uses": files} if files else {})
    if not covered:
        content = {"spec": written, "digest": digest, "runs": spec.runs, "epochs": spec.epochs}
        if retirement is not None:
            content["retirement"] = retirement.to_dict()
        trajectories.write_store_file(folder, content)
    elif not all(file in old["spec"].get("uses", []) for file in files):
        trajectories.write_store_file(folder, {**old, "spec": written})


def _follows_further(old: Mapping[str, Any] | None, new: Retirement | None) -> bool:
    """Whether runs retired as before are followed at least as far as is asked now."""
    if old is None or new is None:
        return old is None
    return Retirement.from_dict(old).covers(new)


# -- shards


def _meta(task: Task, data: Dataset) -> dict[str, Any]:
    """What is written beside the numbers: where they come from."""
    meta: dict[str, Any] = {
        "spec": task.spec.identity(),
        "digest": task.spec.digest(),
        "engine": ENGINE_VERSION,
        "torch": str(torch.__version__),
        "numba": version("numba") if find_spec("numba") else None,
        "device": task.device,
        "data": data.digest(),
        "n_evaluated": len(data.y_test),
    }
    if data.y_valid is not None:
        meta["n_validated"] = len(data.y_valid)
    return meta


def _discard(path: Path, reason: str) -> None:
    warnings.warn(f"{path}: {reason}; these runs are trained again", stacklevel=2)
    path.unlink(missing_ok=True)


def shard(folder: Path, unit: int, digest: str) -> Trajectories | None:
    """A sound shard, or ``None`` where there is none or it is damaged."""
    path = shard_path(folder, unit)
    if not path.exists():
        return None
    try:
        return trajectories.read_shard(path, digest=digest, first=unit)
    except InputError as error:
        _discard(path, str(error).removeprefix(f"{path}: "))
        return None


def held(folder: Path, task: Task, unit: int) -> Trajectories | None:
    """A shard that has what a task asks for."""
    found = shard(folder, unit, task.spec.digest())
    if found is None or not trajectories.holds(found, epochs=task.epochs, retirement=task.retirement):
        return None
    return found


def cut(record: Trajectories, epochs: int, retirement: Retirement | None) -> Trajectories:
    """The part of a record that is asked for."""
    record = record.head(epochs=epochs)
    return record if retirement is None else trajectories.retire(record, retirement)


def save_shard(
    folder: Path,
    task: Task,
    data: Dataset,
    unit: int,
    metrics: Mapping[str, NDArray[np.float64]],
    followed: NDArray[Any],
) -> None:
    """Write the record of a unit as it was asked for; rows of ``metrics`` are its runs."""
    meta = _meta(task, data)
    if task.retirement is not None:
        meta["retirement"] = task.retirement.to_dict()
    followed = np.minimum(followed, task.epochs)
    record = Trajectories(
        metrics={name: _cleared(values[:, : task.epochs], followed) for name, values in metrics.items()},
        run=np.arange(unit, unit + UNIT),
        meta=meta,
        followed=followed,
    )
    with _space(folder):
        trajectories.write_shard(shard_path(folder, unit), cut(record, task.epochs, task.retirement))


def _cleared(values: NDArray[np.float64], followed: NDArray[Any]) -> NDArray[np.float64]:
    """Values with NaN where a run was not followed."""
    return np.where(np.arange(values.shape[1]) < followed[:, None], values, np.nan)


# -- snapshots


def save_snapshots(folder: Path, snapshots: Sequence[Snapshot]) -> None:
    """Write where runs stand, one file for each shard."""
    for snapshot in snapshots:
        _write(folder, snapshot_path(folder, _unit(snapshot)), snapshot)


def save_kept(folder: Path, snapshots: Sequence[Snapshot]) -> None:
    """Write snapshots to fork from; runs that such a file has already stay in it."""
    for snapshot in snapshots:
        epoch = int(snapshot.epoch[0])
        path = snapshot_path(folder, _unit(snapshot), epoch)
        old = snapshot_at(folder, _unit(snapshot), snapshot.digest, epoch)
        _write(folder, path, snapshot if old is None else checkpoints.merge(snapshot, old))


def _write(folder: Path, path: Path, snapshot: Snapshot) -> None:
    with _space(folder):
        checkpoints.write(path, snapshot)


def _unit(snapshot: Snapshot) -> int:
    run = int(snapshot.run[0])
    return run - run % UNIT


def snapshot_at(folder: Path, unit: int, digest: str, epoch: int | None = None) -> Snapshot | None:
    """A sound snapshot, or ``None``; what is damaged or of another format is removed, the latter without a word."""
    path = snapshot_path(folder, unit, epoch)
    if not path.exists():
        return None
    try:
        found = checkpoints.read(path)
    except checkpoints.OtherFormatError:
        # Expected after an update, and only time is lost.
        path.unlink(missing_ok=True)
        return None
    except InputError as error:
        _discard(path, str(error).removeprefix(f"{path}: "))
        return None
    if found.digest != digest or _unit(found) != unit:
        _discard(path, f"belongs to other runs (digest {found.digest})")
        return None
    return found


# -- several processes, full disks


@contextmanager
def locked(folder: Path, units: Sequence[int], *, wait: bool) -> Iterator[bool]:
    """Keep other processes from training these units; false where one does and we do not wait for it.

    The system gives a lock back when its process ends, however it ends.
    """
    with ExitStack() as held_locks:
        try:
            for unit in units:
                lock = filelock.FileLock(shard_path(folder, unit).with_suffix(".lock"))
                held_locks.enter_context(lock.acquire(blocking=wait))
        except filelock.Timeout:
            held_locks.close()
            yield False
            return
        yield True


@contextmanager
def _space(folder: Path) -> Iterator[None]:
    """Say in one line that nothing could be written, and that nothing is lost."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = "no space is left" if full else (error.strerror or str(error))
        raise InputError(
            f"{folder}: {what}; everything written so far is kept: make room and repeat the same call to go on"
        ) from None
