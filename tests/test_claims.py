"""Agreement of intervals, and claims with their verdicts: known processes, the published data, and what pages show."""

from __future__ import annotations

import dataclasses
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import charts, published
from companion.published import Judgement, judges
from companion.published.agreement import TOLERATED, Interval, Reproduction, beside, compare, ratio
from companion.published.cases import Case
from fptlib.errors import InputError
from fptlib.processes import DelayedGeometric, Process
from known import DELAYED, MIXTURE

# Claims rest on tables, and these are compared with the trajectories elsewhere.
pytestmark = pytest.mark.usefixtures("without_trajectories")
BOOK = Path(__file__).resolve().parents[1] / "book"
# Most runs are censored, and nothing helps.
SLOW = DelayedGeometric(silent=5, hazard=0.004, silent_after=0, hazard_after=0.004)
SWIFT = DelayedGeometric(silent=12, hazard=0.5, silent_after=3, hazard_after=0.5)
positive = st.floats(1e-3, 1e3)
intervals = st.builds(lambda m, a, b: (m, m * a, m * b), positive, st.floats(0.1, 1), st.floats(1, 10))


def own_case(process: Process, *periods: int, source: int = 20, horizon: int = 300, n_runs: int = 600) -> Case:
    """Return a case of a known process."""
    rng = np.random.default_rng(11)
    plain = process.sample(rng, n_runs=n_runs, horizon=horizon)
    kicked = {p: process.sample(rng, n_runs=n_runs, horizon=horizon, period=p) for p in periods}
    return published.own_case("p", plain, kicked, perturbation="kick", period=source, threshold=process.threshold)


def verdicts(case: Case) -> dict[str, Any]:
    """Return the lines of the claims that every case is held against, by kind."""
    table = published.case_claims(case, prefix="p", where="", chapter="03_one_frequency", parameters="")
    return {str(line["kind"]): line for _, line in table.iterrows()}


# Agreement of intervals


def test_the_interval_of_a_ratio_has_the_size_of_the_delta_method_and_covers() -> None:
    # Two means with 2 % and 1 % standard error: that of the log ratio is their root sum of squares.
    first, second = ((m, m * math.exp(-1.96 * s), m * math.exp(1.96 * s)) for m, s in ((30.0, 0.02), (20.0, 0.01)))
    mean, low, high = ratio(first, second)
    assert mean == pytest.approx(1.5)
    assert math.log(high / mean) == pytest.approx(1.96 * math.hypot(0.02, 0.01)) == math.log(mean / low)
    draw = np.random.default_rng(5)
    hits = 0
    for _ in range(400):
        a, b = draw.gamma(9.0, 20.0 / 9.0, 60), draw.gamma(4.0, 16.0 / 4.0, 40)
        half = [2 * x.std() / len(x) ** 0.5 for x in (a, b)]
        parts = [(x.mean(), x.mean() - h, x.mean() + h) for x, h in zip((a, b), half, strict=True)]
        _, low, high = ratio(*parts)
        hits += low <= 20 / 16 <= high
    assert 0.92 <= hits / 400 <= 0.98
    with pytest.raises(InputError, match="a ratio needs positive estimates"):
        ratio((1.0, 0.0, 2.0), (1.0, 1.0, 1.0))


@given(first=intervals, second=intervals, scale=positive)
def test_a_ratio_does_not_depend_on_the_unit_and_inverts(first: Interval, second: Interval, scale: float) -> None:
    expected = ratio(first, second)
    scaled = ratio(tuple(scale * x for x in first), tuple(scale * x for x in second))  # type: ignore[arg-type]
    assert scaled == pytest.approx(expected, rel=1e-9)
    mean, low, high = ratio(second, first)
    assert (1 / mean, 1 / high, 1 / low) == pytest.approx(expected, rel=1e-9)
    assert expected[1] <= expected[0] <= expected[2]


@given(score=intervals, wider=st.floats(1, 5))
def test_a_wider_interval_never_earns_a_verdict(score: Interval, wider: float) -> None:
    mean, low, high = score
    after = compare((mean, low / wider, high * wider), TOLERATED)
    assert after in (compare(score, TOLERATED), Reproduction.WITHIN)


