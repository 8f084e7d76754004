"""Optimisers by name, on stacked tensors: those of `torch.optim` that treat every entry by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from fptlib.errors import InputError
from fptlib.models import Tensors
from fptlib.perturbations import State
from fptlib.spec import OptimiserSpec

# Step counts are the only thing that PyTorch's elementwise optimisers keep once for all parameters of one tensor.
SHARED: Final = "step"

_OPTIMISERS: dict[str, Callable[[Any, list[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda spec, parameters, lr: torch.optim.SGD(
        parameters, lr=lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=True
    ),
    "adam": lambda spec, parameters, lr: torch.optim.Adam(
        parameters, lr=lr, weight_decay=spec.weight_decay, foreach=True
    ),
    "adamw": lambda spec, parameters, lr: torch.optim.AdamW(
        parameters, lr=lr, weight_decay=spec.weight_decay, foreach=True
    ),
}


def build(spec: OptimiserSpec, parameters: Sequence[Tensor], state: State) -> torch.optim.Optimizer:
    """Elementwise optimisers act on stacked tensors as they would on each run alone."""
    if spec.name not in _OPTIMISERS:
        raise InputError(f"optimiser.name: no builder for {spec.name!r}; known: {', '.join(sorted(_OPTIMISERS))}")
    optimiser = _OPTIMISERS[spec.name](spec, list(parameters), state.learning_rate)
    if state.optimiser:
        content = optimiser.state_dict()
        content["state"] = {
            index: {name: value[0].clone() if name == SHARED else value.clone() for name, value in entries.items()}
            for index, entries in state.optimiser.items()
        }
        optimiser.load_state_dict(content)
    return optimiser


def state_of(optimiser: torch.optim.Optimizer, runs: int) -> dict[int, Tensors]:
    """The optimiser's state, with an axis of runs everywhere."""
    content: dict[int, Mapping[str, Any]] = optimiser.state_dict()["state"]
    return {
        index: {
            name: value.expand(runs) if name == SHARED else value
            for name, value in entries.items()
            if isinstance(value, Tensor)
        }
        for index, entries in content.items()
    }
