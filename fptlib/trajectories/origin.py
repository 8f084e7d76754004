"""The record of how an ensemble was trained: the schedule of its learning rate, its perturbation.

Only a store of this library has one (``meta["spec"]``); of other logs nothing is known, and nothing is claimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fptlib.errors import InputError
from fptlib.trajectories.record import Trajectories

_TRAINED_BY = ("data", "model", "optimiser", "training")  # sections that change how a run is trained
_CONSTANT: Mapping[str, Any] = {"name": "constant"}
FULL_RESET = "full_reset"


def is_full_reset(rule: Mapping[str, Any]) -> bool:
    """Test whether a section ``perturbation`` draws everything afresh, by default the optimiser's memory too.

    >>> is_full_reset({"name": "full_reset"}), is_full_reset({"name": "full_reset", "fresh_optimiser": False}), is_full_reset({})
    (True, False, False)
    """
    return rule.get("name") == FULL_RESET and bool(rule.get("fresh_optimiser", True))


@dataclass(frozen=True, slots=True)
class Origin:
    """The parameters of an ensemble, or some, as `fptlib.spec.EnsembleSpec` writes them; empty without a record.

    >>> origin = Origin({"perturbation": {"name": "full_reset", "period": 20, "fresh_optimiser": True}})
    >>> origin.full_reset, origin.repeat, origin.period, origin.steady_from(100)
    (True, 'periodic', 20, 1)
    """

    spec: Mapping[str, Any]

    @classmethod
    def of(cls, trajectories: Trajectories) -> Origin:
        """Read the record that trajectories carry."""
        spec = trajectories.meta.get("spec")
        return cls(spec if isinstance(spec, Mapping) else {})

    def _section(self, name: str) -> Mapping[str, Any]:
        section = self.spec.get(name)
        return section if isinstance(section, Mapping) else {}

    @property
    def perturbation(self) -> Mapping[str, Any]:
        """Section ``perturbation``; empty where there is none, or where nothing is known."""
        return self._section("perturbation")

    @property
    def unperturbed(self) -> bool:
        """True if the record says that there was no perturbation."""
        return "perturbation" in self.spec and not self.perturbation

    @property
    def repeat(self) -> str:
        """Return how often the perturbation acts: ``periodic`` or ``once``."""
        return str(self.perturbation.get("repeat", "periodic"))

    @property
    def period(self) -> int | None:
        """Period of the perturbation in epochs, where the record names one."""
        return self.perturbation.get("period")

    @property
    def full_reset(self) -> bool:
        """True if the perturbation is a full reset, see `is_full_reset`."""
        return is_full_reset(self.perturbation)

    @property
    def tied_to_period(self) -> bool:
        """Test whether the learning rate falls over the period, which is then part of the perturbation."""
        return self.perturbation.get("name") == "warm_restart" and self.perturbation.get("length") is None

    @property
    def schedule(self) -> Mapping[str, Any]:
        """Section ``optimiser.schedule``: the dependence of the learning rate on the epoch."""
        schedule = self._section("optimiser").get("schedule")
        return schedule if isinstance(schedule, Mapping) else _CONSTANT

    def steady_from(self, horizon: int) -> int | None:
        """Return the first epoch from which on the learning rate is one number up to the horizon; ``None`` if it changes at the last.

        A schedule that this library does not know counts as changing at every epoch.
        """
        factors = _factors(self.schedule, horizon)
        if factors is None or (horizon > 1 and factors[-1] != factors[-2]):
            return None
        return 1 + max((i for i in range(1, horizon) if factors[i] != factors[i - 1]), default=0)

    def schedule_in_words(self, horizon: int) -> str:
        """Describe the learning rate up to the horizon in words."""
        factors = _factors(self.schedule, horizon)
        name = f"the learning rate follows the schedule {self.schedule.get('name')!r}"
        if factors is None:
            return name
        return f"{name} (at epoch {horizon} it is {factors[-1] / factors[0]:.2g} times that of epoch 1)"

    def differences(self, other: Origin) -> Iterator[tuple[str, Any, Any]]:
        """Yield the dotted names of the parameters that train runs otherwise, and both values (``None``: the default).

        Sections that only one of the records has are left out.
        """
        for section in _TRAINED_BY:
            if section in self.spec and section in other.spec:
                yield from _differences(section, self.spec[section], other.spec[section])


def _factors(schedule: Mapping[str, Any], horizon: int) -> list[float] | None:
    """Return the factor on the learning rate at epochs ``1 .. horizon``; ``None`` for a schedule that is not known here."""
    if schedule == _CONSTANT:
        return [1.0] * horizon
    from fptlib.parameters import read_kind
    from fptlib.spec.schedules import ScheduleSpec

    try:
        known = read_kind(ScheduleSpec, schedule)
    except InputError:
        return None
    return [known.at(epoch) for epoch in range(1, horizon + 1)]


def _differences(name: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in dict.fromkeys([*one, *other]):  # a key that only one has is at its default in the other
            yield from _differences(f"{name}.{key}", one.get(key), other.get(key))
    elif one != other:
        yield name, one, other
