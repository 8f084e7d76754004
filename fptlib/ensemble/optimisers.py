"""Optimisers by name, on stacked tensors: those of `torch.optim` that treat every entry by itself, and users' own.

An elementwise rule does to a stack of runs what it would do to each run alone, except for what an optimiser keeps once for a
whole tensor: counts of steps, and products that follow from them.
"""

from __future__ import annotations

import functools
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import torch
from pydantic import Field, create_model
from torch import Tensor

from fptlib.errors import InputError
from fptlib.parameters import Integer, NonNegative, Number, Positive
from fptlib.spec import OptimiserSpec

__all__ = ["rule"]

# Python's numbers in an optimiser's state, and what they are as tensors.
NUMBERS: Final[dict[type, torch.dtype]] = {bool: torch.bool, int: torch.int64, float: torch.float64}
_OWN: Final = dict[type[OptimiserSpec], type[torch.optim.Optimizer]]()
_Class = TypeVar("_Class", bound=type[torch.optim.Optimizer])


def _class(spec: OptimiserSpec) -> type[torch.optim.Optimizer]:
    if type(spec) in _OWN:
        return _OWN[type(spec)]
    found = getattr(torch.optim, spec.TORCH, None) if spec.TORCH else None
    if not isinstance(found, type):
        raise InputError(
            f"optimiser.name: no builder for {spec.name!r}; mark its class with fptlib.ensemble.optimisers.rule"
        )
    return found


