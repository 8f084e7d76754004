"""Figures that respond: what they hold, how large they are, and whether the picture shows them; `test_browser` moves their sliders."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import altair as alt
import numpy as np
import pytest

from companion import explore, published
from fptlib.charts import render

FIGURES: dict[str, Callable[[], alt.VConcatChart]] = {"period": explore.period}
LARGEST = 60_000  # bytes, data and picture together


@pytest.fixture(scope="module", params=FIGURES)
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Specification of a figure, checked against the schema."""
    made: dict[str, Any] = FIGURES[request.param]().to_dict()
    return made


def value(spec: dict[str, Any], name: str) -> Any:
    """Return the value of a parameter."""
    return next(param["value"] for param in spec["params"] if param["name"] == name)


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
