"""Schedules of the learning rate: a factor on it for each epoch, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator

from fptlib.errors import InputError
from fptlib.parameters import Fraction, Part, Positive, PositiveInteger, build, nearest


class ConstantSpec(Part):
    """The same learning rate in every epoch.

    Examples
    --------
    >>> ConstantSpec().at(17)
    1.0
    """

    name: Literal["constant"] = "constant"

    def at(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; epochs count from 1."""
        return 1.0


class StepSpec(Part):
    """The learning rate is multiplied by ``factor`` after every ``every`` epochs.

    Examples
    --------
    >>> [StepSpec(every=2, factor=0.5).at(epoch) for epoch in range(1, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    name: Literal["step"] = "step"
    every: PositiveInteger
    factor: Positive = 0.1

    def at(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; epochs count from 1."""
        return float(self.factor ** ((epoch - 1) // self.every))


class CosineSpec(Part):
    """The learning rate falls along half a cosine for ``epochs`` epochs, to the fraction ``floor`` of it, and stays there.

    Notes
    -----
    ``floor + (1 - floor) (1 + cos(pi (epoch - 1) / epochs)) / 2`` (Loshchilov & Hutter, "SGDR", ICLR 2017, without
    restarts): the first epoch has the whole rate.

    Examples
    --------
    >>> [round(CosineSpec(epochs=2).at(epoch), 3) for epoch in range(1, 5)]
    [1.0, 0.5, 0.0, 0.0]
    """

    name: Literal["cosine"] = "cosine"
    epochs: PositiveInteger
    floor: Fraction = 0.0

    def at(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; epochs count from 1."""
        done = min((epoch - 1) / self.epochs, 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


_KINDS: dict[str, type[Part]] = {"constant": ConstantSpec, "step": StepSpec, "cosine": CosineSpec}


def _kind(value: object) -> object:
    """Return the schedule that a mapping describes."""
    where = "optimiser.schedule"
    if isinstance(value, tuple(_KINDS.values())):
        return value
    if not isinstance(value, Mapping) or "name" not in value:
        raise InputError(f"{where}: {value!r} has no name; allowed: name: {'|'.join(_KINDS)}, ...")
    kind = _KINDS.get(value["name"]) if isinstance(value["name"], str) else None
    if kind is None:
        raise InputError(f"{where}.name: unknown schedule {value['name']!r}{nearest(value['name'], _KINDS)}")
    return build(kind, value, where)


ScheduleSpec = Annotated[ConstantSpec | StepSpec | CosineSpec, BeforeValidator(_kind)]
