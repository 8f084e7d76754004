"""The published data sets: ResNet-18 on CIFAR-10 in the main text, and three supplementary sets with shrink-and-perturb.

Two numbers of the supplementary sets are not in the archive, and follow from rules. The thresholds are those that three quarters, half and
one quarter of the unperturbed runs reach (`SHARES`): 72 % of the main text is of the first kind. Predictions are made from the period
nearest to a quarter of the horizon (as 50 of 200 epochs is) that leaves 30 survivors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fptlib.errors import InputError

SHARES = (0.75, 0.5, 0.25)  # shares of the unperturbed runs that reach the thresholds within the horizon
LABELS = 10_000  # labels that each ensemble has for itself where seeds are not shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One set of published trajectories.

    Parameters
    ----------
    title, short
        Network, data and optimiser, as far as the archive says; and the same in a word or two.
    folder, unperturbed, perturbed
        Folder of the archive; in it the folder of the unperturbed runs, and the beginning of the names of the perturbed ones, before the
        period.
    shared_seeds
        Whether runs with one label are one run up to the first perturbation. Only those of ``fc_adam`` are; everywhere else even the first
        epochs of equally labelled runs differ.
    supports
        What of the claimed transfer the set can support.
    metric, unit
        Column of the metric, to be maximised, and its unit.
    horizon
        Epochs that every run was followed for.
    periods
        Published periods of each perturbation, in epochs.
    thresholds, threshold
        Metric values that first-passage times are kept for, and the one of them that is used where none is named.
    source_periods, source
        Periods that predictions are made from, in epochs, and the one of them that is used where none is named.
    """

    title: str
    short: str
    folder: str
    unperturbed: str
    perturbed: Mapping[str, str]
    shared_seeds: bool
    supports: str
    metric: str
    unit: str
    horizon: int
    periods: Mapping[str, tuple[int, ...]]
    thresholds: tuple[float, ...]
    threshold: float
    source_periods: tuple[int, ...]
    source: int

    @property
    def sign(self) -> str:
        """The unit as it is written after a number: empty for a fraction."""
        return "%" if self.unit == "per cent" else ""

    @property
    def keys(self) -> tuple[tuple[str, int], ...]:
        """Perturbation and period of every perturbed ensemble."""
        return tuple((name, period) for name, periods in self.periods.items() for period in periods)

    def check(self, perturbation: str, period: int | None = None) -> None:
        """Refuse a perturbation or a period that was not published.

        Raises
        ------
        InputError
            One line that says what was.
        """
        if perturbation not in self.periods:
            raise InputError(f"perturbation {perturbation!r} was not published; there is {', '.join(self.periods)}")
        known = self.periods[perturbation]
        if period is not None and period not in known:
            raise InputError(
                f"period {period} of {perturbation} was not published; there is {', '.join(map(str, known))}"
            )

    def offset(self, perturbation: str | None, period: int | None) -> int:
        """Return what is added to the labels of an ensemble so that only runs that share a seed share a label."""
        key = (perturbation, period)
        return 0 if self.shared_seeds or perturbation is None else LABELS * (1 + self.keys.index(key))


def _record(content: dict[str, Any]) -> Dataset:
    lists = {"thresholds": tuple(map(float, content["thresholds"])), "source_periods": tuple(content["source_periods"])}
    periods = {name: tuple(periods) for name, periods in content["periods"].items()}
    return Dataset(**{**content, **lists, "periods": periods})


MAIN = "cifar10"
_FILE = Path(__file__).with_name("datasets.yml")
DATASETS = {name: _record(content) for name, content in yaml.safe_load(_FILE.read_text()).items()}
SUPPLEMENTARY = tuple(name for name in DATASETS if name != MAIN)


def dataset(name: str) -> Dataset:
    """Return the record of a data set.

    Raises
    ------
    InputError
        If there is no such data set.
    """
    if name not in DATASETS:
        raise InputError(f"data set {name!r} was not published; there is {', '.join(DATASETS)}")
    return DATASETS[name]
