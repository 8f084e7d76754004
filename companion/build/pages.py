"""Additions to an executed page: its parameters as a table, and at its end the code of the page and the provenance box."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion.build.execute import Executed
from fptlib.cli.output import duration

# Folder of the executed notebooks for download, in the staged tree.
NOTEBOOKS = "notebooks"
_PARAMETER = re.compile(r"^(\w+)\b[^#]*?=.*?(?:  *#\s*(.*))?$", re.MULTILINE)


def page(executed: Executed, *, profile: str) -> NotebookNode:
    """Return the notebook of a page.

    Parameters
    ----------
    executed
        The chapter with its outputs.
    profile
        Name of the set of parameters, in words.
    """
    cells = []
    for cell in executed.notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            cells.append(nbformat.v4.new_markdown_cell(_parameters(cell.source, executed)))
        elif "injected-parameters" not in tags:
            cells.append(cell)
    line = (
        f"```{{div}} fpt-run\nRun time: {_run_time(executed.record)}, with the {profile} parameters. "
        f"{{download}}`Download the executed notebook </{NOTEBOOKS}/{executed.job.chapter.name}.ipynb>`\n```"
    )
    cells += [nbformat.v4.new_markdown_cell(text) for text in (line, _code(executed), _provenance(executed, profile))]
    for number, cell in enumerate(cells):
        cell["id"] = f"page-{number}"
    return nbformat.v4.new_notebook(cells=cells, metadata=executed.notebook.metadata)


def with_works_cited(notebook: NotebookNode) -> NotebookNode:
    """Return a page that stands alone, with a list of the works that it cites."""
    if not any("{cite" in cell.source for cell in notebook.cells):
        return notebook
    cell = nbformat.v4.new_markdown_cell("```{bibliography}\n:filter: docname in docnames\n```", id="page-works")
    return nbformat.v4.new_notebook(cells=[*notebook.cells, cell], metadata=notebook.metadata)


def under_title(notebook: NotebookNode, text: str) -> NotebookNode:
    """Return a page with a paragraph under its first heading of the first level."""
    cells = list(notebook.cells)
    for number, cell in enumerate(cells):
        title = re.search(r"^# .*$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
        if title:
            source = f"{cell.source[: title.end()]}\n\n{text}\n{cell.source[title.end() :]}"
            cells[number] = nbformat.v4.new_markdown_cell(source, metadata=cell.metadata, id=cell.id)
            break
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, kind: str) -> str:
    """Return a table in HTML, which Markdown passes on."""
    lines = [
        f"<tr>{''.join(f'<{tag}>{html.escape(text)}</{tag}>' for text in row)}</tr>"
        for tag, part in (("th", [heads]), ("td", rows))
        for row in part
    ]
    return f'<table class="table {kind}"><thead>{lines[0]}</thead><tbody>{"".join(lines[1:])}</tbody></table>'


def _parameters(source: str, executed: Executed) -> str:
    """Return the parameters of a chapter, folded: what each is called, its value in this execution, and what it means."""
    job = executed.job
    meaning = dict(_PARAMETER.findall(source))
    rows = [(name, _json(value), meaning.get(name, "")) for name, value in job.parameters.items()]
    text = table(("name", "value", "meaning"), rows, kind="fpt-values")
    change = f"<p>Change them: <code>fpt book --chapter {job.chapter.name} --set NAME=VALUE</code></p>"
    return _folded("Parameters of this chapter", f"{text}{change}", kind="fpt-parameters")


def _code(executed: Executed) -> str:
    """Return the code of a page, folded: drawing and formatting are not shown where their results stand."""
    cells = [f"`````ipython3\n{cell.source.strip()}\n`````" for cell in executed.job.chapter.code]
    return _folded("Code of this page", "\n\n" + "\n\n".join(cells) + "\n\n", kind="fpt-code")


def _folded(title: str, content: str, *, kind: str) -> str:
    return f'<details class="{kind}"><summary>{title}</summary>{content}</details>'


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
