"""How the first-passage time responds to a perturbation.

The forms of the theory are functions of survival curves (`forms`: periodic perturbations; `random_times`: perturbations with a
probability). `seeds` and `sample` reduce ensembles to curves of the data and of every bootstrap replicate, seeds drawn with all their runs.
From these come predictions of means (`prediction`, `random_prediction`, `linear`, `renewal`, `extrapolation`) and of whole distributions
(`distribution`), each with a verdict (`validity`) and a word on its interval (`coverage`); `recommendation` and `advice` compare
perturbations, `outcome` what runs end with, and `plan` says how many runs it takes.
`records` says what the record of a training has against a prediction: where training is not the
same at every epoch, nothing is vouched for.
"""

from fptlib.response.advice import too_few
from fptlib.response.coverage import interval_flag
from fptlib.response.distribution import Distribution, Quantile, Success, distribution, quantile_epochs
from fptlib.response.extrapolation import Extrapolated, HazardTrend, extrapolate, hazard_trend, unperturbed_mean
from fptlib.response.forms import (
    cycle_residual,
    cycles,
    full_restart,
    geometric_close,
    restart_mean,
    restricted,
    splice,
)
from fptlib.response.linear import LinearResponse, linear_response
from fptlib.response.outcome import Outcome, outcome, outcomes
from fptlib.response.plan import Plan, Requirement, Size, plan
from fptlib.response.prediction import Prediction, Response, predict
from fptlib.response.random_prediction import RandomPrediction, predict_random
from fptlib.response.random_times import (
    generating,
    poisson_mean,
    poisson_slope,
    random_mean,
    random_residual,
    random_slope,
    random_survival,
    restricted_slope,
)
from fptlib.response.recommendation import Option, Recommendation, at_each, recommend
from fptlib.response.renewal import Renewal, renewal

__all__ = [
    "Distribution",
    "Extrapolated",
    "HazardTrend",
    "LinearResponse",
    "Option",
    "Outcome",
    "Plan",
    "Prediction",
    "Quantile",
    "RandomPrediction",
    "Recommendation",
    "Renewal",
    "Requirement",
    "Response",
    "Size",
    "Success",
    "at_each",
    "cycle_residual",
    "cycles",
    "distribution",
    "extrapolate",
    "full_restart",
    "generating",
    "geometric_close",
    "hazard_trend",
    "interval_flag",
    "linear_response",
    "outcome",
    "outcomes",
    "plan",
    "poisson_mean",
    "poisson_slope",
    "predict",
    "predict_random",
    "quantile_epochs",
    "random_mean",
    "random_residual",
    "random_slope",
    "random_survival",
    "recommend",
    "renewal",
    "restart_mean",
    "restricted",
    "restricted_slope",
    "splice",
    "too_few",
    "unperturbed_mean",
]
