"""Tasks: regression beside classification, from the parameters to a prediction."""

from __future__ import annotations

from typing import Any

import pytest

from fptlib import spec
from fptlib.errors import InputError

NUCLEI: dict[str, Any] = {
    "data": {"name": "nuclear-masses", "train_size": 60, "test_size": 50},
    "model": {"name": "mlp", "widths": [9, 8]},
    "optimiser": {"name": "sgd", "lr": 0.02},
    "training": {"batch_size": 20},
    "device": "cpu",
}


def nuclei(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(NUCLEI, changes)


# -- parameters


def test_the_data_say_what_the_task_is() -> None:
    kinds = spec.kinds_of("data")[1]
    assert {name for name, kind in kinds.items() if getattr(kind, "TASK", "") == "regression"} == {"nuclear-masses"}
    assert nuclei().data.n_train == 60
    assert spec.NuclearMassesSpec(validation_size=100).n_train == 1753


@pytest.mark.parametrize(
    "change", [{"data.target": "residual"}, {"data.features": "parity"}, {"data.features": "numbers"}]
)
def test_target_and_features_are_in_the_digest(change: dict[str, Any]) -> None:
    assert nuclei(**change).digest() != nuclei().digest()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data.label_noise": 0.1}, r"data: label_noise: 0\.1 exchanges classes, and nuclear-masses has none"),
        ({"data.train_size": 1854}, r"data: train_size \+ validation_size is 1854; nuclear-masses has 1853 nuclei"),
        ({"data.test_size": 501}, r"data: test_size is 501; nuclear-masses has 500 test nuclei"),
        ({"data.target": "mass"}, r"data\.target: .*binding.*residual"),
    ],
)
def test_what_nuclei_do_not_have_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        nuclei(**change)
