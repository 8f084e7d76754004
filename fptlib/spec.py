"""Parameters of an ensemble: validated, immutable, and reduced to one digest.

Every kind of data set, model, optimiser and perturbation is a small pydantic model known by its ``name``. A kind of one's own is
a subclass handed to `register`.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import operator
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from fptlib.errors import InputError

# Raised whenever the same parameters give other trajectories than before. Stores are keyed by it, so old ones are then left alone.
ENGINE_VERSION = 1

# What may differ between two requests for the same runs: how many, for how long, and on what they are trained.
_OUTSIDE_DIGEST = ("runs", "epochs", "device")


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

    ``train_size`` and ``validation_size`` count images out of `POOL`; ``label_noise`` is the fraction of training labels
    replaced by another class; ``seed`` fixes the permutation of the images and the noise.
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

    ``widths`` are the numbers of units of the hidden layers (none: a linear classifier); ``normalisation: batch`` puts BatchNorm
    before each ReLU.
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

    ``period`` in epochs: it acts right after the evaluation at epochs ``period``, ``2 * period``, ... (``repeat: periodic``) or
    at ``period`` only (``once``). ``fresh_optimiser`` clears the optimiser's state (momenta) as well.
    """

    name: str
    period: PositiveInteger
    repeat: Literal["periodic", "once"] = "periodic"
    fresh_optimiser: bool = True


