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
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from tqdm import tqdm

from companion import ROOT
from companion.build import keys, pages, references, runs
from companion.build.assignment import EXERCISES, assignment
from companion.build.execute import ANSI, Executed, Job, environment, execute, find
from companion.build.project import BuildError, Chapter, Project
from fptlib.cli.output import duration
from fptlib.errors import InputError

# Parts of book/ that pages do not show.
_UNSTAGED = ("results", ".ipynb_checkpoints", "__pycache__")


def build(
    root: str | os.PathLike[str],
    profile: str = "quick",
    *,
    chapter: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    jobs: int = 1,
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
        Changed parameters by (dotted) name; only with ``chapter``.
    jobs
        Chapters that are executed at the same time; an ensemble that two of them need is trained once, and the other waits.

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
    if chapter is None and overrides:
        raise InputError(f"--set {next(iter(overrides))}: needs --chapter, because the site is built from files only")
    with _alone(project):
        if chapter is not None:
            return _build_run(project, profile, project.chapter(chapter), overrides or {})
        return _build_site(project, profile, jobs)


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


def _build_site(project: Project, profile: str, at_once: int) -> Path:
    jobs = [Job.of(project, chapter, profile) for chapter in project.chapters]
    done = _execute_together([job for job in jobs if find(job) is None], at_once) if at_once > 1 else {}
    executed = [
        done.get(job.chapter.name) or _execute(job, f"chapter {n} of {len(jobs)}: ")
        for n, job in enumerate(jobs, start=1)
    ]
    staged = {e.job.chapter: pages.page(e, profile=profile) for e in executed}
    tree = project.build / "stage"
    key = _stage(project, tree, staged, executed)
    stamp = project.build / "site.json"
    index = project.html / "index.html"
    if index.exists() and stamp.exists() and stamp.read_text() == key:
        _say("nothing has changed since the site was built")
    else:
        stamp.unlink(missing_ok=True)
        started = time.perf_counter()
        _say("building the pages ...")
        _sphinx(project, tree, project.html)
        stamp.write_text(key)
        _say(f"built the pages in {duration(time.perf_counter() - started)}")
    _say(f"the site is in {index}\nopen that file, or serve it: make serve, then http://127.0.0.1:8000")
    return index


def _build_run(project: Project, profile: str, chapter: Chapter, changes: Mapping[str, Any]) -> Path:
    executed = _execute(Job.of(project, chapter, profile, changes))
    usual = Job.of(project, chapter, profile)
    changed = {name: new for name, (_, new) in runs.changes(executed, usual).items()}
    folder = project.build / "runs" / f"{chapter.name}-{executed.job.key}"
    page, notebook = folder / "html" / f"{chapter.document}.html", folder / f"{chapter.name}.ipynb"
    tree = folder / "stage"
    words = f"{profile} (changed: {', '.join(changed)})" if changed else profile
    staged = pages.with_works_cited(pages.page(executed, profile=words))
    if changed:
        staged = pages.under_title(staged, runs.box(executed, usual, page=page))
    _stage(project, tree, {chapter: staged}, [executed], alone=chapter)
    references.write(project, chapter.document, tree / references.FILE, page=page)
    _say("building the page ...")
    _sphinx(project, tree, folder / "html", alone=True)
    shutil.rmtree(tree)
    _write_notebook(notebook, executed.notebook)
    index = runs.enter(project, folder, page, chapter.document, changed)
    _say(f"the chapter is in {page}\nits executed notebook is in {notebook}\nall runs are listed in {index}")
    return page


def _execute(job: Job, place: str = "") -> Executed:
    place += job.chapter.name
    if known := find(job):
        _say(f"{place}: unchanged")
        return known
    _say(f"{place}: executing {len(job.chapter.code)} cells ...")
    executed = execute(job)
    _say(f"{place}: executed in {duration(executed.record['seconds'])}")
    return executed


def _execute_together(jobs: list[Job], at_once: int) -> dict[str, Executed]:
    """Execute chapters in processes of their own; a fault is raised once the chapters that have begun are done."""
    executed = {}
    with ProcessPoolExecutor(at_once, mp_context=get_context("spawn")) as pool:
        # From the last one on: the long chapters stand late, and one that begins late keeps a process alone.
        running = {pool.submit(execute, job, progress=False): job.chapter.name for job in reversed(jobs)}
        if running:
            _say(f"executing {len(jobs)} chapters, {min(at_once, len(jobs))} at a time ...")
        for n, done in enumerate(as_completed(running), start=1):
            name = running[done]
            if (fault := done.exception()) is not None:
                pool.shutdown(cancel_futures=True)
                raise fault
            executed[name] = done.result()
            _say(f"{n} of {len(jobs)}: {name}: executed in {duration(executed[name].record['seconds'])}")
    return executed


def _stage(
    project: Project,
    tree: Path,
    staged: Mapping[Chapter, NotebookNode],
    downloads: list[Executed],
    alone: Chapter | None = None,
) -> str:
    """Write the tree that Jupyter Book reads, of all pages or one alone; return a digest of everything that they depend on."""
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)
    for name in ("_toc.yml", "_config.yml"):
        shutil.copy(project.root / name, tree / name)
    shutil.copytree(project.root / "book", tree / "book", ignore=shutil.ignore_patterns(*_UNSTAGED))
    if alone:
        (tree / "_toc.yml").write_text(f"format: jb-book\nroot: {alone.document}\n")
    for chapter, notebook in staged.items():
        (tree / f"{chapter.document}.md").unlink()
        _write_notebook(tree / f"{chapter.document}.ipynb", notebook)
    for executed in downloads:
        name = executed.job.chapter.name
        _write_notebook(tree / pages.NOTEBOOKS / f"{name}.ipynb", executed.notebook)
        if name == EXERCISES:
            _write_notebook(tree / pages.NOTEBOOKS / f"{name}-assignment.ipynb", assignment(executed.notebook))
    parts: list[str | bytes] = [keys.library_digest(everything=True)]
    parts += sorted(f"{package.name}={package.version}" for package in metadata.distributions())
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        parts += [path.relative_to(tree).as_posix(), path.read_bytes()]
    return keys.digest(*parts)


