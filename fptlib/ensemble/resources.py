"""Limits of training: runs in a stack, memory, one thread for each process."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  (loads the library that compiled products call, so that it can be limited)
import torch
from threadpoolctl import threadpool_limits

from fptlib.data import Dataset
from fptlib.ensemble import compute
from fptlib.errors import InputError
from fptlib.models import Network
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec

# Runs in one shard of the store, and in one stack where runs must keep their place.
UNIT: Final = 16
# Runs in one task at most: what is lost with a worker, and what a cluster moves about.
LARGEST_TASK: Final = 128
# Runs in one stack at most: with more, weights leave a core's own cache. That of a GPU is a guess.
_CPU_STACK: Final = 24
_GPU_STACK: Final = 128
# Memory for the runs of one process: gigabytes on a CPU, a share of a GPU's.
_CPU_GB: Final = 1.0
_GPU_SHARE: Final = 0.5


def device_of(spec: EnsembleSpec) -> str:
    """Return the device on which this process trains, ``cpu`` or ``cuda``; an InputError says that there is no GPU."""
    available = torch.cuda.is_available()
    if spec.device == "cuda" and not available:
        raise InputError("device: cuda is asked for, but torch sees no GPU; allowed here: auto, cpu")
    return "cuda" if available and spec.device != "cpu" else "cpu"


def stack_size(spec: EnsembleSpec, network: Network, data: Dataset, device: str) -> int:
    """Return the number of runs in one stack: as many as the memory budget holds and, on a CPU, no more than its cache likes."""
    if device == "cpu" and not compute.movable(spec, network, device):
        return UNIT
    if spec.execution.stack is not None:
        return spec.execution.stack
    within = max(1, runs_within(spec, network, data, device))
    if compute.kind(spec, network, device) == "compiled":
        return within  # runs are trained one after another anyway
    return min(within, _CPU_STACK) if device == "cpu" else 2 ** int(math.log2(min(within, _GPU_STACK)))


def largest_task(spec: EnsembleSpec, network: Network, data: Dataset, device: str) -> int:
    """Return how many runs one task holds at most, a power of two."""
    within = runs_within(spec, network, data, device)
    return max(UNIT, min(LARGEST_TASK, 1 << int(math.log2(max(1, within)))))


def runs_within(spec: EnsembleSpec, network: Network, data: Dataset, device: str) -> int:
    """Return the number of runs that the memory budget of one process holds."""
    if spec.execution.memory_gb is not None or device == "cpu":
        budget = (spec.execution.memory_gb or _CPU_GB) * 2**30
    else:
        budget = _GPU_SHARE * torch.cuda.get_device_properties(0).total_memory
    each = _measured(spec, network, data) if device == "cuda" else bytes_per_run(spec, network, data)
    return int(budget / each)


def bytes_per_run(spec: EnsembleSpec, network: Network, data: Dataset) -> int:
    """Return the memory of one run in a stack, roughly: weights, optimiser, and what a step writes to."""
    return 16 * (numbers_of(network) + spec.training.batch_size * _activations(network, data.shape))


def _measured(spec: EnsembleSpec, network: Network, data: Dataset) -> int:
    """Return the memory of one run more in a stack on a GPU, measured once: other kernels take other room for what they do."""
    key = spec.digest(), spec.execution, data.shape
    if key not in _MEASURED:
        least, more = (_peak(spec, network, data, runs) for runs in (2, 4))
        _MEASURED[key] = max(1, (more - least) // 2)
    return _MEASURED[key]


_MEASURED: dict[tuple[object, ...], int] = {}


def _peak(spec: EnsembleSpec, network: Network, data: Dataset, runs: int, device: str = "cuda") -> int:
    """Return the most memory, in bytes, that some batches and an evaluation of a stack take on a GPU."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    n, dtype = 2 * spec.training.batch_size, compute.dtype_of(spec)
    drawn = network.initialise(np.random.default_rng(0).spawn(runs), dtype=dtype, device=torch.device(device))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # options that cannot be had are named where training begins
        work = compute.build(spec, network, device, State(*drawn, {}, spec.optimiser.lr))
        x, y = compute.tensors(data.x_train[:n], data.y_train[:n], spec, device)
        work.train(x, y, torch.arange(len(y), device=device).repeat(runs, 1), spec.training.batch_size)
        work.evaluate(*compute.tensors(data.x_test, data.y_test, spec, device))
    return torch.cuda.max_memory_allocated() - before


def numbers_of(network: Network) -> int:
    """Return how many numbers the parameters and buffers of a network are."""
    module = network.single()
    return sum(value.numel() for value in (*module.parameters(), *module.buffers()))


def _activations(network: Network, shape: tuple[int, ...]) -> int:
    """Return how many numbers the activations of one image are, over all layers."""
    module = network.single()
    count = [math.prod(shape)]
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: count.append(output[0].numel()))
        for layer in module.modules()
        if not list(layer.children())
    ]
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    for hook in hooks:
        hook.remove()
    return sum(count)


@contextmanager
def numerics() -> Iterator[None]:
    """Use one thread, so that sums are taken in one order, and no denormal numbers, which cost a hundred times more.

    On a GPU convolutions are computed in ways that give the same numbers each time.
    """
    threads, cudnn = torch.get_num_threads(), torch.backends.cudnn
    before = cudnn.deterministic, cudnn.benchmark
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        cudnn.deterministic, cudnn.benchmark = before
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
