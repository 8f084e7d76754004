"""The page of a recommendation: complete, self-contained, and drawn by a browser without a network."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptlib import charts, report, tables
from fptlib.errors import InputError
from fptlib.former import Recommendation, at_each, outcomes, recommend
from fptlib.processes import OrnsteinUhlenbeck
from fptlib.trajectories import Trajectories

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
PLAIN = PROCESS.sample(np.random.default_rng(0), n_runs=150, horizon=80)
KICKED = {("shrink", 10): PROCESS.sample(np.random.default_rng(1), n_runs=150, horizon=80, period=10)}
Answers = dict[float, Recommendation | str]


@pytest.fixture(scope="module")
def answers() -> Answers:
    return at_each([1.4, 1.5, 99.0], lambda x: recommend(PLAIN, KICKED, threshold=x, n_boot=50))


@pytest.fixture
def write(tmp_path: Path, answers: Answers) -> Callable[..., Path]:
    """Write the page; return its path."""

    def run(name: str = "out.html", **changes: Any) -> Path:
        found = outcomes({"without perturbation": PLAIN}, n_boot=50)
        content = {"answers": answers, "unperturbed": PLAIN, "candidates": KICKED, "outcomes": found, **changes}
        report.write(tmp_path / name, content.pop("answers"), **content)
        return tmp_path / name

    return run


def test_the_page_says_everything_and_loads_nothing(write: Callable[..., Path], answers: Answers) -> None:
    page = write().read_text()
    for answer in answers.values():
        if isinstance(answer, str):
            assert answer.split(";")[0][:40] in page
        else:
            assert f"{answer.ranking[0].mean:.2f}" in page
    assert "Is faster also better?" in page
    assert page.count('class="vl-chart"') == 1 + 2 + 2  # speed-up, two rankings, survival, distance
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    loads = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)([^"]*)"', outside)
    assert loads == []


def test_text_from_elsewhere_is_escaped(write: Callable[..., Path], answers: Answers) -> None:
    strange = Trajectories(metrics=PLAIN.metrics, run=PLAIN.run, meta={"source": "<script>alert(1)</script>"})
    page = write(unperturbed=strange, outcomes={"<b>": "a & b"}).read_text()
    assert "<script>alert(1)" not in page
    assert "a &amp; b" in page


def test_runs_that_were_retired_say_so(write: Callable[..., Path]) -> None:
    page = write(outcomes={"retired": "final and best metric need runs followed to epoch 80"}).read_text()
    assert "need runs followed to epoch 80" in page


def test_a_page_has_the_ending_of_one(write: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"a name that ends in \.html is needed"):
        write("out.pdf")


@pytest.mark.parametrize("name", ["chart.svg", "chart.png", "chart.html"])
def test_one_chart_is_written_as_its_name_says(tmp_path: Path, answers: Answers, name: str) -> None:
    answer = answers[1.5]
    assert not isinstance(answer, str)
    report.save(tmp_path / name, charts.ranking(tables.ranking_table(answer)))
    start = (tmp_path / name).read_bytes()[:200]
    assert {"svg": b"<svg", "png": b"\x89PNG", "html": b"<!doctype"}[name.split(".")[1]] in start


@pytest.mark.browser
def test_a_browser_draws_the_charts_without_a_network(write: Callable[..., Path], chromium: Any) -> None:
    page = chromium.new_page()
    complaints, requests = [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("request", lambda r: requests.append(r.url))
    page.set_viewport_size({"width": 390, "height": 800})
    path = write()
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.vl-drawn').length === 5", timeout=20_000)
    assert complaints == []
    assert requests == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
