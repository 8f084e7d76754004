"""The authors' supplementary trajectories and lists: agreement of intervals, the rules, the summary that stands in."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import published
from companion.published import Reproduction
from companion.published.agreement import TOLERATED
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage

ROWS = published.supplementary()
TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "unperturbed": lambda: published.row_unperturbed("fc_adam", threshold=0.358),
    "measured": lambda: published.row_measured("cifar100", threshold=40.7),
    "survival": lambda: published.row_survival("cifar100_momentum", threshold=54.9),
    "predicted": lambda: published.row_predicted("cifar100", threshold=41.2, period=30),
    "predicted by form 2": lambda: published.row_predicted("cifar100_momentum", threshold=54.6, form="2"),
    "row": lambda: published.row("cifar100_momentum"),
    "outcomes": lambda: published.row_outcomes("fc_adam"),
    "listed": published.listed,
    "listed predicted": published.listed_row,
    "batches": published.batches,
}
positive = st.floats(1e-3, 1e3)


def intervals() -> st.SearchStrategy[tuple[float, float, float]]:
    """Estimates with an interval around them."""
    return st.builds(lambda m, a, b: (m, m * a, m * b), positive, st.floats(0.1, 1), st.floats(1, 10))


# Agreement of intervals


def test_the_interval_of_a_ratio_has_the_size_of_the_delta_method() -> None:
    # Two means with 2 % and 1 % standard error: that of the log ratio is their root sum of squares.
    first, second = ((m, m * math.exp(-1.96 * s), m * math.exp(1.96 * s)) for m, s in ((30.0, 0.02), (20.0, 0.01)))
    mean, low, high = published.ratio(first, second)
    assert mean == pytest.approx(1.5)
    assert math.log(high / mean) == pytest.approx(1.96 * math.hypot(0.02, 0.01)) == math.log(mean / low)


def test_the_interval_of_a_ratio_covers() -> None:
    draw = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        a, b = draw.gamma(9.0, 20.0 / 9.0, 60), draw.gamma(4.0, 16.0 / 4.0, 40)
        parts = [
            (x.mean(), x.mean() - 2 * x.std() / len(x) ** 0.5, x.mean() + 2 * x.std() / len(x) ** 0.5) for x in (a, b)
        ]
        _, low, high = published.ratio(*parts)
        hits += low <= 20 / 16 <= high
    assert 0.92 <= hits / 400 <= 0.98


@given(first=intervals(), second=intervals(), scale=positive)
def test_a_ratio_does_not_depend_on_the_unit_and_inverts(
    first: tuple[float, float, float], second: tuple[float, float, float], scale: float
) -> None:
    found = published.ratio(first, second)
    scaled = published.ratio(tuple(scale * x for x in first), tuple(scale * x for x in second))  # type: ignore[arg-type]
    assert scaled == pytest.approx(found, rel=1e-9)
    mean, low, high = published.ratio(second, first)
    assert (1 / mean, 1 / high, 1 / low) == pytest.approx(found, rel=1e-9)
    assert found[1] <= found[0] <= found[2]


@given(found=intervals(), wider=st.floats(1, 5))
def test_a_wider_interval_never_earns_a_verdict(found: tuple[float, float, float], wider: float) -> None:
    before = published.compare(found, TOLERATED)
    mean, low, high = found
    after = published.compare((mean, low / wider, high * wider), TOLERATED)
    assert after is before or after is Reproduction.WITHIN


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.9, 1.1, Reproduction.REPRODUCES),
        (0.89, 1.0, Reproduction.WITHIN),
        (0.5, 2.0, Reproduction.WITHIN),
        (1.11, 1.2, Reproduction.DOES_NOT),
        (0.5, 0.89, Reproduction.DOES_NOT),
        (float("nan"), 1.0, Reproduction.UNTESTED),
    ],
)
def test_an_interval_is_held_against_what_is_accepted(low: float, high: float, verdict: Reproduction) -> None:
    assert published.compare((1.0, low, high), (0.9, 1.1)) is verdict


def frames(residual: float, *, n_survivors: int = 40) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A geometric process with a constant residual time of 5 epochs as predicted, and another as measured."""
    survival = 0.9 ** np.arange(101)
    start = {p: survival[:p].sum() for p in (10, 20, 40)}
    curve = pd.DataFrame({"epoch": np.arange(101), "survival": survival})
    predicted = pd.DataFrame(
        [
            {
                "period": p,
                "form": 2,
                "mean": start[p] + survival[p] * 5,
                "low": 1.0,
                "high": 99.0,
                "status": "valid",
                "reason": "",
            }
            for p in start
        ]
    )
    rows = []
    for p in start:
        tau = 5.0 if p == 20 else residual
        row = {
            "period": p,
            "n_runs": 50,
            "n_censored": 0,
            "mean": start[p] + survival[p] * tau,
            "low": 1.0,
            "high": 99.0,
        }
        row |= {"n_survivors": n_survivors, "residual": tau, "residual_low": 0.8 * tau, "residual_high": 1.2 * tau}
        rows.append(row)
    return predicted, pd.DataFrame(rows), curve


