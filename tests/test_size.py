"""Sample sizes: closed forms, laws, limits, whether the numbers give the wanted intervals, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from companion import published
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.processes import DelayedGeometric, FiniteChain, Process
from fptlib.response import SampleSize, predict, sample_size
from fptlib.study import Study
from known import DELAYED, KICK, SHRINK

SLOW = DelayedGeometric(silent=12, hazard=0.05, silent_after=3, hazard_after=0.02)
HORIZON = 150


def times(process: Any, n: int, *, seed: int, period: int | None = None) -> FirstPassageTimes:
    sampled = process.sample(np.random.default_rng(seed), n_runs=n, horizon=HORIZON, period=period)
    passed = first_passage(sampled, process.threshold)
    return dataclasses.replace(passed, run=passed.run + 10_000 * (period or 0))


def studied(
    process: Any,
    n: int = 60,
    m: int | None = None,
    *,
    seed: int = 0,
    period: int = 20,
    once: Any = ("kick",),
    **options: Any,
) -> Study:
    """Return a study of a perturbation that acts once, of which the parts of the variance are known."""
    plain, kicked = times(process, n, seed=2 * seed), times(process, m or n, seed=2 * seed + 1, period=period)
    return Study(plain, {("kick", period): kicked}, process.threshold, once=once, **options)


def planned(
    process: Any, n: int = 60, *, width: float = 0.2, periods: Any = None, fork: bool = False, **more: Any
) -> SampleSize:
    return sample_size(studied(process, n, **more), width, periods=periods, fork=fork)


# Closed forms


def test_parts_of_the_variance_are_those_of_the_process() -> None:
    # Applied once: min(T, P) + [T > P] tau for each unperturbed run, S(P) min(tau, H - P) for each survivor.
    n, period, at = 4000, 20, 60
    answer = planned(SLOW, n, period=period, periods=[at], width=0.05, n_boot=4000)
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
    left = SLOW.survival(period)[period]
    variance = var_u / n + var_s / (n * left)
    assert need.width == pytest.approx(2 * 1.96 * np.sqrt(variance) / mean, rel=0.05)
    assert need.unperturbed_share == pytest.approx(var_u / n / variance, abs=0.03)
    # Neyman's allocation
    cost_u = SLOW.restricted_mean(horizon=HORIZON)
    cost_s = after[: HORIZON - period].sum() + SLOW.restricted_mean(horizon=period) / left
    ratio = np.sqrt(var_u / cost_u) / np.sqrt(var_s / cost_s)
    n_u, n_s = need.expected.unperturbed, need.expected.survivors
    assert n_u / n_s == pytest.approx(ratio, rel=0.08)
    assert var_u / n_u + var_s / n_s == pytest.approx((np.log(1.025) * mean / 1.96) ** 2, rel=0.1)
    assert need.expected.run_epochs == pytest.approx(n_u * cost_u + n_s * cost_s, rel=0.05)
    for factor in (0.7, 0.85, 1.2, 1.5):  # nothing cheaper reaches the width
        other = var_s / (var_u / n_u + var_s / n_s - var_u / (factor * n_u))
        assert other < 0 or factor * n_u * cost_u + other * cost_s > 0.999 * (n_u * cost_u + n_s * cost_s)


def test_a_hundred_runs_are_needed_where_thirty_survivors_are_three_in_ten() -> None:
    early = DelayedGeometric(silent=0, hazard=1 - 0.3 ** (1 / 20), silent_after=0, hazard_after=1.0)
    answer = planned(early, 400, periods=[20], width=1.9)
    assert answer.expected.survivors == 30
    assert answer.expected.perturbed == pytest.approx(100, abs=15)
    assert answer.cautious.perturbed > answer.expected.perturbed


# Laws


def test_half_the_width_takes_four_times_the_runs() -> None:
    wide, narrow = (planned(SLOW, periods=[40], width=w).requirements[0].expected for w in (0.1, 0.05))
    for field in ("unperturbed", "survivors", "run_epochs"):
        assert getattr(narrow, field) == pytest.approx(4 * getattr(wide, field), rel=0.06)


@pytest.mark.parametrize("process", [DELAYED, SLOW, KICK])
@pytest.mark.parametrize("fork", [False, True])
def test_cautious_numbers_are_larger_and_the_whole_holds_each_period(process: Process, fork: bool) -> None:
    answer = planned(process, fork=fork, once=())
    assert [r.period for r in answer.requirements] == [10, 15, 20, 30]
    for field in ("unperturbed", "survivors", "perturbed", "run_epochs"):
        for need in answer.requirements:
            assert getattr(need.cautious, field) >= getattr(need.expected, field)
            assert getattr(answer.expected, field) >= getattr(need.expected, field)
            assert getattr(answer.cautious, field) >= getattr(need.cautious, field)
    if fork:
        assert answer.expected.perturbed <= answer.expected.unperturbed
        assert answer.cautious.perturbed <= answer.cautious.unperturbed
    table = answer.to_frame()
    assert table["cautious_unperturbed"].tolist() == [r.cautious.unperturbed for r in answer.requirements]
    assert answer.to_dict()["expected"]["survivors"] == answer.expected.survivors


def test_what_no_number_of_runs_narrows_grows_with_the_distance_from_the_measured_period() -> None:
    answer = planned(DELAYED, 400, periods=[20, 30, 40], width=0.002)
    ratios = [r.high / r.low for r in answer.requirements]
    assert ratios[0] == pytest.approx(1)
    assert ratios[0] < ratios[1] < ratios[2]
    assert answer.requirements[0].grade == "to 10 %"
    assert "no number of runs narrows" in answer.advice[2]
    assert answer.advice[0].startswith(
        f"Train {answer.expected.unperturbed} unperturbed runs and {answer.expected.perturbed} "
    )


# Limits


def test_at_a_period_that_all_survive_the_unperturbed_runs_cost_no_variance() -> None:
    need = planned(DELAYED, periods=[12], width=0.1).requirements[0]
    assert need.unperturbed_share == pytest.approx(0, abs=1e-12)
    assert need.expected.unperturbed == 30


def test_without_perturbed_runs_it_is_planned_as_if_nothing_changed() -> None:
    study = Study(times(SHRINK, 80, seed=0), {}, SHRINK.threshold)
    answer = sample_size(study, period=10)
    assert answer.perturbation is None
    assert any("no perturbed runs yet" in sentence for sentence in answer.advice)
    # With nothing changed it is the unperturbed restricted mean itself.
    assert answer.requirements[0].mean == pytest.approx(study.plain.mean, rel=1e-9)


def test_it_plans_the_mean_and_the_interval_that_a_prediction_reports() -> None:
    study = studied(SHRINK, 90, period=10, once=())
    for need, prediction in zip(
        sample_size(study).requirements, predict(study, [5, 7, 10, 15, 20]).predictions, strict=True
    ):
        assert need.period == prediction.period
        assert need.mean == pytest.approx(prediction.centre)
        assert need.width == pytest.approx(2 * (prediction.sampling[1] / need.mean - 1), rel=0.2)


# Whether it is true


@pytest.mark.parametrize(
    ("process", "period", "at", "width"),
    [(DELAYED, 20, 60, 0.12), (SLOW, 20, 40, 0.25), (KICK, 20, 10, 0.3), (SHRINK, 10, 10, 0.25)],
)
def test_planned_runs_give_the_wanted_width(process: Any, period: int, at: int, width: float) -> None:
    size = planned(process, 500, period=period, periods=[at], width=width, once=()).expected
    realised = []
    for seed in range(100, 118):
        study = studied(process, size.unperturbed, size.perturbed, seed=seed, period=period, once=(), n_boot=300)
        (prediction,) = predict(study, [at]).predictions
        realised.append(2 * (prediction.sampling[1] / prediction.centre - 1))
    assert np.median(realised) == pytest.approx(width, rel=0.15)


def test_the_cautious_numbers_of_a_small_pilot_are_mostly_enough() -> None:
    large = planned(SLOW, 4000, periods=[40]).requirements[0]
    variance = 4000 * (np.log1p(large.width / 2) * large.mean / 1.96) ** 2
    var_u, var_s = variance * large.unperturbed_share, variance * (1 - large.unperturbed_share) * SLOW.survival(20)[20]
    enough: list[float] = []
    expected: list[float] = []
    for seed in range(40):
        need = planned(SLOW, 40, seed=500 + seed, periods=[40], n_boot=300).requirements[0]
        for sizes, kept in ((need.cautious, enough), (need.expected, expected)):
            error = 1.96 * np.sqrt(var_u / sizes.unperturbed + var_s / sizes.survivors) / large.mean
            kept.append(2 * np.expm1(error))
    assert np.mean(np.array(enough) < 0.2 * 1.05) >= 0.8
    assert np.median(expected) == pytest.approx(0.2, rel=0.15)


def test_runs_that_are_slow_in_both_widen_the_interval() -> None:
    # Two types of run that differ in their hazard; the perturbation does nothing.
    chain = FiniteChain(transition=np.diag([0.99, 0.9]), perturbation=np.eye(2), start=np.array([0.5, 0.5]))
    plain, kicked = (chain.sample(np.random.default_rng(8), n_runs=300, horizon=HORIZON, period=p) for p in (None, 10))
    other = dataclasses.replace(kicked, run=kicked.run + 1000)
    pair, apart = (
        sample_size(Study(plain, {("same", 10): x}, 2.0), periods=[40], fork=True).requirements[0]
        for x in (kicked, other)
    )
    assert pair.width > 1.1 * apart.width
    assert pair.expected.unperturbed > 1.1 * apart.expected.unperturbed


# The real thing


@pytest.mark.published
def test_sixty_published_runs_plan_as_a_thousand_do() -> None:
    plain, kicked = (first_passage(x, 72) for x in (published.unperturbed(), published.perturbed("shrink_perturb", 50)))

    def of(one: FirstPassageTimes, other: FirstPassageTimes) -> SampleSize:
        return sample_size(Study(one, {("shrink_perturb", 50): other}, 72), periods=[20, 50, 100])

    whole, rng = of(plain, kicked), np.random.default_rng(0)
    assert "the pilot itself is large enough for that" in whole.advice[1]
    results = []
    for _ in range(6):
        chosen = ((x, np.sort(rng.choice(x.n_runs, 60, replace=False))) for x in (plain, kicked))
        results.append(of(*(FirstPassageTimes(x.time[rows], x.observed[rows], x.run[rows]) for x, rows in chosen)))
    assert np.median([a.expected.unperturbed for a in results]) == pytest.approx(whole.expected.unperturbed, rel=0.25)
    assert np.mean([a.cautious.unperturbed >= whole.expected.unperturbed for a in results]) > 0.6
    assert {a.expected.survivors for a in results} == {30}


# What is refused


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: planned(KICK, periods=[]), r"periods are []; one or more from 1 to 149"),
        (lambda: planned(KICK, periods=[200]), "one or more from 1 to 149, below the horizon, are needed"),
        (lambda: planned(KICK, width=1e-200), "width is 1e-200; it must be 0.001 or more and below 2"),
        (lambda: planned(KICK, 8), "the pilot has 8 runs; at least 10 are needed"),
        (lambda: planned(KICK, 20, period=100), "survivors at epoch 100; at least 10 are needed"),
        (lambda: sample_size(studied(KICK), period=30), "period is 30; it must be that of the perturbed runs"),
        (lambda: sample_size(Study(times(KICK, 20, seed=0), {}, 0.5)), "period is None; it must be"),
    ],
)
def test_bad_input_is_one_clear_line(make: Callable[[], object], reason: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_several_perturbed_ensembles_are_refused() -> None:
    study = studied(KICK)
    several = Study(
        study.unperturbed, study.perturbed | {("other", 30): times(KICK, 60, seed=9, period=30)}, 0.5, once=["kick"]
    )
    with pytest.raises(InputError, match="several perturbed ensembles; plan for one of them"):
        sample_size(several)
