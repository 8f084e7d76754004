"""Kinds of networks."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fptlib.parameters import Kind, PositiveInteger

Normalisation = Literal["none", "batch", "layer"]


class ModelSpec(Kind):
    """The field of every model: its name. The input and output sizes come from the data."""

    SECTION: ClassVar[str] = "model"

    name: str

    @property
    def has_batch_norm(self) -> bool:
        """True if a batch of a single image is impossible."""
        return getattr(self, "normalisation", "none") == "batch"


class MlpSpec(ModelSpec):
    """Fully connected network with ReLU.

    ``widths`` are the numbers of units of the hidden layers (none: a linear model); ``normalisation: batch`` puts
    BatchNorm, and ``layer`` LayerNorm over the units of the layer, before each ReLU.
    """

    name: Literal["mlp"] = "mlp"
    widths: tuple[PositiveInteger, ...] = (128, 128)
    normalisation: Normalisation = "none"

    @property
    def has_batch_norm(self) -> bool:
        """True if a batch of a single image is impossible."""
        return super().has_batch_norm and len(self.widths) > 0


class CnnSpec(ModelSpec):
    """Convolutional network: convolution, ReLU and 2 x 2 max-pooling for each entry of ``channels``, then ``widths``.

    ``kernel`` is the side of the kernels, ``widths`` the numbers of units of the hidden fully connected layers;
    ``normalisation: batch`` puts BatchNorm after each convolution, and ``layer`` GroupNorm with one group.
    """

    name: Literal["cnn"] = "cnn"
    channels: Annotated[tuple[PositiveInteger, ...], Field(min_length=1)] = (16, 32)
    kernel: Literal[5, 3] = 5
    widths: tuple[PositiveInteger, ...] = (64,)
    normalisation: Normalisation = "none"


class ResNet18Spec(ModelSpec):
    """ResNet-18 for small images: a 3 x 3 stem, no max-pooling, BatchNorm throughout.

    ``width`` is the number of channels of the first of four stages; ``scale_buffers`` adds the four buffers that divide
    the features in the implementation published with arXiv:2502.04121 (1 until a perturbation of the whole state).
    """

    name: Literal["resnet18"] = "resnet18"
    width: PositiveInteger = 64
    scale_buffers: bool = False
    normalisation: ClassVar[str] = "batch"


class ResNetSpec(ModelSpec):
    """Residual network for small images with three stages, as He et al. (2016) trained on CIFAR-10.

    ``depth`` is 6 n + 2 for n blocks of two convolutions in each stage; ``width`` is the number of channels of the first
    stage, which the second and third double. ``normalisation: layer`` is GroupNorm with one group; with ``none``, each of
    the ``3 n`` blocks adds ``1 / sqrt(3 n)`` of what its convolutions give.
    """

    name: Literal["resnet"] = "resnet"
    depth: PositiveInteger = 8
    width: PositiveInteger = 16
    normalisation: Normalisation = "batch"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.depth < 8 or self.depth % 6 != 2:
            raise ValueError(f"depth: {self.depth} is not 6 n + 2; allowed: 8, 14, 20, 26, 32, ...")
        return self
