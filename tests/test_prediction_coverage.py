"""Coverage of predictions, what a grade is worth and what the rule for choosing costs: the study in benchmarks, in small."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from fptlib.firstpassage import FirstPassageTimes
from fptlib.response import compare, predict


@pytest.fixture(scope="module")
def load(root: Path) -> Iterator[Callable[[str], Any]]:
    """Import a script of the folder of benchmarks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        yield importlib.import_module


@pytest.fixture(scope="module")
def bench(load: Callable[[str], Any]) -> Any:
    return load("prediction_coverage")


@pytest.fixture(scope="module")
def exact(load: Callable[[str], Any]) -> Any:
    return load("interval_coverage")


@pytest.fixture(scope="module")
def cases(bench: Any) -> list[Any]:
    """The published CIFAR-10 at 72 %, CIFAR-100 with and without momentum, and the kept experiments."""
    sets = [
        bench.published_cases("cifar10", (72.0,)),
        *map(bench.published_cases, ("cifar100", "cifar100_momentum")),
    ]
    return [replace(case, replicates=300) for some in (*sets, bench.kept_cases()) for case in some]


@pytest.fixture(scope="module")
def predicted(bench: Any, cases: list[Any]) -> pd.DataFrame:
    exponents = {"1/3": bench.EXPONENTS["1/3"]}
    return bench.judged([row for case in cases for row in bench.cells(case, exponents=exponents, n_boot=100)])  # type: ignore[no-any-return]


def times(*epochs: int, horizon: int, first: int = 0) -> FirstPassageTimes:
    """Return first-passage times by hand; what lies beyond the horizon is censored there."""
    values = np.array(epochs)
    return FirstPassageTimes(np.minimum(values, horizon), values <= horizon, np.arange(len(values)) + first)


# By hand


def row(predicted: float, low: float, high: float, measured: float, noise: float = 0.0) -> dict[str, Any]:
    ends = {"measured": measured, "measured_low": measured - noise, "measured_high": measured + noise}
    return {"predicted": predicted, "low": low, "high": high, "horizon": 100, "factor": high / predicted} | ends


def test_what_is_covered(bench: Any) -> None:
    inside, outside = row(20, 18, 24, 23), row(20, 18, 24, 25)
    near, far = (
        row(20, 18, 24, 24.5, noise=2.5),
        row(20, 18, 24, 27, noise=4),
    )  # far: the intervals meet, the two disagree
    unknown = row(np.nan, 5, 60, 30) | {"factor": np.inf}
    table = bench.judged([inside, outside, near, far, unknown])
    assert list(table["bare"]) == [True, False, False, False, True]
    assert list(table["covered"]) == [True, False, True, False, True]
    assert list(table["meet"]) == [True, False, True, True, True]
    assert list(table["to 20 %"]) == [True] * 4 + [False]


def test_cells_at_the_horizon_do_not_count(bench: Any) -> None:
    both, one, unknown = row(100, 90, 100, 100), row(100, 90, 100, 80), row(np.nan, 5, 100, 99.95)
    assert list(bench.judged([both, one, unknown | {"factor": np.inf}]).index) == [1]


def test_exponent_is_chosen_without_the_setting_it_is_judged_on(bench: Any) -> None:
    by_exponent = {
        "0": (0.7, 1.0, 1.0),
        "1/6": (0.9, 0.95, 1.0),
        "1/4": (1.0, 1.0, 1.0),
        "1/3": (1.0,) * 3,
        "1/2": (1.0,) * 3,
    }
    rows = [(e, "abc"[i], share) for e, shares in by_exponent.items() for i, share in enumerate(shares)]
    shares = pd.DataFrame(rows, columns=["exponent", "setting", "covered"]).set_index(["exponent", "setting"])
    held = bench.held_out(shares)
    # Without a, 0 is enough, and misses on a; with a, 1/6 covers .925 or .95 on average.
    assert list(zip(held["setting"], held["exponent"], held["covered"], strict=True)) == [
        ("a", "0", 0.7),
        ("b", "1/6", 0.95),
        ("c", "1/4", 1.0),
    ]


