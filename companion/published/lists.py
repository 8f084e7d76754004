"""The authors' lists of first-passage times with partial reset: another 400 runs at each of 16 periods, without trajectories.

They are in ``SR_frac_of_smallest_w`` of the archive, for ResNet-18 on CIFAR-10 at 72 %. Their epochs count from 0 (`OFFSET`), as two things
show: at the periods that were published as trajectories too the means lie one epoch lower, and the dip of the accuracy right after a
perturbation, when hardly any run passes, is at epoch ``P + 1`` of the trajectories and at ``P`` of the lists.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from companion.published.agreement import beside
from companion.published.datasets import perturbed, unperturbed
from companion.published.summary import path_of, tabulate
from companion.published.tables import measured
from fptlib.firstpassage import FirstPassageTimes, restricted_mean
from fptlib.response import predict
from fptlib.tables import response_table

LISTED_PERIODS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22)
LISTED_THRESHOLD = 72.0
OFFSET = 1


def listed_times(period: int) -> FirstPassageTimes:
    """Read the first-passage epochs of one list, counted from 1; every run passed. The archive must be at hand."""
    path = path_of(f"SR_frac_of_smallest_w/fpt{LISTED_THRESHOLD:.0f}_reset{period}.csv")
    time = pd.read_csv(path)["fpt_list"].to_numpy(dtype=np.int64) + OFFSET
    return FirstPassageTimes(time=time, observed=np.ones(len(time), dtype=bool), run=np.arange(len(time)))


def listed() -> pd.DataFrame:
    """Tabulate the measured mean of each list: columns ``period, n_runs, n_censored, mean, low, high``."""

    def compute() -> pd.DataFrame:
        names = ("n_runs", "n_censored", "mean", "low", "high")
        means = {p: restricted_mean(listed_times(p)) for p in LISTED_PERIODS}
        return pd.DataFrame([{"period": p} | {n: getattr(mean, n) for n in names} for p, mean in means.items()])

    return tabulate("listed", {}, compute)


def listed_predicted(*, period: int = 50) -> pd.DataFrame:
    """Tabulate predictions for the listed periods from the trajectories perturbed with one, see `fptlib.tables.response_table`."""

    def compute() -> pd.DataFrame:
        plain, kicked = unperturbed(), perturbed("partial_reset", period)
        return response_table(predict(plain, kicked, period=period, threshold=LISTED_THRESHOLD, periods=LISTED_PERIODS))

    return tabulate("listed_predicted", {"from_period": period}, compute)


def listed_row(*, period: int = 50) -> pd.DataFrame:
    """Put predictions beside the lists, see `companion.published.agreement.beside`."""
    return beside(listed_predicted(period=period), listed(), source=period)


def batches() -> pd.DataFrame:
    """Put the lists beside the trajectories at the periods that have both, see `companion.published.agreement.beside`."""
    return beside(listed(), measured("partial_reset", threshold=LISTED_THRESHOLD))
