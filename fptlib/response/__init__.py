"""Predictions of the mean first-passage time under a perturbation, each with one interval and one grade, and the choice between them.

`predict` and `recommend` take a `fptlib.study.Study` and return a `Ranking` of `Prediction` records; `compare` holds predictions against
measurements, `distributions` says how the first-passage times behind a mean are spread, `final_metrics` what the runs end with,
`sample_size` how many runs it takes, and `linear_response` whether a rare perturbation helps. The curves behind all are put together in
`curves`, the interval in `interval`, and the sentences in `advice`.
"""

from fptlib.response.compare import Comparison, compare
from fptlib.response.distribution import Distribution, distributions
from fptlib.response.linear import LinearResponse, linear_response
from fptlib.response.metrics import FinalMetric, final_metrics
from fptlib.response.ranking import at_each, predict, recommend
from fptlib.response.results import Prediction, Ranking
from fptlib.response.size import SampleSize, sample_size

__all__ = [
    "Comparison",
    "Distribution",
    "FinalMetric",
    "LinearResponse",
    "Prediction",
    "Ranking",
    "SampleSize",
    "at_each",
    "compare",
    "distributions",
    "final_metrics",
    "linear_response",
    "predict",
    "recommend",
    "sample_size",
]
