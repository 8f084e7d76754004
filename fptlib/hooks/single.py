"""One network and its optimisers as a stack of one run, the best state of it so far, and a factor on its learning rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor, nn

from fptlib.ensemble import states
from fptlib.errors import InputError
from fptlib.hooks.fresh import Tensors, trained
from fptlib.perturbations import State

Optimisers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


def several(optimizer: Optimisers) -> Sequence[torch.optim.Optimizer]:
    """Return optimisers as a sequence, also where there is one; refuse anything else."""
    all_of_them = optimizer if isinstance(optimizer, Sequence) else (optimizer,)
    if not all_of_them:
        raise InputError("optimizer: none is given; pass what trains the model")
    for one in all_of_them:
        # By what they have: those of other libraries are no subclasses.
        if not hasattr(one, "state") or not hasattr(one, "param_groups"):
            raise InputError(f"optimizer: {type(one).__name__} is no PyTorch optimiser; pass one, or a list of them")
    return all_of_them


def rates(optimisers: Sequence[torch.optim.Optimizer]) -> tuple[float, ...]:
    """Return the learning rates of all groups of parameters."""
    return tuple(float(group["lr"]) for one in optimisers for group in one.param_groups)


def check_trained_by(network: nn.Module, optimisers: Sequence[torch.optim.Optimizer]) -> None:
    """Refuse a network without trained parameters, and optimisers that hold none of them."""
    parameters = trained(network)[0]
    if not parameters:
        raise InputError("model: has no parameter that requires a gradient; there is nothing to perturb")
    held = {value for one in optimisers for group in one.param_groups for value in group["params"]}
    if not any(value in held for value in parameters.values()):
        raise InputError("optimizer: holds no trained parameter of this model; pass the optimiser that trains it")


def read(network: nn.Module, optimisers: Sequence[torch.optim.Optimizer]) -> State:
    """Return the state of a network; nothing is copied but what is in half precision."""
    parameters, buffers = trained(network)
    return State(
        parameters={name: _row(value) for name, value in parameters.items()},
        buffers={name: _row(value) for name, value in buffers.items()},
        optimiser={
            key: {name: _row(entry) for name, entry in one.state[value].items()}
            for value, key in _places(network).items()
            for one in optimisers
            if value in one.state
        },
        learning_rate=rates(optimisers)[0],
    )


def like(drawn: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> Tensors:
    """Return tensors of one network as those of a stack are: with an axis of runs, of its type and on its device."""
    return {name: value[None].to(rows[name]) for name, value in drawn.items()}


@torch.no_grad()
def write(network: nn.Module, optimisers: Sequence[torch.optim.Optimizer], old: State, new: State) -> None:
    """Change a network and its optimisers, in place, from the state that was read to another."""
    parameters, buffers = trained(network)
    _copy(parameters, old.parameters, new.parameters)
    _copy(buffers, old.buffers, new.buffers)
    for value, key in _places(network).items():
        for one in (one for one in optimisers if value in one.state):
            if key in new.optimiser:
                _copy(one.state[value], old.optimiser[key], new.optimiser[key])
            else:
                del one.state[value]
    if new.learning_rate != old.learning_rate:
        for group in (group for one in optimisers for group in one.param_groups):
            # Groups keep their proportions. A tensor, as compiled optimisers have, changes in place.
            group["lr"] *= new.learning_rate / old.learning_rate


def _places(network: nn.Module) -> dict[nn.Parameter, int]:
    """Return the keys of `State.optimiser`: those of an optimiser that was given all parameters in their order."""
    return {value: key for key, value in enumerate(network.parameters()) if value.requires_grad}


def _row(value: Any) -> Any:
    """Return a tensor with a leading axis of one run, in single precision or better; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    return (value.float() if value.is_floating_point() and value.element_size() < 4 else value)[None]


def _copy(mine: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if value is old[name]:
            continue
        if isinstance(value, Tensor):
            mine[name].copy_(value[0])
        else:
            mine[name] = value


@final
@dataclass(slots=True)
class BestSoFar:
    """The state after the epoch with the best metric so far, the highest or the lowest by ``direction``; the first of equal ones."""

    direction: Literal["above", "below"]
    metric: float = math.nan
    state: State | None = None

    def note(self, metric: float, state: State) -> None:
        """Keep a copy of the state if its metric is better than all before; NaN is worse than any."""
        better = metric > self.metric if self.direction == "above" else metric < self.metric
        if better or self.state is None or (math.isnan(self.metric) and not math.isnan(metric)):
            self.metric, self.state = metric, states.copied(state)

    def content(self) -> dict[str, Any] | None:
        """Return what a checkpoint keeps."""
        return None if self.state is None else {"metric": self.metric, **states.content(self.state)}

    def take(self, content: Mapping[str, Any] | None) -> None:
        """Go on from what a checkpoint kept."""
        kept = dict(content or {})
        self.metric = kept.pop("metric", math.nan)
        self.state = State(**kept, learning_rate=0.0) if kept else None


@final
@dataclass(slots=True)
class RateFactor:
    """A rule's factor on the learning rates of optimisers; what others multiply them by in between stays."""

    factor: float = 1.0
    base: tuple[float, ...] | None = None

    def set(self, optimisers: Sequence[torch.optim.Optimizer], factor: float) -> None:
        """Multiply the rates, as they are without a factor, by this one."""
        now = rates(optimisers)
        if self.base is None or now != tuple(rate * self.factor for rate in self.base):
            self.base = tuple(rate / self.factor for rate in now) if self.factor else now
        self.factor = factor
        groups = [group for one in optimisers for group in one.param_groups]
        for group, rate in zip(groups, self.base, strict=True):
            if isinstance(group["lr"], Tensor):  # as compiled optimisers have it
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor
