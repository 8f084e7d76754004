"""Residual networks for small images: ResNet-18 at any width, and networks of three stages at any width and depth."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from fptlib.models.network import Network, as_images, normalisation_of_images
from fptlib.spec.networks import Normalisation

_Mode = Literal["fan_in", "fan_out"]


@final
@dataclass(frozen=True, slots=True)
class ResNet18(Network):
    """Residual networks of 18 layers for images of some 32 x 32 pixels.

    A 3 x 3 convolution that keeps the image's size, four stages of two blocks, the mean, and one fully connected layer, under
    the names of torchvision's ResNet-18.

    Parameters
    ----------
    n_channels, n_classes
        Channels of an image, and number of classes.
    width
        Channels of the first stage; each further stage has twice as many.
    scale_buffers
        Whether the features after stage ``i`` are divided by the buffer ``scale_i``, 1 until a perturbation acts on the whole state.

    Notes
    -----
    Convolutions are drawn from N(0, 2 / n), n the output channels times the kernel's area, as in torchvision and in the
    implementation published with arXiv:2502.04121, where shrink-and-perturb (0.4, 0.1) takes each ``scale_i`` from 1 to 0.5,
    0.3, ..., and so enlarges the features while it shrinks the weights.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
    """

    n_channels: int
    n_classes: int
    width: int
    scale_buffers: bool

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        first = _normalised(self.n_channels, self.width, "batch", "fan_out")
        return _Residual(self, first, "bn1", _Block, stages=4, blocks=2)


class _Block(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a 1 x 1 convolution where the shape changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        stride = 2 if outputs > inputs else 1
        self.conv1, self.bn1 = _normalised(inputs, outputs, "batch", "fan_out", stride=stride)
        self.conv2, self.bn2 = _normalised(outputs, outputs, "batch", "fan_out")
        self.downsample: nn.Module = nn.Identity()
        if outputs > inputs:
            self.downsample = nn.Sequential(*_normalised(inputs, outputs, "batch", "fan_out", kernel=1, stride=stride))

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape ``(batch, channels, height, width)``."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return functional.relu(y + self.downsample(x))


@final
@dataclass(frozen=True, slots=True)
class ResNet(Network):
    """Residual networks of ``depth`` layers for small images, with a third of their blocks at each of three sizes.

    A 3 x 3 convolution, three stages of ``n = (depth - 2) / 6`` blocks, of which the second and third double the channels and
    halve the image, the mean, and one fully connected layer. Shortcuts have no parameters: they skip every other pixel and add
    channels of zeros.

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
    Convolutions are drawn from N(0, 2 / n), n the input channels times the kernel's area. Without normalisation each of the ``B =
    3 n`` blocks gives ``x + f(x) / sqrt(B)``, which keeps the variance of the features below ``(1 + 1 / B)**B < e`` times that of
    the first, and the convolutions have shifts, which start at zero.

    References
    ----------
    K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    S. Hayou, E. Clerico, B. He, G. Deligiannidis, A. Doucet, J. Rousseau, "Stable ResNet", AISTATS 2021.
    """

    n_channels: int
    n_classes: int
    depth: int
    width: int
    normalisation: Normalisation = "batch"

    def single(self) -> nn.Module:
        """One network as an ordinary module."""
        first = _normalised(self.n_channels, self.width, self.normalisation)
        blocks = (self.depth - 2) // 6
        branch = 1 / math.sqrt(3 * blocks) if self.normalisation == "none" else 1.0
        block = partial(_PlainBlock, normalisation=self.normalisation, branch=branch)
        return _Residual(self, first, "norm1", block, stages=3, blocks=blocks)


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


class _Residual(nn.Module):
    """A convolution, stages of which each after the first has twice the channels, the mean over the image, a linear layer."""

    def __init__(
        self,
        shape: ResNet18 | ResNet,
        first: tuple[nn.Conv2d, nn.Module],
        norm: str,
        block: Callable[[int, int], nn.Module],
        *,
        stages: int,
        blocks: int,
    ) -> None:
        super().__init__()
        self.conv1, self._norm, self._stages = first[0], norm, stages
        self.add_module(norm, first[1])
        self._scaled = isinstance(shape, ResNet18) and shape.scale_buffers
        channels = [shape.width] + [shape.width << stage for stage in range(stages) for _ in range(blocks)]
        made = [block(inputs, outputs) for inputs, outputs in pairwise(channels)]
        for stage in range(stages):
            self.add_module(f"layer{stage + 1}", nn.Sequential(*made[stage * blocks : (stage + 1) * blocks]))
            if self._scaled:
                self.register_buffer(f"scale_{stage + 1}", torch.ones(()))
        self.fc = nn.Linear(channels[-1], shape.n_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape ``(batch, classes)``."""
        x = self.conv1(as_images(x, n_channels=self.conv1.in_channels))
        x = functional.relu(self.get_submodule(self._norm)(x))
        for stage in range(1, self._stages + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            if self._scaled:
                x = x / self.get_buffer(f"scale_{stage}").to(x.dtype)
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def _normalised(
    inputs: int, outputs: int, normalisation: Normalisation, mode: _Mode = "fan_in", *, kernel: int = 3, stride: int = 1
) -> tuple[nn.Conv2d, nn.Module]:
    """Convolution and what normalises it; the shift is left to the latter where there is one."""
    norm = normalisation_of_images(normalisation, outputs)
    layer = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=norm is None)
    nn.init.kaiming_normal_(layer.weight, mode=mode, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer, nn.Identity() if norm is None else norm
