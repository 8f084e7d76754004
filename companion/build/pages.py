"""Additions to an executed page: the line under its title, and the provenance box at its end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.build.execute import Executed
from fptlib.cli.output import duration

# Folder of the executed notebooks for download, in the staged tree.
NOTEBOOKS = "notebooks"


def page(executed: Executed, *, profile: str, under_title: bool = True) -> NotebookNode:
    """Return the notebook of a page.

    Parameters
    ----------
    executed
        The chapter with its outputs.
    profile
        Name of the set of parameters, in words.
    under_title
        Whether the line on run time and download stands under the title, or at the end of the page.
    """
    line = (
        f"```{{div}} fpt-run\nRun time: {_run_time(executed.record)}, with the {profile} parameters. "
        f"{{download}}`Download the executed notebook </{NOTEBOOKS}/{executed.job.chapter.name}.ipynb>`\n```"
    )
    cells = list(executed.notebook.cells)
    cells = _under_title(cells, line) if under_title else [*cells, nbformat.v4.new_markdown_cell(line)]
    cells.append(nbformat.v4.new_markdown_cell(_provenance(executed, profile)))
    for number, cell in enumerate(cells):
        cell["id"] = f"page-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=executed.notebook.metadata)


def with_works_cited(notebook: NotebookNode) -> NotebookNode:
    """Return a page that stands alone, with a list of the works that it cites."""
    if not any("{cite" in cell.source for cell in notebook.cells):
        return notebook
    cell = nbformat.v4.new_markdown_cell("```{bibliography}\n:filter: docname in docnames\n```", id="page-works")
    return nbformat.v4.new_notebook(cells=[*notebook.cells, cell], metadata=notebook.metadata)


def _run_time(record: Mapping[str, Any]) -> str:
    cores = record["cores"]
    return f"{duration(record['seconds'])} on {cores} core{'' if cores == 1 else 's'}"


def _provenance(executed: Executed, profile: str) -> str:
    record, job = executed.record, executed.job
    sections = {
        "Made by": [
            f"Commit: {record['commit'] or 'unknown (no git history at hand)'}",
            f"Run time: {_run_time(record)}",
            f"Source: `{job.chapter.document}.md`, key `{job.key}`",
            f"Data: {'; '.join(record['sources']) or 'nothing but what the page itself makes'}",
        ],
        "Parameters": [f"`{name}`: `{_json(value)}`" for name, value in record["parameters"].items()],
        "Ensembles": [_ensemble(entry) for entry in record["ensembles"]],
        "Versions": [", ".join(f"{name} {version}" for name, version in record["versions"].items())],
    }
    body = "\n\n".join(
        f"{title}\n: " + "\n  ".join(f"- {row}" for row in rows) for title, rows in sections.items() if rows
    )
    return f"`````{{admonition}} Provenance: {profile} parameters\n:class: dropdown fpt-provenance\n\n{body}\n`````"


def _ensemble(entry: Mapping[str, Any]) -> str:
    changes = ", ".join(f"{key} = {_json(value)}" for key, value in entry["overrides"].items())
    return (
        f"`{entry['name']}`: {entry['runs']} runs of {entry['epochs']} epochs, seed {entry['seed']}, {entry['origin']}, "
        f"digest `{entry['digest']}`{f', with `{changes}`' if changes else ''}"
    )


def _json(value: Any) -> str:
    """Return compact JSON that fits between single backticks."""
    return json.dumps(value, ensure_ascii=False).replace("`", "'")


def _under_title(cells: list[NotebookNode], text: str) -> list[NotebookNode]:
    """Put a paragraph under the first heading of the first level."""
    for number, cell in enumerate(cells):
        lines = cell.source.split("\n")
        for place, line in enumerate(lines):
            if cell.cell_type == "markdown" and line.startswith("# "):
                source = "\n".join([*lines[: place + 1], "", text, "", *lines[place + 1 :]])
                changed = nbformat.v4.new_markdown_cell(source, metadata=cell.metadata)
                return [*cells[:number], changed, *cells[number + 1 :]]
    return [nbformat.v4.new_markdown_cell(text), *cells]
