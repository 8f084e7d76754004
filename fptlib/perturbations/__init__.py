"""Perturbations of networks in training, as values: ``apply(state, context) -> state``.

Every tensor has a leading axis of runs; one network is the case of one run. A rule is a frozen dataclass that is its own
section of the parameters: `rule` makes it known by a name, one of your own as those of the library in
`fptlib.perturbations.weights` and `fptlib.perturbations.rates`.
"""

from __future__ import annotations

from fptlib.perturbations.base import Context, Perturbation, State, rule
from fptlib.perturbations.rates import RateBump, RateDrop
from fptlib.perturbations.schedules import Schedule, schedule
from fptlib.perturbations.weights import FullReset, PartialReset, ShrinkPerturb

__all__ = [
    "Context",
    "FullReset",
    "PartialReset",
    "Perturbation",
    "RateBump",
    "RateDrop",
    "Schedule",
    "ShrinkPerturb",
    "State",
    "rule",
    "schedule",
]
