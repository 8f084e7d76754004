"""The choice between perturbations and periods, and the advice in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib.errors import InputError
from fptlib.processes import DelayedGeometric, GeometricWithKick
from fptlib.response import Prediction, at_each, predict, recommend
from fptlib.response.interval import Interval
from fptlib.response.ranking import choose
from fptlib.study import Cause, Study
from fptlib.trajectories import Trajectories
from known import DELAYED, KICK, RESET, SHRINK, sampled

FAST = DelayedGeometric(silent=12, hazard=0.01, silent_after=1, hazard_after=0.4)


def study(*, n_runs: int = 500, target: float = 0.5, **processes: Any) -> Study:
    """Return a study of processes that are alike without perturbation, each perturbed every 20 epochs."""
    first = next(iter(processes.values()))
    kicked = {(name, 20): sampled(p, i + 1, n_runs=n_runs, period=20) for i, (name, p) in enumerate(processes.items())}
    return Study(sampled(first, n_runs=n_runs), kicked, target, n_boot=200)


def at(
    period: int | None, centre: float, *, spread: float = 1.1, measured: bool = False, name: str = "kick"
) -> Prediction:
    """Return a prediction with a mean and a symmetrical interval."""
    interval = Interval(centre, centre / spread, centre * spread, (centre, centre))
    method: Any = "measured" if measured or period is None else "cycles"
    return Prediction(None if period is None else name, period, interval, method, None, 30, 0, 0.95)


NOTHING = at(None, 50.0)


# The rule, by hand


def test_a_prediction_is_chosen_where_its_upper_end_beats_the_best_measurement() -> None:
    sure, likely = at(10, 20.0, spread=1.4), at(10, 20.0, spread=1.6)
    home = at(20, 30.0, measured=True)
    assert choose([NOTHING, at(5, 22.0), sure, home]) == (sure, None)  # 28 < 30
    assert choose([NOTHING, at(5, 22.0), likely, home]) == (home, ("kick", 10))  # 32 > 30: one more ensemble there
    assert choose([NOTHING, likely]) == (likely, ("kick", 5))  # 32 < 50, and nothing below 10 was looked at
    assert choose([NOTHING, at(1, 20.0)]) == (at(1, 20.0), None)  # there is nothing below
    assert choose([NOTHING, at(10, 60.0)]) == (NOTHING, None)
    assert choose([NOTHING, at(5, 45.0, measured=True), at(9, 60.0)]) == (at(5, 45.0, measured=True), ("kick", 2))


means = st.lists(st.tuples(st.integers(1, 90), st.floats(1, 99), st.floats(1, 9), st.booleans()), max_size=8)


@given(cells=means)
def test_the_choice_is_never_worse_than_the_best_measurement_and_next_is_never_measured(cells: Any) -> None:
    candidates = [
        NOTHING,
        *(at(p, mean, spread=s, measured=m) for p, mean, s, m in {c[0]: c for c in cells}.values()),
    ]
    choice, following = choose(candidates)
    best = min(p.centre for p in candidates if p.measured)
    assert choice.centre <= best
    assert choice.measured or choice.high < best
    if following is not None:
        assert following not in {(p.perturbation, p.period) for p in candidates if p.measured}


# Processes


def test_the_better_perturbation_wins_and_its_mean_is_the_exact_one() -> None:
    answer = recommend(study(slow=DELAYED, fast=FAST), [15, 20, 40])
    assert answer.choice.perturbation == "fast"
    assert answer.choice.centre == pytest.approx(FAST.restricted_mean(horizon=150, period=15), rel=0.05)
    assert [p.centre for p in answer.predictions] == sorted(p.centre for p in answer.predictions)
    assert {p.perturbation for p in answer.predictions} == {None, "slow", "fast", "full_reset"}
    assert answer.speedup().low > 1
    assert answer.speedup(answer.at(None)).mean == 1
    assert answer.advice[0].startswith("Use fast every 15 epochs")


def test_a_full_reset_is_ranked_without_a_perturbed_run_and_not_where_nobody_passes_within_a_period() -> None:
    alone = recommend(Study(sampled(RESET, n_runs=400), {}, 1.5, n_boot=100), [20, 40])
    for p in alone.predictions:
        assert p.method == ("measured" if p.period is None else "restart")
        assert p.low < RESET.restricted_mean(horizon=150, period=p.period) < p.high
    assert "measure another perturbation" in alone.advice[-2]
    late = recommend(Study(sampled(DELAYED), {}, 0.5, n_boot=50), [5, 10, 13, 40])
    assert [p.period for p in late.predictions if p.perturbation == "full_reset"] >= [13]
    assert not any(p.period in (5, 10) for p in late.predictions)


def test_a_perturbation_that_harms_is_not_recommended() -> None:
    harmful = DelayedGeometric(silent=0, hazard=0.05, silent_after=25, hazard_after=0.02)
    answer = recommend(study(harm=harmful), [10, 20, 40])
    assert answer.choice.period is None
    assert answer.advice[0].startswith("Train without perturbation")
    json.dumps(answer.to_dict())


def test_several_measured_periods_predict_from_the_nearest_and_disagreement_is_noted() -> None:
    plain = sampled(KICK, n_runs=2000)
    kicked = {("kick", p): sampled(KICK, period=p, n_runs=2000) for p in (2, 64)}
    answer = predict(Study(plain, kicked, 0.5, n_boot=200), [2, 8, 16, 64, 100])
    assert [p.source for p in answer.predictions] == [2, 2, 64, 64, 64]
    assert [p.measured for p in answer.predictions] == [True, False, False, True, False]
    spoilt = kicked | {
        ("kick", 64): sampled(
            DelayedGeometric(silent=0, hazard=0.02, silent_after=0, hazard_after=0.9), 5, period=64, n_runs=2000
        )
    }
    noted = predict(Study(plain, spoilt, 0.5, n_boot=200), [2, 64]).predictions
    assert any(note.cause is Cause.DISJOINT for p in noted for note in p.notes)


def test_periods_are_whole_numbers_however_they_are_written() -> None:
    one = study(kick=SHRINK, target=1.5, n_runs=60)
    assert predict(one, [40.0, np.int64(10)]).predictions == predict(one, [10, 40]).predictions  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"period 2\.5 is not between"):
        predict(one, [2.5])  # type: ignore[list-item]


def test_a_prediction_of_one_perturbation_chooses_among_its_periods() -> None:
    answer = predict(study(kick=SHRINK, target=1.5))
    assert [p.period for p in answer.predictions] == [1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100]
    assert answer.choice in answer.predictions
    assert answer.residual is not None
    period, residual = answer.residual
    assert period == 20
    assert residual.low < SHRINK.residual_mean(20) < residual.high
    short = predict(study(kick=SHRINK, target=1.5), [40])
    assert short.choice.period in (20, 40)  # what was measured counts, whatever was asked for


# Few runs, and words


def few(n: int, kick: float) -> Study:
    process = GeometricWithKick(hazard=0.02, kick=kick)
    return Study(
        sampled(process, 1, n_runs=n), {("kick", 20): sampled(process, 2, n_runs=n, period=20)}, 0.5, n_boot=200
    )


def test_eight_runs_say_what_can_be_said() -> None:
    helped = recommend(few(8, 0.95), [10, 20])
    assert helped.speedup().low > 1
    assert "at least" in helped.advice[0]
    open_ = recommend(few(8, 0.05), [10, 20])
    assert "only" not in open_.advice[0].lower()
    assert open_.choice is not None
    assert open_.next is not None or open_.choice.period in (None, 10, 20)


@pytest.mark.parametrize("n", [8, 500])
def test_the_advice_is_a_few_whole_sentences_and_says_what_the_numbers_say(n: int) -> None:
    answer = recommend(study(n_runs=n, slow=DELAYED, fast=FAST))
    for sentence in answer.advice:
        assert sentence[0].isupper() or sentence[0].isdigit()
        assert sentence.endswith(".")
        assert "..." not in sentence
        assert "nan" not in sentence
        assert "None" not in sentence
    assert len(answer.advice) <= 5
    assert f"{answer.choice.low:.1f} to {answer.choice.high:.1f}" in answer.advice[0]


# Results as tables and JSON


def test_results_become_json_and_tables() -> None:
    answer = recommend(study(slow=DELAYED, fast=FAST))
    content = json.loads(json.dumps(answer.to_dict(), allow_nan=False))
    assert {"threshold", "unperturbed", "qss", "ranking", "choice", "next", "advice", "notes"} == set(content)
    fields = {
        "perturbation",
        "period",
        "mean",
        "low",
        "high",
        "sampling",
        "method",
        "factor",
        "grade",
        "measured",
        "notes",
    }
    assert all(set(entry) == fields for entry in content["ranking"])
    assert all((entry["mean"] is None) == (entry["grade"] == "open") for entry in content["ranking"])
    assert set(content["choice"]) == fields | {"speedup"}
    frame = answer.to_frame()
    assert len(frame) == len(answer.predictions)
    assert (frame["low"] <= frame["high"]).all()
    assert {"speedup", "speedup_low", "source", "grade"} <= set(frame)


def test_a_replicate_without_survivors_says_nothing() -> None:
    runs, later = (
        Trajectories(metrics={"m": np.array([first, second, *[[1.0] * 5] * 8])}, run=np.arange(10))
        for first, second in (([0, 0, 0, 1.0, 1], [0, 0, 0, 0, 1.0]), ([0, 0, 1.0, 1, 1], [0, 0, 0, 1.0, 1]))
    )
    p = predict(Study(runs, {("kick", 1): later}, 1.0, n_boot=200), [2]).predictions[0]
    assert p.low <= p.centre <= p.high


def test_thresholds_without_an_answer_say_why() -> None:
    one = study(kick=SHRINK, target=1.5)
    answers = at_each([1.0, 1.5, 99.0], lambda x: recommend(one.at(x)))
    assert isinstance(answers[99.0], str)
    assert "no run reaches the threshold 99" in answers[99.0]
    assert not isinstance(answers[1.5], str)
    with pytest.raises(InputError, match="no run reaches the threshold 98"):
        at_each([98.0, 99.0], lambda x: recommend(one.at(x)))


@pytest.mark.parametrize(
    ("names", "periods", "message"),
    [
        (("a", "b"), None, "the study holds several perturbations (a, b); recommend compares them"),
        ((), None, "the study holds no perturbed runs"),
        (("a",), [5, 0], "period 0 is not between 1 and 149"),
        (("a",), [150], "period 150 is not between 1 and 149, below the horizon 150"),
    ],
)
def test_questions_that_a_study_cannot_answer_are_one_clear_line(names: Any, periods: Any, message: str) -> None:
    plain = sampled(DELAYED)
    kicked = {(name, 20): sampled(DELAYED, i + 1, period=20) for i, name in enumerate(names)}
    with pytest.raises(InputError) as refused:
        predict(Study(plain, kicked, 0.5, n_boot=20), periods)
    assert message in str(refused.value)
