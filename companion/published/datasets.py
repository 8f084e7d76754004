"""What was published: ResNet-18 on CIFAR-10 in the main text, and three supplementary sets with shrink-and-perturb.

Two numbers of the supplementary sets are not in the archive, and follow from rules. The thresholds are those that three quarters, half and
one quarter of the unperturbed runs reach (`SHARES`): 72 % of the main text is of the first kind. Predictions are made from the period
nearest to a quarter of the horizon (as 50 of 200 epochs is) that leaves enough survivors, and, for comparison, from another one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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
    unperturbed: str = "reg_training"
    perturbed: Mapping[str, str]
    metric: str = "test_ACC"
    unit: str = "per cent"
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


MAIN = "cifar10"
DATASETS = {
    MAIN: Dataset(
        title="ResNet-18, CIFAR-10, SGD",
        short="CIFAR-10",
        folder=".",
        unperturbed="testacc_list_reg_training",
        perturbed={"shrink_perturb": "testacc_list_s_and_p_reset", "partial_reset": "testacc_list_partial_reset"},
        horizon=200,
        periods={
            "shrink_perturb": (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100),
            "partial_reset": (1, 2, 3, 4, 5, 6, 7, 10, 12, 15, 20, 30, 50, 100),
        },
        thresholds=(72.0, 73.0, 74.0),
        threshold=72.0,
        source_periods=(20, 50),
        source=50,
    ),
    "cifar100": Dataset(
        title="ResNet-18, CIFAR-100, SGD",
        short="CIFAR-100",
        folder="SI_figs/cifar100/ResNet18_No_Momentum",
        perturbed={"shrink_perturb": "testacc_list_s_and_p_reset"},
        horizon=100,
        periods={"shrink_perturb": (1, 2, 3, 5, 10, 20, 30, 40, 60, 80)},
        thresholds=(40.4, 40.7, 41.2),
        threshold=40.7,
        source_periods=(20, 30),
        source=20,
    ),
    "cifar100_momentum": Dataset(
        title="ResNet-18, CIFAR-100, SGD with momentum",
        short="CIFAR-100, momentum",
        folder="SI_figs/cifar100/ResNet18Momentum",
        perturbed={"shrink_perturb": "testacc_list_s_and_p_reset"},
        horizon=100,
        periods={"shrink_perturb": (4, 6, 7, 8, 10, 20, 30, 40, 50, 80)},
        thresholds=(54.4, 54.6, 54.9),
        threshold=54.6,
        source_periods=(30, 50),
        source=30,
    ),
    "fc_adam": Dataset(
        title="fully connected network, Adam, SSIM",
        short="fully connected, Adam",
        folder="SI_figs/fc_with_adam",
        perturbed={"shrink_perturb": "s_and_p_reset"},
        metric="test_ssim",
        unit="SSIM",
        horizon=150,
        periods={"shrink_perturb": (10, 15, 20, 40, 60, 80, 100, 120)},
        thresholds=(0.358, 0.362, 0.369),
        threshold=0.362,
        source_periods=(15, 40),
        source=15,
    ),
}
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
