"""What is done to a network in training, as values: ``apply(state, context) -> state``.

Every tensor has a leading axis of runs; one network is the case of one run.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from fptlib.errors import InputError
from fptlib.spec import FullResetSpec, PartialResetSpec, PerturbationSpec, ShrinkPerturbSpec


@dataclass(frozen=True, slots=True)
class State:
    """All that a training carries from one step to the next, of all runs.

    Parameters
    ----------
    parameters, buffers
        Name to tensor ``(runs, ...)``.
    optimiser
        The optimiser's state as PyTorch's ``state_dict()["state"]`` has it: empty for a fresh one.
    learning_rate
        Learning rate.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimiser: Mapping[Any, Any]
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Context:
    """What a perturbation may draw on.

    Parameters
    ----------
    fresh
        Draws the parameters and buffers of a fresh initialisation; each call gives the same.
    generators
        Source of randomness of each run.
    best
        The best snapshot so far, where one is kept.
    probe
        A batch of inputs and classes, where one is given.
    """

    fresh: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
    generators: Sequence[np.random.Generator]
    best: State | None = None
    probe: tuple[Tensor, Tensor] | None = None


class Perturbation(ABC):
    """One way to change a training.

    ``fresh_optimiser`` says whether the optimiser starts anew as well where nobody decides otherwise.
    """

    __slots__ = ()
    fresh_optimiser: ClassVar[bool] = True

    @abstractmethod
    def apply(self, state: State, context: Context) -> State:
        """State after the perturbation; the given one is left as it is."""


