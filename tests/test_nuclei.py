"""Nuclear masses: binding energies that the evaluation prints, and a split that lets nothing of the test nuclei through."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fptlib import data
from fptlib.data import nuclei
from fptlib.errors import InputError
from fptlib.spec.datasets import NuclearMassesSpec


def raw() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Protons, neutrons and binding energy in keV of the nuclei in the order of the permutation, by other means."""
    file = Path(str(metadata.distribution("masstable").locate_file("masstable/data/AME2012.txt")))
    z, n, excess = np.loadtxt(file, skiprows=1).T
    binding = 1000 * (z * excess[(z == 1) & (n == 0)] + n * excess[(z == 0) & (n == 1)] - excess)
    keep = np.minimum(z, n) >= 8
    order = np.random.default_rng(0).permutation(keep.sum())
    return z[keep][order], n[keep][order], binding[keep][order]


# -- closed forms


@pytest.mark.parametrize(
    ("z", "n", "per_nucleon"), [(8, 8, 7976.21), (26, 30, 8790.35), (28, 34, 8794.55), (82, 126, 7867.45)]
)
def test_binding_energies_are_those_that_the_evaluation_prints(z: int, n: int, per_nucleon: float) -> None:
    # keV per nucleon of oxygen-16, iron-56, nickel-62 and lead-208.
    protons, neutrons, binding = nuclei._nuclei()
    result = (binding / (protons + neutrons))[(protons == z) & (neutrons == n)]
    np.testing.assert_allclose(result, per_nucleon, atol=0.02)


def test_no_nucleus_is_bound_more_tightly_than_nickel_62() -> None:
    z, n, binding = nuclei._nuclei()
    best = np.argmax(binding / (z + n))
    assert (z[best], n[best]) == (28, 34)


def test_the_liquid_drop_has_the_coefficients_of_the_textbooks() -> None:
    z, n, binding = nuclei._nuclei()
    terms = nuclei.liquid_drop(z, n)
    fitted = np.linalg.lstsq(terms, binding, rcond=None)[0] / 1000
    # MeV: volume, surface, Coulomb, asymmetry, pairing; textbooks differ by a few per cent, and in the last by more.
    np.testing.assert_allclose(fitted, [15.8, 18.3, 0.71, 23.2, 12.0], rtol=0.06)
    left = binding / 1000 - terms @ fitted
    assert 2 < left.std() < 4
    # What is left is largest where shells close.
    magic = (z == 82) & (n == 126)
    assert left[magic] > 2.5 * left.std()


def test_features_are_numbers_parities_and_distances_to_magic_numbers() -> None:
    z, n = np.array([8.0, 51.0, 100.0]), np.array([9.0, 70.0, 150.0])
    assert nuclei.features(z, n, kind="numbers").tolist() == [[8, 9], [51, 70], [100, 150]]
    assert nuclei.features(z, n, kind="parity")[:, 2:].tolist() == [[0, 1], [1, 0], [0, 0]]
    assert nuclei.features(z, n, kind="shells")[:, 4:].tolist() == [[0, 1], [1, 12], [18, 24]]


# -- the split


@settings(max_examples=20)
@given(train=st.integers(10, 1800), valid=st.integers(0, 50), test=st.integers(1, 500))
def test_training_validation_and_test_nuclei_follow_one_permutation(train: int, valid: int, test: int) -> None:
    z, n, binding = raw()
    loaded = data.load(NuclearMassesSpec(train_size=train, validation_size=valid, test_size=test))
    target = binding / (z + n)
    parts = {"train": slice(0, train), "valid": slice(train, train + valid), "test": slice(1853, 1853 + test)}
    for name, part in parts.items():
        x, y = getattr(loaded, f"x_{name}"), getattr(loaded, f"y_{name}")
        if name == "valid" and valid == 0:
            assert x is None
            assert y is None
            continue
        shift = target[:train].mean()
        np.testing.assert_allclose(y * loaded.target_scale + shift, target[part], rtol=1e-4)
        given_ = np.stack([z, n], axis=1)
        expected = (given_[part] - given_[:train].mean(axis=0)) / given_[:train].std(axis=0)
        np.testing.assert_allclose(x[:, :2], expected, rtol=1e-5, atol=1e-5)


def test_the_liquid_drop_is_fitted_to_the_training_nuclei() -> None:
    z, n, binding = raw()
    loaded = data.load(NuclearMassesSpec(target="residual", train_size=100))
    terms = nuclei.liquid_drop(z, n)
    # By the normal equations, scaled.
    size = np.abs(terms[:100]).max(axis=0)
    scaled = terms / size
    fitted = np.linalg.solve(scaled[:100].T @ scaled[:100], scaled[:100].T @ binding[:100])
    left = binding - scaled @ fitted
    assert loaded.target_scale == pytest.approx(left[:100].std(), rel=1e-6)
    np.testing.assert_allclose(
        loaded.y_test * loaded.target_scale, left[1853:] - left[:100].mean(), atol=1e-3 * loaded.target_scale
    )


def test_arrays_are_what_regression_expects() -> None:
    loaded = data.load(NuclearMassesSpec(train_size=1500, validation_size=353))
    assert (loaded.task, loaded.unit, loaded.n_classes, loaded.shape) == ("regression", "keV", 1, (6,))
    assert {part.dtype for part in (loaded.x_train, loaded.y_train, loaded.x_test, loaded.y_test)} == {
        np.dtype(np.float32)
    }
    np.testing.assert_allclose(loaded.x_train.mean(axis=0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(loaded.x_train.std(axis=0, dtype=np.float64), 1, rtol=1e-6)
    assert (float(loaded.y_train.mean(dtype=np.float64)), float(loaded.y_train.std(dtype=np.float64))) == pytest.approx(
        (0, 1), abs=1e-6
    )
    assert loaded.digest() != data.load(NuclearMassesSpec(train_size=1500, validation_size=353, seed=1)).digest()


# -- where it comes from


def test_the_package_is_read_and_not_run() -> None:
    nuclei._nuclei.cache_clear()
    data.load(NuclearMassesSpec())
    assert "masstable" not in sys.modules


def test_without_the_package_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    nuclei._nuclei.cache_clear()
    with pytest.raises(InputError, match=r"nuclear-masses comes with masstable, which is not installed; pip install"):
        data.load(NuclearMassesSpec())


def test_another_file_under_the_same_name_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "masstable" / "data" / "AME2012.txt"
    file.parent.mkdir(parents=True)
    file.write_text("Z N M\n0 1 8.07\n1 0 7.29\n")

    class Other:
        def locate_file(self, path: str) -> Path:
            return tmp_path / path

    monkeypatch.setattr(metadata, "distribution", lambda _name: Other())
    nuclei._nuclei.cache_clear()
    with pytest.raises(InputError, match=r"nuclear-masses of this masstable has SHA-256 \w+\.\.\., expected 88c6272c"):
        data.load(NuclearMassesSpec())


def test_so_few_nuclei_that_nothing_is_determined_are_refused() -> None:
    with pytest.raises(ValueError, match="train_size: 9 nuclei do not determine the liquid drop"):
        NuclearMassesSpec(train_size=9)
