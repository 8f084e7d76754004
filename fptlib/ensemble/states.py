"""Rows of stacked states: some runs of one, several put together, and the best state of each run so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptlib.ensemble import updates
from fptlib.models import Tensors
from fptlib.perturbations import State


def changed(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """Return a state whose every tensor is changed."""

    def each(values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: change(v.detach()) if isinstance(v, Tensor) else v for name, v in values.items()}

    optimiser = {key: each(entries) for key, entries in state.optimiser.items()}
    return replace(state, parameters=each(state.parameters), buffers=each(state.buffers), optimiser=optimiser)


def select(state: State, rows: Sequence[int]) -> State:
    """Return copies of some runs."""
    index = torch.as_tensor(list(rows), dtype=torch.int64)
    return changed(state, lambda value: value[index.to(value.device)])


def copied(state: State) -> State:
    """Return a copy, each tensor in one piece of memory: rounding depends on how a tensor lies there."""
    return changed(state, lambda value: value.clone(memory_format=torch.contiguous_format))


def on_cpu(state: State) -> State:
    """Return the state in main memory, in pieces of its own."""
    return changed(state, lambda value: value.cpu().clone())


def to_device(state: State, device: torch.device) -> State:
    """Return the state on a device."""
    return changed(state, lambda value: value.to(device))


def content(state: State) -> dict[str, Any]:
    """Return what files keep of a state, which is all but the learning rate and the momentum."""
    return {"parameters": state.parameters, "buffers": state.buffers, "optimiser": state.optimiser}


def join(states: Sequence[State]) -> State:
    """Return the runs of several states, in their order; they have one learning rate and one momentum."""
    if len(states) == 1:
        return states[0]

    def joined(parts: Sequence[Mapping[str, Tensor]]) -> Tensors:
        return {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}

    sizes = [len(next(iter(state.parameters.values()))) for state in states]
    return replace(
        states[0],
        parameters=joined([state.parameters for state in states]),
        buffers=joined([state.buffers for state in states]),
        optimiser=updates.joined([state.optimiser for state in states], sizes),
    )


@final
class Best(dict[int, State]):
    """The state of each row's run after the epoch with its best metric so far; the first of several equal ones."""

    @staticmethod
    def improved(values: NDArray[np.float64]) -> bool:
        """Return whether the last of a run's values is better than all before it; NaN is worse than any."""
        return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) == len(values) - 1

    def of(self, rows: Sequence[int], device: torch.device, now: State) -> State:
        """Return the states of some runs, with a learning rate and a momentum that are not theirs but the present ones."""
        best = join([to_device(self[row], device) for row in rows])
        return replace(best, learning_rate=now.learning_rate, momentum=now.momentum)

    def content(self, rows: Sequence[int]) -> dict[str, Any] | None:
        """Return what a snapshot keeps of some runs; ``None`` where nothing is to be kept."""
        return content(join([on_cpu(self[row]) for row in rows])) if all(row in self for row in rows) else None
