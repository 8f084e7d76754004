"""What the builder adds to an executed page: the line under its title, and the provenance box at its end."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.book.execute import Executed

# Folder of the executed notebooks for download, in the staged tree.
NOTEBOOKS = "notebooks"


def page(executed: Executed, *, profile: str, under_title: bool = True) -> NotebookNode:
    """The notebook of a page.

    Parameters
    ----------
    executed
        The chapter with its outputs.
    profile
        Name of the set of parameters, in words.
    under_title
        Whether the line on run time and download stands under the title, or at the end of the page.
    """
    cells = list(executed.notebook.cells)
    line = _run_line(executed, profile)
    if under_title:
        cells = _insert_under_title(cells, line)
    else:
        cells.append(_markdown(line))
    cells.append(_markdown(_provenance(executed, profile)))
    for number, cell in enumerate(cells):
        cell["id"] = f"page-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=executed.notebook.metadata)


def not_executed(notebook: NotebookNode) -> NotebookNode:
    """A page without outputs that says so."""
    text = "```{note}\nNot executed in this run: the page stands here so that references to it lead somewhere.\n```"
    return nbformat.v4.new_notebook(cells=_insert_under_title(list(notebook.cells), text), metadata=notebook.metadata)


def duration(seconds: float) -> str:
    """Wall time in words.

    Examples
    --------
    >>> duration(3.21), duration(47.6), duration(312.0)
    ('3.2 s', '48 s', '5 min 12 s')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _run_line(executed: Executed, profile: str) -> str:
    record = executed.record
    cores = f"{record['cores']} core{'' if record['cores'] == 1 else 's'}"
    path = f"/{NOTEBOOKS}/{executed.chapter.name}.ipynb"
    return (
        "```{div} fpt-run\n"
        f"Run time: {duration(record['seconds'])} on {cores}, with the {profile} parameters. "
        f"{{download}}`Download the executed notebook <{path}>`\n"
        "```"
    )


def _provenance(executed: Executed, profile: str) -> str:
    record = executed.record
    versions = record["versions"]
    sections = [
        (
            "Made by",
            [
                ("Commit", record["commit"] or "unknown (no git history at hand)"),
                ("Run time", f"{duration(record['seconds'])} on {record['cores']} cores"),
                ("Source", f"`{executed.chapter.document}.md`, key `{executed.key}`"),
                ("Data", "; ".join(record["sources"]) or "nothing but what the page itself makes"),
            ],
        ),
        ("Parameters", [(f"`{name}`", _code(value)) for name, value in record["parameters"].items()]),
        ("Ensembles", [_ensemble(entry) for entry in record["ensembles"]]),
        ("Versions", [("", ", ".join(f"{name} {version}" for name, version in versions.items()))]),
    ]
    body = "\n\n".join(_section(title, rows) for title, rows in sections if rows)
    return f"`````{{admonition}} Provenance: {profile} parameters\n:class: dropdown fpt-provenance\n\n{body}\n`````"


def _section(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"{title}\n: " + "\n  ".join(f"- {f'{name}: ' if name else ''}{text}" for name, text in rows)]
    return "\n".join(lines)


def _ensemble(entry: Mapping[str, Any]) -> tuple[str, str]:
    changes = ", ".join(f"{key} = {_json(value)}" for key, value in entry["overrides"].items())
    text = (
        f"{entry['runs']} runs of {entry['epochs']} epochs, seed {entry['seed']}, {entry['origin']}, "
        f"digest `{entry['digest']}`"
    )
    return f"`{entry['name']}`", f"{text}, with `{changes}`" if changes else text


def _code(value: Any) -> str:
    return f"`{_json(value)}`"


def _json(value: Any) -> str:
    """Compact JSON that fits between single backticks."""
    return json.dumps(value, ensure_ascii=False).replace("`", "'")


def _insert_under_title(cells: list[NotebookNode], text: str) -> list[NotebookNode]:
    """Put a paragraph under the first heading of the first level."""
    for number, cell in enumerate(cells):
        if cell.cell_type != "markdown":
            continue
        lines = cell.source.split("\n")
        for place, line in enumerate(lines):
            if line.startswith("# "):
                source = "\n".join([*lines[: place + 1], "", text, "", *lines[place + 1 :]])
                changed = nbformat.v4.new_markdown_cell(source, metadata=cell.metadata)
                return [*cells[:number], changed, *cells[number + 1 :]]
    return [_markdown(text), *cells]


def _markdown(text: str) -> NotebookNode:
    return nbformat.v4.new_markdown_cell(text)
