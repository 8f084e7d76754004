"""Pages as a reader sees them: on a phone, in the dark, with a keyboard, on paper, without scripts; nothing loaded from elsewhere."""

from __future__ import annotations

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_explore import FIGURES

from companion.build import site
from companion.build.project import Project
from fptlib.charts import render

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1280
HEAVIEST = 5_000_000  # bytes that a page loads, uncompressed
PAGES = ["book/index.html", "book/waiting.html", "book/glossary.html", "search.html"]
# What is folded may be at fault as well; of the numbers in charts, thousands of cells alike, one chart's do.
UNFOLD = """() => {
  document.querySelectorAll('.bd-article details:not(.vl-numbers)').forEach(e => { e.open = true; });
  document.querySelectorAll('.vl-numbers').forEach((e, number) => { e.open = number === 0; });
  document.querySelectorAll('.bd-article .toggle-hidden .toggle-button').forEach(e => e.click());
}"""
WEIGHT = """() => ['navigation', 'resource'].flatMap(kind => performance.getEntriesByType(kind))
  .reduce((sum, entry) => sum + entry.decodedBodySize, 0)"""
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


# Figure, presses of keys on its first slider, and what is then read out: the numbers that it shows.
MOVES = [
    (
        "hazard",
        ("ArrowLeft", 24),
        r"Residual time 6: the best period is 1, mean 7\.0 epochs; the hazard is below 1/τ from 13",
    ),
    ("period", ("ArrowLeft", 5), r"Period 10: predicted 14\.\d epochs; measured at 10: 13\.9; at least 11\.0"),
    ("restart", ("ArrowRight", 30), r"Restart every 50 epochs: mean 3\d\.\d; without restart 73\.5; CV 1\.92"),
    (
        "runs",
        ("ArrowLeft", 1),
        r"50 unperturbed and 40 perturbed runs: known to 10 % at period 10, to 10 % at 50; 95 %",
    ),
    (
        "samplers",
        ("ArrowLeft", 10),
        r"curvature 0\.001, an epoch is less than a relaxation time: divergence 6\.3e-8 full batch, 6\.1e-4 SGLD, 7\.3e-8",
    ),
    ("survivors", ("ArrowLeft", 2), r"steady: 60 runs left at epoch 10, 60 at 20; distance 0\.00"),
]


