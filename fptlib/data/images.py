"""Data in files: Fashion-MNIST, CIFAR-10, CIFAR-100, and a part of CIFAR-10.

Images are normalised by the mean and standard deviation of each channel over the images beside the test images, whatever
part of them is used, and by nothing else.
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

from fptlib.data.dataset import Dataset, assemble, permuted
from fptlib.errors import InputError
from fptlib.sources import SOURCES, Source, Torchvision
from fptlib.spec import Cifar10Spec, Cifar10SubsetSpec, Cifar100Spec, DataSpec, FashionMnistSpec

# Images looked at together for the statistics: bounds the memory for counting grey levels.
_TOGETHER: Final = 1000


def load_fashion_mnist(spec: FashionMnistSpec) -> Dataset:
    """Fashion-MNIST as images ``(1, 28, 28)``."""
    source = SOURCES[spec.name]
    assert isinstance(source, Torchvision)
    folder = _place(source)
    contents = [_unpacked(folder / name) for name in source.files]
    _check(source, contents, folder)
    x, y, x_test, y_test = (_idx(content) for content in contents)
    return _normalised(spec, (x[:, None], y), (x_test[:, None], y_test), n_classes=10)


def load_cifar(spec: Cifar10Spec | Cifar100Spec) -> Dataset:
    """CIFAR-10 or CIFAR-100 as images ``(3, 32, 32)``."""
    source = SOURCES[spec.name]
    assert isinstance(source, Torchvision)
    folder = _place(source)
    root = folder.parents[len(Path(source.folder).parts) - 1]
    try:
        parts = [source.open(root, train=train) for train in (True, False)]
    except RuntimeError:
        raise InputError(_damaged(source, folder)) from None
    pool, test = ((part.data.transpose(0, 3, 1, 2), np.asarray(part.targets, dtype=np.int64)) for part in parts)
    return _normalised(spec, pool, test, n_classes=100 if spec.name == "cifar100" else 10)


def load_cifar10_subset(spec: Cifar10SubsetSpec) -> Dataset:
    """Part of CIFAR-10 as images ``(3, 32, 32)``."""
    source = SOURCES[spec.name]
    file = _place(source)
    try:
        with np.load(file) as content:
            x, y, x_test, y_test = (content[name] for name in ("x_train", "y_train", "x_test", "y_test"))
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        raise InputError(_damaged(source, file)) from None
    _check(source, [x.tobytes(), y.tobytes(), x_test.tobytes(), y_test.tobytes()], file)
    pool, test = ((images.transpose(0, 3, 1, 2), labels) for images, labels in ((x, y), (x_test, y_test)))
    return _normalised(spec, pool, test, n_classes=10)


def _normalised(
    spec: DataSpec,
    pool: tuple[NDArray[np.uint8], NDArray[Any]],
    test: tuple[NDArray[np.uint8], NDArray[Any]],
    *,
    n_classes: int,
) -> Dataset:
    as_input = normaliser(pool[0])
    return assemble(
        spec,
        permuted(spec, pool[0], pool[1].astype(np.int64)),
        (test[0], test[1].astype(np.int64)),
        n_classes=n_classes,
        as_input=as_input,
    )


def normaliser(images: NDArray[np.uint8]) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Function that normalises images by the mean and standard deviation of each channel of these ones.

    Parameters
    ----------
    images
        Shape ``(images, channels, height, width)``.
    """
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


def _place(source: Source) -> Path:
    found = source.find()
    if found is None:
        raise InputError(f"data.name: {source.name} is not here; {source.remedy}")
    return found


def _damaged(source: Source, place: Path) -> str:
    return (
        f"data.name: {source.name} in {place} is damaged, or not the version that is meant; remove it, then "
        f"{source.remedy}"
    )


def _check(source: Source, contents: list[bytes], place: Path) -> None:
    total = hashlib.sha256()
    for content in contents:
        total.update(content)
    if total.hexdigest() != source.digest:
        raise InputError(_damaged(source, place))


def _unpacked(path: Path) -> bytes:
    """Content of a file that may lie there with the ending ``.gz``."""
    if path.is_file():
        return path.read_bytes()
    try:
        return gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    except (OSError, EOFError, zlib.error):
        return b""  # refused by the check of the content


def _idx(content: bytes) -> NDArray[np.uint8]:
    """Array of bytes in the format of MNIST: two zeros, the type, the number of axes, their lengths, the values."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", count=axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)
