"""What perturbations of an ensemble may draw on, beyond fresh initialisations and random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from fptlib.ensemble import losses, states
from fptlib.models import Network, Tensors
from fptlib.perturbations import State

# Training examples in the probe, at most.
_PROBED: Final = 500


def probe_of(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The first training examples in the order of the data: the same for every run at every time."""
    return x[:_PROBED].contiguous(), y[:_PROBED]


@dataclass(frozen=True, slots=True)
class Gradient:
    """Gradient of each run's mean training loss on a batch.

    Every run is a calculation of its own, so that it does not depend on what is beside it, and memory does not grow with
    their number. BatchNorm normalises by the batch, as in training; running averages are left alone.

    Parameters
    ----------
    network
        What the parameters are parts of.
    x, targets
        The batch.
    """

    network: Network
    x: Tensor
    targets: Tensor

    def __call__(self, state: State) -> Mapping[str, Tensor]:
        """Gradients by name, shape ``(runs, ...)``."""
        module = self.network.template().train()
        each = [self._of_one(module, state, run) for run in range(states.n_runs(state))]
        return {name: torch.stack([one[name] for one in each]) for name in each[0]}

    def _of_one(self, module: nn.Module, state: State, run: int) -> Tensors:
        # Copies: rounding depends on how a tensor lies in memory, and forward passes move running averages.
        parameters = {name: value[run].detach().clone().requires_grad_() for name, value in state.parameters.items()}
        buffers = {name: value[run].detach().clone() for name, value in state.buffers.items()}
        with torch.enable_grad():
            outputs = functional_call(module, {**parameters, **buffers}, (self.x,))
            loss = losses.per_example(outputs, self.targets).mean()
            found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
        return dict(zip(parameters, found, strict=True))


@final
class Best:
    """The state of each run after the epoch with its best metric so far; the first of several equal ones."""

    def __init__(self) -> None:
        self._of: dict[int, State] = {}

    @staticmethod
    def improved(values: NDArray[np.float64]) -> bool:
        """Whether the last of a run's values is better than all before it; NaN is worse than any."""
        return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) == len(values) - 1

    def note(self, row: int, state: State) -> None:
        """Keep the state of one run."""
        self._of[row] = state

    def enter(self, rows: Sequence[int], places: Sequence[int], kept: Mapping[str, Any]) -> None:
        """Take over what a snapshot has."""
        whole = State(kept["parameters"], kept["buffers"], kept["optimiser"], 0.0)
        for row, place in zip(rows, places, strict=True):
            self._of[row] = states.select(whole, [place])

    def of(self, rows: Sequence[int], device: torch.device, rate: float) -> State:
        """States of some runs, with a learning rate that is not theirs but the present one."""
        return replace(states.join([states.to_device(self._of[row], device) for row in rows]), learning_rate=rate)

    def content(self, rows: Sequence[int]) -> dict[str, Any] | None:
        """What a snapshot keeps of some runs; ``None`` where nothing is to be kept."""
        if not all(row in self._of for row in rows):
            return None
        state = states.on_cpu(states.join([states.on_cpu(self._of[row]) for row in rows]))
        optimiser = {key: dict(entries) for key, entries in state.optimiser.items()}
        return {"parameters": dict(state.parameters), "buffers": dict(state.buffers), "optimiser": optimiser}
