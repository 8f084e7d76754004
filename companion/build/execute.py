"""Text notebook + parameters -> executed notebook, kept until something that it depends on changes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbformat import NotebookNode

from companion import ROOT
from companion.build import keys
from companion.build.parameters import resolve
from companion.build.project import BuildError, Chapter, Project
from fptlib.files import write_atomically

# Errors that say what is wrong with a value; any other is a defect, and shows where it is.
_REFUSALS = ("InputError", "ValueError")
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Job:
    """A chapter to be executed.

    Parameters
    ----------
    project, chapter
        Where it belongs.
    parameters
        Values of all its parameters.
    changed
        Those that differ from what the chapter itself gives; the notebook shows them in a cell of their own.
    """

    project: Project
    chapter: Chapter
    parameters: dict[str, Any]
    changed: dict[str, Any]

    @classmethod
    def of(cls, project: Project, chapter: Chapter, profile: str, overrides: Mapping[str, Any] | None = None) -> Job:
        """Take the parameters of a profile, laid over the chapter's own, and the overrides over both."""
        parameters, changed = resolve(chapter, project.parameter_file(profile, chapter), overrides or {})
        return cls(project, chapter, parameters, changed)

    @cached_property
    def key(self) -> str:
        """See `companion.build.keys.chapter_key`."""
        return keys.chapter_key(self.project.root, self.chapter, self.parameters)

    @property
    def path(self) -> Path:
        """Path of the executed notebook; its record lies beside it."""
        return self.project.build / "cache" / f"{self.chapter.name}-{self.key}.ipynb"


@dataclass(frozen=True)
class Executed:
    """A chapter with its outputs.

    Parameters
    ----------
    job
        What was executed.
    notebook
        Current prose, current code, outputs.
    record
        What the provenance box shows: ``parameters``, ``ensembles``, ``sources``, ``versions``, ``commit``, ``seconds``
        and ``cores``.
    """

    job: Job
    notebook: NotebookNode
    record: dict[str, Any]


def find(job: Job) -> Executed | None:
    """Return the executed chapter, if it is in the cache."""
    if not job.path.exists():
        return None
    record = json.loads(job.path.with_suffix(".json").read_text())
    return Executed(job, _with_current_prose(job.chapter, nbformat.read(job.path, as_version=4)), record)


def execute(job: Job, *, progress: bool = True) -> Executed:
    """Execute a chapter and keep the result; bars of its progress appear on the terminal unless several share it.

    Raises
    ------
    BuildError
        If a cell fails or writes to stderr; names the chapter, the cell and its first line. Nothing is kept then.
    """
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fptlib-book-") as folder:
        sidecar = Path(folder) / "record.json"
        try:
            notebook = papermill.execute_notebook(
                nbformat.from_dict(job.chapter.notebook),
                None,
                parameters=job.changed,
                kernel_name="python3",
                language="python",
                progress_bar=False,
                iopub_timeout=120,  # of a machine with other work
                coalesce_streams=True,  # a command's output comes in pieces
                cwd=job.project.root,
                extra_arguments=["--log-level=50"],
                kernel_manager_class=_kernel(folder, sidecar, _progress_file() if progress else ""),
            )
        except papermill.PapermillExecutionError as error:
            where = _cell(job.chapter, error.source)
            if error.ename in _REFUSALS:
                raise BuildError(f"{' '.join(error.evalue.split())} ({where})") from None
            trace = ANSI.sub("", "\n".join(error.traceback))
            reason = f"{error.ename}: {error.evalue}".splitlines()[0]
            raise BuildError(f"{where} fails: {reason}\n{trace}") from None
        record = json.loads(sidecar.read_text()) if sidecar.exists() else {"ensembles": [], "sources": []}
    _refuse_stderr(job.chapter, notebook)
    record |= {
        "parameters": job.parameters,
        "versions": keys.versions(),
        "commit": commit(job.project.root),
        "seconds": round(time.perf_counter() - started, 1),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    }
    # The notebook comes last: where it is, everything is.
    _write(job.path.with_suffix(".json"), json.dumps(record, indent=1, sort_keys=True))
    _write(job.path, nbformat.writes(_normalised(notebook)))
    executed = find(job)
    assert executed is not None
    return executed


def commit(root: Path) -> str | None:
    """Return the commit of the working tree, with a remark if it has local changes; None where git cannot tell."""
    describe = ["describe", "--always", "--exclude=*", "--abbrev=12"]
    command = ["git", "-C", str(root), *describe, "--dirty= with local changes"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def environment() -> dict[str, str]:
    """Return the environment in which this library is imported from where it is now, and hashes do not vary."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "0"}


def _kernel(folder: str, sidecar: Path, bars: str) -> type[AsyncKernelManager]:
    """Return what starts a kernel of this very interpreter, whatever kernels are installed."""
    settings = {
        # The reader's own start-up files and history have no part in the book.
        "IPYTHONDIR": folder,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "FPTLIB_SIDECAR": str(sidecar),
        "FPTLIB_PROGRESS": bars,
    }
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]

    class Kernel(AsyncKernelManager):
        kernel_spec = KernelSpec(argv=command, display_name="Python 3", language="python", env=environment() | settings)

    return Kernel


def _progress_file() -> str:
    """Return stderr of this process as a file that a kernel can open, or nothing."""
    path = f"/proc/{os.getpid()}/fd/2"
    return path if os.access(path, os.W_OK) else ""


def _refuse_stderr(chapter: Chapter, notebook: NotebookNode) -> None:
    """Make sure that a warning is seen by the author, and not by the reader."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                text = ANSI.sub("", output.text).rstrip()
                raise BuildError(f"{_cell(chapter, cell.source)} writes to stderr, which no page may show:\n{text}")


def _cell(chapter: Chapter, source: str) -> str:
    """Name a code cell by its number among the code cells of the source, and its first line."""
    sources = [cell.source for cell in chapter.code]
    number = str(sources.index(source) + 1) if source in sources else "of changed parameters"
    first = next((line.strip() for line in source.splitlines() if line.strip()), "")
    return f"{chapter.path.name}: cell {number} ({first!r})"


def _normalised(notebook: NotebookNode) -> NotebookNode:
    """Take away what differs between two executions: times, paths, random identifiers."""
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
    """Return the chapter as it is written now, with the outputs of its cells and the cell of changed parameters."""
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
    return _normalised(nbformat.v4.new_notebook(cells=cells, metadata=executed.metadata))


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(f"{text}\n".encode()))
