"""Means without a horizon: right where nothing new happens later, refused with a reason where something might."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import WeibullFitter
from scipy import stats

from companion import published
from fptlib import sources
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes, first_passage, restricted_mean
from fptlib.processes import FrozenMixture, GeometricWithKick, Heterogeneous, OrnsteinUhlenbeck
from fptlib.response import Extrapolated, extrapolate, hazard_trend, unperturbed_mean
from fptlib.trajectories import Trajectories

ARCHIVE = Path(os.environ.get("FPTLIB_DATA") or "nowhere") / sources.PUBLISHED.archive
KICK = GeometricWithKick(hazard=0.02, kick=0.3)
TYPES = Heterogeneous(hazard=0.01, hazards_after=(0.3, 0.03), window=5)
STATIONARY = OrnsteinUhlenbeck(decay=0.5, noise=0.6, threshold=1.5, start=0.0)


@cache
def sampled(process: Any, seed: int, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
    runs: Trajectories = process.sample(
        np.random.default_rng([seed, period or 0]), n_runs=n_runs, horizon=horizon, period=period
    )
    return dataclasses.replace(runs, run=runs.run + (10**6 if period else 0))


def censored(time: Any, horizon: Any) -> FirstPassageTimes:
    """Times with those beyond a horizon, common or each its own, censored."""
    time, horizon = np.asarray(time), np.broadcast_to(horizon, np.shape(time))
    return FirstPassageTimes(time=np.minimum(time, horizon), observed=time <= horizon, run=np.arange(len(time)))


def over_cycles(
    process: Any, periods: list[int], *, period: int = 20, seed: int = 1, n_runs: int = 1000, horizon: int = 80
) -> tuple[Extrapolated, ...]:
    return extrapolate(
        sampled(process, seed, n_runs, horizon),
        sampled(process, seed, n_runs, horizon, period),
        period=period,
        threshold=process.threshold,
        periods=periods,
        n_boot=200,
        level=0.99,
    )


# Closed forms


def test_the_constant_hazard_is_passages_over_epochs_at_risk() -> None:
    trend = hazard_trend(censored([2, 3, 7, 9, 12, 30, 40], 20), after=2)
    assert (trend.after, trend.last, trend.n_passed) == (2, 20, 4)
    assert trend.n_epochs == (3 + 7 + 9 + 12 + 20 + 20) - 6 * 2
    assert trend.hazard == pytest.approx(4 / trend.n_epochs)


def test_a_log_linear_hazard_is_found() -> None:
    slope, n = -0.03, 40_000
    age = np.arange(1, 101)
    hazard = 1 - np.exp(-np.exp(np.log(0.05) + slope * age))
    survival = np.cumprod(1 - hazard)
    time = 10 + 1 + (np.random.default_rng(0).random(n)[:, None] < survival).sum(axis=1)
    trend = hazard_trend(censored(time, 110), after=10)
    assert trend.slope_low < slope < trend.slope_high
    assert trend.slope_high - trend.slope_low < 0.1 * abs(slope)
    assert trend.p_value < 1e-50


def test_two_epochs_are_two_hazards_compared() -> None:
    # With two ages the log-linear hazard fits both exactly: the statistic is that of the two by two table.
    time = np.repeat([1, 2, 3], [30, 12, 58])
    trend = hazard_trend(censored(time, 2), after=0)
    table = stats.contingency.chi2_contingency([[30, 70], [12, 58]], lambda_="log-likelihood", correction=False)
    assert trend.statistic == pytest.approx(table.statistic, rel=1e-6)
    assert trend.p_value == pytest.approx(table.pvalue, rel=1e-6)
    rates = -np.log(1 - np.array([30 / 100, 12 / 70]))
    assert trend.slope == pytest.approx(np.log(rates[1] / rates[0]), rel=1e-4)


# Laws


@settings(deadline=None, max_examples=40)
@given(time=st.lists(st.integers(1, 60), min_size=5, max_size=60), horizon=st.integers(5, 60), after=st.integers(0, 3))
def test_the_likelihood_ratio_is_one_of_nested_models(time: list[int], horizon: int, after: int) -> None:
    times = censored(time, horizon)
    try:
        trend = hazard_trend(times, after=after)
    except InputError:
        return
    assert trend.statistic >= 0
    assert 0 <= trend.p_value <= 1
    assert trend.slope_low <= trend.slope <= trend.slope_high
    later = dataclasses.replace(times, time=times.time + 7)  # only the age counts
    assert hazard_trend(later, after=after + 7).statistic == pytest.approx(trend.statistic, abs=1e-6)


# Oracles


def test_the_trend_agrees_with_the_shape_of_a_weibull_law() -> None:
    rng = np.random.default_rng(1)
    for shape, sign in ((0.7, -1), (1.5, 1)):
        time = np.ceil(50 * rng.weibull(shape, 500)).astype(int)
        times = censored(time, 60)
        fit = WeibullFitter().fit(times.time, times.observed)
        trend = hazard_trend(times, after=0)
        assert np.sign(trend.slope) == sign == np.sign(fit.rho_ - 1)
        assert trend.p_value < 1e-3


# Samples


@pytest.mark.parametrize("staggered", [False, True])
def test_a_constant_hazard_is_rejected_as_often_as_the_level_says(staggered: bool) -> None:
    rng, p_values = np.random.default_rng(2), []
    for _ in range(400):
        time = rng.geometric(0.02, 150)
        ends = rng.integers(20, 100, 150) if staggered else 80
        p_values.append(hazard_trend(censored(time, ends), after=5).p_value)
    # 0.05 of 400 within three standard errors, and 0.5 of them likewise
    assert 0.05 - 0.033 < np.mean(np.array(p_values) < 0.05) < 0.05 + 0.033
    assert 0.5 - 0.075 < np.mean(np.array(p_values) < 0.5) < 0.5 + 0.075


def test_an_exponential_tail_gives_the_mean() -> None:
    hits = 0
    for seed in range(40):
        found = unperturbed_mean(
            sampled(KICK, seed, 150, 60), threshold=0.5, after=0, level=0.9, n_boot=200, significance=1e-9
        )
        assert found.estimate is not None
        hits += found.estimate.low <= 50 <= found.estimate.high
    assert hits >= 30  # 0.9 of 40 within three standard errors
    assert "% of the mean lies beyond epoch 60 by an exponential tail" in found.reason


def test_a_mixed_population_has_no_exponential_tail() -> None:
    # Some runs never pass: the hazard falls, and the mean is infinite.
    frozen = FrozenMixture(silent=10, good=0.4, good_after=0.6, hazard=0.1)
    found = unperturbed_mean(sampled(frozen, 0, 300, 80), threshold=0.5, after=10, n_boot=50)
    assert found.estimate is None
    assert "exponential tail is rejected: the hazard changes by -" in found.reason


def test_the_relaxation_epoch_is_found_where_none_is_given() -> None:
    runs = sampled(STATIONARY, 0, 1500, 100)
    found = unperturbed_mean(runs, threshold=STATIONARY.threshold, n_boot=200, level=0.99)
    assert found.estimate is not None
    assert found.estimate.low < STATIONARY.mfpt() < found.estimate.high
    assert found.estimate.n_censored == first_passage(runs, threshold=STATIONARY.threshold).n_censored


def test_without_censoring_the_mean_is_measured() -> None:
    runs = sampled(GeometricWithKick(hazard=0.5, kick=0.5), 0, 100, 60)
    found = unperturbed_mean(runs, threshold=0.5, n_boot=100)
    measured = restricted_mean(first_passage(runs, threshold=0.5), n_boot=100)
    assert found.estimate == measured
    assert found.reason == "no run is censored: measured"


def test_cycles_that_are_alike_are_repeated() -> None:
    (found,) = over_cycles(KICK, [20])
    assert found.estimate is not None
    assert found.estimate.low < KICK.mfpt(20) < found.estimate.high
    assert found.estimate.mean > KICK.restricted_mean(horizon=80, period=20)
    assert "outlast the cycles seen" in found.reason


def test_a_horizon_of_fewer_than_two_periods_after_the_first_is_too_short() -> None:
    assert over_cycles(KICK, [20], horizon=60)[0].estimate is not None
    (found,) = over_cycles(KICK, [20], horizon=59)
    assert found.estimate is None
    assert "the horizon is 59, and perturbations until 40 need 60" in found.reason


def test_cycles_that_differ_are_not_repeated() -> None:
    (found,) = over_cycles(TYPES, [20], horizon=200)
    assert found.estimate is None
    assert "of the first and of a later perturbation" in found.reason


def test_what_few_runs_met_is_not_repeated() -> None:
    (found,) = over_cycles(GeometricWithKick(hazard=0.02, kick=0.95), [5], n_runs=200)
    assert found.estimate is None
    assert "30 are needed to see whether" in found.reason
    (few,) = over_cycles(KICK, [20], n_runs=25)
    assert few.estimate is None
    assert "survivors at epoch 20; 30 are needed" in few.reason
    # where all have passed nothing is repeated
    (gone,) = over_cycles(GeometricWithKick(hazard=0.02, kick=1.0), [20], n_runs=200)
    assert gone.estimate is not None
    assert "none outlasts the 1 cycles seen" in gone.reason


def test_a_mean_that_lies_mostly_beyond_the_horizon_is_not_extrapolated() -> None:
    found = unperturbed_mean(sampled(KICK, 0, 1000, 25), threshold=0.5, after=0, n_boot=10, significance=1e-9)
    assert found.estimate is None  # 0.98 ** 25 = 0.6
    assert "60 % of the mean would lie beyond epoch 25" in found.reason


def test_too_few_passages_show_no_trend() -> None:
    found = unperturbed_mean(sampled(KICK, 0, 30, 40), threshold=0.5, after=5, n_boot=10)
    assert found.estimate is None
    assert "30 are needed to see whether their hazard changes" in found.reason


# The real thing


@pytest.mark.published
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no {ARCHIVE.name} in $FPTLIB_DATA")
def test_the_published_runs_have_no_exponential_tail() -> None:
    trend = hazard_trend(first_passage(published.unperturbed(), threshold=72), after=15)
    assert trend.p_value < 1e-20
    assert trend.slope_high < 0
    for threshold in (72, 72.5, 73):
        for after in (None, 15, 50):
            found = unperturbed_mean(published.unperturbed(), threshold=threshold, after=after, n_boot=2)
            assert found.estimate is None
            # late, few passages are left to show a trend, and most of the mean would lie beyond the horizon
            assert after == 50 or "exponential tail is rejected" in found.reason


# What is refused


def test_what_is_refused() -> None:
    runs, perturbed = sampled(KICK, 0, 50, 60), sampled(KICK, 0, 50, 60, 20)
    with pytest.raises(InputError, match="period 21 is not between 1 and 20: nothing was seen of longer cycles"):
        extrapolate(runs, perturbed, period=20, threshold=0.5, periods=[21])
    with pytest.raises(InputError, match="model 'pareto' of the tail is not known"):
        unperturbed_mean(runs, threshold=0.5, model="pareto")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="significance 0 is not between"):
        unperturbed_mean(runs, threshold=0.5, significance=0)
    with pytest.raises(InputError, match="epoch 60 after which the model holds is not between 0 and 59"):
        unperturbed_mean(runs, threshold=0.5, after=60)
    with pytest.raises(InputError, match="epoch -1 to look after is below 0"):
        hazard_trend(first_passage(runs, threshold=0.5), after=-1)
    with pytest.raises(InputError, match="0 runs pass after epoch 59"):
        hazard_trend(censored([3, 70], 60), after=59)
