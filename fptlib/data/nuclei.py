"""Measured masses of nuclei, for regression: the binding energy, or what the liquid drop leaves of it."""

from __future__ import annotations

import io
from functools import lru_cache
from importlib import metadata
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fptlib.data.bundled import check_digest, missing
from fptlib.data.dataset import Dataset
from fptlib.spec.datasets import NuclearMassesSpec

# Of the file with the masses measured by 2012; the package's code is not run, it does not know today's pandas.
_FILE: Final = "masstable/data/AME2012.txt"
_SHA256: Final = "88c6272c9e4117d68ac1317e2590c9e376d25f77c9bf68fd6062bbb4e238cb13"
# Lighter nuclei are no drops. Of the others with a measured mass there are 2353, as in other works on AME2012.
_FEWEST: Final = 8
_MAGIC: Final = (2, 8, 20, 28, 50, 82, 126, 184)
_KEV: Final = 1000.0
_Floats = NDArray[np.float64]


def load_nuclear_masses(spec: NuclearMassesSpec) -> Dataset:
    """Return nuclei with features and targets of mean 0 and deviation 1 over the training nuclei; RMSE is in keV.

    The order of the nuclei is that of one permutation; the test nuclei are the last 500. The coefficients of the liquid drop
    are fitted to the training nuclei, and nothing but those decides how anything is standardised.
    """
    z, n, binding = _nuclei()
    order = np.random.default_rng(spec.seed).permutation(len(z))
    end = spec.n_train or 0
    train, valid = order[:end], order[end : end + spec.validation_size]
    test = order[spec.POOL :][: spec.test_size]
    if spec.target == "binding":
        target = binding / (z + n)
    else:
        terms = liquid_drop(z, n)
        target = binding - terms @ np.linalg.lstsq(terms[train], binding[train], rcond=None)[0]
    given = features(z, n, kind=spec.features)
    shift, scale = target[train].mean(), target[train].std()
    deviation = given[train].std(axis=0)
    # A feature that is the same for all training nuclei says nothing, and stays finite.
    x = ((given - given[train].mean(axis=0)) / np.where(deviation > 0, deviation, 1)).astype(np.float32)
    y = ((target - shift) / scale).astype(np.float32)
    return Dataset(
        x_train=x[train],
        y_train=y[train],
        x_valid=x[valid] if spec.validation_size else None,
        y_valid=y[valid] if spec.validation_size else None,
        x_test=x[test],
        y_test=y[test],
        n_classes=1,
        task="regression",
        target_scale=float(scale),
        unit="keV",
    )


def features(z: _Floats, n: _Floats, *, kind: str) -> _Floats:
    """Return the inputs ``(nuclei, features)`` from the numbers of protons and of neutrons, ``(nuclei,)`` each.

    The kind ``numbers`` is these, ``parity`` has also 1 where they are odd, else 0, and ``shells`` the distance of each
    to the nearest magic number as well.

    >>> features(np.array([82.0]), np.array([125.0]), kind="shells")
    array([[ 82., 125.,   0.,   1.,   0.,   1.]])
    """
    columns = [z, n]
    if kind != "numbers":
        columns += [z % 2, n % 2]
    if kind == "shells":
        columns += [np.abs(number[:, None] - np.array(_MAGIC)).min(axis=1) for number in (z, n)]
    return np.stack(columns, axis=1)


def liquid_drop(z: _Floats, n: _Floats) -> _Floats:
    """Return the terms of the liquid drop's binding energy, shape ``(nuclei, 5)``: volume, surface, Coulomb, asymmetry, pairing.

    With A = Z + N and d = 1, 0, -1 for two, one and no even numbers, ``B = a_V A - a_S A**(2/3) - a_C Z (Z - 1) /
    A**(1/3) - a_A (N - Z)**2 / A + a_P d / A**(1/2)``. Sources: C. F. von Weizsaecker, Z. Phys. 96, 431 (1935); H. A.
    Bethe, R. F. Bacher, Rev. Mod. Phys. 8, 82 (1936).
    """
    a = z + n
    pairs = 1 - z % 2 - n % 2
    return np.stack([a, -(np.cbrt(a) ** 2), -z * (z - 1) / np.cbrt(a), -((n - z) ** 2) / a, pairs / np.sqrt(a)], axis=1)


@lru_cache(maxsize=1)
def _nuclei() -> tuple[_Floats, _Floats, _Floats]:
    """Return protons, neutrons and binding energy in keV, that of the atom as tabulated, of every nucleus in use."""
    try:
        path = metadata.distribution("masstable").locate_file(_FILE)
        content: bytes = path.read_bytes()  # type: ignore[attr-defined]
    except (metadata.PackageNotFoundError, OSError):
        raise missing("nuclear-masses", "masstable") from None
    check_digest("nuclear-masses", "masstable", content, _SHA256)
    table = pd.read_csv(io.BytesIO(content), sep=" ")
    z, n, excess = (table[name].to_numpy(np.float64) for name in ("Z", "N", "M"))
    neutron, hydrogen = (float(excess[(z == p) & (n == q)][0]) for p, q in ((0, 1), (1, 0)))
    heavy = (z >= _FEWEST) & (n >= _FEWEST)
    binding = _KEV * (z * hydrogen + n * neutron - excess)
    return z[heavy], n[heavy], binding[heavy]
