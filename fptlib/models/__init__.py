"""Networks by name. Each is an ordinary module, and many of them are trained at once as a stack.

A network of your own is a `Network` whose builder is handed to `register`; `fptlib.models.stacking.forward` computes a
whole stack of it, whatever its layers are.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fptlib.errors import InputError
from fptlib.models.cnn import CNN
from fptlib.models.mlp import MLP
from fptlib.models.network import Network, Tensors, run_state
from fptlib.models.resnet import ResNet, ResNet18
from fptlib.spec.networks import CnnSpec, MlpSpec, ModelSpec, ResNet18Spec, ResNetSpec

__all__ = ["MLP", "Network", "Tensors", "build", "register", "run_state"]

Shape = tuple[int, ...]

_BUILDERS: dict[str, Callable[[Any, Shape, int], Network]] = {}


def register(name: str, builder: Callable[[Any, Shape, int], Network]) -> None:
    """Register a family of networks; it is called as ``builder(model section, shape of an input, classes)``."""
    _BUILDERS[name] = builder


def build(spec: ModelSpec, *, shape: Shape, n_classes: int) -> Network:
    """Build the network that the section ``model`` names; an InputError if it is not known, or cannot take such inputs.

    Parameters
    ----------
    shape
        Of one input: ``(features,)`` or ``(channels, height, width)``. Networks of convolutions take a vector of 4 x 4, 5 x 5,
        ... numbers for a square image of one channel.
    n_classes
        Number of classes; 1 for regression.

    Examples
    --------
    >>> build(MlpSpec(widths=(8,)), shape=(1, 14, 14), n_classes=10)
    MLP(n_features=196, widths=(8,), n_classes=10, normalisation='none')
    """
    if spec.name not in _BUILDERS:
        raise InputError(f"model.name: no builder for {spec.name!r}; known: {', '.join(sorted(_BUILDERS))}")
    return _BUILDERS[spec.name](spec, shape, n_classes)


# Pixels along the side of the smallest square that a vector is taken for: a few features are no image.
_SMALLEST_IMAGE = 4


def _images(spec: ModelSpec, shape: Shape) -> tuple[int, int, int]:
    """Shape of one input, which has to be an image, or a vector that holds a square one."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    n = math.prod(shape)
    side = math.isqrt(n)
    if side**2 != n or side < _SMALLEST_IMAGE:
        raise InputError(
            f"model.name: {spec.name} takes images, and one input of this data set is a vector of {n} numbers; "
            "allowed here: mlp (or data with images, such as digits or cifar10)"
        )
    return 1, side, side


def _mlp(spec: MlpSpec, shape: Shape, n_classes: int) -> MLP:
    return MLP(n_features=math.prod(shape), n_classes=n_classes, **_fields(spec))


def _cnn(spec: CnnSpec, shape: Shape, n_classes: int) -> CNN:
    image = _images(spec, shape)
    most = min(image[1:]).bit_length() - 1
    if len(spec.channels) > most:
        raise InputError(
            f"model.channels: {len(spec.channels)} halvings leave nothing of an image of {image[1]} x {image[2]} pixels; "
            f"allowed: 1 to {most} entries"
        )
    return CNN(shape=image, n_classes=n_classes, **_fields(spec))


def _resnet(spec: ResNet18Spec | ResNetSpec, shape: Shape, n_classes: int) -> ResNet18 | ResNet:
    kind = ResNet18 if isinstance(spec, ResNet18Spec) else ResNet
    return kind(n_channels=_images(spec, shape)[0], n_classes=n_classes, **_fields(spec))


def _fields(spec: ModelSpec) -> dict[str, Any]:
    return spec.model_dump(exclude={"name"})


_BUILDERS.update(mlp=_mlp, cnn=_cnn, resnet18=_resnet, resnet=_resnet)
