"""Networks by name, stacked: every parameter has a leading axis of runs, so that many networks train at once.

A stack of ``R`` networks is a dictionary of tensors ``(R, ...)`` under the names that a single network of
`StackedModel.single` has in its ``state_dict``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fptlib.errors import InputError
from fptlib.spec import MlpSpec, ModelSpec

Tensors = dict[str, Tensor]

# PyTorch's defaults for BatchNorm.
_BN_EPS: Final = 1e-5
_BN_MOMENTUM: Final = 0.1


class StackedModel(ABC):
    """A family of networks of one shape, as functions of stacked parameters."""

    @abstractmethod
    def initialise(
        self, generators: Sequence[np.random.Generator], *, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensors, Tensors]:
        """Draw parameters and buffers of one network for each generator, from PyTorch's default distributions.

        The numbers are drawn on the CPU in double precision and rounded, so that devices and precisions agree.
        """

    @abstractmethod
    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, *, training: bool
    ) -> Tensor:
        """Logits, shape ``(runs, batch, classes)``.

        Parameters
        ----------
        parameters, buffers
            Stacked tensors. With ``training`` the buffers are updated in place, as PyTorch does.
        x
            Inputs, shape ``(runs, batch, features)``, or ``(batch, features)`` for the same inputs in every run.
        training
            Whether BatchNorm normalises with the batch's own statistics.
        """

    @abstractmethod
    def single(self) -> nn.Module:
        """One network of this shape as an ordinary module."""


def run_state(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], run: int) -> Tensors:
    """Parameters and buffers of one run, as `StackedModel.single` loads them with ``load_state_dict``."""
    return {name: tensor[run].detach().clone() for name, tensor in {**parameters, **buffers}.items()}


def _uniform(
    generators: Sequence[np.random.Generator],
    bound: float,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """U(-bound, bound), shape ``(runs, *shape)``."""
    values = np.stack([rng.uniform(-bound, bound, shape) for rng in generators])
    return torch.from_numpy(values).to(device=device, dtype=dtype)


@final
@dataclass(frozen=True, slots=True)
class StackedMLP(StackedModel):
    """Fully connected networks with ReLU, optionally with BatchNorm before each ReLU.

    Parameters
    ----------
    n_features, widths, n_classes
        Units of the input, of the hidden layers and of the output.
    batch_norm
        Whether hidden layers are normalised.

    Examples
    --------
    >>> model = StackedMLP(n_features=4, widths=(8,), n_classes=3, batch_norm=True)
    >>> list(model.single().state_dict())[:4]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    n_features: int
    widths: tuple[int, ...]
    n_classes: int
    batch_norm: bool

    def _linear(self) -> list[tuple[str, int, int, str | None]]:
        """Name, inputs and outputs of each linear layer, and the name of the BatchNorm after it."""
        sizes = (self.n_features, *self.widths, self.n_classes)
        step = 3 if self.batch_norm else 2
        return [
            (
                f"layers.{step * i}",
                sizes[i],
                sizes[i + 1],
                f"layers.{step * i + 1}" if self.batch_norm and i < len(self.widths) else None,
            )
            for i in range(len(sizes) - 1)
        ]

    def initialise(
        self, generators: Sequence[np.random.Generator], *, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensors, Tensors]:
        """Weights and biases from U(-1/sqrt(inputs), 1/sqrt(inputs)), BatchNorm as the identity."""
        parameters: Tensors = {}
        buffers: Tensors = {}
        runs = len(generators)
        for name, inputs, outputs, norm in self._linear():
            bound = 1 / math.sqrt(inputs)
            parameters[f"{name}.weight"] = _uniform(generators, bound, (outputs, inputs), dtype, device)
            parameters[f"{name}.bias"] = _uniform(generators, bound, (outputs,), dtype, device)
            if norm is not None:
                parameters[f"{norm}.weight"] = torch.ones(runs, outputs, dtype=dtype, device=device)
                parameters[f"{norm}.bias"] = torch.zeros(runs, outputs, dtype=dtype, device=device)
                buffers[f"{norm}.running_mean"] = torch.zeros(runs, outputs, dtype=dtype, device=device)
                buffers[f"{norm}.running_var"] = torch.ones(runs, outputs, dtype=dtype, device=device)
                buffers[f"{norm}.num_batches_tracked"] = torch.zeros(runs, dtype=torch.int64, device=device)
        return parameters, buffers

    def forward(
        self, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, *, training: bool
    ) -> Tensor:
        """Logits, shape ``(runs, batch, classes)``; see `StackedModel.forward`."""
        layers = self._linear()
        if x.ndim == 2:
            runs = parameters[f"{layers[0][0]}.weight"].shape[0]
            x = x.expand(runs, *x.shape)
        for i, (name, _, _, norm) in enumerate(layers):
            weight, bias = parameters[f"{name}.weight"], parameters[f"{name}.bias"]
            if norm is not None and not training:
                weight, bias = _folded(parameters, buffers, norm, weight, bias)
            x = torch.baddbmm(bias.unsqueeze(1), x, weight.mT)
            if norm is not None and training:
                x = _batch_norm_relu(parameters, buffers, norm, x)
            elif i < len(self.widths):
                # The value before ReLU is needed by nobody: in place saves a pass through memory.
                x = x.relu_()
        return x

    def single(self) -> nn.Module:
        """One network of this shape as an ordinary module."""
        layers: list[nn.Module] = []
        for i, (_, inputs, outputs, norm) in enumerate(self._linear()):
            layers.append(nn.Linear(inputs, outputs))
            if norm is not None:
                layers.append(nn.BatchNorm1d(outputs, eps=_BN_EPS, momentum=_BN_MOMENTUM))
            if i < len(self.widths):
                layers.append(nn.ReLU())
        return _Layers(nn.Sequential(*layers))


