"""Fully connected networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from torch import Tensor, nn

from fptlib.models.network import Network


@final
@dataclass(frozen=True, slots=True)
class MLP(Network):
    """Fully connected networks with ReLU, optionally with BatchNorm before each ReLU. Images are taken as vectors.

    Parameters
    ----------
    n_features, widths, n_classes
        Units of the input, of the hidden layers and of the output.
    batch_norm
        Whether hidden layers are normalised.

    Examples
    --------
    >>> model = MLP(n_features=4, widths=(8,), n_classes=3, batch_norm=True)
    >>> list(model.single().state_dict())[:4]
    ['layers.0.weight', 'layers.0.bias', 'layers.1.weight', 'layers.1.bias']
    """

    n_features: int
    widths: tuple[int, ...]
    n_classes: int
    batch_norm: bool

    def layers(self) -> list[tuple[str, int, int, str | None]]:
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

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        layers: list[nn.Module] = []
        for i, (_, inputs, outputs, norm) in enumerate(self.layers()):
            layers.append(nn.Linear(inputs, outputs))
            if norm is not None:
                layers.append(nn.BatchNorm1d(outputs))
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
        result: Tensor = self.layers(x.flatten(1))
        return result
