"""Parameters of a chapter: declared in its parameter cell, set by a profile's file, changed by ``--set``."""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.build.project import Chapter
from fptlib.errors import InputError
from fptlib.parameters import nearest
from fptlib.spec.written import parse


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter that a chapter declares.

    Parameters
    ----------
    name, default
        As written.
    kind
        Name of the type allowed, from the annotation or else from the default; anything but a built-in type allows everything.
    """

    name: str
    default: Any
    kind: str

    def check(self, value: Any, where: str) -> None:
        """Refuse a value of another type.

        Raises
        ------
        InputError
            Naming the parameter, the value and the type allowed.
        """
        kind = getattr(builtins, self.kind.partition("[")[0], object)
        allowed = (float, int) if kind is float else kind
        # bool is a subclass of int, but "yes" for a number of runs is a mistake.
        if not isinstance(value, allowed) or (isinstance(value, bool) and kind in (int, float)):
            raise InputError(f"{where}: {self.name} = {value!r} is not of type {self.kind}")


def declared(chapter: Chapter) -> dict[str, Parameter]:
    """Return the parameters that a chapter declares, in order, as papermill infers them.

    Raises
    ------
    InputError
        If the cell holds anything but assignments of literal values, one in a line, or there are several such cells.
    """
    from papermill.translators import PythonTranslator

    cells = [cell for cell in chapter.code if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) > 1:
        raise InputError(f"{chapter.path}: {len(cells)} cells are tagged parameters; one is allowed")
    parameters = {}
    for cell in cells:
        lines = [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]
        inferred = PythonTranslator.inspect(cell)
        inferred += [("", "", "", "")] * (len(lines) - len(inferred))  # for lines that papermill leaves out
        for line, (name, kind, text, _) in zip(lines, inferred, strict=True):
            try:
                default = ast.literal_eval(text)
                if not line.startswith(name):
                    raise ValueError
            except (ValueError, SyntaxError):
                raise InputError(
                    f"{chapter.path}: parameter cell, at {line!r}: each line must be NAME = a literal value"
                ) from None
            kind = type(default).__name__ if kind == "None" and default is not None else kind
            parameters[name] = Parameter(name=name, default=default, kind=kind)
    return parameters


def resolve(chapter: Chapter, file: Path, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the values of all parameters, and those among them that differ from the chapter's own.

    Parameters
    ----------
    chapter
        Declares what there is.
    file
        YAML mapping of parameter to value, laid over the chapter's own; need not exist.
    overrides
        Values by name, laid over both; a dotted name reaches into a parameter that is a mapping.

    Raises
    ------
    InputError
        If a name does not exist in the chapter or a value has the wrong type; names the key, the place and the nearest
        name.
    """
    known = declared(chapter)
    values = {name: copy.deepcopy(parameter.default) for name, parameter in known.items()}
    for name, value in _read(file).items():
        if name not in known:
            raise InputError(f"{file}: unknown parameter {name!r}{nearest(name, known)}")
        known[name].check(value, str(file))
        values[name] = value
    for name, value in overrides.items():
        _set(values, name, value)
        head = name.partition(".")[0]
        known[head].check(values[head], f"--set {name}")
    return values, {name: value for name, value in values.items() if value != known[name].default}


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from None
    if not isinstance(content, dict | None):
        raise InputError(f"{file}: expected a mapping of parameter to value, found {type(content).__name__}")
    return content or {}


def _set(values: dict[str, Any], name: str, value: Any) -> None:
    """Set one value; keys must be there already, so that a misspelt one is noticed."""
    section: Any = values
    *outer, last = steps = name.split(".")
    for number, step in enumerate(steps):
        if not isinstance(section, dict):
            raise InputError(f"--set {name}: {'.'.join(outer[:number])} is not a mapping")
        if step not in section:
            what = "key" if number else "parameter"
            raise InputError(f"--set {'.'.join(steps[: number + 1])}: unknown {what}{nearest(step, section)}")
        if number < len(outer):
            section = section[step]
    section[last] = value
