"""The published data sets: ResNet-18 on CIFAR-10 in the main text, and three supplementary sets with shrink-and-perturb.

Two numbers of the supplementary sets are not in the archive, and follow from rules. The thresholds are those that three quarters, half and
one quarter of the unperturbed runs reach (`SHARES`): 72 % of the main text is of the first kind. Predictions are made from the period
nearest to a quarter of the horizon (as 50 of 200 epochs is) that leaves enough survivors, and, for comparison, from another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from companion.published.summary import read
from fptlib.errors import InputError
from fptlib.trajectories import Trajectories

SHARES = (0.75, 0.5, 0.25)  # shares of the unperturbed runs that reach the thresholds within the horizon


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """One set of published trajectories.

    Parameters
    ----------
    title, short
        Network, data and optimiser, as far as the archive says; and the same in a word or two.
    folder, unperturbed, perturbed
        Folder of the archive; in it the folder of the unperturbed runs, and how those of each perturbation begin, before the period.
    metric, unit
        Column of the metric, to be maximised, and its unit.
    horizon
        Epochs that every run was followed for.
    periods
        Published periods of each perturbation, in epochs.
    thresholds, threshold
        Metric values that the summary is written for, and the one of them that is used where none is named.
    source_periods, source
        Periods that predictions are made from, in epochs, and the one of them that is used where none is named.
    """

    title: str
    short: str
    folder: str
    unperturbed: str
    perturbed: Mapping[str, str]
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


def _record(content: dict[str, Any]) -> Dataset:
    lists = {name: tuple(content[name]) for name in ("thresholds", "source_periods")}
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


def unperturbed(data: str = MAIN) -> Trajectories:
    """Read the unperturbed runs of a data set.

    Raises
    ------
    InputError
        If the trajectories are not at hand, or there is no such data set.
    """
    known = dataset(data)
    return read(f"{known.folder}/{known.unperturbed}")


def perturbed(perturbation: str, period: int, data: str = MAIN) -> Trajectories:
    """Read the runs of a data set that were perturbed with one of the published periods.

    Raises
    ------
    InputError
        If the trajectories are not at hand, or this data set, perturbation or period was not published.
    """
    known = dataset(data)
    known.check(perturbation, period)
    return read(f"{known.folder}/{known.perturbed[perturbation]}{period}")
