"""The form of the book: code that is shown and fits, tables in words, and links that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup

from companion.build.project import Chapter, Project

COLUMNS, CELL, ROWS = 76, 16, 8
# Shares of lines of code that are hidden: in the whole book, and in one chapter; the front page shows a figure and no code.
WHOLE, ONE, EXCEPTED = 0.35, 0.45, ("index",)
_SCRIPTS = re.compile(r"<(svg|script|style)\b.*?</\1>", re.DOTALL)
_PLACE = re.compile(r"""\s(?:id|name)="([^"]+)\"""")
_LINK = re.compile(r"""<(?:a|link|img)\b[^>]*?\s(?:href|src)="([^"]+)\"""")
HELPERS, LINES = ("book", "charts", "catalogue"), 500


def lines(chapter: Chapter, *, hidden: bool, parameters: bool = True) -> list[list[str]]:
    """Lines of code of each cell that is hidden, or not."""
    cells = []
    for cell in chapter.code:
        tags = cell.metadata.get("tags", [])
        if any(tag.startswith(("hide", "remove")) for tag in tags) == hidden and (
            parameters or "parameters" not in tags
        ):
            cells.append([line for line in cell.source.splitlines() if line.strip()])
    return cells


def count(cells: list[list[str]]) -> int:
    return sum(len(cell) for cell in cells)


@pytest.fixture(scope="module")
def chapters(root: Path) -> list[Chapter]:
    return [chapter for chapter in Project(root=root).chapters if chapter.name not in EXCEPTED]


def test_code_is_shown(chapters: list[Chapter]) -> None:
    hidden = {chapter.name: count(lines(chapter, hidden=True)) for chapter in chapters}
    every = {chapter.name: hidden[chapter.name] + count(lines(chapter, hidden=False)) for chapter in chapters}
    assert {name: f"{hidden[name] / n:.0%}" for name, n in every.items() if hidden[name] > ONE * n} == {}
    assert sum(hidden.values()) <= WHOLE * sum(every.values())


def test_code_that_is_shown_fits_the_page(chapters: list[Chapter]) -> None:
    # Parameters are a table on the page.
    shown = [(chapter.name, cell) for chapter in chapters for cell in lines(chapter, hidden=False, parameters=False)]
    assert [(name, line) for name, cell in shown for line in cell if len(line) > COLUMNS] == []
    assert [(name, cell[0], len(cell)) for name, cell in shown if len(cell) > CELL] == []


def test_helpers_of_chapters_are_few(root: Path) -> None:
    assert sum(len((root / "companion" / f"{name}.py").read_text().splitlines()) for name in HELPERS) < LINES


def faults(page: str) -> Iterator[str]:
    """Yield what no table that a cell shows may hold: many rows in view, and words of the machine."""
    for table in BeautifulSoup(_SCRIPTS.sub("", page), "html.parser").select(".cell_output table"):
        rows = [[cell.get_text(" ", strip=True) for cell in row.find_all(["td", "th"])] for row in table.find_all("tr")]
        if len(rows) > ROWS + 1 and not table.find_parent("details"):
            yield f"{len(rows) - 1} rows: {rows[:2]}"
        for cell in (cell for row in rows for cell in row if not table.find("code")):
            if re.search(r"\b(nan|NaN|None|NaT)\b|[a-z]_[a-z]", cell):
                yield cell


def broken(html: Path) -> list[str]:
    """Return links inside a site whose page or place on the page does not exist."""
    pages = {
        path.resolve(): _SCRIPTS.sub("", path.read_text())
        for path in html.rglob("*.html")
        if "_static" not in path.parts
    }
    places = {path: {unescape(name) for name in _PLACE.findall(text)} for path, text in pages.items()}
    lost = set()
    for path, text in pages.items():
        for link in set(_LINK.findall(text)):
            address = urlsplit(unescape(link))
            if address.scheme or address.netloc:
                continue
            target = (path.parent / unquote(address.path)).resolve() if address.path else path
            place = unquote(address.fragment)
            if not target.exists() or (place and place not in places.get(target, {place})):
                lost.add(f"{path.relative_to(html.resolve())}: {link}")
    return sorted(lost)


def test_faults_in_tables_and_links_are_found(tmp_path: Path) -> None:
    row = "<tr><td>{}</td></tr>"
    page = (
        '<div class="cell_output"><table>'
        + row.format("nan")
        + row.format("best_in")
        + row.format("a") * 8
        + "</table>"
    )
    assert list(faults(page)) == ["9 rows: [['nan'], ['best_in']]", "nan", "best_in"]
    (tmp_path / "a.html").write_text(
        '<p id="x"><a href="#x"></a><a href="#y"></a><a href="b.html"></a><a href="a.html#x"></a>'
    )
    assert broken(tmp_path) == ["a.html: #y", "a.html: b.html"]


def test_links_of_a_site_lead_somewhere(small_site: Path) -> None:
    assert broken(small_site / "_build" / "html") == []


def test_tables_and_links_of_the_real_site_where_it_has_been_built(root: Path) -> None:
    html = root / "_build" / "html"
    if not (root / "_build" / "site.json").exists():
        return
    assert broken(html) == []
    pages = {path.name: list(faults(path.read_text())) for path in (html / "book").glob("*.html")}
    assert {name: some for name, some in pages.items() if some} == {}
