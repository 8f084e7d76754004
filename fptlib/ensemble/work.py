"""One task from its files to its files: what is there is used, what is missing is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fptlib import data
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble.resources import UNIT, device_of, numerics
from fptlib.ensemble.store import Store
from fptlib.ensemble.training import Task, Training
from fptlib.spec import DataSpec, override
from fptlib.trajectories import Target, Trajectories
from fptlib.trajectories.record import passages

# Metrics of one run by name, shape ``(epochs,)``, and the epochs that it was followed for.
Record = tuple[Mapping[str, NDArray[np.float64]], int]


def perform(store: Store, task: Task, report: Callable[[int], object], *, wait: bool) -> int | None:
    """Train what the store lacks of a task, whole shards of it, and write it; ``None`` where it is left to another process.

    The store of unperturbed training beside it is used where it has something to branch off from. ``report`` is called with
    run-epochs that are done, trained or found; returned are those trained. With ``wait``, another process that trains some of these
    runs is waited for.
    """
    if task.device == "auto" or task.spec.device == "cuda":
        task = replace(task, device=device_of(task.spec))
    with store.locked(task.units, wait=wait) as free:
        if not free:
            return None
        units = [unit for unit in task.units if store.held(task, unit) is None]
        trained = _train(store, task, units, report) if units else 0
        return trained + sum(_retrace(store, task, epoch) for epoch in sorted(task.keep))


def _train(store: Store, task: Task, units: list[int], report: Callable[[int], object]) -> int:
    """Train whole shards to what is asked for."""
    source = _load(task.spec.data)
    start = [snapshot for unit in units if (snapshot := store.snapshot(unit)) is not None]
    known = {int(run) for part in start for run in part.run}
    branches, records = _from_parent(store, task, units)
    records = {run: record for run, record in records.items() if run not in known}
    runs = tuple(run for unit in units for run in range(unit, unit + UNIT) if run not in records)
    trained = 0
    if runs:
        with numerics():
            training = Training(replace(task, runs=runs), source, start, branches)
            report(int(np.minimum(training.epoch, task.epochs).sum()))
            for done in _epochs(store, training):
                trained += done
                report(done)
        records |= {run: training.record(run) for run in runs}
    for unit in units:
        rows = [records[run] for run in range(unit, unit + UNIT)]
        followed = np.array([min(epochs, task.epochs) for _, epochs in rows])
        metrics = {name: np.full((UNIT, task.epochs), np.nan) for name in rows[0][0]}
        for row, ((values, _), n) in enumerate(zip(rows, followed, strict=True)):
            for name, column in metrics.items():
                column[row, :n] = values[name][:n]
        store.save_shard(task, source, unit, metrics, followed)
    return trained


def _epochs(store: Store, training: Training) -> Iterator[int]:
    """Train epoch by epoch, and write snapshots from time to time and at the end; yields the runs that were trained."""
    saved, unsaved = time.monotonic(), 0
    while training.active:
        done = training.step_epoch()
        unsaved += done
        yield done
        store.keep(training.take_kept())
        if time.monotonic() - saved > training.task.spec.execution.snapshot_s:
            store.save(training.snapshots())
            saved, unsaved = time.monotonic(), 0
    # Before the shards: whenever the process ends, what is missing can be made from what is there.
    if unsaved:
        store.save(training.snapshots())


def _from_parent(store: Store, task: Task, units: list[int]) -> tuple[list[Snapshot], dict[int, Record]]:
    """Return what unperturbed training beside this store has.

    That is snapshots at the first perturbation, and the records of runs that reached the retirement up to there.
    """
    schedule = task.spec.perturbation
    if schedule is None or schedule.period >= task.epochs:
        return [], {}
    digest = override(task.spec, {"perturbation": None}).digest()
    parent = Store(store.folder.parent / digest, digest)
    branches: list[Snapshot] = []
    records: dict[int, Record] = {}
    for unit in units:
        # Unperturbed training keeps no best state.
        snapshot = None if "best" in schedule.rule.needs else parent.snapshot(unit, schedule.period)
        branches += [] if snapshot is None else [snapshot]
        if task.retirement is not None and (shard := parent.shard(unit)) is not None:
            passage, observed = passages(shard, task.retirement)
            for row in np.flatnonzero(observed & (passage <= schedule.period)):
                values = {name: column[row] for name, column in shard.metrics.items()}
                records[int(shard.run[row])] = values, int(passage[row])
    return branches, records


def surviving(record: Trajectories, retirement: Target | None, epoch: int) -> NDArray[np.bool_]:
    """Test which runs had not reached the threshold of a retirement by an epoch."""
    if retirement is None:
        return np.ones(record.n_runs, dtype=bool)
    passage, observed = passages(record, retirement)
    return (passage > epoch) | ~observed


def _retrace(store: Store, task: Task, epoch: int) -> int:
    """Make snapshots at an epoch that training has passed without keeping one, of the runs that were going on there."""
    needed: list[int] = []
    start: list[Snapshot] = []
    for unit in task.units:
        shard = store.held(task, unit)
        assert shard is not None
        kept = store.snapshot(unit, epoch)
        going = shard.run[surviving(shard, task.retirement, epoch)]
        missing = going if kept is None else np.setdiff1d(going, kept.run.numpy())
        needed += missing.tolist()
        earlier = [e for e in store.kept_epochs(unit) if e < epoch] if len(missing) else []
        start += [part for e in reversed(earlier) if (part := store.snapshot(unit, e)) is not None]
    if not needed:
        return 0
    retraced = replace(task, runs=tuple(needed), epochs=epoch, keep=(epoch,), retirement=None)
    trained = 0
    with numerics():
        training = Training(retraced, _load(task.spec.data), start)
        while training.active:
            trained += training.step_epoch()
        store.keep(training.take_kept())
    return trained


def _load(spec: DataSpec) -> Dataset:
    """Load the data, and keep them for the next task with the same."""
    key = spec.model_dump_json()
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = data.load(spec)
    return _LAST[key]


_LAST: dict[str, Dataset] = {}