class ShrinkPerturbSpec(PerturbationSpec):
    """``shrink`` times the weights plus ``perturb`` times fresh ones; ``scope: state`` treats BatchNorm's averages alike."""

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
        Subclass of that section's model whose field ``name`` has the kind's name as default. Defined in a module that can be
        imported (not in a notebook's cell), it trains in several processes.

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


class _Fault(Exception):
    """A fault with its dotted place; becomes an `InputError` once the file is known."""


def _kind_of(section: str) -> BeforeValidator:
    """Validator that builds the section's kind from its ``name``."""

    def build(value: object) -> object:
        base, kinds = _REGISTRIES[section]
        if value is None or isinstance(value, base):
            return value
        if not isinstance(value, Mapping):
            raise _Fault(f"{section}: {value!r} is not a mapping; allowed: name: {'|'.join(known(section))}, ...")
        if "name" not in value:
            raise _Fault(f"{section}.name: missing; allowed: {', '.join(known(section))}")
        name = value["name"]
        if not isinstance(name, str) or name not in kinds:
            raise _Fault(f"{section}.name: unknown {section} {name!r}{_nearest(name, known(section))}")
        try:
            return kinds[name].model_validate(value)
        except ValidationError as error:
            raise _Fault(_describe(error, kinds[name], section)) from None

    return BeforeValidator(build)


class EnsembleSpec(Part):
    """All parameters of an ensemble of trainings.

    Run ``k`` depends on ``seed``, ``k`` and every section, and on nothing else: not on ``runs``, ``epochs`` or ``device``.

    Examples
    --------
    >>> spec = EnsembleSpec(data={"name": "digits"}, model={"name": "mlp"}, optimiser={"name": "sgd", "lr": 0.1})
    >>> spec.model.widths
    (128, 128)
    >>> spec.digest() == override(spec, {"runs": 7}).digest()
    True
    """

    data: Annotated[SerializeAsAny[DataSpec], _kind_of("data")]
    model: Annotated[SerializeAsAny[ModelSpec], _kind_of("model")]
    optimiser: Annotated[SerializeAsAny[OptimiserSpec], _kind_of("optimiser")]
    training: TrainingSpec = TrainingSpec()
    perturbation: Annotated[SerializeAsAny[PerturbationSpec] | None, _kind_of("perturbation")] = None
    runs: PositiveInteger = 200
    epochs: PositiveInteger = 100
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __init__(self, **values: Any) -> None:
        # Inside pydantic an error would be wrapped once more; out here it is one line for the user.
        try:
            super().__init__(**values)
        except _Fault as fault:
            raise InputError(str(fault)) from None
        except ValidationError as error:
            raise InputError(_describe(error, type(self), "")) from None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        batch, images = self.training.batch_size, self.data.train_size
        if batch > images:
            raise _Fault(f"training.batch_size: {batch} exceeds data.train_size = {images}; allowed: 1 to {images}")
        if self.model.has_batch_norm and (batch == 1 or images % batch == 1):
            raise _Fault(
                f"training.batch_size: {batch} leaves a batch of one of the {images} training images, whose variance "
                "BatchNorm cannot take; allowed: sizes of 2 or more that leave another remainder"
            )
        if self.perturbation is not None and self.perturbation.period > self.epochs:
            raise _Fault(
                f"perturbation.period: {self.perturbation.period} is beyond the horizon; allowed: 1 to epochs = {self.epochs}"
            )
        return self

    def identity(self) -> dict[str, Any]:
        """Everything that changes run ``k``, with defaults filled in, as JSON types."""
        return self.model_dump(mode="json", exclude=set(_OUTSIDE_DIGEST))

    def digest(self) -> str:
        """16 hexadecimal digits: SHA-256 of the canonical JSON of `identity` and `ENGINE_VERSION`."""
        content = {"engine": ENGINE_VERSION, "spec": self.identity()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _nearest(name: object, candidates: Iterable[str]) -> str:
    """``; did you mean ...? known: ...``."""
    candidates = list(candidates)
    close = difflib.get_close_matches(str(name), candidates, n=1, cutoff=0.5)
    hint = f"; did you mean {close[0]!r}?" if close else ";"
    return f"{hint} known: {', '.join(candidates)}"


# pydantic's error types -> what would have been allowed there.
_ALLOWED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "finite": "a finite number",
    "tuple": "a list",
    "list": "a list",
    "model": "a mapping",
    "dict": "a mapping",
}
_BOUNDS = {"greater_than_equal": ("at least", "ge"), "greater_than": ("above", "gt")}
_BOUNDS |= {"less_than_equal": ("at most", "le"), "less_than": ("below", "lt")}


def _describe(error: ValidationError, model: type[BaseModel], prefix: str) -> str:
    """The first fault of a validation in one line: where, what, and what is allowed."""
    first = error.errors(include_url=False)[0]
    path = [str(step) for step in first["loc"]]
    where = ".".join([prefix, *path] if prefix else path)
    kind, context, value = first["type"], first.get("ctx", {}), repr(first["input"])
    value = value if len(value) <= 60 else value[:57] + "..."
    if kind == "extra_forbidden":
        section = model.model_fields.get(path[0]) if len(path) > 1 else None
        owner = section.annotation if section is not None else model
        fields = owner.model_fields if isinstance(owner, type) and issubclass(owner, BaseModel) else model.model_fields
        return f"{where}: unknown key{_nearest(path[-1], fields)}"
    if kind == "missing":
        return f"{where}: missing; it has no default"
    if kind == "literal_error":
        return f"{where}: {value} is not possible; allowed: {context['expected']}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"{where}: {value} is not possible; allowed: {words} {context[key]}"
    if kind == "value_error":
        return f"{where}: {context['error']}"
    return f"{where}: {value} is not {_ALLOWED.get(kind.split('_')[0], first['msg'])}"


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is a fault: plain YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise _Fault(f"{key}: given twice (line {key_node.start_mark.line + 1})")
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """YAML value of a text.

    Raises
    ------
    _Fault
        If it is no YAML, with the line.
    """
    try:
        # The loader is a subclass of the safe one, which builds plain values only.
        return yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise _Fault(f"{line}not valid YAML ({getattr(error, 'problem', None) or error})") from None


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys unfolded into nested mappings; the later of two that touch the same key wins."""
    result: dict[str, Any] = {}
    for key, value in changes.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise _Fault(f"{key!r}: not a key; allowed: names joined by dots, as in optimiser.lr")
        value = _nested(value) if isinstance(value, Mapping) else value
        for step in reversed(key.split(".")):
            value = {step: value}
        result = _merge(result, value)
    return result


def _merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings merged. A section whose ``name`` changes is replaced: another kind has other keys."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and "name" in old and value["name"] != old["name"]
            result[key] = dict(value) if renamed else _merge(old, value)
        else:
            result[key] = value
    return result


def _build(values: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> EnsembleSpec:
    try:
        return EnsembleSpec(**_merge(values, _nested(changes)))
    except (_Fault, InputError) as fault:
        raise InputError(f"{where}{fault}") from None


def override(spec: EnsembleSpec | Mapping[str, Any], changes: Mapping[str, Any]) -> EnsembleSpec:
    """Parameters with some of them changed.

    Parameters
    ----------
    spec
        Parameters, or a mapping of them.
    changes
        Nested (``{"optimiser": {"lr": 0.3}}``) or dotted (``{"optimiser.lr": 0.3}``) keys. A section given with another ``name``
        replaces the section, because its other keys belong to the old kind.

    Raises
    ------
    InputError
        If a key is unknown or a value is impossible.

    Examples
    --------
    >>> plain = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimiser": {"name": "sgd"}}
    >>> override(plain, {"model.widths": [64], "perturbation": {"name": "full_reset", "period": 20}}).perturbation.period
    20
    """
    values = spec.model_dump(mode="python") if isinstance(spec, EnsembleSpec) else spec
    return _build(values, changes, "")


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> EnsembleSpec:
    """Read a parameter file.

    Parameters
    ----------
    path
        YAML file with the keys of `EnsembleSpec`.
    overrides
        Texts ``key=value`` with dotted keys and YAML values, as ``optimiser.lr=0.3`` or ``perturbation=null``.

    Raises
    ------
    InputError
        One line naming file, key, value and what is allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; a file of parameters is needed") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a text file; a file of parameters is YAML") from None
    try:
        values = _parse(text)
        if not isinstance(values, Mapping):
            raise _Fault("not a mapping of parameters; keys such as data, model and optimiser are needed")
        changes: dict[str, Any] = {}
        for item in overrides:
            key, equals, value = item.partition("=")
            if not equals:
                raise _Fault(f"{item!r}: not an override; allowed: key=value, as in optimiser.lr=0.3")
            try:
                changes = _merge(changes, _nested({key.strip(): _parse(value)}))
            except _Fault as fault:
                raise _Fault(f"{item!r}: {fault}") from None
    except _Fault as fault:
        raise InputError(f"{path}: {fault}") from None
    return _build(values, changes, f"{path}: ")
