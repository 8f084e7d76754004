"""Where things are: the pages that ``_toc.yml`` lists, the chapters among them, and the folders of a build."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from fptlib.errors import InputError

if TYPE_CHECKING:
    from nbformat import NotebookNode

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
                raise InputError(f"{self.root}: no {name}; run this in the root folder of the project")

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
        """Pages that are executed."""
        found = []
        for document in self.documents:
            path = self.root / f"{document}.md"
            if not path.is_file():
                raise InputError(f"{self.root / '_toc.yml'}: lists {document}, but there is no {path}")
            if _is_text_notebook(path):
                found.append(Chapter(document=document, path=path))
        return found

    def chapter(self, name: str) -> Chapter:
        """The chapter with this name, or the only one whose name starts with it.

        Raises
        ------
        InputError
            If there is none, or several.
        """
        names = {chapter.name: chapter for chapter in self.chapters}
        stem = Path(name).name.removesuffix(".md")
        matches = [stem] if stem in names else [known for known in names if known.startswith(stem)]
        if len(matches) != 1:
            problem = "no chapter" if not matches else "several chapters start with"
            raise InputError(f"{problem} {name!r}{nearest(stem, names)}; there is {', '.join(names)}")
        return names[matches[0]]

    def parameter_file(self, profile: str, chapter: Chapter) -> Path:
        """Where a profile keeps a chapter's parameters; the file need not exist.

        A chapter for which the profile ``stored`` has no file has the parameters of ``quick``.
        """
        name = f"{chapter.name}.yml"
        if profile == STORED:
            kept = self.root / "params" / STORED
            file = self.profile_folder(STORED) / name if kept.is_dir() else kept / name
            return file if file.exists() else self.profile_folder(QUICK) / name
        return self.profile_folder(profile) / name

    def profile_folder(self, profile: str) -> Path:
        """Folder of a profile, in which every file must belong to a chapter.

        Raises
        ------
        InputError
            If there is no such profile, or one of its files belongs to no chapter: its values would go unused.
        """
        folder = self.root / "params" / profile
        known = sorted(p.name for p in folder.parent.glob("*/") if p.name not in _NOT_PROFILES)
        if profile not in known:
            raise InputError(
                f"no parameters {profile!r}{nearest(profile, known)}; there is {', '.join(known) or 'none'}"
            )
        names = [chapter.name for chapter in self.chapters]
        for file in sorted(folder.iterdir()):
            if file.suffix != ".yml" or file.stem not in names:
                raise InputError(
                    f"{file}: belongs to no chapter{nearest(file.stem, names)}; there is {', '.join(names)}"
                )
        return folder


def nearest(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """A suggestion to append to a message, or nothing.

    Examples
    --------
    >>> nearest("peroid", ["period", "runs"])
    " (did you mean 'period'?)"
    """
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _files(part: Any) -> Iterator[str]:
    """Documents named anywhere below the root of a table of contents."""
    for group in part.get("parts", []):
        yield from _files(group)
    for key in ("chapters", "sections"):
        for entry in part.get(key, []):
            if "file" in entry:
                yield entry["file"]
            yield from _files(entry)


def _is_text_notebook(path: Path) -> bool:
    """Whether the front matter declares a notebook."""
    lines = path.read_text().split("\n")
    if lines[0].strip() != "---":
        return False
    end = next((i for i, line in enumerate(lines[1:], start=1) if line.strip() == "---"), 0)
    return any(line.startswith("jupytext:") for line in lines[1:end])
