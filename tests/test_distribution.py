"""Predicted distributions against the exact ones: survival, quantiles, probability to pass within a budget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import published
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.former import Distribution, distribution, predict
from fptlib.former.distribution import quantile_epochs
from fptlib.former.verdicts import Status
from known import DELAYED, KICK, RESET, sampled

falling = st.lists(st.floats(0, 1), min_size=3, max_size=30).map(lambda factors: np.cumprod([1.0, *factors])[None])


def distributed(
    process: Any,
    periods: list[int],
    *,
    period: int = 20,
    seed: int = 0,
    n_runs: int = 1000,
    horizon: int = 150,
    quantiles: Any = (0.5, 0.9),
    budgets: Any = (),
    **more: Any,
) -> tuple[Distribution, ...]:
    plain, kicked = (sampled(process, seed, n_runs=n_runs, horizon=horizon, period=p) for p in (None, period))
    options = {"period": period, "threshold": process.threshold, "periods": periods, "n_boot": 200} | more
    return distribution(predict(plain, kicked, **options), quantiles=quantiles, budgets=budgets)


def exact_quantile(process: Any, period: int, share: float) -> int:
    return int((process.survival(2000, period=period) <= 1 - share).argmax())


# Closed forms


def test_quantiles_are_the_first_epochs_at_which_the_share_has_passed() -> None:
    curves = np.array([[1.0, 0.75, 0.5, 0.5, 0.25, 0.1], [1.0, 1.0, 1.0, 0.9, 0.6, 0.51]])
    for share, epochs in ((0.1, [1, 3]), (0.25, [1, 4]), (0.5, [2, 6]), (0.51, [4, 6]), (0.9, [5, 6]), (0.95, [6, 6])):
        assert quantile_epochs(curves, share).tolist() == epochs


def test_a_geometric_time_has_the_quantiles_of_its_law() -> None:
    curve: Any = (0.9 ** np.arange(100))[None]
    for share in (0.3, 0.5, 0.9, 0.99):
        assert quantile_epochs(curve, share)[0] == int(np.ceil(np.log(1 - share) / np.log(0.9)))


# Laws


@given(curve=falling, share=st.floats(0.01, 0.99), unit=st.integers(2, 4))
def test_quantiles_scale_with_the_unit_of_time_and_rise_with_the_share(curve: Any, share: float, unit: int) -> None:
    (at,) = quantile_epochs(curve, share)
    finer = np.repeat(curve, unit, axis=1)[:, unit - 1 :]
    if at < curve.shape[1]:
        assert quantile_epochs(finer, share)[0] == unit * (at - 1) + 1
        assert curve[0, at] <= 1 - share + 1e-9 < curve[0, at - 1] + 2e-9
    assert quantile_epochs(curve, share / 2)[0] <= at


# Samples


@pytest.mark.parametrize(
    ("process", "period", "form"), [(DELAYED, 20, 2), (DELAYED, 50, 2), (KICK, 5, 7), (KICK, 10, 7), (KICK, 20, 2)]
)
def test_the_distribution_holds_the_truth(process: Any, period: int, form: int) -> None:
    (found,) = distributed(process, [period], n_runs=2000, level=0.99, budgets=[10, 40, 80], seed=2)
    assert found.prediction.form == form
    truth = process.survival(150, period=period)
    assert ((truth < found.low) | (truth > found.high)).mean() < 0.1
    np.testing.assert_allclose(found.survival, truth, atol=0.04)
    for quantile in found.quantiles:
        exact = exact_quantile(process, period, quantile.share)
        assert quantile.high is not None
        assert quantile.low <= exact <= quantile.high
    for success in found.successes:
        assert success.probability.low <= 1 - truth[success.budget] <= success.probability.high


def test_it_is_one_with_the_prediction_of_the_mean() -> None:
    plain, at_20, at_60 = (sampled(KICK, 0, n_runs=1000, period=p) for p in (None, 20, 60))
    told = predict(plain, at_20, period=20, threshold=0.5, periods=[10, 60], others={60: at_60}, n_boot=200)
    found = distribution(told)
    assert tuple(d.prediction for d in found) == told.predictions  # those of all measured periods
    assert (found[0].n_runs, found[0].n_censored) == (told.residual.n_runs, told.residual.n_censored)
    assert found[1].n_runs == int(first_passage(at_60, 0.5).running(60).sum())  # who tell of their own period
    for one in found:
        assert one.survival[:-1].sum() == pytest.approx(one.prediction.mean)
        assert one.survival[-1] == one.prediction.running
        assert (np.diff(one.survival) <= 1e-12).all()
        assert (one.low <= one.survival + 1e-12).all()
        assert (one.survival <= one.high + 1e-12).all()


def test_full_restart_needs_no_perturbed_run() -> None:
    (found,) = distributed(RESET, [30], period=40, n_runs=2000, form="4", seed=1, budgets=[60])
    np.testing.assert_allclose(found.survival, RESET.survival(150, period=30), atol=0.04)


def test_a_quantile_beyond_the_horizon_is_no_number() -> None:
    (found,) = distributed(DELAYED, [60], horizon=61, period=20, quantiles=[0.05, 0.5, 0.9])
    early, median, late = found.quantiles
    assert early.epoch is not None
    assert exact_quantile(DELAYED, 60, 0.05) == pytest.approx(early.epoch, abs=3)
    for quantile in (median, late):
        assert (quantile.epoch, quantile.low, quantile.high) == (None, 62, None)
        assert exact_quantile(DELAYED, 60, quantile.share) >= quantile.low
    # near the horizon only the upper end is open
    share = 1 - float(found.survival[60]) - 0.001
    (near,) = distributed(DELAYED, [60], horizon=61, period=20, quantiles=[share])[0].quantiles
    assert near.epoch is not None
    assert near.low <= near.epoch
    assert near.high is None


def test_what_nobody_did_is_not_impossible() -> None:
    (found,) = distributed(DELAYED, [20], n_runs=100, budgets=[0, 5, 150])
    at_once, silent, late = (success.probability for success in found.successes)
    assert (at_once.low, at_once.mean, at_once.high) == (0, 0, 0)
    assert (silent.low, silent.mean) == (0, 0)
    assert silent.high == pytest.approx(1 - 0.025 ** (1 / 100))
    assert (late.mean, late.high) == (1, 1)
    assert 0.95 < late.low < 0.98


def test_intervals_cover() -> None:
    truth, hits = DELAYED.survival(80, period=40), np.zeros(3)
    median = exact_quantile(DELAYED, 40, 0.5)
    for seed in range(40):
        (found,) = distributed(
            DELAYED, [40], seed=seed, n_runs=150, horizon=80, n_boot=150, level=0.9, budgets=[30, 50]
        )
        hits[:2] += [s.probability.low <= 1 - truth[s.budget] <= s.probability.high for s in found.successes]
        quantile = found.quantiles[0]
        hits[2] += quantile.low <= median and (quantile.high is None or median <= quantile.high)
    assert (hits >= 30).all()  # 0.9 of 40 within three standard errors
    assert hits[:2].mean() < 40


# The real thing


@pytest.mark.slow
@pytest.mark.published
@pytest.mark.parametrize(("name", "threshold", "form"), [("shrink_perturb", 72, 2), ("partial_reset", 74, 7)])
def test_published_medians_and_budgets_at_another_period(name: Any, threshold: float, form: int) -> None:
    runs = published.unperturbed(), published.perturbed(name, 50)
    told = predict(*runs, period=50, threshold=threshold, periods=[20], n_boot=500)
    (found,) = distribution(told, quantiles=[0.25, 0.5, 0.75, 0.9], budgets=[22, 30, 60])
    assert found.prediction.form == form
    times = first_passage(published.perturbed(name, 20), threshold)
    for quantile in found.quantiles:
        measured = np.quantile(times.time, quantile.share, method="inverted_cdf")
        assert quantile.epoch == pytest.approx(measured, abs=max(2, 0.1 * measured))
    for success in found.successes:
        assert success.probability.mean == pytest.approx(np.mean(times.time <= success.budget), abs=0.12)
    assert found.prediction.verdict.status is not Status.NOT_VALID


# What is refused


def test_what_is_refused() -> None:
    for more, message in (
        ({"quantiles": [1.0]}, r"quantile 1\.0 is not between 0 and 1"),
        ({"budgets": [151]}, "budget 151 is not between 0 and the horizon 150"),
    ):
        with pytest.raises(InputError, match=message):
            distributed(KICK, [20], n_runs=50, **more)
