"""Executed chapters -> staged tree -> Jupyter Book -> ``_build/html``; a changed chapter -> ``_build/runs``."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import nbformat
from tqdm import tqdm

from companion import ROOT
from companion.book import keys, pages
from companion.book.execute import ANSI, Executed, execute, find
from companion.book.parameters import declared, parse_overrides, resolve
from companion.book.project import BuildError, Chapter, Project
from fptlib.errors import InputError

# Packages that turn a staged tree into pages.
_SITE_PACKAGES = (
    "Sphinx",
    "jupyter-book",
    "myst-nb",
    "myst-parser",
    "sphinx-book-theme",
    "pydata-sphinx-theme",
    "sphinx-exercise",
    "sphinxcontrib-bibtex",
    "sphinx-mathjax-offline",
    "vl-convert-python",
)
# Parts of book/ that pages do not show.
_UNSTAGED = ("results", ".ipynb_checkpoints", "__pycache__")


def build(
    root: str | os.PathLike[str],
    profile: str = "quick",
    *,
    chapter: str | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
) -> Path:
    """Build the site, or one chapter with changed parameters.

    Parameters
    ----------
    root
        Root folder of the project.
    profile
        Folder in ``params`` with one file of parameters for each chapter.
    chapter
        Name of a chapter, or the beginning of one. Without it the whole site is built.
    overrides
        Changed parameters, as a mapping or as ``key=value`` texts, values that are text in YAML; only with ``chapter``.

    Returns
    -------
    pathlib.Path
        The page to open: ``_build/html/index.html``, or the chapter's page in ``_build/runs/NAME-KEY``.

    Raises
    ------
    InputError
        If a chapter, a profile or a parameter does not exist or has a wrong value.
    BuildError
        If a cell fails or Sphinx finds fault with a page.
    """
    project = Project(root=Path(root).resolve())
    changes = parse_overrides(overrides)
    if chapter is None and changes:
        raise InputError(f"--set {next(iter(changes))}: needs --chapter, because the site is built from files only")
    with _alone(project):
        if chapter is not None:
            return _build_run(project, profile, project.chapter(chapter), changes)
        return _build_site(project, profile)


@contextlib.contextmanager
def _alone(project: Project) -> Iterator[None]:
    """Refuse to build while another process builds the same project: both write the same folders."""
    project.build.mkdir(exist_ok=True)
    with open(project.build / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BuildError(f"{project.root}: another build is running; wait until it is done") from None
        yield


def _build_site(project: Project, profile: str) -> Path:
    resolved = {c.name: resolve(c, project.parameter_file(profile, c), {}) for c in project.chapters}
    done = {c.name: _execute(project, c, resolved[c.name], n) for n, c in enumerate(project.chapters, start=1)}
    root_page = project.documents[0]
    staged = {
        c.document: pages.page(done[c.name], profile=profile, under_title=c.document != root_page)
        for c in project.chapters
    }
    tree = project.build / "stage"
    key = _stage(project, tree, staged, {name: executed.notebook for name, executed in done.items()})
    stamp = project.build / "site.json"
    index = project.html / "index.html"
    if index.exists() and stamp.exists() and stamp.read_text() == key:
        _say("nothing has changed since the site was built")
    else:
        stamp.unlink(missing_ok=True)
        started = time.perf_counter()
        _say("building the pages ...")
        _sphinx(project, tree, project.html, strict=True)
        stamp.write_text(key)
        _say(f"built the pages in {pages.duration(time.perf_counter() - started)}")
    _say(f"the site is in {index}\nopen that file, or serve it: make serve, then http://127.0.0.1:8000")
    return index


def _build_run(project: Project, profile: str, chapter: Chapter, changes: Mapping[str, Any]) -> Path:
    parameters = resolve(chapter, project.parameter_file(profile, chapter), changes)
    executed = _execute(project, chapter, parameters, None)
    folder = project.build / "runs" / f"{chapter.name}-{executed.key}"
    page = folder / "html" / f"{chapter.document}.html"
    words = f"{profile} (changed: {', '.join(changes)})" if changes else profile
    staged = {chapter.document: pages.page(executed, profile=words)}
    downloads = {chapter.name: executed.notebook}
    # The other pages come along, so that references from this chapter lead somewhere.
    for other in project.chapters:
        if other.name == chapter.name:
            continue
        known = find(project, other, resolve(other, project.parameter_file(profile, other), {}))
        staged[other.document] = pages.page(known, profile=profile) if known else pages.not_executed(other.notebook)
        if known:
            downloads[other.name] = known.notebook
    tree = folder / "stage"
    _stage(project, tree, staged, downloads)
    _say("building the pages ...")
    # Pages of chapters that were never executed lack their glued numbers; that is no fault of this run.
    _sphinx(project, tree, folder / "html", strict=False)
    shutil.rmtree(tree)
    _write_notebook(folder / f"{chapter.name}.ipynb", executed.notebook)
    _say(f"the chapter is in {page}\nits executed notebook is in {folder / f'{chapter.name}.ipynb'}")
    return page


def _execute(project: Project, chapter: Chapter, parameters: Mapping[str, Any], number: int | None) -> Executed:
    place = f"chapter {number} of {len(project.chapters)}: {chapter.name}" if number else chapter.name
    known = find(project, chapter, parameters)
    if known is not None:
        _say(f"{place}: unchanged")
        return known
    _say(f"{place}: executing {len(chapter.code)} cells ...")
    defaults = {name: parameter.default for name, parameter in declared(chapter).items()}
    executed = execute(project, chapter, parameters, defaults)
    _say(f"{place}: executed in {pages.duration(executed.record['seconds'])}")
    return executed


def _stage(
    project: Project,
    tree: Path,
    staged: Mapping[str, nbformat.NotebookNode],
    downloads: Mapping[str, nbformat.NotebookNode],
) -> str:
    """Write the tree that Jupyter Book reads; return a digest of everything that the pages depend on."""
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(project.root / name, tree / name)
    shutil.copytree(project.root / "book", tree / "book", ignore=shutil.ignore_patterns(*_UNSTAGED))
    for document, notebook in staged.items():
        (tree / f"{document}.md").unlink()
        _write_notebook(tree / f"{document}.ipynb", notebook)
    for name, notebook in downloads.items():
        _write_notebook(tree / pages.NOTEBOOKS / f"{name}.ipynb", notebook)
    parts: list[str | bytes] = [keys.library_digest(everything=True)]
    for name in _SITE_PACKAGES:
        try:
            parts.append(f"{name}={metadata.version(name)}")
        except metadata.PackageNotFoundError:
            raise InputError(f"package {name} is not installed; `make book` installs what the site needs") from None
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        parts += [path.relative_to(tree).as_posix(), path.read_bytes()]
    return keys.digest(*parts)


def _sphinx(project: Project, tree: Path, target: Path, *, strict: bool) -> None:
    """Turn the tree into pages; the target is replaced only when that succeeded.

    Raises
    ------
    BuildError
        If Sphinx fails, or warns although ``strict``.
    """
    work = tree.parent / "pages"
    if work.exists():
        shutil.rmtree(work)
    # Jupyter Book is no runnable module; its command need not be on the path.
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(tree), "--path-output", str(work), "--all", "-q"]
    command += ["-W", "-n", "--keep-going"] if strict else []
    paths = [str(ROOT), str(project.root), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=project.root, env=environment, capture_output=True, text=True)
    output = work / "_build" / "html"
    if done.returncode or not (output / "index.html").exists():
        text = ANSI.sub("", done.stdout + done.stderr)
        log = project.build / "sphinx.log"
        log.write_text(text)
        lines = [
            line.replace(f"{tree}{os.sep}", "") for line in text.splitlines() if "WARNING" in line or "ERROR" in line
        ]
        # Sphinx repeats its warnings when it is told to keep going.
        found = "\n".join(dict.fromkeys(lines)) or text[-2000:].strip()
        raise BuildError(f"the pages could not be built (all of Sphinx's output is in {log}):\n{found}")
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    output.rename(target)
    shutil.rmtree(work)


def _write_notebook(path: Path, notebook: nbformat.NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _say(text: str) -> None:
    """A line on the terminal that does not tear a progress bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
