"""Planning: closed forms, laws, limits, whether the planned runs give the wanted intervals, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from companion import published
from fptlib.errors import InputError
from fptlib.former import predict
from fptlib.former.plan import Plan, plan
from fptlib.former.prediction import predict_all
from fptlib.former.sample import draw
from fptlib.processes import DelayedGeometric, FiniteChain, Process
from fptlib.trajectories import Trajectories
from known import DELAYED, KICK, SHRINK

SLOW = DelayedGeometric(silent=12, hazard=0.05, silent_after=3, hazard_after=0.02)
HORIZON = 150


def runs(process: Any, n: int, *, seed: int, period: int | None = None) -> Trajectories:
    sampled = process.sample(np.random.default_rng(seed), n_runs=n, horizon=HORIZON, period=period)
    return dataclasses.replace(sampled, run=sampled.run + 10_000 * (period or 0))


def pilot(process: Any, n: int, *, seed: int, period: int) -> tuple[Trajectories, Trajectories]:
    return runs(process, n, seed=2 * seed), runs(process, n, seed=2 * seed + 1, period=period)


def planned(process: Any, n: int = 60, *, seed: int = 0, period: int = 20, **options: Any) -> Plan:
    return plan(*pilot(process, n, seed=seed, period=period), period=period, threshold=process.threshold, **options)


# Closed forms


def test_parts_of_the_variance_are_those_of_the_process() -> None:
    # Form 2: min(T, P) + [T > P] tau for each unperturbed run, S(P) min(tau, H - P) for each survivor.
    n, period, at = 4000, 20, 60
    answer = planned(SLOW, n, period=period, periods=[at], relative_width=0.05)
    survival, after = SLOW.survival(at), SLOW.survival(HORIZON, period=period)[period:]
    after = after / after[0]
    tau = after[: HORIZON - at].sum()
    k = np.arange(1, at + 1)
    passing = -np.diff(survival)
    mean = passing @ k + survival[at] * (at + tau)
    var_u = passing @ k**2 + survival[at] * (at + tau) ** 2 - mean**2
    var_s = survival[at] ** 2 * ((2 * np.arange(HORIZON - at) + 1) @ after[: HORIZON - at] - tau**2)
    need = answer.requirements[0]
    assert need.mean == pytest.approx(mean, rel=0.03)
    survivors = n * SLOW.survival(period)[period]
    assert need.pilot_width == pytest.approx(2 * 1.96 * np.sqrt(var_u / n + var_s / survivors), rel=0.05)
    assert need.unperturbed_share == pytest.approx(var_u / n / (var_u / n + var_s / survivors), abs=0.03)
    # Neyman's allocation
    cost_u = SLOW.restricted_mean(horizon=HORIZON)
    left = SLOW.survival(period)[period]
    cost_s = after[: HORIZON - period].sum() + SLOW.restricted_mean(horizon=period) / left
    ratio = np.sqrt(var_u / cost_u) / np.sqrt(var_s / cost_s)
    assert need.expected.unperturbed / need.expected.survivors == pytest.approx(ratio, rel=0.08)
    target = (0.05 * mean / (2 * 1.96)) ** 2
    achieved = var_u / need.expected.unperturbed + var_s / need.expected.survivors
    assert achieved == pytest.approx(target, rel=0.1)
    cost = need.expected.unperturbed * cost_u + need.expected.survivors * cost_s
    assert need.expected.run_epochs == pytest.approx(cost, rel=0.05)


def test_a_hundred_runs_are_needed_where_thirty_survivors_are_three_in_ten() -> None:
    early = DelayedGeometric(silent=0, hazard=1 - 0.3 ** (1 / 20), silent_after=0, hazard_after=1.0)
    answer = planned(early, 400, periods=[20], relative_width=1.9)
    assert answer.expected.survivors == 30
    assert answer.expected.perturbed == pytest.approx(100, abs=15)
    assert answer.cautious.perturbed > answer.expected.perturbed


# Laws


def test_half_the_width_takes_four_times_the_runs() -> None:
    wide, narrow = (planned(KICK, periods=[5], relative_width=w).requirements[0].expected for w in (0.1, 0.05))
    assert narrow.unperturbed == pytest.approx(4 * wide.unperturbed, rel=0.05)
    assert narrow.survivors == pytest.approx(4 * wide.survivors, rel=0.05)
    assert narrow.run_epochs == pytest.approx(4 * wide.run_epochs, rel=0.05)


@pytest.mark.parametrize("process", [DELAYED, SLOW, KICK])
@pytest.mark.parametrize("fork", [False, True])
def test_cautious_numbers_are_larger_and_the_whole_holds_each_period(process: Process, fork: bool) -> None:
    answer = planned(process, periods=[10, 20, 60], fork=fork)
    for field in ("unperturbed", "survivors", "perturbed", "run_epochs"):
        for need in answer.requirements:
            assert getattr(need.cautious, field) >= getattr(need.expected, field)
            assert getattr(answer.expected, field) >= getattr(need.expected, field)
            assert getattr(answer.cautious, field) >= getattr(need.cautious, field)
    if fork:
        assert answer.expected.perturbed <= answer.expected.unperturbed
        assert answer.cautious.perturbed <= answer.cautious.unperturbed


def test_nothing_cheaper_reaches_the_width() -> None:
    answer = planned(SLOW, 400, periods=[40], relative_width=0.1)
    need = answer.requirements[0]
    n_u, n_s = need.expected.unperturbed, need.expected.survivors
    survivors = int(runs(SLOW, 400, seed=1, period=20).metrics["test_metric"][:, :20].max(axis=1).__lt__(0.5).sum())
    var = need.pilot_width**2
    var_u, var_s = var * need.unperturbed_share * 400, var * (1 - need.unperturbed_share) * survivors
    assert np.sqrt(var_u / n_u + var_s / n_s) == pytest.approx(0.1 * need.mean, rel=0.01)
    cost_u = SLOW.restricted_mean(horizon=HORIZON)
    cost_s = SLOW.residual_mean(20) + SLOW.restricted_mean(horizon=20) / SLOW.survival(20)[20]
    best = n_u * cost_u + n_s * cost_s
    for factor in (0.7, 0.85, 1.2, 1.5):
        other = var_s / (var_u / n_u + var_s / n_s - var_u / (factor * n_u))
        assert other < 0 or factor * n_u * cost_u + other * cost_s > best


def test_a_longer_unit_of_time_changes_no_number_of_runs() -> None:
    # The same runs with each epoch twice.
    def slow(x: Trajectories) -> Trajectories:
        return dataclasses.replace(x, metrics={"test_metric": np.repeat(x.metrics["test_metric"], 2, axis=1)})

    both = pilot(KICK, 80, seed=3, period=20)
    one = plan(*both, period=20, threshold=0.5, periods=[20]).requirements[0].expected
    two = plan(*map(slow, both), period=40, threshold=0.5, periods=[40]).requirements[0].expected
    assert two.unperturbed == pytest.approx(one.unperturbed, rel=0.06)
    assert two.run_epochs == pytest.approx(2 * one.run_epochs, rel=0.06)


# Limits


def test_at_a_period_that_all_survive_the_unperturbed_runs_cost_no_variance() -> None:
    need = planned(DELAYED, periods=[12], relative_width=0.1).requirements[0]
    assert need.unperturbed_share == pytest.approx(0, abs=1e-12)
    assert need.expected.unperturbed == 30


def test_without_perturbed_runs_it_is_planned_as_if_nothing_changed() -> None:
    both = pilot(SHRINK, 80, seed=0, period=10)
    alone = plan(both[0], period=10, threshold=1.5, periods=[10])
    again = plan(both[0], both[0], period=10, threshold=1.5, periods=[10])
    assert alone.requirements == again.requirements
    assert "no perturbed runs yet" in alone.notes[0]
    # Form 1 with nothing changed is the unperturbed restricted mean itself.
    assert alone.requirements[0].mean == pytest.approx(np.minimum(first_times(both[0]), HORIZON).mean(), rel=1e-9)


def first_times(x: Trajectories) -> np.ndarray:
    passed = x.metrics["test_metric"] >= 1.5
    return np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, HORIZON)


def test_it_plans_the_mean_that_a_prediction_reports_where_records_end_early() -> None:
    both = []
    for whole in pilot(SHRINK, 90, seed=0, period=10):
        ends = np.where(np.arange(whole.n_runs) % 3, 40, 60)  # two thirds were followed to epoch 40 only
        values = np.where(np.arange(60) < ends[:, None], whole.metric()[:, :60], np.nan)
        both.append(dataclasses.replace(whole, metrics={"test_metric": values}, followed=ends))
    options: dict[str, Any] = {"period": 10, "threshold": 1.5, "periods": [20]}
    answer, told = plan(*both, **options), predict(*both, **options, n_boot=2)
    assert answer.horizon == told.horizon == 40
    assert answer.requirements[0].mean == pytest.approx(told.predictions[0].mean)
    with pytest.raises(InputError, match="period 50 is beyond epoch 40, the last that enough runs were followed to"):
        plan(*both, **options | {"periods": [50]})


# Whether it is true


@pytest.mark.parametrize(
    ("process", "period", "at", "width"),
    [(DELAYED, 20, 60, 0.12), (SLOW, 20, 40, 0.25), (KICK, 20, 10, 0.3), (SHRINK, 10, 10, 0.25)],
)
def test_planned_runs_give_the_wanted_width(process: Any, period: int, at: int, width: float) -> None:
    size = planned(process, 500, period=period, periods=[at], relative_width=width).expected
    realised = []
    for seed in range(100, 118):
        plain, kicked = (
            runs(process, size.unperturbed, seed=seed),
            runs(process, size.perturbed, seed=seed + 50, period=period),
        )
        _, (sample,) = draw(
            plain,
            [(period, kicked)],
            threshold=process.threshold,
            direction="above",
            metric=None,
            level=0.95,
            n_boot=400,
            seed=seed,
        )
        prediction, _ = predict_all([sample], [at])[0]
        realised.append((prediction.high - prediction.low) / prediction.mean)
    assert np.median(realised) == pytest.approx(width, rel=0.15)


def test_the_cautious_plan_of_a_small_pilot_is_enough_nine_times_in_ten() -> None:
    large = planned(SLOW, 4000, periods=[40], relative_width=0.2).requirements[0]
    enough, expected = [], []
    for seed in range(40):
        answer = planned(SLOW, 40, seed=500 + seed, periods=[40], relative_width=0.2, n_boot=300)
        need = answer.requirements[0]
        for sizes, kept in ((need.cautious, enough), (need.expected, expected)):
            survivors = 4000 * SLOW.survival(20)[20]
            var = large.pilot_width**2
            var_u, var_s = var * large.unperturbed_share * 4000, var * (1 - large.unperturbed_share) * survivors
            kept.append(np.sqrt(var_u / sizes.unperturbed + var_s / sizes.survivors) / large.mean)
    assert np.mean(np.array(enough) < 0.2 * 1.05) >= 0.8
    assert np.median(expected) == pytest.approx(0.2, rel=0.15)


def test_runs_that_are_slow_in_both_widen_the_interval() -> None:
    # Two types of run that differ in their hazard; the perturbation does nothing.
    chain = FiniteChain(transition=np.diag([0.99, 0.9]), perturbation=np.eye(2), start=np.array([0.5, 0.5]))
    plain, kicked = (chain.sample(np.random.default_rng(8), n_runs=300, horizon=HORIZON, period=p) for p in (None, 10))
    options: dict[str, Any] = {"period": 10, "threshold": 2.0}
    other = dataclasses.replace(kicked, run=kicked.run + 1000)
    pair, apart = (plan(plain, x, **options, periods=[40], fork=True).requirements[0] for x in (kicked, other))
    asked = {"threshold": options["threshold"], "direction": "above", "metric": None}
    _, (sample,) = draw(plain, [(options["period"], kicked)], **asked, level=0.95, n_boot=4000, seed=0)
    _, means = predict_all([sample], [40])[0]
    assert pair.pilot_width == pytest.approx(2 * 1.96 * means[1:].std(), rel=0.08)
    assert pair.pilot_width > 1.1 * apart.pilot_width
    assert pair.expected.unperturbed > 1.1 * apart.expected.unperturbed


# The real thing


@pytest.mark.published
def test_sixty_published_runs_plan_as_a_thousand_do() -> None:
    plain, kicked = published.unperturbed(), published.perturbed("shrink_perturb", 50)
    options: dict[str, Any] = {"period": 50, "threshold": 72, "periods": [20, 50, 100]}
    whole = plan(plain, kicked, **options)
    assert any("itself is large enough for period 20, 50, 100" in note for note in whole.notes)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(6):
        few = [
            dataclasses.replace(x, metrics={name: m[rows] for name, m in x.metrics.items()}, run=x.run[rows])
            for x in (plain, kicked)
            for rows in (np.sort(rng.choice(x.n_runs, 60, replace=False)),)
        ]
        found.append(plan(*few, **options))
    assert np.median([a.expected.unperturbed for a in found]) == pytest.approx(whole.expected.unperturbed, rel=0.25)
    assert np.mean([a.cautious.unperturbed >= whole.expected.unperturbed for a in found]) > 0.6
    assert {a.expected.survivors for a in found} == {30}


# What is refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: planned(KICK, periods=[]), "periods is empty"),
        (lambda: planned(KICK, periods=[200]), "period 200 is not between 1 and the horizon 150"),
        (
            lambda: planned(KICK, periods=[5], relative_width=1e-200),
            "relative_width is 1e-200; it must be 0.001 or more and below 2",
        ),
        (lambda: planned(KICK, 8, periods=[5]), "the pilot has 8 runs; at least 10 are needed"),
        (lambda: planned(KICK, 20, period=100, periods=[5]), "survivors at epoch 100; at least 10 are needed"),
        (lambda: planned(KICK, periods=[5], level=1.0), "level 1.0 is not between 0 and 1"),
        (lambda: planned(KICK, periods=[5], seed=0, n_boot=10, metric="loss"), "loss"),
    ],
)
def test_bad_input_is_one_clear_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
