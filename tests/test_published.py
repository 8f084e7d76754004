"""The published trajectories: the numbers of the paper, and the summary that stands in where they are not at hand."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from companion import published
from companion.published import summary
from fptlib import cli, sources
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, residual_times, restricted_mean
from fptlib.qss import QuasiSteadyState, judge
from fptlib.sources.source import digest_of

MEASURED = {15: "16.54", 20: "18.92", 30: "21.69", 50: "29.74", 100: "44.33"}
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "quantiles": published.quantiles,
    "survival": lambda: published.survival_curve(threshold=72),
    "hazard": lambda: published.hazard_bins(threshold=74),
    "unperturbed": lambda: published.unperturbed_mean(threshold=73),
    "state": lambda: published.state(threshold=72),
    "verdict": lambda: published.state_verdict(threshold=72),
    "measured": lambda: published.measured("shrink_perturb", threshold=72),
    "predicted": lambda: published.predicted("shrink_perturb", period=50, threshold=72),
    "predicted partial reset": lambda: published.predicted("partial_reset", period=50, threshold=74),
    "ranking": lambda: published.ranking(threshold=72),
    "advice": lambda: pd.DataFrame({"said": published.advice(threshold=72)}),
    "predicted by form 2": lambda: published.predicted("partial_reset", period=50, threshold=74, form="2"),
}


def asked(name: str) -> Any:
    """Return the table, computed once where the trajectories are at hand."""
    table = _computed(name) if published.available() else TABLES[name]()
    return table.set_index("period") if "period" in table else table


@cache
def _computed(name: str) -> pd.DataFrame:
    return TABLES[name]()


@cache
def verdict() -> QuasiSteadyState:
    """Judge the unperturbed runs at 72 %."""
    return judge(published.unperturbed(), threshold=72)


# The published numbers, from the trajectories and from the summary


def test_a_third_of_the_unperturbed_runs_is_censored(origin: str) -> None:
    row: Any = published.unperturbed_mean(threshold=72).iloc[0]
    assert (row["n_runs"], row["n_censored"]) == (1000, 293)
    assert f"{row['mean']:.2f}" == "76.96"
    assert row["low"] < 76.96 < row["high"]
    curve: Any = published.survival_curve(threshold=72)
    assert curve["survival"].iloc[-1] == pytest.approx(0.293)
    assert curve["survival"].iloc[:-1].sum() == pytest.approx(row["mean"], rel=1e-5)


def test_measured_means_and_residual_times(origin: str) -> None:
    table = asked("measured")
    assert {p: f"{table.loc[p, 'mean']:.2f}" for p in MEASURED} == MEASURED
    residual = {p: f"{table.loc[p, 'residual']:.2f}" for p in (15, 20, 30, 50, 100)}
    assert residual == {15: "3.79", 20: "4.10", 30: "3.85", 50: "4.01", 100: "4.17"}
    assert table.loc[50, "n_survivors"] == 82
    assert table.loc[50, "residual_low"] < 4.01 < table.loc[50, "residual_high"]


def test_one_period_predicts_many_within_seven_per_cent(origin: str) -> None:
    measured, predicted = asked("measured"), asked("predicted")
    for period in (10, 15, 20, 30, 50, 100):
        assert predicted.loc[period, "mean"] == pytest.approx(measured.loc[period, "mean"], rel=0.07)
    assert (predicted.loc[[1, 2, 3], "status"] != "valid").all()
    assert (predicted.loc[[15, 20, 30, 50, 100], "status"] == "valid").all()
    assert predicted["reason"].str.len().min() > 0


def test_partial_reset_breaks_form_2_and_not_form_7(origin: str) -> None:
    form_2, best = asked("predicted by form 2"), asked("predicted partial reset")
    measured: Any = published.measured("partial_reset", threshold=74).set_index("period")["mean"]
    assert form_2.loc[20, "mean"] / measured[20] - 1 == pytest.approx(0.38, abs=0.005)
    assert form_2.loc[20, "status"] != "valid"
    for period in (7, 10, 12, 15, 20, 30):
        assert best.loc[period, "form"] == 7
        assert best.loc[period, "mean"] == pytest.approx(measured[period], rel=0.05)


def test_hazard_falls_so_that_no_exponential_tail_can_be_assumed(origin: str) -> None:
    bins: Any = published.hazard_bins(threshold=72).set_index("first")
    assert bins.loc[21, "low"] > bins.loc[191, "high"]
    assert bins["n_passed"].sum() == 707


# What needs the trajectories themselves


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.published) for name in TABLES])
def test_the_summary_is_what_the_trajectories_give(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh = _computed(name)
    monkeypatch.delenv("FPTLIB_DATA")
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path))
    assert "summary table" in published.origin()
    stored = TABLES[name]()
    # The summary has six decimals.
    pd.testing.assert_frame_equal(stored, fresh, check_dtype=False, rtol=1e-6, atol=6e-7)


@pytest.mark.published
class TestTrajectories:
    def test_fetching_twice_gives_the_same_checked_folder(self) -> None:
        folder = sources.fetch("published")
        assert sources.fetch("published") == folder
        assert sum(1 for _ in folder.rglob("*.csv")) == 6814
        assert digest_of(folder, ".csv") == sources.PUBLISHED.digest
        assert sources.PUBLISHED.digest[:16] in published.origin()
        assert folder.is_relative_to(os.environ["FPTLIB_CACHE"])

    def test_times_count_epochs_from_one_and_keep_censored_runs(self) -> None:
        runs = published.unperturbed()
        times = first_passage(runs, threshold=72)
        assert (runs.n_runs, runs.n_epochs, times.n_censored) == (1000, 200, 293)
        assert restricted_mean(times, n_boot=2).mean == pytest.approx(np.minimum(times.time, 200).mean())
        left = residual_times(first_passage(published.perturbed("shrink_perturb", 50), threshold=72), period=50)
        assert left.n_runs == 82
        assert left.time.mean() == pytest.approx(4.01, abs=0.005)

    def test_distance_between_survivors_of_two_epochs(self) -> None:
        values = published.unperturbed().metric()
        times = first_passage(published.unperturbed(), threshold=72)

        def survivors(epoch: int) -> Any:
            return values[times.running(epoch), epoch - 1]

        assert stats.ks_2samp(survivors(20), survivors(50)).statistic == pytest.approx(0.12, abs=0.005)
        state = verdict()
        for epoch, at, distance in zip(state.epoch, state.at, state.distance, strict=True):
            oracle = stats.ks_2samp(survivors(epoch), survivors(at)).statistic
            # Distances are taken on a grid that is sparse where few epochs are: in the first, fast ones.
            assert distance == pytest.approx(oracle, abs=0.01 if epoch >= 10 else 0.03)

    def test_the_state_is_reached_before_epoch_20_and_lies_between_runs(self) -> None:
        state = verdict()
        assert state.reached
        assert state.relaxation_epoch is not None
        assert 10 <= state.relaxation_epoch <= 20
        assert 0.55 < state.variance_between < 0.8
        assert state.p_value[state.epoch >= 20].min() < 0.05  # significant, and too small to matter

    def test_the_command_reads_the_folders_as_they_are(self, capsys: pytest.CaptureFixture[str]) -> None:
        root = sources.fetch("published")
        arguments = [
            "predict",
            f"--unperturbed={root / 'testacc_list_reg_training'}",
            f"--perturbed={root / 'testacc_list_s_and_p_reset50'}",
            *("--period", "50", "--threshold", "72", "--periods", "1,2,3,15,20,30,50,100", "--json"),
        ]
        assert cli.run(arguments) == 0
        out, err = capsys.readouterr()
        assert err == ""
        said = json.loads(out)
        assert said["unperturbed"]["n_censored"] == 293
        assert said["unperturbed"]["restricted_mean"]["mean"] == pytest.approx(76.96, abs=0.005)
        assert (said["residual"]["n_survivors"], f"{said['residual']['mean']:.2f}") == (82, "4.01")
        assert {p["period"]: p["valid"] for p in said["predictions"]} == {
            **dict.fromkeys((1, 2, 3), False),
            **dict.fromkeys((15, 20, 30, 50, 100), True),
        }
        assert said["best"]["period"] == 15
        assert said["best"]["speedup_at_least"] > 4


# What is refused


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (
            lambda: published.survival_curve(threshold=70),
            "nothing for threshold = 70; the summary has 72.0, 73.0, 74.0",
        ),
        (lambda: published.predicted("shrink_perturb", period=30, threshold=72), "nothing for from_period = 30"),
        (lambda: published.predicted("shrink_perturb", period=50, threshold=72, form="7"), "nothing for asked = 7"),
        (published.unperturbed, "fetch them with: fpt data fetch published"),
        (lambda: published.perturbed("shrink_perturb", 50), "fetch them with: fpt data fetch published"),
        (lambda: published.stored("nothing"), "no such table"),
    ],
)
def test_what_the_summary_has_not_is_one_clear_line(
    without_trajectories: None, ask: Callable[[], object], said: str
) -> None:
    summary.read.cache_clear()
    with pytest.raises(InputError) as refused:
        ask()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_was_never_published_is_refused_with_what_was(origin: str) -> None:
    unknown: Any = "warm_restart"
    with pytest.raises(InputError, match="'warm_restart' was not published; there is shrink_perturb, partial_reset"):
        published.measured(unknown, threshold=72)
    with pytest.raises(InputError, match="period 25 of shrink_perturb was not published; there is 1, 2, 3, 4, 5, 7"):
        published.predicted("shrink_perturb", period=25, threshold=72)
    with pytest.raises(InputError, match="period 8 of partial_reset was not published"):
        published.perturbed("partial_reset", 8)