@pytest.fixture(scope="module")
def figures(chromium: Any, small_site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Pages of the figures that respond, each in place of the chart of a small site."""
    html = shutil.copytree(small_site / "_build" / "html", tmp_path_factory.mktemp("figures") / "html")
    page = (html / "book" / "waiting.html").read_text()
    before, rest = page.split('<div class="vl-chart">', 1)
    for name, *_ in MOVES:
        drawn = render.bundle(FIGURES[name]().to_dict())["text/html"]
        (html / "book" / f"{name}.html").write_text(before + drawn + rest.split("</script></div>", 1)[1])
    for address in serve(html):
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


@pytest.mark.parametrize(
    ("width", "theme", "ground"), [(DESK, "light", "rgb(255, 255, 255)"), (PHONE, "dark", "rgb(18, 18, 18)")]
)
@pytest.mark.parametrize("path", PAGES)
def test_page_is_complete_fits_and_can_be_read_by_everybody(
    reader: Reader, path: str, width: int, theme: str, ground: str
) -> None:
    visit = reader.open(path, width=width, theme=theme)
    check(visit)
    fits(visit.page, width)
    assert visit.page.evaluate("getComputedStyle(document.body).backgroundColor") == ground
    if path != "search.html":
        assert findings(visit.page) == []


@pytest.mark.parametrize(("width", "theme"), [(DESK, "light"), (PHONE, "dark")])
@pytest.mark.parametrize(("name", "keys", "message"), MOVES)
def test_a_figure_answers_to_the_keyboard(
    figures: Reader, name: str, keys: tuple[str, int], message: str, width: int, theme: str
) -> None:
    visit = figures.open(f"book/{name}.html", width=width, theme=theme)
    check(visit)
    page = visit.page
    first = page.locator(".vl-live svg.marks").text_content()
    assert tab_until(page, ".vl-controls input[type=range]") == "solid"
    for _ in range(keys[1]):
        page.keyboard.press(keys[0])
    page.wait_for_function("text => RegExp(text).test(document.querySelector('.vl-said').textContent)", arg=message)
    shown = page.locator(".vl-live svg.marks").text_content()
    numbers = re.findall(r"\d+\.\d+|\d+ %", page.locator(".vl-said").inner_text())
    assert shown != first
    assert all(number in shown for number in numbers)
    if page.locator(".vl-controls input[type=radio]").count():
        page.locator(".vl-controls input[type=radio]:not(:checked)").first.press("Space")
        page.wait_for_function("text => document.querySelector('.vl-live svg.marks').textContent !== text", arg=shown)
    # What has been set stays when the panels are drawn anew, here one below the other or side by side.
    slider, panels = page.locator(".vl-controls input[type=range]").first, page.locator(".vl-live svg.marks")
    at, wide = slider.input_value(), panels.bounding_box()["width"]
    page.set_viewport_size({"width": PHONE + DESK - width, "height": 900})
    page.wait_for_function(f"Math.abs(document.querySelector('.vl-live svg.marks').clientWidth - {wide}) > 100")
    assert slider.input_value() == at
    fits(page, PHONE + DESK - width)
    assert panels.bounding_box()["width"] <= page.locator(".vl-chart").bounding_box()["width"]
    assert visit.errors == []
    assert findings(page) == []


def test_without_scripts_a_figure_is_a_picture_without_inputs(figures: Reader) -> None:
    page = figures.open(f"book/{MOVES[0][0]}.html", scripts=False).page
    assert page.locator(".vl-static > *").first.is_visible()
    assert page.locator("article input").count() == 0


def test_axe_would_find_something(reader: Reader) -> None:
    page = reader.open("book/waiting.html").page
    flaws = '<img src="../_static/logo.svg"><p style="color: #999; background: #fff">Too pale to read.</p>'
    page.locator("article").evaluate(f"e => e.insertAdjacentHTML('beforeend', '{flaws}')")
    assert {finding.partition(":")[0] for finding in findings(page)} == {"image-alt", "color-contrast"}


def test_without_scripts_the_picture_of_the_chart_is_there(reader: Reader) -> None:
    picture = reader.open("book/waiting.html", scripts=False).page.locator(".vl-static svg")
    assert picture.is_visible()
    assert picture.bounding_box()["width"] > 300


def test_keyboard_skips_the_navigation_and_unfolds_solutions_and_numbers(reader: Reader) -> None:
    visit = reader.open("book/waiting.html")
    check(visit)
    page = visit.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    page.keyboard.press("Enter")
    page.wait_for_url("**/book/waiting.html#main-content")
    answer = page.get_by_text("Yes: ")
    assert not answer.is_visible()
    assert tab_until(page, ".vl-numbers summary") != "none"
    page.keyboard.press("Enter")
    table = page.locator(".vl-numbers table")
    table.wait_for()
    assert table.locator("th").all_inner_texts() == ["epoch", "survival"]
    assert table.locator("tbody tr").count() == 21
    assert table.locator("tbody tr").nth(1).inner_text().split() == ["1", "0.9"]
    assert tab_until(page, ".solution .toggle-button") != "none"
    page.keyboard.press("Enter")
    answer.wait_for(state="visible")


def test_search_finds_a_word_and_leads_to_its_page(reader: Reader) -> None:
    page = reader.open("search.html?q=memoryless").page
    link = page.locator("#search-results li a").first
    link.wait_for()
    link.click()
    page.wait_for_url("**/book/waiting.html**")


def test_paper_keeps_the_figures_and_unfolds_the_solutions(reader: Reader) -> None:
    visit = reader.open("book/waiting.html", theme="dark")
    check(visit)
    document = visit.page.pdf(tagged=True, format="A4")
    # Whatever can be read aloud is in the structure of the document, pictures with their descriptions.
    assert document.count(b"/S /Figure") >= 1
    assert b"Survival falls from one towards zero." in document
    on_paper(visit.page)
    assert visit.page.get_by_text("Yes: ").is_visible()


def test_run_of_one_chapter_opens_from_the_disk(chromium: Any, small_site: Path, tmp_path: Path) -> None:
    project = shutil.copytree(small_site, tmp_path / "project")
    page = site.build(project, chapter="waiting", overrides={"horizon": 12})
    check(Reader(browser=chromium, address=f"file://{page.parents[1]}").open("book/waiting.html"))


def test_pages_of_the_real_site_where_it_has_been_built(chromium: Any, root: Path) -> None:
    html = root / "_build" / "html"
    if not (root / "_build" / "site.json").exists():
        return
    weights = {}
    for address in serve(html):
        reader = Reader(browser=chromium, address=address)
        for path in sorted((html / "book").glob("*.html")):
            for width, theme in ((DESK, "light"), (PHONE, "dark")):
                visit = reader.open(path.relative_to(html).as_posix(), width=width, theme=theme)
                check(visit)
                fits(visit.page, width)
                weights[path.name] = visit.page.evaluate(WEIGHT)
                assert findings(visit.page) == [], path.name
                visit.page.context.close()
    assert max(weights.values()) < HEAVIEST, weights


def test_search_order_and_paper_of_the_real_site_where_it_has_been_built(chromium: Any, root: Path) -> None:
    html = root / "_build" / "html"
    if not (root / "_build" / "site.json").exists():
        return
    documents = Project(root=root).documents
    for address in serve(html):
        reader = Reader(browser=chromium, address=address)
        page = reader.open("search.html?q=quasi-steady").page
        # Results appear one after another.
        page.locator("#search-results li a[href*='quasi_steady_state']").first.wait_for()
        page = reader.open("book/index.html").page
        visited = ["book/index"]
        while page.get_by_title("next page").count():
            page.goto(page.get_by_title("next page").evaluate("e => e.href"))
            visited.append(page.url.removeprefix(f"{address}/").removesuffix(".html"))
        assert visited == documents
        sheets = re.findall(rb"/Type\s*/Page\b", reader.open("book/handout.html").page.pdf(format="A4"))
        assert len(sheets) == 1
        for document in (d for d in documents if "vl-chart" in (html / f"{d}.html").read_text()):
            visit = reader.open(f"{document}.html")
            check(visit)
            on_paper(visit.page)
            visit.page.context.close()


def findings(page: Any) -> list[str]:
    """Return what axe-core calls serious or critical in the text of a page, with everything unfolded."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page.evaluate(UNFOLD)
    page.wait_for_timeout(400)  # boxes unfold in 0.3 s
    violations = axe.Axe().run(page, context="article", options={"resultTypes": ["violations"]}).response["violations"]
    severe = [finding for finding in violations if finding["impact"] in ("serious", "critical")]
    return [f"{finding['id']}: {node['html']}" for finding in severe for node in finding["nodes"]]


def tab_until(page: Any, selector: str) -> str:
    """Press the tabulator until an element has the focus; return the style of the outline that shows it."""
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return str(page.evaluate("getComputedStyle(document.activeElement).outlineStyle"))
    raise AssertionError(f"the keyboard does not reach {selector}")


def fits(page: Any, width: int) -> None:
    """Make sure that nothing reaches over the right edge."""
    assert page.evaluate(OVERFLOW) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def on_paper(page: Any) -> None:
    """Make sure that in print every chart is there as its picture, and nothing that only a screen can use."""
    page.emulate_media(media="print")
    charts = page.locator(".vl-chart").count()
    assert charts
    assert page.locator(".vl-static:visible").count() == charts
    boxes = page.locator(".vl-static").evaluate_all("all => all.map(e => e.firstChild.getBoundingClientRect().height)")
    assert min(boxes) > 100
    for name in ("vl-live", "bd-sidebar-primary", "bd-sidebar-secondary", "bd-header-article", "prev-next-area"):
        assert page.locator(f".{name}:visible").count() == 0, name
    assert page.locator("h1:visible").count() >= 1
