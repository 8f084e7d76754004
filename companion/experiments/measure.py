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
from fptlib.former.prediction import predict_all
from fptlib.former.sample import draw
from fptlib.qss import QuasiSteadyState, judge
from fptlib.trajectories import Direction, Target, Trajectories, reached

By = Literal["measured", "predicted"]
Means = Mapping[Key, NDArray[np.float64]]  # the mean in the data (first entry), and in every replicate over seeds
LEVEL = 0.95
N_BOOT = 1000


@dataclass(frozen=True, slots=True)
class Measured:
    """Predictions and measurements of one row.

    Parameters
    ----------
    threshold
        Metric value to reach.
    unperturbed, state
        Restricted mean without perturbation, and the verdict on these runs.
    cells
        One line for each perturbation and period, columns ``perturbation, period, control, form, predicted, predicted_low, predicted_high,
        status, reason, measured, measured_low, measured_high, n_runs, n_censored, off, off_low, off_high, agrees``; ``off`` is the
        prediction over the measurement less 1, ``agrees`` whether its interval contains 0, means are in epochs. At ``P0`` the prediction
        is no prediction: ``status`` is ``measured``.
    predicted, measured
        Means of all cells and, under ``None``, without perturbation. Entry ``i`` of all of them is the same replicate.
    """

    threshold: float
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
        good = {key: np.nan_to_num(self.predicted[key], nan=np.inf, posinf=np.inf) for key in keys}
        bad = np.full_like(self.measured[None], np.inf)
        valid = [True, *(own["status"] != "not valid")]
        return {key: good[key] if ok else bad for key, ok in zip(keys, valid, strict=True)}

    def best(self, by: By) -> Key:
        """Return the candidate with the smallest mean."""
        means = self.means(by)
        return min(means, key=lambda key: float(means[key][0]))


def measure(ensembles: Ensembles, *, n_boot: int = N_BOOT, seed: int = 0) -> Measured:
    """Analyse a row, see `measure_runs`."""
    row = ensembles.row
    return measure_runs(
        ensembles.unperturbed,
        ensembles.perturbed,
        threshold=ensembles.threshold.value,
        period=row.period,
        direction=row.direction,
        metric=row.metric,
        controls=tuple(row.controls),
        n_boot=n_boot,
        seed=seed,
    )


def measure_runs(
    unperturbed: Trajectories,
    perturbed: Mapping[tuple[str, int], Trajectories],
    *,
    threshold: float,
    period: int,
    direction: Direction = "above",
    metric: str | None = None,
    controls: tuple[str, ...] = (),
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Measured:
    """Predict from ``P0`` and compare with what was measured at the other periods.

    Parameters
    ----------
    unperturbed, perturbed
        Runs without perturbation, and perturbation and period to runs; each perturbation was measured at ``period``.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    period
        ``P0``.
    controls
        Perturbations that are no candidates for a choice.
    n_boot, seed
        As in `fptlib.former.predict`.

    Notes
    -----
    Every ensemble is reduced to curves under one set of bootstrap weights, in which a seed carries all its runs: intervals of differences
    are those of runs that share their seeds. A measurement is the restricted mean of the perturbed runs by themselves.

    Raises
    ------
    InputError
        As `fptlib.former.predict`, or if a perturbation was not measured at ``period``.
    """
    plain, drawn = draw(
        unperturbed,
        [(p, runs) for (_, p), runs in perturbed.items()],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=LEVEL,
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
            raise InputError(f"{kick} is not measured at P0 = {period}")
        for prediction, means in predict_all([own[period]], sorted(own)):
            key = (kick, prediction.period)
            alone, runs = samples[key].alone, perturbed[key]
            predicted[key], measured[key] = means, alone
            low, high = corrected_interval(alone, LEVEL, n_runs=runs.n_runs)
            off = means / alone - 1
            off_low, off_high = percentile_interval(off[1:], LEVEL)
            passed = reached(runs.metric(metric), Target(threshold, direction)).any(axis=1)
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
                    "n_censored": int((~passed).sum()),
                    "off": float(off[0]),
                    "off_low": off_low,
                    "off_high": off_high,
                    "agrees": bool(off_low <= 0 <= off_high),
                }
            )
    state = judge(unperturbed, threshold=threshold, direction=direction, metric=metric, seed=seed)
    return Measured(threshold, plain.mean, state, pd.DataFrame(lines), predicted, measured)


def words_of(key: Key) -> str:
    """Name a candidate in words."""
    return "nothing" if key is None else f"{key[0]} every {key[1]}"
