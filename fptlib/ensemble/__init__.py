"""Train many runs at once: specification -> trajectories, kept in a store that is reused, resumed, grown and forked.

Run ``k`` draws from its own random streams and is the same run, bit for bit on one machine and version, whatever is trained
beside it, in whatever order, by how many processes, and however often it was interrupted. Up to its first perturbation a
perturbed run is the unperturbed run of the same number: `fork` trains only what differs.
"""

from __future__ import annotations

import itertools
import math
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fptlib import data, models, progress, trajectories
from fptlib.data import Dataset
from fptlib.ensemble import optimisers
from fptlib.ensemble.resources import UNIT, device_of, runs_within
from fptlib.ensemble.store import cut, held, note_request, store_path
from fptlib.ensemble.training import Task, recorded
from fptlib.ensemble.work import perform
from fptlib.errors import InputError
from fptlib.models import Network
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import Retirement, Trajectories
from fptlib.trajectories.record import passages

__all__ = ["UNIT", "Fork", "fork", "read_request", "store_path", "train"]

# Runs in one task at most: what is lost with a worker, and what a cluster moves about.
_LARGEST_TASK: Final = 128
# Below this many run-epochs per process, starting processes (seconds, for importing torch) costs more than it saves.
_WORTH_A_PROCESS: Final = 6000


