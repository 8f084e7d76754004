"""Kinds of optimisers: SGD, Adam, AdamW, and any class of `torch.optim` that treats every entry of a parameter by itself.

Fields have PyTorch's names, meaning and defaults. Fields that came to a kind after its first stores were made are left out
of the written parameters where they have their default, so that these stores stay what they were.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from fptlib.errors import InputError
from fptlib.parameters import Below1, Fraction, Kind, NonNegative, Number, Positive, nearest, optional
from fptlib.spec.schedules import ConstantSpec, Schedule

Betas = tuple[Below1, Below1]
_NUMBER: TypeAdapter[float] = TypeAdapter(Number)


class OptimiserSpec(Kind):
    """Fields of every optimiser: a name, a learning rate and a weight decay, with PyTorch's meaning."""

    SECTION: ClassVar[str] = "optimiser"
    TORCH: ClassVar[str] = ""

    name: str
    lr: Positive
    weight_decay: NonNegative = 0.0
    schedule: Schedule = optional(ConstantSpec())


class SgdSpec(OptimiserSpec):
    """Stochastic gradient descent with momentum; ``dampening`` of the gradient in the momentum, or Nesterov's momentum."""

    TORCH: ClassVar[str] = "SGD"

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Below1 = 0.0
    dampening: Fraction = optional(0.0)
    nesterov: bool = optional(False)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            given = f"nesterov: true with momentum {self.momentum:g} and dampening {self.dampening:g}"
            raise ValueError(f"{given} is not possible; allowed: momentum above 0, dampening 0")
        return self


class _AdamSpec(OptimiserSpec):
    lr: Positive = 1e-3
    betas: Betas = optional((0.9, 0.999))
    eps: NonNegative = optional(1e-8)
    amsgrad: bool = optional(False)


class AdamSpec(_AdamSpec):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    TORCH: ClassVar[str] = "Adam"

    name: Literal["adam"] = "adam"


class AdamWSpec(_AdamSpec):
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on the parameters directly."""

    TORCH: ClassVar[str] = "AdamW"

    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegative = 1e-2


def _option(value: object) -> object:
    """An option of a class that is not looked at before training: a number, a text, a truth value, or a list of them."""
    if isinstance(value, bool | None):
        return value
    if isinstance(value, list | tuple):
        return tuple(_option(item) for item in value)
    try:
        number = _NUMBER.validate_python(value)
        return value if isinstance(value, int) else number
    except ValidationError:
        if isinstance(value, str):
            return value
        raise PydanticCustomError("allowed", "a finite number, a text, true, false, or a list of them") from None


class TorchSpec(OptimiserSpec):
    """Any class of `torch.optim` that treats every entry of a parameter by itself, by its name: RMSprop, NAdam, Rprop.

    Its options are the keywords of the class. Whether they are, and whether the class does, is seen before training.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, BeforeValidator(_option)]]
    # Of a class of a user's own: the class, and the keywords that it takes.
    OWN: ClassVar[Any] = None
    KEYWORDS: ClassVar[tuple[str, ...]] = ()

    name: str

    @model_validator(mode="after")
    def _known_options(self) -> Self:
        if self.OWN is not None:
            check_options(self, self.KEYWORDS)
        return self


def check_options(spec: OptimiserSpec, keywords: Iterable[str]) -> None:
    """Refuse options that a class does not take: an InputError names the option and those that there are."""
    own = ["weight_decay"] if spec.weight_decay else []
    for option in [*own, *(spec.model_extra or {})]:
        if option not in keywords:
            raise InputError(f"optimiser.{option}: unknown key of {spec.name}{nearest(option, keywords)}")
