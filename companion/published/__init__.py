"""The published trajectories (arXiv:2502.04121): ResNet-18 on CIFAR-10, and the authors' supplementary data.

What is analysed are two tables in ``book/results/published``: first-passage times, and what else is used of the metrics. This package made
them from the authors' archive, which nothing else needs: ``FPTLIB_DATA=FOLDER python -m companion.published``.
"""

from companion.published.archive import LISTED_THRESHOLD, available, perturbed, unperturbed
from companion.published.claims import CLAIMS, cells, judge, own_case, published_cases
from companion.published.datasets import SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import Case
from companion.published.page import glance, in_full
from companion.published.steady import steadiness
from companion.published.summary import origin, stored
from companion.published.table import (
    LISTED_PERIODS,
    LISTS,
    ORIGIN,
    VALUES,
    ends,
    fan,
    means,
    metrics,
    study,
    survivors,
    times,
    values,
)
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
    "LISTED_THRESHOLD",
    "LISTS",
    "ORIGIN",
    "SHARES",
    "SUPPLEMENTARY",
    "VALUES",
    "Case",
    "advice",
    "available",
    "beyond",
    "cells",
    "dataset",
    "ends",
    "fan",
    "final_metrics",
    "glance",
    "hazard_bins",
    "in_full",
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
    "speedups",
    "state",
    "state_verdict",
    "steadiness",
    "stored",
    "study",
    "survival_curve",
    "survivors",
    "times",
    "unperturbed",
    "unperturbed_mean",
    "values",
]
