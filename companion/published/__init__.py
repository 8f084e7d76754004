"""The published trajectories (arXiv:2502.04121): ResNet-18 on CIFAR-10, and the authors' supplementary data.

What is analysed are two tables in ``book/results/published``: first-passage times, and what else is used of the metrics. This package made
them from the authors' archive, which nothing else needs: ``FPTLIB_DATA=FOLDER python -m companion.published``.
"""

from companion.published.archive import perturbed, unperturbed
from companion.published.claims import CLAIMS, judge, own_case, published_cases, show
from companion.published.datasets import SHARES, SUPPLEMENTARY, dataset
from companion.published.steady import steadiness
from companion.published.summary import available, origin, stored
from companion.published.table import LISTED_PERIODS, LISTS, ORIGIN, ends, fan, means, metrics, study, times, values
from companion.published.tables import (
    advice,
    beyond,
    final_metrics,
    hazard_bins,
    measured,
    predicted,
    quantiles,
    ranking,
    scores,
    speedups,
    state,
    state_verdict,
    survival_curve,
    unperturbed_mean,
)

__all__ = [
    "CLAIMS",
    "LISTED_PERIODS",
    "LISTS",
    "ORIGIN",
    "SHARES",
    "SUPPLEMENTARY",
    "advice",
    "available",
    "beyond",
    "dataset",
    "ends",
    "fan",
    "final_metrics",
    "hazard_bins",
    "judge",
    "means",
    "measured",
    "metrics",
    "origin",
    "own_case",
    "perturbed",
    "predicted",
    "published_cases",
    "quantiles",
    "ranking",
    "scores",
    "show",
    "speedups",
    "state",
    "state_verdict",
    "steadiness",
    "stored",
    "study",
    "survival_curve",
    "times",
    "unperturbed",
    "unperturbed_mean",
    "values",
]
