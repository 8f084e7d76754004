"""Parameters of an ensemble: validated, immutable, and reduced to one digest.

Every kind of data set, model, optimiser and perturbation is a small pydantic model known by its ``name``. A kind of
one's own is a subclass handed to `register`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BeforeValidator, SerializeAsAny, ValidationError, model_validator

from fptlib.errors import InputError
from fptlib.spec.datasets import (
    Cifar10Spec,
    Cifar10SubsetSpec,
    Cifar100Spec,
    DataSpec,
    DigitsSpec,
    FashionMnistSpec,
    Mnist5kSpec,
    NuclearMassesSpec,
)
from fptlib.spec.faults import ParameterError, describe, nearest
from fptlib.spec.kinds import (
    ExecutionSpec,
    TrainingSpec,
    kinds_of,
    known,
    register,
)
from fptlib.spec.networks import (
    CnnSpec,
    MlpSpec,
    ModelSpec,
    ResNet18Spec,
    ResNetSpec,
)
from fptlib.spec.optimisers import AdamSpec, AdamWSpec, OptimiserSpec, SgdSpec
from fptlib.spec.perturbations import FullResetSpec, PartialResetSpec, PerturbationSpec, ShrinkPerturbSpec
from fptlib.spec.values import Part, PositiveInteger, Seed

__all__ = [
    "ENGINE_VERSION",
    "AdamSpec",
    "AdamWSpec",
    "Cifar10Spec",
    "Cifar10SubsetSpec",
    "Cifar100Spec",
    "CnnSpec",
    "DataSpec",
    "DigitsSpec",
    "EnsembleSpec",
    "ExecutionSpec",
    "FashionMnistSpec",
    "FullResetSpec",
    "MlpSpec",
    "Mnist5kSpec",
    "ModelSpec",
    "NuclearMassesSpec",
    "OptimiserSpec",
    "PartialResetSpec",
    "PerturbationSpec",
    "ResNet18Spec",
    "ResNetSpec",
    "SgdSpec",
    "ShrinkPerturbSpec",
    "TrainingSpec",
    "kinds_of",
    "known",
    "load",
    "override",
    "perturbation_section",
    "register",
]

# Raised whenever the same parameters give other trajectories than before. Stores are keyed by it, so old ones are then
# left alone.
ENGINE_VERSION = 2

# What may differ between two requests for the same runs: how many, for how long, and on what and how they are trained.
_OUTSIDE_DIGEST = ("runs", "epochs", "device", "execution")


def _kind(section: str, value: object) -> object:
    """The section's kind, from its ``name``."""
    base, kinds = kinds_of(section)
    if value is None or isinstance(value, base):
        return value
    if not isinstance(value, Mapping):
        raise ParameterError(f"{section}: {value!r} is not a mapping; allowed: name: {'|'.join(known(section))}, ...")
    if "name" not in value:
        raise ParameterError(f"{section}.name: missing; allowed: {', '.join(known(section))}")
    name = value["name"]
    if not isinstance(name, str) or name not in kinds:
        raise ParameterError(f"{section}.name: unknown {section} {name!r}{nearest(name, known(section))}")
    try:
        return kinds[name].model_validate(value)
    except ValidationError as error:
        raise ParameterError(describe(error, kinds[name], section)) from None


def _kind_of(section: str) -> BeforeValidator:
    return BeforeValidator(partial(_kind, section))


def perturbation_section(values: Mapping[str, Any]) -> PerturbationSpec:
    """The section ``perturbation`` of a parameter file by itself.

    Raises
    ------
    InputError
        One line naming key, value and what is allowed.

    Examples
    --------
    >>> perturbation_section({"name": "full_reset", "period": 20}).repeat
    'periodic'
    """
    try:
        built = _kind("perturbation", values)
    except ParameterError as fault:
        raise InputError(str(fault)) from None
    assert isinstance(built, PerturbationSpec)
    return built


