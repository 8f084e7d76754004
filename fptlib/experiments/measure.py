"""What one row says: the prediction from one period beside what is measured at the others, and the best choice by each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.experiments.gather import Ensembles
from fptlib.experiments.rows import Key
from fptlib.firstpassage import Estimate, corrected_interval, percentile_interval
from fptlib.qss import QuasiSteadyState, judge
from fptlib.response.prediction import predict_all
from fptlib.response.sample import Plain, Sample, draw
from fptlib.response.verdicts import ERROR_TOLERANCE
from fptlib.trajectories import Direction, Trajectories

N_BOOT = 1000
NOTHING = "nothing"  # the option not to perturb


@dataclass(frozen=True, slots=True)
class Measured:
    """Predictions and measurements of one row.

    Parameters
    ----------
    name, title
        The row.
    threshold, horizon, period
        Metric value to reach, last epoch, and ``P0``.
    unperturbed
        Restricted mean without perturbation.
    state
        Verdict on the unperturbed runs.
    cells
        One row for each perturbation and period, columns ``perturbation, period, control, form, predicted, predicted_low, predicted_high,
        status, reason, measured, measured_low, measured_high, n_runs, n_censored, off, off_low, off_high, agrees``; ``off`` is the
        prediction over the measurement less 1, ``agrees`` whether its interval contains 0, means are in epochs. At ``P0`` the prediction
        is no prediction: ``status`` is ``measured``.
    predicted, measured
        Perturbation and period to the mean in the data (first entry) and in every replicate over seeds, ``(1 + n_boot,)``; ``None`` to the
        mean without perturbation. Entry ``i`` of all of them is the same replicate.
    """

    name: str
    title: str
    threshold: float
    horizon: int
    period: int
    unperturbed: Estimate
    state: QuasiSteadyState
    cells: pd.DataFrame
    predicted: Mapping[Key, NDArray[np.float64]]
    measured: Mapping[Key, NDArray[np.float64]]

    @property
    def candidates(self) -> list[Key]:
        """What a choice is made from: no perturbation, and all that are no controls."""
        own = self.cells[~self.cells["control"]]
        return [None, *zip(own["perturbation"], own["period"], strict=True)]

    @property
    def trusted(self) -> list[Key]:
        """Candidates whose prediction is valid, and those that were measured at ``P0``; no perturbation is one."""
        good = self.cells[self.cells["status"].isin(["valid", "measured"]) & ~self.cells["control"]]
        return [None, *zip(good["perturbation"], good["period"], strict=True)]


def measure(
    ensembles: Ensembles,
    *,
    metric: str | None = None,
    threshold: float | None = None,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Measured:
    """Analyse a row.

    Parameters
    ----------
    ensembles
        Its runs.
    metric, threshold
        Another metric and threshold than the row's, for runs that were followed to the end.
    level, tolerance, n_boot, seed
        As in `fptlib.predict`.

    Notes
    -----
    Every ensemble is reduced to curves under one set of bootstrap weights, in which a seed carries all its runs: intervals of differences
    are those of runs that share their seeds. A measurement is the restricted mean of the perturbed runs by themselves.

    Raises
    ------
    InputError
        As `fptlib.predict`.
    """
    row = ensembles.row
    value = ensembles.threshold.value if threshold is None else threshold
    name = row.metric if metric is None else metric
    plain, samples = _draw(ensembles, value, name, row.direction, level, n_boot, seed)
    none = plain.survival.mean(plain.survival.length)
    predicted: dict[Key, NDArray[np.float64]] = {None: none}
    measured: dict[Key, NDArray[np.float64]] = {None: none}
    lines = []
    for kick in dict.fromkeys(kick for kick, _ in ensembles.perturbed):
        own = {period: samples[kick, period] for name, period in ensembles.perturbed if name == kick}
        if row.period not in own:
            raise InputError(f"row {row.name}: {kick} is not measured at P0 = {row.period}")
        for prediction, means in predict_all([own[row.period]], sorted(own), tolerance=tolerance):
            period, key = prediction.period, (kick, prediction.period)
            sample, runs = own[period], ensembles.perturbed[key]
            predicted[key], measured[key] = means, sample.alone
            low, high = corrected_interval(sample.alone, level, n_runs=runs.n_runs)
            off = means / sample.alone - 1
            off_low, off_high = percentile_interval(off[1:], level)
            lines.append(
                {
                    "perturbation": kick,
                    "period": period,
                    "control": kick in row.controls,
                    "form": prediction.form,
                    "predicted": prediction.mean,
                    "predicted_low": prediction.low,
                    "predicted_high": prediction.high,
                    "status": "measured" if period == row.period else prediction.verdict.status.value,
                    "reason": prediction.reason,
                    "measured": float(sample.alone[0]),
                    "measured_low": low,
                    "measured_high": high,
                    "n_runs": runs.n_runs,
                    "n_censored": _censored(runs, value, name, row.direction),
                    "off": float(off[0]),
                    "off_low": off_low,
                    "off_high": off_high,
                    "agrees": bool(off_low <= 0 <= off_high),
                }
            )
    state = judge(ensembles.unperturbed, threshold=value, direction=row.direction, metric=name, seed=seed)
    return Measured(
        name=row.name,
        title=row.title,
        threshold=value,
        horizon=plain.survival.length,
        period=row.period,
        unperturbed=plain.mean,
        state=state,
        cells=pd.DataFrame(lines),
        predicted=predicted,
        measured=measured,
    )


def _draw(
    ensembles: Ensembles, threshold: float, metric: str, direction: Direction, level: float, n_boot: int, seed: int
) -> tuple[Plain, dict[tuple[str, int], Sample]]:
    plain, samples = draw(
        ensembles.unperturbed,
        [(period, runs) for (_, period), runs in ensembles.perturbed.items()],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    return plain, dict(zip(ensembles.perturbed, samples, strict=True))


def _censored(runs: Trajectories, threshold: float, metric: str, direction: Direction) -> int:
    values = runs.metric(metric)
    passed = values >= threshold if direction == "above" else values <= threshold
    return int((~passed.any(axis=1)).sum())


def best_of(result: Measured, *, by: str, replicate: int = 0) -> Key:
    """The best candidate of a row, by measurement or by prediction, in the data or in a replicate.

    By prediction only those count whose prediction is trusted, ``P0`` and no perturbation among them.
    """
    means = result.measured if by == "measured" else result.predicted
    options = result.candidates if by == "measured" else result.trusted
    return min(options, key=lambda key: float(means[key][replicate]))


def spelled(key: Key) -> str:
    """A candidate in words."""
    return NOTHING if key is None else f"{key[0]} every {key[1]}"
