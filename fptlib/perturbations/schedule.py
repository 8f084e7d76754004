"""When a perturbation acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, final

import numpy as np

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
        Epochs between perturbations, 1 or more; ``None`` where they are random.
    repeat
        ``periodic``: at ``period``, ``2 * period``, ...; ``once``: at ``period``; ``random``: after each epoch with
        ``probability``.
    fresh_optimiser
        Whether the optimiser starts anew.
    probability
        Of a perturbation after an epoch, above 0 and below 1; ``None`` where there is a period.

    Raises
    ------
    ValueError
        If there is neither or both of ``period`` and ``probability``, or the wrong one.

    Examples
    --------
    >>> from fptlib.perturbations import FullReset
    >>> schedule = Schedule(perturbation=FullReset(), period=3, repeat="periodic", fresh_optimiser=True)
    >>> [epoch for epoch in range(1, 10) if schedule.due(epoch)]
    [3, 6, 9]
    """

    perturbation: Perturbation
    period: int | None
    repeat: Literal["periodic", "once", "random"]
    fresh_optimiser: bool
    probability: float | None = None

    def __post_init__(self) -> None:
        random = self.repeat == "random"
        if (self.period is None) != random or (self.probability is None) == random:
            raise ValueError(
                f"repeat: {self.repeat} with period {self.period} and probability {self.probability} is not possible; "
                "allowed: a probability alone where repeat is random, else a period alone"
            )

    def due(self, epoch: int, timing: np.random.Generator | None = None) -> bool:
        """Whether the perturbation acts after this epoch (1, 2, ...).

        Parameters
        ----------
        epoch
            The epoch that has just been evaluated.
        timing
            Source of randomness of the run in this epoch; needed where perturbations are random.
        """
        if self.period is None:
            assert timing is not None
            assert self.probability is not None
            return bool(timing.random() < self.probability)
        return epoch == self.period if self.repeat == "once" else epoch % self.period == 0

    def apply(self, state: State, context: Context) -> State:
        """State after the perturbation."""
        state = self.perturbation.apply(state, context)
        return replace(state, optimiser={}) if self.fresh_optimiser else state
