"""How training goes, and the registry that knows every kind by its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self

from pydantic import model_validator

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
from fptlib.spec.networks import CnnSpec, MlpSpec, ModelSpec, ResNet18Spec, ResNetSpec
from fptlib.spec.optimisers import OPTIMISERS, OptimiserSpec
from fptlib.spec.perturbations import PERTURBATIONS, PerturbationSpec
from fptlib.spec.values import NonNegative, Part, Positive, PositiveInteger


class TrainingSpec(Part):
    """Images per step, and the floating-point types of training.

    ``drop_last`` leaves out the last batch of an epoch where it is smaller than the others. ``dtype`` is the type of
    everything that is trained; with ``autocast`` the layers compute in a shorter type (mixed precision).
    """

    batch_size: PositiveInteger = 25
    drop_last: bool = False
    dtype: Literal["float32", "float64"] = "float32"
    autocast: Literal["none", "bfloat16", "float16"] = "none"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.autocast != "none" and self.dtype == "float64":
            raise ValueError(
                f"autocast: {self.autocast} does nothing to float64; allowed: autocast: none, or dtype: float32"
            )
        return self


class ExecutionSpec(Part):
    """How training is carried out; what it gives does not depend on it, beyond rounding.

    ``channels_last``, ``compile`` and ``cuda_graphs`` switch on what their names say in PyTorch; what cannot be had is left
    out with a message. Without a word, channels come last on a CPU. ``stack`` is the number of runs that train as one stack;
    without it, as many as the cache likes and ``memory_gb``, the memory for the runs of one process in gigabytes, holds
    (without that: 1 on a CPU, 16 on a GPU). ``snapshot_s`` is the number of seconds between snapshots to resume from.
    """

    channels_last: bool | None = None
    compile: bool = False
    cuda_graphs: bool = False
    stack: PositiveInteger | None = None
    memory_gb: Positive | None = None
    snapshot_s: NonNegative = 10.0


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
        If the section is unknown, the class is no subclass of the section's model, its ``name`` has no default or is a
        built-in kind's.
    """
    if section not in _REGISTRIES:
        raise InputError(f"no section {section!r} of the parameters; there is {', '.join(_REGISTRIES)}")
    base, kinds = _REGISTRIES[section]
    name = kind.model_fields["name"].default if issubclass(kind, base) else None
    if not isinstance(name, str):
        raise InputError(f"{kind.__name__}: a {section} is a subclass of {base.__name__} whose `name` has a default")
    if any(built_in.model_fields["name"].default == name for built_in in _BUILT_IN[section]):
        raise InputError(f"{section} {name!r} is built in; a kind of one's own needs another name")
    if _collecting:
        _collecting[-1][section, name] = kind
    else:
        kinds[name] = kind
    return kind


_collecting: list[dict[tuple[str, str], type[Part]]] = []


@contextmanager
def collected() -> Iterator[dict[tuple[str, str], type[Part]]]:
    """Kinds that are registered meanwhile, by section and name; they become known nowhere else."""
    found: dict[tuple[str, str], type[Part]] = {}
    _collecting.append(found)
    try:
        yield found
    finally:
        _collecting.pop()


def kinds_of(section: str) -> tuple[type[Part], dict[str, type[Part]]]:
    """What every kind of a section has, and the kinds by name."""
    return _REGISTRIES[section]


def known(section: str) -> tuple[str, ...]:
    """Names of the kinds known in a section, sorted.

    >>> {"dash", "full_reset", "shrink_perturb"} <= set(known("perturbation"))
    True
    """
    return tuple(sorted(_REGISTRIES[section][1]))


_BUILT_IN: dict[str, tuple[type[Part], ...]] = {
    "data": (
        DigitsSpec,
        Mnist5kSpec,
        FashionMnistSpec,
        Cifar10Spec,
        Cifar100Spec,
        Cifar10SubsetSpec,
        NuclearMassesSpec,
    ),
    "model": (MlpSpec, CnnSpec, ResNet18Spec, ResNetSpec),
    "optimiser": OPTIMISERS,
    "perturbation": PERTURBATIONS,
}
for _section, _kinds in _BUILT_IN.items():
    for _kind in _kinds:
        _REGISTRIES[_section][1][str(_kind.model_fields["name"].default)] = _kind
