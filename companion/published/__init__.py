"""The published trajectories (arXiv:2502.04121): ResNet-18 on CIFAR-10, and the authors' supplementary data.

Where the trajectories are at hand every table is computed from them. Where they are not, the same tables are read from the summary in
``book/results/published``, which this package writes from the trajectories::

    FPTLIB_DATA=FOLDER python -m companion.published
"""

from companion.published.agreement import FEWEST_RUNS
from companion.published.archive import LISTED_THRESHOLD, available, perturbed, unperturbed
from companion.published.cases import own_case, published_case
from companion.published.claims import (
    VOUCHED,
    case_claims,
    claim,
    main_claims,
    other_claims,
    ratios,
    supplementary_claims,
)
from companion.published.datasets import SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import Judgement
from companion.published.lists import batches, listed, listed_predicted, listed_row
from companion.published.page import glance, in_full
from companion.published.summary import origin, stored
from companion.published.table import VALUES, ends, fan, means, metrics, study, survivors, times, values
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
    "FEWEST_RUNS",
    "LISTED_THRESHOLD",
    "SHARES",
    "SUPPLEMENTARY",
    "VALUES",
    "VOUCHED",
    "Judgement",
    "advice",
    "available",
    "batches",
    "beyond",
    "case_claims",
    "claim",
    "dataset",
    "ends",
    "fan",
    "final_metrics",
    "glance",
    "hazard_bins",
    "in_full",
    "listed",
    "listed_predicted",
    "listed_row",
    "main_claims",
    "means",
    "measured",
    "metrics",
    "origin",
    "other_claims",
    "own_case",
    "perturbed",
    "predicted",
    "published_case",
    "quantiles",
    "ranking",
    "ratios",
    "scores",
    "speedups",
    "state",
    "state_verdict",
    "stored",
    "study",
    "supplementary_claims",
    "survival_curve",
    "survivors",
    "times",
    "unperturbed",
    "unperturbed_mean",
    "values",
]
