"""The published trajectories: the numbers of the paper and its supplement, and the summary that stands in where they are not at hand."""

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
from companion.published import __main__ as writing
from companion.published import archive, table
from companion.published.agreement import Reproduction
from fptlib import cli, sources
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, residual_times, restricted_mean
from fptlib.former.verdicts import MIN_SURVIVORS
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.response import compare, predict, recommend
from fptlib.sources.source import digest_of
from fptlib.study import Study
from fptlib.trajectories import Target

SETS = published.SUPPLEMENTARY
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
    "predicted by form 2": lambda: published.predicted("partial_reset", period=50, threshold=74, form="2"),
    "ranking": lambda: published.ranking(threshold=72),
    "advice": lambda: pd.DataFrame({"said": published.advice(threshold=72)}),
    "supplement: unperturbed": lambda: published.unperturbed_mean(threshold=0.358, data="fc_adam"),
    "supplement: measured": lambda: published.measured(threshold=40.7, data="cifar100"),
    "supplement: survival": lambda: published.survival_curve(threshold=54.9, data="cifar100_momentum"),
    "supplement: predicted": lambda: published.predicted(threshold=41.2, period=30, data="cifar100"),
    "supplement: form 2": lambda: published.predicted(threshold=54.6, form="2", data="cifar100_momentum"),
    "supplement: compared": lambda: compared("cifar100_momentum"),
    "supplement: outcomes": lambda: published.final_metrics("fc_adam"),
    "listed": published.listed,
    "listed predicted": published.listed_row,
    "batches": published.batches,
}


def compared(data: str, **choice: Any) -> Any:
    """Return predictions beside measurements of a supplementary set."""
    return published.published_case(data=data, **choice).table


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
    return assess_qss(Study(published.unperturbed(), {}, 72))


# The table of first-passage times


def test_the_table_has_the_times_of_the_trajectories() -> None:
    times = published.times(72)
    assert (times.n_runs, times.n_censored) == (1000, 293)
    assert f"{restricted_mean(times, n_boot=2).mean:.2f}" == "76.96"
    left = residual_times(published.times(72, "shrink_perturb", 50), period=50)
    assert (left.n_runs, f"{left.time.mean():.2f}") == (82, "4.01")
    assert published.times(88, "shrink_perturb", 15).observed.any()
    assert sum(path.stat().st_size for path in (table.PASSAGES, table.METRICS)) < 1_500_000


def test_labels_are_shared_where_seeds_are() -> None:
    for data in ("cifar10", "cifar100", "cifar100_momentum", "fc_adam"):
        plain, *others = (
            published.times(data=data),
            *(published.times(None, *key, data=data) for key in published.dataset(data).keys),
        )
        shared = {bool(np.isin(part.run, plain.run).any()) for part in others}
        assert shared == {published.dataset(data).shared_seeds}


def test_values_are_those_of_the_survivors() -> None:
    values = published.survivors(50, threshold=72)
    assert len(values) == published.times(72).running(50).sum()
    assert values.max() < 72
    assert stats.ks_2samp(published.survivors(20, threshold=72), values).statistic == pytest.approx(0.12, abs=0.005)
    assert published.fan()["q50"].iloc[-1] == pytest.approx(71.9, abs=0.1)
    assert published.ends()["shrink_perturb", 15].mean == pytest.approx(88.16, abs=0.01)
    assert published.ends("last")[None].mean == pytest.approx(71.81, abs=0.01)


def test_a_study_of_the_table_is_analysed_like_logs() -> None:
    study = published.study(threshold=72, keys=[("shrink_perturb", 50)])
    cells = compare(predict(study, (1, 15, 20, 30, 50, 100)), published.means(threshold=72)).cells
    assert [(cell.prediction.period, cell.prediction.grade) for cell in cells] == [
        (1, "open"),
        *((p, "to 10 %") for p in (15, 20, 30, 100)),
    ]
    assert all(cell.covered for cell in cells)
    assert all(abs(cell.error.mean) < 0.07 for cell in cells[1:])
    assert recommend(published.study()).choice.period == 2
    assert ("shrink_perturb", 100) not in published.study(threshold=70).perturbed  # all pass before
    assert set(published.means(threshold=70)) == set(published.dataset("cifar10").keys)


@pytest.mark.published
def test_the_tables_are_what_the_archive_gives() -> None:
    small = writing.passage_table().astype(
        {"period": "int16", "run": "int32", "epoch": "int16", "threshold": "float32"}
    )
    pd.testing.assert_frame_equal(pd.read_parquet(table.PASSAGES), small, check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(table.METRICS), writing.metric_table(), check_dtype=False)


