"""Tables hold what the estimates hold, one row for each epoch, bin or period."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fptlib import tables
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, hazard, residual_times, restricted_mean, survival
from fptlib.former import predict
from fptlib.processes import GeometricWithKick, OrnsteinUhlenbeck
from fptlib.qss import assess_qss
from fptlib.study import Study
from fptlib.tables import hazard_table, measured_row, quantile_table, response_table, state_table, survival_table
from fptlib.trajectories import Target, Trajectories, retire

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
RUNS = PROCESS.sample(np.random.default_rng(0), n_runs=150, horizon=60)
KICKED = PROCESS.sample(np.random.default_rng(1), n_runs=150, horizon=60, period=10)
TIMES = first_passage(RUNS, PROCESS.threshold)


def some(values: NDArray[np.float64]) -> Trajectories:
    return Trajectories(metrics={"test_metric": values}, run=np.arange(len(values)))


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


def test_a_measured_row_by_hand() -> None:
    values = np.array([[1.0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1], [0, 0, 0, 0]])
    row = measured_row(Trajectories(metrics={"m": values}, run=np.arange(4)), period=2, threshold=1)
    assert (row["period"], row["n_runs"], row["n_censored"], row["n_survivors"]) == (2, 4, 1, 3)
    assert row["mean"] == pytest.approx((1 + 3 + 4 + 4) / 4)
    assert row["residual"] == pytest.approx((1 + 2 + 2) / 3)


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


def test_tables_keep_every_number_of_the_estimates() -> None:
    curve, bins, state = survival(TIMES), hazard(TIMES), assess_qss(Study(RUNS, {}, PROCESS.threshold), n_boot=20)
    for table, estimate in ((survival_table(curve), curve), (hazard_table(bins), bins), (state_table(state), state)):
        assert len(table) > 0
        for name in table.columns:
            np.testing.assert_array_equal(table[name], getattr(estimate, name))
    assert survival_table(curve).columns.tolist() == ["epoch", "survival", "low", "high"]


def test_a_measured_row_is_what_the_estimates_say() -> None:
    times = first_passage(KICKED, PROCESS.threshold)
    row = measured_row(KICKED, period=10, threshold=PROCESS.threshold)
    mean, residual = restricted_mean(times), restricted_mean(residual_times(times, period=10))
    assert (row["mean"], row["low"], row["high"]) == (mean.mean, mean.low, mean.high)
    assert (row["residual"], row["residual_low"], row["residual_high"]) == (residual.mean, residual.low, residual.high)
    assert row["n_survivors"] == residual.n_runs


def test_retired_runs_are_measured_alike_and_have_no_spread_over_all_runs() -> None:
    at = Target(PROCESS.threshold, metric="test_metric")
    whole, cut = (measured_row(runs, period=10, threshold=PROCESS.threshold) for runs in (KICKED, retire(KICKED, at)))
    assert cut == whole
    with pytest.raises(
        InputError, match=r"needs runs followed to the end, and these were retired at test_metric above 1\.5"
    ):
        quantile_table(retire(RUNS, at))


def test_a_response_keeps_order_status_and_reason() -> None:
    found = predict(RUNS, KICKED, period=10, threshold=PROCESS.threshold, periods=[30, 10, 1], n_boot=50)
    table = response_table(found)
    assert table["period"].tolist() == [30, 10, 1]
    for row, prediction in zip(table.itertuples(), found.predictions, strict=True):
        for name in ("form", "mean", "low", "high"):
            assert getattr(row, name) == getattr(prediction, name)
        assert (row.status, row.reason) == (prediction.verdict.status.value, prediction.verdict.reason)


# Limits


def test_a_row_where_nobody_survives_the_period_has_no_residual_time() -> None:
    at_once = GeometricWithKick(hazard=1.0, kick=1.0).sample(np.random.default_rng(0), n_runs=5, horizon=9)
    row = measured_row(at_once, period=3, threshold=0.5)
    assert row["n_survivors"] == 0
    assert np.isnan([row["residual"], row["residual_low"], row["residual_high"]]).all()
    assert row["mean"] == 1


def test_no_prediction_and_no_profile_are_empty_tables_with_their_columns() -> None:
    found = predict(RUNS, KICKED, period=10, threshold=PROCESS.threshold, periods=[], n_boot=2)
    assert response_table(found).empty
    assert "status" in response_table(found)
    few = state_table(assess_qss(Study(RUNS.head(runs=5), {}, PROCESS.threshold)))
    assert isinstance(few, pd.DataFrame)
    assert few.empty
    assert "p_value" in few
