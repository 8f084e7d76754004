"""Perturbations of weights: by what they are, by fresh ones, by noise, and by those of an earlier epoch."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal, final

import numpy as np

from fptlib.errors import InputError
from fptlib.parameters import Fraction, NonNegative, Number
from fptlib.perturbations.base import Context, Need, Perturbation, State, rule

if TYPE_CHECKING:
    from torch import Tensor


@final
@rule("shrink_perturb")
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
    ``theta <- shrink * theta + perturb * theta_fresh``; of the whole state in the implementation published with arXiv:2502.04121.

    References
    ----------
    J. T. Ash, R. P. Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020.
    """

    # The pair of factors used in arXiv:2502.04121.
    shrink: Number = 0.4
    perturb: Number = 0.1
    scope: Literal["parameters", "state"] = "parameters"

    def _mix(self, old: Mapping[str, Tensor], fresh: Mapping[str, Tensor]) -> dict[str, Tensor]:
        # Counters, such as the number of batches seen, are no weights.
        return {
            name: self.shrink * value + self.perturb * fresh[name] if value.is_floating_point() else value
            for name, value in old.items()
        }

    def apply(self, state: State, context: Context) -> State:
        """Return the state with weights mixed with fresh ones."""
        parameters, buffers = context.fresh()
        mixed = replace(state, parameters=self._mix(state.parameters, parameters))
        return mixed if self.scope == "parameters" else replace(mixed, buffers=self._mix(state.buffers, buffers))


@final
@rule("full_reset")
@dataclass(frozen=True, slots=True)
class FullReset(Perturbation):
    """Start again from a fresh initialisation, running averages included.

    Notes
    -----
    ``theta <- theta_fresh``: sharp restart, whose mean first-passage time follows from unperturbed runs alone.

    References
    ----------
    A. Pal, S. Reuveni, "First Passage under Restart", Physical Review Letters 118, 030603 (2017).
    """

    def apply(self, state: State, context: Context) -> State:
        """Return the state with everything that was learnt drawn afresh."""
        parameters, buffers = context.fresh()
        return replace(state, parameters=parameters, buffers=buffers)


@final
@rule("partial_reset")
@dataclass(frozen=True, slots=True)
class PartialReset(Perturbation):
    """Redraw the smallest weights of each run.

    Parameters
    ----------
    quantile
        Entries whose magnitude lies below this quantile of all of the run's weights are redrawn: 0 none, 1 all.
    fan_in
        The new value comes from U(-1/sqrt(n), 1/sqrt(n)), ``n`` the number of input channels (``published``) or of inputs of one unit, the
        kernel's area included (``true``). For one-dimensional weights ``n`` is their length.

    Notes
    -----
    Weights are the tensors called ``weight``, the gains of BatchNorm among them, and the optimiser's state stays, as in the
    implementation published with the reference.

    References
    ----------
    S. Meir, T. D. Keidar, S. Reuveni, B. Hirshberg, "First-passage approach to optimizing perturbations for improved training of
    machine learning models", arXiv:2502.04121.
    """

    fresh_optimiser: ClassVar[bool] = False
    quantile: Fraction
    fan_in: Literal["published", "true"] = "published"

    def apply(self, state: State, context: Context) -> State:
        """Return the state with the smallest weights redrawn."""
        import torch

        weights = {name: value for name, value in state.parameters.items() if name.rsplit(".", 1)[-1] == "weight"}
        if not weights:
            raise InputError("partial_reset: no trained parameter is called weight; use weight_noise or shrink_perturb")
        for name, value in weights.items():
            if value.ndim - (name in context.pairs) < 2:
                raise InputError(
                    f"partial_reset: {name} is a single number, which has no inputs; use another rule or name"
                )
        magnitudes = torch.cat([value.abs().flatten(1) for value in weights.values()], dim=1)  # (runs, entries)
        if self.quantile == 1:
            # Nothing lies above the largest entry, which would itself not lie below this quantile.
            threshold = torch.full_like(magnitudes[:, 0], math.inf)
        else:
            # One run at a time: torch.quantile takes 16 million entries at most.
            threshold = torch.stack([torch.quantile(row, self.quantile) for row in magnitudes])
        parameters = dict(state.parameters)
        for name, value in weights.items():
            shape = tuple(value.shape[1:])  # of one run
            axes = shape[:-1] if name in context.pairs else shape
            inputs = axes if len(axes) == 1 else axes[1:2] if self.fan_in == "published" else axes[1:]
            bound = 1 / math.sqrt(math.prod(inputs))
            drawn = [rng.uniform(-bound, bound, shape) for rng in context.generators]
            small = value.abs() < threshold.view(-1, *[1] * (value.ndim - 1))
            parameters[name] = torch.where(small, torch.from_numpy(np.stack(drawn)).to(value), value)
        return replace(state, parameters=parameters)


