"""Stationary states of minibatch descent: closed forms, exact enumeration, and refusals."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.func import grad

from fptlib import equilibrium
from fptlib.errors import InputError

RATE = 0.1
STIFF = np.diag([1.0, 2.0])
NOISE = np.array([[1.0, 0.5], [0.5, 1.0]]) * 1e-4  # does not commute with it


def quadratic(w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return w @ a @ w / 2 + b @ w


@pytest.fixture(scope="module")
def samples() -> tuple[Any, Any]:
    """Six samples, each with its own curvature and slope, in two dimensions."""
    rng = np.random.default_rng(1)
    root = rng.standard_normal((6, 2, 2))
    return root @ root.transpose(0, 2, 1), rng.standard_normal((6, 2))


def test_a_plane_with_noise_that_does_not_commute_has_a_known_current() -> None:
    """By hand: S_ij = 2 D_ij / (rate (h_i + h_j)), and C_12 = D_12 (h_1 - h_2) / (h_1 + h_2)."""
    cov = equilibrium.covariance(STIFF, NOISE, rate=RATE)
    np.testing.assert_allclose(cov, 1e-4 / RATE * np.array([[1, 1 / 3], [1 / 3, 1 / 2]]))
    flow = equilibrium.circulation(STIFF, cov, rate=RATE)
    c = -0.5e-4 / 3
    np.testing.assert_allclose(flow, [[0, c], [-c, 0]], atol=1e-18)
    mean = equilibrium.entropy_production(circulation=flow, diffusion=NOISE, covariance=cov)
    assert mean == pytest.approx(c**2 / np.linalg.det(NOISE) * np.trace(NOISE @ np.linalg.inv(cov)))


def test_noise_that_commutes_with_the_curvature_drives_no_current() -> None:
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    stiff, noise = (turn @ np.diag(values) @ turn.T for values in ([1.0, 2.0, 5.0], [3.0, 1.0, 2.0]))
    cov = equilibrium.covariance(stiff, noise, rate=RATE)
    flow = equilibrium.circulation(stiff, cov, rate=RATE)
    np.testing.assert_allclose(flow, 0, atol=1e-12)
    assert equilibrium.entropy_production(circulation=flow, diffusion=noise, covariance=cov) == pytest.approx(0)


def test_linear_dynamics_sweeps_the_area_and_produces_the_entropy_of_theory() -> None:
    """Normal noise, so the integral theorem holds for every step; the area is that of theory in four standard errors."""
    cov = equilibrium.covariance(STIFF, NOISE, rate=RATE)
    known = {"circulation": equilibrium.circulation(STIFF, cov, rate=RATE), "diffusion": NOISE, "covariance": cov}
    rng = np.random.default_rng(0)
    path = np.empty((20_000, 21, 2))
    path[:, 0] = rng.multivariate_normal([0, 0], cov, 20_000)
    for t in range(20):
        kick = rng.multivariate_normal([0, 0], 2 * NOISE, 20_000)
        path[:, t + 1] = path[:, t] - RATE * path[:, t] @ STIFF + kick
    area = equilibrium.swept_area(path)[:, 0, 1]
    assert abs(area.mean() - known["circulation"][0, 1]) < 4 * area.std() / np.sqrt(20_000)
    sigma = equilibrium.entropy(path, **known)
    assert sigma.mean() == pytest.approx(equilibrium.entropy_production(**known), rel=0.1)
    weight = np.exp(-sigma.sum(axis=1))
    assert abs(weight.mean() - 1) < 4 * weight.std() / np.sqrt(20_000)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_an_epoch_without_replacement_has_the_mean_and_noise_of_all_its_orders(
    samples: tuple[Any, Any], batch: int
) -> None:
    """Enumerate all 720 permutations; to second order the displacement is -rate n g + rate^2 times a sum over pairs of batches."""
    w, a, n = np.array([0.3, -0.8]), samples[0], 6 // batch
    g = equilibrium.gradients(quadratic, samples, w)
    second = []
    for order in itertools.permutations(range(6)):
        batches = np.reshape(order, (n, batch))
        slope, curve = g[batches].mean(axis=1), a[batches].mean(axis=1)
        second.append(sum(curve[k] @ slope[j] for k in range(n) for j in range(k)))
    noise = equilibrium.diffusion(quadratic, samples, w, rate=RATE, batch=batch, replacement=False)
    np.testing.assert_allclose(noise, RATE**4 * np.cov(np.transpose(second), ddof=0) / 2, rtol=1e-10)
    drift = grad(equilibrium.effective_loss(quadratic, samples, rate=RATE, batch=batch))(torch.as_tensor(w))
    np.testing.assert_allclose(drift, n * g.mean(axis=0) - RATE * np.mean(second, axis=0), rtol=1e-10)


def test_noise_with_replacement_is_that_of_all_batches(samples: tuple[Any, Any]) -> None:
    w = np.array([0.3, -0.8])
    g = equilibrium.gradients(quadratic, samples, w)
    means = np.array([g[list(batch)].mean(axis=0) for batch in itertools.combinations(range(6), 2)])
    noise = equilibrium.diffusion(quadratic, samples, w, rate=RATE, batch=2)
    np.testing.assert_allclose(noise, RATE**2 * np.cov(means.T, ddof=0) / 2)


def test_orders_of_the_two_diffusions(samples: tuple[Any, Any]) -> None:
    w = np.zeros(2)
    for replacement, order in ((True, 2), (False, 4)):
        one, two = (
            equilibrium.diffusion(quadratic, samples, w, rate=rate, batch=2, replacement=replacement)
            for rate in (RATE, 2 * RATE)
        )
        np.testing.assert_allclose(two, 2**order * one)


def test_minimum_of_a_quadratic_and_from_a_start_with_negative_curvature(samples: tuple[Any, Any]) -> None:
    a, b = samples
    loss = equilibrium.mean_loss(quadratic, samples)
    np.testing.assert_allclose(equilibrium.minimum(loss, [3, 3]), -np.linalg.solve(a.mean(0), b.mean(0)))
    np.testing.assert_allclose(equilibrium.hessian(loss, [3, 3]), a.mean(0))

    def double_well(w: Tensor) -> Tensor:
        return (w[0] ** 2 - 1) ** 2

    np.testing.assert_allclose(equilibrium.minimum(double_well, [0.1]), [1.0])


def test_a_batch_gradient_is_the_mean_over_its_rows(samples: tuple[Any, Any]) -> None:
    w, rows = np.array([[0.3, -0.8], [1.0, 2.0]]), np.array([[0, 3], [5, 1]])
    gradient = equilibrium.batch_gradient(quadratic, samples)
    each = [equilibrium.gradients(quadratic, samples, one) for one in w]
    np.testing.assert_allclose(gradient(w, rows), [g[some].mean(axis=0) for g, some in zip(each, rows, strict=True)])
    np.testing.assert_allclose(gradient(w, None), [g.mean(axis=0) for g in each])


def test_refusals(samples: tuple[Any, Any]) -> None:
    with pytest.raises(InputError, match="batch: 4 does not divide the 6 samples"):
        equilibrium.diffusion(quadratic, samples, [0, 0], rate=RATE, batch=4, replacement=False)
    with pytest.raises(InputError, match="parts have \\[6, 5\\] samples"):
        equilibrium.gradients(quadratic, (samples[0], samples[1][:5]), [0, 0])
    with pytest.raises(InputError, match="minimum: the gradient is still"):
        equilibrium.minimum(lambda w: -w.sum(), [0.0])


@pytest.fixture(scope="module")
def bench(root: Path) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        yield importlib.import_module("equilibrium")


def test_the_gradient_written_by_hand_is_that_of_the_loss(bench: Any) -> None:
    rng, sample = np.random.default_rng(0), bench.points()
    w, rows = rng.standard_normal((3, 7)), rng.integers(0, 200, (3, 10))
    known = equilibrium.batch_gradient(bench.regression, sample)(w, rows)
    np.testing.assert_allclose(bench.slope_of(*sample)(w, rows), known)


def test_normal_entropy_of_twice_its_mean_as_variance_obeys_the_detailed_theorem(bench: Any) -> None:
    sigma = np.random.default_rng(0).normal(1.0, np.sqrt(2.0), 20_000)
    slope, low, high = bench.detailed(sigma)
    assert low < 1 < high
    assert bench.detailed(2 * sigma)[0] == pytest.approx(slope / 2)


def test_a_part_keeps_its_blocks_and_agrees_with_theory(bench: Any, tmp_path: Path) -> None:
    bench.do_orders(tmp_path, tmp_path, draws=300)
    table = pd.read_csv(tmp_path / "orders.csv")
    small = table[table["rate"] <= 1e-7]
    assert (abs(small["mean"] / small["theory"] - 1) < 0.25).all()
    before = (tmp_path / "orders-0.npz").stat().st_mtime_ns
    bench.do_orders(tmp_path, tmp_path, draws=300)
    assert (tmp_path / "orders-0.npz").stat().st_mtime_ns == before
