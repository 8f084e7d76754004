"""Kinds of optimisers: those of `torch.optim` that treat every entry of a parameter by itself.

Fields have PyTorch's names, meaning and defaults; a kind is called as its class is, in small letters (PyTorch's spelling
is understood). Fields that came to a kind after its first stores were made are left out of the written parameters where
they have their default, so that these stores stay what they were.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from fptlib.parameters import Fraction, Kind, NonNegative, Number, Positive, unsaid
from fptlib.spec.schedules import ConstantSpec, ScheduleSpec

Below1 = Annotated[Number, Field(ge=0, lt=1)]
Betas = tuple[Below1, Below1]

# Refused by name, and why: a stack of runs must train as each run would alone.
REFUSED: Final[dict[str, str]] = {
    "LBFGS": "it searches along a line common to all parameters, and evaluates the loss several times a step",
    "Adafactor": "its second moments are means over the rows and columns of a matrix, and it scales by the norms of tensors",
    "Muon": "it orthogonalises whole matrices",
    "SparseAdam": "it takes sparse gradients only, and no layer here has them",
}


class OptimiserSpec(Kind):
    """What every optimiser has: a name, a learning rate and a weight decay, with PyTorch's meaning."""

    SECTION: ClassVar[str] = "optimiser"
    TORCH: ClassVar[str] = ""

    name: str
    lr: Positive
    weight_decay: NonNegative = 0.0
    schedule: ScheduleSpec = unsaid(ConstantSpec())


class SgdSpec(OptimiserSpec):
    """Stochastic gradient descent with momentum; ``dampening`` of the gradient in the momentum, or Nesterov's momentum."""

    TORCH: ClassVar[str] = "SGD"

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Below1 = 0.0
    dampening: Fraction = unsaid(0.0)
    nesterov: bool = unsaid(False)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"nesterov: true with momentum {self.momentum:g} and dampening {self.dampening:g} is not possible; "
                "allowed: momentum above 0, dampening 0"
            )
        return self


class AdamSpec(OptimiserSpec):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    TORCH: ClassVar[str] = "Adam"

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = unsaid((0.9, 0.999))
    eps: NonNegative = unsaid(1e-8)
    amsgrad: bool = unsaid(False)


class AdamWSpec(OptimiserSpec):
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on the parameters directly."""

    TORCH: ClassVar[str] = "AdamW"

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-2
    betas: Betas = unsaid((0.9, 0.999))
    eps: NonNegative = unsaid(1e-8)
    amsgrad: bool = unsaid(False)


class RmspropSpec(OptimiserSpec):
    """RMSprop (Tieleman & Hinton 2012): the gradient over the root of its mean square; ``centered`` takes its variance."""

    TORCH: ClassVar[str] = "RMSprop"

    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Fraction = 0.99
    eps: NonNegative = 1e-8
    momentum: Below1 = 0.0
    centered: bool = False


class AdadeltaSpec(OptimiserSpec):
    """Adadelta (Zeiler 2012)."""

    TORCH: ClassVar[str] = "Adadelta"

    name: Literal["adadelta"] = "adadelta"
    lr: Positive = 1.0
    rho: Fraction = 0.9
    eps: NonNegative = 1e-6


class AdagradSpec(OptimiserSpec):
    """Adagrad (Duchi, Hazan & Singer 2011)."""

    TORCH: ClassVar[str] = "Adagrad"

    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: NonNegative = 1e-10


class AdamaxSpec(OptimiserSpec):
    """Adamax (Kingma & Ba 2015): Adam with the maximum norm."""

    TORCH: ClassVar[str] = "Adamax"

    name: Literal["adamax"] = "adamax"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8


class NAdamSpec(OptimiserSpec):
    """NAdam (Dozat 2016): Adam with Nesterov's momentum."""

    TORCH: ClassVar[str] = "NAdam"

    name: Literal["nadam"] = "nadam"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    momentum_decay: NonNegative = 4e-3
    decoupled_weight_decay: bool = False


class RAdamSpec(OptimiserSpec):
    """RAdam (Liu et al. 2020): Adam with its variance rectified in the first steps."""

    TORCH: ClassVar[str] = "RAdam"

    name: Literal["radam"] = "radam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: NonNegative = 1e-8
    decoupled_weight_decay: bool = False


class AsgdSpec(OptimiserSpec):
    """ASGD (Polyak & Juditsky 1992) as PyTorch has it: SGD whose rate falls; its running average is kept, not evaluated."""

    TORCH: ClassVar[str] = "ASGD"

    name: Literal["asgd"] = "asgd"
    lr: Positive = 1e-2
    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: NonNegative = 1e6


class RpropSpec(OptimiserSpec):
    """Rprop (Riedmiller & Braun 1993): steps of their own for every entry, of which only the gradient's sign counts."""

    TORCH: ClassVar[str] = "Rprop"

    name: Literal["rprop"] = "rprop"
    lr: Positive = 1e-2
    weight_decay: Annotated[NonNegative, Field(le=0)] = 0.0  # it has none
    etas: tuple[Annotated[Number, Field(gt=0, lt=1)], Annotated[Number, Field(gt=1)]] = (0.5, 1.2)
    step_sizes: tuple[NonNegative, Positive] = (1e-6, 50.0)


OPTIMISERS: Final[tuple[type[OptimiserSpec], ...]] = (
    SgdSpec,
    AdamSpec,
    AdamWSpec,
    RmspropSpec,
    AdadeltaSpec,
    AdagradSpec,
    AdamaxSpec,
    NAdamSpec,
    RAdamSpec,
    AsgdSpec,
    RpropSpec,
)
