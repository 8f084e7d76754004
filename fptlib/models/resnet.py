"""Residual networks for small images: ResNet-18 at any width, and networks of three stages at any width and depth."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptlib.models.network import Network, as_images, normalisation_of_images
from fptlib.spec.networks import Normalisation

_STAGES: Final = 4
_BLOCKS: Final = 2


@final
@dataclass(frozen=True, slots=True)
class ResNet18(Network):
    """Residual networks of 18 layers for images of some 32 x 32 pixels.

    A 3 x 3 convolution that keeps the image's size, four stages of two blocks, the mean over the image, and one fully
    connected layer. Names are those of torchvision's ResNet-18.

    Parameters
    ----------
    n_channels, n_classes
        Channels of an image, and number of classes.
    width
        Channels of the first stage; each further stage has twice as many.
    scale_buffers
        Whether the features after stage ``i`` are divided by the buffer ``scale_i``. All are 1 and are never trained:
        they change only where a perturbation acts on the whole state.

    Notes
    -----
    Convolutions are drawn from N(0, 2 / n), n the output channels times the kernel's area, as in torchvision and in the
    implementation published with arXiv:2502.04121; the last layer as PyTorch does by default. With
    ``scale_buffers`` that implementation's shrink-and-perturb (0.4, 0.1) takes each buffer from 1 to 0.5, 0.3, ..., so
    that it enlarges the features while it shrinks the weights.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

    Examples
    --------
    >>> model = ResNet18(n_channels=3, n_classes=10, width=64, scale_buffers=True)
    >>> sum(parameter.numel() for parameter in model.template().parameters())
    11173962
    >>> [name for name, _ in model.template().named_buffers() if name.startswith("scale")]
    ['scale_1', 'scale_2', 'scale_3', 'scale_4']
    """

    n_channels: int
    n_classes: int
    width: int
    scale_buffers: bool

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        return _ResNet(self)


class _ResNet(nn.Module):
    def __init__(self, shape: ResNet18) -> None:
        super().__init__()
        self.conv1 = _convolution(shape.n_channels, shape.width)
        self.bn1 = nn.BatchNorm2d(shape.width)
        channels = shape.width
        for stage in range(_STAGES):
            outputs, blocks = shape.width << stage, []
            for block in range(_BLOCKS):
                blocks.append(_Block(channels, outputs, stride=2 if stage > 0 and block == 0 else 1))
                channels = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            if shape.scale_buffers:
                self.register_buffer(f"scale_{stage + 1}", torch.ones(()))
        self.fc = nn.Linear(channels, shape.n_classes)
        self._scaled = shape.scale_buffers

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``."""
        x = functional.relu(self.bn1(self.conv1(as_images(x, n_channels=self.conv1.in_channels))))
        for stage in range(1, _STAGES + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            if self._scaled:
                x = x / self.get_buffer(f"scale_{stage}").to(x.dtype)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, stride=stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = _convolution(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                _convolution(inputs, outputs, kernel=1, stride=stride), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape ``(batch, channels, height, width)``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.downsample(x))


def _convolution(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """Convolution without shift, which the BatchNorm after it would take away."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


@final
@dataclass(frozen=True, slots=True)
class ResNet(Network):
    """Residual networks of ``depth`` layers for small images, with a third of their blocks at each of three sizes.

    A 3 x 3 convolution, three stages of ``n = (depth - 2) / 6`` blocks with ``width``, ``2 width`` and ``4 width`` channels,
    of which the second and third halve the image, the mean over the image, and one fully connected layer. Shortcuts
    have no parameters: where a stage begins they skip every other pixel and add channels of zeros.

    Parameters
    ----------
    n_channels, n_classes
        Channels of an image, and number of classes. Square images may come as vectors.
    depth
        6 n + 2: 8, 14, 20, ...
    width
        Channels of the first stage.
    normalisation
        What follows each convolution: ``batch`` is BatchNorm, ``layer`` GroupNorm with one group.

    Notes
    -----
    Convolutions are drawn from N(0, 2 / n), n the input channels times the kernel's area; the last layer as PyTorch does by
    default. Without normalisation the variance of the features would double with every block, so each of the ``B = 3 n``
    blocks then adds ``1 / sqrt(B)`` of its branch, ``x + f(x) / sqrt(B)``, which keeps it below ``(1 + 1 / B)**B < e`` times
    that of the first features, and the convolutions have shifts, which start at zero.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    S. Hayou, E. Clerico, B. He, G. Deligiannidis, A. Doucet, J. Rousseau, "Stable ResNet", AISTATS 2021.

    Examples
    --------
    >>> model = ResNet(n_channels=3, n_classes=10, depth=20, width=16)
    >>> sum(parameter.numel() for parameter in model.template().parameters())
    269722
    """

    n_channels: int
    n_classes: int
    depth: int
    width: int
    normalisation: Normalisation = "batch"

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        return _ThreeStages(self)


class _ThreeStages(nn.Module):
    def __init__(self, shape: ResNet) -> None:
        super().__init__()
        self.conv1, self.norm1 = _normalised(shape.n_channels, shape.width, shape.normalisation)
        blocks = (shape.depth - 2) // 6
        branch = 1 / math.sqrt(3 * blocks) if shape.normalisation == "none" else 1.0
        channels = shape.width
        for stage in range(3):
            outputs, layers = shape.width << stage, []
            for _ in range(blocks):
                layers.append(_PlainBlock(channels, outputs, shape.normalisation, branch))
                channels = outputs
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))
        self.fc = nn.Linear(channels, shape.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``."""
        x = functional.relu(self.norm1(self.conv1(as_images(x, n_channels=self.conv1.in_channels))))
        for stage in (1, 2, 3):
            x = self.get_submodule(f"layer{stage}")(x)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


class _PlainBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut without parameters."""

    def __init__(self, inputs: int, outputs: int, normalisation: Normalisation, branch: float) -> None:
        super().__init__()
        self._added, self._branch = outputs - inputs, branch
        self.conv1, self.norm1 = _normalised(inputs, outputs, normalisation, stride=2 if outputs > inputs else 1)
        self.conv2, self.norm2 = _normalised(outputs, outputs, normalisation)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape ``(batch, channels, height, width)``."""
        y = functional.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        if self._branch != 1:
            y = y * self._branch
        if self._added:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 0, self._added))
        return functional.relu(y + x)


def _normalised(
    inputs: int, outputs: int, normalisation: Normalisation, *, stride: int = 1
) -> tuple[nn.Conv2d, nn.Module]:
    """Convolution and what normalises it; the shift is left to the latter where there is one."""
    norm = normalisation_of_images(normalisation, outputs)
    layer = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=norm is None)
    nn.init.kaiming_normal_(layer.weight, mode="fan_in", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer, nn.Identity() if norm is None else norm
