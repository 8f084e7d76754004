"""Sphinx extension of the site: everything that a page loads comes from the site itself."""

from __future__ import annotations

import os
import re
import shutil
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from companion import ROOT
from companion.build import references
from companion.build.runs import glued

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_PRELOAD = re.compile(r'<link rel="preload" as="font"[^>]*>\s*')
_ICONS = re.compile(r'<script [^>]*src="[^"]*/fontawesome/[^"]*"></script>\s*')
_REFERENCE = re.compile(r"^(\s*)\.\. \[(\d+)\]")
_CITED = re.compile(r"\[(\d+)\]_")
_WORDS_A_MINUTE = 180
_MATHJAX = "sphinx-mathjax-offline"
_FONTS = "output/chtml/fonts/woff-v2"


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the handlers below."""
    app.add_role("minutes", _minutes)
    references.setup(app)
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _add_assets)
    app.connect("html-page-context", _load_charts)
    app.connect("html-page-context", _list_works)
    # After every other handler, because Thebe adds its scripts late.
    app.connect("html-page-context", _drop_thebe, priority=10_000)
    app.connect("build-finished", _lighten)
    app.connect("autodoc-process-docstring", _list_references)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _minutes(name: str, raw: str, text: str, line: int, inliner: Any, *_: Any) -> tuple[list[Any], list[Any]]:
    """Minutes that it takes to read a chapter, which the role names, at 180 words a minute, glued sentences included and code not."""
    import jupytext
    from docutils import nodes

    source = ROOT / "book" / f"{text}.md"
    if not source.exists():
        return [], [inliner.reporter.error(f"minutes: there is no {source}", line=line)]
    prose = re.sub(r"^```.*?^```$", "", source.read_text(), flags=re.DOTALL | re.MULTILINE)
    executed = Path(inliner.document.settings.env.srcdir) / "book" / f"{text}.ipynb"
    values = glued(jupytext.read(executed)) if executed.exists() else {}
    prose = re.sub(r"\{glue:text\}`([^`]*)`", lambda match: values.get(match[1], ""), prose)
    return [nodes.Text(str(round(len(prose.split()) / _WORDS_A_MINUTE)))], []


def _configure(app: Sphinx, config: Any) -> None:
    # The page's own link leads to the executed notebook; the theme's menu would offer the staged one beside it.
    config.html_theme_options = {**config.html_theme_options, "use_download_button": False}


def _add_assets(app: Sphinx) -> None:
    """Vega, the drawing script, and MathJax with its fonts, written beside the pages; kept for the next build in ``FPTLIB_ASSETS``."""
    folder = Path(os.environ.get("FPTLIB_ASSETS") or Path(app.doctreedir) / "assets")
    if not (folder / "mathjax" / "tex-chtml-full.js").exists():
        from fptlib.charts import render

        (folder / "vega").mkdir(parents=True, exist_ok=True)
        (folder / "vega" / "vega.js").write_text(render.library())
        (folder / "vega" / "draw.js").write_text(render.script())
        mathjax = _mathjax_folder()
        shutil.copytree(mathjax / _FONTS, folder / "mathjax" / _FONTS, dirs_exist_ok=True)
        # Last: where it is, everything is.
        shutil.copy(mathjax / "tex-chtml-full.js", folder / "mathjax" / "tex-chtml-full.js")
    app.config.html_static_path.append(str(folder))


def _mathjax_folder() -> Path:
    """Folder of MathJax 3 in the package that ships it, whose name is no Python name and cannot be imported."""
    for file in metadata.files(_MATHJAX) or []:
        if file.name == "tex-chtml-full.js":
            return Path(str(file.locate())).parent
    raise FileNotFoundError(
        f"{_MATHJAX} is installed without tex-chtml-full.js; install the version in requirements.txt"
    )


def _load_charts(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    if 'class="vl-chart"' in (context.get("body") or ""):
        app.add_js_file("vega/vega.js", loading_method="defer")
        app.add_js_file("vega/draw.js", loading_method="defer")


def _list_works(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Screen readers expect items in a list; docutils puts entries of a bibliography there, whose role is withdrawn from ARIA."""
    if context.get("body"):
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def _drop_thebe(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Jupyter Book loads Thebe on every page, twice, and the second copy raises an error."""

    def is_thebe(script: Any) -> bool:
        attributes = getattr(script, "attributes", None) or {}
        return "thebe" in f"{getattr(script, 'filename', script)} {attributes.get('body', '')}".lower()

    context["script_files"] = [script for script in context.get("script_files", []) if not is_thebe(script)]


def _lighten(app: Sphinx, error: Exception | None) -> None:
    """Leave out fonts that are fetched ahead of need, which browsers refuse for a page opened from the disk and complain about.

    And leave out the icons as a script of 1.5 MB: the theme loads them as a font as well.
    """
    if error is None:
        for page in Path(app.outdir).rglob("*.html"):
            page.write_text(_ICONS.sub("", _PRELOAD.sub("", page.read_text())))


def _list_references(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Numbered references of a docstring become a list: as footnotes they would clash with those of the next one."""
    for number, line in enumerate(lines):
        lines[number] = _CITED.sub(r"[\1]", _REFERENCE.sub(r"\1*  [\2]", line))