class EnsembleSpec(Part):
    """All parameters of an ensemble of trainings.

    Run ``k`` depends on ``seed``, ``k`` and every section but ``execution``, and on nothing else: not on ``runs``,
    ``epochs`` or ``device``.

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
    execution: ExecutionSpec = ExecutionSpec()

    def __init__(self, **values: Any) -> None:
        # Inside pydantic an error would be wrapped once more; out here it is one line for the user.
        try:
            super().__init__(**values)
        except ParameterError as fault:
            raise InputError(str(fault)) from None
        except ValidationError as error:
            raise InputError(describe(error, type(self), "")) from None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self._check_batches()
        if self.perturbation is not None and self.perturbation.period > self.epochs:
            raise ParameterError(
                f"perturbation.period: {self.perturbation.period} is beyond the horizon; "
                f"allowed: 1 to epochs = {self.epochs}"
            )
        return self

    def _check_batches(self) -> None:
        batch, images = self.training.batch_size, self.data.n_train
        if images is not None and batch > images:
            whole = "data.train_size =" if self.data.train_size else "the number of training images,"
            raise ParameterError(f"training.batch_size: {batch} exceeds {whole} {images}; allowed: 1 to {images}")
        if not self.model.has_batch_norm:
            return
        if batch == 1:
            raise ParameterError(
                "training.batch_size: 1 leaves batches of one image, whose variance BatchNorm cannot take; "
                "allowed: 2 or more"
            )
        if images is not None and images % batch == 1 and not self.training.drop_last:
            raise ParameterError(
                f"training.batch_size: {batch} leaves a batch of one of the {images} training images, whose variance "
                "BatchNorm cannot take; allowed: sizes that leave another remainder, or training.drop_last: true"
            )

    def identity(self) -> dict[str, Any]:
        """Everything that changes run ``k``, with defaults filled in, as JSON types."""
        return self.model_dump(mode="json", exclude=set(_OUTSIDE_DIGEST))

    def digest(self) -> str:
        """16 hexadecimal digits: SHA-256 of the canonical JSON of `identity` and `ENGINE_VERSION`."""
        content = {"engine": ENGINE_VERSION, "spec": self.identity()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is a fault: plain YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise ParameterError(f"{key}: given twice (line {key_node.start_mark.line + 1})")
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


def _parse(text: str) -> Any:
    """YAML value of a text.

    Raises
    ------
    ParameterError
        If it is no YAML, with the line.
    """
    try:
        # The loader is a subclass of the safe one, which builds plain values only.
        return yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ParameterError(f"{line}not valid YAML ({getattr(error, 'problem', None) or error})") from None


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys unfolded into nested mappings; the later of two that touch the same key wins."""
    result: dict[str, Any] = {}
    for key, value in changes.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise ParameterError(f"{key!r}: not a key; allowed: names joined by dots, as in optimiser.lr")
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
    except (ParameterError, InputError) as fault:
        raise InputError(f"{where}{fault}") from None


def override(spec: EnsembleSpec | Mapping[str, Any], changes: Mapping[str, Any]) -> EnsembleSpec:
    """Parameters with some of them changed.

    Parameters
    ----------
    spec
        Parameters, or a mapping of them.
    changes
        Nested (``{"optimiser": {"lr": 0.3}}``) or dotted (``{"optimiser.lr": 0.3}``) keys. A section given with another
        ``name`` replaces the section, because its other keys belong to the old kind.

    Raises
    ------
    InputError
        If a key is unknown or a value is impossible.

    Examples
    --------
    >>> plain = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimiser": {"name": "sgd"}}
    >>> override(plain, {"model.widths": [64], "perturbation.name": "full_reset", "perturbation.period": 20}).epochs
    100
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
            raise ParameterError("not a mapping of parameters; keys such as data, model and optimiser are needed")
        changes: dict[str, Any] = {}
        for item in overrides:
            key, equals, value = item.partition("=")
            if not equals:
                raise ParameterError(f"{item!r}: not an override; allowed: key=value, as in optimiser.lr=0.3")
            try:
                changes = _merge(changes, _nested({key.strip(): _parse(value)}))
            except ParameterError as fault:
                raise ParameterError(f"{item!r}: {fault}") from None
    except ParameterError as fault:
        raise InputError(f"{path}: {fault}") from None
    return _build(values, changes, f"{path}: ")