@final
@dataclass(frozen=True, slots=True)
class ShrinkPerturb(Perturbation):
    """Shrink the weights and add a little of a fresh initialisation.

    Parameters
    ----------
    shrink, perturb
        Factors of the present and of the fresh values.
    scope
        ``parameters``: all that is trained. ``state``: BatchNorm's running averages too.

    Notes
    -----
    ``theta <- shrink * theta + perturb * theta_fresh``. The original acts on parameters; the implementation published
    with arXiv:2502.04121 acts on the whole state.

    References
    ----------
    J. T. Ash, R. P. Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.
    """

    shrink: float
    perturb: float
    scope: Literal["parameters", "state"] = "parameters"

    def _mix(self, old: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Counters, such as the number of batches seen, are no weights.
        return {
            name: self.shrink * value + self.perturb * fresh[name] if value.is_floating_point() else value
            for name, value in old.items()
        }

    def apply(self, state: State, context: Context) -> State:
        """State with weights mixed with fresh ones."""
        parameters, buffers = context.fresh()
        mixed = replace(state, parameters=self._mix(state.parameters, parameters))
        return mixed if self.scope == "parameters" else replace(mixed, buffers=self._mix(state.buffers, buffers))


@final
@dataclass(frozen=True, slots=True)
class FullReset(Perturbation):
    """Start again from a fresh initialisation, running averages included."""

    def apply(self, state: State, context: Context) -> State:
        """State with everything that was learnt drawn afresh."""
        parameters, buffers = context.fresh()
        return replace(state, parameters=parameters, buffers=buffers)


@final
@dataclass(frozen=True, slots=True)
class PartialReset(Perturbation):
    """Redraw the smallest weights of each run.

    Parameters
    ----------
    quantile
        Entries whose magnitude lies below this quantile of all of the run's weights are redrawn: 0 none, 1 all.
    fan_in
        The new value comes from U(-1/sqrt(n), 1/sqrt(n)). ``published``: ``n`` is the number of input channels.
        ``true``: the number of inputs of one unit, the kernel's area included, as in PyTorch's default initialisation.
        They differ for convolutions only. For one-dimensional weights ``n`` is their length.

    Notes
    -----
    Weights are the tensors called ``weight``, the gains of BatchNorm among them, as in the implementation published
    with arXiv:2502.04121, which keeps the optimiser's state here.
    """

    fresh_optimiser: ClassVar[bool] = False
    quantile: float
    fan_in: Literal["published", "true"] = "published"

    def _n_inputs(self, shape: tuple[int, ...]) -> int:
        """``n`` for a weight of this shape (of one run)."""
        if len(shape) == 1:
            return shape[0]
        return shape[1] if self.fan_in == "published" else math.prod(shape[1:])

    def apply(self, state: State, context: Context) -> State:
        """State with the smallest weights redrawn."""
        weights = {name: value for name, value in state.parameters.items() if name.rsplit(".", 1)[-1] == "weight"}
        magnitudes = torch.cat([value.abs().flatten(1) for value in weights.values()], dim=1)  # (runs, entries)
        if self.quantile == 1:
            # Nothing lies above the largest entry, which would itself not lie below this quantile.
            threshold = torch.full_like(magnitudes[:, 0], math.inf)
        else:
            # One run at a time: torch.quantile takes 16 million entries at most.
            threshold = torch.stack([torch.quantile(row, self.quantile) for row in magnitudes])
        parameters = dict(state.parameters)
        for name, value in weights.items():
            bound = 1 / math.sqrt(self._n_inputs(tuple(value.shape[1:])))
            drawn = np.stack([rng.uniform(-bound, bound, tuple(value.shape[1:])) for rng in context.generators])
            fresh = torch.from_numpy(drawn).to(device=value.device, dtype=value.dtype)
            small = value.abs() < threshold.view(-1, *[1] * (value.ndim - 1))
            parameters[name] = torch.where(small, fresh, value)
        return replace(state, parameters=parameters)


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """A perturbation and the epochs at which it acts, right after their evaluation.

    Parameters
    ----------
    perturbation
        What is done.
    period
        Epochs between perturbations, 1 or more.
    repeat
        ``periodic``: at ``period``, ``2 * period``, ...; ``once``: at ``period``.
    fresh_optimiser
        Whether the optimiser starts anew.

    Examples
    --------
    >>> schedule = Schedule(perturbation=FullReset(), period=3, repeat="periodic", fresh_optimiser=True)
    >>> [epoch for epoch in range(1, 10) if schedule.due(epoch)]
    [3, 6, 9]
    """

    perturbation: Perturbation
    period: int
    repeat: Literal["periodic", "once"]
    fresh_optimiser: bool

    def due(self, epoch: int) -> bool:
        """Whether the perturbation acts after this epoch (1, 2, ...)."""
        return epoch == self.period if self.repeat == "once" else epoch % self.period == 0

    def apply(self, state: State, context: Context) -> State:
        """State after the perturbation."""
        state = self.perturbation.apply(state, context)
        return replace(state, optimiser={}) if self.fresh_optimiser else state


_BUILDERS: dict[str, Callable[[Any], Perturbation]] = {}


def register(name: str, builder: Callable[[Any], Perturbation]) -> None:
    """Make a kind of perturbation known: called with the section ``perturbation``, it returns the value."""
    _BUILDERS[name] = builder


def build(spec: PerturbationSpec | None) -> Schedule | None:
    """The perturbation that a specification names, with its schedule.

    Raises
    ------
    InputError
        If no builder is known for the name.
    """
    if spec is None:
        return None
    if spec.name not in _BUILDERS:
        raise InputError(f"perturbation.name: no builder for {spec.name!r}; known: {', '.join(sorted(_BUILDERS))}")
    return Schedule(
        perturbation=_BUILDERS[spec.name](spec),
        period=spec.period,
        repeat=spec.repeat,
        fresh_optimiser=spec.fresh_optimiser,
    )


def _shrink_perturb(spec: ShrinkPerturbSpec) -> ShrinkPerturb:
    return ShrinkPerturb(shrink=spec.shrink, perturb=spec.perturb, scope=spec.scope)


def _full_reset(_spec: FullResetSpec) -> FullReset:
    return FullReset()


def _partial_reset(spec: PartialResetSpec) -> PartialReset:
    return PartialReset(quantile=spec.quantile, fan_in=spec.fan_in)


register("shrink_perturb", _shrink_perturb)
register("full_reset", _full_reset)
register("partial_reset", _partial_reset)
