"""Means over runs against the epoch: the table and its chart."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fptlib import charts, tables
from fptlib.errors import InputError
from fptlib.trajectories import Trajectories


def some(values: NDArray[np.float64]) -> Trajectories:
    return Trajectories(metrics={"test_metric": values}, run=np.arange(len(values)))


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


def test_the_chart_names_axes_lines_and_the_marked_epoch() -> None:
    table = tables.mean_table(some(np.random.default_rng(0).normal(size=(6, 8))))
    spec = charts.lines({"none": table, "kick": table}, at=3).to_dict()
    assert [layer["mark"]["type"] for layer in spec["layer"]] == ["area", "line", "rule"]
    assert spec["layer"][1]["encoding"]["y"]["title"] == "mean test accuracy (fraction)"
    assert spec["description"] == "mean test accuracy (fraction) against epoch: none, kick; epoch 3 is marked."
    bare = charts.lines({"one": pd.DataFrame({"epoch": [1, 2], "factor": [1.0, 0.5]})}, y="factor", title="factor")
    assert [layer["mark"]["type"] for layer in bare.to_dict()["layer"]] == ["line"]
