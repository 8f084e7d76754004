"""Rankings in words, and frames of a metric over runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fptlib import tables
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.processes import OrnsteinUhlenbeck
from fptlib.response import FinalMetric, Ranking, recommend
from fptlib.response.results import least
from fptlib.study import Study
from fptlib.tables import quantile_table
from fptlib.trajectories import Target, Trajectories, retire

PROCESS = OrnsteinUhlenbeck(shrink=0.4)


def some(values: NDArray[np.float64]) -> Trajectories:
    return Trajectories(metrics={"test_metric": values}, run=np.arange(len(values)))


def sample(seed: int, period: int | None = None) -> Trajectories:
    return PROCESS.sample(np.random.default_rng(seed), n_runs=150, horizon=60, period=period)


@pytest.fixture(scope="module")
def ranking() -> Ranking:
    kicked: Any = {(name, p): sample(i + p, p) for i, name in enumerate("ab") for p in (5, 10)}
    return recommend(Study(sample(0), kicked, PROCESS.threshold, n_boot=50))


# Closed forms


def test_quantiles_of_five_runs_by_hand() -> None:
    runs = Trajectories(metrics={"m": np.array([[0.0, 9], [1, 9], [2, 9], [3, 9], [4, 9]])}, run=np.arange(5))
    table = quantile_table(runs)
    assert table.columns.tolist() == ["epoch", "q05", "q25", "q50", "q75", "q95", "mean"]
    np.testing.assert_allclose(table.to_numpy(), np.array([[1, 0.2, 1, 2, 3, 3.8, 2], [2, 9, 9, 9, 9, 9, 9]]))


def test_quantiles_are_those_of_the_runs_that_are_followed() -> None:
    values = np.array([[0.0, 9], [1, np.nan], [2, 5]])
    runs = Trajectories(metrics={"m": values}, run=np.arange(3), followed=np.array([2, 1, 2]))
    table = quantile_table(runs)
    assert table["q50"].tolist() == [1, 7]
    assert table["mean"].tolist() == [1, 7]
    assert len(quantile_table(runs.head(runs=2))) == 2
    only = Trajectories(metrics={"m": values[[1]]}, run=np.arange(1), followed=np.array([1]))
    assert len(quantile_table(only)) == 1  # nobody is followed to epoch 2


def test_notes_are_said_once_with_their_periods(ranking: Ranking) -> None:
    lines = tables.doubts(ranking)
    assert len(lines) == len(set(lines))
    spans = [tables._spans(ranking, "a", periods) for periods in ([1, 2, 3], [1, 3, 5, 7], [10])]
    assert spans == ["at periods 1 to 3", "at periods 1, 3 to 7", "at period 10"]


# Laws


def test_the_interval_is_student_s() -> None:
    values = np.random.default_rng(0).normal(size=(7, 4))
    table = tables.mean_table(some(values), level=0.9)
    for column, row in zip(values.T, table.itertuples(), strict=True):
        low, high = stats.ttest_1samp(column, 0).confidence_interval(0.9)
        assert (row.mean, row.low, row.high) == pytest.approx((column.mean(), low, high))
    assert table["epoch"].tolist() == [1, 2, 3, 4]


@settings(max_examples=20)
@given(shift=st.floats(-2, 2), seed=st.integers(0, 99))
def test_a_difference_leaves_out_what_runs_share(shift: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(5, 3))
    table = tables.mean_table(some(values + shift), minus=some(values))
    for column in ("mean", "low", "high"):
        assert table[column].to_numpy() == pytest.approx(shift, abs=1e-9)


def test_other_runs_and_single_runs_are_refused() -> None:
    values = np.zeros((3, 2))
    with pytest.raises(InputError, match="minus: not the same runs"):
        tables.mean_table(some(values), minus=some(values[:2]))
    with pytest.raises(InputError, match="1 run has no spread; 2 or more"):
        tables.mean_table(some(values[:1]))


@pytest.mark.parametrize("most", [3, 6, 11, None])
def test_the_shortlist_keeps_what_matters_most_in_the_order_of_the_ranking(ranking: Ranking, most: int | None) -> None:
    shown = tables.shortlist(ranking, most=most)
    assert len(shown) == min(most or 99, len(ranking.predictions))
    places = [ranking.predictions.index(p) for p in shown if p.mean is not None]
    assert places == sorted(places)
    assert ranking.choice in shown
    assert ranking.next in {(p.perturbation, p.period) for p in shown} | {None}
    if most != 3:
        assert {p.perturbation for p in shown} == {p.perturbation for p in ranking.predictions}


def test_words_say_the_numbers_and_an_open_mean_is_a_range_only(ranking: Ranking) -> None:
    for p, row in zip(ranking.predictions, tables.in_words(ranking, ranking.predictions), strict=True):
        assert row["95 % interval"] == f"{p.low:.1f} to {p.high:.1f}"
        assert (row["epochs"] is None) == (p.grade == "open")
        assert (row[""] == "choice") == (p is ranking.choice)
        assert str(row["known"]).startswith("measured") if p.measured else str(row["known"]).endswith(p.grade)


# Limits


def test_retired_runs_have_no_spread_over_all_runs() -> None:
    at = Target(PROCESS.threshold, metric="test_metric")
    message = r"needs runs followed to the end, and these were retired at test_metric above 1\.5"
    with pytest.raises(InputError, match=message):
        quantile_table(retire(sample(0), at))


def test_open_rows_come_last_by_what_is_shown_and_bounds_are_those_of_the_advice(ranking: Ranking) -> None:
    shown = tables.shortlist(ranking, most=None)
    rows = tables.in_words(ranking, shown)
    means = [p.mean for p in shown]
    n = sum(mean is not None for mean in means)
    assert means[:n] == sorted(means[:n])  # type: ignore[type-var]
    assert all(row["epochs"] is None for row in rows[n:])
    assert [p.low for p in shown[n:]] == sorted(p.low for p in shown[n:])
    assert [least(x) for x in (1.26, 9.99, 11.9)] == [1.2, 9.9, 11]  # as the advice has it


def test_what_runs_end_with_is_said_once() -> None:
    def at(mean: float, horizon: int = 60) -> FinalMetric:
        return FinalMetric(*2 * (Estimate(mean, mean - 0.1, mean + 0.1, 9, 0, 0.95),), horizon)

    metrics: dict[str, FinalMetric | str] = {"without perturbation": at(0.5)}
    assert tables.compared(metrics) == []
    metrics |= {"a": at(0.8), "b": at(0.6), "c": at(0.1), "d": at(0.9), "e": "not known"}
    assert tables.compared(metrics) == [
        "Final metric, the mean at epoch 60: with a and d it is higher than without perturbation; with b it cannot be told apart from that "
        "without perturbation; with c it is lower than without perturbation."
    ]


def test_the_ensembles_without_a_final_metric_are_named() -> None:
    assert tables.unknown({"kick every 5 epochs": "some end", "kick every 9 epochs": "some end"}) == [
        "some end (kick every 5 epochs, kick every 9 epochs)"
    ]
