"""When must a chapter be executed again? When its key changes: everything that its outputs depend on, and no prose."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from companion import ROOT
from companion.build.project import Chapter
from fptlib import sources

# Raised when the form in which an executed notebook is kept changes.
FORMAT = 1
# What chapters may import or start, and the parts of it that they do not: these come last in the flow and arrange what has been computed.
PACKAGES_OF_CHAPTERS = ("fptlib", "companion")
NOT_OF_CHAPTERS = ("fptlib/report.py", "companion/build", "companion/cli.py")
# Files besides the chapter that cells read: descriptions of ensembles and experiments, what these use, results kept with the book.
_INPUTS = ("params/ensembles", "params/experiments", "params/paper", "examples", "book/results")

# Of what the library declares: its own dependencies, and those of these extras.
_EXTRAS = re.compile(r"""extra == ["'](train|book)["']""")


def chapter_key(root: Path, chapter: Chapter, parameters: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that change with the code, the parameters, the libraries, the packages and the data."""
    parts = {
        "format": FORMAT,
        "cells": [(cell.source, cell.metadata.get("tags", [])) for cell in chapter.code],
        "parameters": dict(parameters),
        "library": library_digest(),
        "versions": versions(),
        "inputs": _digest_of_files(root, _INPUTS),
        "data": sources.fingerprint(),
    }
    return digest(json.dumps(parts, sort_keys=True))


def library_digest(*, everything: bool = False) -> str:
    """Return a digest of the files that a chapter can import, or of ``everything`` in their packages."""
    return _digest_of_files(ROOT, PACKAGES_OF_CHAPTERS, () if everything else NOT_OF_CHAPTERS)


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the library declares to compute, draw and execute with."""
    declared = [text for text in metadata.requires("fptlib") or () if "extra" not in text or _EXTRAS.search(text)]
    names = sorted({re.split(r"[^\w.-]", text)[0] for text in declared}, key=str.lower)
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def digest(*parts: str | bytes) -> str:
    """Return 16 hexadecimal digits of SHA-256, with the boundaries between the parts included."""
    total = hashlib.sha256()
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        total.update(f"{len(content)}:".encode())
        total.update(content)
    return total.hexdigest()[:16]


def _digest_of_files(root: Path, folders: Iterable[str], without: Iterable[str] = ()) -> str:
    left_out = [root / name for name in without]
    files = sorted(
        path
        for folder in folders
        for path in (root / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not any(path.is_relative_to(p) for p in left_out)
    )
    return digest(*(part for path in files for part in (path.relative_to(root).as_posix(), path.read_bytes())))