@given(mean=st.floats(0.1, 10), down=st.floats(0.01, 0.99), up=st.floats(1.01, 9), bound=st.floats(0.1, 10))
def test_a_one_sided_claim_turns_round_with_its_bound(mean: float, down: float, up: float, bound: float) -> None:
    score = (mean, mean * down, mean * up)
    above, below = compare(score, (bound, math.inf)), compare(score, (0.0, bound))
    if bound not in score:
        assert {above, below} in ({Reproduction.REPRODUCES, Reproduction.DOES_NOT}, {Reproduction.WITHIN})


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
    score = (1.0, low, high)
    assert compare(score, (0.9, 1.1)) is verdict
    assert Judgement(score=score, accepted=(0.9, 1.1)).verdict is verdict
    assert Judgement(score=score, accepted=(0.9, 1.1), against="moves").verdict is Reproduction.DOES_NOT
    assert Judgement(note="no data").verdict is Reproduction.UNTESTED


def frames(residual: float, *, n_survivors: int = 40) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return a geometric process with a constant residual time of 5 epochs as predicted, and another as measured."""
    survival = 0.9 ** np.arange(101)
    start = {p: survival[:p].sum() for p in (10, 20, 40)}
    ends = {"low": 1.0, "high": 99.0}
    predicted, measured = [], []
    for p in start:
        tau = 5.0 if p == 20 else residual
        line = {"period": p, "form": 2, "mean": start[p] + survival[p] * 5, **ends, "status": "valid", "reason": ""}
        predicted.append(line)
        line = {"period": p, "n_runs": 50, "n_censored": 0, "mean": start[p] + survival[p] * tau, **ends}
        line |= {"n_survivors": n_survivors, "residual": tau, "residual_low": 0.8 * tau, "residual_high": 1.2 * tau}
        measured.append(line)
    curve = pd.DataFrame({"epoch": np.arange(101), "survival": survival})
    return pd.DataFrame(predicted), pd.DataFrame(measured), curve


def test_a_common_start_leaves_the_residual_times_to_compare() -> None:
    predicted, measured, curve = frames(8.0)
    table = beside(predicted, measured, source=20, curve=curve).set_index("period")
    assert list(table.index) == [10, 40]
    survival, start = 0.9**10, float((0.9 ** np.arange(10)).sum())
    assert table.loc[10, "paired"] == pytest.approx((start + survival * 5) / (start + survival * 8))
    both = ratio(
        tuple(start + survival * 5 * x for x in (1.0, 0.8, 1.2)),  # type: ignore[arg-type]
        tuple(start + survival * 8 * x for x in (1.0, 0.8, 1.2)),  # type: ignore[arg-type]
    )
    assert (table.loc[10, "paired_low"], table.loc[10, "paired_high"]) == pytest.approx(both[1:])
    # The plain ratio knows nothing: its intervals are those of the means.
    assert table.loc[10, "verdict"] == Reproduction.WITHIN
    assert table.loc[40, "paired_verdict"] == Reproduction.REPRODUCES  # hardly any run is left there
    predicted, measured, curve = frames(5.0, n_survivors=9)
    few = beside(predicted, measured, source=20, curve=curve)
    assert set(few["paired_verdict"]) == {Reproduction.UNTESTED}
    assert set(few["verdict"]) == {Reproduction.WITHIN}


# Known processes


def test_where_one_perturbation_counts_every_claim_on_prediction_reproduces() -> None:
    case = own_case(DELAYED, 15, 20, 30, 60)
    lines = verdicts(case)
    assert lines["residual"]["verdict"] in (Reproduction.REPRODUCES, Reproduction.WITHIN)
    assert lines["predicted"]["verdict"] == Reproduction.REPRODUCES
    assert lines["speedup"]["verdict"] == Reproduction.REPRODUCES
    exact = {p: DELAYED.restricted_mean(horizon=300, period=p) for p in (15, 30, 60)}
    for row in case.table.itertuples():
        # A common start leaves the residual times, which are 7 epochs at all periods.
        assert row.paired == pytest.approx(1, abs=0.06)
        assert row.paired_low < 1 < row.paired_high
        assert row.mean == pytest.approx(exact[row.period], rel=0.06)
    sharp = own_case(DELAYED, 20, 60, n_runs=200).table.iloc[0]
    assert sharp["paired_high"] - sharp["paired_low"] < 0.5 * (sharp["ratio_high"] - sharp["ratio_low"])


def test_where_every_perturbation_counts_the_residual_time_is_not_the_same() -> None:
    line = verdicts(own_case(MIXTURE, 20, 30, 60))["residual"]
    assert line["verdict"] == Reproduction.DOES_NOT
    assert line["score"] > 1.5  # 1/h + P (1 - w) / (w (1 - q^P)): 25 epochs at 20, 50 at 60


def test_residual_times_are_compared_over_equally_many_epochs() -> None:
    case = own_case(SLOW, 10, 20, 60, source=10, horizon=100, n_runs=500)
    # The mean over w epochs is the sum of the survival over them.
    expected = {w: (1 - (1 - SLOW.hazard) ** w) / SLOW.hazard for w in (40, 80, 90)}
    assert case.residuals is not None
    measured, alike = case.measured.set_index("period"), case.residuals.set_index("period")
    assert dict(alike["residual"]) == pytest.approx(dict.fromkeys((10, 20, 60), expected[40]), rel=0.04)
    over_all = {10: expected[90], 20: expected[80], 60: expected[40]}
    assert dict(measured["residual"]) == pytest.approx(over_all, rel=0.04)
    assert verdicts(case)["residual"]["verdict"] == Reproduction.REPRODUCES
    # Means, and predictions of them, are over the whole horizon.
    exact = {p: SLOW.restricted_mean(horizon=100, period=p) for p in (10, 20, 60)}
    assert dict(measured["mean"]) == pytest.approx(exact, rel=0.04)
    assert list(case.table["paired"]) == pytest.approx([1, 1], abs=0.05)


def test_residual_times_that_hardly_any_run_ends_say_nothing() -> None:
    # One run in thousand passes in an epoch: of 500, some four in the ten epochs that every period leaves.
    hardly = dataclasses.replace(SLOW, hazard=0.001, hazard_after=0.001)
    line = verdicts(own_case(hardly, 10, 20, 60, source=10, horizon=70, n_runs=500))["residual"]
    assert line["verdict"] == Reproduction.UNTESTED
    assert "did 10 perturbed runs pass" in line["note"]
    # Nor is anything known of a period before which all runs pass.
    case = own_case(SWIFT, 14, 80, source=14, horizon=100, n_runs=100)
    assert list(case.table["paired_verdict"]) == [Reproduction.UNTESTED]
    assert verdicts(case)["residual"]["verdict"] == Reproduction.UNTESTED


def test_the_period_that_predicts_does_not_vouch_for_itself() -> None:
    case = own_case(DELAYED, 20, 30, 60)
    assert case.measured.set_index("period")["mean"].idxmin() == 20
    alone = case.predicted.assign(status=["valid", "unverified", "not valid"])
    result = judges.optimum(dataclasses.replace(case, predicted=alone))
    assert result.verdict is Reproduction.UNTESTED
    assert result.note == "nothing to choose from but P0 = 20, where the prediction is the measurement"
    two = alone.assign(status=["valid", "valid", "not valid"])
    result = judges.optimum(dataclasses.replace(case, predicted=two))
    assert (result.verdict, result.note) == (Reproduction.REPRODUCES, "chosen is P = 20")


def test_the_worst_period_speaks_for_all() -> None:
    table = pd.DataFrame(
        {
            "period": [10, 20, 30, 40],
            **{n: [10.0, 20.0, 30.0, 40.0] for n in ("mean", "low", "high")},
            **{n: [10.0, 18.0, 21.0, 10.0] for n in ("mean_measured", "low_measured", "high_measured")},
            "ratio": [1.0, 1.11, 1.4, 4.0],
            "ratio_low": [0.95, 1.05, 1.3, 3.0],
            "ratio_high": [1.05, 1.2, 1.5, 5.0],
            "n_runs": [50, 50, 40, 3],
            "verdict": ["reproduces", "within the interval", "does not reproduce", "cannot be tested here"],
        }
    )
    result = judges.predictions(table)
    assert (result.verdict, result.score, result.n) == (Reproduction.DOES_NOT, (1.4, 1.3, 1.5), 40)
    assert "periods 10, 20, 30: 1 reproduces, 1 within the interval, 1 does not reproduce" in result.note
    assert "1 with fewer than 10 runs left out" in result.note
    assert judges.predictions(table.iloc[:2]).verdict is Reproduction.WITHIN
    assert judges.predictions(table.iloc[3:]).verdict is Reproduction.UNTESTED
    assert judges.predictions(table.iloc[:0]).note == "no such prediction"


def test_a_case_needs_its_source_and_one_horizon() -> None:
    with pytest.raises(InputError, match="no runs perturbed every 20 epochs; there is 30"):
        own_case(DELAYED, 30, n_runs=50)
    rng = np.random.default_rng(0)
    plain, kicked = DELAYED.sample(rng, n_runs=50, horizon=100), DELAYED.sample(rng, n_runs=50, horizon=80, period=30)
    with pytest.raises(InputError, match="followed for 80, 100 epochs; cut them to one horizon"):
        published.own_case("p", plain, {30: kicked}, perturbation="kick", threshold=0.5, period=30)


# The published data


@cache
def _index() -> Any:
    """Return all claims on published data, by name."""
    supplement = [published.supplementary_claims(name) for name in published.SUPPLEMENTARY]
    parts = [published.main_claims(72.0), published.main_claims(74.0), published.other_claims(), *supplement]
    return pd.concat(parts).set_index("name", drop=False)


@pytest.fixture
def index(without_trajectories: None) -> Any:
    """Judge once, from the summary."""
    return _index()


def test_what_the_library_calls_valid_is_right_and_the_optimum_lies_elsewhere(index: Any) -> None:
    assert index["name"].is_unique
    verdict = index["verdict"]
    vouched = verdict[index["kind"].isin(published.VOUCHED)]
    assert len(vouched) == 10
    assert set(vouched.drop("fc_adam-0.362-15-predicted")) == {Reproduction.REPRODUCES}
    assert verdict["fc_adam-0.362-15-predicted"] == Reproduction.UNTESTED
    assert set(verdict[index["kind"] == "unvouched"]) == {Reproduction.DOES_NOT}
    assert verdict["sp-72-50-optimum"] == Reproduction.DOES_NOT
    assert set(verdict[index["kind"] == "speedup"]) == {Reproduction.REPRODUCES}
    states = verdict[index["kind"] == "state"]
    assert set(states[[name.startswith("sp") for name in states.index]]) == {Reproduction.REPRODUCES}
    assert set(states[[not name.startswith("sp") for name in states.index]]) == {Reproduction.DOES_NOT}
    assert verdict["pr-72-50-form-2"] == Reproduction.REPRODUCES
    assert verdict["pr-74-50-form-2"] == Reproduction.DOES_NOT
    assert verdict["full-reset-72"] == Reproduction.UNTESTED
    assert verdict["choice-74"] == Reproduction.REPRODUCES


def test_a_line_says_what_decides(index: Any) -> None:
    line = index.loc["sp-72-50-optimum"]
    assert line["expected"] == "5.8 (5.6 to 6.1) at P = 2"
    assert line["note"] == "chosen is P = 15"
    assert line["score"] == pytest.approx(16.54 / 5.83, abs=0.01)
    assert line["score_low"] > line["accepted_high"] == pytest.approx(1.1)


def test_chapters_and_their_parameters_are_there(index: Any) -> None:
    for row in index.itertuples():
        assert (BOOK / f"{row.chapter}.md").is_file()
        if row.parameters.startswith("fpt book"):
            stem = row.parameters.split("--chapter ")[1].split()[0]
            page = (BOOK / f"{stem}.md").read_text()
            for key in re.findall(r"--set (\w+)=", row.parameters):
                assert re.search(rf"^{key}: ", page, re.MULTILINE), f"{row.name}: {stem} has no parameter {key}"
        else:
            assert row.parameters.startswith("published.")
            assert isinstance(eval(row.parameters, {"published": published}), pd.DataFrame)


def test_a_page_shows_numbers_in_words_and_links(index: Any) -> None:
    shown: Any = published.in_full(index.iloc[[0, 4]])
    assert '<a href="03_one_frequency.html">Chapter 3, one frequency</a>' in shown.data.loc[1, "claim"]
    assert "ours: 5.5 (2.4 to 9.4) % (1000 runs)" in shown.data.loc[0, "numbers"]
    assert re.search(r": <b>\d\.\d\d \(\d\.\d\d to \d\.\d\d\)</b>", shown.data.loc[1, "numbers"])
    assert "white-space: normal" in shown.to_html()
    brief: Any = published.glance(index)
    assert set(brief.data["claim"].str.partition("<br>")[0]) == set(index["claim"])
    assert "ResNet-18, CIFAR-10, SGD; partial reset; to 74 %, P0 = 50: <b>does not reproduce</b>" in brief.to_html()


def test_the_chart_holds_every_ratio_below_its_case() -> None:
    table = published.ratios()
    assert len(table) == 89
    assert table["case"].nunique() == 8
    spec = charts.agreement(table).to_dict()
    assert "89 predictions in 8 cases" in spec["description"]
    drawn = [data for data in spec["datasets"].values() if "verdict" in data[0]]
    assert all(len(data) == 89 for data in drawn)
    lines = [row["line"] for row in drawn[0]]
    assert lines == sorted(lines)
    assert len(set(lines)) == 89
