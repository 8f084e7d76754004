"""Predictions of the first-passage time under a perturbation.

The forms of the theory are functions of survival curves (`forms`). `seeds` and `sample` reduce ensembles to curves of the data and of
every bootstrap replicate, seeds drawn with all their runs; `common` checks the ensembles and puts them on one horizon. From the samples
come predictions of means (`prediction`, `linear`) and of whole distributions (`distribution`), each with a verdict (`verdicts`,
`validity`) and a word on its interval (`coverage`). `recommendation` and `advice` compare perturbations, `outcome` the metric that runs
end with, and `plan` computes how many runs a wanted interval needs. `records` holds the record of the training against a prediction:
where training is not the same at every epoch, nothing is vouched for.
"""

from fptlib.response.advice import Option, too_few
from fptlib.response.distribution import Distribution, distribution
from fptlib.response.linear import LinearResponse, linear_response
from fptlib.response.outcome import Outcome, outcomes
from fptlib.response.plan import Plan, plan
from fptlib.response.prediction import Prediction, Response, predict
from fptlib.response.recommendation import Recommendation, at_each, recommend

__all__ = [
    "Distribution",
    "LinearResponse",
    "Option",
    "Outcome",
    "Plan",
    "Prediction",
    "Recommendation",
    "Response",
    "at_each",
    "distribution",
    "linear_response",
    "outcomes",
    "plan",
    "predict",
    "recommend",
    "too_few",
]
