"""The interface of perturbations: a frozen dataclass whose fields are parameters, and ``apply(state, context) -> state``."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from fptlib.errors import InputError
from fptlib.parameters import register

if TYPE_CHECKING:  # stores are read without torch
    from torch import Tensor

Repeat = Literal["periodic", "once"]
TIMING: Final = ("repeat", "period", "fresh_optimiser")
Need = Literal["best", "output_layer"]


@dataclass(frozen=True, slots=True)
class State:
    """All that training carries from one step to the next, of all runs.

    Parameters
    ----------
    parameters, buffers
        Name to tensor ``(runs, ...)``.
    optimiser
        The optimiser's state as PyTorch's ``state_dict()["state"]`` has it: empty for a fresh one.
    momentum
        SGD's momentum, where it is no longer the one that training began with; else ``None``.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimiser: Mapping[Any, Any]
    learning_rate: float
    momentum: float | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """Resources that a perturbation may draw on.

    Parameters
    ----------
    fresh
        Draws the parameters and buffers of a fresh initialisation; each call gives the same.
    generators
        Source of randomness of each run.
    best, output_layer
        The state after the epoch with the best validation metric so far, and the name of the layer that gives the network's outputs,
        where they are known.
    pairs
        Names of complex parameters, whose last axis is real and imaginary part.
    """

    fresh: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
    generators: Sequence[np.random.Generator]
    best: State | None = None
    output_layer: str | None = None
    pairs: frozenset[str] = frozenset()


class Perturbation(ABC):
    """One way to change a network in training.

    ``fresh_optimiser`` says whether the optimiser starts anew as well where nobody decides otherwise; ``needs`` names what
    `apply` takes from the context beyond ``fresh`` and ``generators``.
    """

    __slots__ = ()
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)
    name: ClassVar[str] = ""
    fresh_optimiser: ClassVar[bool] = True
    needs: ClassVar[frozenset[Need]] = frozenset()

    def timed(self, period: int, repeat: Repeat) -> Self:
        """Return the perturbation as it acts with this timing; a ``ValueError`` says that the two are not possible together."""
        return self

    def rate(self, since: int) -> float:
        """Return the factor on the learning rate in the epoch that is ``since`` (1, 2, ...) epochs after the last perturbation."""
        return 1.0

    @abstractmethod
    def apply(self, state: State, context: Context) -> State:
        """Return the state after the perturbation; the given one is left as it is."""


_Class = TypeVar("_Class", bound=type[Perturbation])


def rule(name: str) -> Callable[[_Class], _Class]:
    """Register a frozen dataclass derived from `Perturbation` as a kind of perturbation; your own stands in a file named under ``uses``.

    Its fields become those of the section ``perturbation``, with their types and defaults, beside ``repeat``, ``period`` and
    ``fresh_optimiser``, whose default is the class's own. A ``ValueError`` that the class raises when it is made is reported as
    an error of the section. An InputError says that the class is no frozen dataclass derived from `Perturbation`, lacks
    ``apply``, needs what no training can give, has a field that cannot be a parameter, or the name is built in.

    >>> from dataclasses import dataclass, replace
    >>> from fptlib.perturbations import Perturbation, State, rule, schedule
    >>> @rule("double")
    ... @dataclass(frozen=True)
    ... class Double(Perturbation):
    ...     factor: float = 2.0
    ...
    ...     def apply(self, state, context):
    ...         return replace(state, parameters={n: self.factor * v for n, v in state.parameters.items()})
    >>> schedule({"name": "double", "period": 20}).rule
    Double(factor=2.0)
    """

    def decorate(own: _Class) -> _Class:
        _check(name, own)
        own.name = name
        register("perturbation", name, own)
        return own

    return decorate


def _check(name: str, own: Any) -> None:
    """Refuse a class that cannot be a section of the parameters."""
    where = f"perturbation {name!r}"
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
    for field in dataclasses.fields(own):  # type: ignore[arg-type]
        if field.name in TIMING or field.name == "name" or field.name.startswith("_"):
            raise InputError(f"{where}: no field of its own can be called {field.name!r}; another name is needed")
    try:
        TypeAdapter(own)
    except (PydanticSchemaGenerationError, PydanticUserError, NameError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{where}: a field has a type that the parameters do not have ({reason}); allowed: float, int, bool, str, a "
            "Literal, or a tuple of them"
        ) from None
