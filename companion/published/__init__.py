"""The published trajectories (arXiv:2502.04121): ResNet-18 on CIFAR-10, and the authors' supplementary data.

What is analysed are two tables in ``book/results/published``: first-passage times, and what else is used of the metrics. This package made
them from the authors' archive, which nothing else needs: ``FPTLIB_DATA=FOLDER python -m companion.published``.
"""

from companion.published.archive import perturbed, unperturbed
from companion.published.claims import judge, own_case, published_cases
from companion.published.datasets import SUPPLEMENTARY, dataset
from companion.published.kept import related
from companion.published.steady import steadiness
from companion.published.table import ORIGIN, ends, fan, means, metrics, study, times, values

__all__ = [
    "ORIGIN",
    "SUPPLEMENTARY",
    "dataset",
    "ends",
    "fan",
    "judge",
    "means",
    "metrics",
    "own_case",
    "perturbed",
    "published_cases",
    "related",
    "steadiness",
    "study",
    "times",
    "unperturbed",
    "values",
]
