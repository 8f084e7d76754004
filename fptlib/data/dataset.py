"""A data set, and how it is cut and disturbed as a specification says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.spec.datasets import DataSpec

Labelled = tuple[NDArray[Any], NDArray[np.int64]]
"""Images, of any type and with any number of axes, and their classes."""
Targets = NDArray[np.int64] | NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Inputs and targets for training, validation and test.

    Parameters
    ----------
    x_train, x_valid, x_test
        Inputs, float32, shape ``(images, features)`` or ``(images, channels, height, width)``; ``x_valid`` is ``None``
        without a validation split.
    y_train, y_valid, y_test
        Classes 0, 1, ..., int64, shape ``(images,)``; for regression standardised numbers, float32.
    n_classes, task
        Number of classes, 1 for regression: what a network gives; and whether targets are classes or numbers.
    target_scale, unit
        Regression: the value of 1 in the targets' own unit, and that unit.
    """

    x_train: NDArray[np.float32]
    y_train: Targets
    x_valid: NDArray[np.float32] | None
    y_valid: Targets | None
    x_test: NDArray[np.float32]
    y_test: Targets
    n_classes: int
    task: Literal["classification", "regression"] = "classification"
    target_scale: float = 1.0
    unit: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of one input."""
        return tuple(self.x_train.shape[1:])

    def digest(self) -> str:
        """Return 16 hexadecimal digits over every value and shape."""
        state = hashlib.sha256()
        for array in (self.x_train, self.y_train, self.x_valid, self.y_valid, self.x_test, self.y_test):
            state.update(b"none" if array is None else f"{array.dtype.str}{array.shape}".encode())
            state.update(b"" if array is None else array.tobytes())
        if self.task == "regression":
            state.update(f"{self.target_scale!r} {self.unit}".encode())
        return state.hexdigest()[:16]


def with_label_noise(
    labels: NDArray[np.int64], *, fraction: float, n_classes: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """Replace ``round(fraction * n)`` of the labels, shape ``(n,)``, by another class, drawn uniformly."""
    noisy = labels.copy()
    where = rng.permutation(len(labels))[: round(fraction * len(labels))]
    # A shift by 1 .. n_classes - 1 never returns to the class itself and makes the others equally likely.
    noisy[where] = (labels[where] + rng.integers(1, n_classes, size=len(where))) % n_classes
    return noisy


def assemble(
    spec: DataSpec, pool: Labelled, test: Labelled, *, as_input: Callable[[NDArray[Any]], NDArray[Any]]
) -> Dataset:
    """Cut a data set as its specification says; ``as_input`` makes inputs of images.

    The images of ``pool`` are for training and validation, those of ``test`` for the test, each in the order in which
    they are taken.
    """
    (x, y), (x_test, y_test) = pool, test
    n = len(y) - spec.validation_size if spec.train_size is None else spec.train_size
    end = n + spec.validation_size
    # The noise has a stream of its own, so that the images are the same with and without it.
    rng = np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=(1,)))
    return Dataset(
        x_train=as_input(x[:n]),
        y_train=with_label_noise(y[:n], fraction=spec.label_noise, n_classes=spec.CLASSES, rng=rng),
        x_valid=as_input(x[n:end]) if spec.validation_size else None,
        y_valid=y[n:end] if spec.validation_size else None,
        x_test=as_input(x_test[: spec.test_size]),
        y_test=y_test[: spec.test_size],
        n_classes=spec.CLASSES,
    )


def permuted(spec: DataSpec, images: NDArray[Any], labels: NDArray[np.int64]) -> Labelled:
    """Return images and labels in the order that the seed of the specification fixes."""
    order = np.random.default_rng(spec.seed).permutation(len(labels))
    return images[order], labels[order]


def placeholder(spec: DataSpec) -> Dataset | None:
    """Return random images as a specification asks for, to find out what they cost; ``None`` without a size."""
    if spec.SHAPE is None or spec.POOL is None or spec.TEST is None:
        return None
    image = np.random.default_rng(0).standard_normal(spec.SHAPE, dtype=np.float32)
    sizes = (spec.POOL, spec.TEST)
    pool, test = ((np.broadcast_to(image, (n, *spec.SHAPE)), np.arange(n) % spec.CLASSES) for n in sizes)
    return assemble(spec, pool, test, as_input=np.ascontiguousarray)
