"""What a page says of other pages: written down when the site is built, read where one page is built alone."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion.build.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docutils import nodes
    from sphinx.application import Sphinx

# File in the site: by reference, the words that the site shows for it, each with its address or none.
FILE = "references.json"
# Environment of a build of one page: the file below, written by `write`.
VARIABLE = "FPTLIB_REFERENCES"

_TITLE = re.compile(r"^# (.+)$", re.MULTILINE)
# Labels of sections, figures, tables, exercises and equations.
_LABEL = re.compile(r"^\(([\w:-]+)\)=$|^:? *(?:label|name): *([\w:-]+)$|\$\$ \(([\w:-]+)\)$", re.MULTILINE)
_KINDS = {"numref": "a figure or table", "eq": "an equation"}


def write(project: Project, document: str, target: Path, *, page: Path) -> None:
    """Write what Sphinx needs for one page: its number, the site's references, and titles for those that are missing there."""
    site = project.html / FILE
    known = json.loads(site.read_text()) if site.exists() else {}
    site_from_page = os.path.relpath(project.html, page.parent)
    content = {"number": project.number(document), "site": site_from_page, "known": known, "titles": titles(project)}
    target.write_text(json.dumps(content))


def titles(project: Project) -> dict[str, str]:
    """Return the title of every page, by the page and by the labels in it."""
    result: dict[str, str] = {}
    for page in project.documents:
        text = (project.root / f"{page}.md").read_text()
        if title := _TITLE.search(text):
            words = title[1].replace("`", "")
            labels = {next(filter(None, label.groups())).lower() for label in _LABEL.finditer(text)}
            result |= dict.fromkeys({page, Path(page).name, *labels}, words)
    return result


def setup(app: Sphinx) -> None:
    """Write down, or read, depending on the environment."""
    from sphinx.transforms.post_transforms import SphinxPostTransform

    if path := os.environ.get(VARIABLE):
        alone = json.loads(Path(path).read_text())
        app.connect("env-get-updated", lambda app, env: _number(env, alone["number"]), priority=600)
        transform: Any = type("Read", (SphinxPostTransform,), {"default_priority": 1, "run": _reader(alone)})
    else:
        content: dict[str, Any] = {}
        transform = type("Mark", (SphinxPostTransform,), {"default_priority": 1, "run": _mark})
        app.connect("doctree-resolved", lambda app, tree, name: content.update(_collect(tree, name)))
        app.connect("build-finished", lambda app, error: _keep(Path(app.outdir), content))
    app.add_post_transform(transform)


def _references(tree: nodes.document) -> Iterator[tuple[str, Any]]:
    """Yield the references that are not yet resolved, with a key that does not depend on the page."""
    from sphinx.addnodes import pending_xref

    for node in list(tree.findall(pending_xref)):
        if node.get("refdomain") in ("std", "math"):
            target = node["reftarget"].rpartition("/")[2]
            yield f"{node['reftype']} {target} {node.astext()}", node


def _mark(self: Any) -> None:
    from docutils import nodes

    for key, node in _references(self.document):
        mark = nodes.inline(fpt_key=key)
        node.parent.replace(node, mark)
        mark += node


def _collect(tree: nodes.document, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the words and addresses of the marked references, and take the marks away."""
    from docutils import nodes

    for mark in [node for node in tree.findall(nodes.inline) if "fpt_key" in node]:
        links = {id(text): link for link in mark.findall(nodes.reference) for text in link.findall(nodes.Text)}
        words = []
        for text in mark.findall(nodes.Text):
            link = links.get(id(text), {})
            place = link.get("refuri") or (f"#{link['refid']}" if "refid" in link else "")
            address = os.path.normpath(os.path.join(os.path.dirname(name), place)) if place[:1] not in ("", "#") else ""
            words.append([text.astext(), address or (f"{name}.html{place}" if place else None)])
        yield mark["fpt_key"], words
        mark.parent.replace(mark, mark.children)


def _keep(folder: Path, content: dict[str, Any]) -> None:
    (folder / FILE).write_text(json.dumps(content, indent=0, sort_keys=True))


def _reader(alone: dict[str, Any]) -> Any:
    def run(self: Any) -> None:
        page = self.env.docname
        labels = self.env.domains["std"].anonlabels.keys() | {page}
        equations = self.env.domains["math"].equations
        for key, node in _references(self.document):
            kind, target = node["reftype"], node["reftarget"].rpartition("/")[2]
            if target in labels or target in equations or target == page.rpartition("/")[2]:
                continue
            # Not `replace_self`, which refuses to lose the classes of a card's link.
            node.parent.replace(node, _words(alone, key, kind, target, node))

    return run


def _words(alone: dict[str, Any], key: str, kind: str, target: str, node: Any) -> list[Any]:
    """Return the site's words with links to the site; where it does not know the reference, plain words."""
    from docutils import nodes

    if known := alone["known"].get(key):
        return [
            nodes.reference("", text, refuri=f"{alone['site']}/{address}", internal=True)
            if address
            else nodes.Text(text)
            for text, address in known
        ]
    title = alone["titles"].get(target.lower())
    if kind == "term" or title is None or node.get("refexplicit"):
        return [nodes.Text(node.astext().replace("%s", f"“{title}”"))]
    what = f"{_KINDS[kind]} of " if kind in _KINDS else ""
    return [nodes.Text(f"{what}“{title}”")]


def _number(env: Any, number: int | None) -> list[str]:
    """Number a page that stands alone as the site does."""
    from docutils import nodes

    page = env.config.root_doc
    if number is None:
        return []

    def walk(items: Any, prefix: tuple[int, ...]) -> None:
        for place, item in enumerate(items, start=1):
            own = (*prefix, place) if prefix else (number,)
            link = next(item.findall(nodes.reference))
            link["secnumber"] = env.toc_secnumbers[page][link["anchorname"]] = own
            for inner in item.children[1:]:
                walk(inner.children, own)

    env.toc_secnumbers[page] = {}
    walk(env.tocs[page].children, ())
    env.titles[page]["secnumber"] = (number,)
    for numbers in env.toc_fignumbers.get(page, {}).values():
        numbers.update({name: (number, *own) for name, own in numbers.items()})
    return [page]
