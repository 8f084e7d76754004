"""Curves, intervals and grades: closed forms of known processes, laws, and what a prediction must not promise."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fptlib.firstpassage import Estimate, first_passage
from fptlib.processes import DelayedGeometric, Heterogeneous, Process
from fptlib.response import compare, predict
from fptlib.response.curves import conditional, cycles, extended, held, periodic, restarted, spliced
from fptlib.response.interval import GRADES, Interval, carried, reach, restart, sampling, source
from fptlib.response.results import Prediction, Ranking
from fptlib.study import Cause, Study
from fptlib.trajectories import Trajectories
from known import DELAYED, KICK, MIXTURE, RESET, TYPES, every_process, sampled

MANY = 10**9  # runs behind an exact curve
falling = st.lists(st.floats(0, 1), min_size=4, max_size=30).map(lambda factors: np.cumprod([1.0, *factors])[:, None])


def exact(process: Process, horizon: int, period: int | None = None) -> Any:
    """Return the exact survival as the only replicate, ``(horizon + 1, 1)``."""
    return process.survival(horizon, period=period)[:, None]


def restricted(curve: Any) -> float:
    """Return the restricted mean at the horizon of the first replicate."""
    return float(curve[:-1, 0].sum())


def ask(process: Any, at: int, periods: list[int] | None = None, *, seed: int = 0, **options: Any) -> Ranking:
    """Return predictions from samples of a process."""
    sizes = {name: options.pop(name) for name in ("n_runs", "horizon") if name in options}
    plain, kicked = (sampled(process, seed, period=p, **sizes) for p in (None, at))
    if options.pop("times_alone", False):
        plain, kicked = (first_passage(runs, process.threshold) for runs in (plain, kicked))
    study = Study(plain, {("kick", at): kicked}, process.threshold, **{"n_boot": 200, **options})
    return predict(study, periods)


# Closed forms


@every_process
@pytest.mark.parametrize("period", [4, 20, 59])
def test_a_measured_residual_time_is_exact_for_any_process(process: Process, period: int) -> None:
    curve = exact(process, 60 + period, period)
    whole = spliced(exact(process, 60), held(conditional(curve, period), 60 - period), period)
    np.testing.assert_allclose(whole, curve[:61], atol=1e-12)


@pytest.mark.parametrize("period", [12, 15, 20, 60, 100])
def test_one_perturbation_is_exact_where_the_residual_time_does_not_depend_on_the_period(period: int) -> None:
    residual = conditional(exact(DELAYED, 500, 20), 20)
    np.testing.assert_allclose(
        spliced(exact(DELAYED, 400), held(residual, 400 - period), period), exact(DELAYED, 400, period), atol=1e-12
    )


@pytest.mark.parametrize(("process", "period"), [(KICK, 1), (KICK, 5), (KICK, 20), (MIXTURE, 7), (MIXTURE, 20)])
def test_cycles_are_exact_where_a_perturbation_forgets_the_state_before_it(process: Process, period: int) -> None:
    survival, seen = exact(process, 300), cycles(exact(process, 60, 20), 20, MANY)
    curve = spliced(survival, periodic(seen, period, 300 - period, survival), period)
    np.testing.assert_allclose(curve, exact(process, 300, period), atol=1e-12)


def test_cycles_keep_the_differences_between_runs() -> None:
    survival, seen = exact(TYPES, 2000), cycles(exact(TYPES, 2000, 20), 20, MANY)
    assert f"{restricted(periodic(seen, 20, 1980, survival)):.2f}" == "34.98"
    assert f"{restricted(periodic(seen[:1], 20, 1980, survival)):.2f}" == "19.56"  # the first cycle alone


@pytest.mark.parametrize(("period", "mean"), [(10, "99.749"), (30, "52.764")])
def test_a_restart_needs_no_perturbed_run(period: int, mean: str) -> None:
    np.testing.assert_allclose(restarted(exact(RESET, 500), period), exact(RESET, 500, period), atol=1e-12)
    assert f"{restricted(restarted(exact(RESET, 6000), period)):.3f}" == mean


def test_beyond_an_observed_cycle_the_unperturbed_hazard_continues_it() -> None:
    survival = np.array([1.0, 0.9, 0.8, 0.6, 0.3, 0.2, 0.0])[:, None]
    cycle = np.array([1.0, 0.5])[:, None]
    by_hand = [1.0, 0.5, 0.5 * 0.2 / 0.3, 0.0]  # G_1(k) = G_1(1) S(3 + k) / S(3 + 1)
    np.testing.assert_allclose(extended(cycle, 1, 3, survival)[:, 0], by_hand)
    np.testing.assert_allclose(extended(cycle, 2, 3, survival)[:, 0], [1.0, 0.5, 0.5, 0.5])  # nobody is left: held


def test_cycles_end_where_the_horizon_cuts_them_and_are_pooled_where_few_runs_are_left() -> None:
    curve = exact(KICK, 50, 20)
    assert [len(c) - 1 for c in cycles(curve, 20, MANY)] == [20]  # the second is cut at epoch 50
    assert [len(c) - 1 for c in cycles(curve[:31], 20, MANY)] == [10]
    curve = exact(KICK, 200, 20)
    left = curve[::20, 0]  # at 0, 20, ..., 200
    for n_runs in (5, 20, 100, 1000):
        alone = 1 + sum(n_runs * s >= 100 for s in left[2:-1])
        seen, rest = cycles(curve, 20, n_runs), left[1 + alone : -1]
        pooled = n_runs * rest.sum() >= 10
        assert len(seen) == alone + pooled
        if pooled:
            np.testing.assert_allclose(seen[-1][-1, 0], left[2 + alone :].sum() / rest.sum())


# Laws


@given(survival=falling, tau=falling, data=st.data())
def test_every_way_gives_a_survival_function(survival: Any, tau: Any, data: st.DataObject) -> None:
    horizon = len(survival) - 1
    period, other = data.draw(st.integers(1, horizon)), data.draw(st.integers(1, horizon - 1))
    assume(survival[other, 0] > 0)
    seen = cycles(survival, other, 100)
    for curve in (
        spliced(survival, held(tau, horizon - period), period),
        restarted(survival, period),
        spliced(survival, periodic(seen, period, horizon - period, survival), period),
    ):
        assert curve.shape == survival.shape
        assert (np.diff(curve[:, 0]) <= 1e-12).all()
        np.testing.assert_array_equal(curve[: period + 1], survival[: period + 1])


@given(p=st.floats(0.01, 0.99), period=st.integers(1, 50), other=st.integers(1, 50))
def test_no_perturbation_that_matters_changes_a_memoryless_process(p: float, period: int, other: int) -> None:
    survival: Any = ((1 - p) ** np.arange(121))[:, None]
    np.testing.assert_allclose(restarted(survival, period), survival, atol=1e-12)
    seen = cycles(survival, other, MANY)
    # beyond the cycle that was seen, too: the unperturbed hazard is the same
    curve = spliced(survival, periodic(seen, period, 120 - period, survival), period)
    np.testing.assert_allclose(curve, survival, atol=1e-9)


@given(period=st.integers(1, 200), at=st.integers(1, 200), exponent=st.floats(0, 1))
def test_reach_is_symmetrical_multiplies_along_the_way_and_is_one_at_home(
    period: int, at: int, exponent: float
) -> None:
    assert reach(period, at, exponent) == reach(at, period, exponent) >= reach(at, at, exponent) == 1
    assert reach(4 * period, period, exponent) == pytest.approx(reach(2 * period, period, exponent) ** 2)


@given(low=st.floats(0.01, 1), high=st.floats(1, 100))
def test_the_grade_is_that_of_the_wider_side(low: float, high: float) -> None:
    interval = Interval(1.0, low, high, (low, high))
    assert interval.factor == max(high, 1 / low)
    worse = [name for name, most in GRADES.items() if most < interval.factor - 1e-9]
    assert interval.grade not in worse
    assert (interval.grade == "open") == (interval.factor > 2 + 1e-12)


@every_process
def test_intervals_are_ordered_within_what_is_possible_and_widen_with_distance(process: Process) -> None:
    answer = ask(process, 20, [1, 2, 5, 10, 20, 40, 80, 149])
    for p in answer.predictions:
        assert 1 <= p.low <= p.sampling[0] <= p.centre <= p.sampling[1] <= p.high <= 150
        assert (p.mean is None) == (p.grade == "open")
    (at_home,) = (p for p in answer.predictions if p.measured)
    assert (at_home.low, at_home.high) == at_home.sampling


def test_a_wider_level_and_a_larger_exponent_widen() -> None:
    plain, kicked = sampled(DELAYED), sampled(DELAYED, period=20)
    studies = [Study(plain, {("kick", 20): kicked}, 0.5, level=level, n_boot=200) for level in (0.8, 0.95)]
    narrow, wide = (predict(study, [40]).at(40) for study in studies)
    assert wide.low < narrow.low < narrow.centre == wide.centre < narrow.high < wide.high
    one, other = (carried(source(studies[1], ("kick", 20)), 40, level=0.95, exponent=x)[0] for x in (0.0, 0.5))
    assert other.low < one.low <= one.high < other.high


# Limits and hand examples


def test_the_interval_by_hand() -> None:
    """Four runs: one passes at epoch 1; perturbed at 2, one passes at 3, one at 4, one stays to the horizon of 6."""
    times = np.array([1, 3, 4, 9])
    values = (np.arange(1, 7) >= times[:, None]).astype(float)
    runs = Trajectories(metrics={"m": values}, run=np.arange(4))
    study = Study(runs, {("kick", 2): runs}, 1.0, n_boot=400)
    at = source(study, ("kick", 2))
    assert (at.n_survivors, at.n_passed) == (3, 2)
    (interval, means) = carried(at, 3, level=0.95)
    # S = 1, 3/4, 3/4, 1/2, 1/4; G_1 = 1, 2/3, 1/3 and only one whole cycle; from epoch 3 on three epochs are left.
    # cycles: G_1(3) = G_1(2) S(6) / S(5) = 1/3, so tau = 1 + 2/3 + 1/3; one perturbation: the same; all pass at the second: 2 + 1/3
    assert interval.centre == pytest.approx(1 + 3 / 4 + 3 / 4 + 2 / 4 * 2)
    r = (3 / 2) ** (1 / 3)
    part = sampling(means, 0.95, n=3, n_passed=2, least=3.0)
    slow = 2.5 + 0.5 * min(2 * r, 3)
    fast = 2.5 + 0.5 * max(2 / r, 1)
    floor = np.quantile(study.survival[:3].sum(axis=0)[1:] + study.survival[3][1:], 0.025)
    assert interval.high == pytest.approx(min(6, 3.5 * math.exp(math.hypot(part, math.log(slow / 3.5)))))
    assert interval.low == pytest.approx(max(floor, 3.5 * math.exp(-math.hypot(part, math.log(3.5 / fast)))))


def test_one_survivor_leaves_the_possible_range() -> None:
    values = (np.arange(1, 11) >= np.array([1, 1, 2, 7])[:, None]).astype(float)
    runs = Trajectories(metrics={"m": values}, run=np.arange(4))
    answer = predict(Study(runs, {("kick", 5): runs}, 1.0, n_boot=50), [3])
    p = answer.predictions[0]
    assert (p.mean, p.grade) == (None, "open")
    assert math.isnan(p.centre)
    assert p.high == pytest.approx(1 + 2 / 4 + 1 / 4 + 7 / 4)  # RM(3) + S(3) (10 - 3)
    assert Cause.FEW_SURVIVORS in {note.cause for note in p.notes}


def test_applied_once_only_the_residual_time_counts() -> None:
    plain, kicked = sampled(DELAYED, n_runs=1000), sampled(DELAYED, period=20, n_runs=1000)
    once, again = (Study(plain, {("kick", 20): kicked}, 0.5, once=names, n_boot=100) for names in (["kick"], []))
    p, q = (predict(study, [10]).at(10) for study in (once, again))
    assert (p.method, q.method) == ("single", "cycles")
    residual = once.residual(("kick", 20)).mean
    survival = once.survival[:, 0]
    assert p.centre == pytest.approx(survival[:10].sum() + survival[10] * residual, rel=1e-3)


def test_a_restart_holds_the_truth() -> None:
    study = Study(sampled(RESET, n_runs=1500, horizon=200), {}, 1.5, n_boot=200)
    for period in (10, 30):
        interval, _ = restart(study, period)
        assert interval.low < RESET.restricted_mean(horizon=200, period=period) < interval.high


# Samples of known processes


@pytest.mark.parametrize(("process", "at", "n_runs"), [(DELAYED, 20, 150), (KICK, 20, 150), (MIXTURE, 20, 60)])
def test_intervals_cover_where_the_method_is_exact(process: Any, at: int, n_runs: int) -> None:
    periods = [15, 20, 40, 80]
    truth = [process.restricted_mean(horizon=150, period=p) for p in periods]
    hits = np.zeros(4)
    for seed in range(40):
        answer = ask(process, at, periods, seed=seed, n_runs=n_runs, n_boot=100, times_alone=True)
        hits += [p.low <= mean <= p.high for p, mean in zip(answer.predictions, truth, strict=True)]
    assert (hits >= 34).all()  # 0.95 of 40 less three standard errors


@every_process
@pytest.mark.parametrize("at", [20, 50])
def test_the_interval_covers_or_a_note_says_why(process: Any, at: int) -> None:
    """Off by a known amount, before the relaxation or without a quasi-steady state, a prediction is covered or a note says so."""
    answer = ask(process, at, [5, 10, 15, 30, 60, 100], n_runs=1000, horizon=200, seed=3, n_boot=100)
    for p in answer.predictions:
        truth = process.restricted_mean(horizon=200, period=p.period)
        assert p.low <= truth <= p.high or p.notes, (p.period, truth, p.interval)


def test_one_cycle_seen_does_not_vouch_for_the_next() -> None:
    """A tenth of the runs is helped by no perturbation: only the second cycle would show that, and the horizon cuts it."""
    stubborn = Heterogeneous(hazard=0.005, hazards_after=(0.5,) * 9 + (0.0,), window=6)
    for p in ask(stubborn, 100, [5, 10, 20], n_runs=1000, horizon=200).predictions:
        assert p.grade in ("open", "to a factor 2")
        assert p.low <= stubborn.restricted_mean(horizon=200, period=p.period or 0) <= p.high


def test_nothing_is_promised_if_no_run_passes_after_its_perturbation() -> None:
    spoilt = DelayedGeometric(silent=0, hazard=0.02, silent_after=500, hazard_after=0.02)
    answer = ask(spoilt, 20, [10, 20, 30], n_runs=200, horizon=100)
    assert answer.residual is not None
    assert answer.residual[1].n_censored == answer.residual[1].n_runs
    for p in answer.predictions:
        assert p.high >= spoilt.restricted_mean(horizon=100, period=p.period or 0) * 0.99


# Beside measurements


def test_comparisons_use_one_rule_for_the_error() -> None:
    answer = ask(DELAYED, 20, [15, 20, 40], n_runs=500)
    exact_means = {("kick", p): DELAYED.restricted_mean(horizon=150, period=p) for p in (15, 20, 40)}
    truth = {key: Estimate(mean, mean, mean, 1, 0) for key, mean in exact_means.items()}
    comparison = compare(answer, truth)
    assert [cell.prediction.period for cell in comparison.cells] == [15, 40]  # at 20 it is the measurement itself
    for cell in comparison.cells:
        p, mean = cell.prediction, cell.measured.mean
        assert cell.error.mean == pytest.approx(p.centre / mean - 1)
        assert cell.covered == cell.covered_bare == (p.low <= mean <= p.high)
    noisy = {key: Estimate(e.mean, e.mean / 2, 2 * e.mean, 9, 0) for key, e in truth.items()}
    assert all(cell.covered for cell in compare(answer, noisy).cells)
    frame = comparison.to_frame()
    assert list(frame["period"]) == [15, 40]
    assert {"predicted", "measured", "error", "grade", "covered"} <= set(frame)


def test_two_means_at_the_horizon_are_marked() -> None:
    nothing = Interval(200.0, 190.0, 200.0, (190.0, 200.0))
    p = Prediction("kick", 5, nothing, "cycles", 20, 30, 30, 0.95)
    answer = ask(DELAYED, 20, [15])
    ranking = Ranking(answer.target, 200, 0.95, answer.unperturbed, (p,), p, None, None, ())
    (cell,) = compare(ranking, {("kick", 5): Estimate(200.0, 200.0, 200.0, 30, 30)}).cells
    assert cell.at_horizon