# The main text, from the trajectories and from the summary


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


def test_the_lists_are_a_second_batch_and_are_predicted(origin: str) -> None:
    both = published.batches()
    assert list(both["period"]) == [1, 2, 3, 4, 5, 6, 7, 10, 12, 20]
    assert both["ratio"].between(0.97, 1.03).all()
    table: Any = published.listed_row(period=50).set_index("period")
    assert set(table.loc[7:, "verdict"]) == {Reproduction.REPRODUCES}
    assert (table.loc[7:, "ratio"] - 1).abs().max() < 0.04
    assert set(table.loc[:5, "verdict"]) == {Reproduction.DOES_NOT}


# The supplement, from the trajectories and from the summary


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar100", "cifar100_momentum"])
def test_one_period_predicts_the_longer_ones_without_a_steady_state(origin: str, name: str) -> None:
    known = published.dataset(name)
    for threshold in known.thresholds:
        assert not published.unperturbed_mean(threshold=threshold, data=name)["reached"].item()
        table = compared(name, threshold=threshold)
        late = table[(table["period"] >= known.source) & (table["n_survivors"] >= published.FEWEST_RUNS)]
        assert len(late) >= 3
        assert set(late["paired_verdict"]) == {Reproduction.REPRODUCES}
        assert (late["paired"] - 1).abs().max() < 0.02
        assert set(table.loc[table["period"] < 7, "verdict"]) <= {Reproduction.DOES_NOT, Reproduction.UNTESTED}


def test_with_momentum_runs_need_seven_epochs_after_a_perturbation(origin: str) -> None:
    table: Any = published.measured(threshold=54.6, data="cifar100_momentum").set_index("period")
    assert table.loc[10:, "residual"].between(6.9, 7.0).all()


def test_a_drifting_network_is_not_called_valid_before_it_matters_not(origin: str) -> None:
    state = published.unperturbed_mean(threshold=0.362, data="fc_adam").iloc[0]
    assert (state["n_runs"], state["n_censored"], state["horizon"]) == (100, 51, 150)
    assert "its mean drifts" in state["reasons"]
    table = compared("fc_adam")
    assert set(table["status"]) == {"unverified"}
    assert (table["paired"] > 1.04).all()  # a perturbation at epoch 15 meets runs that are far from the threshold


@pytest.mark.parametrize("name", SETS)
def test_all_that_is_kept_holds_together(origin: str, name: str) -> None:
    known = published.dataset(name)
    at: dict[str, Any] = {"threshold": known.threshold, "data": name}
    periods = known.periods["shrink_perturb"]
    assert list(compared(name)["period"]) == [p for p in periods if p != known.source]
    mean = published.unperturbed_mean(**at).iloc[0]["mean"]
    assert published.survival_curve(**at)["survival"].iloc[:-1].sum() == pytest.approx(mean, rel=1e-5)
    assert published.measured(**at)["mean"].min() < mean / 2
    assert published.final_metrics(name)["horizon"].eq(known.horizon).all()


