"""Parameters of a chapter: declared in its parameter cell, set by a profile's file, changed by ``--set``."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from companion.book.project import Chapter, nearest
from fptlib.errors import InputError
from fptlib.spec.faults import ParameterError
from fptlib.spec.written import parse

_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "list": (list,),
    "dict": (dict,),
    "None": (type(None),),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One assignment of a parameter cell.

    Parameters
    ----------
    name, default
        As written.
    kinds
        Names of the types allowed, from the annotation or else from the default; empty for any.
    """

    name: str
    default: Any
    kinds: tuple[str, ...]

    def check(self, value: Any, where: str) -> None:
        """Refuse a value of another type.

        Raises
        ------
        InputError
            Naming the parameter, the value and the types allowed.
        """
        allowed = tuple(kind for name in self.kinds for kind in _TYPES[name])
        # bool is a subclass of int, but "yes" for a number of runs is a mistake.
        wrong = not isinstance(value, allowed) or (isinstance(value, bool) and "bool" not in self.kinds)
        if allowed and wrong:
            raise InputError(f"{where}: {self.name} = {value!r} is not of type {' or '.join(self.kinds)}")


def declared(chapter: Chapter) -> dict[str, Parameter]:
    """Parameters that a chapter declares, in order.

    Raises
    ------
    InputError
        If the cell holds anything but assignments of literal values, or there are several such cells.
    """
    cells = [cell for cell in chapter.code if "parameters" in cell.metadata.get("tags", [])]
    if not cells:
        return {}
    if len(cells) > 1:
        raise InputError(f"{chapter.path}: {len(cells)} cells are tagged parameters; one is allowed")
    found = {}
    try:
        body = ast.parse(cells[0].source).body
    except SyntaxError as error:
        raise InputError(f"{chapter.path}: parameter cell: line {error.lineno}: {error.msg}") from None
    for statement in body:
        target = statement.targets[0] if isinstance(statement, ast.Assign) else getattr(statement, "target", None)
        value = getattr(statement, "value", None)
        try:
            if not isinstance(target, ast.Name) or value is None:
                raise ValueError
            default = ast.literal_eval(value)
        except ValueError:
            text = ast.unparse(statement)
            raise InputError(f"{chapter.path}: parameter cell: {text!r} is not NAME = a literal value") from None
        annotation = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else None
        found[target.id] = Parameter(name=target.id, default=default, kinds=_kinds(annotation, default))
    return found


def resolve(chapter: Chapter, file: Path, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Values of all parameters: the chapter's own, then those of the file, then the overrides.

    Parameters
    ----------
    chapter
        Declares what there is.
    file
        YAML mapping of parameter to value; need not exist.
    overrides
        Values by name; a dotted name reaches into a parameter that is a mapping.

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
            raise InputError(
                f"{file}: unknown parameter {name!r}{nearest(str(name), known)}; {_listed(chapter, known)}"
            )
        known[name].check(value, str(file))
        values[name] = value
    for name, value in overrides.items():
        head, *rest = str(name).split(".")
        if head not in known:
            raise InputError(f"--set {name}: unknown parameter{nearest(head, known)}; {_listed(chapter, known)}")
        if rest:
            _set_inside(values[head], head, rest, value)
        else:
            known[head].check(value, f"--set {name}")
            values[head] = value
    return values


def parse_overrides(pairs: Iterable[str] | Mapping[str, Any]) -> dict[str, Any]:
    """Values of ``--set``: texts ``key=value``, or a mapping; whatever is text is read as YAML.

    Examples
    --------
    >>> parse_overrides(["n_runs=64", "periods=[10, 20]", "ensemble.lr=0.1"])
    {'n_runs': 64, 'periods': [10, 20], 'ensemble.lr': 0.1}

    Raises
    ------
    InputError
        If a pair has no key, no equals sign, or a value that is not YAML.
    """
    if isinstance(pairs, Mapping):
        return {key: _value(key, text) if isinstance(text, str) else text for key, text in pairs.items()}
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {pair}: expected key=value")
        values[key.strip()] = _value(key, text)
    return values


def _value(key: str, text: str) -> Any:
    try:
        return parse(text)
    except ParameterError:
        raise InputError(f"--set {key}={text}: the value is not valid YAML") from None


def _read(file: Path) -> dict[str, Any]:
    if not file.exists():
        return {}
    try:
        content = parse(file.read_text(encoding="utf-8"))
    except (ParameterError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(f"{file}: expected a mapping of parameter to value, found {type(content).__name__}")
    return content


def _set_inside(value: Any, path: str, rest: list[str], new: Any) -> None:
    """Set ``rest`` inside a nested mapping; keys must be there already, so that a misspelt one is noticed."""
    key = rest[0]
    if not isinstance(value, dict):
        raise InputError(f"--set {path}.{'.'.join(rest)}: {path} is not a mapping")
    if key not in value:
        raise InputError(
            f"--set {path}.{key}: unknown key{nearest(key, value)}; {path} has {', '.join(map(str, value))}"
        )
    if len(rest) > 1:
        _set_inside(value[key], f"{path}.{key}", rest[1:], new)
    else:
        value[key] = new


def _kinds(annotation: str | None, default: Any) -> tuple[str, ...]:
    """Types allowed, by name; anything that is not understood allows everything."""
    if annotation is None:
        return () if default is None else (type(default).__name__,) if type(default).__name__ in _TYPES else ()
    names = tuple(part.strip().partition("[")[0] for part in annotation.split("|"))
    return names if all(name in _TYPES for name in names) else ()


def _listed(chapter: Chapter, known: Mapping[str, Parameter]) -> str:
    return f"{chapter.name} has {', '.join(known) or 'no parameters'}"
