"""Perturbations that ask where the loss would take the weights."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn import functional

from fptlib.perturbations.base import Context, Perturbation, State
from fptlib.perturbations.needs import Need, needed


@final
@dataclass(frozen=True, slots=True)
class Dash(Perturbation):
    """Shrink each unit's weights the more, the less they point where the loss falls.

    Parameters
    ----------
    floor
        Smallest factor, between 0 and 1: ``lambda`` of the paper.

    Notes
    -----
    ``w <- max(lambda, cos(w, -g)) w`` with ``g`` the gradient of the mean loss: for each unit (row) of a linear layer, for each
    kernel (from one channel to one channel) of a convolution, and for the shifts of a layer taken together, as in the authors'
    code. Normalisation layers stay, and so do parameters of other kinds.

    The original averages the gradient over the batches of the data seen so far, ``G <- (1 - alpha) G + alpha g``, from
    ``G = 0``. Here the probe is a single batch: ``G = alpha g``, and ``alpha`` drops out of the cosine.

    The loss does not change with the length of a row before BatchNorm, so that ``w . g = 0`` for the gradient of a training
    step: such rows all shrink by ``lambda``, whatever they have learnt (up to the small number that BatchNorm adds to the
    variance). Only convolutions, where several kernels make up a unit, and layers that are not normalised tell directions apart.

    References
    ----------
    B. Shin, J. Oh, H. Cho, C. Yun, "DASH: Warm-Starting Neural Network Training in Stationary Settings without Loss of
    Plasticity", NeurIPS 2024, arXiv:2410.23495.
    """

    fresh_optimiser: ClassVar[bool] = False
    needs: ClassVar[frozenset[Need]] = frozenset({"gradient"})
    floor: float = 0.3

    def apply(self, state: State, context: Context) -> State:
        """State with weights shrunk by their directions."""
        gradient = needed(context.gradient, "the gradient of the loss", self)(state)
        parameters = dict(state.parameters)
        for name, value in state.parameters.items():
            layer, _, kind = name.rpartition(".")
            weight = state.parameters.get(f"{layer}.weight" if layer else "weight")
            if kind not in ("weight", "bias") or weight is None or weight.ndim < 3:
                continue
            # One run at a time: the order of a sum may depend on the shape of all that is summed.
            factors = [self._factors(w, -g) for w, g in zip(value, gradient[name], strict=True)]
            parameters[name] = value * torch.stack(factors)
        return replace(state, parameters=parameters)

    def _factors(self, weight: Tensor, descent: Tensor) -> Tensor:
        """Factors on the weights ``(outputs, inputs, ...)`` or shifts ``(outputs,)`` of one run, to be broadcast."""
        kept = min(weight.ndim - 1, 2)  # axes that stay: none of shifts, units, or pairs of channels
        one, other = (part.reshape(*part.shape[:kept], -1) for part in (weight, descent))
        cosine = functional.cosine_similarity(one, other, dim=-1).clamp(self.floor, 1)
        return cosine.reshape(*cosine.shape, *[1] * (weight.ndim - kept))
