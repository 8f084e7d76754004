"""The corrected bootstrap interval: laws, limits, and that of scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fptlib.firstpassage.resampling import bootstrap_weights, corrected_interval, percentile_interval

values = st.lists(st.integers(1, 400).map(float), min_size=2, max_size=60)


def replicates_of_the_mean(x: np.ndarray, n_boot: int, seed: int = 0) -> np.ndarray:
    weights = bootstrap_weights([np.arange(len(x))], n_boot=n_boot, rng=np.random.default_rng(seed))
    return np.asarray(weights @ x / len(x), dtype=np.float64)


# Laws


@given(x=values, seed=st.integers(0, 50), scale=st.floats(0.1, 10), shift=st.floats(-50, 50))
def test_interval_moves_with_the_estimate(x: list[float], seed: int, scale: float, shift: float) -> None:
    replicates = replicates_of_the_mean(np.array(x), 200, seed)
    low, high = corrected_interval(replicates, 0.9, n_runs=len(x))
    moved = corrected_interval(scale * replicates + shift, 0.9, n_runs=len(x))
    assert moved == pytest.approx((scale * low + shift, scale * high + shift), rel=1e-6, abs=1e-4)
    assert replicates.min() <= low <= high <= replicates.max()
    wider = corrected_interval(replicates, 0.95, n_runs=len(x))
    assert wider[0] <= low
    assert wider[1] >= high


@given(x=st.lists(st.integers(1, 400).map(float), min_size=5, max_size=40))
def test_fewer_runs_widen_the_interval(x: list[float]) -> None:
    replicates = replicates_of_the_mean(np.array(x), 300)
    few, many = (corrected_interval(replicates, 0.95, n_runs=n) for n in (4, 400))
    assert few[0] <= many[0] <= many[1] <= few[1]


# Limits


def test_what_has_no_interval() -> None:
    assert corrected_interval(np.full(50, 3.0), 0.95, n_runs=10) == (3.0, 3.0)
    assert np.isnan(corrected_interval(np.array([1.0, np.nan, np.inf]), 0.95, n_runs=10)).all()
    assert corrected_interval(np.array([np.nan, 1.0, 2.0, 3.0]), 0.5, n_runs=10) == percentile_interval(
        np.array([1.0, 2.0, 3.0]), 0.5
    )
    assert corrected_interval(np.array([2.0, 1.0, 2.0, 3.0, np.nan]), 0.5, n_runs=1) == (1.0, 3.0)


def test_symmetrical_replicates_of_many_runs_have_their_percentiles() -> None:
    replicates = np.append(0.0, stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000))
    assert corrected_interval(replicates, 0.95, n_runs=10**7) == pytest.approx((-1.96, 1.96), abs=1e-3)
    wider = stats.t.ppf(0.975, 9) * np.sqrt(10 / 9)
    assert corrected_interval(replicates, 0.95, n_runs=10) == pytest.approx((-wider, wider), abs=1e-2)


# Oracles


@pytest.mark.parametrize("seed", range(4))
def test_many_runs_give_the_bca_interval_of_scipy(seed: int) -> None:
    x = np.random.default_rng(seed).exponential(20, size=60)
    ours = corrected_interval(replicates_of_the_mean(x, 40_000), 0.95, n_runs=10**7)
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=40_000, method="BCa", rng=np.random.default_rng(seed)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_exponential_means_are_covered_where_percentiles_fall_short() -> None:
    rng, n, hits = np.random.default_rng(3), 30, {"corrected": 0, "percentile": 0}
    repeats = 800
    for _ in range(repeats):
        x = rng.exponential(size=n)
        replicates = np.append(x.mean(), (rng.multinomial(n, np.full(n, 1 / n), size=400) @ x) / n)
        for name, (low, high) in (
            ("corrected", corrected_interval(replicates, 0.95, n_runs=n)),
            ("percentile", percentile_interval(replicates[1:], 0.95)),
        ):
            hits[name] += low <= 1 <= high
    corrected = stats.binomtest(hits["corrected"], repeats).proportion_ci(0.999)
    assert corrected.low < 0.95
    assert hits["corrected"] / repeats > 0.93
    assert hits["corrected"] - hits["percentile"] > 0.008 * repeats
