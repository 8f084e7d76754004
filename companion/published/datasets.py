"""The published data sets: ResNet-18 on CIFAR-10 in the main text, and three supplementary sets with shrink-and-perturb.

Two numbers of the supplementary sets are not in the archive, and follow from rules. The thresholds are those that three quarters, half and
one quarter of the unperturbed runs reach (`SHARES`): 72 % of the main text is of the first kind. Predictions are made from the period
nearest to a quarter of the horizon (as 50 of 200 epochs is) that leaves 30 survivors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from fptlib.errors import InputError

SHARES = (0.75, 0.5, 0.25)  # shares of the unperturbed runs that reach the thresholds within the horizon
MAIN = "cifar10"


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One set of published trajectories; ``datasets.yml`` says what its fields are."""

    title: str
    short: str
    supports: str
    folder: str
    unperturbed: str
    perturbed: Mapping[str, str]
    shared_seeds: bool
    metric: str
    unit: str
    horizon: int
    periods: Mapping[str, list[int]]
    thresholds: list[float]
    threshold: float
    source: int

    @property
    def keys(self) -> list[tuple[str, int]]:
        """Perturbation and period of every perturbed ensemble."""
        return [(name, period) for name, periods in self.periods.items() for period in periods]

    def check(self, perturbation: str, period: int) -> None:
        """Raise an InputError if a perturbation or a period was not published."""
        if (perturbation, period) not in self.keys:
            there = "; ".join(f"{name} every {', '.join(map(str, periods))}" for name, periods in self.periods.items())
            raise InputError(f"{perturbation} every {period} epochs was not published; there is {there}")


DATASETS = {
    name: Dataset(**content)
    for name, content in yaml.safe_load(Path(__file__).with_name("datasets.yml").read_text()).items()
}
SUPPLEMENTARY = tuple(name for name in DATASETS if name != MAIN)


def dataset(name: str) -> Dataset:
    """Return the record of a data set; an InputError if there is no such one."""
    if name not in DATASETS:
        raise InputError(f"data set {name!r} was not published; there is {', '.join(DATASETS)}")
    return DATASETS[name]
