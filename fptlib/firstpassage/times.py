"""First-passage times of runs, censored where a run ends before it reaches the threshold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.record import Record
from fptlib.trajectories import Target, Trajectories, reached
from fptlib.trajectories.record import passages


@dataclass(frozen=True, slots=True)
class FirstPassageTimes(Record):
    """First-passage times of many runs, some of them censored.

    Parameters
    ----------
    time
        First-passage epoch, or the last epoch of a run that did not pass, int64, shape ``(runs,)``; 1 or more.
    observed, run
        True where the run passed, bool, and labels of the runs, int64, both of shape ``(runs,)``.
    """

    time: NDArray[np.int64]
    observed: NDArray[np.bool_]
    run: NDArray[np.int64]

    def __post_init__(self) -> None:
        if not len(self.time) == len(self.observed) == len(self.run):
            raise InputError("time, observed and run must have one entry for each run")
        if len(self.time) == 0 or self.time.min() < 1:
            raise InputError("first-passage times need at least one run and epochs counted from 1")

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.time)

    @property
    def n_censored(self) -> int:
        """Number of runs that did not reach the threshold."""
        return int(np.sum(~self.observed))

    @property
    def horizon(self) -> int:
        """The last epoch to which any run was followed."""
        return int(self.time.max())

    def supported(self, limit: int) -> int:
        """Return the last epoch, ``limit`` or before, to which half of all runs would have been followed had none reached the threshold.

        That is where ``P(C >= k) >= 1/2`` with ``C`` the epoch at which the record of a run ends, by Kaplan-Meier's
        estimate: each run that is still followed speaks for at most one other that was lost. With one common horizon
        this is the horizon.

        >>> ends = np.array([3, 3, 3, 5, 9])
        >>> times = FirstPassageTimes(time=ends, observed=np.zeros(5, dtype=bool), run=np.arange(5))
        >>> times.supported(9), times.supported(2)
        (3, 2)
        """
        if not self.n_censored:
            return limit
        ends, n_lost = np.unique(self.time[~self.observed], return_counts=True)
        n_there = ((self.time[:, None] > ends) | ((self.time[:, None] == ends) & ~self.observed[:, None])).sum(axis=0)
        followed = np.cumprod(1.0 - n_lost / n_there)  # P(C > end)
        beyond = np.flatnonzero(followed < 0.5 - 1e-9)  # a half may have been rounded
        return min(limit, int(ends[beyond[0]])) if len(beyond) else limit

    def running(self, epoch: int) -> NDArray[np.bool_]:
        """Return which runs are known to be still below the threshold after ``epoch`` epochs, shape ``(runs,)``."""
        return np.asarray((self.time > epoch) | ((self.time == epoch) & ~self.observed))


def first_passage(trajectories: Trajectories, target: Target | float) -> FirstPassageTimes:
    """Return the first epoch at which each run reaches the target; runs that do not are censored at their last epoch.

    A number is a threshold that ``test_metric``, or the only metric, is to rise to. An InputError says that the metric
    is missing or not finite, or runs were retired before they could reach this target.

    >>> t = Trajectories(metrics={"acc": np.array([[0.2, 0.5, 0.4], [0.1, 0.2, 0.3]])}, run=np.array([0, 1]))
    >>> times = first_passage(t, 0.5)
    >>> times.time, times.observed
    (array([2, 3]), array([ True, False]))
    """
    target = Target.of(target).on(trajectories)
    trajectories.metric(target.name)  # finite everywhere
    trajectories.require_followed(target)
    time, observed = passages(trajectories, target)
    return FirstPassageTimes(time=time, observed=observed, run=trajectories.run)


def require_passage(target: Target | float, **values: NDArray[np.float64]) -> None:
    """Raise an InputError if no run of any ensemble reaches the target.

    ``values`` are metrics ``(runs, epochs)`` by ensemble, NaN after the last epoch that a run was followed to.
    """
    target = Target.of(target)
    if not any(reached(v, target).any() for v in values.values()):
        best = np.nanmax if target.direction == "above" else np.nanmin
        ends = ", ".join(f"{float(best(v)):.6g} ({name})" for name, v in values.items())
        fractions = all(np.nanmin(v) >= 0 and np.nanmax(v) <= 1 for v in values.values())
        other = (
            f"; they are fractions: is {target.threshold / 100:g} meant?" if fractions and target.threshold > 1 else ""
        )
        raise InputError(
            f"no run reaches the threshold {target.threshold:g} ({target.direction}); the best values are {ends}{other}"
        )


def residual_times(times: FirstPassageTimes, *, period: int) -> FirstPassageTimes:
    """Return the residual times ``T - period`` of the runs that were below the threshold after ``period`` epochs, one at least."""
    later = times.time > period
    if not later.any():
        raise InputError(f"no run is still below the threshold after epoch {period} and followed beyond it")
    return FirstPassageTimes(time=times.time[later] - period, observed=times.observed[later], run=times.run[later])