class _Layers(nn.Module):
    """A sequence of layers under the name ``layers``."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``."""
        result: Tensor = self.layers(x)
        return result


def _folded(
    parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], norm: str, weight: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor]:
    """Weights and biases of a linear layer that include the BatchNorm after it, as it is in evaluation."""
    scale = parameters[f"{norm}.weight"] * torch.rsqrt(buffers[f"{norm}.running_var"] + _BN_EPS)
    shift = parameters[f"{norm}.bias"]
    return weight * scale.unsqueeze(2), (bias - buffers[f"{norm}.running_mean"]) * scale + shift


def _batch_norm_relu(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], norm: str, x: Tensor) -> Tensor:
    """BatchNorm of every run on its own, in training, and ReLU; ``x`` has shape ``(runs, batch, units)``."""
    runs, batch, units = x.shape
    # Units of all runs side by side are the channels of one fused kernel: four times as fast as the formula.
    flat = functional.batch_norm(
        x.transpose(0, 1).reshape(batch, runs * units),
        buffers[f"{norm}.running_mean"].view(-1),
        buffers[f"{norm}.running_var"].view(-1),
        parameters[f"{norm}.weight"].view(-1),
        parameters[f"{norm}.bias"].view(-1),
        True,
        _BN_MOMENTUM,
        _BN_EPS,
    )
    buffers[f"{norm}.num_batches_tracked"].add_(1)
    return flat.relu_().view(batch, runs, units).transpose(0, 1)


_BUILDERS: dict[str, Callable[[Any, int, int], StackedModel]] = {}


def register(name: str, builder: Callable[[Any, int, int], StackedModel]) -> None:
    """Make a family of networks known: ``builder(model section, features, classes)`` returns its stacked form."""
    _BUILDERS[name] = builder


def build(spec: ModelSpec, *, n_features: int, n_classes: int) -> StackedModel:
    """Stacked form of the model that a specification names.

    Raises
    ------
    InputError
        If no builder is known for the name.
    """
    if spec.name not in _BUILDERS:
        raise InputError(f"model.name: no builder for {spec.name!r}; known: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[spec.name](spec, n_features, n_classes)


def _build_mlp(spec: MlpSpec, n_features: int, n_classes: int) -> StackedMLP:
    return StackedMLP(
        n_features=n_features, widths=spec.widths, n_classes=n_classes, batch_norm=spec.normalisation == "batch"
    )


register("mlp", _build_mlp)
