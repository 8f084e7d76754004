"""From trajectories to first-passage times, survival, restricted mean and hazard, each with an interval.

Time is discrete: epochs count from 1, the first-passage time ``T`` is the first epoch at which the metric reaches the threshold, and
``S(k) = P(T > k)``. A run that ends before it reaches the threshold is right-censored at its own last epoch, wherever those of other
runs are. A run that was retired at some threshold is censored at none: it has passed there, and of any harder threshold it says
nothing.
"""

from fptlib.firstpassage.estimates import (
    N_BOOT,
    Estimate,
    Hazard,
    Survival,
    contributions,
    hazard,
    restricted_mean,
    survival,
    survival_curves,
)
from fptlib.firstpassage.resampling import (
    bootstrap_weights,
    corrected_interval,
    generator,
    percentile_interval,
    weighted_slope,
    weighted_sums,
)
from fptlib.firstpassage.times import (
    FirstPassageTimes,
    first_passage,
    require_passage,
    residual_times,
)
from fptlib.trajectories import Direction

__all__ = [
    "N_BOOT",
    "Direction",
    "Estimate",
    "FirstPassageTimes",
    "Hazard",
    "Survival",
    "bootstrap_weights",
    "contributions",
    "corrected_interval",
    "first_passage",
    "generator",
    "hazard",
    "percentile_interval",
    "require_passage",
    "residual_times",
    "restricted_mean",
    "survival",
    "survival_curves",
    "weighted_slope",
    "weighted_sums",
]
