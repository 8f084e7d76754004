"""Perturbations of one's own, in one step: a decorated class is a value and a section of the parameters."""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any, Final, Literal, TypeVar

from pydantic import create_model, model_validator

from fptlib.errors import InputError
from fptlib.perturbations.base import Perturbation
from fptlib.perturbations.needs import Need
from fptlib.spec import PerturbationSpec, register
from fptlib.spec.values import Integer, Number

OWN: Final[dict[type[PerturbationSpec], type[Perturbation]]] = {}
_Class = TypeVar("_Class", bound=type[Perturbation])
# As sections of parameters have them: finite, never truth values, and 1e-3 is a number.
_TYPES: Final[dict[Any, Any]] = {float: Number, int: Integer, bool: bool, str: str}


def rule(name: str) -> Callable[[_Class], _Class]:
    """Make a frozen dataclass derived from `Perturbation` a kind of perturbation, in a file named under ``uses``.

    Its fields become those of the section ``perturbation``, with their types and defaults, beside ``repeat``, ``period`` and
    ``fresh_optimiser``, whose default is the class's own. A ``ValueError`` that the class raises when it is
    made is told as an error of the section.

    Parameters
    ----------
    name
        What the parameters call it.

    Raises
    ------
    InputError
        If the class is no frozen dataclass derived from `Perturbation`, lacks ``apply``, needs what no training can give, has a
        field that cannot be one of the parameters, or the name is a built-in kind's.

    Examples
    --------
    >>> from dataclasses import dataclass, replace
    >>> from fptlib.perturbations import Perturbation, State, rule
    >>> from fptlib.spec import perturbation_section
    >>> @rule("double")
    ... @dataclass(frozen=True)
    ... class Double(Perturbation):
    ...     factor: float = 2.0
    ...
    ...     def apply(self, state, context):
    ...         return replace(state, parameters={n: self.factor * v for n, v in state.parameters.items()})
    >>> perturbation_section({"name": "double", "period": 20}).factor
    2.0
    """

    def decorate(own: _Class) -> _Class:
        kind = _kind(name, own)
        register("perturbation", kind)
        OWN[kind] = own
        # Where the class can be imported the kind can: objects go to other processes by the names of their classes.
        setattr(sys.modules[own.__module__], kind.__name__, kind)
        return own

    return decorate


def _kind(name: Any, own: Any) -> type[PerturbationSpec]:
    """The section of the parameters that a perturbation's fields ask for."""
    where = f"perturbation {name!r}"
    if not (isinstance(name, str) and name):
        raise InputError(f"perturbation: {name!r} is no name; write it as in @rule('sign_flip')")
    if not (isinstance(own, type) and issubclass(own, Perturbation)):
        raise InputError(f"{where}: {own!r} is not a class derived from fptlib.perturbations.Perturbation")
    # Of the class itself: what a dataclass hands on to its subclasses says nothing of their fields.
    if not getattr(vars(own).get("__dataclass_params__"), "frozen", False):
        raise InputError(f"{where}: {own.__name__} is no frozen dataclass; write @dataclass(frozen=True) below @rule")
    if inspect.isabstract(own):
        raise InputError(f"{where}: {own.__name__} has no method apply(self, state, context)")
    unknown = set(own.needs) - set(typing.get_args(Need))
    if unknown:
        raise InputError(
            f"{where}: needs {', '.join(map(repr, sorted(unknown)))}, which no training gives; "
            f"allowed: {', '.join(typing.get_args(Need))}"
        )
    hints = typing.get_type_hints(own)
    fields: dict[str, Any] = {"name": (Literal[name], name), "fresh_optimiser": (bool, own.fresh_optimiser)}
    for field in _fields(own):
        if field.name in PerturbationSpec.model_fields or field.name.startswith("_"):
            raise InputError(f"{where}: no field of its own can be called {field.name!r}; another name is needed")
        fields[field.name] = (_type(where, field.name, hints[field.name]), _default(field))

    def possible(spec: Any) -> Any:
        _made(own, spec)
        return spec

    made: type[PerturbationSpec] = create_model(
        f"{own.__name__}Spec",
        __base__=PerturbationSpec,
        __doc__=own.__doc__,
        __module__=own.__module__,
        __validators__={"possible": model_validator(mode="after")(possible)},  # type: ignore[dict-item]
        **fields,
    )
    made.VALIDATED = "best" in own.needs
    return made


def _made(own: type[Perturbation], spec: PerturbationSpec) -> Perturbation:
    return own(**{field.name: getattr(spec, field.name) for field in _fields(own)})


def _fields(own: Any) -> list[dataclasses.Field[Any]]:
    """What the class takes when it is made."""
    return [field for field in dataclasses.fields(own) if field.init]


def build(spec: PerturbationSpec) -> Perturbation:
    """The perturbation of one's own that a section describes."""
    return _made(OWN[type(spec)], spec)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return ... if field.default is dataclasses.MISSING else field.default


def _type(where: str, name: str, hint: Any) -> Any:
    """Type of a field, as sections of the parameters have it."""
    if hint in _TYPES:
        return _TYPES[hint]
    if typing.get_origin(hint) is Literal:
        return hint
    if typing.get_origin(hint) is tuple:
        parts = [part if part is ... else _type(where, name, part) for part in typing.get_args(hint)]
        return tuple[tuple(parts)]  # type: ignore[misc]
    raise InputError(
        f"{where}: {name} has the type {hint}, which the parameters do not have; allowed: float, int, bool, str, a Literal, "
        "or a tuple of them"
    )
