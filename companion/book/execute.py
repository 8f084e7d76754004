"""Text notebook + parameters -> executed notebook, kept until something that it depends on changes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from companion import ROOT
from companion.book import keys
from companion.book.project import BuildError, Chapter, Project
from fptlib.files import write_atomically

_KERNEL = "fptlib-book"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Executed:
    """A chapter with its outputs.

    Parameters
    ----------
    chapter
        The source.
    key
        See `companion.book.keys.chapter_key`.
    notebook
        Current prose, current code, outputs.
    record
        What the provenance box shows: ``parameters``, ``ensembles``, ``sources``, ``versions``, ``commit``, ``seconds``
        and ``cores``.
    """

    chapter: Chapter
    key: str
    notebook: NotebookNode
    record: dict[str, Any]


def find(project: Project, chapter: Chapter, parameters: Mapping[str, Any]) -> Executed | None:
    """The executed chapter, if it is in the cache."""
    key = keys.chapter_key(project, chapter, parameters)
    return _read(project, chapter, key) if _cached(project, chapter, key).exists() else None


def execute(
    project: Project, chapter: Chapter, parameters: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> Executed:
    """Execute a chapter and keep the result.

    Parameters
    ----------
    project, chapter, parameters
        What to execute, with all parameters resolved.
    defaults
        Values that the chapter itself gives; only those that differ are shown in a cell of their own.

    Raises
    ------
    BuildError
        If a cell fails or writes to stderr; names the chapter, the cell and its first line. Nothing is kept then.
    """
    import papermill

    key = keys.chapter_key(project, chapter, parameters)
    changed = {name: value for name, value in parameters.items() if (defaults or {}).get(name, _KERNEL) != value}
    source = nbformat.from_dict(chapter.notebook)
    started = time.perf_counter()
    with _kernel(project) as sidecar:
        try:
            notebook = papermill.execute_notebook(
                source,
                None,
                parameters=changed,
                kernel_name=_KERNEL,
                language="python",
                progress_bar=False,
                cwd=project.root,
                extra_arguments=["--log-level=50"],
            )
        except papermill.PapermillExecutionError as error:
            raise BuildError(_failure(chapter, error)) from None
        record = json.loads(sidecar.read_text()) if sidecar.exists() else {"ensembles": [], "sources": []}
    seconds = time.perf_counter() - started
    _refuse_stderr(chapter, notebook)
    record |= {
        "parameters": dict(parameters),
        "versions": keys.versions(),
        "commit": commit(project.root),
        "seconds": round(seconds, 1),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    path = _cached(project, chapter, key)
    # The notebook comes last: where it is, everything is.
    _replace(path.with_suffix(".json"), json.dumps(record, indent=1, sort_keys=True) + "\n")
    _replace(path, nbformat.writes(_normalised(notebook)) + "\n")
    return _read(project, chapter, key)


def commit(root: Path) -> str | None:
    """Commit of the working tree, with a remark if it has local changes; None where git cannot tell."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        name = git("rev-parse", "--short=12", "HEAD")
        return f"{name} with local changes" if git("status", "--porcelain") else name
    except (OSError, subprocess.CalledProcessError):
        return None


@contextlib.contextmanager
def _kernel(project: Project) -> Iterator[Path]:
    """A kernel of this very interpreter, whatever kernels are installed; yields the file for the chapter's record."""
    with tempfile.TemporaryDirectory(prefix="fptlib-book-") as folder:
        sidecar = Path(folder) / "record.json"
        paths = [str(ROOT), str(project.root), os.environ.get("PYTHONPATH", "")]
        environment = {
            "PYTHONPATH": os.pathsep.join(path for path in paths if path),
            "PYTHONHASHSEED": "0",
            # The reader's own start-up files and history have no part in the book.
            "IPYTHONDIR": folder,
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
            "FPTLIB_SIDECAR": str(sidecar),
            "FPTLIB_PROGRESS": _progress_file(),
        }
        specification = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": environment,
        }
        kernel = Path(folder) / "kernels" / _KERNEL
        kernel.mkdir(parents=True)
        (kernel / "kernel.json").write_text(json.dumps(specification))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield sidecar
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _progress_file() -> str:
    """Stderr of this process as a file that a kernel can open, or nothing."""
    path = f"/proc/{os.getpid()}/fd/2"
    try:
        with open(path, "a"):
            return path
    except OSError:
        return ""


def _failure(chapter: Chapter, error: Any) -> str:
    trace = ANSI.sub("", "\n".join(error.traceback))
    reason = f"{error.ename}: {error.evalue}".splitlines()[0]
    return f"{_cell(chapter, error.source)} fails: {reason}\n{trace}"


def _refuse_stderr(chapter: Chapter, notebook: NotebookNode) -> None:
    """A warning must be seen by the author, and not by the reader."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                text = ANSI.sub("", output.text).rstrip()
                raise BuildError(f"{_cell(chapter, cell.source)} writes to stderr, which no page may show:\n{text}")


def _cell(chapter: Chapter, source: str) -> str:
    """A code cell in words: its number among the code cells of the source, and its first line."""
    sources = [cell.source for cell in chapter.code]
    number = str(sources.index(source) + 1) if source in sources else "of changed parameters"
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"{chapter.path}: cell {number} ({first!r})"


def _normalised(notebook: NotebookNode) -> NotebookNode:
    """Without what differs between two executions: times, paths, random identifiers."""
    notebook.metadata.pop("papermill", None)
    notebook.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)
        if "tags" in cell.metadata and not cell.metadata["tags"]:
            del cell.metadata["tags"]
    return notebook


def _with_current_prose(chapter: Chapter, executed: NotebookNode) -> NotebookNode:
    """The chapter as it is written now, with the outputs of its cells and the cell of changed parameters."""
    injected = [cell for cell in executed.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    outputs = iter([cell for cell in executed.cells if cell.cell_type == "code" and cell not in injected])
    cells = []
    for cell in chapter.notebook.cells:
        if cell.cell_type != "code":
            cells.append(nbformat.v4.new_markdown_cell(cell.source, metadata=cell.metadata))
            continue
        done = next(outputs)
        done.metadata = cell.metadata
        cells.append(done)
        if "parameters" in cell.metadata.get("tags", []):
            cells.extend(injected)
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=executed.metadata)
    return _normalised(notebook)


def _read(project: Project, chapter: Chapter, key: str) -> Executed:
    path = _cached(project, chapter, key)
    record = json.loads(path.with_suffix(".json").read_text())
    notebook = _with_current_prose(chapter, nbformat.read(path, as_version=4))
    return Executed(chapter=chapter, key=key, notebook=notebook, record=record)


def _cached(project: Project, chapter: Chapter, key: str) -> Path:
    return project.build / "cache" / f"{chapter.name}-{key}.ipynb"


def _replace(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
