"""The page of a recommendation: complete, self-contained, and drawn by a browser without a network."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fptlib import charts, report
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.processes import OrnsteinUhlenbeck
from fptlib.response import Ranking, at_each, recommend
from fptlib.study import Study
from fptlib.trajectories import Trajectories

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
PLAIN = PROCESS.sample(np.random.default_rng(0), n_runs=150, horizon=80)
KICKED = {("shrink", 10): PROCESS.sample(np.random.default_rng(1), n_runs=150, horizon=80, period=10)}
Answers = dict[float, tuple[Study, Ranking] | str]


def answered(*thresholds: float, unperturbed: Trajectories = PLAIN) -> Answers:
    def ask(threshold: float) -> tuple[Study, Ranking]:
        study = Study(unperturbed, KICKED, threshold, n_boot=50)
        return study, recommend(study)

    return at_each(thresholds, ask)


@pytest.fixture(scope="module")
def answers() -> Answers:
    return answered(1.4, 1.5, 99.0)


def test_the_page_says_everything_the_answer_first_and_loads_nothing(tmp_path: Path, answers: Answers) -> None:
    report.write(tmp_path / "out.html", answers)
    page = (tmp_path / "out.html").read_text()
    places = []
    for answer in answers.values():
        if isinstance(answer, str):
            assert answer.split(";")[0][:40] in page
            continue
        ranking = answer[1]
        assert f"{ranking.choice.low:.1f} to {ranking.choice.high:.1f}" in page
        places.append([page.index(sentence) for sentence in ranking.advice] + [page.index("<figure>")])
    assert places[0] == sorted(places[0]), "the advice stands above the first chart"
    assert "Is faster also better?" in page
    assert page.count('class="vl-chart"') == 1 + 2 + 1  # speed-up, two rankings, survival
    outside = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    loads = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(?!data:)([^"]*)"', outside)
    assert loads == []


def test_text_from_elsewhere_is_escaped(tmp_path: Path) -> None:
    strange = Trajectories(metrics=PLAIN.metrics, run=PLAIN.run, meta={"source": "<script>alert(1)</script>"})
    report.write(tmp_path / "out.html", answered(1.5, unperturbed=strange))
    page = (tmp_path / "out.html").read_text()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_first_passage_times_alone_are_enough(tmp_path: Path) -> None:
    study = Study(
        first_passage(PLAIN, 1.5), {key: first_passage(runs, 1.5) for key, runs in KICKED.items()}, 1.5, n_boot=50
    )
    report.write(tmp_path / "out.html", {1.5: (study, recommend(study))})
    assert "only first-passage times were given" in (tmp_path / "out.html").read_text()


def test_a_page_has_the_ending_of_one(tmp_path: Path, answers: Answers) -> None:
    with pytest.raises(InputError, match=r"a name that ends in \.html is needed"):
        report.write(tmp_path / "out.pdf", answers)


@pytest.mark.parametrize("name", ["chart.svg", "chart.png", "chart.html"])
def test_one_chart_is_written_as_its_name_says(tmp_path: Path, answers: Answers, name: str) -> None:
    answer = answers[1.5]
    assert not isinstance(answer, str)
    report.save(tmp_path / name, charts.ranking(answer[1].to_frame()))
    start = (tmp_path / name).read_bytes()[:200]
    assert {"svg": b"<svg", "png": b"\x89PNG", "html": b"<!doctype"}[name.split(".")[1]] in start


@pytest.mark.browser
def test_a_browser_draws_the_charts_without_a_network(tmp_path: Path, answers: Answers, chromium: Any) -> None:
    page = chromium.new_page()
    complaints, requests = [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: complaints.append(str(e)))
    page.on("request", lambda r: requests.append(r.url))
    page.set_viewport_size({"width": 390, "height": 800})
    path = tmp_path / "out.html"
    report.write(path, answers)
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.vl-drawn').length === 4", timeout=20_000)
    assert complaints == []
    assert requests == [path.as_uri()]
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()
