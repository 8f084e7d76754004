"""Parameters of an ensemble: validated, immutable, and reduced to one digest.

Every kind of data set, model, optimiser and perturbation is a small pydantic model known by its ``name``. A kind of
one's own is a decorated class in a file that the parameters name under ``uses``, or a subclass handed to `register`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, SerializeAsAny, ValidationError, ValidationInfo, model_validator

from fptlib.errors import InputError
from fptlib.spec import uses as user_files
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
from fptlib.spec.optimisers import (
    REFUSED,
    AdadeltaSpec,
    AdagradSpec,
    AdamaxSpec,
    AdamSpec,
    AdamWSpec,
    AsgdSpec,
    NAdamSpec,
    OptimiserSpec,
    RAdamSpec,
    RmspropSpec,
    RpropSpec,
    SgdSpec,
)
from fptlib.spec.perturbations import (
    DashSpec,
    DormantResetSpec,
    FullResetSpec,
    LastLayerResetSpec,
    PartialResetSpec,
    PerturbationSpec,
    RateBumpSpec,
    RestartFromBestSpec,
    ShrinkPerturbSpec,
    WarmRestartSpec,
    WeightNoiseSpec,
)
from fptlib.spec.uses import UserFile
from fptlib.spec.values import Part, PositiveInteger, Seed
from fptlib.spec.written import merge, nested, parse

__all__ = [
    "ENGINE_VERSION",
    "AdadeltaSpec",
    "AdagradSpec",
    "AdamSpec",
    "AdamWSpec",
    "AdamaxSpec",
    "AsgdSpec",
    "Cifar10Spec",
    "Cifar10SubsetSpec",
    "Cifar100Spec",
    "CnnSpec",
    "DashSpec",
    "DataSpec",
    "DigitsSpec",
    "DormantResetSpec",
    "EnsembleSpec",
    "ExecutionSpec",
    "FashionMnistSpec",
    "FullResetSpec",
    "LastLayerResetSpec",
    "MlpSpec",
    "Mnist5kSpec",
    "ModelSpec",
    "NAdamSpec",
    "NuclearMassesSpec",
    "OptimiserSpec",
    "PartialResetSpec",
    "PerturbationSpec",
    "RAdamSpec",
    "RateBumpSpec",
    "ResNet18Spec",
    "ResNetSpec",
    "RestartFromBestSpec",
    "RmspropSpec",
    "RpropSpec",
    "SgdSpec",
    "ShrinkPerturbSpec",
    "TrainingSpec",
    "UserFile",
    "WarmRestartSpec",
    "WeightNoiseSpec",
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


def _kind(section: str, value: object, files: Iterable[UserFile] = ()) -> object:
    """The section's kind, from its ``name``; those of one's own files are known beside the others."""
    base, kinds = kinds_of(section)
    if value is None or isinstance(value, base):
        return value
    kinds = kinds | {name: kind for file in files for (place, name), kind in file.kinds.items() if place == section}
    names = sorted(kinds)
    if not isinstance(value, Mapping):
        raise ParameterError(f"{section}: {value!r} is not a mapping; allowed: name: {'|'.join(names)}, ...")
    if "name" not in value:
        raise ParameterError(f"{section}.name: missing; allowed: {', '.join(names)}")
    name = value["name"]
    if section == "optimiser" and isinstance(name, str) and name not in kinds:
        if name in REFUSED:
            raise ParameterError(f"optimiser.name: {name} cannot train stacked runs: {REFUSED[name]}")
        # As PyTorch spells its classes.
        name = next((kind for kind in names if kind == name.lower()), name)
        value = {**value, "name": name}
    if not isinstance(name, str) or name not in kinds:
        raise ParameterError(f"{section}.name: unknown {section} {name!r}{nearest(name, names)}")
    try:
        return kinds[name].model_validate(value)
    except ValidationError as error:
        raise ParameterError(describe(error, kinds[name], section)) from None


def _kind_of(section: str) -> BeforeValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        return _kind(section, value, info.data.get("uses", ()))

    return BeforeValidator(validate)


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

    ``uses`` names Python files of one's own that define kinds; the digest covers the text of those whose kinds are in use.
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

    # First: the sections after it may name kinds that these files define.
    uses: Annotated[tuple[UserFile, ...], BeforeValidator(user_files.read)] = ()
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
        kick = self.perturbation
        if kick is not None and kick.period > self.epochs:
            raise ParameterError(
                f"perturbation.period: {kick.period} is beyond the horizon; allowed: 1 to epochs = {self.epochs}"
            )
        if kick is not None and kick.VALIDATED and not self.data.validation_size:
            raise ParameterError(
                f"data.validation_size: 0 leaves {kick.name} nothing to choose the best epoch by; allowed: 1 or more"
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
        content = self.model_dump(mode="json", exclude={*_OUTSIDE_DIGEST, "uses"})
        parts = [getattr(self, section) for section in ("data", "model", "optimiser", "perturbation")]
        used = sorted(file.source for file in self.uses if any(type(part) in file.kinds.values() for part in parts))
        # What a file is called, and files of which nothing is used, change no run.
        return content | ({"uses": [{"source": source} for source in used]} if used else {})

    def digest(self) -> str:
        """16 hexadecimal digits: SHA-256 of the canonical JSON of `identity` and `ENGINE_VERSION`."""
        content = {"engine": ENGINE_VERSION, "spec": self.identity()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Classes of one's own files cannot be imported by name in another process: they are made there again.
        if not self.uses:
            return super().__reduce_ex__(protocol)
        own = {kind for file in self.uses for kind in file.kinds.values()}
        content = {name: getattr(self, name) for name in type(self).model_fields}
        plain = {name: part.model_dump() if type(part) in own else part for name, part in content.items()}
        return _again, (plain | {"uses": [file.model_dump() for file in self.uses]},)


def _again(values: dict[str, Any]) -> EnsembleSpec:
    return EnsembleSpec(**values)


def _build(values: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> EnsembleSpec:
    try:
        return EnsembleSpec(**merge(values, nested(changes)))
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
        values = parse(text)
        if not isinstance(values, Mapping):
            raise ParameterError("not a mapping of parameters; keys such as data, model and optimiser are needed")
        changes: dict[str, Any] = {}
        for item in overrides:
            key, equals, value = item.partition("=")
            if not equals:
                raise ParameterError(f"{item!r}: not an override; allowed: key=value, as in optimiser.lr=0.3")
            try:
                changes = merge(changes, nested({key.strip(): parse(value)}))
            except ParameterError as fault:
                raise ParameterError(f"{item!r}: {fault}") from None
    except ParameterError as fault:
        raise InputError(f"{path}: {fault}") from None
    return _build(user_files.beside(values, Path(path).parent), changes, f"{path}: ")
