"""README is true: its code runs, its figure is the one that the summary gives, its files and commands are there."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from companion import published
from companion.build import cover
from fptlib.firstpassage import restricted_mean
from fptlib.response import recommend
from fptlib.response.interval import GRADES, OPEN
from known import write_logs


@pytest.fixture
def readme(root: Path) -> str:
    return (root / "README.md").read_text()


def examples(readme: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", readme, flags=re.DOTALL)


def test_the_loop_runs_as_it_stands(readme: str) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    weights = []
    names = {"n_epochs": 45, "model": model, "optimizer": optimizer, "train": lambda *_: None}
    names["Net"] = lambda: torch.nn.Linear(3, 2)
    names["evaluate"] = lambda model: weights.append(float(model.weight.detach().abs().sum())) or 0.5
    _, _, code = examples(readme)
    exec(compile(code, "README.md", "exec"), names)
    changed = [epoch for epoch in range(1, 45) if weights[epoch] != weights[epoch - 1]]
    assert changed == [20, 40]


def test_the_library_example_runs_as_it_stands(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_logs(tmp_path / "logs" / "plain", seed=0, period=None)
    write_logs(tmp_path / "logs" / "every20", seed=1, period=20)
    monkeypatch.chdir(tmp_path)
    code, _, _ = examples(readme)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Estimate(")
    assert lines[1].startswith("Use shrink-and-perturb every")
    low, high, grade = lines[-1].split(maxsplit=2)
    assert 1 < float(low) < float(high)
    assert grade in (*GRADES, OPEN)


def test_the_search_runs_as_it_stands(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    def train(seed: int, perturbation: str | None, period: int | None, epochs: int) -> list[float]:
        shrunk = perturbation == "shrink" and period is not None and period < epochs
        return [0.0] * (period + 2) + [1.0] if shrunk else [0.0] * epochs

    _, code, _ = examples(readme)
    exec(compile(code, "README.md", "exec"), {"train": train})
    assert capsys.readouterr().out.startswith("Use shrink every ")


def test_main_figure_is_the_one_that_the_summary_gives() -> None:
    assert cover.PATH.read_text() == cover.draw()


def test_answer_is_the_one_that_the_published_runs_give(readme: str) -> None:
    study = published.study(threshold=74, keys=[("shrink_perturb", 50), ("partial_reset", 50)])
    answer, shown = recommend(study), " ".join(readme.split())
    for sentence in answer.advice:
        assert sentence in shown
    for p in answer.predictions[:4]:
        mean = "-" if p.mean is None else f"{p.mean:.1f}"
        assert f"{p.perturbation} {p.period} {mean} {p.low:.1f} to {p.high:.1f} " in shown
    period = answer.choice.period
    measured = published.means(threshold=74)[answer.choice.perturbation, period]
    assert (
        f"Runs perturbed every {period} epochs were published too, and were not used: they took {measured.mean:.1f} epochs."
        in shown
    )


def test_what_it_is_worth_is_what_was_measured(readme: str, root: Path) -> None:
    results = root / "book" / "results"
    regret = pd.read_csv(results / "prediction_coverage" / "regret.csv")
    mean = regret[regret["setting"] == "mean"].set_index("runs")
    few, many = mean.loc["8 + 8"], mean.loc["all"]
    plain, means = published.times(72.0), published.means(threshold=72.0, perturbations=["shrink_perturb"])
    alone = restricted_mean(plain, horizon=plain.horizon).mean
    swept, two = sum(m.mean for m in means.values()), alone + means["shrink_perturb", 50].mean
    cells = pd.read_parquet(results / "prediction_coverage" / "cells.parquet")
    cells = cells[
        (cells["setting"] == "cifar10") & (cells["perturbation"] == "shrink_perturb") & (cells["source"] == 50)
    ]
    grade = cells[cells["threshold"] == 72].set_index("period")["grade"]
    known = [period for period in grade.index if (grade.loc[period:] == "to 10 %").all()]
    ratios = pd.read_csv(results / "closed_loop" / "summary.csv").set_index("budget")["ratio"]
    large, small = ratios[ratios.index >= 1000], ratios[250]
    grades = pd.read_csv(results / "prediction_coverage" / "grades.csv").set_index("grade")
    firm = grades.loc[["to 10 %", "to 20 %"]]
    right = (firm["cells"] * firm["within 20 %"]).sum() / firm["cells"].sum()
    best = {key: value.mean for key, value in published.ends().items() if key is None or key[0] == "shrink_perturb"}
    settings = f"{regret['setting'].nunique() - 1} training settings"
    shown = " ".join(readme.split())
    for sentence in (
        f"leave the runs alone: {many['do nothing']:.0%} above the best mean; stay at the period that was tried: {many['stay at P0']:.0%} "
        f"| {many['the rule']:.0%} above it, in {many['asked']:.0%} of the cases after one more set of runs | {settings} |",
        f"leave them alone: {few['do nothing']:.0%}; stay: {few['stay at P0']:.0%} | {few['the rule']:.0%} above it |",
        f"train all {len(means)}: {swept:.0f} epochs for each seed "
        f"| two sets of runs: {two:.0f} epochs, known to 10 % from period {min(known)} on |",
        f"{large.min():.2f} to {large.max():.2f} times its run-epochs |",
        f"{small.min():.1f} to {small.max():.1f} times its run-epochs: use theirs |",
        f"of {firm['cells'].sum():.0f} means graded *to 20 %* or better, {right:.0%} were within 20 % | {settings} |",
        f"the mean falls from {alone:.0f} epochs to {min(m.mean for m in means.values()):.1f}, and the best accuracy rises from "
        f"{best[None]:.1f} % to {max(best.values()):.1f} %",
    ):
        assert re.sub(r"(\d)%", r"\1 %", sentence) in shown


def test_files_that_are_linked_are_there(readme: str, root: Path) -> None:
    linked = [target for target in re.findall(r"\]\(([^)]+)\)", readme) if not target.startswith("http")]
    assert linked
    for target in linked:
        assert (root / target).exists(), target


def test_targets_of_make_that_are_named_are_there_and_ci_runs_the_same_tests(readme: str, root: Path) -> None:
    makefile, ci = (root / "Makefile").read_text(), (root / ".ci" / "run").read_text()
    targets = dict(re.findall(r"^([a-z]+):.*\n((?:\t.*\n)*)", makefile, flags=re.MULTILINE))
    texts = readme + (root / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"(?:`|^)make\s+([a-z]+)", texts, flags=re.MULTILINE))
    assert {"book", "test"} <= named <= targets.keys()
    assert "make check" in ci
    assert "$(PYTEST)\n" in targets["test"]
    assert "$(PYTEST)\n" in targets["check"]
