"""Building blocks of parameters: checked numbers, closed sections, kinds known by name, and faults described in one line."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Final, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from fptlib.errors import InputError, meant

# Runs, epochs, units and the like: far beyond what can be trained, and far below what overflows.
LARGEST: Final = 1_000_000
_Any = TypeVar("_Any")

# -- numbers


def _integer(value: object) -> object:
    """Whole numbers however they are written (5, 5.0, numpy's), never truth values."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool | np.bool_ | str | float):
        raise PydanticCustomError("allowed", "a whole number")
    return operator.index(value) if isinstance(value, np.integer) else value


def _number(value: object) -> object:
    """Finite numbers; text such as ``1e-3``, which YAML 1.1 does not take for a number, is read as one."""
    if isinstance(value, bool | np.bool_):
        raise PydanticCustomError("allowed", "a number")
    try:
        return float(value) if isinstance(value, str | int | np.integer | np.floating) else value
    except (ValueError, OverflowError):
        raise PydanticCustomError("allowed", "a number") from None


Integer = Annotated[int, BeforeValidator(_integer), Field(ge=-LARGEST, le=LARGEST)]
PositiveInteger = Annotated[int, BeforeValidator(_integer), Field(ge=1, le=LARGEST)]
NaturalNumber = Annotated[int, BeforeValidator(_integer), Field(ge=0, le=LARGEST)]
# numpy's seed sequences take any non-negative integer; 64 bits keep the seed portable in JSON and Parquet.
Seed = Annotated[int, BeforeValidator(_integer), Field(ge=0, lt=2**63)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Below1 = Annotated[Number, Field(ge=0, lt=1)]


def optional(default: Any) -> Any:
    """Make a field that is written down, and counts in a digest, only where it differs from its default.

    For keys whose default is what always was: parameters that do not name them are the same parameters as before.
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default))


# -- sections


class Part(BaseModel):
    """One section of the parameters: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class Kind(Part):
    """A section of which there are several kinds; a subclass whose ``name`` has a default is known by it from then on.

    Defined in a module that can be imported (not in a notebook's cell), a kind of your own trains in several processes.
    """

    SECTION: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        """Make the kind known."""
        field = cls.model_fields.get("name")
        if field is not None and isinstance(field.default, str):
            register(cls.SECTION, field.default, cls)


_SECTIONS = ("data", "model", "optimiser", "optimiser.schedule", "perturbation")
_KINDS: Final[dict[str, dict[str, type]]] = {section: {} for section in _SECTIONS}
_collecting: Final[list[dict[tuple[str, str], type]]] = []


def register(section: str, name: str, kind: type) -> None:
    """Make a kind known by its name; an InputError if it is the name of a built-in kind."""
    built_in = name in _KINDS[section] and _KINDS[section][name].__module__.startswith("fptlib.")
    if built_in and not kind.__module__.startswith("fptlib."):
        raise InputError(f"{section} {name!r} is built in; another name is needed")
    if _collecting:
        _collecting[-1][section, name] = kind
    else:
        _KINDS[section][name] = kind


@contextmanager
def collected() -> Iterator[dict[tuple[str, str], type]]:
    """Collect the kinds registered meanwhile, by section and name; they become known nowhere else."""
    kinds: dict[tuple[str, str], type] = {}
    _collecting.append(kinds)
    try:
        yield kinds
    finally:
        _collecting.pop()


def kinds_of(section: str) -> Mapping[str, type]:
    """Return the kinds of a section by name.

    >>> import fptlib.spec
    >>> {"full_reset", "shrink_perturb"} <= set(kinds_of("perturbation"))
    True
    """
    return _KINDS[section]


def chosen(section: str, value: object, more: Mapping[str, type] | None = None, hint: str = "") -> type:
    """Return the kind that a section names, of those known and ``more``; ``hint`` ends the message if it is none."""
    kinds = {**_KINDS[section], **(more or {})}
    names = sorted(kinds)
    if not isinstance(value, Mapping):
        raise InputError(f"{section}: {value!r} is not a mapping; allowed: name: {'|'.join(names)}, ...")
    if "name" not in value:
        raise InputError(f"{section}.name: missing; allowed: {', '.join(names)}")
    name = value["name"]
    if not isinstance(name, str) or name not in kinds:
        raise InputError(f"{section}.name: unknown {section.rpartition('.')[2]} {name!r}{nearest(name, names)}{hint}")
    return kinds[name]


def read_kind(base: type[Kind], value: object, more: Mapping[str, type] | None = None, hint: str = "") -> Any:
    """Return the section that a mapping describes, of the kind that it names; a section is returned as it is."""
    if isinstance(value, base):
        return value
    kind = chosen(base.SECTION, value, more, hint)
    assert isinstance(value, Mapping)
    return build(kind, value, base.SECTION)


def build(kind: type[_Any], values: Mapping[str, Any], where: str, keys: Iterable[str] = ()) -> _Any:
    """Make a section, or a dataclass, of checked values; an InputError names key, value and what is allowed.

    Messages take the dotted name of the section from ``where``, and from ``keys`` others that are allowed beside these
    values.
    """
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        raise InputError(describe(error, kind, where, keys)) from None


# -- faults


def nearest(name: object, candidates: Iterable[str]) -> str:
    """Return ``; did you mean ...? known: ...``."""
    candidates = list(candidates)
    return f"{meant(str(name), candidates, cutoff=0.5) or ';'} known: {', '.join(candidates)}"


# pydantic's error types -> what would have been allowed there.
_ALLOWED = {"int": "a whole number", "float": "a number", "finite": "a finite number", "bool": "true or false"}
_ALLOWED |= {"string": "text", "tuple": "a list", "list": "a list", "model": "a mapping", "dict": "a mapping"}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt")}
_BOUNDS |= {"less_than_equal": ("at most", "le"), "less_than": ("below", "lt")}


def describe(error: ValidationError, kind: type, prefix: str, keys: Iterable[str] = ()) -> str:
    """Return the first fault of a validation in one line: where, what, and what is allowed."""
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    where = ".".join([prefix, *path] if prefix else path)
    what, context = first["type"], first.get("ctx", {})
    if isinstance(context.get("error"), InputError):  # described already, with its place
        return str(context["error"])
    value = _shown(first["input"])
    if what in ("extra_forbidden", "unexpected_keyword_argument"):
        section = _fields(kind).get(path[0]) if len(path) > 1 else None
        fields = (section and _fields(section)) or _fields(kind)
        return f"{where}: unknown key{nearest(path[-1], [*keys, *fields])}"
    if what == "missing":
        return f"{where}: missing; it has no default"
    if what == "literal_error":
        return f"{where}: {value} is not possible; allowed: {context['expected']}"
    if what in _BOUNDS:
        words, key = _BOUNDS[what]
        return f"{where}: {value} is not possible; allowed: {words} {context[key]}"
    if what == "too_short":
        return f"{where}: {value} is too short; allowed: {context['min_length']} entries or more"
    if what == "value_error":
        return f"{where}: {context['error']}" if where else str(context["error"])
    return f"{where}: {value} is not {_ALLOWED.get(what.split('_')[0], first['msg'])}"


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python writes no whole number of more than some thousand digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else text[:57] + "..."


def _fields(kind: Any) -> dict[str, Any]:
    """Return the fields of a section or dataclass, with their types."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return {field.name: field.type for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
