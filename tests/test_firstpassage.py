"""First-passage times under censoring: hand-checkable, laws, SciPy as oracle, and intervals that cover."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps
from scipy import stats

from fptlib.errors import InputError
from fptlib.firstpassage import (
    Estimate,
    FirstPassageTimes,
    first_passage,
    hazard,
    ratio,
    require_passage,
    residual_times,
    restricted_mean,
    survival,
)
from fptlib.firstpassage.estimates import binomial_interval, contributions, survival_curves
from fptlib.firstpassage.resampling import bootstrap_weights, percentile_interval, weighted_slope
from fptlib.processes import GeometricWithKick
from fptlib.trajectories import Target, Trajectories, retire

directions = st.sampled_from(["above", "below"])
metrics = nps.arrays(
    np.float64, st.tuples(st.integers(1, 8), st.integers(1, 10)), elements=st.floats(-3, 3, allow_subnormal=False)
)
# Runs with their own horizons: the times and which of them are passages.
censored = st.lists(st.tuples(st.integers(1, 15), st.booleans()), min_size=1, max_size=25)


def record(values: Any, *, ends: Any = None) -> Trajectories:
    """Return trajectories with one metric, each followed to its own end."""
    values = np.asarray(values, dtype=float)
    if ends is not None:
        values = np.where(np.arange(values.shape[1]) < np.asarray(ends)[:, None], values, np.nan)
    followed = None if ends is None else np.asarray(ends)
    return Trajectories(metrics={"metric": values}, run=np.arange(len(values)), followed=followed)


def times_of(pairs: list[tuple[int, bool]]) -> FirstPassageTimes:
    """Return first-passage times from pairs of time and whether it is a passage."""
    time, observed = zip(*pairs, strict=True)
    return FirstPassageTimes(time=np.array(time), observed=np.array(observed), run=np.arange(len(pairs)))


def geometric(
    rng: np.random.Generator, *, p: float, horizon: int, n_runs: int, lost: float | None = None
) -> FirstPassageTimes:
    """Draw geometric times, censored at one horizon; where ``lost`` is given a run is lost after each epoch with this probability."""
    time = rng.geometric(p, n_runs)
    ends = np.full(n_runs, horizon) if lost is None else np.minimum(horizon, rng.geometric(lost, n_runs))
    return FirstPassageTimes(time=np.minimum(time, ends), observed=time <= ends, run=np.arange(n_runs))


# Closed forms


def test_four_runs_by_hand() -> None:
    times = first_passage(record([[1, 3, 0, 0], [3, 0, 0, 0], [0, 1, 2, 2.9], [0, 0, 0, 3]]), 3)
    assert times.time.tolist() == [2, 1, 4, 4]
    assert times.observed.tolist() == [True, True, False, True]
    assert (times.n_runs, times.n_censored, times.horizon) == (4, 1, 4)
    assert [int(times.running(epoch).sum()) for epoch in range(5)] == [4, 3, 2, 2, 1]
    np.testing.assert_allclose(survival(times).survival, [1, 3 / 4, 2 / 4, 2 / 4, 1 / 4])
    assert restricted_mean(times, n_boot=10).mean == pytest.approx((2 + 1 + 4 + 4) / 4)


def test_a_run_censored_early_counts_as_long_as_it_was_followed() -> None:
    # 4 at risk at epoch 2, one of them passes; the run censored there leaves 2, one of which passes at epoch 5.
    times = times_of([(2, True), (2, False), (5, True), (5, False)])
    np.testing.assert_allclose(survival(times).survival, [1, 1, 3 / 4, 3 / 4, 3 / 4, 3 / 8])
    bins = hazard(times, width=2)
    assert bins.first.tolist() == [1, 3, 5]
    assert bins.last.tolist() == [2, 4, 5]
    np.testing.assert_allclose(bins.hazard, [1 / 8, 0, 1 / 2])


def test_a_run_that_ended_early_is_censored_at_its_own_end() -> None:
    values = [[1, 3, 0, 0], [0, 0, 3, 3], [0, 1, 2, 2.9], [0, 0, 0, 3]]
    times = first_passage(record(values, ends=[3, 2, 4, 1]), 3)
    assert times.time.tolist() == [2, 2, 4, 1]
    assert times.observed.tolist() == [True, False, False, False]
    assert [times.running(epoch).tolist() for epoch in (1, 2)] == [[True] * 4, [False, True, True, False]]
    # 3 at risk at epoch 2, where one passes; nobody afterwards.
    np.testing.assert_allclose(survival(times).survival, [1, 1, 2 / 3, 2 / 3, 2 / 3])


def test_the_horizon_that_enough_runs_reach() -> None:
    # Nobody passes: the half of the runs that is longest.
    never = times_of([(k, False) for k in (10, 20, 30, 40)])
    assert [never.supported(limit) for limit in (50, 40, 30, 10)] == [30, 30, 30, 10]
    assert times_of([(10, False), (10, False), (40, False)]).supported(40) == 10
    # One of 10 is lost at epoch 2, before most of the others pass: the one that is left speaks for 1.1 of them.
    passing = [(2, False), *[(k, True) for k in range(3, 11)], (20, False)]
    assert times_of(passing).supported(20) == 20
    assert times_of([(3, True), (5, True)]).supported(20) == 20  # all is known of all
    estimate = restricted_mean(never, n_boot=20)
    assert (estimate.mean, estimate.low, estimate.high) == (30, 30, 30)
    assert restricted_mean(never, horizon=40, n_boot=20).mean == 40


def test_residual_times_by_hand() -> None:
    left = residual_times(times_of([(2, True), (3, False), (5, True), (9, False)]), period=3)
    assert left.time.tolist() == [2, 6]
    assert left.observed.tolist() == [True, False]
    assert left.run.tolist() == [2, 3]


def test_slope_and_mean_of_a_line_under_weights() -> None:
    x, weights = np.array([1.0, 2.0, 4.0]), np.array([[1, 1, 1], [2, 0, 1], [3, 0, 0]], dtype=np.float32)
    slope, mean = weighted_slope(x, 5 - 2 * x, weights)
    np.testing.assert_allclose(slope, [-2, -2, 0], atol=1e-12)  # one distinct value has no slope
    np.testing.assert_allclose(mean, [7 / 3, 2, 1])


# Laws


@given(values=metrics, low=st.floats(-3, 3), more=st.floats(0, 3), direction=directions)
def test_a_harder_threshold_is_never_reached_earlier(
    values: Any, low: float, more: float, direction: Literal["above", "below"]
) -> None:
    harder = low + more if direction == "above" else low - more
    easy, hard = (first_passage(record(values), Target(at, direction=direction)) for at in (low, harder))
    assert (hard.time >= easy.time).all()
    assert (hard.observed <= easy.observed).all()
    for epoch in range(values.shape[1] + 1):
        assert (hard.running(epoch) >= easy.running(epoch)).all()


@given(values=metrics, threshold=st.floats(-3, 3))
def test_below_a_metric_is_above_its_negative(values: Any, threshold: float) -> None:
    below = first_passage(record(values), Target(threshold, direction="below"))
    above = first_passage(record(-values), Target(-threshold, direction="above"))
    np.testing.assert_array_equal(below.time, above.time)
    np.testing.assert_array_equal(below.observed, above.observed)


@given(values=metrics, threshold=st.floats(-3, 3), easier=st.floats(0, 3), direction=directions)
def test_retired_runs_pass_when_they_would_have_passed(
    values: Any, threshold: float, easier: float, direction: Literal["above", "below"]
) -> None:
    level = threshold - easier if direction == "above" else threshold + easier
    cut = retire(record(values), Target(threshold, direction=direction, metric="metric"))
    retired, whole = (first_passage(runs, Target(level, direction=direction)) for runs in (cut, record(values)))
    np.testing.assert_array_equal(retired.time, whole.time)
    np.testing.assert_array_equal(retired.observed, whole.observed)


@given(pairs=censored)
def test_survival_never_rises_and_lies_in_its_interval(pairs: list[tuple[int, bool]]) -> None:
    curve = survival(times_of(pairs))
    assert curve.survival[0] == 1
    assert curve.epoch.tolist() == list(range(max(t for t, _ in pairs) + 1))
    assert (np.diff(curve.survival) <= 1e-12).all()
    assert (curve.survival >= 0).all()
    assert (curve.low <= curve.survival + 1e-12).all()
    assert (curve.survival <= curve.high + 1e-12).all()
    assert np.isfinite(curve.low).all()
    assert np.isfinite(curve.high).all()


@given(pairs=censored)
def test_restricted_mean_grows_with_the_horizon_by_the_survival(pairs: list[tuple[int, bool]]) -> None:
    times = times_of(pairs)
    means = [restricted_mean(times, horizon=h, n_boot=2).mean for h in range(1, times.horizon + 1)]
    np.testing.assert_allclose(np.diff([0.0, *means]), survival(times).survival[:-1], atol=1e-12)


@given(values=metrics, threshold=st.floats(-3, 3), data=st.data())
def test_an_earlier_end_changes_no_passage_before_it_and_claims_nothing_after(
    values: Any, threshold: float, data: st.DataObject
) -> None:
    n_runs, n_epochs = values.shape
    ends = np.array(data.draw(st.lists(st.integers(1, n_epochs), min_size=n_runs, max_size=n_runs)))
    whole, cut = (first_passage(record(values, ends=at), threshold) for at in (None, ends))
    np.testing.assert_array_equal(cut.time, np.minimum(whole.time, ends))
    np.testing.assert_array_equal(cut.observed, whole.observed & (whole.time <= ends))
    for epoch in range(n_epochs + 1):
        np.testing.assert_array_equal(cut.running(epoch), whole.running(epoch) & (ends >= epoch))


@given(pairs=censored)
def test_up_to_the_supported_horizon_no_run_speaks_for_more_than_one_other(pairs: list[tuple[int, bool]]) -> None:
    times = times_of(pairs)
    limit = times.supported(times.horizon)
    curve = survival(times).survival

    def share(k: int) -> float:  # of a run followed to epoch k, in the estimate of those running just before it
        n_there = int((times.time >= k).sum())
        return float(times.n_runs * curve[k - 1] / n_there) if n_there else (np.inf if curve[k - 1] > 0 else 1.0)

    assert share(limit) <= 2 + 1e-9
    assert limit == times.horizon or share(limit + 1) > 2 - 1e-9
    assert times.supported(1) == 1


@given(pairs=censored, horizon=st.integers(1, 15))
def test_contributions_average_to_the_restricted_mean_and_are_the_times_where_these_are_known(
    pairs: list[tuple[int, bool]], horizon: int
) -> None:
    times = times_of(pairs)
    horizon = min(horizon, times.supported(times.horizon))
    each = contributions(times, horizon=horizon)
    known = times.observed | (times.time >= horizon)
    if known.all():
        np.testing.assert_array_equal(each, np.minimum(times.time, horizon))
        assert each.mean() == pytest.approx(restricted_mean(times, horizon=horizon, n_boot=2).mean)
    for fate in {
        (int(t), bool(o)) for t, o in zip(times.time, times.observed, strict=True)
    }:  # runs of one fate contribute alike
        assert np.ptp(each[(times.time == fate[0]) & (times.observed == fate[1])]) < 1e-9


@given(pairs=censored, width=st.integers(1, 20))
def test_hazard_bins_hold_every_passage_and_every_epoch_at_risk_once(pairs: list[tuple[int, bool]], width: int) -> None:
    times = times_of(pairs)
    bins = hazard(times, width=width)
    assert bins.n_passed.sum() == times.observed.sum()
    ends = zip(bins.first, bins.last, strict=True)
    followed = [(np.minimum(times.time, last) - np.minimum(times.time, first - 1)).sum() for first, last in ends]
    assert sum(followed) == times.time.sum()
    np.testing.assert_allclose(bins.hazard * followed, bins.n_passed, atol=1e-9)
    assert (bins.low <= bins.hazard).all()
    assert (bins.hazard <= bins.high).all()


@given(pairs=censored, period=st.integers(1, 14))
def test_mean_is_the_restricted_mean_plus_the_survivors_residual(pairs: list[tuple[int, bool]], period: int) -> None:
    times = times_of(pairs)
    if not (times.time > period).any():
        with pytest.raises(InputError, match="no run is still below the threshold"):
            residual_times(times, period=period)
        return
    curve, left = survival(times).survival, survival(residual_times(times, period=period)).survival
    np.testing.assert_allclose(curve[period:], curve[period] * left, atol=1e-12)


@given(sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4), n_boot=st.integers(1, 20), data=st.data())
def test_bootstrap_replicates_keep_the_size_of_every_stratum(
    sizes: list[int], n_boot: int, data: st.DataObject
) -> None:
    order = np.array(data.draw(st.permutations(range(sum(sizes)))))
    strata = np.split(order, np.cumsum(sizes)[:-1])
    weights = bootstrap_weights(strata, n_boot=n_boot, rng=np.random.default_rng(0))
    assert weights.shape == (1 + n_boot, sum(sizes))
    assert (weights[0] == 1).all()  # the data
    assert (weights >= 0).all()
    for members in strata:
        np.testing.assert_array_equal(weights[:, members].sum(axis=1), len(members))


@given(pairs=censored)
def test_weights_act_like_repeated_runs(pairs: list[tuple[int, bool]]) -> None:
    times = times_of(pairs)
    weights = np.arange(times.n_runs) % 3
    weights[0] += 1
    repeated = times_of([pair for pair, weight in zip(pairs, weights, strict=True) for _ in range(weight)])
    curve = survival_curves(times, weights[None].astype(np.float32), horizon=times.horizon)[0]
    np.testing.assert_allclose(curve[: repeated.horizon + 1], survival(repeated).survival, atol=1e-12)


# Limits


def test_where_all_runs_were_lost_nothing_is_known() -> None:
    times = times_of([(2, True), (3, False), (6, False)])
    weights = np.array([[1, 1, 1], [1, 1, 0], [3, 0, 0]], dtype=np.float32)
    curves = survival_curves(times, weights)
    np.testing.assert_allclose(curves[0], [1, 1, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3])
    np.testing.assert_allclose(curves[1], [1, 1, 1 / 2, 1 / 2, np.nan, np.nan, np.nan])
    np.testing.assert_allclose(curves[2], [1, 1, 0, 0, 0, 0, 0])  # nobody is left to be lost


def test_runs_of_which_none_was_retired_may_be_asked_anything() -> None:
    runs = retire(record([[1, 2], [2, 1]]), Target(3, metric="metric"))
    assert first_passage(runs, 9).n_censored == 2
    assert first_passage(runs, Target(1, direction="below")).time.tolist() == [1, 2]


def test_without_a_passage_the_survival_is_one_and_the_mean_is_the_horizon() -> None:
    times = first_passage(record(np.zeros((20, 7))), 1)
    curve, mean = survival(times), restricted_mean(times)
    assert (curve.survival == 1).all()
    assert mean.mean == mean.low == mean.high == 7
    assert mean.n_censored == 20
    # None of 20: the exact interval ends at 0.025 ** (1 / 20).
    np.testing.assert_allclose(curve.low, [1, *[0.025 ** (1 / 20)] * 7])


def test_where_all_have_passed_the_interval_is_that_of_none_of_all_runs() -> None:
    times = first_passage(record(np.triu(np.ones((20, 30)))), 1)
    assert survival(times).survival[-1] == 0
    assert survival(times).high[-1] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_percentiles_leave_out_what_is_not_finite() -> None:
    assert percentile_interval(np.array([1.0, np.inf, 3.0, np.nan]), 0.5) == (1.5, 2.5)
    assert np.isnan(percentile_interval(np.array([np.nan]), 0.5)).all()


# Oracles


@pytest.mark.parametrize("lost", [None, 0.02], ids=["one horizon", "ends of their own"])
@pytest.mark.parametrize("horizon", [15, 30])
def test_bootstrap_intervals_cover_the_exact_mean_as_often_as_they_say(horizon: int, lost: float | None) -> None:
    exact, hits, repeats = GeometricWithKick(hazard=0.05, kick=0.05).restricted_mean(horizon=horizon), 0, 200
    rng = np.random.default_rng(horizon)
    for seed in range(repeats):
        times = geometric(rng, p=0.05, horizon=horizon, n_runs=50, lost=lost)
        estimate = restricted_mean(times, horizon=horizon, n_boot=150, level=0.9, seed=seed)
        hits += estimate.low <= exact <= estimate.high
    # Binomial with 0.9 within four standard errors; a percentile interval from 50 runs falls short by a little.
    assert stats.binom.ppf(1e-4, repeats, 0.87) <= hits <= stats.binom.ppf(1 - 1e-4, repeats, 0.92)


def test_a_slope_is_found_though_runs_are_lost() -> None:
    # Half the runs pass three times as fast. Regressing the times as they were recorded would give half the difference.
    rng = np.random.default_rng(0)
    x, n_runs = np.repeat([0.0, 1.0], 4000), 8000
    time, ends = rng.geometric(np.where(x == 0, 0.02, 0.06)), np.minimum(rng.geometric(0.03, n_runs), 60)
    times = FirstPassageTimes(time=np.minimum(time, ends), observed=time <= ends, run=np.arange(n_runs))
    horizon = 30
    assert times.supported(60) < 60
    exact = np.diff([GeometricWithKick(hazard=h, kick=h).restricted_mean(horizon=horizon) for h in (0.02, 0.06)])[0]
    weights = np.ones((1, n_runs), dtype=np.float32)
    slope, _ = weighted_slope(x, contributions(times, horizon=horizon), weights)
    naive, _ = weighted_slope(x, np.minimum(times.time, horizon).astype(float), weights)
    assert slope[0] == pytest.approx(exact, abs=0.8)
    assert abs(naive[0]) < 0.7 * abs(exact)


@pytest.mark.parametrize("seed", range(4))
def test_survival_and_hazard_agree_with_scipy(seed: int) -> None:
    times = geometric(np.random.default_rng(seed), p=0.07, horizon=30, n_runs=80, lost=0.03)
    curve, bins = survival(times, level=0.9), hazard(times, width=4, level=0.9)
    oracle = stats.ecdf(stats.CensoredData.right_censored(times.time.astype(float), ~times.observed)).sf
    interval = oracle.confidence_interval(0.9, method="log-log")
    inside = (curve.survival < 1) & (curve.survival > 0)
    assert np.array_equal(curve.survival, oracle.evaluate(curve.epoch))
    for own, other in ((curve.low, interval.low), (curve.high, interval.high)):
        assert own[inside] == pytest.approx(other.evaluate(curve.epoch[inside]), rel=1e-12)
    spans = zip(bins.first, bins.last, strict=True)
    exposed = [np.clip(np.minimum(times.time, last) - first + 1, 0, None).sum() for first, last in spans]
    pairs = zip(bins.n_passed, exposed, strict=True)
    exact = [stats.binomtest(int(k), int(n)).proportion_ci(0.9, "exact") for k, n in pairs]
    assert bins.low == pytest.approx([each.low for each in exact], abs=1e-11)
    assert bins.high == pytest.approx([each.high for each in exact], abs=1e-11)


@pytest.mark.parametrize("passed", [0, 1, 30, 59, 60])
def test_the_exact_binomial_interval_is_that_of_the_beta_distribution(passed: int) -> None:
    low, high = binomial_interval(np.array([passed]), np.array([60]), 0.95)
    assert low[0] == pytest.approx(stats.beta.ppf(0.025, passed, 61 - passed) if passed else 0, rel=1e-12)
    assert high[0] == pytest.approx(stats.beta.ppf(0.975, passed + 1, 60 - passed) if passed < 60 else 1, rel=1e-12)
    assert stats.binom.cdf(passed, 60, high[0]) == pytest.approx(0.025 if passed < 60 else 1)


# Ratios


def test_the_interval_of_a_ratio_adds_distances_on_the_logarithmic_scale_as_squares() -> None:
    one, other = Estimate(8.0, 4.0, 16.0, 10, 3), Estimate(2.0, 2.0, 2.0, 20, 1, level=0.9)
    assert ratio(one, other) == Estimate(4.0, 2.0, 8.0, 10, 4)
    inverse = ratio(other, one)
    assert (inverse.mean, inverse.low, inverse.high, inverse.level) == pytest.approx((0.25, 0.125, 0.5, 0.9))
    both = ratio(one, Estimate(2.0, 1.0, 4.0, 20, 1))
    assert both.high / both.mean == pytest.approx(2 ** math.sqrt(2)) == pytest.approx(both.mean / both.low)
    for bad in (math.nan, 0.0, -1.0):
        half = ratio(one, Estimate(2.0, bad, 4.0, 20, 1))
        assert math.isnan(half.high)
        assert half.low == both.low
        assert math.isnan(ratio(one, Estimate(bad, 1.0, 4.0, 20, 1)).mean)


def test_the_interval_of_a_ratio_covers() -> None:
    rng, covered = np.random.default_rng(5), 0
    for seed in range(200):
        plain, perturbed = (geometric(rng, p=p, horizon=60, n_runs=40) for p in (0.05, 0.2))
        speedup = ratio(*(restricted_mean(t, horizon=60, n_boot=200, seed=seed) for t in (plain, perturbed)))
        truth = (1 - 0.95**60) / 0.05 / ((1 - 0.8**60) / 0.2)
        covered += speedup.low <= truth <= speedup.high
    assert 182 <= covered <= 199  # 95 % of 200 and three standard deviations, one run in twenty to spare


# What is refused


def test_bad_input_is_one_clear_line() -> None:
    runs, times = record([[0.1, 0.4]]), times_of([(3, True), (3, False)])
    sideways: Any = "sideways"
    with pytest.raises(InputError, match="direction 'sideways' is not known; choose above or below"):
        first_passage(runs, Target(1, direction=sideways))
    with pytest.raises(InputError, match="no metric 'loss'"):
        first_passage(runs, Target(1, metric="loss"))
    with pytest.raises(InputError, match="epochs counted from 1"):
        times_of([(0, True)])
    with pytest.raises(InputError, match="at least one run"):
        FirstPassageTimes(time=np.array([], int), observed=np.array([], bool), run=np.array([], int))
    with pytest.raises(InputError, match="one entry for each run"):
        FirstPassageTimes(time=np.array([1]), observed=np.array([True, False]), run=np.array([0]))
    for horizon in (0, 4):
        with pytest.raises(InputError, match=f"horizon {horizon} is not between 1 and 3"):
            restricted_mean(times, horizon=horizon)
    with pytest.raises(InputError, match="width of a hazard bin is 0"):
        hazard(times, width=0)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"threshold": 3.5}, "which says nothing of m above 3.5; ask for m above at most 3,"),
        ({"threshold": 3, "direction": "below"}, "which says nothing of m below 3"),
        ({"threshold": 1, "metric": "loss"}, "which says nothing of loss above 1"),
    ],
)
def test_runs_that_were_retired_say_nothing_of_what_they_were_not_followed_to(
    target: dict[str, Any], message: str
) -> None:
    values = np.array([[1.0, 3, 4], [0, 0, 0]])
    runs = Trajectories(metrics={"m": values, "loss": -values}, run=np.arange(2))
    cut = retire(runs, Target(3, metric="m"))
    with pytest.raises(InputError, match=r"^trajectories: runs were retired at m above 3, ") as refused:
        first_passage(cut, Target(**{"metric": "m", **target}))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    # Falling metrics have their harder thresholds below.
    falling = retire(runs, Target(-3, direction="below", metric="loss"))
    assert first_passage(falling, Target(-2, direction="below", metric="loss")).time.tolist() == [2, 3]
    with pytest.raises(InputError, match="ask for loss below at least -3"):
        first_passage(falling, Target(-4, direction="below", metric="loss"))


@pytest.mark.parametrize(("direction", "best"), [("above", "0.4"), ("below", "0.1")])
def test_a_threshold_that_nobody_reaches_is_refused_with_what_was_reached(
    direction: Literal["above", "below"], best: str
) -> None:
    values = np.array([[0.1, 0.4], [0.2, 0.3], [0.2, np.nan]])
    beyond = 0.5 if direction == "above" else 0.05
    with pytest.raises(InputError, match=rf"no run reaches the threshold {beyond} \({direction}\).* {best} \(logs\)"):
        require_passage(Target(beyond, direction), logs=values)
    require_passage(Target(beyond, direction), logs=values, other=np.array([[beyond]]))
    require_passage(Target(float(best), direction), logs=values)  # reaching it exactly counts
