"""How the mean first-passage time responds to the period of a perturbation."""

from fptlib.response.advice import too_few
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

__all__ = [
    "LinearResponse",
    "Option",
    "Outcome",
    "Prediction",
    "RandomPrediction",
    "Recommendation",
    "Response",
    "at_each",
    "cycle_residual",
    "cycles",
    "full_restart",
    "generating",
    "geometric_close",
    "linear_response",
    "outcome",
    "outcomes",
    "poisson_mean",
    "poisson_slope",
    "predict",
    "predict_random",
    "random_mean",
    "random_residual",
    "random_slope",
    "random_survival",
    "recommend",
    "restart_mean",
    "restricted",
    "restricted_slope",
    "splice",
    "too_few",
]