def build(spec: OptimiserSpec, parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
    """A fresh optimiser.

    Raises
    ------
    InputError
        If nobody has said which class the name stands for.
    """
    made = _class(spec)
    takes = inspect.signature(made).parameters
    options: dict[str, Any] = {name: getattr(spec, name) for name in type(spec).model_fields if name in takes}
    options |= {"foreach": True} if "foreach" in takes else {}
    return made(list(parameters), **options | {"lr": rate})


@functools.lru_cache(maxsize=64)
def shared(spec: OptimiserSpec) -> Mapping[str, type]:
    """Names of what is kept once for a tensor, with Python's type of it; found out by stepping.

    Raises
    ------
    InputError
        If the rule does not treat every entry by itself, or keeps what cannot be stored.
    """
    kept: dict[str, Any] = {}
    for shape in ((4, 3), (5,)):
        kept = _tried(spec, shape)
    return {
        name: Tensor if isinstance(value, Tensor) else type(value)
        for name, value in kept.items()
        if not isinstance(value, Tensor) or value.ndim == 0
    }


def _tried(spec: OptimiserSpec, shape: tuple[int, ...]) -> dict[str, Any]:
    """State of a stack of three tensors after some steps, which are compared with steps of each of them alone."""
    random = torch.Generator().manual_seed(0)
    stack = torch.randn(3, *shape, dtype=torch.float64, generator=random)
    single = [run.clone() for run in stack]
    whole, *each = [build(spec, [parameter], spec.lr) for parameter in (stack, *single)]
    resumed, other = whole, stack
    for step in range(4):
        gradient = torch.randn(stack.shape, dtype=torch.float64, generator=random) * 4.0**-step
        if step == 2:
            kept = {name: value for name, value in whole.state[stack].items() if value is not None}
            _check_kept(spec, kept, stack)
            other = stack.clone()
            resumed = build(spec, [other], spec.lr)
            resumed.state[other].update({n: v.clone() if isinstance(v, Tensor) else v for n, v in kept.items()})
        for parameter, part in zip((stack, other, *single), (gradient, gradient, *gradient), strict=True):
            parameter.grad = part.clone()
        for optimiser in dict.fromkeys((whole, resumed, *each)):
            optimiser.step()
    for found, what in (
        (torch.stack(single), "does not treat every entry by itself: runs in one stack come out otherwise than alone"),
        (other, "keeps something outside its state: from where it stands it does not go on as it would have"),
    ):
        if not torch.allclose(stack, found, rtol=1e-9, atol=0, equal_nan=True):
            raise InputError(
                f"optimiser.name: {spec.name} {what}; allowed: elementwise rules that keep what they need in `state`"
            )
    return {name: value for name, value in whole.state[stack].items() if value is not None}


def _check_kept(spec: OptimiserSpec, kept: Mapping[str, Any], parameter: Tensor) -> None:
    for name, value in kept.items():
        if not (value.shape in ((), parameter.shape) if isinstance(value, Tensor) else type(value) in NUMBERS):
            what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(
                f"optimiser.name: {spec.name} keeps {name!r}, {what}, which cannot be stored; allowed: tensors like the "
                "parameter, tensors without axes, numbers"
            )


# -- optimisers of one's own


def rule(name: str) -> Callable[[_Class], _Class]:
    """Make a subclass of `torch.optim.Optimizer` a kind of optimiser, in a file that the parameters name under ``uses``.

    The keywords of its constructor become the fields of the section ``optimiser``, with their defaults; a keyword without a
    default is a field that has to be given. ``lr`` must be among them, and ``weight_decay`` may be. The rule must treat every
    entry of a parameter by itself, which is tried out before training.

    Parameters
    ----------
    name
        What the parameters call it.

    Raises
    ------
    InputError
        If the class is no optimiser, its keywords cannot become fields, or the name is a built-in kind's.

    Examples
    --------
    >>> import torch
    >>> @rule("sign_descent")
    ... class Signs(torch.optim.Optimizer):
    ...     def __init__(self, params, lr: float = 0.01):
    ...         super().__init__(params, {"lr": lr})
    ...
    ...     @torch.no_grad()
    ...     def step(self):
    ...         for group in self.param_groups:
    ...             for p in group["params"]:
    ...                 p -= group["lr"] * p.grad.sign()
    >>> from fptlib.spec import override
    >>> plain = {"data": {"name": "digits"}, "model": {"name": "mlp"}}
    >>> override(plain, {"optimiser": {"name": "sign_descent"}}).optimiser.lr
    0.01
    """

    def decorate(own: _Class) -> _Class:
        if not (isinstance(own, type) and issubclass(own, torch.optim.Optimizer)):
            raise InputError(f"optimiser {name!r}: {own!r} is not a subclass of torch.optim.Optimizer")
        kind = _kind(name, own)
        _OWN[kind] = own
        # Where the class can be imported the kind can: objects go to other processes by the names of their classes.
        setattr(sys.modules[own.__module__], kind.__name__, kind)
        return own

    return decorate


# Keywords that say how PyTorch computes, not what.
HOW: Final = frozenset({"foreach", "maximize", "capturable", "differentiable", "fused"})


def _kind(name: str, own: type[torch.optim.Optimizer]) -> type[OptimiserSpec]:
    """The section of the parameters that an optimiser's constructor asks for."""
    where = f"optimiser {name!r}"
    hints = typing.get_type_hints(own.__init__)
    fields: dict[str, Any] = {"name": (Literal[name], name)}
    for key, keyword in list(inspect.signature(own).parameters.items())[1:]:
        if key in HOW:
            continue
        if keyword.kind not in (keyword.KEYWORD_ONLY, keyword.POSITIONAL_OR_KEYWORD):
            raise InputError(f"{where}: its constructor takes {keyword}; allowed: keywords by name")
        if key.startswith("_") or key in {"name", "schedule"}:
            raise InputError(f"{where}: no field can be called {key!r}; another name for that keyword is needed")
        fields[key] = (_type(where, key, hints.get(key), keyword.default), _default(keyword.default))
    if "lr" not in fields:
        raise InputError(f"{where}: its constructor takes no lr; a learning rate is needed")
    if "weight_decay" not in fields:
        fields["weight_decay"] = (typing.Annotated[NonNegative, Field(le=0)], 0.0)
    made: type[OptimiserSpec] = create_model(
        f"{own.__name__}Spec", __base__=OptimiserSpec, __doc__=own.__doc__, __module__=own.__module__, **fields
    )
    return made


def _default(value: Any) -> Any:
    return ... if value is inspect.Parameter.empty else tuple(value) if isinstance(value, list) else value


def _type(where: str, key: str, hint: Any, default: Any) -> Any:
    """Type of a field: of what is said of a keyword, else of its default."""
    if key in {"lr", "weight_decay"}:
        return Positive if key == "lr" else NonNegative
    plain = {bool: bool, int: Integer, float: Number, str: str}
    if hint in plain:
        return plain[hint]
    if typing.get_origin(hint) is Literal:
        return hint
    if isinstance(default, tuple | list) and default and all(type(item) in (int, float) for item in default):
        return tuple[(Number,) * len(default)]  # type: ignore[misc]
    if type(default) in plain:
        # Without a word a whole number may stand for any: weight_decay=0.
        return Number if type(default) is int else plain[type(default)]
    raise InputError(
        f"{where}: {key} = {default!r} says no type that the parameters have; allowed: bool, int, float, str, a Literal, or a "
        "tuple of numbers as default"
    )
