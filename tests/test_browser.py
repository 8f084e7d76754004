"""Pages as a reader sees them: complete, readable on a phone and without scripts, loading nothing from elsewhere."""

from __future__ import annotations

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1280
# Elements that reach over the right edge of the window and do not lie in something that scrolls or hides.
OVERFLOW = """() => [...document.querySelectorAll('.bd-article *')].filter(e => {
  if (e.getBoundingClientRect().right <= window.innerWidth + 1) return false;
  for (let p = e; p && p !== document.body; p = p.parentElement) {
    if (getComputedStyle(p).overflowX !== 'visible') return false;
  }
  return true;
}).map(e => e.outerHTML.slice(0, 120))"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@dataclass
class Visit:
    """A page that is open, and what happened while it loaded."""

    page: Any
    external: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reader:
    """A browser in front of one site."""

    browser: Any
    address: str

    def open(self, path: str, *, width: int = DESK, scripts: bool = True, theme: str = "light") -> Visit:
        context = self.browser.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=scripts, color_scheme=theme
        )
        visit = Visit(page=context.new_page())
        visit.page.on("request", lambda r: self._note_request(visit, r.url))
        visit.page.on("requestfailed", lambda r: visit.failed.append(r.url))
        visit.page.on("response", lambda r: visit.failed.append(r.url) if r.status >= 400 else None)
        visit.page.on("console", lambda m: visit.errors.append(m.text) if m.type in ("error", "warning") else None)
        visit.page.on("pageerror", lambda e: visit.errors.append(str(e)))
        visit.page.goto(f"{self.address}/{path}", wait_until="networkidle")
        return visit

    def _note_request(self, visit: Visit, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            visit.external.append(url)


def serve(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def reader(chromium: Any, small_site: Path) -> Iterator[Reader]:
    for address in serve(small_site / "_build" / "html"):
        yield Reader(browser=chromium, address=address)


def check(visit: Visit) -> None:
    """Nothing from elsewhere, nothing missing, no complaint; charts drawn and mathematics typeset."""
    assert visit.external == []
    assert visit.failed == []
    assert visit.errors == []
    page = visit.page
    charts = page.locator(".vl-chart").count()
    if charts:
        drawn = "[...document.querySelectorAll('.vl-drawn .vl-live svg.marks')]"
        page.wait_for_function(f"{drawn}.length === {charts}", timeout=20_000)
        assert page.locator(".vl-static:visible").count() == 0
        assert min(page.evaluate(f"{drawn}.map(e => e.getBoundingClientRect().width)")) > 150
    left = "[...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container')).length"
    page.wait_for_function(f"{left} === 0", timeout=20_000)
    assert page.locator("mjx-merror").count() == 0


@pytest.mark.parametrize("width", [DESK, PHONE])
@pytest.mark.parametrize("path", ["book/index.html", "book/waiting.html", "book/glossary.html", "search.html"])
def test_page_is_complete_and_keeps_to_itself(reader: Reader, path: str, width: int) -> None:
    visit = reader.open(path, width=width)
    check(visit)
    assert visit.page.evaluate(OVERFLOW) == []
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_chart_is_as_wide_as_the_text_and_says_what_it_shows(reader: Reader) -> None:
    visit = reader.open("book/waiting.html", width=PHONE)
    check(visit)
    chart = visit.page.locator(".vl-live [role=graphics-document]")
    assert chart.bounding_box()["width"] <= PHONE
    assert chart.get_attribute("aria-label") == "Survival falls from one towards zero."


def test_without_scripts_the_picture_of_the_chart_is_there(reader: Reader) -> None:
    visit = reader.open("book/waiting.html", scripts=False)
    picture = visit.page.locator(".vl-static svg")
    assert picture.count() == 1
    assert picture.is_visible()
    assert picture.bounding_box()["width"] > 300


def test_note_and_chart_can_be_read_in_dark_mode(reader: Reader) -> None:
    visit = reader.open("book/waiting.html")
    check(visit)
    visit.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    colours = """e => [getComputedStyle(e).color, getComputedStyle(e.closest('.admonition')).backgroundColor]"""
    text, ground = (_brightness(c) for c in visit.page.locator(".fpt-note p").last.evaluate(colours))
    assert text - ground > 100
    card = visit.page.locator(".vl-chart").first.evaluate("e => getComputedStyle(e).backgroundColor")
    assert _brightness(card) > 200


def test_download_gives_the_executed_notebook(reader: Reader) -> None:
    visit = reader.open("book/waiting.html")
    with visit.page.expect_download() as download:
        visit.page.get_by_text("Download the executed notebook").click()
    assert download.value.suggested_filename == "waiting.ipynb"


def test_run_of_one_chapter_opens_from_the_disk(chromium: Any, small_site: Path, tmp_path: Path) -> None:
    from fptlib.book import site

    project = shutil.copytree(small_site, tmp_path / "project")
    page = site.build(project, chapter="waiting", overrides=["horizon=12"])
    check(Reader(browser=chromium, address=f"file://{page.parents[1]}").open("book/waiting.html"))


def test_pages_of_the_real_site_where_it_has_been_built(chromium: Any, root: Path) -> None:
    html = root / "_build" / "html"
    if not (root / "_build" / "site.json").exists():
        return
    for address in serve(html):
        reader = Reader(browser=chromium, address=address)
        for path in sorted((html / "book").glob("*.html")):
            for width in (DESK, PHONE):
                visit = reader.open(path.relative_to(html).as_posix(), width=width)
                check(visit)
                assert visit.page.evaluate(OVERFLOW) == [], path.name
                visit.page.context.close()


def _brightness(colour: str) -> float:
    parts = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return sum(parts) / 3
