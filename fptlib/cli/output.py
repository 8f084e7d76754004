"""Print tables, JSON, and times in a suitable unit. Light, because every command loads it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows below the names of their columns; a dash stands for ``None``."""
    if not rows:
        return
    lines = [tuple(rows[0]), *(tuple("-" if cell is None else str(cell) for cell in row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(content: object) -> None:
    """Print one JSON object."""
    from fptlib.record import plain

    print(json.dumps(plain(content), indent=1, allow_nan=False))


def as_options(text: str) -> str:
    """Write arguments of the library that a sentence recommends as options.

    >>> as_options("every=5 makes them one epoch; axis='step' counts evaluations")
    '--every 5 makes them one epoch; --axis step counts evaluations'
    """
    spelled = re.sub(
        r"\b(axis|every|epoch_zero|metric|direction)=('[^']+'|\d+)",
        lambda match: f"--{match[1]} {match[2].strip(chr(39))}",
        text,
    )
    return spelled.replace("--epoch_zero", "--epoch-zero")


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
