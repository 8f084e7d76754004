"""Predictions of the mean first-passage time under a perturbation, each with one interval and one grade, and the choice between them.

`predict` and `recommend` take a `fptlib.study.Study` and return a `Ranking` of `Prediction` records; `compare` holds predictions against
measurements. The curves behind them are put together in `curves`, the interval in `interval`, and the sentences in `advice`.
"""

from fptlib.response.compare import Comparison, compare
from fptlib.response.ranking import at_each, predict, recommend
from fptlib.response.results import Prediction, Ranking

__all__ = ["Comparison", "Prediction", "Ranking", "at_each", "compare", "predict", "recommend"]
