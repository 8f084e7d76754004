"""The authors' archive itself: its trajectories, and its lists of first-passage times. It must be at hand: ``fpt data fetch published``.

The lists are in ``SR_frac_of_smallest_w``: 400 runs with partial reset at each of 16 periods, for ResNet-18 on CIFAR-10 at 72 %, without
their trajectories. Their epochs count from 0 (`OFFSET`), as two things show: at the periods that were published as trajectories too the
means lie one epoch lower, and the dip of the accuracy right after a perturbation, when hardly any run passes, is at epoch ``P + 1`` of the
trajectories and at ``P`` of the lists.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from companion.published.datasets import MAIN, dataset
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.readers import read as read_logs
from fptlib.sources import find
from fptlib.trajectories import Trajectories

LISTED_PERIODS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 22)
LISTED_THRESHOLD = 72.0
OFFSET, LISTED_LABELS = 1, 1_000_000


def available() -> bool:
    """Test whether the archive is at hand."""
    return find("published") is not None


def unperturbed(data: str = MAIN) -> Trajectories:
    """Read the unperturbed runs of a data set.

    Raises
    ------
    InputError
        If the archive is not at hand, or there is no such data set.
    """
    known = dataset(data)
    return read(f"{known.folder}/{known.unperturbed}")


def perturbed(perturbation: str, period: int, data: str = MAIN) -> Trajectories:
    """Read the runs of a data set perturbed with one of the published periods; they share labels only where they share seeds.

    Raises
    ------
    InputError
        If the archive is not at hand, or this data set, perturbation or period was not published.
    """
    known = dataset(data)
    known.check(perturbation, period)
    runs = read(f"{known.folder}/{known.perturbed[perturbation]}{period}")
    return replace(runs, run=runs.run + known.offset(perturbation, period))


def listed_times(period: int) -> FirstPassageTimes:
    """Read the first-passage epochs of one list, counted from 1; every run passed."""
    path = path_of(f"SR_frac_of_smallest_w/fpt{LISTED_THRESHOLD:.0f}_reset{period}.csv")
    time = pd.read_csv(path)["fpt_list"].to_numpy(dtype=np.int64) + OFFSET
    return FirstPassageTimes(
        time=time, observed=np.ones(len(time), dtype=bool), run=LISTED_LABELS * period + np.arange(len(time))
    )


def path_of(name: str) -> Path:
    """Return the path of a folder or file of the archive."""
    root = find("published")
    if root is None:
        raise InputError("the published trajectories are not here; fetch them with: fpt data fetch published")
    return root / name


@lru_cache(maxsize=64)
def read(folder: str) -> Trajectories:
    """Read the runs of one folder of the archive."""
    return read_logs(path_of(folder))
