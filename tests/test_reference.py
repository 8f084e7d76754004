"""Trajectories, digests, search steps and answers are what `tests/reference` holds."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "reference"))

import reference


@pytest.mark.slow
@pytest.mark.parametrize("part", ["digests", "trajectories", "search", "answers"])
def test_nothing_has_moved(part: str) -> None:
    assert reference.compare(part) == []


def test_what_differs_is_named() -> None:
    old = {"mean": 2.0, "steps": [["fork", 3]], "gone": None, "text": "a"}
    new = {"mean": 2.0 + 1e-12, "steps": [["fork", 4]], "text": "b", "more": 1}
    lines = list(reference.differences(old, new))
    assert lines == ["steps[0][1]: 3 -> 4", "gone: missing now", "text: 'a' -> 'b'", "more: new"]