def train(
    spec: EnsembleSpec,
    *,
    out: str | os.PathLike[str] | None = None,
    retirement: Retirement | None = None,
    keep: Iterable[int] = (),
    workers: int | None = None,
    scheduler: str | None = None,
) -> Trajectories:
    """Train the runs of a specification, or read those that are stored.

    A store that holds them is read. What is missing is trained: further runs, epochs beyond the stored horizon, and
    whatever an interruption left undone.

    Parameters
    ----------
    spec
        Specification.
    out
        Folder of stores, see `store_path`.
    retirement
        Runs that reach this leave the training, and are followed no further. Without it all runs are followed to the end.
    keep
        Epochs after which snapshots are kept for `fork`; of unperturbed training only.
    workers
        Processes on this machine. By default one for each core, or none beside this one where the work is small or done by a
        GPU.
    scheduler
        Address of a Dask scheduler, ``tcp://HOST:PORT``, whose workers train instead; they must see the folder of stores.

    Returns
    -------
    Trajectories
        ``train_loss``, ``test_loss``, ``test_metric`` (accuracy, a fraction; R2 of regression) and, with a validation split,
        ``valid_metric``, each of shape ``(runs, epochs)``; of regression ``test_rmse`` and ``valid_rmse`` too, in the unit of
        the targets. ``train_loss`` is the mean over the epoch's images, each as
        it was when its batch was trained. ``meta["trained"]`` is the number of run-epochs that this call trained.

    Raises
    ------
    InputError
        If the data cannot be had, the device is not there, an argument is impossible or nothing can be written.
    RuntimeError
        If training processes end unexpectedly, again and again.
    """
    # On a cluster each worker finds out for itself.
    device = device_of(spec) if scheduler is None else spec.device
    epochs = _checked(spec, retirement, keep, workers, scheduler)
    folder = store_path(spec, out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        note_request(folder, spec, retirement)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; a folder that can be written is needed") from None
    runs = math.ceil(spec.runs / UNIT) * UNIT
    whole = Task(spec, tuple(range(runs)), spec.epochs, device, retirement, epochs)
    todo = [unit for unit in whole.units if epochs or held(folder, whole, unit) is None]
    trained = _perform(folder, whole, todo, workers, scheduler) if todo else 0
    shards = [held(folder, whole, unit) for unit in whole.units]
    if any(shard is None for shard in shards):
        raise InputError(f"{folder}: shards disappeared while they were trained; repeat the call")
    record = trajectories.concatenate(cut(shard, spec.epochs, retirement) for shard in shards if shard is not None)
    record = record.head(runs=spec.runs)
    return replace(record, meta={**record.meta, "source": str(folder), "trained": trained})


@dataclass(frozen=True, slots=True)
class Fork:
    """Residual times for the price of the survivors.

    Parameters
    ----------
    spec
        Specification of the perturbed ensemble; its store is an ordinary one.
    trajectories
        All parents' runs: the prefix of each, and what followed for those that went on.
    n_parents, n_survivors
        Runs of the parent, and those that had not passed at the fork (all, without a retirement).
    """

    spec: EnsembleSpec
    trajectories: Trajectories
    n_parents: int
    n_survivors: int


def fork(
    parent: EnsembleSpec,
    *,
    at: int,
    perturbation: Mapping[str, Any],
    retirement: Retirement | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Fork:
    """Perturb unperturbed training at one epoch, and go on only with the runs that had not passed by then.

    The result is what training the perturbed ensemble from the start would give, exactly; only the prefix is not trained
    again. Where the parent has no snapshots at that epoch they are made first, of the runs that are needed.

    Parameters
    ----------
    parent
        Specification of unperturbed training. Its store is trained as far as it is not.
    at
        Epoch of the (first) perturbation; its period, where it is repeated.
    perturbation
        Section ``perturbation`` of the parameters, without ``period``.
    retirement
        Runs that reach this leave the training; runs that had reached it by the fork are not continued.
    out, workers, scheduler
        As in `train`.

    Raises
    ------
    InputError
        As `train`, or if the parent is perturbed itself, or ``at`` lies outside its horizon.
    """
    if parent.perturbation is not None:
        raise InputError(
            "fork: the parent is perturbed already; a fork starts from training without perturbation (perturbation: null)"
        )
    if not 1 <= at < parent.epochs:
        raise InputError(f"fork at epoch {at}: not between 1 and {parent.epochs - 1} (the horizon is {parent.epochs})")
    child = override(parent, {"perturbation": {**perturbation, "period": at}})
    options: dict[str, Any] = {"out": out, "workers": workers, "scheduler": scheduler, "retirement": retirement}
    plain = train(parent, keep=(at,), **options)
    forked = train(child, **options)
    going = plain.n_runs
    if retirement is not None:
        time, observed = passages(plain, **retirement.to_dict())
        going = int(((time > at) | ~observed).sum())
    return Fork(child, forked, plain.n_runs, going)


def read_request(store: str | os.PathLike[str]) -> tuple[EnsembleSpec, Retirement | None]:
    """What a store was made from: the specification, with the runs and epochs asked for, and the retirement.

    Raises
    ------
    InputError
        If there is no store, or it was made by another version.
    """
    content = trajectories.read_store_file(Path(store))
    spec = EnsembleSpec(**content.get("spec", {}), runs=content["runs"], epochs=content["epochs"])
    if spec.digest() != content["digest"]:
        raise InputError(f"{store}: made by another version of this library; train it again with its parameter file")
    retired = content.get("retirement")
    return spec, None if retired is None else Retirement.from_dict(retired)


def _checked(
    spec: EnsembleSpec, retirement: Retirement | None, keep: Iterable[int], workers: int | None, scheduler: str | None
) -> tuple[int, ...]:
    """Epochs to be kept, in order; raises InputError for arguments that are impossible."""
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} is not possible; allowed: 1 or more")
    if workers is not None and scheduler is not None:
        raise InputError("workers and scheduler: name one of them; a scheduler has its own workers")
    known = recorded(regression=spec.data.TASK == "regression", validated=spec.data.validation_size > 0)
    if retirement is not None and retirement.metric not in known:
        raise InputError(f"retirement: no metric {retirement.metric!r} is recorded; there is {', '.join(known)}")
    optimisers.shared(spec.optimiser)  # refuses a class that cannot train stacked runs
    epochs = tuple(sorted(set(keep)))
    if epochs and spec.perturbation is not None:
        raise InputError("snapshots to fork from are kept of training without perturbation only (perturbation: null)")
    for epoch in epochs:
        if not 1 <= epoch <= spec.epochs:
            raise InputError(f"snapshot at epoch {epoch}: not between 1 and epochs = {spec.epochs}")
    return epochs


def _perform(folder: Path, whole: Task, units: list[int], workers: int | None, scheduler: str | None) -> int:
    runs = [run for unit in units for run in range(unit, unit + UNIT)]
    work = len(runs) * whole.epochs
    workers = min(workers or worth(whole.spec, work, whole.device), len(units))
    largest = _largest_here(whole.spec, whole.device)
    if whole.device == "cuda":  # stacks of one shape, filled
        parts = [list(group) for _, group in itertools.groupby(units, key=lambda unit: unit // largest)]
    else:
        count = len(units) if scheduler is not None else max(workers, math.ceil(len(runs) / largest))
        parts = [part.tolist() for part in np.array_split(units, min(count, len(units)))]
    tasks = [replace(whole, runs=tuple(run for unit in part for run in range(unit, unit + UNIT))) for part in parts]
    with progress.bar(total=work, desc="training, run-epochs") as bar:
        if scheduler is not None or workers > 1:
            from fptlib.ensemble import cluster

            return cluster.perform_all(folder, tasks, bar.update, workers=workers, scheduler=scheduler)
        return _in_turn(folder, tasks, bar)


def largest_task(spec: EnsembleSpec, network: Network, source: Dataset, device: str) -> int:
    """Runs in one task at most."""
    within = runs_within(spec, network, source, device)
    return max(UNIT, min(_LARGEST_TASK, 1 << int(math.log2(max(1, within)))))


def _largest_here(spec: EnsembleSpec, device: str) -> int:
    if device == "auto":
        return _LARGEST_TASK
    source = data.load(spec.data)
    network = models.build(spec.model, shape=source.shape, n_classes=source.n_classes)
    return largest_task(spec, network, source, device)


def worth(spec: EnsembleSpec, run_epochs: int, device: str) -> int:
    """Processes that so much work is worth: one for each core, or one alone."""
    if device != "cpu" or _defined_in_main(spec):
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), run_epochs // _WORTH_A_PROCESS))


def _in_turn(folder: Path, tasks: list[Task], bar: Any) -> int:
    """Perform tasks in this process; those at which another process is come last."""
    trained, skipped = 0, 0
    waiting = deque(tasks)
    while waiting:
        task = waiting.popleft()
        outcome = perform(folder, task, bar.update, wait=skipped > len(waiting))
        trained += outcome.trained
        skipped = 0 if outcome.done else skipped + 1
        if not outcome.done:
            waiting.append(task)
    return trained


def _defined_in_main(spec: EnsembleSpec) -> bool:
    """Whether a kind is defined in the script or notebook itself, which other processes do not see."""
    parts = (spec.data, spec.model, spec.optimiser, spec.perturbation and spec.perturbation.rule)
    return any(type(part).__module__ == "__main__" for part in parts)
