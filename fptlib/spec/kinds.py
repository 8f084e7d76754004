"""Kinds of data sets, models, optimisers and perturbations, and the registry that knows them by name."""

from __future__ import annotations

import operator
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from fptlib.errors import InputError


def _integer(value: object) -> object:
    """Whole numbers however they are written (5, 5.0, numpy's), never truth values."""
    if isinstance(value, bool | np.bool_):
        raise PydanticCustomError("allowed", "a whole number")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, np.integer):
        return operator.index(value)
    if isinstance(value, str | float):
        raise PydanticCustomError("allowed", "a whole number")
    return value


def _number(value: object) -> object:
    """Finite numbers; text such as ``1e-3``, which YAML 1.1 does not take for a number, is read as one."""
    if isinstance(value, bool | np.bool_):
        raise PydanticCustomError("allowed", "a number")
    if isinstance(value, np.integer | np.floating):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise PydanticCustomError("allowed", "a number") from None
    return value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
PositiveInteger = Annotated[Integer, Field(ge=1)]
NaturalNumber = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
# numpy's seed sequences take any non-negative integer; 64 bits keep the seed portable in JSON and Parquet.
Seed = Annotated[Integer, Field(ge=0, lt=2**63)]


class Part(BaseModel):
    """One section of the parameters: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class DataSpec(Part):
    """What every data set has: its name, how much of it is used, and the seed of its random choices."""

    name: str
    train_size: PositiveInteger
    validation_size: NaturalNumber = 0
    label_noise: Fraction = 0.0
    seed: Seed = 0


class DigitsSpec(DataSpec):
    """Handwritten digits (8 x 8, ten classes) that come with scikit-learn.

    ``train_size`` and ``validation_size`` count images out of `POOL`; ``label_noise`` is the fraction of training
    labels replaced by another class; ``seed`` fixes the permutation of the images and the noise.
    """

    POOL: ClassVar[int] = 1000

    name: Literal["digits"] = "digits"
    train_size: PositiveInteger = 200

    @model_validator(mode="after")
    def _fits(self) -> Self:
        asked = self.train_size + self.validation_size
        if asked > self.POOL:
            raise ValueError(
                f"train_size + validation_size is {asked}; digits has {self.POOL} images beside its test images"
            )
        return self


class ModelSpec(Part):
    """What every model has: a name. The input and output sizes come from the data."""

    name: str

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return False


class MlpSpec(ModelSpec):
    """Fully connected network with ReLU.

    ``widths`` are the numbers of units of the hidden layers (none: a linear classifier); ``normalisation: batch`` puts
    BatchNorm before each ReLU.
    """

    name: Literal["mlp"] = "mlp"
    widths: tuple[PositiveInteger, ...] = (128, 128)
    normalisation: Literal["none", "batch"] = "none"

    @property
    def has_batch_norm(self) -> bool:
        """Whether a batch of a single image is impossible."""
        return self.normalisation == "batch" and len(self.widths) > 0


class OptimiserSpec(Part):
    """What every optimiser has: a name, a learning rate and a weight decay, with PyTorch's meaning."""

    name: str
    lr: Positive
    weight_decay: NonNegative = 0.0


class SgdSpec(OptimiserSpec):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class AdamSpec(OptimiserSpec):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3


class AdamWSpec(OptimiserSpec):
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on the parameters directly."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-2


class TrainingSpec(Part):
    """Images per step, and the floating-point type of everything that is trained."""

    batch_size: PositiveInteger = 25
    dtype: Literal["float32", "float64"] = "float32"


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

    ``scope: parameters`` is what is trained; ``state`` includes BatchNorm's running averages.
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


_REGISTRIES: dict[str, tuple[type[Part], dict[str, type[Part]]]] = {
    "data": (DataSpec, {}),
    "model": (ModelSpec, {}),
    "optimiser": (OptimiserSpec, {}),
    "perturbation": (PerturbationSpec, {}),
}


def register(section: str, kind: type[Part]) -> type[Part]:
    """Make a kind of data set, model, optimiser or perturbation known to the parameters.

    Parameters
    ----------
    section
        ``data``, ``model``, ``optimiser`` or ``perturbation``.
    kind
        Subclass of that section's model whose field ``name`` has the kind's name as default. Defined in a module that
        can be imported (not in a notebook's cell), it trains in several processes.

    Raises
    ------
    InputError
        If the section is unknown, the class is no subclass of the section's model, or its ``name`` has no default.
    """
    if section not in _REGISTRIES:
        raise InputError(f"no section {section!r} of the parameters; there is {', '.join(_REGISTRIES)}")
    base, kinds = _REGISTRIES[section]
    name = kind.model_fields["name"].default if issubclass(kind, base) else None
    if not isinstance(name, str):
        raise InputError(f"{kind.__name__}: a {section} is a subclass of {base.__name__} whose `name` has a default")
    kinds[name] = kind
    return kind


def kinds_of(section: str) -> tuple[type[Part], dict[str, type[Part]]]:
    """What every kind of a section has, and the kinds by name."""
    return _REGISTRIES[section]


def known(section: str) -> tuple[str, ...]:
    """Names of the kinds known in a section, sorted.

    >>> known("perturbation")
    ('full_reset', 'partial_reset', 'shrink_perturb')
    """
    return tuple(sorted(_REGISTRIES[section][1]))


register("data", DigitsSpec)
register("model", MlpSpec)
register("optimiser", SgdSpec)
register("optimiser", AdamSpec)
register("optimiser", AdamWSpec)
register("perturbation", ShrinkPerturbSpec)
register("perturbation", FullResetSpec)
register("perturbation", PartialResetSpec)