# What needs the trajectories themselves


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.published) for name in TABLES])
def test_the_summary_is_what_the_trajectories_give(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh = _computed(name)
    monkeypatch.delenv("FPTLIB_DATA")
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path))
    assert "summary table" in published.origin()
    # The summary has six decimals, and a ratio of two such numbers a few less.
    pd.testing.assert_frame_equal(TABLES[name](), fresh, check_dtype=False, rtol=2e-5, atol=2e-6)


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
        times = first_passage(runs, 72)
        assert (runs.n_runs, runs.n_epochs, times.n_censored) == (1000, 200, 293)
        assert restricted_mean(times, n_boot=2).mean == pytest.approx(np.minimum(times.time, 200).mean())
        left = residual_times(first_passage(published.perturbed("shrink_perturb", 50), 72), period=50)
        assert left.n_runs == 82
        assert left.time.mean() == pytest.approx(4.01, abs=0.005)

    def test_distance_between_survivors_of_two_epochs(self) -> None:
        values = published.unperturbed().metric()
        times = first_passage(published.unperturbed(), 72)

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
        answer = json.loads(out)
        assert answer["unperturbed"]["n_censored"] == 293
        assert answer["unperturbed"]["restricted_mean"]["mean"] == pytest.approx(76.96, abs=0.005)
        assert (answer["residual"]["n_survivors"], f"{answer['residual']['mean']:.2f}") == (82, "4.01")
        assert {p["period"]: p["valid"] for p in answer["predictions"]} == {
            **dict.fromkeys((1, 2, 3), False),
            **dict.fromkeys((15, 20, 30, 50, 100), True),
        }
        assert answer["best"]["period"] == 15
        assert answer["best"]["speedup_at_least"] > 4

    @pytest.mark.parametrize("name", SETS)
    def test_thresholds_and_source_follow_the_rules(self, name: str) -> None:
        known = published.dataset(name)
        best = published.unperturbed(name).metric(known.metric).max(axis=1)
        digits = 3 if known.unit == "SSIM" else 1
        assert known.thresholds == tuple(round(float(np.quantile(best, 1 - s)), digits) for s in published.SHARES)
        assert known.threshold == known.thresholds[1]
        for threshold, share in zip(known.thresholds, published.SHARES, strict=True):
            assert np.mean(best >= threshold) == pytest.approx(share, abs=0.04)
        kicked = {p: published.perturbed("shrink_perturb", p, name) for p in known.periods["shrink_perturb"]}
        times = {p: first_passage(r, Target(known.threshold, metric=known.metric)) for p, r in kicked.items()}
        enough = [p for p in kicked if times[p].running(p).sum() >= MIN_SURVIVORS]
        assert known.source == min(enough, key=lambda p: abs(np.log(4 * p / known.horizon)))

    @pytest.mark.parametrize("name", SETS)
    def test_runs_are_as_described(self, name: str) -> None:
        known = published.dataset(name)
        kicked = [published.perturbed("shrink_perturb", p, name) for p in known.periods["shrink_perturb"]]
        for runs in (published.unperturbed(name), *kicked):
            assert (runs.lengths == known.horizon).all()
            values = runs.metric(known.metric)
            low, high = (0, 1) if known.unit == "SSIM" else (1, 100)
            assert ((values >= low) & (values <= high)).all()

    def test_perturbed_runs_start_as_unperturbed_ones_of_the_same_seed(self) -> None:
        plain = published.unperturbed("fc_adam").metric("test_ssim")
        kicked = published.perturbed("shrink_perturb", 100, "fc_adam").metric("test_ssim")
        assert np.array_equal(plain[:1, :20], kicked[:1, :20])

    @pytest.mark.parametrize("period", [6, 7])
    def test_lists_count_from_zero(self, period: int) -> None:
        # Right after a perturbation the accuracy is low and hardly anybody passes: an epoch that marks the counting.
        trained = first_passage(published.perturbed("partial_reset", period), published.LISTED_THRESHOLD)
        listed = archive.listed_times(period)
        after = 2 * period + 1
        for times in (trained, listed):
            passed = np.array([(times.time == t).sum() for t in (after - 1, after, after + 1)])
            assert passed[1] < 0.2 * passed[0]
            assert passed[1] <= passed[2]
        assert listed.n_runs == 400


# What is refused


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: published.survival_curve(threshold=70), "for threshold = 70; the summary has 72.0, 73.0, 74.0"),
        (lambda: published.predicted(period=30, threshold=72), "nothing for from_period = 30; the summary has 20, 50"),
        (lambda: published.predicted(threshold=72, form="7"), "nothing for asked = 7"),
        (published.unperturbed, "fetch them with: fpt data fetch published"),
        (lambda: published.perturbed("shrink_perturb", 50), "fetch them with: fpt data fetch published"),
        (lambda: published.stored("nothing"), "no such table"),
        (lambda: published.times(72.5), "no first-passage times for threshold 72.5; the table has 70, 71, 72"),
        (lambda: published.times(72, "partial_reset", 8), "period 8 of partial_reset was not published"),
        (lambda: published.survivors(7), "values are kept at epochs 5, 10"),
        (lambda: published.measured("warm_restart", threshold=72), "there is shrink_perturb, partial_reset"),
        (
            lambda: published.predicted(period=25, threshold=72),
            "period 25 of shrink_perturb was not published; there is 1",
        ),
        (lambda: published.perturbed("partial_reset", 8), "period 8 of partial_reset was not published"),
        (lambda: compared("mnist"), "data set 'mnist' was not published; there is cifar10, cifar100,"),
        (lambda: compared("cifar100", threshold=60.0), "nothing for threshold = 60.0; the summary has 40.4, 40.7"),
        (lambda: compared("cifar100", period=80), "nothing for from_period = 80; the summary has 20, 30"),
        (lambda: published.unperturbed("cifar100"), "fetch them with: fpt data fetch published"),
        (lambda: published.perturbed("shrink_perturb", 7, "cifar100"), "period 7 of shrink_perturb was not published"),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    without_trajectories: None, ask: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        ask()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
