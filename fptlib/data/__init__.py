"""Real data sets as arrays, for classification and regression: a fixed split, label noise, and a digest of the content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fptlib.data.bundled import load_digits, load_mnist5k
from fptlib.data.dataset import Dataset, placeholder
from fptlib.data.images import load_images
from fptlib.data.nuclei import load_nuclear_masses
from fptlib.errors import InputError
from fptlib.spec.datasets import DataSpec

__all__ = ["Dataset", "load", "placeholder"]

_LOADERS: dict[str, Callable[[Any], Dataset]] = {
    "digits": load_digits,
    "mnist5k": load_mnist5k,
    **dict.fromkeys(("fashion-mnist", "cifar10", "cifar100", "cifar10-subset"), load_images),
    "nuclear-masses": load_nuclear_masses,
}


def load(spec: DataSpec) -> Dataset:
    """Load the data that a specification names, without downloading; an InputError says what is missing or wrong.

    >>> from fptlib.spec.datasets import DigitsSpec
    >>> data = load(DigitsSpec(train_size=200))
    >>> data.x_train.shape, data.x_test.shape, data.n_classes
    ((200, 64), (797, 64), 10)
    """
    if spec.name not in _LOADERS:
        raise InputError(f"data.name: no loader for {spec.name!r}; known: {', '.join(sorted(_LOADERS))}")
    return _LOADERS[spec.name](spec)
