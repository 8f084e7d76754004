"""Limits of training: runs in a stack, memory, one thread for each process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import scipy.linalg.cython_blas  # noqa: F401  (loads the library that compiled products call, so that it can be limited)
import torch
from threadpoolctl import threadpool_limits

from fptlib.data import Dataset
from fptlib.ensemble import compute
from fptlib.errors import InputError
from fptlib.models import Network
from fptlib.spec import EnsembleSpec

# Runs in one shard of the store, and in one stack where runs must keep their place.
UNIT: Final = 16
# Runs in one task at most: what is lost with a worker, and what a cluster moves about.
LARGEST_TASK: Final = 128
# Runs in one stack at most: with more, weights leave a core's own cache; a GPU is filled by so many.
_CPU_STACK: Final = 24
_GPU_STACK: Final = 128
# Memory for the runs of one process.
_MEMORY_GB: Final = {"cpu": 1.0, "cuda": 16.0}


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
    return int((spec.execution.memory_gb or _MEMORY_GB[device]) * 2**30 / bytes_per_run(spec, network, data))


def bytes_per_run(spec: EnsembleSpec, network: Network, data: Dataset) -> int:
    """Return the memory of one run in a stack, roughly: weights, optimiser, and what a step writes to."""
    return 16 * (numbers_of(network) + spec.training.batch_size * _activations(network, data.shape))


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
    """Use one thread, so that sums are taken in one order, and no denormal numbers, which cost a hundred times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
