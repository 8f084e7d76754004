"""The published trajectories: the tables made from them, the numbers of the paper and its supplement, and the archive itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from companion import published
from companion.published import __main__ as writing
from companion.published import archive, table
from companion.published.datasets import SHARES
from fptlib import cli, sources
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, hazard, residual_times, restricted_mean
from fptlib.qss import MIN_SURVIVORS, assess_qss
from fptlib.response import compare, predict, recommend
from fptlib.sources.source import digest_of
from fptlib.study import Study
from fptlib.trajectories import Target

SETS = published.SUPPLEMENTARY
MEASURED = {15: "16.54", 20: "18.92", 30: "21.69", 50: "29.74", 100: "44.33"}


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
    times, values = published.times(72), published.values()
    early, late = (values[epoch][times.running(epoch)] for epoch in (20, 50))
    assert late.max() < 72
    assert stats.ks_2samp(early, late).statistic == pytest.approx(0.12, abs=0.005)
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
    passages, metrics = writing.tables()
    kept = pd.read_parquet(table.PASSAGES)
    pd.testing.assert_frame_equal(kept, passages[list(kept)], check_dtype=False)
    pd.testing.assert_frame_equal(pd.read_parquet(table.METRICS), metrics, check_dtype=False)


# The main text and the supplement


def test_measured_means_and_residual_times() -> None:
    study = published.study(threshold=72)
    means, residuals = (
        {p: f"{part.mean:.2f}" for p in MEASURED if (part := at(("shrink_perturb", p)))}
        for at in (study.mean, study.residual)
    )
    assert means == MEASURED
    assert residuals == {15: "3.79", 20: "4.10", 30: "3.85", 50: "4.01", 100: "4.17"}
    assert (study.plain.n_runs, study.plain.n_censored, f"{study.plain.mean:.2f}") == (1000, 293, "76.96")
    assert study.survival[-1, 0] == pytest.approx(0.293)


def test_partial_reset_needs_its_later_perturbations_counted() -> None:
    study = published.study(threshold=74, keys=[("partial_reset", 50)])
    cells = compare(predict(study, (7, 10, 12, 15, 20, 30)), published.means(threshold=74)).cells
    assert len(cells) == 6
    for cell in cells:
        assert cell.prediction.method == "cycles"
        assert cell.covered
        assert abs(cell.error.mean) < 0.05


def test_hazard_falls_so_that_no_exponential_tail_can_be_assumed() -> None:
    bins = hazard(published.times(72)).to_frame().set_index("first")
    assert bins.loc[21, "low"] > bins.loc[191, "high"]
    assert bins["n_passed"].sum() == 707


def test_the_lists_are_a_second_batch() -> None:
    trained = published.means(threshold=72, perturbations=["partial_reset"])
    for period in table.LISTED_PERIODS:
        times = published.times(72, "partial_reset", period, data=table.LISTS)
        assert (times.n_runs, times.n_censored) == (400, 0)
        if ("partial_reset", period) in trained:
            assert times.time.mean() == pytest.approx(trained["partial_reset", period].mean, rel=0.03)


@pytest.mark.parametrize("name", ["cifar100", "cifar100_momentum"])
def test_one_period_predicts_the_longer_ones_without_a_steady_state(name: str) -> None:
    known = published.dataset(name)
    for threshold in known.thresholds:
        study = published.study(name, threshold=threshold, keys=[("shrink_perturb", known.source)])
        periods = [p for p in known.periods["shrink_perturb"] if p > known.source]
        cells = compare(predict(study, periods), published.means(name, threshold=threshold)).cells
        assert len(cells) >= 3
        assert all(cell.covered and cell.prediction.grade in ("to 10 %", "to 20 %") for cell in cells)


def test_with_momentum_runs_need_seven_epochs_after_a_perturbation() -> None:
    study = published.study("cifar100_momentum")
    late = [key for key in study.perturbed if key[1] >= 10]
    assert all(6.9 <= study.residual(key).mean <= 7.0 for key in late)


# What needs the trajectories themselves


@pytest.mark.published
class TestTrajectories:
    def test_fetching_twice_gives_the_same_checked_folder(self) -> None:
        folder = sources.fetch("published")
        assert sources.fetch("published") == folder
        assert sum(1 for _ in folder.rglob("*.csv")) == 6814
        assert digest_of(folder, ".csv") == sources.PUBLISHED.digest
        assert folder.is_relative_to(os.environ["FPTLIB_CACHE"])

    def test_times_count_epochs_from_one_and_keep_censored_runs(self) -> None:
        runs = published.unperturbed()
        times = first_passage(runs, 72)
        assert (runs.n_runs, runs.n_epochs, times.n_censored) == (1000, 200, 293)
        assert restricted_mean(times, n_boot=2).mean == pytest.approx(np.minimum(times.time, 200).mean())
        left = residual_times(first_passage(published.perturbed("shrink_perturb", 50), 72), period=50)
        assert left.n_runs == 82
        assert left.time.mean() == pytest.approx(4.01, abs=0.005)

    def test_the_state_is_reached_before_epoch_20_and_lies_between_runs(self) -> None:
        state = assess_qss(Study(published.unperturbed(), {}, 72))
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
        assert [p["period"] for p in answer["predictions"]] == [1, 2, 3, 15, 20, 30, 50, 100]

    @pytest.mark.parametrize("name", SETS)
    def test_thresholds_and_source_follow_the_rules(self, name: str) -> None:
        known = published.dataset(name)
        best = published.unperturbed(name).metric(known.metric).max(axis=1)
        digits = 3 if known.unit == "SSIM" else 1
        assert known.thresholds == [round(float(np.quantile(best, 1 - s)), digits) for s in SHARES]
        assert known.threshold == known.thresholds[1]
        for threshold, share in zip(known.thresholds, SHARES, strict=True):
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
        trained = first_passage(published.perturbed("partial_reset", period), 72.0)
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
        (published.unperturbed, "fetch them with: fpt data fetch published"),
        (lambda: published.perturbed("shrink_perturb", 50), "fetch them with: fpt data fetch published"),
        (lambda: published.times(72.5), "no first-passage times for threshold 72.5; the table has 70, 71, 72"),
        (lambda: published.times(72, "partial_reset", 8), "partial_reset every 8 epochs was not published"),
        (
            lambda: published.times(72, "warm_restart", 5),
            "warm_restart every 5 epochs was not published; there is shrink_perturb every 1, 2",
        ),
        (lambda: published.perturbed("partial_reset", 8), "partial_reset every 8 epochs was not published"),
        (lambda: published.study("mnist"), "data set 'mnist' was not published; there is cifar10, cifar100,"),
        (lambda: published.unperturbed("cifar100"), "fetch them with: fpt data fetch published"),
        (
            lambda: published.perturbed("shrink_perturb", 7, "cifar100"),
            "shrink_perturb every 7 epochs was not published",
        ),
    ],
)
def test_what_is_not_there_is_one_clear_line(
    without_trajectories: None, ask: Callable[[], object], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        ask()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