def test_a_common_start_leaves_the_residual_times_to_compare() -> None:
    predicted, measured, curve = frames(8.0)
    table = published.beside(predicted, measured, source=20, curve=curve).set_index("period")
    assert list(table.index) == [10, 40]
    survival, start = 0.9**10, float((0.9 ** np.arange(10)).sum())
    assert table.loc[10, "paired"] == pytest.approx((start + survival * 5) / (start + survival * 8))
    both = published.ratio(
        tuple(start + survival * 5 * x for x in (1.0, 0.8, 1.2)),  # type: ignore[arg-type]
        tuple(start + survival * 8 * x for x in (1.0, 0.8, 1.2)),  # type: ignore[arg-type]
    )
    assert (table.loc[10, "paired_low"], table.loc[10, "paired_high"]) == pytest.approx(both[1:])
    # The plain ratio knows nothing: its intervals are those of the means.
    assert table.loc[10, "verdict"] == Reproduction.WITHIN
    assert table.loc[40, "paired_verdict"] == Reproduction.REPRODUCES  # hardly any run is left there


def test_too_few_runs_have_no_verdict() -> None:
    predicted, measured, curve = frames(5.0, n_survivors=9)
    table = published.beside(predicted, measured, source=20, curve=curve)
    assert set(table["paired_verdict"]) == {Reproduction.UNTESTED}
    assert set(table["verdict"]) == {Reproduction.WITHIN}


# What was published, from the trajectories and from the summary


@pytest.mark.parametrize("name", ["cifar100", "cifar100_momentum"])
def test_one_period_predicts_the_longer_ones_without_a_steady_state(origin: str, name: str) -> None:
    known = published.setup(name)
    for threshold in known.thresholds:
        assert not published.row_unperturbed(name, threshold=threshold)["reached"].item()
        table: Any = published.row(name, threshold=threshold)
        late = table[(table["period"] >= known.source_periods[0]) & (table["n_survivors"] >= published.FEWEST_RUNS)]
        assert len(late) >= 3
        assert set(late["paired_verdict"]) == {Reproduction.REPRODUCES}
        assert (late["paired"] - 1).abs().max() < 0.02
        assert set(table.loc[table["period"] < 7, "verdict"]) <= {Reproduction.DOES_NOT, Reproduction.UNTESTED}


def test_with_momentum_runs_need_seven_epochs_after_a_perturbation(origin: str) -> None:
    table: Any = published.row_measured("cifar100_momentum", threshold=54.6).set_index("period")
    residual = table.loc[10:, "residual"]
    assert residual.between(6.9, 7.0).all()


def test_a_drifting_network_is_not_called_valid_before_it_matters_not(origin: str) -> None:
    state = published.row_unperturbed("fc_adam", threshold=0.362).iloc[0]
    assert (state["n_runs"], state["n_censored"], state["horizon"]) == (100, 51, 150)
    assert "its mean drifts" in state["reasons"]
    table = published.row("fc_adam")
    assert set(table["status"]) == {"unverified"}
    assert (table["paired"] > 1.04).all()  # a perturbation at epoch 15 meets runs that are far from the threshold


def test_the_lists_are_a_second_batch_and_are_predicted(origin: str) -> None:
    both = published.batches()
    assert list(both["period"]) == [1, 2, 3, 4, 5, 6, 7, 10, 12, 20]
    assert both["ratio"].between(0.97, 1.03).all()
    table: Any = published.listed_row(period=50).set_index("period")
    assert set(table.loc[7:, "verdict"]) == {Reproduction.REPRODUCES}
    assert (table.loc[7:, "ratio"] - 1).abs().max() < 0.04
    assert set(table.loc[:5, "verdict"]) == {Reproduction.DOES_NOT}


