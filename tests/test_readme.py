"""README is true: its code runs, its figure is the one that the summary gives, its files and commands are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from companion.build import cover
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
    names["evaluate"] = lambda model: weights.append(float(model.weight.detach().abs().sum())) or 0.5
    _, code = examples(readme)
    exec(compile(code, "README.md", "exec"), names)
    changed = [epoch for epoch in range(1, 45) if weights[epoch] != weights[epoch - 1]]
    assert changed == [20, 40]


def test_the_library_example_runs_as_it_stands(
    readme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_logs(tmp_path / "logs" / "plain", seed=0, period=None)
    write_logs(tmp_path / "logs" / "every20", seed=1, period=20)
    monkeypatch.chdir(tmp_path)
    code, _ = examples(readme)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Estimate(")
    assert lines[1].startswith("Use shrink_perturb every")
    assert float(lines[-1]) > 1


def test_main_figure_is_the_one_that_the_summary_gives() -> None:
    assert cover.PATH.read_text() == cover.draw()


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
