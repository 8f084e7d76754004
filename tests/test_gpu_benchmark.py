"""The benchmark of a GPU, as far as a CPU can try it, and what the book shows of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from companion import gpu


def run(root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, root / "benchmarks" / "gpu.py", "--minutes", "60", "--patience", "900", *arguments]
    return subprocess.run([*map(str, command)], cwd=root.parent, capture_output=True, text=True, check=False)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the notes that a page shows, and how many tables."""
    notes: list[str] = []
    monkeypatch.setattr(gpu.book, "note", lambda text, *, title: notes.append(f"{title}: {text}"))
    monkeypatch.setattr(gpu.book, "table", lambda frame, **_: notes.append(f"{len(frame)} rows"))
    return notes


@pytest.mark.slow
def test_it_runs_at_a_toy_size_and_goes_on_where_it_was(root: Path, tmp_path: Path, shown: list[str]) -> None:
    file = tmp_path / "gpu.json"
    first = run(root, "--out", file, "--cases", "checks", "digits", "cnn", "resnet64", "cost")
    assert first.returncode == 0, first.stdout + first.stderr
    content = json.loads(file.read_text())
    assert content["head"]["toy"]
    for case, items in content["cases"].items():
        for item, result in items.items():
            assert "failed" not in result, f"{case}, {item}: {result}"
            assert "missing" not in result or "JAX" in item, f"{case}, {item}: {result}"
    assert len(gpu.table(content["cases"])) == 3
    assert all(result["hours"] > 0 for result in content["cases"]["cost"].values())
    gpu.show(file)
    assert [text.partition(":")[0] for text in shown] == ["Not yet measured on a GPU"]
    del content["cases"]["digits"]["1 run"]
    file.write_text(json.dumps(content))
    again = run(root, "--out", file, "--cases", "digits")
    assert [line.split("  ")[0] for line in again.stdout.splitlines() if "run-epochs/s" in line] == ["digits"]
    assert json.loads(file.read_text())["cases"]["digits"].keys() == content["cases"]["digits"].keys() | {"1 run"}


def speed(rate: float) -> dict[str, Any]:
    return {"median_per_second": rate, "share_of_peak": rate / 100}


def test_the_book_shows_what_was_measured_on_a_card(tmp_path: Path, shown: list[str]) -> None:
    speeds = {"loop": speed(2), "stack of 16": speed(50), "1 run": speed(8), "one core of the CPU": speed(60)}
    head = {"toy": False, "card": "Card 1", "driver": "5", "versions": {"torch": "2"}}
    cost = {"runs": 10, "epochs_trained": 200, "hours": 7.0}
    cases = {
        "digits": {"peak": {}, **speeds, "JAX, 1 run": {"missing": "jax"}},
        "checks": {"a": {"passed": True}, "b": {"failed": "so"}},
        "cost": {"cifar10_plain.yml": cost},
    }
    file = tmp_path / "gpu.json"
    file.write_text(json.dumps({"head": head, "cases": cases}))
    gpu.show(file)
    note, rows = shown
    assert "Card 1 (driver 5, PyTorch 2)" in note
    assert "1 of 2 tests passed" in note
    assert "unperturbed, 10 runs of 200 epochs, 7 hours" in note
    assert rows == "1 rows"
    (row,) = gpu.table(cases)
    assert (row["arrangement"], row["this library"], row["share of the peak"]) == ("stack of 16", 50, "50%")
    assert (row["loop"], row["tuned loop"], row["JAX"]) == (2, "not measured", "not measured")
