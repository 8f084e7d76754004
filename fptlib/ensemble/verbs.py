"""Train an ensemble, or fork one: what is asked for, less what the store holds, in tasks for one process or many."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from fptlib import data, models, progress
from fptlib.ensemble import optimisers
from fptlib.ensemble.resources import LARGEST_TASK, UNIT, device_of, largest_task
from fptlib.ensemble.store import Store, store_path
from fptlib.ensemble.training import Task, recorded
from fptlib.ensemble.work import perform, surviving
from fptlib.errors import InputError
from fptlib.spec import EnsembleSpec, override, restore
from fptlib.trajectories import Target, Trajectories, concatenate
from fptlib.trajectories.store import read_store_file

# Below this many run-epochs per process, starting processes (seconds, for importing torch) costs more than it saves.
_WORTH_A_PROCESS: Final = 6000


def train(
    spec: EnsembleSpec,
    *,
    out: str | os.PathLike[str] | None = None,
    retirement: Target | None = None,
    keep: Iterable[int] = (),
    workers: int | None = None,
    scheduler: str | None = None,
) -> Trajectories:
    """Train the runs of a specification that its store lacks: further runs, further epochs, and whatever an interruption left undone.

    The metrics, each of shape ``(runs, epochs)``, are ``train_loss`` (of each image as its batch was trained), ``test_loss``,
    ``test_metric`` (accuracy, a fraction; R2 of regression) and, with a validation split, ``valid_metric``; of regression ``test_rmse``
    and ``valid_rmse`` too, in the unit of the targets. ``meta["trained"]`` is the number of run-epochs that this call trained.

    An InputError says that the data cannot be had, the device is not there, an argument is impossible or nothing can be written; a
    RuntimeError, that training processes end unexpectedly, again and again.

    Parameters
    ----------
    spec, out
        Specification, and folder of stores (see `store_path`).
    retirement
        Runs that reach this are trained no further. Without it all runs are followed to the end.
    keep
        Epochs after which snapshots are kept for `fork`; of unperturbed training only.
    workers
        Processes on this machine. By default one for each core, or this one alone where the work is small or done by a GPU.
    scheduler
        Address of a Dask scheduler, ``tcp://HOST:PORT``, whose workers train instead; they must see the folder of stores.
    """
    # On a cluster each worker finds out for itself.
    device = device_of(spec) if scheduler is None else spec.device
    epochs = _checked(spec, retirement, keep, workers, scheduler)
    store = Store(store_path(spec, out), spec.digest())
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
        store.note_request(spec, retirement)
    except OSError as error:
        raise InputError(f"{store.folder}: {error.strerror}; a folder that can be written is needed") from None
    runs = math.ceil(spec.runs / UNIT) * UNIT
    task = Task(spec, tuple(range(runs)), spec.epochs, device, retirement, epochs)
    parts = {unit: store.held(task, unit) for unit in task.units}
    todo = [unit for unit, part in parts.items() if epochs or part is None]
    trained = _perform(store, task, todo, workers, scheduler) if todo else 0
    parts |= {unit: store.held(task, unit) for unit in todo}
    if any(part is None for part in parts.values()):
        raise InputError(f"{store.folder}: shards disappeared while they were trained; repeat the call")
    record = concatenate(part for part in parts.values() if part is not None).head(runs=spec.runs)
    return replace(record, meta={**record.meta, "source": str(store.folder), "trained": trained})


@dataclass(frozen=True, slots=True)
class Fork:
    """The perturbed ensemble in an ordinary store, with all its runs from the first epoch on.

    Of the ``n_parents`` runs of the parent, ``n_survivors`` had not reached the threshold at the fork (all, without a retirement).
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
    retirement: Target | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
) -> Fork:
    """Perturb the unperturbed runs at one epoch, and train only those that had not reached the threshold by then.

    The result is what training the perturbed ensemble from the start would give, exactly; only the prefix is not trained again. An
    InputError as in `train`, or if the parent is perturbed itself, or ``at`` lies outside its horizon.

    Unperturbed training, ``parent``, is trained as far as its store lacks it or snapshots at that epoch. ``at`` is the epoch of the
    (first) perturbation, and its period where it is repeated; ``perturbation`` is the section of the parameters, without ``period``.
    Runs that had reached the ``retirement`` by the fork are not continued. All other arguments are as in `train`.
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
    return Fork(child, forked, plain.n_runs, int(surviving(plain, retirement, at).sum()))


def read_request(
    store: str | os.PathLike[str], uses: Iterable[str | os.PathLike[str]] = ()
) -> tuple[EnsembleSpec, Target | None]:
    """Return the request that a store was made from: the specification, with its runs and epochs, and the retirement.

    Nothing that the store holds is executed: ``uses`` are the files of the user's that its parameters use, and others. An
    InputError says that there is no store, it was made by another version, or a file that it needs is not given.
    """
    content = read_store_file(Path(store))
    if not isinstance(content.get("spec"), dict):
        raise InputError(f"{store}: damaged (its parameters are missing)")
    try:
        spec = restore({**content["spec"], "runs": content["runs"], "epochs": content["epochs"]}, uses)
    except InputError as error:
        raise InputError(f"{store}: {error}") from None
    if spec.digest() != content["digest"]:
        raise InputError(f"{store}: made by another version of this library; train it again with its parameter file")
    retired = content.get("retirement")
    return spec, None if retired is None else Target.from_dict(retired)


def _checked(
    spec: EnsembleSpec, retirement: Target | None, keep: Iterable[int], workers: int | None, scheduler: str | None
) -> tuple[int, ...]:
    """Return the epochs to be kept, in order; an InputError names an argument that is impossible."""
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} is not possible; allowed: 1 or more")
    if workers is not None and scheduler is not None:
        raise InputError("workers and scheduler: name one of them; a scheduler has its own workers")
    known = recorded(regression=spec.data.TASK == "regression", validated=spec.data.validation_size > 0)
    if retirement is not None and retirement.name not in known:
        raise InputError(f"retirement: no metric {retirement.name!r} is recorded; there is {', '.join(known)}")
    optimisers.shared(spec.optimiser)  # refuses a class that cannot train stacked runs
    epochs = tuple(sorted(set(keep)))
    if epochs and spec.perturbation is not None:
        raise InputError("snapshots to fork from are kept of training without perturbation only (perturbation: null)")
    for epoch in epochs:
        if not 1 <= epoch <= spec.epochs:
            raise InputError(f"snapshot at epoch {epoch}: not between 1 and epochs = {spec.epochs}")
    return epochs


def _perform(store: Store, whole: Task, units: list[int], workers: int | None, scheduler: str | None) -> int:
    """Perform a task, in tasks of some units each; returns the run-epochs trained."""
    n_runs = len(units) * UNIT
    work = n_runs * whole.epochs
    workers = min(workers or worth(whole.spec, work, whole.device), len(units))
    largest = LARGEST_TASK
    if whole.device != "auto":
        source = data.load(whole.spec.data)
        network = models.build(whole.spec.model, shape=source.shape, n_classes=source.n_classes)
        largest = largest_task(whole.spec, network, source, whole.device)
    if whole.device == "cuda":  # stacks of one shape, filled
        parts = [list(group) for _, group in itertools.groupby(units, key=lambda unit: unit // largest)]
    else:
        count = len(units) if scheduler is not None else max(workers, math.ceil(n_runs / largest))
        parts = [part.tolist() for part in np.array_split(units, min(count, len(units)))]
    tasks = [replace(whole, runs=tuple(run for unit in part for run in range(unit, unit + UNIT))) for part in parts]
    with progress.bar(total=work, desc="training, run-epochs") as bar:
        if scheduler is None and workers == 1:
            return _in_all(lambda some, wait: [perform(store, task, bar.update, wait=wait) for task in some], tasks)
        from fptlib.ensemble import cluster

        with cluster.performer(store, bar.update, workers=workers, scheduler=scheduler) as performer:
            return _in_all(performer, tasks)


def _in_all(performer: Callable[[Sequence[Task], bool], Sequence[int | None]], tasks: Sequence[Task]) -> int:
    """Return the run-epochs that tasks took; what another process is training is waited for at the end."""
    trained = 0
    for wait in (False, True):
        each = performer(tasks, wait) if tasks else []
        trained += sum(n or 0 for n in each)
        tasks = [task for task, n in zip(tasks, each, strict=True) if n is None]
    return trained


def worth(spec: EnsembleSpec, run_epochs: int, device: str) -> int:
    """Return how many processes so much work is worth: one for each core, or one alone."""
    # Other processes do not see a kind that is defined in the script or notebook itself.
    kinds = (spec.data, spec.model, spec.optimiser, spec.perturbation and spec.perturbation.rule)
    if device != "cpu" or any(type(part).__module__ == "__main__" for part in kinds):
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), run_epochs // _WORTH_A_PROCESS))
