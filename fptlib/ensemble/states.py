"""Rows of stacked states: some runs of one, several put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

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
    """Runs of several states, in their order; they have one learning rate.

    An optimiser without a state is a fresh one: zeros, as PyTorch's elementwise optimisers start.
    """
    if len(states) == 1:
        return states[0]
    pattern: Mapping[Any, Any] = next((state.optimiser for state in states if state.optimiser), {})

    def entries(state: State, key: Any) -> Mapping[str, Tensor]:
        if key in state.optimiser:
            kept: Mapping[str, Tensor] = state.optimiser[key]
            return kept
        runs = n_runs(state)
        return {name: value.new_zeros(runs, *value.shape[1:]) for name, value in pattern[key].items()}

    def joined(parts: Sequence[Mapping[str, Tensor]]) -> Tensors:
        return {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}

    return State(
        parameters=joined([state.parameters for state in states]),
        buffers=joined([state.buffers for state in states]),
        optimiser={key: joined([entries(state, key) for state in states]) for key in pattern},
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


def shared(state: State, row: int) -> tuple[float, ...]:
    """What runs must have in common to be trained in one stack: learning rate and, with some optimisers, step count."""
    steps = {float(entries["step"][row]) for entries in state.optimiser.values() if "step" in entries}
    return (state.learning_rate, *sorted(steps))
