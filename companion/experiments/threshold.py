"""The threshold of a row, fixed by its unperturbed runs alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from companion.experiments.rows import Row
from fptlib.errors import InputError
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and what it asks of unperturbed training.

    Parameters
    ----------
    value
        In the unit of the metric.
    censored
        Share of the unperturbed runs that do not reach it within the horizon.
    n_runs
        Unperturbed runs.
    rule
        How it was chosen, in words.
    """

    value: float
    censored: float
    n_runs: int
    rule: str


def threshold_of(row: Row, unperturbed: Trajectories) -> Threshold:
    """The threshold of a row: the number it states, or the one its rule takes from the unperturbed runs.

    Notes
    -----
    Each run has a best value of the metric within the horizon. A threshold between two neighbouring values of these leaves a certain share
    of the runs censored; of all such midpoints the one is taken whose share is closest to ``row.censored``, the easier one of two. A
    midpoint is no value that an accuracy can have, so that no run hits it by rounding.

    Raises
    ------
    InputError
        If all runs have the same best value: nothing lies between.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> rule = SimpleNamespace(name="x", threshold=None, metric="test_metric", direction="above", censored=0.5, epochs=2)
    >>> runs = Trajectories(metrics={"test_metric": np.array([[0.1, 0.9], [0.7, 0.2], [0.3, 0.5], [0.8, 0.8]])}, run=np.arange(4))
    >>> threshold_of(rule, runs).value, threshold_of(rule, runs).censored
    (0.75, 0.5)
    """
    values = unperturbed.head(epochs=row.epochs).metric(row.metric)
    sign = 1.0 if row.direction == "above" else -1.0
    best = np.sort((sign * values).max(axis=1))
    if row.threshold is not None:
        share = float(np.mean(best < sign * row.threshold))
        return Threshold(row.threshold, share, len(best), "as the row states")
    distinct = np.unique(best)
    if len(distinct) < 2:
        raise InputError(
            f"row {row.name}: all runs have the same best {row.metric}; the rule finds no threshold between"
        )
    middle = (distinct[1:] + distinct[:-1]) / 2
    shares = np.searchsorted(best, middle) / len(best)
    chosen = int(np.argmin(np.abs(shares - row.censored)))
    rule = (
        f"the value that leaves as close to {100 * row.censored:g} % of the unperturbed runs below it as there is one"
    )
    return Threshold(float(sign * middle[chosen]), float(shares[chosen]), len(best), rule)
