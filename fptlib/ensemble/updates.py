"""An optimiser at work on stacked parameters: one for a whole stack, or a row for each run where these have come apart."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

import torch
from torch import Tensor

from fptlib.ensemble import optimisers
from fptlib.models import Tensors
from fptlib.perturbations import State
from fptlib.spec import OptimiserSpec

# Beside the state's entries where some runs have none yet: true for these.
FRESH: Final = "fresh"


@final
class Stack:
    """An optimiser of stacked parameters ``(runs, ...)``, changed in place by the gradients in ``grad``, that goes on from a state.

    Runs that differ in what an optimiser keeps once for a tensor, such as the count of steps, are stepped as views of their
    own. The arithmetic of every entry is the same.
    """

    def __init__(self, spec: OptimiserSpec, parameters: Sequence[Tensor], state: State) -> None:
        self._shared, self._parameters = optimisers.shared(spec), list(parameters)
        kept: Mapping[int, Mapping[str, Tensor]] = state.optimiser
        alike = all(
            bool((value == value[0]).all())
            for entries in kept.values()
            for name, value in entries.items()
            if name == FRESH or name in self._shared
        )
        views = [parameter.detach().unbind(0) for parameter in self._parameters]
        # (runs, tensors)
        self._rows: list[tuple[Tensor, ...]] = [] if alike else list(zip(*views, strict=True))
        everything = [view for row in self._rows for view in row] or self._parameters
        self._optimiser = optimisers.build(spec, everything, state.learning_rate)
        for run, row in enumerate(self._rows or [self._parameters]):
            _restore(self._optimiser, row, kept, self._shared, None if alike else run)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate from now on."""
        set_rate(self._optimiser, rate)

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    def step(self) -> None:
        """Change the parameters by their gradients."""
        if self._rows:
            for i, parameter in enumerate(self._parameters):
                assert parameter.grad is not None
                for row, gradient in zip(self._rows, parameter.grad.unbind(0), strict=True):
                    row[i].grad = gradient
        self._optimiser.step()

    def state(self) -> dict[int, Tensors]:
        """Return the optimiser's state, with an axis of runs everywhere; empty before the first step."""
        if not self._rows:
            return _entries(self._optimiser, self._parameters, self._shared, len(self._parameters[0]))
        each = [_entries(self._optimiser, row, self._shared, None) for row in self._rows]
        return joined(each, [1] * len(each))


def alone(spec: OptimiserSpec, parameters: Sequence[Tensor], state: State, run: int) -> torch.optim.Optimizer:
    """Return the optimiser of one run, with parameters of its own, where a run of a state stands."""
    optimiser = optimisers.build(spec, list(parameters), state.learning_rate)
    _restore(optimiser, parameters, state.optimiser, optimisers.shared(spec), run)
    return optimiser


def stacked(spec: OptimiserSpec, each: Sequence[tuple[torch.optim.Optimizer, Sequence[Tensor]]]) -> dict[int, Tensors]:
    """Return the states of optimisers of one run each, with an axis of runs everywhere."""
    entries = [_entries(optimiser, parameters, optimisers.shared(spec), None) for optimiser, parameters in each]
    return joined(entries, [1] * len(entries))


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters from now on."""
    for group in optimiser.param_groups:
        group["lr"] = rate


def joined(parts: Sequence[Mapping[Any, Mapping[str, Tensor]]], runs: Sequence[int]) -> dict[Any, Tensors]:
    """Combine the states of groups of so many runs each; ``FRESH`` says which runs have none yet, where others have."""
    pattern = next((part for part in parts if part), {})
    marked = any(not part for part in parts) or any(FRESH in values for part in parts for values in part.values())

    def entries(part: Mapping[Any, Mapping[str, Tensor]], key: Any, count: int) -> Mapping[str, Tensor]:
        if key not in part:
            empty = {name: value.new_zeros(count, *value.shape[1:]) for name, value in pattern[key].items()}
            return {**empty, FRESH: torch.ones(count, dtype=torch.bool)}
        return {FRESH: torch.zeros(count, dtype=torch.bool), **part[key]} if marked else part[key]

    state: dict[Any, Tensors] = {}
    for key in pattern:
        each = [entries(part, key, count) for part, count in zip(parts, runs, strict=True)]
        # What is kept once for a tensor lies in main memory or, where it was moved with the rest, beside the parameters.
        state[key] = {
            name: torch.cat([values[name].detach().to(first.device) for values in each])
            for name, first in each[0].items()
        }
    return state


def _entries(
    optimiser: torch.optim.Optimizer, parameters: Sequence[Tensor], shared: Mapping[str, type], runs: int | None
) -> dict[int, Tensors]:
    """Return what an optimiser keeps, with an axis of runs; ``None``: it has one run, whose tensors are without that axis."""
    state: dict[int, Tensors] = {}
    for i, parameter in enumerate(parameters):
        entries: Tensors = {}
        for name, value in optimiser.state.get(parameter, {}).items():
            if name in shared:
                number = (
                    value if isinstance(value, Tensor) else torch.tensor(value, dtype=optimisers.NUMBERS[type(value)])
                )
                entries[name] = number.expand(runs or 1)
            elif value is not None:
                entries[name] = value[None] if runs is None else value
        if entries:
            state[i] = entries
    return state


def _restore(
    optimiser: torch.optim.Optimizer,
    parameters: Sequence[Tensor],
    kept: Mapping[int, Mapping[str, Tensor]],
    shared: Mapping[str, type],
    run: int | None,
) -> None:
    """Let an optimiser go on from a state: from one run's, or from all of a stack that has what is shared in common."""
    for i, parameter in enumerate(parameters):
        entries = kept.get(i, {})
        if FRESH in entries and bool(entries[FRESH][run or 0]):
            continue
        for name, value in entries.items():
            if name in shared:
                one = value[run or 0].detach()
                # Counts stay in main memory, where PyTorch keeps them.
                optimiser.state[parameter][name] = (
                    one.cpu().clone() if shared[name] is Tensor else shared[name](one.item())
                )
            elif name != FRESH:
                optimiser.state[parameter][name] = (value if run is None else value[run]).detach().clone()
