"""What pydantic finds, said in one line: where, what, and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from pydantic import BaseModel, ValidationError


class ParameterError(Exception):
    """A fault with its dotted place; becomes an `InputError` once the file is known."""


def nearest(name: object, candidates: Iterable[str]) -> str:
    """``; did you mean ...? known: ...``."""
    candidates = list(candidates)
    close = difflib.get_close_matches(str(name), candidates, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} known: {', '.join(candidates)}"


# pydantic's error types -> what would have been allowed there.
_ALLOWED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "finite": "a finite number",
    "tuple": "a list",
    "list": "a list",
    "model": "a mapping",
    "dict": "a mapping",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt")}
_BOUNDS |= {"less_than_equal": ("at most", "le"), "less_than": ("below", "lt")}


def describe(error: ValidationError, model: type[BaseModel], prefix: str) -> str:
    """The first fault of a validation in one line: where, what, and what is allowed."""
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    where = ".".join([prefix, *path] if prefix else path)
    kind, context, value = first["type"], first.get("ctx", {}), repr(first["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    if kind == "extra_forbidden":
        section = model.model_fields.get(path[0]) if len(path) > 1 else None
        owner = section.annotation if section is not None else model
        fields = owner.model_fields if isinstance(owner, type) and issubclass(owner, BaseModel) else model.model_fields
        return f"{where}: unknown key{nearest(path[-1], fields)}"
    if kind == "missing":
        return f"{where}: missing; it has no default"
    if kind == "literal_error":
        return f"{where}: {value} is not possible; allowed: {context['expected']}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{where}: {value} is not possible; allowed: {words} {context[key]}"
    if kind == "too_short":
        return f"{where}: {value} is too short; allowed: {context['min_length']} entries or more"
    if kind == "value_error":
        return f"{where}: {context['error']}" if where else str(context["error"])
    return f"{where}: {value} is not {_ALLOWED.get(kind.split('_')[0], first['msg'])}"