def test_cycles_that_passed_alike(bench: Any) -> None:
    halves = [15] * 60 + [25] * 30 + [35] * 15 + [99] * 15
    assert bench.passed_alike(times(*halves, horizon=60), 10, 60)
    assert not bench.passed_alike(times(*[15] * 110, *[25] * 2, *[99] * 40, horizon=60), 10, 60)
    assert not bench.passed_alike(times(*halves, horizon=20), 10, 20)  # one cycle was seen


def test_draws_have_the_size_and_the_same_seeds_where_they_are_shared(bench: Any) -> None:
    plain, many, few = (
        times(*range(1, 41), horizon=50),
        times(*range(5, 25), horizon=50),
        times(*range(5, 10), horizon=50),
    )
    case = bench.Case("setting", "kick", 0.5, 50, (5,), {None: plain, 5: many, 9: few}, shared=True)
    drawn = case.draw(8, np.random.default_rng(0))
    assert [drawn[period].n_runs for period in (None, 5, 9)] == [8, 8, 5]
    assert set(drawn[None].run) == set(drawn[5].run)
    assert len(set(drawn[None].run)) == 8
    assert all(drawn[period].time[0] == case.times[period].time[drawn[period].run[0]] for period in (None, 5, 9))


# The study in small


def test_predictions_cover_and_grades_hold(bench: Any, predicted: pd.DataFrame) -> None:
    overall = bench.over_settings(bench.by_setting(predicted.assign(of="all"), "of"), "of").iloc[0]
    assert len(predicted) > 350
    assert overall["meet"] >= 0.95
    assert overall["covered"] >= 0.94
    assert overall["lowest"] >= 0.8
    assert overall["to 20 %"] >= 0.37
    assert overall["to a factor 1.5"] >= 0.57
    grades = bench.grade_table(predicted).set_index("grade")
    assert grades.loc["to 10 %", "within 20 %"] >= 0.99
    assert grades.loc["to 20 %", "within 20 %"] >= 0.95
    assert (predicted.loc[predicted["to 20 %"] & (predicted["source"] == 100), "off"] <= 0.2).all()


def test_grades_of_the_published_example(predicted: pd.DataFrame) -> None:
    here = (predicted["setting"] == "cifar10") & (predicted["perturbation"] == "shrink_perturb")
    grades = predicted[here & (predicted["threshold"] == 72) & (predicted["source"] == 50)].set_index("period")["grade"]
    assert (grades.loc[15:] == "to 10 %").all()
    assert (grades.loc[:3] == "open").all()


def test_figures_that_the_kept_tables_reach(root: Path) -> None:
    folder = root / "book" / "results" / "prediction_coverage"
    reached = pd.read_csv(folder / "required.csv").set_index("figure")["reached"]
    for held in ("", ", exponent held out"):
        assert reached[f"meet: coverage{held}"] >= 0.95
        assert reached[f"meet: lowest setting{held}"] >= 0.8
    # Required of the ratio that holds 1 are .95 on average and .80 in the lowest setting; it reaches neither (.938 and .76).
    assert reached["covered: coverage"] >= 0.93
    assert reached["share to 20 %"] >= 0.37
    assert reached["share to a factor 1.5"] >= 0.57
    assert reached["of those to 20 %, within 20 %"] >= 0.97
    mean = pd.read_csv(folder / "regret.csv").query("setting == 'mean'").set_index("runs")
    assert mean.loc["all", "the rule"] <= 0.14
    assert mean.loc["8 + 8", "the rule"] <= 0.2
    for runs in ("5 + 5", "8 + 8", "20 + 20"):
        assert (mean.loc[runs, ["meet", "covered", "bare"]] >= 0.93).all()


