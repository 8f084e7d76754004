"""What an ensemble keeps on disk: shards, snapshots and the note of what was asked for."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fptlib import checkpoints, trajectories
from fptlib.ensemble.training import UNIT, Block, Training
from fptlib.errors import InputError
from fptlib.sources import cache_dir
from fptlib.spec import ENGINE_VERSION, EnsembleSpec
from fptlib.trajectories import Trajectories


def shard_path(folder: Path, unit: int) -> Path:
    """Parquet file of the runs from ``unit`` on."""
    return folder / f"runs-{unit:05d}-{unit + UNIT - 1:05d}.parquet"


def snapshot_path(folder: Path, unit: int) -> Path:
    """Snapshot of the runs from ``unit`` on."""
    return shard_path(folder, unit).with_suffix(".ckpt")


def _content(metrics: Mapping[str, NDArray[np.float64]]) -> str:
    """Checksum of recorded numbers."""
    state = hashlib.sha256()
    for name in sorted(metrics):
        state.update(name.encode())
        state.update(np.ascontiguousarray(metrics[name]).tobytes())
    return state.hexdigest()[:16]


def _meta(block: Block) -> dict[str, Any]:
    """What is written beside the numbers: where they come from."""
    meta: dict[str, Any] = {
        "spec": block.spec.identity(),
        "digest": block.spec.digest(),
        "engine": ENGINE_VERSION,
        "torch": str(torch.__version__),
        "device": block.device,
        "data": block.data.digest(),
        "n_evaluated": len(block.data.y_test),
    }
    if block.data.y_valid is not None:
        meta["n_validated"] = len(block.data.y_valid)
    return meta


def _discard(path: Path, reason: str) -> None:
    warnings.warn(f"{path}: {reason}; these runs are trained again", stacklevel=2)
    path.unlink(missing_ok=True)


def _sound_shard(folder: Path, unit: int, digest: str) -> Trajectories | None:
    """A shard, or ``None`` where there is none or it is damaged."""
    path = shard_path(folder, unit)
    if not path.exists():
        return None
    try:
        shard = trajectories.read_shard(path)
    except InputError as error:
        _discard(path, str(error).removeprefix(f"{path}: "))
        return None
    if shard.meta.get("digest") != digest:
        _discard(path, f"belongs to another ensemble (digest {shard.meta.get('digest')})")
        return None
    if shard.meta.get("content") != _content(shard.metrics) or list(shard.run) != list(range(unit, unit + UNIT)):
        _discard(path, "damaged (its checksum differs)")
        return None
    return shard


def common_snapshots(folder: Path, block: Block) -> list[checkpoints.Snapshot]:
    """Snapshots of all shards of a block if they are sound and of one epoch, else none."""
    found: list[checkpoints.Snapshot] = []
    for unit in block.units:
        path = snapshot_path(folder, unit)
        if not path.exists():
            return []
        try:
            snapshot = checkpoints.read(path)
        except InputError as error:
            _discard(path, str(error).removeprefix(f"{path}: "))
            return []
        if snapshot.digest != block.spec.digest() or snapshot.first_run != unit:
            _discard(path, f"belongs to other runs (digest {snapshot.digest})")
            return []
        found.append(snapshot)
    return found if len({snapshot.epoch for snapshot in found}) == 1 else []


def store_path(spec: EnsembleSpec, out: str | os.PathLike[str] | None = None) -> Path:
    """Folder of the store of a specification: ``out/<digest>``.

    Parameters
    ----------
    spec
        Specification.
    out
        Folder of stores; by default the one that ``FPTLIB_CACHE`` names, else ``ensembles`` in the user's cache.
    """
    return (Path(out) if out is not None else cache_dir() / "ensembles") / spec.digest()


def note_request(folder: Path, spec: EnsembleSpec) -> None:
    """Put what was asked for in ``store.json``, unless more than that was asked for before."""
    digest = spec.digest()
    try:
        old = trajectories.read_store_file(folder)
        covered = old.get("digest") == digest and old["runs"] >= spec.runs and old["epochs"] >= spec.epochs
    except (InputError, KeyError, TypeError):
        covered = False
    if not covered:
        content = {"spec": spec.identity(), "digest": digest, "runs": spec.runs, "epochs": spec.epochs}
        trajectories.write_store_file(folder, content)


def stored(folder: Path, spec: EnsembleSpec) -> dict[int, Trajectories]:
    """Sound shards that reach the horizon, by their first run."""
    found: dict[int, Trajectories] = {}
    for unit in range(0, spec.runs, UNIT):
        shard = _sound_shard(folder, unit, spec.digest())
        if shard is not None and shard.n_epochs >= spec.epochs:
            found[unit] = shard
    return found


def save_snapshots(folder: Path, training: Training) -> None:
    """Write where the training stands, one file for each shard."""
    for snapshot in training.snapshots():
        checkpoints.write(snapshot_path(folder, snapshot.first_run), snapshot)


def save_shards(folder: Path, training: Training) -> None:
    """Write what was recorded."""
    block = training.block
    for unit in block.units:
        rows = slice(unit - block.first, unit - block.first + UNIT)
        metrics = {name: values[rows] for name, values in training.recorded().items()}
        meta = _meta(block) | {"content": _content(metrics)}
        shard = Trajectories(metrics=metrics, run=np.arange(unit, unit + UNIT), meta=meta)
        trajectories.write_shard(shard_path(folder, unit), shard)
