"""The twelve exercises: answers that are right and wrong, data that the library trains, and an assignment without solutions."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from companion import book
from companion.build.assignment import EXERCISES, assignment
from companion.build.project import Project


@pytest.fixture(scope="module")
def checks(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check", root / "book" / "exercises" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("number", range(1, 13))
def test_check_accepts_what_is_right_and_refuses_what_is_not(
    checks: ModuleType, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = checks.EXPECTED[number][0]()
    assert checks.check(number, answer)
    wrong = [1.1 * np.asarray(part, float) + 0.1 for part in (answer if isinstance(answer, list) else [answer])]
    assert not checks.check(number, wrong)
    assert not checks.check(number, [*wrong, 1.0])
    assert not checks.check(number, ...)
    lines = capsys.readouterr().out.splitlines()
    assert "replace the dots" in lines[3]
    assert lines[0] == f"Exercise {number}: right."
    assert lines[1].startswith(f"Exercise {number}: not yet. Hint: ")
    assert "numbers are asked for" in lines[2]


def test_check_names_the_exercises_that_there_are(checks: ModuleType) -> None:
    with pytest.raises(ValueError, match="exercises 1 to 12, and not 13"):
        checks.check(13, 1.0)


def test_data_of_the_exercises_are_what_the_library_trains(checks: ModuleType) -> None:
    trained = book.ensemble("digits_bn", runs=2, epochs=3).metric()
    # Later epochs differ in their bits between processors.
    assert np.allclose(checks._accuracy("unperturbed")[:3, :2].T, trained, atol=0.005)
    assert checks._accuracy("unperturbed").shape == (100, 200)
    assert checks._accuracy("perturbed").shape == (100, 96)


def test_assignment_has_starter_cells_and_no_solutions(root: Path) -> None:
    page = Project(root=root).chapter(EXERCISES).notebook
    handed_out = assignment(page)
    code = [cell.source for cell in handed_out.cells if cell.cell_type == "code"]
    text = "\n".join(cell.source for cell in handed_out.cells if cell.cell_type == "markdown")
    assert [sum(f"check({n}, " in source for source in code) for n in range(1, 13)] == [1] * 12
    assert text.count("\n### ") + text.startswith("### ") == 12
    assert not any(
        word in text for word in ("{solution", "{exercise", "{download", "Derive it", "as the falling hazard")
    )
    assert all("..." in source for source in code if "check(" in source)
    assert not any("book." in source for source in code)
