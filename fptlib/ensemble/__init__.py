"""Train many runs at once: specification -> trajectories, kept in a store that is reused, resumed and grown.

Runs are trained in blocks, stacked in one tensor. Run ``k`` draws from its own random streams, and always sits at the
same place of a stack of the same shape, because blocks are trained whole: on one machine and version it is the same
run, bit for bit, whatever is trained beside it, in whatever order, and however often it was interrupted.
"""

from __future__ import annotations

import math
import os
from typing import Final

import torch

from fptlib import data, trajectories
from fptlib.ensemble.store import note_request, store_path, stored
from fptlib.ensemble.training import UNIT, Block
from fptlib.ensemble.workers import train_blocks
from fptlib.errors import InputError
from fptlib.spec import EnsembleSpec
from fptlib.trajectories import Trajectories

__all__ = ["UNIT", "store_path", "train"]

# Runs in one stack, a multiple of `UNIT`; what does not fill one is filled up with further runs. One shape for all,
# since kernels choose their path, and with it their rounding, by shapes and by the alignment of matrices. On a CPU 16
# runs hide Python's overhead and still fit the cache; a GPU wants more.
_STACK: Final = {"cpu": UNIT, "cuda": 16 * UNIT}


def _device(spec: EnsembleSpec) -> str:
    available = torch.cuda.is_available()
    if spec.device == "cuda" and not available:
        raise InputError("device: cuda is asked for, but torch sees no GPU; allowed here: auto, cpu")
    return "cuda" if available and spec.device != "cpu" else "cpu"


def train(
    spec: EnsembleSpec,
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
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
    workers
        Processes. By default one for each core, or none beside this one where the work is small or done by a GPU.

    Returns
    -------
    Trajectories
        ``train_loss``, ``test_loss``, ``test_metric`` (accuracy, a fraction) and, with a validation split,
        ``valid_metric``, each of shape ``(runs, epochs)``. ``train_loss`` is the mean over the epoch's images, each as
        it was when its batch was trained.

    Raises
    ------
    InputError
        If the data cannot be had, the device is not there or an argument is impossible.
    """
    device = _device(spec)
    size = _STACK[device]
    if workers is not None and workers < 1:
        raise InputError(f"workers: {workers} is not possible; allowed: 1 or more")
    folder = store_path(spec, out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; a folder that can be written is needed") from None
    note_request(folder, spec)
    shards = stored(folder, spec)
    if len(shards) < math.ceil(spec.runs / UNIT):
        source = data.load(spec.data)
        blocks = [
            Block(spec, source, first, size, spec.epochs, device)
            for first in range(0, spec.runs, size)
            if any(unit not in shards for unit in range(first, min(first + size, spec.runs), UNIT))
        ]
        train_blocks(folder, blocks, workers)
        shards = stored(folder, spec)
    whole = trajectories.concatenate(shards[unit].head(epochs=spec.epochs) for unit in sorted(shards)).head(
        runs=spec.runs
    )
    meta = {key: value for key, value in whole.meta.items() if key != "content"} | {"source": str(folder)}
    return Trajectories(metrics=whole.metrics, run=whole.run, meta=meta)
