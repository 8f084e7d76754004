"""Executions of chapters with other parameters: what they changed, against the site, and a page that lists them."""

from __future__ import annotations

import ast
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from nbformat import NotebookNode

from companion.build.execute import Executed, Job, find
from companion.build.pages import table
from companion.build.project import Project
from companion.build.references import titles
from fptlib.files import write_atomically

# Beside the page of a run: what the list shows of it.
_FILE = "run.json"
_GLUED = re.compile(r"\{glue:text\}`([^`]+)`")
_REFERENCE = re.compile(r"\{(?:eq|numref|ref|doc|cite[:\w]*|glue:text)\}`[^`]*`")
_ROLE = re.compile(r"\{[\w:-]+\}`([^`<]*?)(?: *<[^`]*>)?`")
_MISSING = "not executed"
_STYLE = (
    ":root { color-scheme: light dark } body { font: 1rem/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; "
    "padding: 0 1rem } table { border-collapse: collapse } td, th { padding: .3rem 1rem .3rem 0; text-align: left; "
    "vertical-align: top } tr { border-bottom: 1px solid #8888 }"
)


def changes(run: Executed, usual: Job) -> dict[str, tuple[str, str]]:
    """Return the parameters that differ from the profile's, as old and new."""
    old, new = usual.parameters, run.job.parameters
    return {
        name: (json.dumps(old[name], ensure_ascii=False), json.dumps(new[name], ensure_ascii=False))
        for name in old
        if new[name] != old[name]
    }


def box(run: Executed, usual: Job, *, page: Path) -> str:
    """Return what a run says under its title: changed parameters, and folded its numbers beside those of the site, changed ones first."""
    project, name, site = run.job.project, run.job.chapter.document, find(usual)
    ours, theirs = glued(run.notebook), glued(site.notebook) if site else {}
    rows = [
        (words, theirs.get(key, _MISSING), ours[key]) for key, words in _places(run.notebook).items() if key in ours
    ]
    rows.sort(key=lambda row: row[1] == row[2])
    count = sum(old != new for _, old, new in rows)
    outcome = f"{count} of {len(rows)} numbers differ" if site else "the site's own numbers are not at hand"
    words = "; ".join(f"{name} = {new} instead of {old}" for name, (old, new) in changes(run, usual).items())
    shown = table(("in the text", "on the site", "in this run"), rows, kind="fpt-values")
    there = {
        "All runs": project.build / "runs" / "index.html",
        "The chapter on the site": project.html / f"{name}.html",
    }
    links = [
        f'<a href="{os.path.relpath(path, page.parent)}">{text}</a>.'
        for text, path in there.items()
        if path.exists() or path.parent.name == "runs"
    ]
    title = f"This run: {words}; {outcome}".replace("`", "'")
    return f"`````{{admonition}} {title}\n:class: dropdown fpt-this-run\n\n{shown}\n\n<p>{' '.join(links)}</p>\n`````"


def enter(project: Project, folder: Path, page: Path, document: str, changed: Mapping[str, str]) -> Path:
    """Put a run on the page that lists all that are there, the last one first, and return that page."""
    changes = ", ".join(f"{name} = {new}" for name, new in changed.items()) or "nothing"
    entry = {"page": os.path.relpath(page, folder.parent), "title": titles(project)[document], "changed": changes}
    entry["time"] = time.strftime("%Y-%m-%d %H:%M:%S")
    write_atomically(folder / _FILE, lambda file: file.write(json.dumps(entry).encode()))
    runs = [json.loads(path.read_text()) for path in folder.parent.glob(f"*/{_FILE}")]
    runs.sort(key=lambda run: str(run["time"]), reverse=True)
    body = table(("chapter", "changed", "when"), [(r["title"], r["changed"], r["time"]) for r in runs], kind="runs")
    links = (run["page"] for run in runs)
    body = re.sub(r"<tr><td>(.*?)</td>", lambda cell: f'<tr><td><a href="{next(links)}">{cell[1]}</a></td>', body)
    text = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Runs of chapters</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head>\n<body><main><h1>Runs of chapters with other parameters</h1>\n{body}\n</main></body></html>\n"
    )
    index = folder.parent / "index.html"
    write_atomically(index, lambda file: file.write(text.encode()))
    return index


def glued(notebook: NotebookNode) -> dict[str, str]:
    """Return the values for the prose by name, as pages show them."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    values = [output for output in outputs if "scrapbook" in output.get("metadata", {})]
    return {o["metadata"]["scrapbook"]["name"]: str(ast.literal_eval(next(iter(o["data"].values())))) for o in values}


def _places(notebook: NotebookNode) -> dict[str, str]:
    """Return the words around the first place in the prose where each value is shown, in the order of the prose."""
    places: dict[str, str] = {}
    for text in [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]:
        for match in _GLUED.finditer(text):
            before, after = text[: match.start()].rpartition("\n\n")[2], text[match.end() :].partition("\n\n")[0]
            words = " ".join([*_plain(before)[-6:], "[…]", *_plain(after)[:4]])
            places.setdefault(match[1], re.sub(r" (?=[.,;:)])", "", words))
    return places


def _plain(text: str) -> list[str]:
    """Return the words of Markdown without its marks."""
    return re.sub(r"[*`$\\_{}]", "", _ROLE.sub(r"\1", _REFERENCE.sub("…", text))).split()
