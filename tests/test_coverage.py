"""Whether intervals cover: the corrected interval, the flag, and a quick version of the study in benchmarks."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fptlib.errors import InputError
from fptlib.firstpassage.resampling import bootstrap_weights, corrected_interval, percentile_interval
from fptlib.former.coverage import interval_flag, mean_skewness

values = st.lists(st.integers(1, 400).map(float), min_size=2, max_size=60)


def replicates_of_the_mean(x: np.ndarray, n_boot: int, seed: int = 0) -> np.ndarray:
    weights = bootstrap_weights([np.arange(len(x))], n_boot=n_boot, rng=np.random.default_rng(seed))
    return np.asarray(weights @ x / len(x), dtype=np.float64)


# Closed forms


def test_skewness_of_a_mean_by_hand() -> None:
    # k of n take longer: skewness (1 - 2p) / sqrt(p (1 - p)).
    assert mean_skewness([1.0] * 9 + [2.0]) == pytest.approx(0.8 / 0.3 / np.sqrt(10))
    assert mean_skewness([3, 3, 3]) == mean_skewness([]) == 0
    assert mean_skewness([1, 2, 3]) == pytest.approx(0)


def test_what_is_flagged() -> None:
    assert interval_flag(np.arange(29.0)) == "only 29 survivors; intervals need 30"
    assert interval_flag([5.0]) == "only 1 survivor; intervals need 30"
    assert interval_flag(np.arange(30.0)) is None
    one, two = (interval_flag([1.0] * (40 - k) + [100.0] * k) for k in (1, 2))
    assert one == "1 of 40 survivors takes so much longer that it carries the mean; the interval may be wrong"
    assert two == "2 of 40 survivors take so much longer that they carry the mean; the interval may be wrong"
    assert interval_flag([1.0] * 30 + [100.0] * 10) is None
    short = interval_flag([1.0] + [100.0] * 39)
    assert short == "1 of 40 survivors takes so much less time that it carries the mean; the interval may be wrong"


def test_exponential_times_are_flagged_only_where_there_are_few() -> None:
    draws = np.random.default_rng(0).exponential(10, size=(400, 200))
    share = [np.mean([interval_flag(x[:n]) is not None for x in draws]) for n in (29, 30, 60, 200)]
    assert share[0] == 1
    assert 0.02 < share[1] < 0.3
    assert share[1] > share[2] > share[3]
    assert share[3] < 0.01


# Laws


@given(x=values, scale=st.floats(0.1, 10), shift=st.floats(0, 50))
def test_skewness_does_not_depend_on_the_unit_and_turns_its_sign(x: list[float], scale: float, shift: float) -> None:
    one = mean_skewness(x)
    assert mean_skewness(scale * np.array(x) + shift) == pytest.approx(one, abs=1e-6)
    assert mean_skewness(-np.array(x)) == pytest.approx(-one, abs=1e-9)


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
    rng, n, found = np.random.default_rng(3), 30, {"corrected": 0, "percentile": 0}
    repeats = 800
    for _ in range(repeats):
        x = rng.exponential(size=n)
        replicates = np.append(x.mean(), (rng.multinomial(n, np.full(n, 1 / n), size=400) @ x) / n)
        for name, (low, high) in (
            ("corrected", corrected_interval(replicates, 0.95, n_runs=n)),
            ("percentile", percentile_interval(replicates[1:], 0.95)),
        ):
            found[name] += low <= 1 <= high
    corrected = stats.binomtest(found["corrected"], repeats).proportion_ci(0.999)
    assert corrected.low < 0.95
    assert found["corrected"] / repeats > 0.93
    assert found["corrected"] - found["percentile"] > 0.008 * repeats


# The study, in small


@pytest.fixture(scope="module")
def benchmark(root: Path) -> Any:
    folder = root / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        spec = importlib.util.spec_from_file_location("coverage_study", folder / "interval_coverage.py")
        assert spec is not None
        assert spec.loader is not None
        module: ModuleType = importlib.util.module_from_spec(spec)
        patch.setitem(sys.modules, "coverage_study", module)
        spec.loader.exec_module(module)
        yield module


def test_intervals_cover_where_the_form_is_exact(benchmark: Any) -> None:
    chosen = [("chain", 40, False), ("delayed", 40, False), ("reset", 40, False), ("kick", 40, True)]
    cases = {(c.name, c.survivors, c.shared): c for c in benchmark.cases()}
    results = pd.concat([benchmark.study(cases[key], repeats=90, n_boot=200, seed=11) for key in chosen])
    for r in results.itertuples():
        wanted = benchmark.as_wanted(r.covered, r.repeats) or r.covered / r.repeats > 0.88
        assert wanted, (r.case, r.quantity, r.covered, r.repeats)
        assert abs(r.bias) < 0.5, (r.case, r.quantity, r.bias)
    rest, covered = int((results["repeats"] - results["flagged"]).sum()), int(results["others"].sum())
    low, high = stats.binomtest(covered, rest).proportion_ci(0.99)
    assert low < 0.98
    assert high > 0.92
    assert 0.92 < covered / rest < 0.985


def test_few_survivors_are_flagged_and_stuck_ones_too(benchmark: Any) -> None:
    cases = {(c.name, c.survivors, c.shared): c for c in benchmark.cases()}
    few = benchmark.study(cases["kick", 12, False], repeats=20, n_boot=100)
    assert all(r.flagged == r.repeats for r in few.itertuples() if r.quantity != "unperturbed")
    stuck = benchmark.study(cases["stuck 1:30", 40, False], repeats=40, n_boot=100)
    residual = next(r for r in stuck.itertuples() if r.quantity == "residual")
    assert residual.flagged > 0.3 * residual.repeats
    assert residual.covered < 0.9 * residual.repeats  # what no survivor shows, no interval holds
    assert residual.above > 5 * residual.below
    assert "unseen kinds" in benchmark.table(stuck)
    assert "20 intervals of the unperturbed are not flagged" in benchmark.verdict(few)
    assert "of the prediction" not in benchmark.verdict(few)


# What is refused


@pytest.mark.parametrize("times", [[np.nan, 1.0], [[1.0, 2.0]], [np.inf]])
def test_bad_residual_times_are_one_clear_line(times: Any) -> None:
    check: Callable[[Any], object] = interval_flag
    with pytest.raises(InputError, match="residual_times must be one finite number for each survivor"):
        check(times)
