"""Kinds of networks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fptlib.spec.values import Part, PositiveInteger


class ModelSpec(Part):
    """What every model has: a name. The input and output sizes come from the data."""

    name: str

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return False


class MlpSpec(ModelSpec):
    """Fully connected network with ReLU.

    ``widths`` are the numbers of units of the hidden layers (none: a linear classifier); ``normalisation: batch`` puts
    BatchNorm before each ReLU.
    """

    name: Literal["mlp"] = "mlp"
    widths: tuple[PositiveInteger, ...] = (128, 128)
    normalisation: Literal["none", "batch"] = "none"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return self.normalisation == "batch" and len(self.widths) > 0


class CnnSpec(ModelSpec):
    """Convolutional network: convolution, ReLU and 2 x 2 max-pooling for each entry of ``channels``, then ``widths``.

    ``kernel`` is the side of the convolutions' kernels, ``widths`` the numbers of units of the hidden fully connected
    layers; ``normalisation: batch`` puts BatchNorm after each convolution.
    """

    name: Literal["cnn"] = "cnn"
    channels: Annotated[tuple[PositiveInteger, ...], Field(min_length=1)] = (16, 32)
    kernel: Literal[5, 3] = 5
    widths: tuple[PositiveInteger, ...] = (64,)
    normalisation: Literal["none", "batch"] = "none"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return self.normalisation == "batch"


class ResNet18Spec(ModelSpec):
    """ResNet-18 for small images: a 3 x 3 stem, no max-pooling, BatchNorm throughout.

    ``width`` is the number of channels of the first of four stages; ``scale_buffers`` adds the four buffers that divide
    the features in the implementation published with arXiv:2502.04121 (1 until a perturbation of the whole state).
    """

    name: Literal["resnet18"] = "resnet18"
    width: PositiveInteger = 64
    scale_buffers: bool = False

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return True
