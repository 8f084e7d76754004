"""The two ensembles as the forms need them: curves of the data and of each bootstrap replicate over seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import (
    Direction,
    Estimate,
    FirstPassageTimes,
    bootstrap_weights,
    first_passage,
    generator,
    percentile_interval,
    require_passage,
    survival_curves,
    weighted_slope,
)
from fptlib.response.forms import cycles, restricted
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class Sample:
    """Unperturbed runs and runs perturbed with period ``period``; row 0 of each array is the data, the others are replicates.

    Parameters
    ----------
    period, horizon, level
        ``P0``, the last epoch used, and the confidence level of intervals.
    survival, perturbed
        Survival of the unperturbed and of the perturbed runs from epoch 0, shape ``(replicates, horizon + 1)``.
    cycles
        Survival after each perturbation, see `fptlib.response.forms.cycles`.
    metric_at_p0, residual_at_p0, weights_at_p0
        Metric at ``P0`` and residual time (up to the horizon) of the perturbed survivors, ``(survivors,)``, and their weights,
        ``(replicates, survivors)``.
    n_survivors, n_residual_censored
        Perturbed runs still running at ``P0``, and how many of those were censored.
    values, times, weights
        Metric ``(runs, epochs)``, first-passage times and bootstrap weights ``(replicates, runs)`` of the unperturbed runs.
    full_restart
        Whether the store of the perturbed runs says that they restart from scratch.
    """

    period: int
    horizon: int
    level: float
    survival: NDArray[np.float64]
    perturbed: NDArray[np.float64]
    cycles: list[NDArray[np.float64]]
    metric_at_p0: NDArray[np.float64]
    residual_at_p0: NDArray[np.float64]
    weights_at_p0: NDArray[np.float32]
    n_survivors: int
    n_residual_censored: int
    values: NDArray[np.float64]
    times: FirstPassageTimes
    weights: NDArray[np.float32]
    full_restart: bool

    @property
    def residual(self) -> NDArray[np.float64]:
        """Survival of the residual time after ``P0``, shape ``(replicates, horizon - period + 1)``; NaN without survivors."""
        entering = self.perturbed[:, [self.period]]
        tail = self.perturbed[:, self.period :]
        return np.divide(tail, entering, out=np.full_like(tail, np.nan), where=entering > 0)

    @property
    def unperturbed_mean(self) -> Estimate:
        """Restricted mean without perturbation."""
        return self.estimate(restricted(self.survival), self.times.n_runs, self.times.n_censored)

    @property
    def residual_mean(self) -> Estimate:
        """Mean residual time after ``P0``, restricted to the epochs that were followed."""
        return self.estimate(restricted(self.residual), self.n_survivors, self.n_residual_censored)

    def estimate(self, replicates: NDArray[np.float64], n_runs: int, n_censored: int) -> Estimate:
        """Estimate from the data (first entry) and its replicates (the others)."""
        low, high = percentile_interval(replicates[1:], self.level)
        return Estimate(float(replicates[0]), low, high, n_runs, n_censored, self.level)

    def drift(self, epoch: int) -> NDArray[np.float64]:
        """Change of the mean residual time with the drift of the metric between ``P0`` and ``epoch``, to first order, ``(replicates,)``.

        Slope of the residual time, within the epochs that are left after ``epoch``, on the metric of the perturbed survivors at ``P0``,
        times the difference of the mean metric between the unperturbed survivors at ``epoch`` and those; 0 without survivors.
        """
        left = np.minimum(self.residual_at_p0, self.horizon - epoch)
        slope, mean_at_p0 = weighted_slope(self.metric_at_p0, left, self.weights_at_p0)
        alive = self.times.running(epoch)
        weights = self.weights[:, alive]
        n = weights.sum(axis=1)
        mean = weights @ self.values[alive, epoch - 1] / np.maximum(n, 1)
        return np.where(n > 0, slope * (mean - mean_at_p0), 0.0)

    def outside(self, epoch: int) -> float:
        """Share of the unperturbed survivors at ``epoch`` whose metric lies outside the range seen at ``P0``."""
        metric = self.values[self.times.running(epoch), epoch - 1]
        seen = self.metric_at_p0
        return float(np.mean((metric < seen.min()) | (metric > seen.max()))) if len(metric) else 0.0


def draw(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction,
    metric: str | None,
    level: float,
    n_boot: int,
    seed: int,
) -> Sample:
    """Reduce two ensembles to a `Sample`.

    Raises
    ------
    InputError
        If no run reaches the threshold, all unperturbed runs reach it at epoch 1, or no perturbed run is still running after ``period``.
    """
    values, values_p = unperturbed.metric(metric), perturbed.metric(metric)
    require_passage(threshold, direction=direction, unperturbed=values, perturbed=values_p)
    times = first_passage(unperturbed, threshold=threshold, direction=direction, metric=metric)
    times_p = first_passage(perturbed, threshold=threshold, direction=direction, metric=metric)
    horizon = unperturbed.n_epochs
    scale = f"is {threshold:g} on the scale of the metric, and is {direction!r} the right direction?"
    if times.observed.all() and times.time.max() == 1:
        raise InputError(f"all unperturbed runs reach {threshold:g} at epoch 1: {scale}")
    alive = times_p.running(period)
    if not alive.any():
        raise InputError(
            f"all perturbed runs reach {threshold:g} by epoch {period}; residual times need a shorter period or a harder threshold "
            f"({scale})"
        )
    weights, weights_p = _weights(unperturbed.run, perturbed.run, values, values_p, period, n_boot, seed)
    curve_p = survival_curves(times_p, weights_p, horizon=horizon)
    return Sample(
        period=period,
        horizon=horizon,
        level=level,
        survival=survival_curves(times, weights, horizon=horizon),
        perturbed=curve_p,
        cycles=cycles(curve_p, period=period, n_runs=perturbed.n_runs),
        metric_at_p0=values_p[alive, period - 1],
        residual_at_p0=(times_p.time[alive] - period).astype(np.float64),
        weights_at_p0=weights_p[:, alive],
        n_survivors=int(alive.sum()),
        n_residual_censored=int(np.sum(alive & ~times_p.observed)),
        values=values,
        times=times,
        weights=weights,
        full_restart=_is_full_restart(perturbed),
    )


def _weights(
    run: NDArray[np.int64],
    run_p: NDArray[np.int64],
    values: NDArray[np.float64],
    values_p: NDArray[np.float64],
    period: int,
    n_boot: int,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of both ensembles, data first, ``(1 + n_boot, runs)``.

    Runs that carry the same label and agree exactly up to epoch ``period`` are one seed and are drawn together; if any that share a label
    disagree, labels mean nothing and the ensembles are drawn independently.
    """
    _, both, both_p = np.intersect1d(run, run_p, return_indices=True)
    if len(both) and np.array_equal(values[both, :period], values_p[both_p, :period]):
        only, only_p = np.setdiff1d(np.arange(len(run)), both), np.setdiff1d(np.arange(len(run_p)), both_p)
    else:
        both = both_p = np.empty(0, dtype=np.int64)
        only, only_p = np.arange(len(run)), np.arange(len(run_p))
    sizes = np.cumsum([len(both), len(only), len(only_p)])
    strata = [part for part in np.split(np.arange(sizes[-1]), sizes[:-1]) if len(part)]
    seeds = bootstrap_weights(strata, n_boot=n_boot, rng=generator(seed))
    seeds = np.concatenate([np.ones((1, sizes[-1]), dtype=np.float32), seeds])
    place, place_p = np.empty(len(run), dtype=np.int64), np.empty(len(run_p), dtype=np.int64)
    place[both] = place_p[both_p] = np.arange(len(both))
    place[only], place_p[only_p] = np.arange(sizes[0], sizes[1]), np.arange(sizes[1], sizes[2])
    return seeds[:, place], seeds[:, place_p]


def _is_full_restart(perturbed: Trajectories) -> bool:
    spec = perturbed.meta.get("spec")
    rule = (spec.get("perturbation") if isinstance(spec, dict) else None) or {}
    return rule.get("name") == "full_reset" and bool(rule.get("fresh_optimiser"))
