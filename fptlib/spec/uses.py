"""Kinds from files of your own: ``uses: [diffgrad.py]``.

A file is run once in a process, as a module named after its content, and what its decorators make known is known only
to the parameters that name it. Only a file that somebody names is run: stores and archives keep its name and digest.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from fptlib import parameters
from fptlib.errors import InputError
from fptlib.parameters import Part

_NEEDED = "a Python file is needed that decorates kinds of its own"
# By content: what each file makes known.
_KNOWN: dict[str, Mapping[tuple[str, str], type]] = {}


class UserFile(Part):
    """A file of the user's own: its text, and its name in messages.

    All that it needs must be installed or in the file itself, for that is what the digest covers.
    """

    source: str
    name: str

    @property
    def sha256(self) -> str:
        """SHA-256 of the text, in hexadecimal digits."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def kinds(self) -> Mapping[tuple[str, str], type]:
        """The kinds it defines by section and name; the first call runs the file."""
        if self.sha256 not in _KNOWN:
            _KNOWN[self.sha256] = self._run()
        return _KNOWN[self.sha256]

    def _run(self) -> Mapping[tuple[str, str], type]:
        module = ModuleType(f"fptlib_user_{self.sha256[:16]}")
        module.__file__ = self.name
        # Known by name while it runs, for dataclasses look their module up; its lines are kept for tracebacks.
        sys.modules[module.__name__] = module
        linecache.cache[self.name] = (len(self.source), None, self.source.splitlines(keepends=True), self.name)
        try:
            with parameters.collected() as kinds:
                exec(compile(self.source, self.name, "exec"), module.__dict__)
            if not kinds:
                raise InputError(f"makes no kind known; {_NEEDED}")
        except (Exception, SystemExit) as error:
            del sys.modules[module.__name__]
            raise InputError(f"uses: {self.name}: {_reason(error, self.name)}") from None
        return kinds


def _reason(error: BaseException, name: str) -> str:
    """Return one line for what went wrong in a file, and where in it."""
    message = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError):
        return message
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: not valid Python ({error.msg})"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    return f"line {lines[-1] if lines else 0}: does not import ({type(error).__name__}: {message})"


def read(value: object) -> tuple[UserFile, ...]:
    """Read files from a list of paths; files that were read before may stand there too.

    An InputError says which one is missing, does not import, makes nothing known, or makes known what another one does.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"uses: {value!r} is not a list; allowed: paths of Python files, as in [diffgrad.py]")
    files = tuple({file.source: file for file in map(_file, value)}.values())
    seen: dict[tuple[str, str], UserFile] = {}
    for file in files:
        for section, name in file.kinds:
            other = seen.setdefault((section, name), file)
            if other is not file:
                raise InputError(
                    f"uses: {file.name}: {section} {name!r} is defined in {other.name} already; another name is needed"
                )
    return files


def _file(item: object) -> UserFile:
    if isinstance(item, UserFile):
        return item
    if not isinstance(item, str | Path):
        raise InputError(f"uses: {repr(item)[:60]} is not a path; {_NEEDED}")
    try:
        return UserFile(source=Path(item).read_text(encoding="utf-8"), name=str(item))
    except OSError as error:
        raise InputError(f"uses: {item}: {error.strerror}; {_NEEDED}") from None
    except UnicodeDecodeError:
        raise InputError(f"uses: {item}: not a text file; {_NEEDED}") from None


def beside(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the parameters with the paths under ``uses`` taken as relative to a folder."""
    paths = values.get("uses")
    if not isinstance(paths, list):
        return dict(values)
    return {**values, "uses": [str(folder / item) if isinstance(item, str) else item for item in paths]}


def supplied(recorded: object, given: Iterable[object]) -> list[UserFile]:
    """Return the files that recorded parameters use, and others that are given beside them; none is run here.

    Recorded are name and digest of each, maybe in somebody's store; an InputError names a file that is not given.
    """
    files = {file.sha256: file for file in map(_file, given)}
    for entry in recorded if isinstance(recorded, list) else [recorded]:
        digest = entry.get("sha256") if isinstance(entry, Mapping) else None
        if not (isinstance(entry, Mapping) and isinstance(digest, str)):
            raise InputError("uses: not a list of digests of files, and nothing else that is read is used")
        if digest not in files:
            name = str(entry.get("name", "a file of its author's"))[:60]
            others = "".join(f"; {file.name} is another one ({file.sha256[:16]}...)" for file in files.values())
            needed = f"uses: {name!r}, whose SHA-256 is {digest[:16]!r}..., is needed and not kept here"
            raise InputError(f"{needed}; give it with --uses FILE{others}")
    return list(files.values())
