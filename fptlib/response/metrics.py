"""Final and best metric of the runs: whether faster is also better."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fptlib.firstpassage import Estimate
from fptlib.firstpassage.resampling import corrected_interval
from fptlib.record import Record
from fptlib.study import Key, Study
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class FinalMetric(Record):
    """Means over the runs of a metric, in its own unit: at the horizon, the last epoch that counts, and at the best epoch of each run.

    The best of many noisy readings is flattered by the noise: compare it only between ensembles of the same horizon, as
    those of a study are.
    """

    final: Estimate
    best: Estimate
    horizon: int

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row: final and best metric with the ends of their intervals, runs and horizon."""
        row: dict[str, Any] = {}
        for name, e in (("final", self.final), ("best", self.best)):
            row |= {name: e.mean, f"{name}_low": e.low, f"{name}_high": e.high}
        return [row | {"n_runs": self.final.n_runs, "horizon": self.horizon}]


def final_metrics(study: Study) -> dict[str, FinalMetric | str]:
    """Return the final and best metric of each ensemble of a study by its name, or one line that explains why it is not known.

    >>> runs = Trajectories(metrics={"acc": np.array([[0.2, 0.9, 0.8], [0.1, 0.5, 0.6]])}, run=np.arange(2))
    >>> metric = final_metrics(Study(runs, {}, 0.9))["without perturbation"]
    >>> round(metric.final.mean, 3), round(metric.best.mean, 3)
    (0.7, 0.75)
    """
    return {"without perturbation" if key is None else study.name(key): _final(study, key) for key in study.ensembles}


def _final(study: Study, key: Key | None) -> FinalMetric | str:
    runs, values = study.unperturbed if key is None else study.perturbed[key], study.ensembles[key].values
    if not isinstance(runs, Trajectories) or values is None:
        return "final and best metric are not known: only first-passage times were given"
    if (runs.lengths < study.horizon).any():
        return f"final and best metric need runs followed to epoch {study.horizon}, and some end before"
    best = values.max(axis=1) if study.target.direction == "above" else values.min(axis=1)
    means = study.weights[key] @ np.stack([values[:, -1], best], axis=1) / len(values)  # (replicates, 2)
    final, top = (
        Estimate(float(m[0]), *corrected_interval(m, study.level, n_runs=len(values)), len(values), 0, study.level)
        for m in means.T
    )
    return FinalMetric(final, top, study.horizon)
