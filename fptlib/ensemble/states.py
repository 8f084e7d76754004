"""Rows of stacked states: some runs of one, several put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fptlib.ensemble import updates
from fptlib.models import Tensors
from fptlib.perturbations import State


def n_runs(state: State) -> int:
    """Runs in a state."""
    return int(next(iter(state.parameters.values())).shape[0])


def select(state: State, rows: Sequence[int]) -> State:
    """Copies of some runs."""
    index = torch.as_tensor(list(rows))

    def some(values: Mapping[str, Tensor]) -> Tensors:
        return {name: value.detach()[index.to(value.device)] for name, value in values.items()}

    optimiser = {key: some(entries) for key, entries in state.optimiser.items()}
    return State(some(state.parameters), some(state.buffers), optimiser, state.learning_rate)


def join(states: Sequence[State]) -> State:
    """Runs of several states, in their order; they have one learning rate."""
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


def on_cpu(state: State) -> State:
    """The state in main memory, in pieces of its own."""

    def brought(values: Mapping[Any, Tensor]) -> Tensors:
        return {name: value.detach().cpu().clone() for name, value in values.items()}

    optimiser = {key: brought(entries) for key, entries in state.optimiser.items()}
    return State(brought(state.parameters), brought(state.buffers), optimiser, state.learning_rate)


def to_device(state: State, device: torch.device) -> State:
    """The state on a device."""

    def brought(values: Mapping[Any, Tensor]) -> Tensors:
        return {name: value.to(device) for name, value in values.items()}

    optimiser = {key: brought(entries) for key, entries in state.optimiser.items()}
    return State(brought(state.parameters), brought(state.buffers), optimiser, state.learning_rate)
