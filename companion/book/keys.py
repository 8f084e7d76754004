"""When must a chapter be executed again? When its key changes: everything that its outputs depend on, and no prose."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from companion import ROOT
from companion.book.project import Chapter, Project
from fptlib import sources

# Raised when the form in which an executed notebook is kept changes.
FORMAT = 1
# What chapters may import.
PACKAGES_OF_CHAPTERS = ("fptlib", "companion")
# These arrange and serve pages; no chapter's outputs depend on them.
_SITE_ONLY = {
    "fptlib/__main__.py",
    "fptlib/cli/__init__.py",
    "fptlib/cli/analysis.py",
    "fptlib/cli/answers.py",
    "companion/cli.py",
    "fptlib/cli/options.py",
    "fptlib/cli/output.py",
    "fptlib/cli/training.py",
    "companion/book/cover.py",
    "companion/book/keys.py",
    "companion/book/pages.py",
    "companion/book/paper.py",
    "companion/book/project.py",
    "companion/book/site.py",
    "companion/book/sphinx_ext.py",
    "fptlib/charts/assets/draw.js",
    "fptlib/report.py",
}
# What computes, draws, and executes.
PACKAGES = (
    "numpy",
    "scipy",
    "pandas",
    "pyarrow",
    "pydantic",
    "scikit-learn",
    "torch",
    "torchvision",
    "numba",
    "distributed",
    "altair",
    "vl-convert-python",
    "ipykernel",
    "jupytext",
    "nbclient",
    "nbformat",
    "papermill",
)


def chapter_key(project: Project, chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Sixteen hexadecimal digits that change with the code, the parameters, `fptlib`, the packages and the data."""
    cells = [(cell.source, cell.metadata.get("tags", [])) for cell in chapter.code]
    parts = {
        "format": FORMAT,
        "cells": cells,
        "parameters": dict(parameters),
        "library": library_digest(),
        "versions": versions(),
        "inputs": _files_digest(project.root, _inputs(project.root)),
        "data": data_fingerprint(),
    }
    return digest(json.dumps(parts, sort_keys=True))


def library_digest(*, everything: bool = False) -> str:
    """Digest of the library's and the companion's files; without those that only arrange pages, unless ``everything`` is asked for."""
    files = (
        path
        for name in PACKAGES_OF_CHAPTERS
        for path in (ROOT / name).rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and (everything or path.relative_to(ROOT).as_posix() not in _SITE_ONLY)
    )
    return _files_digest(ROOT, files)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that are installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def data_fingerprint() -> str:
    """Which of the data that is not part of the project is at hand: chapters compute from it where it is."""
    return sources.fingerprint()


def digest(*parts: str | bytes) -> str:
    """Sixteen hexadecimal digits of SHA-256, with the boundaries between the parts included."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(f"{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()[:16]


def _inputs(root: Path) -> Iterable[Path]:
    """Files besides the chapter that cells read: descriptions of ensembles and experiments, what these use, results kept with the book."""
    for folder in ("params/ensembles", "params/experiments", "params/paper", "examples", "book/results"):
        yield from (path for path in (root / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def _files_digest(root: Path, files: Iterable[Path]) -> str:
    named = sorted((path.relative_to(root).as_posix(), path) for path in files)
    return digest(*(part for name, path in named for part in (name, path.read_bytes())))
