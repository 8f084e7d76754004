"""One task from its files to its files: what is there is used, what is missing is trained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib import data
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble import store
from fptlib.ensemble.resources import UNIT, device_of, numerics
from fptlib.ensemble.training import Task, Training
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import Retirement, Trajectories
from fptlib.trajectories.record import passages


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task: whether it is done, or another process is at it; and the run-epochs it took."""

    done: bool
    trained: int


def unperturbed(spec: EnsembleSpec) -> EnsembleSpec:
    """The same training without its perturbation."""
    return override(spec, {"perturbation": None})


def perform(
    folder: Path, task: Task, report: Callable[[int], object] = lambda _n: None, *, wait: bool = True
) -> Outcome:
    """Train what the store lacks of a task, and write it.

    Parameters
    ----------
    folder
        The store. The store of unperturbed training beside it is used where it has something to branch off from.
    task
        What is asked for. Its shards are trained whole.
    report
        Told of run-epochs that are done, trained or found.
    wait
        Whether to wait for another process that trains some of these runs.
    """
    if task.device == "auto" or task.spec.device == "cuda":
        task = replace(task, device=device_of(task.spec))
    with store.locked(folder, task.units, wait=wait) as free:
        if not free:
            return Outcome(done=False, trained=0)
        units = [unit for unit in task.units if store.held(folder, task, unit) is None]
        trained = _train(folder, task, units, report) if units else 0
        for epoch in sorted(task.keep):
            trained += _retrace(folder, task, epoch, report)
    return Outcome(done=True, trained=trained)


def _runs(units: list[int]) -> tuple[int, ...]:
    return tuple(run for unit in units for run in range(unit, unit + UNIT))


def _train(folder: Path, task: Task, units: list[int], report: Callable[[int], object]) -> int:
    """Train whole shards to what is asked for."""
    digest, source = task.spec.digest(), _load(task.spec)
    start = [found for unit in units if (found := store.snapshot_at(folder, unit, digest)) is not None]
    known = {int(run) for part in start for run in part.run}
    branches, records = _from_parent(folder, task, units, known)
    runs = tuple(run for run in _runs(units) if run not in records)
    trained = 0
    training: Training | None = None
    if runs:
        with numerics():
            training = Training(replace(task, runs=runs), source, start, branches)
            report(int(np.minimum(training.epoch, task.epochs).sum()))
            trained = _go_on(folder, training, report)
    for unit in units:
        _assemble(folder, task, source, unit, training, records)
    return trained


def _go_on(folder: Path, training: Training, report: Callable[[int], object]) -> int:
    trained, written, saved = 0, 0, time.monotonic()
    while training.active:
        done = training.step_epoch()
        trained += done
        report(done)
        store.save_kept(folder, training.take_kept())
        if time.monotonic() - saved > training.task.spec.execution.snapshot_s:
            store.save_snapshots(folder, training.snapshots())
            saved, written = time.monotonic(), trained
    # Before the shards: whenever the process ends, what is missing can be made from what is there.
    if trained > written:
        store.save_snapshots(folder, training.snapshots())
    return trained


def _assemble(
    folder: Path, task: Task, source: Dataset, unit: int, training: Training | None, records: dict[int, _Record]
) -> None:
    rows: list[_Record] = []
    for run in range(unit, unit + UNIT):
        if run in records:
            rows.append(records[run])
        else:
            assert training is not None
            row = int(np.flatnonzero(training.runs == run)[0])
            rows.append(
                _Record({name: values[row] for name, values in training.metrics.items()}, int(training.epoch[row]))
            )
    metrics = {name: np.stack([_widened(row.metrics[name], task.epochs) for row in rows]) for name in rows[0].metrics}
    store.save_shard(folder, task, source, unit, metrics, np.array([row.followed for row in rows]))


def _widened(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    out = np.full(width, np.nan)
    out[: min(width, len(values))] = values[:width]
    return out


@dataclass(frozen=True, slots=True)
class _Record:
    """One run that needs no training: its metrics, and the epochs they were followed for."""

    metrics: dict[str, NDArray[np.float64]]
    followed: int


def _from_parent(
    folder: Path, task: Task, units: list[int], known: set[int]
) -> tuple[list[Snapshot], dict[int, _Record]]:
    """What unperturbed training beside this store has: snapshots at the first perturbation, and runs that passed before."""
    schedule = task.spec.perturbation
    if schedule is None:
        return [], {}
    # Unperturbed training keeps no best state.
    period = None if "best" in schedule.rule.needs else schedule.period
    if schedule.period >= task.epochs:
        return [], {}
    parent = unperturbed(task.spec)
    beside = folder.parent / parent.digest()
    branches: list[Snapshot] = []
    records: dict[int, _Record] = {}
    for unit in units:
        snapshot = None if period is None else store.snapshot_at(beside, unit, parent.digest(), period)
        if snapshot is not None:
            branches.append(snapshot)
        if task.retirement is not None and (shard := store.shard(beside, unit, parent.digest())) is not None:
            records |= _passed(shard, task.retirement, schedule.period)
    return branches, {run: record for run, record in records.items() if run not in known}


def _passed(shard: Trajectories, retirement: Retirement, period: int) -> dict[int, _Record]:
    """Runs that had passed when they would have been perturbed for the first time."""
    passage, observed = passages(shard, **retirement.to_dict())
    return {
        int(run): _Record({name: values[row] for name, values in shard.metrics.items()}, int(passage[row]))
        for row, run in enumerate(shard.run)
        if observed[row] and passage[row] <= period
    }


def _retrace(folder: Path, task: Task, epoch: int, report: Callable[[int], object]) -> int:
    """Make snapshots at an epoch that training has passed without keeping one, of the runs that were going on there."""
    digest = task.spec.digest()
    needed: list[int] = []
    start: list[Snapshot] = []
    for unit in task.units:
        shard = store.held(folder, task, unit)
        assert shard is not None
        kept = store.snapshot_at(folder, unit, digest, epoch)
        have = set(kept.run.tolist()) if kept is not None else set()
        going = np.ones(len(shard.run), dtype=bool)
        if task.retirement is not None:
            passage, observed = passages(shard, **task.retirement.to_dict())
            going = (passage > epoch) | ~observed
        missing = [int(run) for run in shard.run[going] if run not in have]
        needed += missing
        if missing:
            earlier = [store.snapshot_at(folder, unit, digest, e) for e in _kept_epochs(folder, unit) if e < epoch]
            start += [part for part in reversed(earlier) if part is not None]
    if not needed:
        return 0
    trained = 0
    with numerics():
        training = Training(
            replace(task, runs=tuple(needed), epochs=epoch, keep=(epoch,), retirement=None), _load(task.spec), start
        )
        while training.active:
            done = training.step_epoch()
            trained += done
            report(0)
        store.save_kept(folder, training.take_kept())
    return trained


def _kept_epochs(folder: Path, unit: int) -> list[int]:
    stem = store.shard_path(folder, unit).stem
    return sorted(
        int(path.name.split(".epoch-")[1].removesuffix(".ckpt")) for path in folder.glob(f"{stem}.epoch-*.ckpt")
    )


def _load(spec: EnsembleSpec) -> Dataset:
    """The data, kept for the next task with the same."""
    return _loaded(json.dumps(spec.data.model_dump(mode="json"), sort_keys=True), spec)


_LAST: dict[str, Any] = {}


def _loaded(key: str, spec: EnsembleSpec) -> Dataset:
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = data.load(spec.data)
    found: Dataset = _LAST[key]
    return found
