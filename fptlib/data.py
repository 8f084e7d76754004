"""Real data sets as arrays: a fixed split, label noise, and a digest of what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.spec import DataSpec, DigitsSpec

# Of the images and labels of scikit-learn's digits as float64 and int64; the UCI data set has not changed since 1998.
_DIGITS_SHA256 = "f6d9e39f37dc45d327f6db33428ee58970ccceabb2535a5c179de35886b70443"
# The last 797 of the permuted images; the first 1000 are for training and validation.
_DIGITS_TEST = 797
# Grey levels of digits run from 0 to 16.
_DIGITS_WHITE = 16.0


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images and labels for training, validation and test.

    Parameters
    ----------
    x_train, x_valid, x_test
        Inputs, float32, shape ``(images, features)``; ``x_valid`` is ``None`` without a validation split.
    y_train, y_valid, y_test
        Classes 0, 1, ..., int64, shape ``(images,)``.
    n_classes
        Number of classes.
    """

    x_train: NDArray[np.float32]
    y_train: NDArray[np.int64]
    x_valid: NDArray[np.float32] | None
    y_valid: NDArray[np.int64] | None
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]
    n_classes: int

    @property
    def n_features(self) -> int:
        """Length of one input."""
        return int(self.x_train.shape[1])

    def digest(self) -> str:
        """16 hexadecimal digits over every value and shape."""
        state = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_valid, self.y_valid, self.x_test, self.y_test):
            if array is None:
                state.update(b"none")
            else:
                state.update(f"{array.dtype.str}{array.shape}".encode())
                state.update(np.ascontiguousarray(array).tobytes())
        return state.hexdigest()[:16]


_LOADERS: dict[str, Callable[[Any], Dataset]] = {}


def register(name: str, loader: Callable[[Any], Dataset]) -> None:
    """Make the loader of a data set known: called with the section ``data``, it returns a `Dataset`."""
    _LOADERS[name] = loader


def load(spec: DataSpec) -> Dataset:
    """Load the data that a specification names.

    Raises
    ------
    InputError
        If no loader is known for the name, or the data is not what it should be.

    Examples
    --------
    >>> data = load(DigitsSpec(train_size=200))
    >>> data.x_train.shape, data.x_test.shape, data.n_classes
    ((200, 64), (797, 64), 10)
    """
    if spec.name not in _LOADERS:
        raise InputError(f"data.name: no loader for {spec.name!r}; known: {', '.join(sorted(_LOADERS))}")
    return _LOADERS[spec.name](spec)


def with_label_noise(
    labels: NDArray[np.int64], *, fraction: float, n_classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Labels of which ``round(fraction * n)`` are replaced by another class, drawn uniformly.

    Parameters
    ----------
    labels
        Classes, shape ``(n,)``.
    fraction
        Between 0 and 1.
    n_classes
        Number of classes.
    rng
        Source of randomness.
    """
    noisy = labels.copy()
    where = rng.permutation(len(labels))[: round(fraction * len(labels))]
    # A shift by 1 .. n_classes - 1 never returns to the class itself and makes the others equally likely.
    noisy[where] = (labels[where] + rng.integers(1, n_classes, size=len(where))) % n_classes
    return noisy


@lru_cache(maxsize=1)
def _digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise InputError(
            "data.name: digits comes with scikit-learn, which is not installed; pip install '.[train]'"
        ) from None
    images, labels = load_digits(return_X_y=True)
    images, labels = np.ascontiguousarray(images, dtype=np.float64), np.ascontiguousarray(labels, dtype=np.int64)
    found = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    if found != _DIGITS_SHA256:
        raise InputError(
            f"data.name: digits of this scikit-learn has SHA-256 {found[:16]}..., expected {_DIGITS_SHA256[:16]}...; "
            "install the pinned version"
        )
    return images, labels


def _load_digits(spec: DigitsSpec) -> Dataset:
    images, labels = _digits()
    order = np.random.default_rng(spec.seed).permutation(len(labels))
    x = (images[order] / _DIGITS_WHITE).astype(np.float32)
    y = labels[order]
    # The noise has a stream of its own, so that the images are the same with and without it.
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(1,)))
    n, end = spec.train_size, spec.train_size + spec.validation_size
    return Dataset(
        x_train=x[:n],
        y_train=with_label_noise(y[:n], fraction=spec.label_noise, n_classes=10, rng=rng),
        x_valid=x[n:end] if spec.validation_size else None,
        y_valid=y[n:end] if spec.validation_size else None,
        x_test=x[-_DIGITS_TEST:],
        y_test=y[-_DIGITS_TEST:],
        n_classes=10,
    )


register("digits", _load_digits)
