"""Exercises as an assignment: the notebook of a page without its solutions, and with starter cells in their place."""

from __future__ import annotations

import re

import nbformat
from nbformat import NotebookNode

# The chapter that is also handed out without its solutions.
EXERCISES = "exercises"
_EXERCISE = re.compile(r"`{3,}\{exercise\} *(?P<title>[^\n]*)\n(?::[^\n]*\n)*\n(?P<body>.*?)\n`{4,}\n?", re.DOTALL)
_STARTER = re.compile(r"```python\n(?P<code>.*?)\n```\n?", re.DOTALL)
_SOLUTION = re.compile(r"```\{solution-(?P<side>start|end)\}[^`]*```\n?")
_ROLE = re.compile(r"\{[a-z]+\}`(?P<text>[^`<]*?)(?: *<[^`]*>)?`")


def assignment(page: NotebookNode) -> NotebookNode:
    """Return a notebook for students: text, exercises with starter cells, no solutions, no outputs and no hidden cells."""
    cells: list[NotebookNode] = []
    solving = False
    for cell in page.cells:
        if cell.cell_type == "code":
            if not solving and not any(tag.startswith("remove") for tag in cell.metadata.get("tags", [])):
                cells.append(nbformat.v4.new_code_cell(cell.source))
            continue
        text, kept = cell.source, []
        for part in _split(text):
            if part in ("start", "end"):
                solving = part == "start"
            elif not solving:
                kept.append(part)
        cells.extend(_with_starters("".join(kept)))
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=page.metadata)


def _split(text: str) -> list[str]:
    """Cut a text at the marks of solutions; the marks become ``start`` and ``end``."""
    parts, last = [], 0
    for mark in _SOLUTION.finditer(text):
        parts += [text[last : mark.start()], mark["side"]]
        last = mark.end()
    return [*parts, text[last:]]


def _with_starters(text: str) -> list[NotebookNode]:
    """Turn exercises into a heading, their text, and a code cell with what they offer to start from."""
    text = _EXERCISE.sub(lambda match: f"### {match['title']}\n\n{match['body']}\n\n", text)
    cells, last = [], 0
    for starter in _STARTER.finditer(text):
        cells += [
            nbformat.v4.new_markdown_cell(text[last : starter.start()]),
            nbformat.v4.new_code_cell(starter["code"]),
        ]
        last = starter.end()
    cells.append(nbformat.v4.new_markdown_cell(text[last:]))
    for cell in cells:
        if cell.cell_type == "markdown":
            cell.source = _ROLE.sub(lambda match: match["text"] or "", cell.source).strip()
    return [cell for cell in cells if cell.source]
