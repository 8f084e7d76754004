"""Rankings: the right perturbation wins where the answer is known, and the advice says what the numbers say."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

import numpy as np
import pytest

from companion import published
from fptlib import sources, tables
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, restricted_mean
from fptlib.former import Recommendation, at_each, predict, recommend
from fptlib.former.verdicts import Status
from fptlib.processes import DelayedGeometric, OrnsteinUhlenbeck, Process
from fptlib.readers import read
from fptlib.trajectories import Target, Trajectories
from known import DELAYED, KICK, MIXTURE, RESET, sampled

BAD = DelayedGeometric(silent=12, hazard=0.01, silent_after=20, hazard_after=0.05)


@cache
def two() -> Recommendation:
    """Recommend one of two perturbations of the same unperturbed process."""
    candidates = {("good", 20): sampled(DELAYED, 1, period=20), ("bad", 20): sampled(BAD, 2, period=20)}
    return recommend(sampled(DELAYED, 0), candidates, threshold=0.5, periods=[15, 20, 30, 50], n_boot=400)


# Known answers


def test_the_better_perturbation_wins_and_its_mean_is_the_exact_one() -> None:
    best = two().best
    assert best is not None
    assert (best.perturbation, best.period) == ("good", 20)
    assert best.low < DELAYED.restricted_mean(horizon=150, period=20) < best.high
    truth = {"good": DELAYED, "bad": BAD}
    for option in two().ranking:
        if option.valid and option.source is not None:
            exact = truth[option.perturbation].restricted_mean(horizon=150, period=option.period)
            assert option.mean == pytest.approx(exact, rel=0.1)


def test_a_full_reset_is_ranked_without_a_perturbed_run() -> None:
    process, plain = RESET, sampled(RESET, 0, n_runs=1000, horizon=300)
    found = recommend(plain, {}, threshold=1.5, periods=[20, 30, 60], n_boot=300)
    assert {o.perturbation for o in found.ranking} == {"full_reset"}
    for option in found.ranking:
        assert option.low < process.restricted_mean(horizon=300, period=option.period) < option.high
        assert option.valid
    # as a candidate it is measured, and not listed twice
    runs = sampled(process, 1, n_runs=1000, horizon=300, period=30)
    measured = recommend(plain, {("full_reset", 30): runs}, threshold=1.5, periods=[20, 30], n_boot=50)
    assert sorted((o.perturbation, o.period) for o in measured.ranking) == [("full_reset", 20), ("full_reset", 30)]


def test_where_nobody_passes_within_a_period_no_reset_is_offered() -> None:
    found = recommend(sampled(DELAYED, 0), {}, threshold=0.5, periods=[5, 12, 40], n_boot=50)
    assert [o.period for o in found.ranking] == [40]


def test_shares_of_victories_add_up_and_speed_ups_are_ratios() -> None:
    found = two()
    assert sum(o.best_in for o in found.ranking) == pytest.approx(1)
    assert all(o.best_in == 0 for o in found.ranking if not o.valid)
    for option in found.ranking:
        assert option.speedup.mean == pytest.approx(found.unperturbed.mean / option.mean)
    assert found.best is not None
    assert found.speedup_at_least == found.best.speedup.low


def test_valid_options_come_first_each_group_by_its_mean() -> None:
    order = [Status.VALID, Status.UNVERIFIED, Status.NOT_VALID]
    keys = [(order.index(o.prediction.verdict.status), o.mean) for o in two().ranking]
    assert keys == sorted(keys)


# A second measured period


def test_a_second_period_vouches_for_what_lies_between() -> None:
    plain = sampled(DELAYED, 0)
    runs = {p: sampled(DELAYED, i + 1, period=p) for i, p in enumerate((15, 50))}
    alone = predict(plain, runs[50], period=50, threshold=0.5, periods=[20, 30], n_boot=300)
    both = predict(plain, runs[50], period=50, threshold=0.5, periods=[15, 20, 30], others={15: runs[15]}, n_boot=300)
    assert both.predictions[0].mean == pytest.approx(first_mean(runs[15], plain), rel=1e-9)
    assert "measured at this period" in both.predictions[0].verdict.reason
    for a, b in zip(alone.predictions, both.predictions[1:], strict=True):
        assert (a.mean, a.low, a.high) == pytest.approx((b.mean, b.low, b.high), rel=0.05)
        assert b.valid
        assert b.mean == pytest.approx(DELAYED.restricted_mean(horizon=150, period=b.period), rel=0.1)


def first_mean(perturbed: Trajectories, plain: Trajectories) -> float:
    (found,) = predict(plain, perturbed, period=15, threshold=0.5, periods=[15], n_boot=2).predictions
    return found.mean


@pytest.mark.parametrize("process", [KICK, MIXTURE])
def test_a_second_period_unmasks_form_2(process: Process) -> None:
    plain, far, near = (sampled(process, i, n_runs=2000, period=p) for i, p in enumerate((None, 60, 12)))
    (found,) = predict(
        plain, far, period=60, threshold=0.5, periods=[15], form="2", others={12: near}, n_boot=300
    ).predictions
    truth = process.restricted_mean(horizon=150, period=15)
    assert abs(found.mean / truth - 1) > 0.1
    assert found.verdict.status is Status.NOT_VALID


def test_two_periods_of_one_perturbation_are_one_perturbation() -> None:
    runs = {("good", p): sampled(DELAYED, i + 1, period=p) for i, p in enumerate((15, 50))}
    found = recommend(sampled(DELAYED, 0), runs, threshold=0.5, periods=[15, 20, 30, 50], n_boot=200)
    own = {o.period: o for o in found.ranking if o.perturbation == "good"}
    assert sorted(own) == [15, 20, 30, 50]
    assert (own[15].source, own[50].source) == (15, 50)
    assert all(o.valid for o in own.values())


# The advice


def test_advice_names_the_best_the_bound_and_the_edge() -> None:
    said = two().advice
    assert "Use good every 20 epochs" in said
    assert "lower bound" in said
    assert "20 is the shortest valid period of good" in said
    assert "The best full reset is every" in said
    assert "Only" not in said


def test_few_runs_are_warned_of() -> None:
    found = recommend(
        sampled(DELAYED, 0, n_runs=60),
        {("good", 20): sampled(DELAYED, 1, n_runs=25, period=20)},
        threshold=0.5,
        n_boot=50,
    )
    assert found.best is None or found.best.perturbation == "full_reset"
    assert "Only 60 unperturbed runs" in found.advice
    assert "are left at epoch 20; 30 are needed" in found.advice


def test_a_perturbation_that_harms_is_not_recommended() -> None:
    worse = DelayedGeometric(silent=0, hazard=0.02, silent_after=25, hazard_after=0.02)
    found = recommend(
        sampled(worse, 0), {("harm", 40): sampled(worse, 1, period=40)}, threshold=0.5, periods=[20, 40, 80], n_boot=200
    )
    assert (
        "No perturbation is shown to beat training without any" in found.advice
        or "nothing can be recommended" in found.advice
    )


def test_without_a_measurement_the_advice_is_to_make_one() -> None:
    rare = DelayedGeometric(silent=60, hazard=0.002, silent_after=0, hazard_after=0.5)
    assert (
        "Measure a perturbation next" in recommend(sampled(rare, 0), {}, threshold=0.5, periods=[20], n_boot=50).advice
    )


def test_intervals_that_few_slow_runs_carry_are_flagged() -> None:
    values = np.zeros((80, 200))
    values[:, 30:] = 1.0  # all pass at epoch 31, ten epochs after the perturbation at 20
    slow = np.array(values)
    slow[0] = 0.0  # but for one, which never does
    plain = Trajectories(metrics={"m": np.where(np.arange(200) < 60, 0.0, 1.0) * np.ones((80, 1))}, run=np.arange(80))
    flags = []
    for kicked in (values, slow):
        runs = Trajectories(metrics={"m": kicked}, run=1000 + np.arange(80))
        (found,) = predict(plain, runs, period=20, threshold=1.0, periods=[20], n_boot=50).predictions
        flags.append(found.flag)
        assert (found.flag is None) == (found.reason == found.verdict.reason)
    assert flags[0] is None
    assert flags[1] is not None
    assert "carries the mean" in flags[1]


def test_runs_perturbed_earlier_than_is_said_are_not_vouched_for() -> None:
    wrong = sampled(DELAYED, 1, n_runs=1000, period=15)  # said to be perturbed every 40 epochs
    answer = predict(
        sampled(DELAYED, 0, n_runs=1000), wrong, period=40, threshold=0.5, periods=[30, 40, 60], n_boot=200
    )
    for found in answer.predictions:
        assert not found.valid
        assert "is 40 their period?" in found.reason
    right = predict(
        sampled(DELAYED, 0), sampled(DELAYED, 1, period=40), period=40, threshold=0.5, periods=[40], n_boot=200
    )
    assert right.predictions[0].valid


def test_runs_that_go_on_as_if_nothing_were_done_are_noticed() -> None:
    walk = OrnsteinUhlenbeck(shrink=0.4)
    plain = sampled(walk, 0, horizon=60)
    later = np.array(plain.metric())
    later[:, 20:] += 0.1  # perturbed at 20, and said to be perturbed at 10
    for values, said in ((later, "until epoch 20"), (plain.metric(), "to their end")):
        runs = dataclasses.replace(plain, metrics={"test_metric": values})
        (note,) = predict(plain, runs, period=10, threshold=1.5, n_boot=20).notes
        assert said in note
        assert note in recommend(plain, {("kick", 10): runs}, threshold=1.5, n_boot=20).sentences[0].replace(
            "kick every 10", "the ensemble at 10"
        )
    assert (
        predict(
            plain, dataclasses.replace(plain, metrics={"test_metric": later}), period=20, threshold=1.5, n_boot=20
        ).notes
        == ()
    )


def test_percentages_and_fractions_are_not_compared() -> None:
    walk = OrnsteinUhlenbeck(shrink=0.4)
    plain, kicked = sampled(walk, 0, horizon=60), sampled(walk, 1, horizon=60, period=10)
    cent = dataclasses.replace(kicked, metrics={"test_metric": 100 * kicked.metric()})
    for pair in ((plain, cent), (cent, kicked)):
        with pytest.raises(InputError, match="are both in the same unit"):
            predict(*pair, period=10, threshold=1.5, n_boot=20)


def test_records_cut_short_are_told() -> None:
    walk = OrnsteinUhlenbeck(shrink=0.4)
    values = np.array(sampled(walk, 0, horizon=60).metric())
    ends = np.where(np.arange(len(values)) % 3 > 0, 40, 60)
    values[np.arange(60) >= ends[:, None]] = np.nan
    short = Trajectories(metrics={"test_metric": values}, run=np.arange(len(values)), followed=ends)
    answer = predict(short, sampled(walk, 1, horizon=60, period=10), period=10, threshold=1.5, n_boot=20)
    assert answer.horizon == 40
    assert "means are counted up to epoch 40 of 60" in answer.notes[0]


# Several thresholds, and what runs end with


def test_thresholds_without_an_answer_say_why() -> None:
    walk = OrnsteinUhlenbeck(shrink=0.4)
    plain, kicked = sampled(walk, 0, horizon=60), sampled(walk, 1, horizon=60, period=10)
    answers = at_each([1.0, 1.5, 99.0], lambda x: recommend(plain, {("shrink", 10): kicked}, threshold=x, n_boot=50))
    assert isinstance(answers[99.0], str)
    assert "no run reaches the threshold 99" in answers[99.0]
    table = tables.speedup_table(answers)
    assert set(table["threshold"]) <= {1.0, 1.5}
    assert (table["speedup_low"] <= table["speedup"]).all()
    with pytest.raises(InputError, match="no run reaches the threshold 98"):
        at_each([98.0, 99.0], lambda x: recommend(plain, {}, threshold=x))


# The real thing


def _check(name: Any, threshold: float, **options: Any) -> tuple[int, int]:
    """Return numbers of predictions and of valid ones; a valid one that is more than 10 % off fails."""
    periods = [p for p in published.dataset("cifar10").periods[name] if 15 <= p <= 100]
    found = predict(
        published.unperturbed(),
        published.perturbed(name, 50),
        period=50,
        threshold=threshold,
        periods=periods,
        n_boot=500,
        **options,
    )
    truth = published.measured(name, threshold=threshold).set_index("period")["mean"]
    for p in found.predictions:
        assert not p.valid or abs(p.mean / float(truth[p.period]) - 1) < 0.1, (name, threshold, p)
    return len(found.predictions), sum(p.valid for p in found.predictions)


@pytest.mark.parametrize("name", ["shrink_perturb", "partial_reset"])
@pytest.mark.parametrize("period", [20, 50])
def test_form_7_reaches_thresholds_that_no_unperturbed_run_does(name: str, period: int) -> None:
    table: Any = published.stored("beyond", perturbation=name, from_period=period)
    assert table["threshold"].min() > 74.08  # the best accuracy of 1000 unperturbed runs
    valid = table[table["status"] == "valid"]
    assert len(valid) >= 3
    assert (valid["mean"] / valid["mean_measured"] - 1).abs().max() < 0.05


@pytest.mark.published
class TestPublished:
    @pytest.mark.slow
    def test_no_valid_prediction_is_wrong_and_most_are_valid(self) -> None:
        counts = [_check(name, x) for name in ("shrink_perturb", "partial_reset") for x in (72, 73)]
        assert sum(valid for _, valid in counts) >= 0.8 * sum(n for n, _ in counts)

    def test_a_second_measured_period_vouches_for_partial_reset(self) -> None:
        n, valid = _check("partial_reset", 73, others={10: published.perturbed("partial_reset", 10)})
        assert valid == n

    def test_form_2_of_partial_reset_at_74_is_not_called_valid_and_form_7_is_right(self) -> None:
        _, valid = _check("partial_reset", 74)
        assert valid >= 3
        (found,) = predict(
            published.unperturbed(),
            published.perturbed("partial_reset", 50),
            period=50,
            threshold=74,
            periods=[20],
            form="2",
            n_boot=500,
        ).predictions
        assert not found.valid

    def test_a_network_that_has_not_settled_is_not_vouched_for(self) -> None:
        folder = sources.fetch("published") / "SI_figs" / "fc_with_adam"
        short = read(folder / "s_and_p_reset10")
        truth = restricted_mean(first_passage(short, Target(0.35, metric="test_ssim")), n_boot=2).mean
        (found,) = predict(
            read(folder / "reg_training"),
            read(folder / "s_and_p_reset100"),
            period=100,
            threshold=0.35,
            metric="test_ssim",
            periods=[10],
            form="2",
            n_boot=500,
        ).predictions
        assert truth / found.mean - 1 == pytest.approx(0.67, abs=0.01)
        assert not found.valid

    def test_the_ranking_of_the_published_perturbations(self) -> None:
        candidates = {(name, 50): published.perturbed(name, 50) for name in ("shrink_perturb", "partial_reset")}
        found = recommend(published.unperturbed(), candidates, threshold=72, n_boot=300)
        assert found.best is not None
        assert (found.best.perturbation, found.best.period) == ("shrink_perturb", 15)
        assert "Measure shrink_perturb at 7 directly" in found.advice
        best = {o.perturbation: o for o in reversed(found.ranking) if o.valid}
        assert best["shrink_perturb"].mean < best["partial_reset"].mean < best["full_reset"].mean
