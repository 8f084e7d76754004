"""From trajectories to first-passage times, survival, restricted mean and hazard, each with an interval.

Time is discrete: epochs count from 1, the first-passage time ``T`` is the first epoch at which the metric reaches the threshold, and
``S(k) = P(T > k)``. A run that ends before it reaches the threshold is right-censored at its own last epoch, wherever those of other
runs are. A run that was retired at some threshold is censored at none: it has reached that one, and of any harder threshold nothing is
known. The bootstrap behind the intervals is `fptlib.firstpassage.resampling`.
"""

from fptlib.firstpassage.estimates import N_BOOT, Estimate, Hazard, Survival, hazard, ratio, restricted_mean, survival
from fptlib.firstpassage.times import FirstPassageTimes, first_passage, require_passage, residual_times

__all__ = [
    "N_BOOT",
    "Estimate",
    "FirstPassageTimes",
    "Hazard",
    "Survival",
    "first_passage",
    "hazard",
    "ratio",
    "require_passage",
    "residual_times",
    "restricted_mean",
    "survival",
]