@pytest.mark.parametrize("name", ROWS)
def test_all_that_is_kept_holds_together(origin: str, name: str) -> None:
    known = published.setup(name)
    table = published.row(name)
    assert list(table["period"]) == [p for p in known.periods if p != known.source_periods[0]]
    assert (table["threshold"] == known.thresholds[1]).all()
    measured: Any = published.row_measured(name, threshold=known.thresholds[1]).set_index("period")
    curve: Any = published.row_survival(name, threshold=known.thresholds[1]).set_index("epoch")["survival"]
    mean = published.row_unperturbed(name, threshold=known.thresholds[1]).iloc[0]["mean"]
    assert curve.iloc[:-1].sum() == pytest.approx(mean, rel=1e-5)
    assert measured["mean"].min() < mean / 2
    assert published.row_outcomes(name)["horizon"].eq(known.horizon).all()


# What needs the trajectories themselves


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.published) for name in TABLES])
def test_the_summary_is_what_the_trajectories_give(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fresh = TABLES[name]()
    monkeypatch.delenv("FPTLIB_DATA")
    monkeypatch.setenv("FPTLIB_CACHE", str(tmp_path))
    assert "summary table" in published.origin()
    # The summary has six decimals, and a ratio of two such numbers a few less.
    pd.testing.assert_frame_equal(TABLES[name](), fresh, check_dtype=False, rtol=2e-5, atol=2e-6)


@pytest.mark.published
class TestTrajectories:
    @pytest.mark.parametrize("name", ROWS)
    def test_thresholds_and_source_follow_the_rules(self, name: str) -> None:
        known = published.setup(name)
        assert published.quartile_thresholds(name) == known.thresholds
        assert published.source_rule(name) == known.source_periods[0]
        for threshold, share in zip(known.thresholds, (0.75, 0.5, 0.25), strict=True):
            times = first_passage(published.row_trajectories(name), threshold=threshold, metric=known.metric)
            assert 1 - times.n_censored / times.n_runs == pytest.approx(share, abs=0.04)

    @pytest.mark.parametrize("name", ROWS)
    def test_runs_are_as_described(self, name: str) -> None:
        known = published.setup(name)
        for period in (None, *known.periods):
            runs = published.row_trajectories(name, period)
            assert (runs.lengths == known.horizon).all()
            values = runs.metric(known.metric)
            low, high = (0, 1) if known.unit == "SSIM" else (1, 100)
            assert ((values >= low) & (values <= high)).all()

    def test_perturbed_runs_start_as_unperturbed_ones_of_the_same_seed(self) -> None:
        plain = published.row_trajectories("fc_adam").metric("test_ssim")
        kicked = published.row_trajectories("fc_adam", 100).metric("test_ssim")
        assert np.array_equal(plain[:1, :20], kicked[:1, :20])

    @pytest.mark.parametrize("period", [6, 7])
    def test_lists_count_from_zero(self, period: int) -> None:
        # Right after a perturbation the accuracy is low and hardly anybody passes: an epoch that marks the counting.
        trained = first_passage(published.perturbed("partial_reset", period), threshold=published.LISTED_THRESHOLD)
        listed = published.listed_times(period)
        after = 2 * period + 1
        for times in (trained, listed):
            passed = np.array([(times.time == t).sum() for t in (after - 1, after, after + 1)])
            assert passed[1] < 0.2 * passed[0]
            assert passed[1] <= passed[2]
        assert listed.n_runs == 400


# What is refused


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: published.row("mnist"), "'mnist' were not published; there is cifar100, cifar100_momentum, fc_adam"),
        (lambda: published.row("cifar100", threshold=60.0), "nothing for threshold = 60.0; the summary has 40.4, 40.7"),
        (lambda: published.row("cifar100", period=80), "nothing for from_period = 80; the summary has 20, 30"),
        (lambda: published.row_trajectories("cifar100"), "fetch them with: fpt data fetch published"),
        (lambda: published.row_trajectories("cifar100", 7), "period 7 of cifar100 was not published"),
        (lambda: published.listed_times(11), "period 11 is not listed for partial_reset; there is 1, 2, 3"),
        (lambda: published.ratio((1.0, 0.0, 2.0), (1.0, 1.0, 1.0)), "a ratio needs positive estimates"),
    ],
)
def test_what_cannot_be_told_is_one_clear_line(
    without_trajectories: None, ask: Callable[[], object], said: str
) -> None:
    with pytest.raises(InputError) as refused:
        ask()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
