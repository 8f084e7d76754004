"""CUDA graphs: some batches of training launched as one, because launching small operations takes longer than doing them."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Final, final

import torch
from torch import Tensor

from fptlib.spec import EnsembleSpec

_DEVICES: Final = ("cuda",)
# Batches in one graph: launching is then no matter, and graphs of large networks stay small.
_BATCHES: Final = 16
# Graphs of one stack at most, for learning rates that change in every epoch.
_MOST: Final = 8

# Trains on images in the given order, ``(..., images)``, and adds their losses to the second tensor.
Work = Callable[[Tensor, Tensor], None]


@final
class Launcher:
    """Does the work of an epoch: as it is or, where graphs are asked for and can be had, by launching graphs of it.

    Work changes its tensors in place, and what it takes from Python (the learning rate) belongs to the ``key``. The first piece of
    each length is done as it is, which makes what is made only once; the next is captured.
    """

    def __init__(self, spec: EnsembleSpec, device: str) -> None:
        self._on = spec.execution.cuda_graphs and device in _DEVICES
        if spec.execution.cuda_graphs and not self._on:
            warnings.warn("execution.cuda_graphs: there is no GPU here; going on without", stacklevel=2)
        self._key: Hashable = None
        self._known: dict[int, Work | None] = {}
        self._captured = 0

    def __call__(self, work: Work, order: Tensor, losses: Tensor, *, batch_size: int, key: Hashable) -> None:
        """Do the work on an epoch's order, ``(..., images)``."""
        if not self._on:
            work(order, losses)
            return
        if key != self._key:
            self._key, self._known = key, {}
        for piece in torch.split(order, _BATCHES * batch_size, dim=-1):
            n = piece.shape[-1]
            if n not in self._known:
                self._known[n] = None
                with _aside():
                    work(piece, losses)
                continue
            if self._known[n] is None and self._on and self._captured < _MOST:
                self._known[n] = self._capture(work, piece, losses)
            (self._known[n] or work)(piece, losses)

    def _capture(self, work: Work, order: Tensor, losses: Tensor) -> Work | None:
        """Return work on orders of one length as a launch; ``None``, with a message, where it cannot be captured."""
        its_order, its_losses = order.clone(), torch.zeros_like(losses)

        def everything() -> None:
            its_losses.zero_()
            work(its_order, its_losses)

        self._captured += 1
        try:
            replay = _graph(everything)
        except Exception as error:  # whatever a driver or an optimiser raises: nothing has been computed yet
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            warnings.warn(f"execution.cuda_graphs: failed ({reason}); going on without", stacklevel=4)
            self._on = False
            return None

        def launch(order: Tensor, losses: Tensor) -> None:
            its_order.copy_(order)
            replay()
            losses.add_(its_losses)

        return launch


def _graph(function: Callable[[], None]) -> Callable[[], None]:
    """Capture a function, which is not executed; returns what launches it."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph.replay


@contextmanager
def _aside() -> Iterator[None]:
    """Compute on another stream than the usual one, as capturing does."""
    stream, here = _side(), torch.cuda.current_stream()
    stream.wait_stream(here)
    with torch.cuda.stream(stream):
        yield
    here.wait_stream(stream)


@cache
def _side() -> torch.cuda.Stream:
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]
