"""Kinds of perturbations."""

from __future__ import annotations

from typing import Literal

from fptlib.spec.values import Fraction, Number, Part, PositiveInteger


class PerturbationSpec(Part):
    """What every perturbation has: a name and a schedule.

    ``period`` in epochs: it acts right after the evaluation at epochs ``period``, ``2 * period``, ... (``repeat:
    periodic``) or at ``period`` only (``once``). ``fresh_optimiser`` clears the optimiser's state (momenta) as well.
    """

    name: str
    period: PositiveInteger
    repeat: Literal["periodic", "once"] = "periodic"
    fresh_optimiser: bool = True


class ShrinkPerturbSpec(PerturbationSpec):
    """``shrink`` times the weights plus ``perturb`` times fresh ones.

    ``scope: parameters`` is what is trained; ``state`` includes all buffers, such as BatchNorm's running averages.
    """

    name: Literal["shrink_perturb"] = "shrink_perturb"
    # The pair used in arXiv:2502.04121.
    shrink: Number = 0.4
    perturb: Number = 0.1
    scope: Literal["parameters", "state"] = "parameters"


class FullResetSpec(PerturbationSpec):
    """Everything that was learnt is drawn afresh."""

    name: Literal["full_reset"] = "full_reset"


class PartialResetSpec(PerturbationSpec):
    """The weights whose magnitude is below the ``quantile`` of all of a run's weights are redrawn."""

    name: Literal["partial_reset"] = "partial_reset"
    quantile: Fraction
    fan_in: Literal["published", "true"] = "published"
    # arXiv:2502.04121 keeps the momenta here, other than after shrink-and-perturb.
    fresh_optimiser: bool = False
