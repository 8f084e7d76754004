"""Data in files: Fashion-MNIST, CIFAR-10, CIFAR-100, and a part of CIFAR-10.

Images are normalised by the mean and standard deviation of each channel over all images beside the test images.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fptlib.data.dataset import Dataset, Labelled, assemble, permuted
from fptlib.errors import InputError
from fptlib.sources import SOURCES
from fptlib.sources.source import Source
from fptlib.spec.datasets import DataSpec

# Images looked at together for the statistics: bounds the memory for counting grey levels.
_TOGETHER: Final = 1000
_Parts = tuple[Labelled, Labelled]  # for training and validation, and for the test: images (n, channels, height, width)


def load_images(spec: DataSpec) -> Dataset:
    """Return the images of a source, normalised, once their content was checked."""
    source = SOURCES[spec.name]
    place = source.find()
    if place is None:
        raise InputError(f"data.name: {source.name} is not here; {source.remedy}")
    try:
        (x, y), (x_test, y_test) = _READERS[spec.name](source, place)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, zipfile.BadZipFile, zlib.error):
        fault = f"data.name: {source.name} in {place} is damaged, or not the version that is meant"
        raise InputError(f"{fault}; remove it, then {source.remedy}") from None
    pool = permuted(spec, x, y.astype(np.int64))
    return assemble(spec, pool, (x_test, y_test.astype(np.int64)), as_input=normaliser(x))


def _fashion_mnist(source: Source, folder: Path) -> _Parts:
    contents = [_unpacked(folder / name) for name in source.files]
    _check(source, contents)
    x, y, x_test, y_test = (_idx(content) for content in contents)
    return (x[:, None], y), (x_test[:, None], y_test)


def _cifar(source: Source, folder: Path) -> _Parts:
    root = folder.parents[len(Path(source.place).parts) - 1]
    parts = [source.open(root, train=train) for train in (True, False)]
    pool, test = ((part.data.transpose(0, 3, 1, 2), np.asarray(part.targets)) for part in parts)
    return pool, test


def _cifar10_subset(source: Source, file: Path) -> _Parts:
    with np.load(file) as content:
        x, y, x_test, y_test = (content[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    _check(source, [x.tobytes(), y.tobytes(), x_test.tobytes(), y_test.tobytes()])
    return (x.transpose(0, 3, 1, 2), y), (x_test.transpose(0, 3, 1, 2), y_test)


_READERS: dict[str, Callable[[Source, Path], _Parts]] = {
    "fashion-mnist": _fashion_mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "cifar10-subset": _cifar10_subset,
}


def normaliser(images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return what normalises channels by mean and deviation over these images, ``(n, channels, height, width)``."""
    levels = np.arange(256)
    mean, deviation = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256, np.int64)
        for start in range(0, len(images), _TOGETHER):
            counts += np.bincount(images[start : start + _TOGETHER, channel].ravel(), minlength=256)
        # Whole numbers, so that the order of summation does not matter.
        total, first, second = (int((counts * levels**power).sum()) for power in (0, 1, 2))
        mean.append(first / total)
        deviation.append(math.sqrt(second * total - first**2) / total)
    shift, scale = (np.array(values, np.float32)[:, None, None] for values in (mean, deviation))

    def normalise(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        result = np.ascontiguousarray(part).astype(np.float32)
        result -= shift
        result /= scale
        return result

    return normalise


def _check(source: Source, contents: list[bytes]) -> None:
    if hashlib.sha256(b"".join(contents)).hexdigest() != source.digest:
        raise ValueError


def _unpacked(path: Path) -> bytes:
    """Return the content of a file that may lie there with the ending ``.gz``."""
    return path.read_bytes() if path.is_file() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())


def _idx(content: bytes) -> NDArray[Any]:
    """Return an array of bytes in the format of MNIST: two zeros, the type, the number of axes, their lengths, the values."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
