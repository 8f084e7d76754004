"""Fully connected networks."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
import torch
from torch import nn

from fptlib.models.network import Layers, Network, Tensors
from fptlib.spec.networks import Normalisation


@final
@dataclass(frozen=True, slots=True)
class MLP(Network):
    """Fully connected networks with ReLU, optionally normalised before each ReLU. Images are taken as vectors.

    Parameters
    ----------
    n_features, widths, n_classes
        Units of the input, of the hidden layers and of the output.
    normalisation
        Of the hidden layers: ``batch`` over the images of a batch, ``layer`` over the units of the layer, or ``none``.

    Examples
    --------
    >>> model = MLP(n_features=4, widths=(8,), n_classes=3, normalisation="batch")
    >>> list(model.single().state_dict())[:4]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    n_features: int
    widths: tuple[int, ...]
    n_classes: int
    normalisation: Normalisation = "none"

    def layers(self) -> list[tuple[str, int, int, str | None]]:
        """Name, inputs and outputs of each linear layer, and the name of the normalisation after it."""
        step = 2 if self.normalisation == "none" else 3
        norms = [f"layers.{step * i + 1}" if step == 3 else None for i in range(len(self.widths))]
        sizes = pairwise((self.n_features, *self.widths, self.n_classes))
        return [
            (f"layers.{step * i}", *size, norm)
            for i, (size, norm) in enumerate(zip(sizes, [*norms, None], strict=True))
        ]

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        layers: list[nn.Module] = []
        for i, (_, inputs, outputs, norm) in enumerate(self.layers()):
            layers.append(nn.Linear(inputs, outputs))
            if norm is not None:
                layers.append(nn.BatchNorm1d(outputs) if self.normalisation == "batch" else nn.LayerNorm(outputs))
            if i < len(self.widths):
                layers.append(nn.ReLU())
        return Layers(nn.Sequential(*layers))

    def initialise(
        self, generators: Sequence[np.random.Generator], *, dtype: torch.dtype, device: torch.device
    ) -> tuple[Tensors, Tensors]:
        """Parameters and buffers of one network for each generator, from PyTorch's default distributions.

        Drawn without building modules, which would take longer than an epoch: perturbations draw networks often.
        """
        runs, places, end = len(generators), [], 0
        for _, inputs, outputs, _ in self.layers():
            places.append((end, end + inputs * outputs, end + (inputs + 1) * outputs))
            end = places[-1][-1]
        drawn = np.empty((runs, end), dtype=np.float32)
        for row, generator in zip(drawn, generators, strict=True):
            generator.random(out=row, dtype=np.float32)
        numbers = torch.from_numpy(drawn)
        parameters: Tensors = {}
        buffers: Tensors = {}
        for (name, inputs, outputs, norm), (start, middle, stop) in zip(self.layers(), places, strict=True):
            bound = 1 / math.sqrt(inputs)
            parameters[f"{name}.weight"] = (numbers[:, start:middle] * (2 * bound) - bound).view(runs, outputs, inputs)
            parameters[f"{name}.bias"] = numbers[:, middle:stop] * (2 * bound) - bound
            if norm is not None:
                parameters[f"{norm}.weight"] = torch.ones(runs, outputs)
                parameters[f"{norm}.bias"] = torch.zeros(runs, outputs)
            if norm is not None and self.normalisation == "batch":
                buffers[f"{norm}.running_mean"] = torch.zeros(runs, outputs)
                buffers[f"{norm}.running_var"] = torch.ones(runs, outputs)
                buffers[f"{norm}.num_batches_tracked"] = torch.zeros(runs, dtype=torch.int64)

        def brought(tensors: Tensors) -> Tensors:
            return {n: v.to(device, dtype if v.is_floating_point() else v.dtype) for n, v in tensors.items()}

        return brought(parameters), brought(buffers)
