"""The layout of a project: the pages that ``_toc.yml`` lists, the chapters among them, and the folders of a build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fptlib.errors import InputError
from fptlib.parameters import nearest

if TYPE_CHECKING:
    from nbformat import NotebookNode

_NUMBER = re.compile(r"^\d+_")
# Sets of training parameters, not of chapter parameters.
_NOT_PROFILES = {"ensembles", "experiments", "paper"}
# The profile that shows results kept with the book; chapters without any have the other's parameters.
STORED, QUICK = "stored", "quick"


class BuildError(RuntimeError):
    """A build that failed on correct input: a failing cell, a page that Sphinx refuses. The message says where."""


@dataclass(frozen=True)
class Chapter:
    """A page with code cells, written as a text notebook.

    Parameters
    ----------
    document
        Path inside the project without extension, as in ``_toc.yml``.
    path
        The source file.
    """

    document: str
    path: Path

    @property
    def name(self) -> str:
        """Last part of the document's path; names the parameter file."""
        return self.path.stem

    @cached_property
    def notebook(self) -> NotebookNode:
        """The source as a notebook without outputs.

        Raises
        ------
        InputError
            If it cannot be read, for example for a caption with an unquoted colon.
        """
        import jupytext
        from jupytext.myst import MystMetadataParsingError

        try:
            return jupytext.read(self.path, fmt="md:myst")
        except (MystMetadataParsingError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise InputError(f"{self.path}: {reason} (text with a colon or a quote needs quotes)") from None

    @property
    def code(self) -> list[NotebookNode]:
        """Code cells in order."""
        return [cell for cell in self.notebook.cells if cell.cell_type == "code"]


@dataclass(frozen=True)
class Project:
    """A folder with ``_toc.yml``, ``_config.yml``, ``book/`` and ``params/``."""

    root: Path

    def __post_init__(self) -> None:
        for name in ("_toc.yml", "_config.yml"):
            if not (self.root / name).is_file():
                raise InputError(f"{self.root}: no {name}; this is not the root folder of the project")

    @property
    def build(self) -> Path:
        """Everything that a build makes."""
        return self.root / "_build"

    @property
    def html(self) -> Path:
        """The finished site."""
        return self.build / "html"

    @cached_property
    def documents(self) -> list[str]:
        """Pages in the order of the table of contents, as paths without extension."""
        path = self.root / "_toc.yml"
        try:
            toc = yaml.safe_load(path.read_text())
            return [toc["root"], *_files(toc)]
        except (yaml.YAMLError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a table of contents ({str(error).splitlines()[0]})") from None

    @cached_property
    def chapters(self) -> list[Chapter]:
        """Pages that are executed: text notebooks, as their front matter declares."""
        pages = [Chapter(document, self.root / f"{document}.md") for document in self.documents]
        for page in pages:
            if not page.path.is_file():
                raise InputError(f"{self.root / '_toc.yml'}: lists {page.document}, but there is no {page.path}")
        return [page for page in pages if page.path.read_text().startswith("---\njupytext:")]

    def chapter(self, name: str) -> Chapter:
        """Return the chapter with this name, or the only one whose name starts with it; a number before the name is ignored.

        Raises
        ------
        InputError
            If there is none, or several.
        """
        chapters = {chapter.name: chapter for chapter in self.chapters}
        stem = _NUMBER.sub("", Path(name).name.removesuffix(".md"))
        matches = [stem] if stem in chapters else [known for known in chapters if known.startswith(stem)]
        if len(matches) != 1:
            problem = "no chapter" if not matches else "several chapters start with"
            raise InputError(f"{problem} {name!r}{nearest(stem, chapters)}")
        return chapters[matches[0]]

    def number(self, document: str) -> int | None:
        """Return the number of a page on the site, or None where it has none."""
        toc = yaml.safe_load((self.root / "_toc.yml").read_text())
        numbered = [entry["file"] for p in toc.get("parts", ()) if p.get("numbered") for entry in p["chapters"]]
        return numbered.index(document) + 1 if document in numbered else None

    def parameter_file(self, profile: str, chapter: Chapter) -> Path:
        """Return where a profile keeps a chapter's parameters; the file need not exist.

        A chapter for which the profile ``stored`` has no file has the parameters of ``quick``.

        Raises
        ------
        InputError
            If there is no such profile, or one of its files belongs to no chapter: its values would go unused.
        """
        folder = self.root / "params" / profile
        profiles = sorted(p.name for p in folder.parent.glob("*/") if p.name not in _NOT_PROFILES)
        if profile not in (*profiles, STORED):
            raise InputError(f"no parameters {profile!r}{nearest(profile, profiles)}")
        chapters = [chapter.name for chapter in self.chapters]
        for path in sorted(folder.glob("*")):
            if path.suffix != ".yml" or path.stem not in chapters:
                raise InputError(f"{path}: belongs to no chapter{nearest(path.stem, chapters)}")
        file = folder / f"{chapter.name}.yml"
        return self.parameter_file(QUICK, chapter) if profile == STORED and not file.exists() else file


def _files(part: Any) -> Iterator[str]:
    """Walk through a table of contents and yield its documents in order, the root's own excepted."""
    if isinstance(part, dict):
        if "file" in part:
            yield part["file"]
        part = list(part.values())
    if isinstance(part, list):
        for entry in part:
            yield from _files(entry)
