"""When each run is perturbed: a function of schedule, seed and run, whatever the horizon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from fptlib.ensemble.streams import stream
from fptlib.perturbations import Schedule


@final
@dataclass(frozen=True, slots=True)
class Timing:
    """Epochs after which the runs of an ensemble are perturbed.

    Parameters
    ----------
    schedule
        The perturbation and its timing.
    seed
        Seed of the ensemble. Random times of a run come from a stream of their own, one number for each epoch.

    Examples
    --------
    >>> from fptlib.perturbations import FullReset
    >>> timing = Timing(Schedule(FullReset(), period=3, repeat="periodic", fresh_optimiser=True), seed=0)
    >>> timing.due(run=5, epoch=6), timing.last(run=5, epoch=8), timing.last(run=5, epoch=2)
    (True, 6, 0)
    """

    schedule: Schedule
    seed: int

    def due(self, run: int, epoch: int) -> bool:
        """Whether a run is perturbed after an epoch (1, 2, ...)."""
        random = self.schedule.repeat == "random"
        return self.schedule.due(epoch, stream(self.seed, run, "timing", epoch) if random else None)

    def last(self, run: int, epoch: int) -> int:
        """Last epoch up to ``epoch`` after which a run is perturbed; 0 where there is none."""
        return next((at for at in range(epoch, 0, -1) if self.due(run, at)), 0)

    def factor(self, epoch: int, last: int) -> float:
        """What the perturbation makes of the learning rate in an epoch, after a perturbation at ``last`` (0: none yet)."""
        return self.schedule.perturbation.rate(epoch - last) if last else 1.0
