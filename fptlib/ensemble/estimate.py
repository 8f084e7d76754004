"""What training would cost, before anything is trained."""

from __future__ import annotations

import math
import os
import resource
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from fptlib import data, models
from fptlib.data import Dataset
from fptlib.ensemble import compute, optimisers
from fptlib.ensemble.resources import UNIT, bytes_per_run, device_of, largest_task, numerics, stack_size
from fptlib.ensemble.store import Store, store_path
from fptlib.ensemble.streams import streams
from fptlib.ensemble.training import Task, recorded
from fptlib.ensemble.verbs import worth
from fptlib.errors import InputError
from fptlib.models import Network
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Retirement

# Share of the steps of an epoch, and seconds, that are timed at least.
_TIMED_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What an ensemble costs.

    Parameters
    ----------
    runs, epochs, missing
        Runs and epochs asked for, and the runs that the store lacks (all of a shard count).
    flop_per_run_epoch
        Floating-point operations of matrix products and convolutions: training forwards and backwards, and evaluation.
    seconds_per_run_epoch
        Measured in a stack of ``stack`` runs in one process on this machine.
    workers, seconds
        Processes, and the time that all missing runs take to the horizon, if none retires.
    memory
        Bytes of one process: its stacks, the data, and what PyTorch takes itself.
    disk
        Bytes of the store: records and snapshots.
    data_at_hand
        Whether the data themselves were trained on; otherwise random images of the same size and number.
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
    retirement: Retirement | None = None,
    workers: int | None = None,
) -> Cost:
    """Count, and time a few steps of one stack; nothing is written.

    Parameters
    ----------
    spec, out, retirement, workers
        As for `fptlib.ensemble.train`.

    Raises
    ------
    InputError
        If the device is not there, or the data are not and their size is not known without them.
    """
    device = device_of(spec)
    optimisers.shared(spec.optimiser)  # refuses a class that cannot train stacked runs
    source, at_hand = _images(spec)
    network = models.build(spec.model, shape=source.shape, n_classes=source.n_classes)
    runs = math.ceil(spec.runs / UNIT) * UNIT
    whole = Task(spec, tuple(range(runs)), spec.epochs, device, retirement)
    store = Store(store_path(spec, out), spec.digest())
    missing = sum(UNIT for unit in whole.units if store.held(whole, unit) is None)
    movable = compute.movable(spec, network, source, device)
    alone = compute.kind(spec, network, device) == "one by one"
    stack = 1 if alone else min(stack_size(spec, network, source, device, movable=movable), max(missing, UNIT))
    seconds = _seconds_per_run_epoch(spec, network, source, device, stack)
    used = min(workers or worth(spec, missing * spec.epochs, device), max(1, missing // UNIT))
    module = network.single()
    numbers = sum(value.numel() for value in (*module.parameters(), *module.buffers()))
    kept = numbers * (1 + _optimiser_slots(spec)) * compute.dtype_of(spec).itemsize
    names = len(recorded(regression=source.task == "regression", validated=source.x_valid is not None))
    # States of the runs of one task.
    together = min(math.ceil(missing / used), largest_task(spec, network, source, device))
    return Cost(
        runs=spec.runs,
        epochs=spec.epochs,
        missing=missing,
        stack=stack,
        flop_per_run_epoch=flop_per_run_epoch(spec, network, source),
        seconds_per_run_epoch=seconds,
        workers=used,
        seconds=missing * spec.epochs * seconds / used,
        memory=_resident() + together * kept + stack * bytes_per_run(spec, network, source),
        disk=runs * (kept + 2 * 8 * names * spec.epochs),
        data_at_hand=at_hand,
    )


def _images(spec: EnsembleSpec) -> tuple[Dataset, bool]:
    try:
        return data.load(spec.data), True
    except InputError:
        source = data.placeholder(spec.data)
        if source is None:
            raise
        return source, False


def flop_per_run_epoch(spec: EnsembleSpec, network: Network, source: Dataset) -> float:
    """Floating-point operations of the matrix products and convolutions of one epoch of one run, two for a multiply-add."""
    module = network.single()
    images = len(source.y_train)
    if spec.training.drop_last:
        images -= images % spec.training.batch_size
    evaluated = len(source.y_test) + (len(source.y_valid) if source.y_valid is not None else 0)
    two = torch.zeros(2, *source.shape)
    return images / 2 * _flop(module, two, backward=True) + evaluated / 2 * _flop(module, two, backward=False)


def _flop(module: nn.Module, x: torch.Tensor, *, backward: bool) -> int:
    module.train(backward)
    with FlopCounterMode(display=False) as counter:
        logits = module(x)
        if backward:
            functional.cross_entropy(logits, torch.zeros(len(x), dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    return int(counter.get_total_flops())


def _optimiser_slots(spec: EnsembleSpec) -> int:
    return 2 if spec.optimiser.name != "sgd" else int(getattr(spec.optimiser, "momentum", 0) > 0)


def _seconds_per_run_epoch(spec: EnsembleSpec, network: Network, source: Dataset, device: str, runs: int) -> float:
    """Time of training on some batches and evaluating some images, scaled to all of them."""
    x, y = compute.tensors(source.x_train, source.y_train, spec, device)
    x_test, y_test = compute.tensors(source.x_test, source.y_test, spec, device)
    drawn = network.initialise(
        streams(0, range(runs), "initial", [0] * runs), dtype=compute.dtype_of(spec), device=torch.device(device)
    )
    work = compute.build(spec, network, device, State(*drawn, {}, spec.optimiser.lr))
    size = spec.training.batch_size
    orders = [rng.permutation(len(y)) for rng in streams(0, range(runs), "order", [1] * runs)]
    order = torch.from_numpy(np.stack(orders)).to(device)
    # A few images first: with large networks that is enough to be timed. Then more, until the time can be trusted.
    trained, evaluated = min(8, len(y)), min(8, len(y_test))
    with numerics():
        work.train(x, y, order[:, :trained], size)
        work.evaluate(x_test[:evaluated], y_test[:evaluated])
        while True:
            training = _timed(lambda n=trained: work.train(x, y, order[:, :n], size), device)
            evaluation = _timed(lambda n=evaluated: work.evaluate(x_test[:n], y_test[:n]), device)
            whole = trained >= len(y) - len(y) % size and evaluated == len(y_test)
            if whole or training + evaluation > _TIMED_S / 3:
                break
            trained, evaluated = min(4 * trained, len(y)), min(4 * evaluated, len(y_test))
            trained -= trained % size if trained > size else 0
    n_held_out = len(y_test) + (len(source.y_valid) if source.y_valid is not None else 0)
    return (training / trained * len(y) + evaluation / evaluated * n_held_out) / runs


def _timed(work: Any, device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _resident() -> float:
    """Most memory that this process has held, which has loaded what a worker loads."""
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
