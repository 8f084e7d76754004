"""Figures that respond: what they hold, how large they are, and whether the picture shows them; `test_browser` moves their sliders."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest

from companion import ROOT, explore, published
from fptlib.charts import render
from fptlib.equilibrium import divergence, sampled
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.response.interval import GRADES, OPEN

KNOWN = FirstPassageTimes(np.full(60, 200), np.zeros(60, dtype=bool), np.arange(60))  # nobody leaves
STEADY = pd.DataFrame(np.tile(np.arange(60.0), (100, 1)).T, columns=range(1, 101))
DRIFT = STEADY + 30 * (STEADY.columns.to_numpy() >= 20)
SIZES = pd.DataFrame(
    [(n, m, p) for n in range(50, 251, 50) for m in range(20, 101, 20) for p in (10, 50)], columns=["n", "m", "period"]
).assign(
    low=9.0, high=16.0, factor=lambda x: 1 + 5 / x["n"], agrees=0.95, measured=12.0, **{"to 10 %": 0.25, "open": 0.75}
)


def kept_tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    folder = ROOT / "book" / "results" / "two_regimes"
    curves, times = (pd.read_csv(folder / f"{name}.csv") for name in ("curves", "times"))
    plain = curves["setting"].str.endswith("plain") & (curves["quantity"] == "accuracy")
    return curves[plain], times


FIGURES: dict[str, Callable[[], alt.VConcatChart]] = {
    "drop": lambda: explore.drop(*kept_tables()),
    "hazard": explore.hazard,
    "period": explore.period,
    "restart": explore.restart,
    "runs": lambda: explore.runs(SIZES),
    "samplers": explore.samplers,
    "survivors": lambda: explore.survivors({"steady": (STEADY, KNOWN), "drifting": (DRIFT, KNOWN)}),
}
LARGEST = 60_000  # bytes, data and picture together


@pytest.fixture(scope="module", params=FIGURES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Specification of a figure, checked against the schema."""
    made: dict[str, Any] = FIGURES[request.param]().to_dict()
    return made


def value(spec: dict[str, Any], name: str) -> Any:
    """Return the value of a parameter."""
    return next(param["value"] for param in spec["params"] if param["name"] == name)


def test_a_threshold_can_be_chosen_at_first() -> None:
    tables, chosen = kept_tables(), "80 % of the gain"
    assert value(explore.drop(*tables, part=chosen).to_dict(), "part") == chosen
    assert value(explore.drop(*tables).to_dict(), "part") == "half of the gain"


def test_every_figure_is_small_self_contained_and_has_a_picture_and_inputs_with_names(spec: dict[str, Any]) -> None:
    made = render.bundle(spec)
    assert len(made["text/html"].encode()) < LARGEST
    assert "http" not in json.dumps(spec).replace(spec["$schema"], "")
    assert re.search(r"<svg|<img", made["text/html"])
    assert "NaN" not in made["text/html"]
    bound = [param["bind"] for param in spec["params"] if "bind" in param]
    assert bound[0]["input"] == "range"
    assert all(bind["name"] for bind in bound)
    assert any(param["name"] == "spoken" for param in spec["params"]), "what a screen reader says"


def test_area_and_block_make_the_mean_that_the_chapter_computes() -> None:
    spec = explore.period(source=50).to_dict()
    times, kicked = (published.times(72.0, *key).time for key in ((), ("shrink_perturb", 50)))
    tau = (kicked[kicked > 50] - 50).mean()
    assert value(spec, "tau")["shrink-and-perturb"]["72"] == pytest.approx(tau, abs=1e-3)
    for period in (1, 15, 100):
        before, left = (value(spec, name)["72"][period] for name in ("A", "S"))
        assert before == pytest.approx(np.minimum(times, period).mean(), abs=0.01)
        assert left == pytest.approx((times > period).mean(), abs=1e-4)
    nearest = value(spec, "nearest")["shrink-and-perturb"]
    assert [nearest[p] for p in (1, 12, 13, 70, 71)] == [1, 10, 15, 50, 100], "the same ratio, not the same distance"
    cells = [row for rows in spec["datasets"].values() for row in rows if "grade" in row]
    assert {row["grade"] for row in cells if row["predicted"] is None} == {"open"}
    assert {row["threshold"] for row in cells} == {"72", "73", "74"}


def evaluate(spec: dict[str, Any], name: str, **values: float) -> float:
    """Return a parameter that is an expression of others, as Vega computes it."""
    known = {param["name"]: param for param in spec["params"]}
    scope = {"exp": math.exp, "pow": pow, "max": max, "min": min, "sqrt": math.sqrt, "log": math.log} | values

    def of(one: str) -> Any:
        if one not in scope:
            expression = known[one].get("expr")
            if expression is None:
                return known[one]["value"]
            names = set(re.findall(r"[A-Za-z]+", expression)) & set(known)
            scope.update({other: of(other) for other in names})
            scope[one] = eval(expression, {}, scope)  # arithmetic that reads the same in Python
        return scope[one]

    return float(of(name))


