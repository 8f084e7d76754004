"""Distributions against exact ones: survival, quantiles, probability to pass within a budget; final and best metric by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import published
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.response import Distribution, distributions, final_metrics, predict, recommend
from fptlib.response.distribution import quantile_epochs
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories, retire
from known import CHAIN, DELAYED, KICK, MIXTURE, RESET, every_process, sampled

falling = st.lists(st.floats(0, 1), min_size=3, max_size=30).map(lambda factors: np.cumprod([1.0, *factors])[:, None])


def studied(
    process: Any, *, period: int = 20, seed: int = 0, n_runs: int = 1000, horizon: int = 150, **more: Any
) -> Study:
    """Return a study of first-passage times alone, which needs no test of a quasi-steady state."""
    runs = (sampled(process, seed, n_runs=n_runs, horizon=horizon, period=p) for p in (None, period))
    plain, kicked = (first_passage(each, process.threshold) for each in runs)
    return Study(plain, {("kick", period): kicked}, process.threshold, **{"n_boot": 200} | more)


def distributed(study: Study, periods: list[int], **more: Any) -> tuple[Distribution, ...]:
    return distributions(study, predict(study, periods), **more)


def exact_quantile(process: Any, period: int, share: float) -> int:
    return int((process.survival(2000, period=period) <= 1 - share).argmax())


# Closed forms


def test_quantiles_are_the_first_epochs_at_which_the_share_has_passed() -> None:
    curves = np.array([[1.0, 0.75, 0.5, 0.5, 0.25, 0.1], [1.0, 1.0, 1.0, 0.9, 0.6, 0.51]]).T
    for share, epochs in ((0.1, [1, 3]), (0.25, [1, 4]), (0.5, [2, 6]), (0.51, [4, 6]), (0.9, [5, 6]), (0.95, [6, 6])):
        assert quantile_epochs(curves, share).tolist() == epochs
    geometric: Any = (0.9 ** np.arange(100))[:, None]
    for share in (0.3, 0.5, 0.9, 0.99):
        assert quantile_epochs(geometric, share)[0] == int(np.ceil(np.log(1 - share) / np.log(0.9)))


# Laws


@given(curve=falling, share=st.floats(0.01, 0.99), unit=st.integers(2, 4))
def test_quantiles_scale_with_the_unit_of_time_and_rise_with_the_share(curve: Any, share: float, unit: int) -> None:
    (at,) = quantile_epochs(curve, share)
    finer = np.repeat(curve, unit, axis=0)[unit - 1 :]
    if at < len(curve):
        assert quantile_epochs(finer, share)[0] == unit * (at - 1) + 1
        assert curve[at, 0] <= 1 - share + 1e-9 < curve[at - 1, 0] + 2e-9
    assert quantile_epochs(curve, share / 2)[0] <= at


@every_process
def test_it_is_one_with_the_prediction_of_the_mean(process: Any) -> None:
    study = studied(process, n_runs=200)
    ranking = recommend(study, [10, 20, 60])
    for one, prediction in zip(distributions(study, ranking, budgets=[30]), ranking.predictions, strict=True):
        assert one.prediction is prediction
        assert one.survival[:-1].sum() == pytest.approx(prediction.centre)
        assert (np.diff(one.survival) <= 1e-12).all()
        assert (one.low <= one.survival + 1e-12).all()
        assert (one.survival <= one.high + 1e-12).all()
        assert {"survival", "quantiles"} <= one.to_dict().keys()
        (success,) = one.successes
        assert success.probability.low <= success.probability.mean <= success.probability.high
        for quantile in one.quantiles:
            assert quantile.epoch is None or quantile.low <= quantile.epoch <= (quantile.high or quantile.epoch)


def test_the_further_a_period_is_the_wider_is_the_interval_of_what_comes_after() -> None:
    results = [(d, d.prediction.period or 0) for d in distributed(studied(KICK), [20, 25, 40])]
    widths = [float((d.high - d.low)[period + 1 :].max() / d.survival[period]) for d, period in results]
    assert widths[0] < widths[1] < widths[2]


# Samples


@pytest.mark.parametrize(
    ("process", "period"), [(DELAYED, 20), (DELAYED, 50), (KICK, 10), (KICK, 20), (MIXTURE, 40), (CHAIN, 40)]
)
def test_the_interval_holds_the_truth(process: Any, period: int) -> None:
    (result,) = distributed(studied(process, n_runs=2000, level=0.99, seed=2), [period], budgets=[10, 40, 80])
    truth = process.survival(150, period=period)
    assert ((truth < result.low) | (truth > result.high)).mean() < 0.1
    if process in (DELAYED, KICK):
        np.testing.assert_allclose(result.survival, truth, atol=0.04)
    for quantile in result.quantiles:
        exact = exact_quantile(process, period, quantile.share)
        assert quantile.low <= exact
        assert quantile.high is None or exact <= quantile.high
    for success in result.successes:
        assert success.probability.low <= 1 - truth[success.budget] <= success.probability.high


def test_full_restart_and_no_perturbation_need_no_perturbed_run() -> None:
    study = Study(sampled(RESET, 1, n_runs=2000), {}, RESET.threshold, n_boot=200)
    for one in distributions(study, recommend(study, [30])):
        np.testing.assert_allclose(one.survival, RESET.survival(150, period=one.prediction.period), atol=0.04)


def test_a_quantile_beyond_the_horizon_is_no_number() -> None:
    study = studied(DELAYED, horizon=61)
    (result,) = distributed(study, [60], quantiles=[0.05, 0.5, 0.9])
    early, median, late = result.quantiles
    assert early.epoch is not None
    assert exact_quantile(DELAYED, 60, 0.05) == pytest.approx(early.epoch, abs=3)
    for quantile in (median, late):
        assert (quantile.epoch, quantile.low, quantile.high) == (None, 62, None)
        assert exact_quantile(DELAYED, 60, quantile.share) >= quantile.low
    # Near the horizon only the upper end is open.
    (near,) = distributed(study, [60], quantiles=[1 - float(result.survival[60]) - 0.001])[0].quantiles
    assert near.epoch is not None
    assert near.low <= near.epoch
    assert near.high is None


def test_what_nobody_did_is_not_impossible() -> None:
    (result,) = distributed(studied(DELAYED, n_runs=100), [20], budgets=[0, 5, 150])
    at_once, silent, late = (success.probability for success in result.successes)
    assert (at_once.low, at_once.mean, at_once.high) == (0, 0, 0)
    assert (silent.low, silent.mean) == (0, 0)
    assert silent.high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert (late.mean, late.high) == (1, 1)
    assert 0.95 < late.low < 0.98


def test_of_one_survivor_the_possible_range_is_known() -> None:
    study = studied(DELAYED, period=75, n_runs=2, seed=4)
    (result,) = (
        d
        for d in distributions(study, recommend(study, [40]))
        if d.prediction.source == 75 and d.prediction.period == 40
    )
    assert result.prediction.grade == "open"
    assert result.high[-1] > 0.9
    assert result.low[-1] < 0.1


def test_intervals_cover() -> None:
    truth, hits, periods = DELAYED.survival(80, period=40), np.zeros((2, 3)), [20, 40]
    median = exact_quantile(DELAYED, 40, 0.5)
    for seed in range(30):
        for i, at in enumerate(periods):
            study = studied(DELAYED, period=at, seed=seed, n_runs=150, horizon=80, n_boot=150, level=0.9)
            (result,) = distributed(study, [40], budgets=[30, 50])
            hits[i, :2] += [s.probability.low <= 1 - truth[s.budget] <= s.probability.high for s in result.successes]
            quantile = result.quantiles[0]
            hits[i, 2] += quantile.low <= median and (quantile.high is None or median <= quantile.high)
    assert (hits >= 22).all()  # 0.9 of 30 within three standard errors
    assert hits[1, :2].mean() < 30  # as a measurement it is not so wide that it could never miss


# The real thing


@pytest.mark.published
@pytest.mark.parametrize(("name", "threshold"), [("shrink_perturb", 72), ("partial_reset", 74)])
def test_published_medians_and_budgets_at_another_period(name: Any, threshold: float) -> None:
    study = Study(published.unperturbed(), {(name, 50): published.perturbed(name, 50)}, threshold, n_boot=200)
    (result,) = distributed(study, [20], quantiles=[0.25, 0.5, 0.75, 0.9], budgets=[22, 30, 60])
    times = first_passage(published.perturbed(name, 20), threshold)
    for quantile in result.quantiles:
        measured = np.quantile(times.time, quantile.share, method="inverted_cdf")
        assert quantile.epoch == pytest.approx(measured, abs=max(2, 0.1 * measured))
        assert quantile.low <= measured + 1
        assert quantile.high is None or measured <= quantile.high + 1
    for success in result.successes:
        assert success.probability.mean == pytest.approx(np.mean(times.time <= success.budget), abs=0.12)
        assert success.probability.low - 0.05 < np.mean(times.time <= success.budget) < success.probability.high + 0.05


# What is refused


def test_what_is_refused() -> None:
    study = studied(KICK, n_runs=50)
    with pytest.raises(InputError, match=r"quantile 1\.0 is not between 0 and 1"):
        distributed(study, [20], quantiles=[1.0])
    with pytest.raises(InputError, match="budget 151 is not between 0 and the horizon 150"):
        distributed(study, [20], budgets=[151])


# Final and best metric


def test_final_and_best_metric_by_hand() -> None:
    runs = Trajectories(metrics={"m": np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 0.0]])}, run=np.arange(2))
    other = dataclasses.replace(runs, run=np.arange(10, 12))
    study = Study(runs, {("kick", 1): other}, Target(3.0, metric="m"), n_boot=50)
    result = final_metrics(study)
    assert list(result) == ["without perturbation", "kick every 1 epochs"]
    whole = result["without perturbation"]
    assert not isinstance(whole, str)
    assert (whole.final.mean, whole.best.mean, whole.horizon) == (1.0, 2.5, 3)
    assert whole.final.low <= 1.0 <= whole.final.high
    assert whole.to_dict()["best"]["mean"] == whole.to_frame()["best"][0] == 2.5
    below = final_metrics(Study(runs.head(epochs=2), {}, Target(0.5, "below", "m"), n_boot=50))["without perturbation"]
    assert not isinstance(below, str)
    assert (below.final.mean, below.best.mean, below.horizon) == (2.5, 1.5, 2)


def test_final_metrics_that_are_not_known_have_a_reason() -> None:
    runs = Trajectories(metrics={"m": np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 0.0], [1.0, 1.0, 1.0]])}, run=np.arange(3))
    target = Target(3.0, metric="m")
    for given_runs, reason in (
        (retire(runs, target), "followed to epoch 3"),
        (first_passage(runs, target), "first-passage times"),
    ):
        assert reason in str(final_metrics(Study(given_runs, {}, target, n_boot=50))["without perturbation"])
