"""Sampling by noisy gradients: closed forms, switches, and the distance from a posterior that is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fptlib.equilibrium import divergence, sampled, simulate
from fptlib.errors import InputError

SAMPLERS = {"full batch": (200, True), "SGLD": (10, True), "SGWORLD": (10, False)}
RANDOM = np.random.default_rng(5)


@dataclass(frozen=True)
class Linear:
    """Linear regression with noise of deviation 1 and a flat prior, whose posterior is Gaussian."""

    x: Any
    y: Any

    @property
    def precision(self) -> Any:
        return self.x.T @ self.x

    @property
    def mean(self) -> Any:
        return np.linalg.solve(self.precision, self.x.T @ self.y)

    def gradient(self, w: Any, rows: Any = None) -> Any:
        x, y = (self.x[None], self.y[None]) if rows is None else (self.x[rows], self.y[rows])
        off = (x @ w[:, :, None])[..., 0] - y
        return len(self.y) / y.shape[1] * (off[:, None] @ x)[:, 0]

    def sampled(self, **options: Any) -> Any:
        pull = self.x * (self.x @ self.mean - self.y)[:, None]
        return sampled(len(self.y) * pull, len(self.y) * self.x[:, :, None] * self.x[:, None], **options)

    def distance(self, covariance: Any) -> float:
        return float(divergence(covariance, self.precision))


MEAN = Linear(np.ones((200, 1)), RANDOM.standard_normal(200))  # every batch has the same Hessian, 200
X = RANDOM.standard_normal((500, 3))
LINE = Linear(X, X @ [1.0, -1.0, 0.5] + RANDOM.standard_normal(500))
FEW = Linear(X[:20], LINE.y[:20])


def run(model: Linear, *, rate: float, batch: int, replacement: bool, **options: Any) -> Any:
    """Return weights at the start and after each epoch, ``(runs, epochs, p)``; the runs start from the posterior."""
    rng, size = np.random.default_rng(1), len(model.y)
    start = rng.multivariate_normal(model.mean, np.linalg.inv(model.precision), size=options.pop("runs", 1000))
    given = {"size": size, "steps": 10 * size // batch, "every": size // batch, "noise": True, "rng": rng} | options
    return simulate(model.gradient, start, rate=rate, batch=batch, replacement=replacement, **given)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("step", [0.1, 0.01])
def test_the_variance_of_a_gaussian_mean_has_a_closed_form(name: str, step: float) -> None:
    (batch, replacement), size, h = SAMPLERS[name], 200, 200.0
    v = ((MEAN.y - MEAN.y.mean()) ** 2).mean() * (size - batch) / (size - 1)  # of a batch's gradient, times m / M^2
    n, a = size // batch, 1 - step
    if replacement:
        expected = (1 + size / batch * v * step / 2 * (batch < size)) / (1 - step / 2)
    else:
        between = size / batch * v / (n - 1)  # batches of an epoch add up to the data
        expected = (1 + n * between * step / 2) / (1 - step / 2) - between * (1 - a**n) / (1 + a**n)
    covariance = MEAN.sampled(rate=step / h, batch=batch, replacement=replacement)
    assert h * covariance[0, 0] == pytest.approx(expected, rel=1e-6)
    steps = 1500 if batch == size else 400
    weights = run(MEAN, rate=step / h, batch=batch, replacement=replacement, steps=steps, every=100)[:, -1, 0]
    low, high = (999 * weights.var(ddof=1) / stats.chi2.ppf(q, 999) * h for q in (0.999, 0.001))
    assert low < expected < high


@pytest.mark.parametrize("model", [LINE, FEW])
@pytest.mark.parametrize("replacement", [True, False])
def test_the_covariance_of_linear_regression_is_what_the_simulation_has(model: Any, replacement: bool) -> None:
    batch, rate = len(model.y) // (100 if model is LINE else 2), 0.06 / np.linalg.eigvalsh(model.precision)[-1]
    weights = run(model, rate=rate, batch=batch, replacement=replacement, runs=3000, steps=200, every=100)[:, -1]
    scaled = np.linalg.solve(model.sampled(rate=rate, batch=batch, replacement=replacement), np.cov(weights.T))
    assert np.linalg.eigvals(scaled).real == pytest.approx(np.ones(3), abs=0.1)  # four standard errors


def test_without_replacement_is_thirty_times_closer_where_an_epoch_is_one_relaxation_time() -> None:
    rate = 0.01 / np.linalg.eigvalsh(LINE.precision)[-1]  # n rate h = 1 with n = 100
    ways = {"full": (500, True), "SGLD": (5, True), "SGWORLD": (5, False)}
    exact = {name: LINE.sampled(rate=rate, batch=b, replacement=r) for name, (b, r) in ways.items()}
    assert LINE.distance(exact["SGLD"]) > 100 * LINE.distance(exact["SGWORLD"])
    ends = {
        name: run(LINE, rate=rate, batch=b, replacement=r, steps=400, every=400)[:, 1] for name, (b, r) in ways.items()
    }
    covariances = {name: np.cov(w.T) for name, w in ends.items()}
    error = covariances["full"] - exact["full"]  # of sampling, and the same for all, since they share their noise
    assert LINE.distance(covariances["SGLD"] - error) > 30 * LINE.distance(covariances["SGWORLD"] - error)


def test_runs_are_the_same_from_the_same_seed_and_share_their_noise() -> None:
    options = {"rate": 1e-4, "runs": 3, "steps": 40, "every": 1}
    one, two = (run(LINE, batch=5, replacement=False, **options) for _ in range(2))
    assert (one == two).all()
    assert (run(LINE, batch=5, replacement=False, **options | {"every": 20}) == one[:, ::20]).all()
    three = [
        run(LINE, batch=b, replacement=r, **options | {"rate": 1e-6}) for b, r in ((500, True), (5, True), (5, False))
    ]
    alike = np.corrcoef([np.diff(w, axis=1).ravel() for w in three])
    assert (alike > 0.95).all()
    assert (alike[~np.eye(3, dtype=bool)] < 1 - 1e-6).all()


@pytest.mark.parametrize(("batch", "replacement"), [(5, False), (5, True), (100, True)])
def test_batches_hold_no_sample_twice_and_an_epoch_holds_each_once(batch: int, replacement: bool) -> None:
    seen: list[Any] = []

    def gradient(w: Any, rows: Any) -> Any:
        seen.append(rows.copy())
        return w

    rng = np.random.default_rng(0)
    simulate(
        gradient,
        np.zeros((50, 1)),
        size=500,
        rate=0.1,
        batch=batch,
        steps=500 // batch,
        rng=rng,
        replacement=replacement,
    )
    assert (np.diff(np.sort(seen[0]), axis=1) > 0).all()
    epoch = np.sort(np.concatenate(seen, axis=1))
    assert (epoch == np.arange(500)).all() == (not replacement)
    assert stats.chisquare(np.bincount(np.concatenate(seen, axis=1).ravel(), minlength=500)).pvalue > 1e-4


def test_the_divergence_is_that_of_a_hand_calculation() -> None:
    far = divergence([[2.0, 0.0], [0.0, 1.0]], np.eye(2), off=[1.0, 0.0])
    assert far == pytest.approx((2 + 1 - 2 - np.log(2) + 1) / 2)
    assert LINE.distance(np.linalg.inv(LINE.precision)) == pytest.approx(0, abs=1e-12)


def test_the_gradient_of_all_batches_is_that_of_the_data() -> None:
    w = RANDOM.standard_normal((1, 3))
    each = np.mean([LINE.gradient(w, np.arange(i, i + 5)[None]) for i in range(0, 500, 5)], axis=0)
    assert each == pytest.approx(LINE.gradient(w))


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(InputError, match="batch: 7 of 500 samples; allowed: a divisor of 500"):
        run(LINE, rate=1e-4, batch=7, replacement=False)
    with pytest.raises(InputError, match="rate: nothing is stationary at 1;"):
        LINE.sampled(rate=1.0, batch=5, replacement=True)
