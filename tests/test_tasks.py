"""Tasks: regression beside classification, from the parameters to a prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain import plain_run
from torch import Tensor
from torch.nn import functional

from fptlib import cli, data, ensemble, first_passage, read, spec
from fptlib.ensemble import losses
from fptlib.ensemble.estimate import estimate
from fptlib.errors import InputError
from fptlib.parameters import kinds_of
from fptlib.trajectories import Target

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
    kinds = kinds_of("data")
    assert {name for name, kind in kinds.items() if getattr(kind, "TASK", "") == "regression"} == {"nuclear-masses"}
    assert nuclei().data.n_train == 60
    assert spec.datasets.NuclearMassesSpec(validation_size=100).n_train == 1753


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


# -- losses


def test_r2_is_one_for_the_targets_themselves_and_zero_for_their_mean() -> None:
    y = torch.tensor([1.0, 2.0, 6.0], dtype=torch.float64)
    nothing = torch.zeros(1, dtype=torch.int64)
    for outputs, expected in ((y, 1.0), (torch.full_like(y, 3.0), 0.0), (torch.tensor([1.0, 2.0, 3.0]), 1 - 9 / 14)):
        loss = losses.per_example(outputs[None, :, None], y[None]).mean(dim=1)
        assert losses.metric(loss, nothing, y).tolist() == pytest.approx([expected])


@given(scale=st.floats(0.1, 10), shift=st.floats(-5, 5))
def test_r2_does_not_depend_on_the_unit(scale: float, shift: float) -> None:
    rng = np.random.default_rng(0)
    y, outputs = (torch.from_numpy(rng.normal(size=20)) for _ in range(2))

    def r2(outputs: Tensor, y: Tensor) -> float:
        return float(losses.metric(losses.per_example(outputs[:, None], y).mean(), torch.tensor(0), y))

    assert r2(scale * outputs + shift, scale * y + shift) == pytest.approx(r2(outputs, y))


def test_classes_and_numbers_are_told_apart_by_their_type() -> None:
    outputs = torch.tensor([[[2.0, 0.0], [1.0, 3.0]]])
    classes = torch.tensor([[0, 0]])
    torch.testing.assert_close(
        losses.per_example(outputs, classes)[0], functional.cross_entropy(outputs[0], classes[0], reduction="none")
    )
    assert losses.hits(outputs, classes).tolist() == [1]
    assert losses.metric(torch.zeros(1), torch.tensor([1]), classes[0]).tolist() == [0.5]
    numbers = torch.tensor([[1.0, 1.0]])
    assert losses.per_example(outputs[..., :1], numbers).tolist() == [[1.0, 0.0]]


# -- parity


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
@pytest.mark.parametrize("widths", [[], [9, 8]])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.01)])
def test_regression_is_a_plain_loop_over_mean_squared_errors(
    tmp_path: Path, normalisation: str, widths: list[int], momentum: float, weight_decay: float
) -> None:
    # A last batch of 15 of 75 nuclei.
    changes = {"optimiser.momentum": momentum, "optimiser.weight_decay": weight_decay, "data.train_size": 75}
    changes |= {"training.dtype": "float64", "model.widths": widths, "model.normalisation": normalisation}
    requested = nuclei(**changes, runs=16, epochs=2)
    trained = ensemble.train(requested, out=tmp_path)
    for run in (0, 5):
        for name, values in plain_run(requested, run).items():
            np.testing.assert_allclose(trained.metrics[name][run], values, rtol=1e-9, err_msg=f"{name} of run {run}")


# -- the whole way


def fpt(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    status = cli.run([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def test_a_store_of_regression_is_read_and_predicted_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nuclei.yml"
    # Few and light runs whose error still falls: enough to pass at various epochs.
    file.write_text(
        "data: {name: nuclear-masses, train_size: 200, validation_size: 50, test_size: 100, target: residual}\n"
        "model: {name: mlp, widths: [16]}\n"
        "optimiser: {name: sgd, lr: 0.05}\n"
        "training: {batch_size: 50}\n"
        "runs: 16\nepochs: 12\ndevice: cpu\n"
    )
    plain = fpt(capsys, "train", file, "--out", tmp_path / "stores").strip()
    kick = "perturbation={name: shrink_perturb, shrink: 0.8, perturb: 0.1, period: 4}"
    perturbed = fpt(capsys, "train", file, "--set", kick, "--out", tmp_path / "stores").strip()
    record = read(plain)
    source = data.load(spec.load(file).data)
    assert set(record.metrics) == {
        "train_loss", "test_loss", "test_metric", "test_rmse", "valid_metric", "valid_rmse"
    }  # fmt: skip
    metrics = record.metrics
    np.testing.assert_allclose(metrics["test_rmse"], source.target_scale * np.sqrt(metrics["test_loss"]), rtol=1e-12)
    spread = source.y_test.astype(np.float64).var()
    np.testing.assert_allclose(metrics["test_metric"], 1 - metrics["test_loss"] / spread, rtol=1e-12, atol=1e-12)
    assert (metrics["test_rmse"][:, -1] < metrics["test_rmse"][:, 0]).all()
    threshold = float(np.median(metrics["test_rmse"][:, 8]))
    answer = json.loads(
        fpt(
            capsys, "predict", "--unperturbed", plain, "--perturbed", f"4={perturbed}", "--metric", "test_rmse",
            "--direction", "below", "--threshold", threshold, "--json",
        )
    )  # fmt: skip
    times = first_passage(record, Target(threshold, metric="test_rmse", direction="below"))
    assert answer["unperturbed"]["n_runs"] == 16
    assert answer["unperturbed"]["n_censored"] == int((~times.observed).sum()) > 0
    # R2 rises where the error falls: the same passages.
    r2 = 1 - (threshold / source.target_scale) ** 2 / spread
    same = first_passage(record, Target(r2, metric="test_metric", direction="above"))
    assert np.array_equal(same.time, times.time)


def test_a_training_that_passes_below_an_error_is_retired(tmp_path: Path) -> None:
    requested = nuclei(runs=16, epochs=8)
    whole = ensemble.train(requested, out=tmp_path / "whole")
    threshold = float(np.median(whole.metrics["test_rmse"][:, 4]))
    at = Target(threshold, direction="below", metric="test_rmse")
    short = ensemble.train(requested, out=tmp_path / "short", retirement=at)
    passed = (whole.metrics["test_rmse"] <= threshold).argmax(axis=1) + 1
    reached = (whole.metrics["test_rmse"] <= threshold).any(axis=1)
    assert np.array_equal(short.lengths, np.where(reached, passed, 8))
    with pytest.raises(InputError, match=r"no metric 'valid_rmse' is recorded; there is .*test_rmse"):
        ensemble.train(requested, out=tmp_path, retirement=Target(1.0, metric="valid_rmse", direction="below"))


def test_what_regression_would_cost_is_known_before(tmp_path: Path) -> None:
    requested = nuclei(runs=16, epochs=8)
    cost = estimate(requested, out=tmp_path)
    assert cost.data_at_hand
    # Two for a multiply-add of 6 x 9 + 9 x 8 + 8 weights; backwards twice that, less the gradient of the inputs.
    weights = 6 * 9 + 9 * 8 + 8
    assert cost.flop_per_run_epoch == 60 * (2 * 3 * weights - 2 * 6 * 9) + 50 * 2 * weights