@pytest.mark.parametrize(
    ("stuck", "hazard", "delay", "period"), [(0.3, 0.2, 10, 20), (0.0, 0.1, 0, 30), (0.5, 0.3, 3, 50)]
)
def test_closed_forms_of_the_restart_agree_with_integrals(stuck: float, hazard: float, delay: int, period: int) -> None:
    spec, slow = explore.restart().to_dict(), value(explore.restart().to_dict(), "slow")
    t, step = np.linspace(0, 4000, 800_001, retstep=True)
    late = np.maximum(t - delay, 0)
    alive = (1 - stuck) * np.exp(-hazard * late) + stuck * np.exp(-slow * late)
    mean = np.trapezoid(alive, dx=step)
    at = {"stuck": stuck, "hazard": hazard, "delay": delay, "P": period}
    assert evaluate(spec, "plain", **at) == pytest.approx(mean, rel=1e-3)
    assert evaluate(spec, "cv", **at) == pytest.approx(
        np.sqrt(2 * np.trapezoid(t * alive, dx=step) / mean**2 - 1), rel=1e-3
    )
    before = t <= period
    restarted = np.trapezoid(alive[before], dx=step) / (1 - alive[before][-1])
    assert evaluate(spec, "area", **at) / (1 - evaluate(spec, "alive", **at)) == pytest.approx(restarted, rel=1e-3)
    if not stuck and not delay:
        assert restarted == pytest.approx(mean, rel=1e-3), "without memory a restart changes nothing"
        assert evaluate(spec, "cv", **at) == pytest.approx(1)


@pytest.mark.parametrize(("decade", "n"), [(-3, 100), (-2, 100), (-1, 20)])
def test_distributions_of_samplers_are_those_of_a_gaussian_mean(decade: int, n: int) -> None:
    spec, at = explore.samplers().to_dict(), {"decade": decade, "n": n}
    size, rate = 5000 * n, 10.0**decade
    sign, one = np.where(np.arange(size) % 2, 1.0, -1.0)[:, None], np.ones((size, 1, 1))
    ways = {"full": (size, True, "far"), "sgld": (5000, True, "farther"), "sgworld": (5000, False, "near")}
    for name, (batch, replacement, distance) in ways.items():
        # The Hessian is 1 and, as in a model that is right, 1/M times the squares of M gradients.
        gradients = math.sqrt(size) * sign
        variance = sampled(gradients, one, rate=rate, batch=batch, replacement=replacement)[0, 0]
        assert evaluate(spec, name, **at) == pytest.approx(variance, rel=1e-4)
        assert evaluate(spec, distance, **at) == pytest.approx(float(divergence([[variance]], [[1.0]])), rel=0.01)


def test_the_best_period_is_where_the_hazard_falls_below_one_over_tau() -> None:
    spec = explore.hazard().to_dict()
    alive = np.array(value(spec, "S")["72"])
    hazard = 1 - alive[1:] / alive[:-1]  # of epochs 1, 2, ...
    for tau in (5, 10, 30, 60):
        at = value(spec, "inner")["72"][tau]
        means = np.array(value(spec, "A")["72"])[1:] + alive[1:] * tau
        best = value(spec, "shortest")["72"][tau]
        assert best in (1, at)
        assert means[best - 1] == pytest.approx(means.min(), abs=0.02)
        if hazard.max() < 1 / tau:
            assert at == 0, "it never pays to wait"
        else:
            assert hazard[at - 1] >= 1 / tau - 1e-3 >= hazard[at] - 2e-3
    assert set(value(spec, "inner")["74"]) == {0}


def test_distances_of_survivors_are_those_of_samples_with_a_known_shift() -> None:
    spec = explore.survivors({"steady": (STEADY, KNOWN), "drifting": (DRIFT, KNOWN)}).to_dict()
    pairs = value(spec, "pairs")
    assert {pair["distance"] for lag in pairs["steady"].values() for pair in lag} == {0}
    moved = {pair["epoch"]: pair for pair in pairs["drifting"]["2t"]}
    assert moved[5]["distance"] == moved[20]["distance"] == 0
    assert moved[10]["distance"] == moved[15]["distance"] == 0.5, "half of the values are below the lowest later one"
    assert (moved[10]["low"], moved[10]["high"], moved[10]["n"], moved[10]["m"]) == (0, 0.5, 60, 60)
    assert len(value(spec, "curves")["steady"]["5"]) == 40
    assert next(param for param in spec["params"] if param["name"] == "data")["bind"]["options"] == [
        "steady",
        "drifting",
    ]
    with pytest.raises(InputError, match="few: at no epoch"):
        explore.survivors(
            {"few": (STEADY.head(20), FirstPassageTimes(KNOWN.time[:20], KNOWN.observed[:20], KNOWN.run[:20]))}
        )


def test_numbers_of_runs_are_looked_up_by_size_and_period() -> None:
    spec = explore.runs(SIZES).to_dict()
    assert value(spec, "known")["50 20 10"] == [1.1, 0.95]
    row = next(rows for rows in spec["datasets"].values() if len(rows) == len(SIZES))[0]
    assert sum(row[grade.replace("1.5", "1½")] for grade in (*GRADES, OPEN)) == 1, (
        "a grade that was never given has the share 0"
    )
