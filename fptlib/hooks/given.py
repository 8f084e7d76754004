"""What a rule needs beyond the network and random numbers, in a loop that is not ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import torch
from torch import Tensor

from fptlib.perturbations import State


@final
@dataclass(slots=True)
class BestSoFar:
    """The state of the network after the epoch with the best metric so far; the first of several equal ones.

    Parameters
    ----------
    direction
        Whether the best is the highest or the lowest.
    """

    direction: Literal["above", "below"]
    metric: float | None = None
    state: State | None = field(default=None, repr=False)

    def note(self, metric: float, state: State) -> None:
        """Keep a copy of the state where its metric is better than all before; NaN is worse than any."""
        sign = 1 if self.direction == "above" else -1
        first = self.metric is None or (self.metric != self.metric and metric == metric)
        if first or sign * metric > sign * (self.metric or 0.0):
            self.metric, self.state = metric, _copied(state)

    def content(self) -> dict[str, Any] | None:
        """As a checkpoint keeps it."""
        if self.state is None:
            return None
        return {
            "metric": self.metric,
            "parameters": dict(self.state.parameters),
            "buffers": dict(self.state.buffers),
            "optimiser": {key: dict(entries) for key, entries in self.state.optimiser.items()},
        }

    def take(self, content: Mapping[str, Any] | None) -> None:
        """Go on from what a checkpoint kept."""
        self.metric = self.state = None
        if content is not None:
            self.metric = content["metric"]
            self.state = _copied(State(content["parameters"], content["buffers"], content["optimiser"], 0.0))


def _copied(state: State) -> State:
    def each(values: Mapping[Any, Any]) -> dict[Any, Any]:
        return {name: v.detach().clone() if isinstance(v, Tensor) else v for name, v in values.items()}

    optimiser = {key: each(entries) for key, entries in state.optimiser.items()}
    return State(each(state.parameters), each(state.buffers), optimiser, state.learning_rate)


@final
@dataclass(slots=True)
class RateFactor:
    """What a rule makes of the learning rates of somebody else's optimisers, on top of what they are.

    Rates that another changes in between count as changed by so much: their ratio to what was left stays.
    """

    factor: float = 1.0
    base: tuple[float, ...] | None = None

    def set(self, optimisers: Sequence[torch.optim.Optimizer], factor: float) -> None:
        """Multiply the rates, as they are without a factor, by this one."""
        groups = [group for one in optimisers for group in one.param_groups]
        now = tuple(float(group["lr"]) for group in groups)
        left = None if self.base is None else tuple(rate * self.factor for rate in self.base)
        if self.base is None or now != left:
            self.base = tuple(rate / self.factor for rate in now) if self.factor else now
        self.factor = factor
        for group, rate in zip(groups, self.base, strict=True):
            if isinstance(group["lr"], Tensor):  # as compiled optimisers have it
                group["lr"].fill_(rate * factor)
            else:
                group["lr"] = rate * factor
