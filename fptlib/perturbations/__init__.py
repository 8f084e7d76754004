"""What is done to a network in training, as values: ``apply(state, context) -> state``.

Every tensor has a leading axis of runs; one network is the case of one run. `CATALOGUE` lists what comes with the library;
`rule` makes a class of one's own known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fptlib.errors import InputError
from fptlib.perturbations import own
from fptlib.perturbations.base import Context, Perturbation, State
from fptlib.perturbations.catalogue import CATALOGUE, Entry, page
from fptlib.perturbations.directions import Dash
from fptlib.perturbations.layers import DormantReset, LastLayerReset
from fptlib.perturbations.own import rule
from fptlib.perturbations.rates import RateBump, WarmRestart
from fptlib.perturbations.schedule import Schedule
from fptlib.perturbations.weights import FullReset, PartialReset, RestartFromBest, ShrinkPerturb, WeightNoise
from fptlib.spec import PerturbationSpec

__all__ = [
    "CATALOGUE",
    "Context",
    "Dash",
    "DormantReset",
    "Entry",
    "FullReset",
    "LastLayerReset",
    "PartialReset",
    "Perturbation",
    "RateBump",
    "RestartFromBest",
    "Schedule",
    "ShrinkPerturb",
    "State",
    "WarmRestart",
    "WeightNoise",
    "build",
    "page",
    "register",
    "rule",
]

_BUILDERS: dict[str, Callable[[Any], Perturbation]] = {name: entry.build for name, entry in CATALOGUE.items()}


def register(name: str, builder: Callable[[Any], Perturbation]) -> None:
    """Make a kind of perturbation known: called with the section ``perturbation``, it returns the value.

    `rule` does this and the section in one step.
    """
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
    builder = own.build if type(spec) in own.OWN else _BUILDERS.get(spec.name)
    if builder is None:
        raise InputError(f"perturbation.name: no builder for {spec.name!r}; known: {', '.join(sorted(_BUILDERS))}")
    return Schedule(
        perturbation=builder(spec),
        period=spec.period,
        repeat=spec.repeat,
        fresh_optimiser=spec.fresh_optimiser,
    )
