"""Executions of chapters with other parameters: what they changed, against the site, and a page that lists them."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from companion.build.execute import Executed, Job, find
from companion.build.pages import table
from fptlib.files import write_atomically

# Beside the pages of a run: what `write_index` shows of it.
FILE = "run.json"
_GLUED = re.compile(r"\{glue:text\}`([^`]+)`")
_ROLE = re.compile(r"\{[\w:-]+\}`([^`<]*?)(?: *<[^`]*>)?`")
_REFERENCE = re.compile(r"\{(?:eq|numref|ref|doc|cite[:\w]*)\}`[^`]*`")
_NOT_EXECUTED = "not executed"
_STYLE = (
    ":root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; "
    "padding: 0 1rem } table { border-collapse: collapse } td, th { padding: .3rem 1rem .3rem 0; text-align: left; "
    "vertical-align: top } tr { border-bottom: 1px solid #8888 }"
)


@dataclass(frozen=True)
class Difference:
    """A number or word in the prose of a chapter, on the site and in a run.

    Parameters
    ----------
    where
        The words around it.
    site, run
        As the pages show it.
    """

    where: str
    site: str
    run: str

    @property
    def changed(self) -> bool:
        """Whether the two differ."""
        return self.site not in (self.run, _NOT_EXECUTED)


def differences(run: Executed, site: Executed | None) -> list[Difference]:
    """Return everything that the prose of a chapter takes from its cells, what has changed first."""
    ours, theirs = _glued(run.notebook), _glued(site.notebook) if site else {}
    places = _places(run.notebook)
    rows = [Difference(places[name], theirs.get(name, _NOT_EXECUTED), ours[name]) for name in places if name in ours]
    return sorted(rows, key=lambda row: not row.changed)


def box(run: Executed, usual: Job, *, page: Path) -> str:
    """Return what a run says under its title: changed parameters, and folded the numbers beside those of the site."""
    changed = changes(run, usual)
    site = find(usual)
    rows = differences(run, site)
    count = sum(row.changed for row in rows)
    outcome = f"{count} of {len(rows)} numbers differ" if site else "the site's own numbers are not at hand"
    words = "; ".join(f"{name} = {new} instead of {old}" for name, (old, new) in changed.items()) or "nothing changed"
    shown = table(
        ("in the text", "on the site", "in this run"), [(r.where, r.site, r.run) for r in rows], kind="fpt-values"
    )
    project = run.job.project
    there = {
        "All runs": _index(project.build),
        "The chapter on the site": project.html / f"{run.job.chapter.document}.html",
    }
    links = " ".join(
        f'<a href="{os.path.relpath(path, page.parent)}">{text}</a>.'
        for text, path in there.items()
        if path.exists() or text == "All runs"
    )
    title = f"This run: {words}; {outcome}".replace("`", "'")
    return f"`````{{admonition}} {title}\n:class: dropdown fpt-this-run\n\n{shown}\n\n<p>{links}</p>\n`````"


def changes(run: Executed, usual: Job) -> dict[str, tuple[str, str]]:
    """Return the parameters that differ from the profile's, as old and new."""
    new = run.job.parameters
    return {
        name: (json.dumps(old, ensure_ascii=False), json.dumps(new[name], ensure_ascii=False))
        for name, old in usual.parameters.items()
        if new[name] != old
    }


def note(folder: Path, content: Mapping[str, Any]) -> None:
    """Keep what the list of runs shows of one."""
    write_atomically(folder / FILE, lambda file: file.write(json.dumps(content).encode()))


def write_index(build: Path) -> Path:
    """Write the page that lists the runs that are there, the last one first."""
    runs = [(json.loads(path.read_text()), path.parent) for path in (build / "runs").glob(f"*/{FILE}")]
    rows = []
    for run, folder in sorted(runs, key=lambda pair: str(pair[0]["time"]), reverse=True):
        rows.append((f"{folder.name}/{run['page']}", run["title"], run["changed"], run["time"].replace("T", " ")))
    body = table(("chapter", "changed", "when"), [row[1:] for row in rows], kind="runs")
    links = iter(row[0] for row in rows)
    body = re.sub(r"<tr><td>(.*?)</td>", lambda cell: f'<tr><td><a href="{next(links)}">{cell[1]}</a></td>', body)
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Runs of chapters</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>Runs of chapters with other parameters</h1>\n{body}\n</main></body></html>\n"
    )
    path = _index(build)
    write_atomically(path, lambda file: file.write(text.encode()))
    return path


def _index(build: Path) -> Path:
    return build / "runs" / "index.html"


def _glued(notebook: NotebookNode) -> dict[str, str]:
    """Return the values for the prose by name, as pages show them."""
    values = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                values[name] = str(ast.literal_eval(next(iter(output["data"].values()))))
    return values


def _places(notebook: NotebookNode) -> dict[str, str]:
    """Return the words around the first place in the prose where each value is shown, in the order of the prose."""
    places: dict[str, str] = {}
    for cell in notebook.cells:
        if cell.cell_type != "markdown":
            continue
        for found in _GLUED.finditer(cell.source):
            before = cell.source[: found.start()].rpartition("\n\n")[2]
            after = cell.source[found.end() :].partition("\n\n")[0]
            words = " ".join([*_plain(before)[-6:], "[…]", *_plain(after)[:4]])
            places.setdefault(found[1], re.sub(r" (?=[.,;:)])", "", words))
    return places


def _plain(text: str) -> list[str]:
    """Return the words of Markdown without its marks."""
    text = _ROLE.sub(r"\1", _REFERENCE.sub("…", _GLUED.sub("…", text)))
    return re.sub(r"[*`$\\_{}]", "", text).split()
