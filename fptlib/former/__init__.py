"""Predictions of the first-passage time with a verdict each; `fptlib.response` has what takes their place."""

from fptlib.former.advice import Option, too_few
from fptlib.former.outcome import Outcome, outcomes
from fptlib.former.prediction import Prediction, Response, predict
from fptlib.former.recommendation import Recommendation, at_each, recommend

__all__ = [
    "Option",
    "Outcome",
    "Prediction",
    "Recommendation",
    "Response",
    "at_each",
    "outcomes",
    "predict",
    "recommend",
    "too_few",
]
