"""The files of an ensemble: shards, snapshots and the note of what was asked for.

A shard holds the record of `UNIT` runs as it was asked for last; the snapshot beside it holds how far they ever came, with
their states. Epochs asked for are kept in snapshots of their own, to fork from. Every file is written in one step, checked
when it is read, and made again where it is damaged.
"""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, final

import filelock
import numpy as np
import torch
from numpy.typing import NDArray

from fptlib import checkpoints
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.training import Task
from fptlib.errors import InputError
from fptlib.sources import cache_dir
from fptlib.spec import ENGINE_VERSION, EnsembleSpec
from fptlib.trajectories import Target, Trajectories, read_shard, retire, write_shard
from fptlib.trajectories.record import holds
from fptlib.trajectories.store import read_store_file, write_store_file

_Read = TypeVar("_Read")


def store_path(spec: EnsembleSpec, out: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of the store of a specification, ``out/<digest>``.

    By default ``out`` is ``ensembles`` in the folder that ``FPTLIB_CACHE`` names, else in the user's cache.
    """
    return (Path(out) if out is not None else cache_dir() / "ensembles") / spec.digest()


@final
@dataclass(frozen=True, slots=True)
class Store:
    """The files of the ensemble with a digest: those of ``UNIT`` runs are named by the first of them, the *unit*."""

    folder: Path
    digest: str

    def path(self, unit: int, suffix: str = ".parquet") -> Path:
        """Return the path of a file of the runs from ``unit`` on."""
        return self.folder / f"runs-{unit:05d}-{unit + UNIT - 1:05d}{suffix}"

    def note_request(self, spec: EnsembleSpec, retirement: Target | None) -> None:
        """Put what was asked for in ``store.json``, unless more than that was asked for before.

        Of files of the user's it keeps name and digest; also of those of which nothing is used yet, for a fork may.
        """
        files = [{"name": Path(file.name).name, "sha256": file.sha256} for file in spec.uses]
        written = spec.identity() | ({"uses": files} if files else {})
        content = {"spec": written, "digest": self.digest, "runs": spec.runs, "epochs": spec.epochs}
        if retirement is not None:
            content["retirement"] = retirement.to_dict()
        try:
            old = read_store_file(self.folder)
            if _covers(old, content):
                if all(file in old["spec"].get("uses", []) for file in files):
                    return
                content = {**old, "spec": written}
        except (InputError, KeyError, TypeError):
            pass  # none, or a damaged one
        write_store_file(self.folder, content)

    def shard(self, unit: int) -> Trajectories | None:
        """Return a sound shard, or ``None`` where there is none or it is damaged."""
        return _sound(self.path(unit), lambda path: read_shard(path, digest=self.digest, first=unit))

    def held(self, task: Task, unit: int) -> Trajectories | None:
        """Return what a task asks for of a unit, or ``None`` where the shard has less than that."""
        record = self.shard(unit)
        if record is None or not holds(record, epochs=task.epochs, retirement=task.retirement):
            return None
        return _cut(record.head(epochs=task.epochs), task)

    def save_shard(
        self,
        task: Task,
        data: Dataset,
        unit: int,
        metrics: Mapping[str, NDArray[np.float64]],
        followed: NDArray[np.int64],
    ) -> None:
        """Write the record of a unit as a task asks for it: ``metrics`` ``(UNIT, epochs)``, and the epochs of each run."""
        meta: dict[str, Any] = {
            "spec": task.spec.identity(),
            "digest": self.digest,
            "engine": ENGINE_VERSION,
            "torch": str(torch.__version__),
            "numba": version("numba"),
            "device": task.device,
            "data": data.digest(),
            "n_evaluated": len(data.y_test),
        }
        if data.y_valid is not None:
            meta["n_validated"] = len(data.y_valid)
        record = Trajectories(metrics=metrics, run=np.arange(unit, unit + UNIT), meta=meta, followed=followed)
        with self._space():
            write_shard(self.path(unit), _cut(record, task))

    def snapshot(self, unit: int, epoch: int | None = None) -> Snapshot | None:
        """Return a sound snapshot, of how far runs came or after one epoch, or ``None``."""

        def read(path: Path) -> Snapshot:
            snapshot = checkpoints.read(path)
            if snapshot.digest != self.digest or _unit(snapshot) != unit:
                raise InputError(f"{path}: belongs to other runs (digest {snapshot.digest})")
            return snapshot

        return _sound(self.path(unit, _suffix(epoch)), read)

    def kept_epochs(self, unit: int) -> list[int]:
        """Return the epochs after which there are snapshots to fork from."""
        names = (path.name for path in self.folder.glob(f"{self.path(unit).stem}.epoch-*.ckpt"))
        return sorted(int(name.split(".epoch-")[1].removesuffix(".ckpt")) for name in names)

    def save(self, snapshots: Sequence[Snapshot]) -> None:
        """Write where runs stand, one file for each shard."""
        for snapshot in snapshots:
            with self._space():
                checkpoints.write(self.path(_unit(snapshot), _suffix(None)), snapshot)

    def keep(self, snapshots: Sequence[Snapshot]) -> None:
        """Write snapshots to fork from; runs that such a file has already stay in it."""
        for snapshot in snapshots:
            unit, epoch = _unit(snapshot), int(snapshot.epoch[0])
            if (old := self.snapshot(unit, epoch)) is not None:
                snapshot = checkpoints.merge(snapshot, old)
            with self._space():
                checkpoints.write(self.path(unit, _suffix(epoch)), snapshot)

    @contextmanager
    def locked(self, units: Sequence[int], *, wait: bool) -> Iterator[bool]:
        """Keep other processes from training these units; false where one does and we do not wait for it.

        The system gives a lock back when its process ends, however it ends.
        """
        with ExitStack() as locks:
            try:
                for unit in units:
                    locks.enter_context(filelock.FileLock(self.path(unit, ".lock")).acquire(blocking=wait))
            except filelock.Timeout:
                locks.close()
                yield False
                return
            yield True

    @contextmanager
    def _space(self) -> Iterator[None]:
        """Say in one line that nothing could be written, and that nothing is lost."""
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
            what = "no space is left" if full else (error.strerror or str(error))
            raise InputError(
                f"{self.folder}: {what}; everything written so far is kept: make room and repeat the same call to go on"
            ) from None


def _suffix(epoch: int | None) -> str:
    return ".ckpt" if epoch is None else f".epoch-{epoch:05d}.ckpt"


def _unit(snapshot: Snapshot) -> int:
    run = int(snapshot.run[0])
    return run - run % UNIT


def _sound(path: Path, read: Callable[[Path], _Read]) -> _Read | None:
    """Read a file; one that is damaged, or of another format (without a word: only time is lost), is removed and made again."""
    if not path.exists():
        return None
    try:
        return read(path)
    except InputError as error:
        if not isinstance(error, checkpoints.OtherFormatError):
            warnings.warn(f"{error}; these runs are trained again", stacklevel=3)
        path.unlink(missing_ok=True)
        return None


def _cut(record: Trajectories, task: Task) -> Trajectories:
    return record if task.retirement is None else retire(record, task.retirement)


def _covers(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Test whether an earlier request asks for at least as much, and follows runs at least as far."""
    at, then = new.get("retirement"), old.get("retirement")
    return bool(
        old["digest"] == new["digest"]
        and old["runs"] >= new["runs"]
        and old["epochs"] >= new["epochs"]
        and (then is None or (at is not None and Target.from_dict(then).covers(Target.from_dict(at))))
    )
