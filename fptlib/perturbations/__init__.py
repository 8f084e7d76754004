"""What is done to a network in training, as values: ``apply(state, context) -> state``.

Every tensor has a leading axis of runs; one network is the case of one run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fptlib.errors import InputError
from fptlib.perturbations.base import Context, Perturbation, State
from fptlib.perturbations.schedule import Schedule
from fptlib.perturbations.weights import FullReset, PartialReset, ShrinkPerturb
from fptlib.spec import FullResetSpec, PartialResetSpec, PerturbationSpec, ShrinkPerturbSpec

__all__ = [
    "Context",
    "FullReset",
    "PartialReset",
    "Perturbation",
    "Schedule",
    "ShrinkPerturb",
    "State",
    "build",
    "register",
]

_BUILDERS: dict[str, Callable[[Any], Perturbation]] = {}


def register(name: str, builder: Callable[[Any], Perturbation]) -> None:
    """Make a kind of perturbation known: called with the section ``perturbation``, it returns the value."""
    _BUILDERS[name] = builder


def build(spec: PerturbationSpec | None) -> Schedule | None:
    """The perturbation that a specification names, with its schedule.

    Raises
    ------
    InputError
        If no builder is known for the name.
    """
    if spec is None:
        return None
    if spec.name not in _BUILDERS:
        raise InputError(f"perturbation.name: no builder for {spec.name!r}; known: {', '.join(sorted(_BUILDERS))}")
    return Schedule(
        perturbation=_BUILDERS[spec.name](spec),
        period=spec.period,
        repeat=spec.repeat,
        fresh_optimiser=spec.fresh_optimiser,
    )


def _shrink_perturb(spec: ShrinkPerturbSpec) -> ShrinkPerturb:
    return ShrinkPerturb(shrink=spec.shrink, perturb=spec.perturb, scope=spec.scope)


def _full_reset(_spec: FullResetSpec) -> FullReset:
    return FullReset()


def _partial_reset(spec: PartialResetSpec) -> PartialReset:
    return PartialReset(quantile=spec.quantile, fan_in=spec.fan_in)


register("shrink_perturb", _shrink_perturb)
register("full_reset", _full_reset)
register("partial_reset", _partial_reset)
