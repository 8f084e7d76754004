"""Rows of stacked states: some runs of one, several put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fptlib.ensemble import updates
from fptlib.models import Tensors
from fptlib.perturbations import State


def n_runs(state: State) -> int:
    """Return the number of runs in a state."""
    return int(next(iter(state.parameters.values())).shape[0])


def changed(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """Return a state whose every tensor is changed."""

    def each(values: Mapping[Any, Tensor]) -> Tensors:
        return {name: change(value.detach()) for name, value in values.items()}

    optimiser = {key: each(entries) for key, entries in state.optimiser.items()}
    return State(each(state.parameters), each(state.buffers), optimiser, state.learning_rate)


def select(state: State, rows: Sequence[int]) -> State:
    """Return copies of some runs."""
    index = torch.as_tensor(list(rows))
    return changed(state, lambda value: value[index.to(value.device)])


def on_cpu(state: State) -> State:
    """Return the state in main memory, in pieces of its own."""
    return changed(state, lambda value: value.cpu().clone())


def to_device(state: State, device: torch.device) -> State:
    """Return the state on a device."""
    return changed(state, lambda value: value.to(device))


def join(states: Sequence[State]) -> State:
    """Return the runs of several states, in their order; they have one learning rate."""
    if len(states) == 1:
        return states[0]

    def joined(parts: Sequence[Mapping[str, Tensor]]) -> Tensors:
        return {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}

    return State(
        parameters=joined([state.parameters for state in states]),
        buffers=joined([state.buffers for state in states]),
        optimiser=updates.joined([state.optimiser for state in states], [n_runs(state) for state in states]),
        learning_rate=states[0].learning_rate,
    )
