"""How the mean first-passage time responds to the period of a perturbation."""

from fptlib.response.forms import (
    cycle_residual,
    cycles,
    full_restart,
    geometric_close,
    restart_mean,
    restricted,
    splice,
)
from fptlib.response.outcome import Outcome, outcome
from fptlib.response.prediction import Prediction, Response, predict
from fptlib.response.recommendation import Option, Recommendation, recommend, recommend_at

__all__ = [
    "Option",
    "Outcome",
    "Prediction",
    "Recommendation",
    "Response",
    "cycle_residual",
    "cycles",
    "full_restart",
    "geometric_close",
    "outcome",
    "predict",
    "recommend",
    "recommend_at",
    "restart_mean",
    "restricted",
    "splice",
]
