"""When a perturbation acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

from fptlib.perturbations.base import Context, Perturbation, State


@final
@dataclass(frozen=True, slots=True)
class Schedule:
    """A perturbation and the epochs after which it acts, right after their evaluation.

    Parameters
    ----------
    perturbation
        What is done.
    period
        Epochs between perturbations, 1 or more.
    repeat
        ``periodic``: at ``period``, ``2 * period``, ...; ``once``: at ``period``.
    fresh_optimiser
        Whether the optimiser starts anew.

    Examples
    --------
    >>> from fptlib.perturbations import FullReset
    >>> schedule = Schedule(perturbation=FullReset(), period=3, repeat="periodic", fresh_optimiser=True)
    >>> [epoch for epoch in range(1, 10) if schedule.due(epoch)]
    [3, 6, 9]
    >>> schedule.last(8), schedule.last(2)
    (6, 0)
    """

    perturbation: Perturbation
    period: int
    repeat: Literal["periodic", "once"]
    fresh_optimiser: bool

    def due(self, epoch: int) -> bool:
        """Return whether the perturbation acts after this epoch (1, 2, ...)."""
        return epoch == self.period if self.repeat == "once" else epoch % self.period == 0

    def last(self, epoch: int) -> int:
        """Return the last epoch up to this one after which the perturbation acts; 0 where there is none."""
        return min(epoch // self.period, 1 if self.repeat == "once" else epoch) * self.period

    def factor(self, epoch: int) -> float:
        """Return the factor on the learning rate in an epoch; 1 before the first perturbation."""
        last = self.last(epoch - 1)
        return self.perturbation.rate(epoch - last) if last else 1.0

    def apply(self, state: State, context: Context) -> State:
        """Return the state after the perturbation."""
        state = self.perturbation.apply(state, context)
        return replace(state, optimiser={}) if self.fresh_optimiser else state