PLAIN_NUMPY = {  # period: mean, low, high, computed apart from the library with 2000 replicates; shrink-and-perturb, 72 %, P0 = 50
    2: (15.583, 3.0, 47.3),
    5: (9.697, 6.79, 15.21),
    10: (14.012, 12.32, 16.89),
    20: (18.636, 18.04, 19.39),
    50: (30.034, 28.83, 31.29),
    100: (47.062, 44.4, 49.9),
}


def test_numbers_of_a_computation_apart(cases: list[Any]) -> None:
    (case,) = (c for c in cases if (c.setting, c.perturbation, c.threshold) == ("cifar10", "shrink_perturb", 72.0))
    ranking = predict(case.study(50, n_boot=1000), list(PLAIN_NUMPY))
    for p in ranking.predictions:
        mean, *ends = PLAIN_NUMPY[p.period or 0]
        assert p.centre == pytest.approx(mean, abs=1e-3)
        assert (p.low, p.high) == pytest.approx(ends, rel=0.02)


def test_coverage_is_that_of_compare(bench: Any, cases: list[Any], predicted: pd.DataFrame) -> None:
    case = next(c for c in cases if c.setting == "cifar100")
    truths = {(case.perturbation, period): case.truth(period) for period in case.periods}
    answer = compare(predict(case.study(20, n_boot=100), case.periods), truths).to_frame().set_index("period")
    own = predicted[
        (predicted["setting"] == "cifar100") & (predicted["threshold"] == case.threshold) & (predicted["source"] == 20)
    ]
    own = own.set_index("period").loc[answer.index]
    assert list(own["covered"]) == list(answer["covered"])
    assert list(own["bare"]) == list(answer["covered_bare"])
    assert not own["covered"].all()


def test_few_runs(bench: Any, cases: list[Any]) -> None:
    rows = pd.concat([bench.drawn(case, 8, draws=2, n_boot=50, seed=(i,)) for i, case in enumerate(cases)])
    table = bench.regret_table(rows, "8 + 8").set_index("setting")
    mean = table.loc["mean"]
    assert mean["bare"] >= 0.93
    assert mean["the rule"] < 0.7 * mean["stay at P0"]
    assert mean["the rule"] <= mean["smallest cycles"]
    assert 0.2 < mean["asked"] < 0.6
    assert mean["answered"] > 0.97
    assert mean["to a factor 2"] > 0.2


# Processes whose answers are known


def test_intervals_cover_where_the_answer_is_known(exact: Any) -> None:
    chosen = [
        ("chain", 40, False),
        ("delayed", 40, False),
        ("reset", 40, False),
        ("kick", 12, False),
        ("kick", 40, True),
    ]
    cases = {(c.name, c.survivors, c.shared): c for c in exact.cases()}
    results = pd.concat([exact.coverage(cases[key], repeats=40, n_boot=150, seed=11) for key in chosen])
    for quantity, part in results.groupby("quantity"):
        low, high = stats.binomtest(int(part["covered"].sum()), int(part["repeats"].sum())).proportion_ci(0.99)
        assert high > 0.95, quantity
        assert quantity == "prediction" or low < 0.97  # a prediction for another period allows for more than sampling
    assert (results["covered"] > 0.8 * results["repeats"]).all()
    assert results["noted"].sum() < 0.1 * results["repeats"].sum()
    assert "kick, 40, forks" in exact.table(results)


def test_a_residual_time_that_drifts_is_covered_and_noted(exact: Any) -> None:
    case = next(c for c in exact.cases() if c.name == "drift")
    results = exact.coverage(case, repeats=10, n_boot=100).set_index("quantity")
    assert (results.loc["prediction", ["covered", "noted"]] == 10).all()


def test_a_kind_that_no_survivor_shows_is_in_no_interval(exact: Any) -> None:
    case = next(c for c in exact.cases() if c.unseen)
    results = exact.coverage(case, repeats=30, n_boot=100).set_index("quantity")
    assert results.loc["residual", "covered"] < 27
    assert results.loc["residual", "above"] > 5 * results.loc["residual", "below"]
    assert "unseen kinds" in exact.table(results.reset_index())
