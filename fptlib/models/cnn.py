"""Small convolutional networks."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import final

from torch import nn

from fptlib.models.network import Layers, Network, normalisation_of_images
from fptlib.spec.networks import Normalisation


@final
@dataclass(frozen=True, slots=True)
class CNN(Network):
    """Convolutions, each with ReLU and 2 x 2 max-pooling, then fully connected layers, after LeNet.

    Parameters
    ----------
    shape
        Channels, height and width of an image. Square images may come as vectors.
    channels
        Output channels of the convolutions. Each halves the image, rounding down.
    kernel
        Side of the kernels, odd; padding keeps the image's size.
    widths, n_classes
        Units of the hidden fully connected layers, and of the output.
    normalisation
        What follows each convolution: ``batch`` is BatchNorm, ``layer`` GroupNorm with one group.

    References
    ----------
    Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document recognition", 1998.
    """

    shape: tuple[int, int, int]
    channels: tuple[int, ...]
    kernel: int
    widths: tuple[int, ...]
    n_classes: int
    normalisation: Normalisation = "none"

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        planes, height, width = self.shape
        features: list[nn.Module] = []
        for inputs, outputs in pairwise((planes, *self.channels)):
            norm = normalisation_of_images(self.normalisation, outputs)
            features.append(nn.Conv2d(inputs, outputs, self.kernel, padding=self.kernel // 2))
            # The largest of four, then ReLU: the same as the other way round, for a quarter of the work.
            features += [*([] if norm is None else [norm]), nn.MaxPool2d(2), nn.ReLU()]
        height, width = height >> len(self.channels), width >> len(self.channels)
        *hidden, last = pairwise((self.channels[-1] * height * width, *self.widths, self.n_classes))
        layers: list[nn.Module] = []
        for inputs, outputs in hidden:
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return Layers(nn.Sequential(*layers, nn.Linear(*last)), nn.Sequential(*features), planes)
