"""Kinds of perturbations."""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self

from pydantic import model_validator

from fptlib.spec.values import Fraction, NonNegative, Number, Part, Positive, PositiveInteger


class PerturbationSpec(Part):
    """What every perturbation has: a name and a timing.

    ``period`` in epochs: it acts right after the evaluation at epochs ``period``, ``2 * period``, ... (``repeat:
    periodic``) or at ``period`` only (``once``). ``fresh_optimiser`` clears the optimiser's state (momenta) as well.
    """

    # Whether it goes by the validation metric, so that the data need a validation split.
    VALIDATED: ClassVar[bool] = False

    name: str
    repeat: Literal["periodic", "once"] = "periodic"
    period: PositiveInteger
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


class LastLayerResetSpec(PerturbationSpec):
    """The output layer is drawn afresh."""

    name: Literal["last_layer_reset"] = "last_layer_reset"


class WeightNoiseSpec(PerturbationSpec):
    """Gaussian noise is added to everything that is trained.

    Its standard deviation is ``sigma``, with ``scale: relative`` times the root mean square of each tensor of each run.
    """

    name: Literal["weight_noise"] = "weight_noise"
    sigma: NonNegative = 0.3
    scale: Literal["relative", "absolute"] = "relative"
    fresh_optimiser: bool = False


class DormantResetSpec(PerturbationSpec):
    """Hidden units that are hardly ever active are drawn afresh, and no longer heard until they have learnt.

    Dormant are those whose mean absolute activation is at most ``tau`` times the mean over their layer.
    """

    name: Literal["dormant_reset"] = "dormant_reset"
    tau: NonNegative = 0.1


class DashSpec(PerturbationSpec):
    """The weights of each unit shrink to their cosine with the descent direction, but to no less than ``floor`` of them."""

    name: Literal["dash"] = "dash"
    # The authors' code has this default, and it keeps the momenta.
    floor: Fraction = 0.3
    fresh_optimiser: bool = False


class RestartFromBestSpec(PerturbationSpec):
    """Back to the parameters and buffers of the epoch with the best validation metric."""

    VALIDATED: ClassVar[bool] = True

    name: Literal["restart_from_best"] = "restart_from_best"


class WarmRestartSpec(PerturbationSpec):
    """The learning rate goes back to its full value, then falls along a cosine to the fraction ``floor`` of it.

    It falls for ``length`` epochs (without it: the period) and stays at the floor until the next restart. Before the first
    perturbation the learning rate is constant.
    """

    name: Literal["warm_restart"] = "warm_restart"
    length: PositiveInteger | None = None
    floor: Fraction = 0.0
    fresh_optimiser: bool = False

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.floor == 0 and not (self.repeat == "periodic" and self.epochs_of_fall == self.period):
            raise ValueError(
                "floor: 0 can leave training without a learning rate for good; allowed here: above 0, or repeat: periodic "
                "with a length that is the period"
            )
        return self

    @property
    def epochs_of_fall(self) -> int:
        """Epochs in which the learning rate falls."""
        return self.length or self.period


class RateBumpSpec(PerturbationSpec):
    """The learning rate is ``1 / shrink**2`` times its value for ``length`` epochs; the weights stay."""

    name: Literal["rate_bump"] = "rate_bump"
    # As shrink-and-perturb has it.
    shrink: Positive = 0.4
    length: PositiveInteger = 5
    fresh_optimiser: bool = False


PERTURBATIONS: Final[tuple[type[PerturbationSpec], ...]] = (
    ShrinkPerturbSpec,
    FullResetSpec,
    PartialResetSpec,
    LastLayerResetSpec,
    WeightNoiseSpec,
    DormantResetSpec,
    DashSpec,
    RestartFromBestSpec,
    WarmRestartSpec,
    RateBumpSpec,
)
