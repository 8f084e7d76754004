"""Perturbations that change weights by what they are, and by fresh ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, final

import numpy as np
import torch
from torch import Tensor

from fptlib.perturbations.base import Context, Perturbation, State


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
