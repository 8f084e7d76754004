"""The interface of networks: one ordinary module, and the stacked tensors of many drawn from it."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from fptlib.errors import InputError
from fptlib.spec.networks import Normalisation

Tensors = dict[str, Tensor]
_LINEAR: Final = (nn.Linear, nn.modules.conv._ConvNd)


class Network(ABC):
    """A family of networks of one shape.

    A stack of ``R`` of them is a dictionary of tensors ``(R, ...)`` under the names that one has in its ``state_dict``.
    """

    __slots__ = ()

    @abstractmethod
    def single(self) -> nn.Module:
        """One network as an ordinary module, drawn from PyTorch's global random numbers."""

    def template(self) -> nn.Module:
        """One network without memory: what `fptlib.models.stacking.forward` computes with, given a stack's tensors."""
        with torch.device("meta"):
            return self.single()

    @property
    def has_convolutions(self) -> bool:
        """True if any layer is a convolution."""
        return any(isinstance(module, nn.modules.conv._ConvNd) for module in self.template().modules())

    @property
    def output_layer(self) -> str:
        """Name of the layer that gives the network's outputs: the last one that was made, unless a class says otherwise."""
        layers: list[str] = [name for name, layer in self.template().named_modules() if isinstance(layer, _LINEAR)]
        if not layers:
            raise InputError(
                f"model: {type(self).__name__} has no linear layer or convolution; its class needs a property output_layer "
                "with the name of the module that gives its outputs"
            )
        return layers[-1]

    def initialise(
        self, generators: Sequence[np.random.Generator], *, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensors, Tensors]:
        """Parameters and buffers of one network for each generator, each with a leading axis of runs.

        Each generator gives one number, which seeds the network's own initialisation, on the CPU and in single precision: a network is
        the same whatever is drawn beside it and on whatever device. ``dtype`` is the type of all that is not a count.
        """
        parameters: Tensors = {}
        buffers: Tensors = {}
        for run, generator in enumerate(generators):
            module = self._drawn(int(generator.integers(2**63)))
            for stack, one in ((parameters, module.named_parameters()), (buffers, module.named_buffers())):
                # Filled run by run, so that no second copy of many large networks is ever held.
                for name, value in one:
                    if run == 0:
                        shape, kind = (
                            (len(generators), *value.shape),
                            dtype if value.is_floating_point() else value.dtype,
                        )
                        stack[name] = torch.empty(shape, dtype=kind, device=device)
                    stack[name][run] = value.detach()
        return parameters, buffers

    def _drawn(self, seed: int) -> nn.Module:
        """One network on the CPU; PyTorch's random numbers are as before afterwards."""
        with torch.random.fork_rng(devices=[]), torch.device("cpu"):
            # Other than `torch.manual_seed`, this leaves the random numbers of other devices alone.
            torch.default_generator.manual_seed(seed)
            return self.single().float()


class Layers(nn.Module):
    """Layers on images under the name ``features``, if any, then layers on vectors under the name ``layers``."""

    def __init__(self, layers: nn.Sequential, features: nn.Sequential | None = None, n_channels: int = 1) -> None:
        super().__init__()
        self.features, self.layers, self._n_channels = features, layers, n_channels

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``."""
        x = x if self.features is None else self.features(as_images(x, n_channels=self._n_channels))
        logits: Tensor = self.layers(x.flatten(1))
        return logits


def run_state(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], run: int) -> Tensors:
    """Parameters and buffers of one run, as `Network.single` loads them with ``load_state_dict``."""
    return {name: tensor[run].detach().clone() for name, tensor in {**parameters, **buffers}.items()}


def as_images(x: Tensor, *, n_channels: int = 1) -> Tensor:
    """Square images ``(batch, channels, height, width)`` of vectors that hold them; images are left as they are."""
    if x.ndim > 2:
        return x
    side = math.isqrt(x.shape[1] // n_channels)
    return x.reshape(len(x), n_channels, side, side)


def normalisation_of_images(kind: Normalisation, n_channels: int) -> nn.Module | None:
    """Layer that normalises images, if any: BatchNorm over batch, height and width, or GroupNorm with one group of all channels.

    The latter is what layer normalisation is for convolutions (Y. Wu, K. He, "Group Normalization", ECCV 2018).
    """
    if kind == "none":
        return None
    return nn.BatchNorm2d(n_channels) if kind == "batch" else nn.GroupNorm(1, n_channels)
