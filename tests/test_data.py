"""Data: the split, the noise, and knowing that it is the right data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fptlib import data
from fptlib.errors import InputError
from fptlib.spec import DigitsSpec

# -- laws


@settings(deadline=None)
@given(n=st.integers(1, 300), fraction=st.floats(0, 1), classes=st.integers(2, 10), seed=st.integers(0, 2**32))
def test_noise_changes_exactly_its_share_of_labels(n: int, fraction: float, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    noisy = data.with_label_noise(labels, fraction=fraction, n_classes=classes, rng=rng)
    assert (noisy != labels).sum() == round(fraction * n)
    assert noisy.min() >= 0
    assert noisy.max() < classes


def test_noise_draws_the_other_classes_equally_often() -> None:
    noisy = data.with_label_noise(np.zeros(90_000, np.int64), fraction=1, n_classes=10, rng=np.random.default_rng(0))
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0
    # Five standard deviations of a binomial count.
    assert np.abs(counts[1:] - 10_000).max() < 5 * np.sqrt(10_000 * 8 / 9)


# -- the split


@settings(deadline=None)
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
    found = sorted(map(tuple, np.column_stack([both * 16, np.concatenate([loaded.y_train, loaded.y_test])])))
    assert found == sorted(map(tuple, np.column_stack([images, labels])))


def test_arrays_are_what_training_expects() -> None:
    loaded = data.load(DigitsSpec(train_size=200, validation_size=100))
    assert (loaded.x_train.shape, loaded.x_test.shape, loaded.n_classes) == ((200, 64), (797, 64), 10)
    assert loaded.x_train.dtype == np.float32
    assert loaded.y_train.dtype == np.int64
    assert (loaded.x_train.min(), loaded.x_train.max()) == (0, 1)


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
    variants = [{}, {"train_size": 201}, {"seed": 1}, {"label_noise": 0.01}, {"validation_size": 1}]
    assert len({data.load(DigitsSpec(**variant)).digest() for variant in variants}) == len(variants)


# -- faults


def test_other_data_under_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn.datasets

    images, labels = sklearn.datasets.load_digits(return_X_y=True)
    images[0, 20] += 1
    monkeypatch.setattr(sklearn.datasets, "load_digits", lambda **_: (images, labels))
    data._digits.cache_clear()
    with pytest.raises(InputError, match="digits of this scikit-learn has SHA-256"):
        data.load(DigitsSpec())


def test_a_name_without_a_loader_is_refused() -> None:
    with pytest.raises(InputError, match="no loader for 'letters'; known: digits"):
        data.load(DigitsSpec.model_construct(name="letters"))
