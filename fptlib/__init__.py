"""Treat training as a first-passage process.

The public names are loaded when they are first used, so that analysing logs never imports torch::

    import fptlib as fpt
    runs = fpt.read("logs/")
    times = fpt.first_passage(runs, threshold=0.9)
    print(fpt.restricted_mean(times))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fptlib.ensemble import Fork, fork, train
    from fptlib.errors import InputError
    from fptlib.firstpassage import (
        Estimate,
        FirstPassageTimes,
        first_passage,
        hazard,
        residual_times,
        restricted_mean,
        survival,
    )
    from fptlib.hooks import Perturber
    from fptlib.qss import QuasiSteadyState, judge
    from fptlib.readers import read
    from fptlib.response import Prediction, Recommendation, Response, predict, recommend
    from fptlib.spec import EnsembleSpec
    from fptlib.trajectories import Retirement, Trajectories

__version__ = "0.1.0"

_HOME = {
    "EnsembleSpec": "spec",
    "Estimate": "firstpassage",
    "FirstPassageTimes": "firstpassage",
    "Fork": "ensemble",
    "InputError": "errors",
    "Perturber": "hooks",
    "Prediction": "response",
    "QuasiSteadyState": "qss",
    "Recommendation": "response",
    "Response": "response",
    "Retirement": "trajectories",
    "Trajectories": "trajectories",
    "first_passage": "firstpassage",
    "fork": "ensemble",
    "hazard": "firstpassage",
    "judge": "qss",
    "predict": "response",
    "read": "readers",
    "recommend": "response",
    "residual_times": "firstpassage",
    "restricted_mean": "firstpassage",
    "survival": "firstpassage",
    "train": "ensemble",
}
__all__ = [
    "EnsembleSpec",
    "Estimate",
    "FirstPassageTimes",
    "Fork",
    "InputError",
    "Perturber",
    "Prediction",
    "QuasiSteadyState",
    "Recommendation",
    "Response",
    "Retirement",
    "Trajectories",
    "first_passage",
    "fork",
    "hazard",
    "judge",
    "predict",
    "read",
    "recommend",
    "residual_times",
    "restricted_mean",
    "survival",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fptlib' has no attribute {name!r}")
    return getattr(import_module(f"fptlib.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