@final
@rule("last_layer_reset")
@dataclass(frozen=True, slots=True)
class LastLayerReset(Perturbation):
    """Draw the output layer afresh; what is below it stays.

    Notes
    -----
    ``theta_L <- theta_L,fresh`` for the weights and shifts of the last layer ``L`` (`fptlib.models.Network.output_layer`). In RIFLE the
    learning rate restarts as well.

    References
    ----------
    X. Li, H. Xiong, H. An, C. Xu, D. Dou, "RIFLE: Backpropagation in Depth for Deep Transfer Learning through
    Re-Initializing the Fully-connected LayEr", ICML 2020.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"output_layer"})

    def apply(self, state: State, context: Context) -> State:
        """Return the state with a fresh output layer."""
        layer, (fresh, _) = context.output_layer, context.fresh()
        redrawn = {name: fresh[name] for name in state.parameters if name.rpartition(".")[0] == layer}
        if not redrawn:
            raise InputError(
                f"perturbation: last_layer_reset finds no trained parameter of {layer!r}, which the network calls its "
                f"output layer; parameters: {', '.join(state.parameters)}"
            )
        return replace(state, parameters={**state.parameters, **redrawn})


@final
@rule("weight_noise")
@dataclass(frozen=True, slots=True)
class WeightNoise(Perturbation):
    """Add Gaussian noise to everything that is trained; buffers stay.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, 0 or more.
    scale
        ``relative``: ``sigma`` is in units of the root mean square of each tensor of each run, so that all layers are
        disturbed alike, and a tensor of zeros stays one. ``absolute``: it is in units of the weights.

    Notes
    -----
    ``theta <- theta + sigma r xi``, ``xi`` from N(0, 1) for each entry and ``r`` the root mean square, or 1. Jin et al. add noise
    from a ball where the gradient is small; Murray and Edwards at every step, in proportion to each weight.

    References
    ----------
    C. Jin, R. Ge, P. Netrapalli, S. M. Kakade, M. I. Jordan, "How to Escape Saddle Points Efficiently", ICML 2017.
    A. F. Murray, P. J. Edwards, "Enhanced MLP Performance and Fault Tolerance Resulting from Synaptic Weight Noise During
    Training", IEEE Transactions on Neural Networks 5, 792 (1994).
    """

    fresh_optimiser: ClassVar[bool] = False
    sigma: NonNegative = 0.3
    scale: Literal["relative", "absolute"] = "relative"

    def apply(self, state: State, context: Context) -> State:
        """Return the state with noisy parameters."""
        import torch

        noisy = {}
        for name, value in state.parameters.items():
            drawn = [rng.standard_normal(tuple(value.shape[1:])) for rng in context.generators]
            noise = self.sigma * torch.from_numpy(np.stack(drawn)).to(value)
            if self.scale == "relative":
                # One run at a time: the order of a sum may depend on the shape of all that is summed.
                size = torch.stack([row.square().mean().sqrt() for row in value])
                noise = noise * size.view(-1, *[1] * (value.ndim - 1))
            noisy[name] = value + noise
        return replace(state, parameters=noisy)


@final
@rule("restart_from_best")
@dataclass(frozen=True, slots=True)
class RestartFromBest(Perturbation):
    """Go back to the parameters and buffers of the epoch that had the best validation metric so far.

    Notes
    -----
    ``theta_t <- theta_b``, where ``b`` is the epoch up to ``t`` with the best validation metric; batches are fresh. Where the best epoch
    changes with time, so does the law of the time that is left after a perturbation. Bae et al. reset at random times.

    References
    ----------
    Y. Bae, Y. Song, H. Jeong, "Stochastic Resetting Mitigates Latent Gradient Bias of SGD from Label Noise", Machine
    Learning: Science and Technology 6, 015062 (2025), arXiv:2406.00396.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"best"})

    def apply(self, state: State, context: Context) -> State:
        """Return the state with the parameters and buffers of the best epoch."""
        best = context.best
        assert best is not None

        def copied(old: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: kept[name].to(value.device, value.dtype, copy=True) for name, value in old.items()}

        parameters, buffers = copied(state.parameters, best.parameters), copied(state.buffers, best.buffers)
        return replace(state, parameters=parameters, buffers=buffers)
