"""Is faster also better? The metric that runs end with, and the best they ever had, with and without a perturbation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Estimate
from fptlib.firstpassage.resampling import bootstrap_weights, generator, percentile_interval
from fptlib.trajectories import Direction, Trajectories


@dataclass(frozen=True, slots=True)
class Outcome:
    """Means over runs of a metric, in its own unit.

    Parameters
    ----------
    final, best
        At the horizon, and at the best epoch of each run up to there. The best of many noisy readings is flattered by the noise: compare
        it only between ensembles of the same horizon, as here.
    horizon
        Last epoch that counts.
    """

    final: Estimate
    best: Estimate
    horizon: int


def outcome(
    runs: Trajectories,
    *,
    horizon: int | None = None,
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Outcome:
    """Final and best metric of an ensemble, with bootstrap intervals over runs.

    Parameters
    ----------
    runs
        Runs that were followed to the horizon, whether they had passed a threshold or not.
    horizon
        Last epoch that counts; all by default.
    direction
        ``"above"``: the best is the largest; ``"below"``: the smallest.
    metric, level, n_boot, seed
        As in `fptlib.firstpassage.first_passage` and `fptlib.response.predict`.

    Raises
    ------
    InputError
        If some run was not followed to the horizon: those that are left are not the ensemble.

    Examples
    --------
    >>> runs = Trajectories(metrics={"acc": np.array([[0.2, 0.9, 0.8], [0.1, 0.5, 0.6]])}, run=np.arange(2))
    >>> found = outcome(runs)
    >>> round(found.final.mean, 3), round(found.best.mean, 3)
    (0.7, 0.75)
    """
    limit = runs.n_epochs if horizon is None else min(horizon, runs.n_epochs)
    values = runs.metric(metric)[:, :limit]  # (runs, epochs)
    if (runs.lengths < limit).any():
        raise InputError(
            f"{runs.meta.get('source', 'trajectories')}: final and best metric need runs followed to epoch {limit}, and some end before"
        )
    weights = bootstrap_weights([np.arange(runs.n_runs)], n_boot=n_boot, rng=generator(seed))
    best = values.max(axis=1) if direction == "above" else values.min(axis=1)
    means = weights @ np.stack([values[:, -1], best], axis=1) / runs.n_runs  # (replicates, 2)
    final, top = (
        Estimate(float(means[0, j]), *percentile_interval(means[1:, j], level), runs.n_runs, 0, level) for j in range(2)
    )
    return Outcome(final=final, best=top, horizon=limit)


def outcomes(named: Mapping[str, Trajectories], **options: Any) -> dict[str, Outcome | str]:
    """`outcome` of several ensembles at their common horizon, or in one line why it is not known."""
    horizon = min(runs.n_epochs for runs in named.values())
    found: dict[str, Outcome | str] = {}
    for name, runs in named.items():
        try:
            found[name] = outcome(runs, horizon=horizon, **options)
        except InputError as error:
            found[name] = str(error)
    return found
