"""Claims and their verdicts: known processes, tests of steadiness, the published data, and what pages show."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from companion import charts, published
from companion.published import kept
from companion.published.claims import CLAIMS
from companion.published.judges import JUDGES, Case, verdict
from companion.published.table import VALUES
from fptlib.firstpassage import Estimate, FirstPassageTimes
from fptlib.processes import DelayedGeometric
from fptlib.study import Study
from known import DELAYED, MIXTURE

BOOK = Path(__file__).resolve().parents[1] / "book"
# Most runs are censored, and nothing helps.
SLOW = DelayedGeometric(silent=5, hazard=0.004, silent_after=0, hazard_after=0.004)
EVERY = {"grades": ["to 10 %", "to 20 %", "to a factor 1.5", "to a factor 2"]}
positive = st.floats(1e-3, 1e3)
intervals = st.builds(lambda m, a, b: Estimate(m, m * a, m * b, 9, 0), positive, st.floats(0.1, 1), st.floats(1, 10))


def known_case(process: Any, *periods: int, source: int = 20, horizon: int = 300, n_runs: int = 600) -> Case:
    """Return a case of a known process."""
    rng = np.random.default_rng(11)
    plain, *kicked = (process.sample(rng, n_runs=n_runs, horizon=horizon, period=p) for p in (None, *periods))
    study = Study(plain, {("kick", p): runs for p, runs in zip(periods, kicked, strict=True)}, process.threshold)
    return published.own_case("p", "known", study, [("kick", source)])


# Intervals against accepted values


@given(score=intervals, wider=st.floats(1, 5))
def test_a_wider_interval_never_earns_a_verdict(score: Estimate, wider: float) -> None:
    after = verdict(dataclasses.replace(score, low=score.low / wider, high=score.high * wider), (0.9, 1.1))
    assert after in (verdict(score, (0.9, 1.1)), "undecided")


@given(score=intervals, bound=st.floats(0.1, 10))
def test_a_one_sided_claim_turns_round_with_its_bound(score: Estimate, bound: float) -> None:
    above, below = verdict(score, (bound, math.inf)), verdict(score, (0.0, bound))
    if bound not in (score.low, score.high):
        assert {above, below} in ({"reproduces", "does not reproduce"}, {"undecided"})


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.9, 1.1, "reproduces"),
        (0.89, 1.0, "undecided"),
        (1.11, 1.2, "does not reproduce"),
        (0.5, 0.89, "does not reproduce"),
        (math.nan, 1.0, "cannot be tested"),
    ],
)
def test_an_interval_is_held_against_what_is_accepted(low: float, high: float, expected: str) -> None:
    assert verdict(Estimate(1.0, low, high, 9, 0), (0.9, 1.1)) == expected


# Known processes


def test_where_one_perturbation_counts_one_period_predicts_the_others() -> None:
    case = known_case(DELAYED, 15, 20, 30, 60)
    assert JUDGES["coverage"](case).score.mean == 1.0
    assert verdict(JUDGES["error"](case, **EVERY, within=1.2).score, (0, 1)) == "reproduces"
    assert verdict(JUDGES["residual"](case).score, (0.8, 1.25)) == "reproduces"
    assert verdict(JUDGES["means"](case, first="doing nothing", second="best").score, (1, math.inf)) == "reproduces"
    assert verdict(JUDGES["means"](case, first="choice", second="best").score, (0, 1.2)) == "reproduces"
    # A common start leaves the residual times, which are 7 epochs at all periods, and the error of the unperturbed runs cancels.
    exact = {p: DELAYED.restricted_mean(horizon=300, period=p) for p in (15, 30, 60)}
    for cell in case.comparison.cells:
        assert cell.error.mean == pytest.approx(0, abs=0.06)
        assert cell.measured.mean == pytest.approx(exact[cell.prediction.period or 0], rel=0.06)


def test_where_every_perturbation_counts_the_residual_time_is_not_the_same() -> None:
    score = JUDGES["residual"](known_case(MIXTURE, 20, 30, 60)).score
    assert verdict(score, (0.9, 1.1)) == "does not reproduce"
    assert score.mean > 1.5  # 1/h + P (1 - w) / (w (1 - q^P)): 25 epochs at 20, 50 at 60


def test_residual_times_are_compared_over_equally_many_epochs() -> None:
    result = JUDGES["residual"](known_case(SLOW, 10, 20, 60, source=10, horizon=100, n_runs=500))
    assert verdict(result.score, (0.9, 1.1)) == "reproduces"
    assert "restricted to 40 epochs" in result.note
    hardly = dataclasses.replace(SLOW, hazard=0.001, hazard_after=0.001)
    result = JUDGES["residual"](known_case(hardly, 10, 20, 60, source=10, horizon=70, n_runs=500))
    assert verdict(result.score, (0.9, 1.1)) == "cannot be tested"
    assert "10 perturbed runs reach the threshold" in result.note


def test_nothing_to_gain_is_no_speed_up() -> None:
    case = known_case(SLOW, 20, 40, n_runs=300)
    assert verdict(JUDGES["means"](case, first="doing nothing", second="best").score, (1, math.inf)) == "undecided"


# Steadiness


def walks(*, moving: float, n_runs: int = 400) -> pd.DataFrame:
    """Return a stationary metric, three quarters of whose variance lies between runs, and a drift of so many deviations in ten epochs."""
    rng = np.random.default_rng(4)
    level = np.sqrt(0.75) * rng.standard_normal((n_runs, 1))
    epochs = np.array(VALUES)
    return pd.DataFrame(level + 0.5 * rng.standard_normal((n_runs, len(epochs))) + moving * epochs / 10, columns=epochs)


def test_the_plain_test_is_that_of_scipy_and_the_bootstrap_knows_that_runs_are_the_same() -> None:
    never = FirstPassageTimes(np.full(400, 200), np.zeros(400, dtype=bool), np.arange(400))
    drifting = walks(moving=0.08)
    table = published.steadiness(drifting, never).set_index(["survivors", "lag", "epoch"]).sort_index()
    for (survivors, lag, epoch), line in table.iterrows():
        oracle = stats.ks_2samp(drifting[epoch], drifting[line["later"]])
        assert (line["distance"], line["p_value"]) == pytest.approx((oracle.statistic, oracle.pvalue))
        assert line["later"] == (2 * epoch if lag == "double" else epoch + lag)
        assert line["p_bootstrap"] == table.loc[(not survivors, lag, epoch), "p_bootstrap"]  # nobody passes
    at = table.loc[True, 25]
    assert at["p_bootstrap"].median() < 0.05 < at["p_value"].max()
    still = published.steadiness(walks(moving=0.0), never)
    assert (still["p_bootstrap"] < 0.05).mean() < 0.15


def test_survivors_are_those_below_the_threshold() -> None:
    times = published.times(72)
    table = published.steadiness(published.values(), times, n_boot=20).set_index(["survivors", "lag", "epoch"])
    line = table.loc[(True, 50, 50)]
    assert (line["n"], line["n_later"]) == (times.running(50).sum(), times.running(100).sum())
    assert f"{line['distance']:.3f}" == "0.083"


# Measures that chapters keep


def test_claims_of_related_abstracts_are_judged_by_what_chapters_keep(tmp_path: Path) -> None:
    row = next(row for row in kept.CLAIMS if row["quantity"] == "integral theorem, regression")
    ours = next(row for row in kept.CLAIMS if row["where"].startswith("ours") and row["accepted"][1] < math.inf)

    def measure(claim: dict[str, Any], mean: float, half: float) -> dict[str, Any]:
        return {"quantity": claim["quantity"], "mean": mean, "low": mean - half, "high": mean + half, "runs": 9}

    def outcome(claim: dict[str, Any]) -> str:
        return str(kept.related(tmp_path).set_index("quantity").loc[claim["quantity"], "verdict"])

    assert set(kept.related(tmp_path)["verdict"]) == {"cannot be tested"}
    folder = tmp_path / row["chapter"]
    kept.record(folder, [measure(row, 1.0, 0.001), measure(ours, 2 * ours["accepted"][1], 0.001)])
    assert (outcome(row), outcome(ours)) == ("reproduces", "does not hold")
    kept.record(folder, [measure(row, 1.0, 0.1)])
    assert (outcome(row), outcome(ours)) == ("undecided", "does not hold"), "rows of other quantities stay"
    assert len(pd.read_csv(folder / "measures.csv")) == 2


def test_every_claim_of_related_abstracts_has_its_measure() -> None:
    table = kept.related()
    assert list(table.loc[table["verdict"] == "cannot be tested", "quantity"]) == []
    assert all(row["accepted"][0] < row["accepted"][1] for row in kept.CLAIMS)
    ratios = table[table["quantity"].str.startswith("SGLD / SGWORLD")].set_index("quantity")["verdict"]
    assert ratios["SGLD / SGWORLD, one epoch per relaxation time"] == "reproduces"
    assert ratios["SGLD / SGWORLD, ten times the learning rate"] == "does not hold"


# The table of claims, and the published data


@cache
def judged() -> Any:
    return published.judge(published.published_cases())


def test_rows_of_the_table_say_who_judges_what() -> None:
    ids = [row["id"] for row in CLAIMS]
    assert len(ids) == len(set(ids))
    for row in CLAIMS:
        assert row.get("judge", "nobody") in {*JUDGES, "nobody"}
        assert ("judge" in row) == bool(row["kinds"])
        assert row["accepted"][0] < row["accepted"][1]
        assert (BOOK / f"{row['chapter']}.md").is_file()
        assert {"where", "claim"} <= set(row)
    where = {row["id"]: row["where"] for row in CLAIMS}
    assert "v1 only" in where["regret"]  # later versions claim a useful perturbation, not the optimal one
    assert where["residual"] == "implied"
    assert where["better"].startswith("data")
    assert "renewal theory" in where["full-reset"]


@pytest.mark.slow
def test_what_the_published_data_say() -> None:
    table = judged()
    assert not table.duplicated(["id", "case"]).any()
    of = {name: part.set_index("case")["verdict"] for name, part in table.groupby("id")}
    assert set(of["useful"]) == {"reproduces"}
    assert set(of["faster"]) == set(of["ranking"]) == set(of["better"]) == {"holds"}
    # Open predictions are left out; of the rest none is off by 20 % for sure but with the fully connected network.
    assert set(of["every-period"].drop("fc_adam-shrink_perturb-0.362-15")) == {"holds", "undecided"}
    assert of["every-period"]["fc_adam-shrink_perturb-0.362-15"] == "does not hold"
    assert set(of["coverage"]) == {"undecided"}  # sixteen of sixteen could be 80 %
    main = of["graded"][of["graded"].index.str.startswith("cifar10-")]
    assert set(main) == {"reproduces", "cannot be tested"}
    assert "does not reproduce" not in set(of["graded"])
    assert set(of["regret"][["cifar10-shrink_perturb-partial_reset-72-50"]]) == {"does not reproduce"}
    steady = {lag: of[f"steady-{lag}"].filter(like="-72-").item() for lag in (25, 50)}
    assert steady == {25: "reproduces", 50: "does not reproduce"}  # by the test that the paper is said to use
    for name in ("full-reset", "linear-response", "architecture", "training"):
        assert list(of[name]) == ["cannot be tested"]
    worst = table[(table["id"] == "regret") & table["case"].str.contains("-72-")].iloc[0]
    assert "epochs, shrink-and-perturb every 4 epochs; 5.8 (5.6 to 6.1), shrink-and-perturb every 2" in worst["ours"]


@pytest.mark.slow
def test_only_what_the_authors_say_reproduces() -> None:
    table = judged()
    words = {by_authors: set(part["verdict"]) for by_authors, part in table.groupby("said")}
    assert words[True] == {"reproduces", "undecided", "does not reproduce", "cannot be tested"}
    assert words[False] == {"holds", "undecided", "does not hold", "cannot be tested"}
    assert set(table.loc[table["said"], "id"]) == {row["id"] for row in CLAIMS if row.get("authors")}
    assert table.query("id == 'steady-25' and said")["case"].str.startswith("cifar10-").all(), (
        "a steady state is claimed of CIFAR-10"
    )


@pytest.mark.slow
def test_a_figure_holds_every_verdict() -> None:
    tests = judged()[lambda table: table["case"] != ""]
    chart = charts.verdicts(tests)
    cells = next(iter(chart.to_dict()["datasets"].values()))
    assert len(cells) == (tests["verdict"] != "cannot be tested").sum()
    signs = {(cell["label"], cell["short"]): cell["sign"] for cell in cells}
    assert signs["CIFAR-10, 72 %", "the choice is the best"] == "\u2212"
    assert signs["CIFAR-10, 72 %: partial", "residual time constant"] == "+"
    assert signs["CIFAR-100, 40.7 %", "one period predicts others"] == "?"
