"""The cost of training, estimated before anything is trained."""

from __future__ import annotations

import math
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fptlib import data, models
from fptlib.data import Dataset
from fptlib.ensemble import compute, optimisers
from fptlib.ensemble.resources import UNIT, bytes_per_run, device_of, largest_task, numbers_of, numerics, stack_size
from fptlib.ensemble.store import Store, store_path
from fptlib.ensemble.training import Task, recorded
from fptlib.ensemble.verbs import worth
from fptlib.errors import InputError
from fptlib.models import Network
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Target

# Images of one timed evaluation.
_EVALUATED: Final = 250


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of an ensemble.

    The store lacks ``missing`` runs (all of a shard count), which take ``seconds`` to the horizon on ``workers`` processes, if none
    retires. ``flop_per_run_epoch`` are the operations of matrix products and convolutions in training and evaluation;
    ``seconds_per_run_epoch`` are measured in a stack of ``stack`` runs in one process on this machine, on the data themselves if
    ``data_at_hand``, otherwise on random images of the same size and number. ``memory`` are the bytes of one process, with data and
    PyTorch itself, ``disk`` those of the store, with snapshots.
    """

    runs: int
    epochs: int
    missing: int
    stack: int
    flop_per_run_epoch: float
    seconds_per_run_epoch: float
    workers: int
    seconds: float
    memory: float
    disk: float
    data_at_hand: bool


def estimate(
    spec: EnsembleSpec,
    *,
    out: str | os.PathLike[str] | None = None,
    retirement: Target | None = None,
    workers: int | None = None,
) -> Cost:
    """Estimate the cost of an ensemble by counting operations and timing a few steps; nothing is written.

    All arguments are as for `fptlib.ensemble.train`. An InputError says that the device is not there, or that the data are not and
    their size is not known without them.
    """
    device = device_of(spec)
    optimisers.shared(spec.optimiser)  # refuses a class that cannot train stacked runs
    try:
        source, at_hand = data.load(spec.data), True
    except InputError:
        stand_in = data.placeholder(spec.data)
        if stand_in is None:
            raise
        source, at_hand = stand_in, False
    network = models.build(spec.model, shape=source.shape, n_classes=source.n_classes)
    runs = math.ceil(spec.runs / UNIT) * UNIT
    task = Task(spec, tuple(range(runs)), spec.epochs, device, retirement)
    store = Store(store_path(spec, out), spec.digest())
    missing = sum(UNIT for unit in task.units if store.held(task, unit) is None)
    alone = compute.kind(spec, network, device) == "one by one"
    stack = 1 if alone else min(stack_size(spec, network, source, device), max(missing, UNIT))
    seconds = _seconds_per_run_epoch(spec, network, source, device, stack)
    used = min(workers or worth(spec, missing * spec.epochs, device), max(1, missing // UNIT))
    slots = 2 if spec.optimiser.name != "sgd" else int(getattr(spec.optimiser, "momentum", 0) > 0)
    kept = numbers_of(network) * (1 + slots) * compute.dtype_of(spec).itemsize
    names = len(recorded(regression=source.task == "regression", validated=source.x_valid is not None))
    # States of the runs of one task, beside what this process has held at most, which has loaded what a worker loads.
    together = min(math.ceil(missing / used), largest_task(spec, network, source, device))
    resident = 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Cost(
        runs=spec.runs,
        epochs=spec.epochs,
        missing=missing,
        stack=stack,
        flop_per_run_epoch=flop_per_run_epoch(spec, network, source),
        seconds_per_run_epoch=seconds,
        workers=used,
        seconds=missing * spec.epochs * seconds / used,
        memory=resident + together * kept + stack * bytes_per_run(spec, network, source),
        disk=runs * (kept + 2 * 8 * names * spec.epochs),
        data_at_hand=at_hand,
    )


def flop_per_run_epoch(spec: EnsembleSpec, network: Network, source: Dataset) -> float:
    """Count the operations of matrix products and convolutions in one epoch of one run, two for a multiply-add."""
    module, two = network.single(), torch.zeros(2, *source.shape)

    def each(*, backward: bool) -> float:
        module.train(backward)
        with FlopCounterMode(display=False) as counter:
            logits = module(two)
            if backward:
                functional.cross_entropy(logits, torch.zeros(2, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
        return float(counter.get_total_flops()) / 2

    n = len(source.y_train)
    n -= n % spec.training.batch_size if spec.training.drop_last else 0
    return n * each(backward=True) + _n_evaluated(source) * each(backward=False)


def _n_evaluated(source: Dataset) -> int:
    return len(source.y_test) + (0 if source.y_valid is None else len(source.y_valid))


def _seconds_per_run_epoch(spec: EnsembleSpec, network: Network, source: Dataset, device: str, runs: int) -> float:
    """Time training on two batches and an evaluation, scaled to all images."""
    x, y = compute.tensors(source.x_train, source.y_train, spec, device)
    x_test, y_test = compute.tensors(source.x_test, source.y_test, spec, device)
    rng, dtype = np.random.default_rng(0), compute.dtype_of(spec)
    drawn = network.initialise(rng.spawn(runs), dtype=dtype, device=torch.device(device))
    work = compute.build(spec, network, device, State(*drawn, {}, spec.optimiser.lr))
    size, n = spec.training.batch_size, len(y)
    order = torch.from_numpy(rng.permuted(np.tile(np.arange(n), (runs, 1)), axis=1)).to(device)

    def seconds_each(call: Callable[[int], object], images: int) -> float:
        call(min(8, size))  # compiles
        return _timed(call, images, device) / images

    with numerics():
        training = seconds_each(lambda k: work.train(x, y, order[:, :k], size), min(2 * size, max(size, n - n % size)))
        evaluation = seconds_each(lambda k: work.evaluate(x_test[:k], y_test[:k]), min(_EVALUATED, len(y_test)))
    return (training * n + evaluation * _n_evaluated(source)) / runs


def _timed(call: Callable[[int], object], images: int, device: str) -> float:
    started = time.perf_counter()
    call(images)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
