"""Predictions held against known answers: the rates at which verdicts are right, and their table and chart."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from companion import audit as tables_of
from companion import charts
from companion.audit import audit
from fptlib import tables
from fptlib.errors import InputError
from fptlib.processes import Annealed, Process
from known import DELAYED, KICK

ANNEALED = Annealed(hazard=0.005, hazard_after=0.15, epochs=100)


def ask(process: Process, *, periods: list[int], horizon: int = 100, repeats: int = 4, **more: Any) -> pd.DataFrame:
    """Audit predictions from a period of 20."""
    sizes = {"n_runs": 300, "n_perturbed": 300, "n_boot": 100, "threshold": 0.5}
    return audit(process, period=20, periods=periods, horizon=horizon, repeats=repeats, **sizes, **more)


def test_the_mean_error_is_that_of_the_form() -> None:
    near, far = ask(KICK, periods=[20, 5], form="2", horizon=200, repeats=12).itertuples()
    assert abs(near.error) < 0.05  # a measurement
    tau = [KICK.residual_mean(p) for p in (20, 5)]
    error = 0.98**5 * (tau[0] - tau[1]) / KICK.mfpt(5)
    assert far.error == pytest.approx(error, abs=0.08)
    assert (far.off, far.missed, far.valid) == (1, 0, 0)


def test_what_the_forms_hold_for_is_vouched_for_and_covered() -> None:
    table = ask(DELAYED, periods=[20, 40], repeats=10)
    assert table["valid"].min() >= 0.8
    assert table["missed"].max() == 0
    assert table["covered"].min() >= 0.7


def test_what_no_metric_shows_is_missed() -> None:
    (blind,) = ask(ANNEALED, periods=[50], form="2").itertuples()
    assert blind.error < -0.1
    assert blind.missed > 0


def test_what_ensembles_are_taken_for_decides() -> None:
    right, swapped, shifted = (ask(KICK, periods=[40], **how) for how in ({}, {"swapped": True}, {"assumed": 10}))
    assert right["exact"].tolist() == swapped["exact"].tolist() == shifted["exact"].tolist()
    assert len({right.loc[0, "mean"], swapped.loc[0, "mean"], shifted.loc[0, "mean"]}) == 3


def test_shares_add_up_and_the_same_seed_gives_the_same_audit() -> None:
    table = ask(KICK, periods=[10, 5])
    pd.testing.assert_frame_equal(ask(KICK, periods=[10, 5]), table)
    assert not ask(KICK, periods=[10, 5], seed=1).equals(table)
    assert table["period"].tolist() == [10, 5]
    np.testing.assert_allclose(table["valid"] + table["unverified"] + table["not_valid"], 1)
    assert (table["missed"] <= table[["off", "valid"]].min(axis=1)).all()
    assert table["false_alarm"].between(-1e-12, 1 - table["off"] + 1e-12).all()


def test_errors_put_both_intervals_against_each_other() -> None:
    predicted = pd.DataFrame(
        {"period": [5, 10, 20], "mean": [12.0, 10, 10], "low": [11.0, 9, 9], "high": [13.0, 11, 11], "status": "valid"}
    )
    measured = pd.DataFrame({"period": [5, 10], "mean": [10.0, 10], "low": [8.0, 8], "high": [12.5, 12.5]})
    table = tables.error_table(predicted, measured)
    assert table["period"].tolist() == [5, 10]
    np.testing.assert_allclose(table["off"], [0.2, 0.0])
    np.testing.assert_allclose(table["off_low"], [11 / 12.5 - 1, 9 / 12.5 - 1])
    np.testing.assert_allclose(table["off_high"], [13 / 8 - 1, 11 / 8 - 1])
    known = tables.error_table(predicted, measured[["period", "mean"]])
    np.testing.assert_allclose(known["off_high"], [0.3, 0.1])
    chart = charts.errors({"one": table, "two": known.assign(status="not valid", off=[3.0, 0.0])})
    spec = json.loads(chart.to_json())
    assert "at most +300 % at period 5 (not valid)" in spec["description"]
    titles = {layer["encoding"]["y"].get("title") for layer in spec["layer"]}
    assert "prediction less truth (% of truth)" in titles


def test_no_study_is_refused() -> None:
    with pytest.raises(InputError, match="repeats is 0"):
        ask(KICK, periods=[5], repeats=0)


def test_tables_list_what_is_off_and_how_it_was_called() -> None:
    table = ask(KICK, periods=[20, 5], form="2", horizon=200)
    (line,) = tables_of.failures_known({("fails", "kick"): table}).to_dict("records")
    assert (line["period"], line["missed"], line["exact"]) == (5, "0%", "14.3")
    exact = [f"{KICK.restricted_mean(horizon=200, period=p):.1f}" for p in (20, 5)]
    assert tables_of.spelled_audit(table)["exact"].tolist() == exact
    assert tables_of.audit_errors(table)["status"].tolist() == ["valid", "not valid"]
    predicted = pd.DataFrame(
        {"period": [5, 10], "mean": [13.0, 10], "low": [12.0, 9], "high": [14.0, 11], "status": "valid", "reason": "x"}
    )
    measured = pd.DataFrame({"period": [5, 10], "mean": [10.0, 10], "low": [8.0, 8], "high": [11.0, 12.5]})
    (row,) = tables_of.failures_measured({("fails", "case"): (predicted, measured)}).to_dict("records")
    assert (row["period"], row["off"], row["chance"], row["status"]) == (5, "+30 %", "", "valid")
    runs = DELAYED.sample(np.random.default_rng(0), n_runs=50, horizon=60, period=20)
    measured = tables.measured_table({20: runs}, threshold=0.5)
    assert measured.loc[0].to_dict() == tables.measured_row(runs, period=20, threshold=0.5)
