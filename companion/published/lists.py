"""The authors' lists of first-passage times with partial reset: another 400 runs at each of 16 periods, without trajectories.

See `companion.published.archive` for how they count epochs.
"""

from __future__ import annotations

import pandas as pd

from companion.published.agreement import beside
from companion.published.archive import LISTED_PERIODS, LISTED_THRESHOLD, listed_times, perturbed, unperturbed
from companion.published.summary import tabulate
from companion.published.tables import measured
from fptlib.firstpassage import restricted_mean
from fptlib.former import predict
from fptlib.tables import response_table


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
