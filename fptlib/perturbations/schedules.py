"""The epochs at which a perturbation acts."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, final

from pydantic import InstanceOf, PrivateAttr, model_serializer, model_validator

from fptlib.errors import InputError
from fptlib.parameters import Part, PositiveInteger, build, chosen
from fptlib.perturbations.base import TIMING, Context, Perturbation, Repeat, State


@final
class Schedule(Part):
    """A perturbation and the epochs after which it acts, right after their evaluation: the section ``perturbation``.

    Parameters
    ----------
    rule
        The perturbation.
    period
        Epochs between perturbations, 1 or more.
    repeat
        ``periodic``: at ``period``, ``2 * period``, ...; ``once``: at ``period``.
    fresh_optimiser
        True if the optimiser's state (momenta) is cleared as well; by default what is the rule's own.

    Examples
    --------
    >>> from fptlib.perturbations import FullReset
    >>> schedule = Schedule(rule=FullReset(), period=3)
    >>> [epoch for epoch in range(1, 10) if schedule.due(epoch)], schedule.fresh_optimiser
    ([3, 6, 9], True)
    >>> schedule.last(8), schedule.last(2)
    (6, 0)
    """

    rule: InstanceOf[Perturbation]
    repeat: Repeat = "periodic"
    period: PositiveInteger
    fresh_optimiser: bool
    _acting: Perturbation = PrivateAttr()

    @model_validator(mode="before")
    @classmethod
    def _as_the_rule_has_it(cls, values: Any) -> Any:
        return {"fresh_optimiser": values["rule"].fresh_optimiser, **values}

    def model_post_init(self, context: Any) -> None:
        """Check the rule together with its timing."""
        self._acting = self.rule.timed(self.period, self.repeat)

    @model_serializer
    def _section(self) -> dict[str, Any]:
        own = {field.name: getattr(self.rule, field.name) for field in dataclasses.fields(self.rule)}  # type: ignore[arg-type]
        return {"name": self.rule.name, **{key: getattr(self, key) for key in TIMING}, **own}

    def due(self, epoch: int) -> bool:
        """Return whether the perturbation acts after this epoch (1, 2, ...)."""
        return epoch == self.period if self.repeat == "once" else epoch % self.period == 0

    def last(self, epoch: int) -> int:
        """Return the last epoch up to this one after which the perturbation acts; 0 where there is none."""
        return min(epoch // self.period, 1 if self.repeat == "once" else epoch) * self.period

    @property
    def changes_rate(self) -> bool:
        """True if the learning rate of some epochs depends on the time since the last perturbation."""
        return type(self.rule).rate is not Perturbation.rate

    def factor(self, epoch: int, last: int | None = None) -> float:
        """Return the factor on the learning rate in an epoch, after a perturbation at ``last`` (0: none yet; by default the due one)."""
        last = self.last(epoch - 1) if last is None else last
        return self._acting.rate(epoch - last) if last else 1.0

    def apply(self, state: State, context: Context) -> State:
        """Return the state after the perturbation.

        An InputError says that the context lacks what the rule needs, or that the rule changes the shape or the type of a tensor.
        """
        for need in sorted(self.rule.needs):
            if getattr(context, need) is None:
                raise InputError(f"perturbation: {self.rule.name} needs {_NEEDED[need]}, and this training gives none")
        result = self._acting.apply(state, context)
        after = {**result.parameters, **result.buffers}
        for name, before in {**state.parameters, **state.buffers}.items():
            if name not in after or (after[name].shape, after[name].dtype) != (before.shape, before.dtype):
                raise InputError(
                    f"perturbation: {self.rule.name} changes the shape or the type of {name} "
                    f"({tuple(before.shape)}, {before.dtype}); apply must keep both, and every tensor"
                )
        return dataclasses.replace(result, optimiser={}) if self.fresh_optimiser else result


_NEEDED = {
    "best": "the best state so far, by the validation metric",
    "output_layer": "the name of the network's output layer",
}


def schedule(values: object, more: Mapping[str, type] | None = None) -> Schedule:
    """Return the schedule that a section ``perturbation`` describes.

    Parameters
    ----------
    values
        Keys of the section, or a schedule, which is returned.
    more
        Kinds known here beside those known everywhere.

    Examples
    --------
    >>> schedule({"name": "full_reset", "period": 20}).repeat
    'periodic'
    """
    if isinstance(values, Schedule):
        return values
    kind = chosen("perturbation", values, more)
    assert isinstance(values, Mapping)
    timing = {key: value for key, value in values.items() if key in TIMING}
    own = {key: value for key, value in values.items() if key not in TIMING and key != "name"}
    rule: Perturbation = build(kind, own, "perturbation", TIMING)
    return build(Schedule, {"rule": rule, **timing}, "perturbation")
