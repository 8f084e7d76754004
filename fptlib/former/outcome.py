"""Final and best metric of runs: whether faster is also better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

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


def outcomes(
    named: Mapping[str, Trajectories],
    *,
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> dict[str, Outcome | str]:
    """Return the final and best metric of several ensembles at their common horizon, or in one line why it is not known.

    Parameters
    ----------
    named
        Ensembles by name. Where runs end before the horizon, those that are left are not the ensemble.
    direction
        ``"above"``: the best is the largest; ``"below"``: the smallest.
    metric, level, n_boot, seed
        As in `fptlib.firstpassage.first_passage` and `fptlib.former.predict`; intervals are by the bootstrap over runs.

    Examples
    --------
    >>> runs = Trajectories(metrics={"acc": np.array([[0.2, 0.9, 0.8], [0.1, 0.5, 0.6]])}, run=np.arange(2))
    >>> outcome = outcomes({"two runs": runs})["two runs"]
    >>> round(outcome.final.mean, 3), round(outcome.best.mean, 3)
    (0.7, 0.75)
    """
    horizon = min(runs.n_epochs for runs in named.values())
    results: dict[str, Outcome | str] = {}
    for name, runs in named.items():
        try:
            values = runs.metric(metric)[:, :horizon]  # (runs, epochs)
            if (runs.lengths < horizon).any():
                source = runs.meta.get("source", "trajectories")
                raise InputError(
                    f"{source}: final and best metric need runs followed to epoch {horizon}, and some end before"
                )
            weights = bootstrap_weights([np.arange(runs.n_runs)], n_boot=n_boot, rng=generator(seed))
        except InputError as error:
            results[name] = str(error)
            continue
        best = values.max(axis=1) if direction == "above" else values.min(axis=1)
        means = weights @ np.stack([values[:, -1], best], axis=1) / runs.n_runs  # (replicates, 2)
        final, top = (Estimate(float(m[0]), *percentile_interval(m[1:], level), runs.n_runs, 0, level) for m in means.T)
        results[name] = Outcome(final=final, best=top, horizon=horizon)
    return results
