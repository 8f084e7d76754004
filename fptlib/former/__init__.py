"""Predictions of the first-passage time under a perturbation.

The forms of the theory are functions of survival curves (`forms`). `seeds` and `sample` reduce ensembles to curves of the data and of
every bootstrap replicate, seeds drawn with all their runs; `common` checks the ensembles and puts them on one horizon. From the samples
come predictions of means (`prediction`), each with a verdict (`verdicts`,
`validity`) and a word on its interval (`coverage`). `recommendation` and `advice` compare perturbations, `outcome` the metric that runs
end with. `records` holds the record of the training against a prediction:
where training is not the same at every epoch, nothing is vouched for.
"""

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
