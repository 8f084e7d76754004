"""Schedules of the learning rate: a factor on it for each epoch, by name."""

from __future__ import annotations

import math
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from fptlib.parameters import Fraction, Kind, Positive, PositiveInteger, read_kind


class ScheduleSpec(Kind):
    """A schedule: its name, and a factor for each epoch."""

    SECTION: ClassVar[str] = "optimiser.schedule"

    name: str

    def at(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; epochs count from 1."""
        return 1.0


class ConstantSpec(ScheduleSpec):
    """The same learning rate in every epoch."""

    name: Literal["constant"] = "constant"


class StepSpec(ScheduleSpec):
    """The learning rate is multiplied by ``factor`` after every ``every`` epochs.

    >>> [StepSpec(every=2, factor=0.5).at(epoch) for epoch in range(1, 6)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    name: Literal["step"] = "step"
    every: PositiveInteger
    factor: Positive = 0.1

    def at(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; epochs count from 1."""
        return float(self.factor ** ((epoch - 1) // self.every))


class CosineSpec(ScheduleSpec):
    """The learning rate falls along half a cosine for ``epochs`` epochs, to the fraction ``floor`` of it, and stays there.

    ``floor + (1 - floor) (1 + cos(pi (epoch - 1) / epochs)) / 2`` (Loshchilov & Hutter, "SGDR", ICLR 2017, without
    restarts): the first epoch has the whole rate.

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


Schedule = Annotated[SerializeAsAny[ScheduleSpec], BeforeValidator(lambda value: read_kind(ScheduleSpec, value))]
