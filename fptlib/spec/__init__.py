"""Parameters of an ensemble: validated, immutable, and reduced to one digest; every kind of a section goes by its ``name``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, SerializeAsAny, ValidationError, ValidationInfo, model_validator

from fptlib.errors import InputError
from fptlib.parameters import (
    Kind,
    NonNegative,
    Part,
    Positive,
    PositiveInteger,
    Seed,
    build,
    describe,
    kinds_of,
    optional,
    read_kind,
)
from fptlib.perturbations import RateDrop, Schedule, schedule
from fptlib.spec import uses as user_files
from fptlib.spec.datasets import DataSpec
from fptlib.spec.networks import ModelSpec
from fptlib.spec.optimisers import OptimiserSpec, SgdSpec, TorchSpec
from fptlib.spec.uses import UserFile
from fptlib.spec.written import merge, nested, parse

__all__ = [
    "ENGINE_VERSION",
    "DataSpec",
    "EnsembleSpec",
    "ExecutionSpec",
    "ModelSpec",
    "OptimiserSpec",
    "TrainingSpec",
    "UserFile",
    "kinds_of",
    "load",
    "override",
    "restore",
]

# Raised whenever the same parameters give other trajectories than before. Stores are keyed by it, so old ones are then
# left alone.
ENGINE_VERSION = 2

# What may differ between two requests for the same runs: how many, for how long, and on what and how they are trained.
_OUTSIDE_DIGEST = ("runs", "epochs", "device", "execution")


def _known_to(info: ValidationInfo, section: str) -> dict[str, type]:
    """Return the kinds of a section that the files under ``uses`` define."""
    return {
        name: kind
        for file in info.data.get("uses", ())
        for (place, name), kind in file.kinds.items()
        if place == section
    }


def _kind_of(base: type[Kind]) -> BeforeValidator:
    """Read a section whose kind goes by its ``name``."""

    def read(value: object, info: ValidationInfo) -> object:
        more, hint = _known_to(info, base.SECTION), ""
        if base is OptimiserSpec and isinstance(value, Mapping) and isinstance(name := value.get("name"), str):
            known_ = {*kinds_of("optimiser"), *more}
            if name not in known_ and name.lower() in known_:  # as PyTorch spells its classes
                value = {**value, "name": name.lower()}
            elif name not in known_ and name[:1].isupper():
                return build(TorchSpec, value, base.SECTION)
            hint = ", and classes of torch.optim by their names, such as RMSprop"
        return read_kind(base, value, more, hint)

    return BeforeValidator(read)


def _perturbation(value: object, info: ValidationInfo) -> Schedule | None:
    return None if value is None else schedule(value, _known_to(info, "perturbation"))


class TrainingSpec(Part):
    """Images per step, how they are drawn, and the floating-point types of training.

    ``sampling``: with ``reshuffle`` an epoch shows every image once, in a fresh order; with ``replace`` every step draws a batch of
    distinct images from all of them, so that in an epoch some come several times and others not at all. ``drop_last`` leaves out
    the last batch of an epoch where it is smaller than the others. ``dtype`` is the type of everything that is trained; with
    ``autocast`` the layers compute in a shorter type (mixed precision).
    """

    batch_size: PositiveInteger = 25
    sampling: Literal["reshuffle", "replace"] = optional("reshuffle")
    drop_last: bool = False
    dtype: Literal["float32", "float64"] = "float32"
    autocast: Literal["none", "bfloat16", "float16"] = "none"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (kind := self.autocast) != "none" and self.dtype == "float64":
            raise ValueError(f"autocast: {kind} does nothing to float64; allowed: autocast: none, or dtype: float32")
        return self


class ExecutionSpec(Part):
    """Options of carrying training out, on which its results do not depend, beyond rounding.

    ``channels_last``, ``compile`` and ``cuda_graphs`` switch on what their names say in PyTorch; what cannot be had is left
    out with a message. Without a word, channels come last on a CPU. ``stack`` is the number of runs that train as one stack;
    without it, as many as the cache likes and ``memory_gb``, the memory for the runs of one process in gigabytes, holds
    (without that: 1 on a CPU, half of a GPU's). ``snapshot_s`` is the number of seconds between snapshots to resume from.
    """

    channels_last: bool | None = None
    compile: bool = False
    cuda_graphs: bool = False
    stack: PositiveInteger | None = None
    memory_gb: Positive | None = None
    snapshot_s: NonNegative = 10.0


class EnsembleSpec(Part):
    """All parameters of an ensemble of training runs.

    ``uses`` names Python files of your own that define kinds; the digest covers the text of those whose kinds are in use.
    Run ``k`` depends on ``seed``, ``k`` and every section but ``execution``, and on nothing else: not on ``runs``,
    ``epochs`` or ``device``.

    >>> spec = EnsembleSpec(data={"name": "digits"}, model={"name": "mlp"}, optimiser={"name": "sgd", "lr": 0.1})
    >>> spec.model.widths
    (128, 128)
    >>> spec.digest() == override(spec, {"runs": 7}).digest()
    True
    """

    # First: the sections after it may name kinds that these files define.
    uses: Annotated[tuple[UserFile, ...], BeforeValidator(user_files.read)] = ()
    data: Annotated[SerializeAsAny[DataSpec], _kind_of(DataSpec)]
    model: Annotated[SerializeAsAny[ModelSpec], _kind_of(ModelSpec)]
    optimiser: Annotated[SerializeAsAny[OptimiserSpec], _kind_of(OptimiserSpec)]
    training: TrainingSpec = TrainingSpec()
    perturbation: Annotated[Schedule | None, BeforeValidator(_perturbation)] = None
    runs: PositiveInteger = 200
    epochs: PositiveInteger = 100
    seed: Seed = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    execution: ExecutionSpec = ExecutionSpec()

    def __init__(self, **values: Any) -> None:
        # Inside pydantic an error would be wrapped once more; out here it is one line for the user.
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(describe(error, type(self), "")) from None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        self._check_batches()
        kick = self.perturbation
        if kick is not None and kick.period > self.epochs:
            given = f"perturbation.period: {kick.period} is beyond the horizon"
            raise InputError(f"{given}; allowed: 1 to epochs = {self.epochs}")
        if kick is not None and isinstance(kick.rule, RateDrop) and kick.rule.momentum is not None:
            if not isinstance(self.optimiser, SgdSpec):
                given = f"perturbation.momentum: {kick.rule.momentum:g} with optimiser.name: {self.optimiser.name}"
                raise InputError(f"{given} is not possible; allowed: optimiser.name: sgd, or no momentum of its own")
            build(SgdSpec, {**self.optimiser.model_dump(), "momentum": kick.rule.momentum}, "perturbation")
        if kick is not None and "best" in kick.rule.needs and not self.data.validation_size:
            given = f"data.validation_size: 0 leaves {kick.rule.name} nothing to choose the best epoch by"
            raise InputError(f"{given}; allowed: 1 or more")
        return self

    def _check_batches(self) -> None:
        batch, images = self.training.batch_size, self.data.n_train
        if images is not None and batch > images:
            limit = "data.train_size =" if self.data.train_size else "the number of training images,"
            raise InputError(f"training.batch_size: {batch} exceeds {limit} {images}; allowed: 1 to {images}")
        if not self.model.has_batch_norm:
            return
        if batch == 1:
            raise InputError(
                "training.batch_size: 1 leaves batches of one image, whose variance BatchNorm cannot take; "
                "allowed: 2 or more"
            )
        if images is not None and images % batch == 1 and not self.training.drop_last:
            raise InputError(
                f"training.batch_size: {batch} leaves a batch of one of the {images} training images, whose variance "
                "BatchNorm cannot take; allowed: sizes that leave another remainder, or training.drop_last: true"
            )

    def identity(self) -> dict[str, Any]:
        """Everything that changes run ``k``, with defaults filled in, as JSON types."""
        content = self.model_dump(mode="json", exclude={*_OUTSIDE_DIGEST, "uses"})
        parts = [self.data, self.model, self.optimiser, self.perturbation and self.perturbation.rule]
        used = sorted(file.sha256 for file in self.uses if any(type(part) in file.kinds.values() for part in parts))
        # What a file is called, and files of which nothing is used, change no run.
        return content | ({"uses": [{"sha256": digest} for digest in used]} if used else {})

    def digest(self) -> str:
        """16 hexadecimal digits: SHA-256 of the canonical JSON of `identity` and `ENGINE_VERSION`."""
        content = {"engine": ENGINE_VERSION, "spec": self.identity()}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Classes of the user's files cannot be imported by name in another process: they are made there again.
        if not self.uses:
            return super().__reduce_ex__(protocol)
        own = {kind for file in self.uses for kind in file.kinds.values()}
        content = {name: getattr(self, name) for name in type(self).model_fields}
        kinds = {name: type(part.rule if isinstance(part, Schedule) else part) for name, part in content.items()}
        plain = {name: part.model_dump() if kinds[name] in own else part for name, part in content.items()}
        return partial(EnsembleSpec, **plain | {"uses": self.uses}), ()


def _build(values: Mapping[str, Any], changes: Mapping[str, Any], where: str) -> EnsembleSpec:
    try:
        return EnsembleSpec(**merge(values, nested(changes)))
    except InputError as fault:
        raise InputError(f"{where}{fault}") from None


def override(spec: EnsembleSpec | Mapping[str, Any], changes: Mapping[str, Any]) -> EnsembleSpec:
    """Return parameters with some of them changed, by nested keys or dotted ones, as ``{"optimiser.lr": 0.3}``.

    A section given with another ``name`` replaces the section, because its other keys belong to the other kind. An
    InputError names a key that is unknown or a value that is impossible.

    >>> plain = {"data": {"name": "digits"}, "model": {"name": "mlp"}, "optimiser": {"name": "sgd"}}
    >>> override(plain, {"model.widths": [64], "perturbation.name": "full_reset", "perturbation.period": 20}).epochs
    100
    """
    if isinstance(spec, EnsembleSpec):
        spec = {**spec.model_dump(mode="python", exclude={"uses"}), "uses": spec.uses}
    return _build(spec, changes, "")


def restore(recorded: Mapping[str, Any], uses: Iterable[str | os.PathLike[str] | UserFile] = ()) -> EnsembleSpec:
    """Return the parameters of a store or an archive, as `EnsembleSpec.identity` gave them; nothing is executed.

    ``uses`` are the user's files that they need, and others; an InputError names one that is not given.
    """
    return EnsembleSpec(**{**recorded, "uses": user_files.supplied(recorded.get("uses", []), uses)})


def load(path: str | os.PathLike[str], overrides: Iterable[str] = ()) -> EnsembleSpec:
    """Read a parameter file: YAML with the keys of `EnsembleSpec`.

    Overrides are texts ``key=value`` with dotted keys and YAML values, as ``optimiser.lr=0.3`` or
    ``perturbation=null``. An InputError names file, key, value and what is allowed.
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
            raise InputError("not a mapping of parameters; keys such as data, model and optimiser are needed")
        changes: dict[str, Any] = {}
        for item in overrides:
            key, equals, value = item.partition("=")
            try:
                if not equals:
                    raise InputError("not an override; allowed: key=value, as in optimiser.lr=0.3")
                changes = merge(changes, nested({key.strip(): parse(value)}))
            except InputError as fault:
                raise InputError(f"{item!r}: {fault}") from None
    except InputError as fault:
        raise InputError(f"{path}: {fault}") from None
    return _build(user_files.beside(values, Path(path).parent), changes, f"{path}: ")
