"""The authors' archive itself: its trajectories, and its lists of first-passage times. It must be at hand: ``fpt data fetch published``.

The lists, in ``SR_frac_of_smallest_w``, are of 400 runs with partial reset at each of 16 periods, to 72 % on CIFAR-10. Their epochs count
from 0: at the periods that were published as trajectories too the means lie one epoch lower, and the dip right after a perturbation, when
hardly any run passes, is at epoch ``P + 1`` of the trajectories and at ``P`` of the lists.
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

_LABELS, _LISTED = 10_000, 1_000_000  # labels that an ensemble, or a list, has for itself where seeds are not shared


def unperturbed(data: str = MAIN) -> Trajectories:
    """Read the unperturbed runs of a data set."""
    known = dataset(data)
    return read(f"{known.folder}/{known.unperturbed}")


def perturbed(perturbation: str, period: int, data: str = MAIN) -> Trajectories:
    """Read the runs of a data set perturbed with one of the published periods; they share labels only where they share seeds."""
    known = dataset(data)
    known.check(perturbation, period)
    runs = read(f"{known.folder}/{known.perturbed[perturbation]}{period}")
    offset = 0 if known.shared_seeds else _LABELS * (1 + known.keys.index((perturbation, period)))
    return replace(runs, run=runs.run + offset)


def listed_times(period: int) -> FirstPassageTimes:
    """Read the first-passage epochs of one list, counted from 1; every run passed."""
    time = pd.read_csv(_path(f"SR_frac_of_smallest_w/fpt72_reset{period}.csv"))["fpt_list"].to_numpy(dtype=np.int64) + 1
    return FirstPassageTimes(time, np.ones(len(time), dtype=bool), _LISTED * period + np.arange(len(time)))


@lru_cache(maxsize=64)
def read(folder: str) -> Trajectories:
    """Read the runs of one folder of the archive."""
    return read_logs(_path(folder))


def _path(name: str) -> Path:
    root = find("published")
    if root is None:
        raise InputError("the published trajectories are not here; fetch them with: fpt data fetch published")
    return root / name
