"""Advice in words, from rankings with numbers made up for the purpose."""

from __future__ import annotations

import dataclasses
from typing import Any

from fptlib.firstpassage import Estimate
from fptlib.response import Prediction, Ranking
from fptlib.response.advice import advise
from fptlib.response.interval import Interval
from fptlib.response.ranking import choose
from fptlib.study import Cause, Note
from fptlib.trajectories import Target

PLAIN = Estimate(80.0, 70.0, 90.0, n_runs=8, n_censored=3)


def at(period: int, low: float, mean: float, high: float, *, measured: bool = False, once: bool = False) -> Prediction:
    method: Any = "measured" if measured else "single" if once else "cycles"
    interval = Interval(mean, low, high, (low, high))
    return Prediction("kick", period, interval, method, 20, 6, 0, 0.95, once=once)


def advice(*predictions: Prediction, plain: Estimate = PLAIN, notes: tuple[Note, ...] = ()) -> tuple[str, ...]:
    interval = Interval(plain.mean, plain.low, plain.high, (plain.low, plain.high))
    nothing = Prediction(None, None, interval, "measured", None, plain.n_runs, plain.n_censored, 0.95)
    choice, following = choose([nothing, *predictions])
    ranked = (*predictions, nothing)
    return advise(Ranking(Target(0.9), 100, 0.95, plain, ranked, choice, following, None, notes))


def test_a_period_that_is_not_the_one_given_comes_first() -> None:
    wrong = Cause.PERIOD.note(name="kick", until="until epoch 30", period=20)
    first, second, *_ = advice(at(20, 28, 30, 33, measured=True), notes=(wrong,))
    assert first.startswith("Check this first: the runs of kick equal unperturbed ones until epoch 30")
    assert second.startswith("Use kick every 20 epochs")


def test_a_choice_comes_with_its_interval_and_the_least_speed_up() -> None:
    first, second, fourth, third = advice(at(10, 18, 20, 24), at(20, 28, 30, 33, measured=True), at(5, 20, 40, 80))
    assert first == (
        "Use kick every 10 epochs: training takes 20.0 epochs (95 % interval 18.0 to 24.0), at least 3.1 times faster than without "
        "perturbation (80.0)."
    )
    assert second == "This is predicted to within 20 % from 6 runs perturbed every 20 epochs."
    assert third.startswith(
        "Means are taken up to epoch 100, when 5 of 8 unperturbed runs had reached the threshold, so the true"
    )
    assert fourth == "No other ensemble is needed to choose; runs with this period would confirm it."


def test_an_open_period_that_may_be_faster_is_named() -> None:
    words = advice(at(10, 18, 20, 24), at(20, 28, 30, 33, measured=True), at(5, 12, 40, 80))
    assert "Kick every 5 epochs, 12.0 to 80.0 epochs, may be faster still; only runs of its own would tell." in words
    measured = advice(at(20, 28, 30, 33, measured=True), at(40, 45, 50, 60))[1]
    assert measured == (
        "This was measured on the 6 runs that had not reached the threshold at epoch 20, when they were first perturbed."
    )


def test_an_open_choice_is_a_range() -> None:
    first, second, *_ = advice(at(10, 8, 20, 60), at(40, 20, 30, 60), at(20, 60, 66, 70, measured=True))
    assert (
        "Use kick every 10 epochs: training takes 8.0 to 60.0 epochs (95 % interval), at least 1.3 times faster"
        in first
    )
    assert second == "This range is predicted from 6 runs perturbed every 20 epochs."


def test_a_measured_choice_names_what_may_be_faster_still() -> None:
    *_, last, _ = advice(at(10, 8, 20, 50), at(20, 28, 30, 33, measured=True))
    assert (
        last == "Next, measure kick every 10 epochs, which may be faster still: 8.0 to 50.0 epochs are expected of it."
    )
    *_, last, _ = advice(at(20, 28, 30, 33, measured=True), at(40, 45, 50, 60))
    assert (
        last
        == "Next, measure kick every 10 epochs: 20 is the shortest period looked at, and a shorter one may be faster still."
    )


def test_runs_that_do_not_tell_say_which_ensemble_may() -> None:
    first, second, last = advice(at(10, 20, 60, 100), at(20, 50, 78, 99, measured=True))
    assert first.startswith(
        "8 unperturbed runs and 6 perturbed ones still below the threshold at their period do not tell whether perturbing helps: training"
    )
    assert last == "Means are taken up to epoch 100, when 5 of 8 unperturbed runs had reached the threshold."
    assert second == "One more ensemble, of kick every 10 epochs, may tell: 20.0 to 100.0 epochs are expected of it."


def test_runs_that_do_not_tell_at_the_best_period_are_too_few() -> None:
    assert advice(at(20, 30, 60, 99, measured=True), at(10, 70, 80, 90))[-2] == (
        "More runs without perturbation and with kick every 20 epochs may tell."
    )


def test_that_perturbing_helps_is_said_even_where_the_best_period_is_open() -> None:
    first, *_ = advice(at(10, 20, 60, 100), at(40, 61, 62, 63), at(20, 50, 78, 99, measured=True))
    assert first.startswith("Perturbing helps: with kick every 40 epochs training takes 62.0 epochs")


def test_without_a_hope_nothing_is_to_be_measured() -> None:
    words = advice(at(10, 88, 90, 95), at(20, 85, 90, 95, measured=True))
    assert words[:-1] == (
        "Train without perturbation, which takes 80.0 epochs (95 % interval 70.0 to 90.0): nothing that was looked at is known to be "
        "faster.",
        "This was measured on 8 runs.",
    )


def test_where_nobody_arrives_the_threshold_is_to_be_changed() -> None:
    never = Estimate(100.0, 100.0, 100.0, n_runs=8, n_censored=8)
    assert advice(at(20, 99.5, 99.9, 100, measured=True), plain=never)[0].startswith(
        "Hardly any run reaches the threshold"
    )


def test_a_perturbation_applied_once_acts_at_an_epoch() -> None:
    first, second, *_ = advice(at(10, 18, 20, 24, once=True), at(20, 28, 30, 33, measured=True, once=True))
    assert first.startswith("Use kick at epoch 10: ")
    assert second.endswith("from 6 runs perturbed at epoch 20.")


def test_a_full_reset_that_may_be_there_under_another_name_is_asked_for() -> None:
    restart = dataclasses.replace(at(10, 18, 20, 60), perturbation="full_reset", method="restart", source=None)
    for name, asked in (("my_reset", True), ("partial_reset", False)):
        measured = dataclasses.replace(at(20, 28, 30, 33, measured=True), perturbation=name)
        assert (
            "If such runs are there under another name, give them as full_reset." in advice(restart, measured)
        ) is asked
