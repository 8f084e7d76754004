"""Predictions held against known answers: the rates at which verdicts are right, and their table and chart."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from companion import ledger
from companion.audit import Audit, audit
from fptlib import charts, tables
from fptlib.errors import InputError
from fptlib.processes import Annealed, Process
from fptlib.trajectories import Trajectories
from known import DELAYED, KICK

ANNEALED = Annealed(hazard=0.005, hazard_after=0.15, epochs=100)


def ask(
    process: Process, *, periods: list[int], horizon: int = 100, repeats: int = 4, **more: Any
) -> tuple[Audit, ...]:
    """Audit predictions from a period of 20."""

    def draw(rng: np.random.Generator) -> tuple[Trajectories, Trajectories]:
        plain, kicked = (process.sample(rng, n_runs=300, horizon=horizon, period=p) for p in (None, 20))
        return plain, kicked

    def exact(period: int) -> float:
        return process.restricted_mean(horizon=horizon, period=period)

    return audit(draw, exact, period=20, periods=periods, threshold=0.5, repeats=repeats, n_boot=100, **more)


def test_the_mean_error_is_that_of_the_form() -> None:
    near, far = ask(KICK, periods=[20, 5], form="2", horizon=200, repeats=12)
    assert abs(near.error) < 0.05  # a measurement
    tau = [KICK.residual_mean(p) for p in (20, 5)]
    error = 0.98**5 * (tau[0] - tau[1]) / KICK.mfpt(5)
    assert far.error == pytest.approx(error, abs=0.08)
    assert (far.off, far.missed, far.valid) == (1, 0, 0)


def test_what_the_forms_hold_for_is_vouched_for_and_covered() -> None:
    for found in ask(DELAYED, periods=[20, 40], repeats=10):
        assert found.valid >= 0.8
        assert found.missed == 0
        assert found.covered >= 0.7


def test_what_no_metric_shows_is_missed() -> None:
    (blind,) = ask(ANNEALED, periods=[50], form="2")
    assert blind.error < -0.1
    assert blind.missed > 0


def test_shares_add_up_and_the_same_seed_gives_the_same_audit() -> None:
    found = ask(KICK, periods=[5, 10])
    assert ask(KICK, periods=[5, 10]) == found
    assert ask(KICK, periods=[5, 10], seed=1) != found
    for row in found:
        assert row.valid + row.unverified + row.not_valid == pytest.approx(1)
        assert 0 <= row.missed <= min(row.off, row.valid)
        assert -1e-12 <= row.false_alarm <= 1 - row.off + 1e-12
    table = ledger.audit_table(found)
    assert table["missed"].tolist() == [row.missed for row in found]
    assert table["period"].tolist() == [5, 10]


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


def test_the_ledger_lists_what_is_off_and_how_it_was_called() -> None:
    known = {("fails", "kick"): ledger.audit_table(ask(KICK, periods=[20, 5], form="2", horizon=200))}
    (line,) = ledger.failures_known(known).to_dict("records")
    assert (line["period"], line["missed"], line["exact"]) == (5, "0%", "14.3")
    spelled = ledger.spelled_audit(known["fails", "kick"])
    assert spelled["exact"].tolist() == [f"{KICK.restricted_mean(horizon=200, period=p):.1f}" for p in (20, 5)]
    drawn = ledger.audit_errors(known["fails", "kick"])
    assert drawn["status"].tolist() == ["valid", "not valid"]
    predicted = pd.DataFrame(
        {"period": [5, 10], "mean": [13.0, 10], "low": [12.0, 9], "high": [14.0, 11], "status": "valid", "reason": "x"}
    )
    measured = pd.DataFrame({"period": [5, 10], "mean": [10.0, 10], "low": [8.0, 8], "high": [11.0, 12.5]})
    (row,) = ledger.failures_measured({("fails", "case"): (predicted, measured)}).to_dict("records")
    assert (row["period"], row["off"], row["chance"], row["status"]) == (5, "+30 %", "", "valid")
    runs = DELAYED.sample(np.random.default_rng(0), n_runs=50, horizon=60, period=20)
    table = tables.measured_table({20: runs}, threshold=0.5)
    assert table.loc[0].to_dict() == tables.measured_row(runs, period=20, threshold=0.5)
