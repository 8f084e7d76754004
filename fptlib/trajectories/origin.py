"""What the record of an ensemble says of how it was trained: the schedule of its learning rate, its perturbation.

Only a store of this library says it (``meta["spec"]``). Of foreign logs nothing is known, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from fptlib.errors import InputError
from fptlib.spec.schedules import ScheduleSpec
from fptlib.trajectories.record import Trajectories

_SCHEDULE: TypeAdapter[ScheduleSpec] = TypeAdapter(ScheduleSpec)
_TRAINED_BY = ("data", "model", "optimiser", "training")  # sections that change how a run is trained
_CONSTANT: Mapping[str, Any] = {"name": "constant"}


@dataclass(frozen=True, slots=True)
class Origin:
    """The parameters of an ensemble as its record has them; empty where it has none.

    Parameters
    ----------
    spec
        Nested parameters, as `fptlib.spec.EnsembleSpec` writes them, or some of them.

    Examples
    --------
    >>> origin = Origin({"perturbation": {"name": "full_reset", "period": 20, "fresh_optimiser": True}})
    >>> origin.full_reset, origin.repeat, origin.period, origin.steady_from(100)
    (True, 'periodic', 20, 1)
    """

    spec: Mapping[str, Any]

    @classmethod
    def of(cls, trajectories: Trajectories) -> Origin:
        """Read what trajectories carry."""
        spec = trajectories.meta.get("spec")
        return cls(spec if isinstance(spec, Mapping) else {})

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.spec.get(name)
        return section if isinstance(section, Mapping) else {}

    @property
    def perturbation(self) -> Mapping[str, Any]:
        """Its section; empty where there is none, or where nothing is known."""
        return self._section("perturbation")

    @property
    def unperturbed(self) -> bool:
        """Whether the record says that there was no perturbation."""
        return "perturbation" in self.spec and not self.perturbation

    @property
    def repeat(self) -> str:
        """How often the perturbation acts: ``periodic``, ``once``, or ``random`` with a probability after each epoch."""
        return str(self.perturbation.get("repeat", "periodic"))

    @property
    def period(self) -> int | None:
        """Of the perturbation, in epochs, where the record names one."""
        return self.perturbation.get("period")

    @property
    def probability(self) -> float | None:
        """Of a perturbation after an epoch, where the record names one."""
        return self.perturbation.get("probability")

    @property
    def full_reset(self) -> bool:
        """Whether the perturbation draws everything afresh, the optimiser's memory included."""
        return self.perturbation.get("name") == "full_reset" and bool(self.perturbation.get("fresh_optimiser"))

    @property
    def tied_to_period(self) -> bool:
        """Whether the learning rate falls for as many epochs as the period of the perturbation has, so that the period is part of it."""
        rule = self.perturbation
        return rule.get("name") == "warm_restart" and rule.get("length") is None

    @property
    def schedule(self) -> Mapping[str, Any]:
        """Section ``optimiser.schedule``: how the learning rate depends on the epoch."""
        schedule = self._section("optimiser").get("schedule")
        return schedule if isinstance(schedule, Mapping) else _CONSTANT

    def steady_from(self, horizon: int) -> int | None:
        """First epoch from which on the learning rate is one number up to the horizon; ``None`` if it changes at its last epoch.

        A schedule that this library does not know counts as changing at every epoch.
        """
        factors = _factors(self.schedule, horizon)
        if factors is None or (horizon > 1 and factors[-1] != factors[-2]):
            return None
        return 1 + max((i for i in range(1, horizon) if factors[i] != factors[i - 1]), default=0)

    def schedule_in_words(self, horizon: int) -> str:
        """What the learning rate does up to the horizon."""
        factors = _factors(self.schedule, horizon)
        said = f"the learning rate follows the schedule {self.schedule.get('name')!r}"
        if factors is None:
            return said
        return f"{said} (at epoch {horizon} it is {factors[-1] / factors[0]:.2g} times that of epoch 1)"

    def differences(self, other: Origin) -> Iterator[tuple[str, Any, Any]]:
        """Dotted names of the parameters that train runs otherwise, and both values (``None``: the default).

        Sections that only one of the records has are left out.
        """
        for section in _TRAINED_BY:
            if section in self.spec and section in other.spec:
                yield from _differences(section, self.spec[section], other.spec[section])


def _factors(schedule: Mapping[str, Any], horizon: int) -> list[float] | None:
    """Factor on the learning rate at epochs ``1 .. horizon``; ``None`` for a schedule that is not known here."""
    try:
        known = _SCHEDULE.validate_python(dict(schedule))
    except (InputError, ValidationError):
        return None
    return [known.at(epoch) for epoch in range(1, horizon + 1)]


def _differences(name: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):  # a key that only one has is at its default in the other
            yield from _differences(f"{name}.{key}", one.get(key), other.get(key))
    elif one != other:
        yield name, one, other