def _sphinx(project: Project, tree: Path, target: Path, *, alone: bool = False) -> None:
    """Turn the tree into pages; the target is replaced only when that succeeded.

    Raises
    ------
    BuildError
        If Sphinx fails, or warns of anything in a whole site.
    """
    work = tree.parent / "pages"
    if work.exists():
        shutil.rmtree(work)
    # Jupyter Book is no runnable module; its command need not be on the path.
    command = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    command += ["build", str(tree), "--path-output", str(work), "--all", "-q"]
    command += [] if alone else ["-W", "-n", "--keep-going"]
    settings = {references.VARIABLE: str(tree / references.FILE)} if alone else {}
    drawing = (ROOT / "fptlib" / "charts" / "assets" / "draw.js").read_bytes()
    settings["FPTLIB_ASSETS"] = str(project.build / f"assets-{keys.digest(json.dumps(keys.versions()), drawing)}")
    done = subprocess.run(command, cwd=project.root, env=environment() | settings, capture_output=True, text=True)
    output = work / "_build" / "html"
    if done.returncode or not (output / "index.html").exists():
        text = ANSI.sub("", done.stdout + done.stderr)
        log = project.build / "sphinx.log"
        log.write_text(text)
        lines = text.replace(f"{tree}{os.sep}", "").splitlines()
        # With --keep-going Sphinx repeats its warnings.
        faults = "\n".join(dict.fromkeys(line for line in lines if "WARNING" in line or "ERROR" in line))
        raise BuildError(
            f"the pages could not be built (all of Sphinx's output is in {log}):\n{faults or text[-2000:].strip()}"
        )
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    output.rename(target)
    shutil.rmtree(work)


def _write_notebook(path: Path, notebook: NotebookNode) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _say(text: str) -> None:
    """Write a line to the terminal without tearing a progress bar."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
