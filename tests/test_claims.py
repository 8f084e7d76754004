"""Claims and their verdicts: known processes with a known answer, the published data, and what pages show."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import published
from companion.published import Reproduction
from fptlib import charts
from fptlib.errors import InputError
from fptlib.processes import DelayedGeometric, FrozenMixture
from fptlib.trajectories import Trajectories
from known import DELAYED, MIXTURE

# Claims rest on tables, and these are compared with the trajectories elsewhere.
pytestmark = pytest.mark.usefixtures("without_trajectories")
BOOK = Path(__file__).resolve().parents[1] / "book"


def about(name: str = "a-claim") -> published.About:
    """Return what a claim is called."""
    return published.About(
        name=name, case="a case", claim="A claim", where="here", chapter="03_one_frequency", parameters="none"
    )


def claim(score: tuple[float, float, float], accepted: tuple[float, float], *, against: str = "") -> published.Claim:
    """Return a claim with this score."""
    return published.Claim(
        about=about(),
        expected="1",
        ours=score,
        unit="",
        n=9,
        measure="ratio",
        score=score,
        accepted=accepted,
        against=against,
    )


def own(process: DelayedGeometric | FrozenMixture, *, periods: tuple[int, ...], n_runs: int = 600) -> published.Case:
    """Return a case of a known process, predicted from period 20."""
    rng = np.random.default_rng(11)
    size = {"n_runs": n_runs, "horizon": 300}
    plain = process.sample(rng, **size)
    perturbed = {p: process.sample(rng, **size, period=p) for p in periods}
    return published.own_case("process", plain, perturbed, perturbation="kick", period=20, threshold=process.threshold)


# Closed forms


def test_where_one_perturbation_counts_every_claim_on_prediction_reproduces() -> None:
    case = own(DELAYED, periods=(15, 20, 30, 60))
    found = {
        c.about.name: c
        for c in published.case_claims(case, prefix="p", where="", chapter="03_one_frequency", parameters="")
    }
    assert found["p-residual"].verdict in (Reproduction.REPRODUCES, Reproduction.WITHIN)
    assert found["p-predicted"].verdict is Reproduction.REPRODUCES
    assert found["p-speedup"].verdict is Reproduction.REPRODUCES
    exact = {p: DELAYED.restricted_mean(horizon=300, period=p) for p in (15, 30, 60)}
    for row in case.table.itertuples():
        # A common start leaves the residual times, which are 7 epochs at all periods.
        assert row.paired == pytest.approx(1, abs=0.06)
        assert row.paired_low < 1 < row.paired_high
        assert row.mean == pytest.approx(exact[row.period], rel=0.06)


def test_where_every_perturbation_counts_the_residual_time_is_not_the_same() -> None:
    case = own(MIXTURE, periods=(20, 30, 60))
    found = {
        c.about.name: c
        for c in published.case_claims(case, prefix="p", where="", chapter="03_one_frequency", parameters="")
    }
    assert found["p-residual"].verdict is Reproduction.DOES_NOT
    assert found["p-residual"].score[0] > 1.5  # 1/h + P (1 - w) / (w (1 - q^P)): 25 epochs at 20, 50 at 60


def test_a_common_start_is_sharper_than_the_plain_ratio() -> None:
    table = own(DELAYED, periods=(20, 60), n_runs=200).table.iloc[0]
    assert table["paired_high"] - table["paired_low"] < 0.5 * (table["ratio_high"] - table["ratio_low"])


# Most runs are censored, and nothing helps.
SLOW = DelayedGeometric(silent=5, hazard=0.004, silent_after=0, hazard_after=0.004)


def own_claims(
    process: DelayedGeometric, *, horizon: int, periods: tuple[int, ...]
) -> tuple[published.Case, dict[str, published.Claim]]:
    """Return a case of a known process, predicted from the first of its periods, and its claims by the last word of their names."""
    rng = np.random.default_rng(3)
    plain = process.sample(rng, n_runs=500, horizon=horizon)
    kicked = {p: process.sample(rng, n_runs=500, horizon=horizon, period=p) for p in periods}
    case = published.own_case("p", plain, kicked, perturbation="kick", period=periods[0], threshold=process.threshold)
    claims = published.case_claims(case, prefix="p", where="", chapter="03_one_frequency", parameters="")
    return case, {c.about.name.removeprefix("p-"): c for c in claims}


def test_residual_times_are_compared_over_equally_many_epochs() -> None:
    case, found = own_claims(SLOW, horizon=100, periods=(10, 20, 60))
    # The mean over w epochs is the sum of the survival over them.
    expected = {w: (1 - (1 - SLOW.hazard) ** w) / SLOW.hazard for w in (40, 80, 90)}
    measured, alike = case.measured.set_index("period"), case.residuals.set_index("period")
    assert dict(alike["residual"]) == pytest.approx(dict.fromkeys((10, 20, 60), expected[40]), rel=0.04)
    whole = {10: expected[90], 20: expected[80], 60: expected[40]}
    assert dict(measured["residual"]) == pytest.approx(whole, rel=0.04)
    assert found["residual"].verdict is Reproduction.REPRODUCES
    # Means, and predictions of them, are over the whole horizon.
    exact = {p: SLOW.restricted_mean(horizon=100, period=p) for p in (10, 20, 60)}
    assert dict(measured["mean"]) == pytest.approx(exact, rel=0.04)
    assert list(case.table["paired"]) == pytest.approx([1, 1], abs=0.05)


def test_residual_times_that_hardly_any_run_ends_say_nothing() -> None:
    # One run in thousand passes in an epoch: of 500, some four in the ten epochs that every period leaves.
    hardly = dataclasses.replace(SLOW, hazard=0.001, hazard_after=0.001)
    found = own_claims(hardly, horizon=70, periods=(10, 20, 60))[1]["residual"]
    assert found.verdict is Reproduction.UNTESTED
    assert "did 10 perturbed runs pass" in found.note


def test_the_period_that_predicts_does_not_vouch_for_itself() -> None:
    case = own(DELAYED, periods=(20, 30, 60))
    assert case.measured.set_index("period")["mean"].idxmin() == 20
    alone = case.predicted.assign(status=["valid", "unverified", "not valid"])
    found = published.optimum(dataclasses.replace(case, predicted=alone), about())
    assert found.verdict is Reproduction.UNTESTED
    assert found.note == "nothing to choose from but P0 = 20, where the prediction is the measurement"
    chosen = published.optimum(
        dataclasses.replace(case, predicted=alone.assign(status=["valid", "valid", "not valid"])), about()
    )
    assert (chosen.verdict, chosen.note) == (Reproduction.REPRODUCES, "chosen is P = 20")


def test_where_all_runs_pass_before_a_period_nothing_is_said_of_it() -> None:
    rng = np.random.default_rng(5)
    swift = DelayedGeometric(silent=12, hazard=0.5, silent_after=3, hazard_after=0.5)
    runs = {p: swift.sample(rng, n_runs=100, horizon=100, period=p) for p in (14, 80)}
    case = published.own_case(
        "p", swift.sample(rng, n_runs=100, horizon=100), runs, perturbation="kick", period=14, threshold=0.5
    )
    claims = published.case_claims(case, prefix="p", where="", chapter="03_one_frequency", parameters="")
    assert list(case.table["paired_verdict"]) == [Reproduction.UNTESTED]
    assert {c.about.name: c for c in claims}["p-residual"].verdict is Reproduction.UNTESTED


# Laws


@given(
    mean=st.floats(0.1, 10),
    down=st.floats(0.01, 0.99),
    up=st.floats(1.01, 9),
    bound=st.floats(0.1, 10),
)
def test_a_one_sided_claim_turns_round_with_its_bound(mean: float, down: float, up: float, bound: float) -> None:
    score = (mean, mean * down, mean * up)
    above, below = claim(score, (bound, math.inf)).verdict, claim(score, (0.0, bound)).verdict
    opposite = {
        Reproduction.REPRODUCES: Reproduction.DOES_NOT,
        Reproduction.DOES_NOT: Reproduction.REPRODUCES,
        Reproduction.WITHIN: Reproduction.WITHIN,
    }
    if bound not in score:
        assert below is opposite[above]


def test_what_speaks_against_a_claim_decides() -> None:
    assert claim((1.0, 0.99, 1.01), (0.9, 1.1)).verdict is Reproduction.REPRODUCES
    assert claim((1.0, 0.99, 1.01), (0.9, 1.1), against="moves").verdict is Reproduction.DOES_NOT
    assert published.untested(about(), reason="no data").verdict is Reproduction.UNTESTED


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
    found = published.predictions(table, about())
    assert (found.verdict, found.score, found.n) == (Reproduction.DOES_NOT, (1.4, 1.3, 1.5), 40)
    assert "periods 10, 20, 30: 1 reproduces, 1 within the interval, 1 does not reproduce" in found.note
    assert "1 with fewer than 10 runs left out" in found.note
    assert published.predictions(table.iloc[:2], about()).verdict is Reproduction.WITHIN
    assert published.predictions(table.iloc[3:], about()).verdict is Reproduction.UNTESTED
    assert published.predictions(table.iloc[:0], about()).note == "no such prediction"


# The published data


def index() -> pd.DataFrame:
    """Return all claims on published data."""
    claims = [*published.main_claims(72.0), *published.main_claims(74.0), *published.other_claims()]
    for name in published.supplementary():
        claims += published.supplementary_claims(name)
    return published.claims_table(claims)


def test_what_the_library_calls_valid_is_right_and_the_optimum_lies_elsewhere() -> None:
    table = index()
    assert table["name"].is_unique
    verdict = table.set_index("name")["verdict"]
    valid = verdict[verdict.index.str.endswith("-predicted")]
    assert len(valid) == 7
    assert set(valid.drop("fc_adam-0.362-15-predicted")) == {Reproduction.REPRODUCES}
    assert verdict["fc_adam-0.362-15-predicted"] == Reproduction.UNTESTED
    assert set(verdict[verdict.index.str.endswith("-unvouched")]) == {Reproduction.DOES_NOT}
    assert verdict["sp-72-50-optimum"] == Reproduction.DOES_NOT
    assert set(verdict[verdict.index.str.endswith("-speedup")]) == {Reproduction.REPRODUCES}
    assert verdict["sp-72-50-state"] == Reproduction.REPRODUCES
    assert set(
        verdict[[f"{n}-state" for n in ("cifar100-40.7-20", "cifar100_momentum-54.6-30", "fc_adam-0.362-15")]]
    ) == {Reproduction.DOES_NOT}
    assert verdict["pr-72-50-form-2"] == Reproduction.REPRODUCES
    assert verdict["pr-74-50-form-2"] == Reproduction.DOES_NOT
    assert verdict["full-reset-72"] == Reproduction.UNTESTED
    assert verdict["choice-74"] == Reproduction.REPRODUCES


def test_a_line_says_what_decides() -> None:
    line = index().set_index("name").loc["sp-72-50-optimum"]
    assert line["expected"] == "5.8 (5.6 to 6.1) at P = 2"
    assert line["note"] == "chosen is P = 15"
    assert line["score"] == pytest.approx(16.54 / 5.83, abs=0.01)
    assert line["score_low"] > line["accepted_high"] == pytest.approx(1.1)


def test_chapters_and_their_parameters_are_there() -> None:
    for row in index().itertuples():
        if row.parameters.startswith("fpt book"):
            stem = row.parameters.split("--chapter ")[1].split()[0]
            page = (BOOK / f"{stem}.md").read_text()
            for key in re.findall(r"--set (\w+)=", row.parameters):
                assert re.search(rf"^{key}: ", page, re.MULTILINE), f"{row.name}: {stem} has no parameter {key}"
        else:
            assert row.parameters.startswith("published.")
            assert isinstance(eval(row.parameters, {"published": published}), pd.DataFrame)


def test_a_page_shows_numbers_in_words_and_links() -> None:
    shown = published.spelled(index().iloc[[0, 4]])
    assert '<a href="03_one_frequency.html">Chapter 3, one frequency</a>' in shown.loc[1, "claim"]
    assert "ours: 5.5 (2.4 to 9.4) % (1000 runs)" in shown.loc[0, "numbers"]
    assert re.search(r": <b>\d\.\d\d \(\d\.\d\d to \d\.\d\d\)</b>", shown.loc[1, "numbers"])
    assert "white-space: normal" in published.styled(index().head(1)).to_html()


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


# What is refused


def test_a_case_needs_its_source_and_one_horizon() -> None:
    rng = np.random.default_rng(0)
    plain = DELAYED.sample(rng, n_runs=50, horizon=100)
    kicked: dict[int, Trajectories] = {30: DELAYED.sample(rng, n_runs=50, horizon=80, period=30)}
    options = {"perturbation": "kick", "threshold": 0.5}
    with pytest.raises(InputError, match="no runs perturbed every 20 epochs; there is 30"):
        published.own_case("p", plain, kicked, period=20, **options)
    with pytest.raises(InputError, match="followed for 80, 100 epochs; cut them to one horizon"):
        published.own_case("p", plain, kicked, period=30, **options)
