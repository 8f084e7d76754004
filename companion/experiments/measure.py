"""The result of one row: the prediction from one period beside what is measured at the others, and the best choice by each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from companion.experiments.gather import Ensembles
from companion.experiments.rows import Key
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.firstpassage.resampling import corrected_interval, percentile_interval
from fptlib.qss import QuasiSteadyState, judge
from fptlib.response.prediction import predict_all
from fptlib.response.sample import draw
from fptlib.response.verdicts import ERROR_TOLERANCE
from fptlib.trajectories import Direction, Trajectories, reached

By = Literal["measured", "predicted"]
Means = Mapping[Key, NDArray[np.float64]]  # the mean in the data (first entry), and in every replicate over seeds
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
    predicted: Means
    measured: Means

    def means(self, by: By) -> Means:
        """Return the means of all that a choice is made from: no perturbation, and all perturbations that are no controls.

        Parameters
        ----------
        by
            ``"measured"``, or ``"predicted"``: infinite where the prediction is not valid, which ``P0`` and no perturbation always are.
        """
        own = self.cells[~self.cells["control"]]
        keys: list[Key] = [None, *zip(own["perturbation"], own["period"], strict=True)]
        if by == "measured":
            return {key: self.measured[key] for key in keys}
        good = [True, *(own["status"] != "not valid")]
        return {
            key: np.nan_to_num(
                self.predicted[key] if fine else np.full_like(self.predicted[key], np.inf), nan=np.inf, posinf=np.inf
            )
            for key, fine in zip(keys, good, strict=True)
        }

    def best(self, by: By) -> Key:
        """Return the candidate with the smallest mean."""
        means = self.means(by)
        return min(means, key=lambda key: float(means[key][0]))


def measure(
    ensembles: Ensembles,
    *,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Measured:
    """Analyse a row, see `measure_runs`.

    Parameters
    ----------
    ensembles
        Its runs.
    level, tolerance, n_boot, seed
        As in `fptlib.response.predict`.

    Raises
    ------
    InputError
        As `fptlib.response.predict`.
    """
    row = ensembles.row
    return measure_runs(
        ensembles.unperturbed,
        ensembles.perturbed,
        name=row.name,
        title=row.title,
        threshold=ensembles.threshold.value,
        period=row.period,
        direction=row.direction,
        metric=row.metric,
        controls=tuple(row.controls),
        level=level,
        tolerance=tolerance,
        n_boot=n_boot,
        seed=seed,
    )


def measure_runs(
    unperturbed: Trajectories,
    perturbed: Mapping[tuple[str, int], Trajectories],
    *,
    name: str,
    threshold: float,
    period: int,
    title: str = "",
    direction: Direction = "above",
    metric: str | None = None,
    controls: tuple[str, ...] = (),
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Measured:
    """Predict from ``P0`` and compare with what was measured at the other periods.

    Parameters
    ----------
    unperturbed, perturbed
        Runs without perturbation, and perturbation and period to runs; each perturbation was measured at ``period``.
    name, title
        What they are.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    period
        ``P0``.
    controls
        Perturbations that are no candidates for a choice.
    level, tolerance, n_boot, seed
        As in `fptlib.response.predict`.

    Notes
    -----
    Every ensemble is reduced to curves under one set of bootstrap weights, in which a seed carries all its runs: intervals of differences
    are those of runs that share their seeds. A measurement is the restricted mean of the perturbed runs by themselves.

    Raises
    ------
    InputError
        As `fptlib.response.predict`.
    """
    plain, drawn = draw(
        unperturbed,
        [(p, runs) for (_, p), runs in perturbed.items()],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    samples = dict(zip(perturbed, drawn, strict=True))
    none = plain.survival.mean(plain.survival.length)
    predicted: dict[Key, NDArray[np.float64]] = {None: none}
    measured: dict[Key, NDArray[np.float64]] = {None: none}
    lines = []
    for kick in dict.fromkeys(kick for kick, _ in perturbed):
        own = {p: samples[kick, p] for other, p in perturbed if other == kick}
        if period not in own:
            raise InputError(f"row {name}: {kick} is not measured at P0 = {period}")
        for prediction, means in predict_all([own[period]], sorted(own), tolerance=tolerance):
            key = (kick, prediction.period)
            alone, runs = samples[key].alone, perturbed[key]
            predicted[key], measured[key] = means, alone
            low, high = corrected_interval(alone, level, n_runs=runs.n_runs)
            off = means / alone - 1
            off_low, off_high = percentile_interval(off[1:], level)
            lines.append(
                {
                    "perturbation": kick,
                    "period": prediction.period,
                    "control": kick in controls,
                    "form": prediction.form,
                    "predicted": prediction.mean,
                    "predicted_low": prediction.low,
                    "predicted_high": prediction.high,
                    "status": "measured" if prediction.period == period else prediction.verdict.status.value,
                    "reason": prediction.reason,
                    "measured": float(alone[0]),
                    "measured_low": low,
                    "measured_high": high,
                    "n_runs": runs.n_runs,
                    "n_censored": _censored(runs, threshold, metric, direction),
                    "off": float(off[0]),
                    "off_low": off_low,
                    "off_high": off_high,
                    "agrees": bool(off_low <= 0 <= off_high),
                }
            )
    return Measured(
        name=name,
        title=title or name,
        threshold=threshold,
        horizon=plain.survival.length,
        period=period,
        unperturbed=plain.mean,
        state=judge(unperturbed, threshold=threshold, direction=direction, metric=metric, seed=seed),
        cells=pd.DataFrame(lines),
        predicted=predicted,
        measured=measured,
    )


def _censored(runs: Trajectories, threshold: float, metric: str | None, direction: Direction) -> int:
    return int((~reached(runs.metric(metric), threshold=threshold, direction=direction).any(axis=1)).sum())


def words_of(key: Key) -> str:
    """Name a candidate in words."""
    return NOTHING if key is None else f"{key[0]} every {key[1]}"
