"""The whole book on paper: ``python -m companion.book.paper`` prints the site with Chromium into ``_build/book.pdf``."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from companion.book.project import BuildError, Project
from fptlib.errors import InputError
from fptlib.files import write_atomically

_ARTICLE = re.compile(r'<article class="bd-article"[^>]*>(.*)</article>', re.DOTALL)
_HEAD = re.compile(r"<head>.*?</head>", re.DOTALL)
_DATA = re.compile(r'<script type="application/json".*?</script>', re.DOTALL)
# Typesetting is all that paper needs of the scripts.
_SCRIPT = re.compile(r'<script\b.*?</script>|<link rel="preload"[^>]*>', re.DOTALL)
_ID = re.compile(r'(?<=[ "])id="([^"]+)"')
_LINK = re.compile(r'href="(?:(\w+)\.html)?(?:#([^"]*))?"')
_CLIP = re.compile(r"url\(#([^)]+)\)")
# Chapters follow each other as pages of one document, each with its title, which the theme leaves out of printed pages.
_STYLE = """<style>
@page { margin: 18mm 16mm; }
@media print {
  .bd-article { break-after: page; }
  .bd-main .bd-content .bd-article h1:first-of-type { display: block; }
}
</style>"""
# What the library's reference says is at hand where the library is.
_LEFT_OUT = "api"


def join(project: Project) -> str:
    """One page of all chapters, glossary and bibliography of a site that has been built.

    Raises
    ------
    InputError
        If there is no site.
    """
    documents = [document for document in project.documents if not Path(document).name.startswith(_LEFT_OUT)]
    names = [Path(document).name for document in documents]
    articles, head = [], ""
    for document, name in zip(documents, names, strict=True):
        page = project.html / f"{document}.html"
        if not page.is_file():
            raise InputError(f"{page}: there is no such page; build the site first: make book")
        text = page.read_text()
        top, article = _HEAD.search(text), _ARTICLE.search(text)
        if top is None or article is None:
            raise BuildError(f"{page}: is no page of the site")
        head = head or _SCRIPT.sub(_mathematics, top.group()).replace("</head>", f"{_STYLE}</head>")
        articles.append(f'<article class="bd-article" id="{name}">{_inside(article.group(1), name, names)}</article>')
    body = "\n".join(articles)
    return (
        f'<!doctype html>\n<html lang="en" data-content_root="../" data-theme="light">\n{head}\n<body><main class="bd-main">'
        f'<div class="bd-content"><div class="bd-article-container">\n{body}\n</div></div></main></body></html>\n'
    )


def write(project: Project) -> Path:
    """Print the site into ``_build/book.pdf``.

    Raises
    ------
    InputError
        If the site, Chromium or playwright is missing.
    """
    page = join(project)
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise InputError("no Chromium is installed, which prints the book (Debian: apt-get install chromium)")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise InputError("playwright is not installed, which prints the book: pip install playwright") from None
    # Beside the other pages, whose style sheets and fonts it loads.
    joined = project.html / "book" / ".paper.html"
    joined.write_text(page)
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page()
            tab.goto(joined.as_uri(), wait_until="networkidle")
            tab.wait_for_function(
                "[...document.querySelectorAll('.math')].every(e => e.querySelector('mjx-container'))"
            )
            printed = tab.pdf(format="A4", prefer_css_page_size=True, tagged=True, outline=True)
            browser.close()
    finally:
        joined.unlink()
    target = project.build / "book.pdf"
    write_atomically(target, lambda file: file.write(printed))
    return target


def _mathematics(script: re.Match[str]) -> str:
    return script.group() if "mathjax" in script.group().lower() else ""


def _inside(article: str, name: str, names: list[str]) -> str:
    """An article whose anchors are its own, and whose links to other articles lead there."""

    def link(found: re.Match[str]) -> str:
        page, anchor = found.groups()
        if page is None and anchor is None:
            return found.group(0)
        if page is not None and page not in names:
            return found.group(0)
        return f'href="#{page or name}{f"--{anchor}" if anchor else ""}"'

    article = _ID.sub(lambda found: f'id="{name}--{found.group(1)}"', _DATA.sub("", article))
    return _CLIP.sub(lambda found: f"url(#{name}--{found.group(1)})", _LINK.sub(link, article))


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{write(Project(root=Path.cwd()))}\n")
    except (InputError, BuildError) as error:
        sys.exit(f"Error: {error}")
