"""Optimisers by name, on stacked tensors: those of `torch.optim` that treat every entry by itself, and users' own.

An elementwise rule does to a stack of runs what it would do to each run alone, except for what an optimiser keeps once for a
whole tensor: counts of steps, and products that follow from them.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeVar

import torch
from pydantic import create_model
from torch import Tensor

from fptlib.errors import InputError
from fptlib.parameters import Positive, kinds_of, nearest
from fptlib.spec.optimisers import OptimiserSpec, TorchSpec, check_options

__all__ = ["rule"]

# Python's numbers in an optimiser's state, and what they are as tensors.
NUMBERS: Final[dict[type, torch.dtype]] = {bool: torch.bool, int: torch.int64, float: torch.float64}
# Keywords that say how PyTorch computes, not what.
_HOW: Final = ("params", "lr", "foreach", "maximize", "capturable", "differentiable", "fused")
# What the built-in kinds keep once for a tensor.
_SHARED: Final[dict[str, Mapping[str, type]]] = {"sgd": {}, "adam": {"step": Tensor}, "adamw": {"step": Tensor}}
_Class = TypeVar("_Class", bound=type[torch.optim.Optimizer])


def _class(spec: OptimiserSpec) -> type[torch.optim.Optimizer]:
    if isinstance(spec, TorchSpec) and spec.OWN is not None:
        return spec.OWN  # type: ignore[no-any-return]
    name = spec.TORCH or spec.name
    classes = {n: kind for n, kind in vars(torch.optim).items() if isinstance(kind, type)}
    if name not in classes:
        names = [*kinds_of("optimiser"), *classes]
        raise InputError(f"optimiser.name: unknown optimiser {name!r}{nearest(name, names)}")
    return classes[name]


def _keywords(made: type[torch.optim.Optimizer]) -> list[str]:
    return [name for name in inspect.signature(made).parameters if name not in _HOW]


def build(spec: OptimiserSpec, parameters: Sequence[Tensor], rate: float) -> torch.optim.Optimizer:
    """Return a fresh optimiser; an InputError says that `torch.optim` has no such class, or that it does not take the options."""
    made: Any = _class(spec)
    keywords = _keywords(made)
    check_options(spec, keywords)
    options = {name: getattr(spec, name) for name in type(spec).model_fields if name in keywords} | (
        spec.model_extra or {}
    )
    if "foreach" in inspect.signature(made).parameters:
        options["foreach"] = True
    try:
        return made(list(parameters), lr=rate, **options)  # type: ignore[no-any-return]
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"optimiser: {spec.name}: {_line(error)}; its options: {', '.join(keywords)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@functools.lru_cache(maxsize=64)
def shared(spec: OptimiserSpec) -> Mapping[str, type]:
    """Return the names of what is kept once for a tensor, with Python's type of it; found by stepping a class that is not built in.

    An InputError says that the class does not treat every entry by itself, or keeps what cannot be stored.
    """
    if spec.name in _SHARED:
        return _SHARED[spec.name]
    try:
        _tried(spec, (4, 3))
        kept = _tried(spec, (5,))
    except InputError:
        raise
    except Exception as error:  # whatever somebody's class raises
        raise InputError(f"optimiser.name: {spec.name} cannot train stacked runs: {_line(error)}") from None
    return {
        name: Tensor if isinstance(value, Tensor) else type(value)
        for name, value in kept.items()
        if not isinstance(value, Tensor) or value.ndim == 0
    }


def _tried(spec: OptimiserSpec, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the state of a stack of three tensors after some steps, compared with steps of each of them alone."""
    random = torch.Generator().manual_seed(0)
    stack = torch.randn(3, *shape, dtype=torch.float64, generator=random)
    single = [run.clone() for run in stack]
    stacked, *each = [build(spec, [parameter], spec.lr) for parameter in (stack, *single)]
    resumed, other = stacked, stack
    for step in range(4):
        gradient = torch.randn(stack.shape, dtype=torch.float64, generator=random) * 4.0**-step
        if step == 2:
            kept, other = _kept(spec, stacked, stack), stack.clone()
            resumed = build(spec, [other], spec.lr)
            resumed.state[other].update({n: v.clone() if isinstance(v, Tensor) else v for n, v in kept.items()})
        for parameter, part in zip((stack, other, *single), (gradient, gradient, *gradient), strict=True):
            parameter.grad = part.clone()
        for optimiser in dict.fromkeys((stacked, resumed, *each)):
            optimiser.step()
    for result, what in (
        (torch.stack(single), "does not treat every entry by itself: runs in one stack come out otherwise than alone"),
        (other, "keeps something outside its state: from where it stands it does not go on as it would have"),
    ):
        if not torch.allclose(stack, result, rtol=1e-9, atol=0, equal_nan=True):
            raise InputError(
                f"optimiser.name: {spec.name} {what}; allowed: elementwise rules that keep what they need in `state`"
            )
    return _kept(spec, stacked, stack)


def _kept(spec: OptimiserSpec, optimiser: torch.optim.Optimizer, parameter: Tensor) -> dict[str, Any]:
    """Return what an optimiser keeps for a tensor, all of which can be stored."""
    kept = {name: value for name, value in optimiser.state[parameter].items() if value is not None}
    for name, value in kept.items():
        if not (value.shape in ((), parameter.shape) if isinstance(value, Tensor) else type(value) in NUMBERS):
            what = f"of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(
                f"optimiser.name: {spec.name} keeps {name!r}, {what}, which cannot be stored; allowed: tensors like the "
                "parameter, tensors without axes, numbers"
            )
    return kept


def rule(name: str) -> Callable[[_Class], _Class]:
    """Register a subclass of `torch.optim.Optimizer` as a kind of optimiser, in a file that the parameters name under ``uses``.

    The keywords of its constructor are the options of the section ``optimiser``; ``lr`` must be among them, and
    ``weight_decay`` may be. The class must treat every entry of a parameter by itself, which is tried out before training.
    `examples/diffgrad.py` is one. An InputError says that the class is no optimiser, its constructor takes no ``lr``, or the name is
    a built-in kind's.
    """

    def decorate(own: _Class) -> _Class:
        if not (isinstance(own, type) and issubclass(own, torch.optim.Optimizer)):
            raise InputError(f"optimiser {name!r}: {own!r} is not a subclass of torch.optim.Optimizer")
        rate = inspect.signature(own).parameters.get("lr")
        if rate is None:
            raise InputError(f"optimiser {name!r}: its constructor takes no lr; a learning rate is needed")
        fields: dict[str, Any] = {
            "name": (Literal[name], name),
            "lr": (Positive, ... if rate.default is inspect.Parameter.empty else rate.default),
        }
        kind = create_model(
            f"{own.__name__}Spec", __base__=TorchSpec, __doc__=own.__doc__, __module__=own.__module__, **fields
        )
        kind.OWN, kind.KEYWORDS = own, tuple(_keywords(own))
        # Where the class can be imported the kind can: objects go to other processes by the names of their classes.
        setattr(sys.modules[own.__module__], kind.__name__, kind)
        return own

    return decorate
