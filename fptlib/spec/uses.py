"""Kinds from files of one's own: ``uses: [diffgrad.py]``.

A file is known by its content. It is run once in a process, as a module named after that content, and what its decorators
make known is known to the parameters that name the file, and to no others.
"""

from __future__ import annotations

import hashlib
import linecache
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import PrivateAttr

from fptlib import parameters
from fptlib.errors import InputError
from fptlib.parameters import Part

_NEEDED = "a Python file is needed that decorates kinds of its own"
# By content: what each file makes known.
_KNOWN: dict[str, Mapping[tuple[str, str], type]] = {}


class UserFile(Part):
    """A file of one's own.

    Parameters
    ----------
    source
        Its text. All that it needs must be installed or in the file itself, for that is what the digest covers.
    name
        What it is called in messages.
    """

    source: str
    name: str = "a file that the parameters use"
    _digest: str = PrivateAttr("")

    def model_post_init(self, context: Any) -> None:
        """SHA-256 of the text."""
        self._digest = hashlib.sha256(self.source.encode()).hexdigest()

    @property
    def kinds(self) -> Mapping[tuple[str, str], type]:
        """The kinds it defines by section and name; the first call runs the file."""
        if self._digest not in _KNOWN:
            _KNOWN[self._digest] = self._run()
        return _KNOWN[self._digest]

    def _run(self) -> Mapping[tuple[str, str], type]:
        module = ModuleType(f"fptlib_user_{self._digest[:16]}")
        module.__file__ = self.name
        # Known by name while it runs, for dataclasses look their module up; its lines are kept for tracebacks.
        sys.modules[module.__name__] = module
        linecache.cache[self.name] = (len(self.source), None, self.source.splitlines(keepends=True), self.name)
        try:
            with parameters.collected() as found:
                exec(compile(self.source, self.name, "exec"), module.__dict__)
        except (Exception, SystemExit) as error:
            del sys.modules[module.__name__]
            raise InputError(f"uses: {self.name}: {_reason(error, self.name)}") from None
        if not found:
            del sys.modules[module.__name__]
            raise InputError(f"uses: {self.name}: makes no kind known; {_NEEDED}")
        return found


def _reason(error: BaseException, name: str) -> str:
    """One line for what went wrong in a file, and where in it."""
    said = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, InputError):
        return said
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: not valid Python ({error.msg})"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: does not import ({type(error).__name__}: {said})"


def read(value: object) -> tuple[UserFile, ...]:
    """The files of a list of paths, or as they were read before.

    Raises
    ------
    InputError
        If one is missing or does not import, makes nothing known, or makes known what another one does.
    """
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise InputError(f"uses: {value!r} is not a list; allowed: paths of Python files, as in [diffgrad.py]")
    files = tuple(_file(item) for item in value)
    seen: dict[tuple[str, str], UserFile] = {}
    for file in files:
        for section, name in file.kinds:
            other = seen.setdefault((section, name), file)
            if other.source != file.source:
                raise InputError(
                    f"uses: {file.name}: {section} {name!r} is defined in {other.name} already; another name is needed"
                )
    return tuple({file.source: file for file in files}.values())


def _file(item: object) -> UserFile:
    if isinstance(item, UserFile):
        return item
    if isinstance(item, Mapping) and isinstance(item.get("source"), str):
        return UserFile.model_validate(dict(item))
    if not isinstance(item, str | Path):
        raise InputError(f"uses: {item!r} is not a path; {_NEEDED}")
    try:
        return UserFile(source=Path(item).read_text(encoding="utf-8"), name=str(item))
    except OSError as error:
        raise InputError(f"uses: {item}: {error.strerror}; {_NEEDED}") from None
    except UnicodeDecodeError:
        raise InputError(f"uses: {item}: not a text file; {_NEEDED}") from None


def beside(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The parameters with the paths under ``uses`` taken as relative to a folder."""
    paths = values.get("uses")
    if not isinstance(paths, list):
        return dict(values)
    return {**values, "uses": [str(folder / item) if isinstance(item, str) else item for item in paths]}
