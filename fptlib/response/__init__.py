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
from fptlib.response.prediction import Prediction, Response, predict

__all__ = [
    "Prediction",
    "Response",
    "cycle_residual",
    "cycles",
    "full_restart",
    "geometric_close",
    "predict",
    "restart_mean",
    "restricted",
    "splice",
]
