"""The two ensembles as the forms need them: curves of the data and of each bootstrap replicate over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    weighted_sums,
)
from fptlib.response.forms import Summed, cycles, sum_cycles, summed
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class Sample:
    """Unperturbed runs and runs perturbed with period ``period``; row 0 of each array is the data, the others are replicates.

    Parameters
    ----------
    period, horizon, level
        ``P0``, the last epoch used, and the confidence level of intervals.
    survival
        Survival of the unperturbed runs, ``(replicates, horizon + 1)``.
    residual
        Survival of the residual time after ``P0``, ``(replicates, horizon - period + 1)``; NaN without survivors.
    cycles
        Survival after each perturbation, see `fptlib.response.forms.cycles`.
    metric_at_p0, residual_at_p0, weights_at_p0
        Metric at ``P0`` and residual time (up to the horizon) of the perturbed survivors, ``(survivors,)``, and their weights,
        ``(replicates, survivors)``.
    n_survivors, n_residual_censored
        Perturbed runs still running at ``P0``, and how many of those were censored.
    values, times, weights
        Metric ``(runs, epochs)``, first-passage times and bootstrap weights ``(replicates, runs)`` of the unperturbed runs. The metric
        counts up to the passage of a run only.
    full_restart
        Whether the store of the perturbed runs says that they restart from scratch.
    """

    period: int
    horizon: int
    level: float
    survival: Summed
    residual: Summed
    cycles: list[Summed]
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
    def data(self) -> Sample:
        """The data without their replicates."""
        return replace(
            self,
            survival=self.survival.data,
            residual=self.residual.data,
            cycles=[cycle.data for cycle in self.cycles],
            weights_at_p0=self.weights_at_p0[:1],
            weights=self.weights[:1],
        )

    @property
    def unperturbed_mean(self) -> Estimate:
        """Restricted mean without perturbation."""
        return self.estimate(self.survival.mean(self.horizon), self.times.n_runs, self.times.n_censored)

    @property
    def residual_mean(self) -> Estimate:
        """Mean residual time after ``P0``, restricted to the epochs that were followed."""
        return self.estimate(self.residual.mean(self.horizon - self.period), self.n_survivors, self.n_residual_censored)

    def estimate(self, replicates: NDArray[np.float64], n_runs: int, n_censored: int) -> Estimate:
        """Estimate from the data (first entry) and its replicates (the others)."""
        low, high = percentile_interval(replicates[1:], self.level)
        return Estimate(float(replicates[0]), low, high, n_runs, n_censored, self.level)

    def drift(self, epochs: Sequence[int]) -> NDArray[np.float64]:
        """Change of the mean residual time with the drift of the metric between ``P0`` and each epoch, to first order.

        Slope of the residual time, within the epochs that are left after the epoch, on the metric of the perturbed survivors at ``P0``,
        times the difference of the mean metric between the unperturbed survivors at the epoch and those; 0 without survivors. Shape
        ``(epochs, replicates)``.
        """
        epoch = np.array(epochs, dtype=np.int64)
        left = np.minimum(self.residual_at_p0[:, None], self.horizon - epoch)
        slope, mean_at_p0 = weighted_slope(self.metric_at_p0, left, self.weights_at_p0)
        alive = np.empty((self.times.n_runs, len(epoch)), dtype=bool)
        for j, t in enumerate(epochs):
            alive[:, j] = self.times.running(t)
        metric = np.where(alive, self.values[:, epoch - 1], 0.0)
        n, total = np.split(weighted_sums(self.weights, np.concatenate([alive, metric], axis=1)), 2, axis=1)
        return np.where(n > 0, slope * (total / np.maximum(n, 1.0) - mean_at_p0[:, None]), 0.0).T

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
    times = first_passage(unperturbed, threshold=threshold, direction=direction, metric=metric)
    times_p = first_passage(perturbed, threshold=threshold, direction=direction, metric=metric)
    require_passage(threshold, direction=direction, unperturbed=values, perturbed=values_p)
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
    both = _shared(times, times_p, values, values_p, period)
    weights, weights_p = _weights(both, unperturbed.n_runs, perturbed.n_runs, n_boot=n_boot, seed=seed)
    curve_p = survival_curves(times_p, weights_p, horizon=horizon)
    entering, tail = curve_p[:, [period]], curve_p[:, period:]
    return Sample(
        period=period,
        horizon=horizon,
        level=level,
        survival=summed(survival_curves(times, weights, horizon=horizon)),
        residual=summed(np.where(entering > 0, tail, np.nan) / np.where(entering > 0, entering, 1.0)),
        cycles=sum_cycles(cycles(curve_p, period=period, n_runs=perturbed.n_runs)),
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


def _shared(
    times: FirstPassageTimes,
    times_p: FirstPassageTimes,
    values: NDArray[np.float64],
    values_p: NDArray[np.float64],
    period: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Places of the runs that share their seed, among the unperturbed and among the perturbed ones.

    Runs that carry the same label and agree exactly up to epoch ``period``, or to their passage, are one seed; if any that share a label
    disagree, labels mean nothing and no run is shared.
    """
    _, both, both_p = np.intersect1d(times.run, times_p.run, return_indices=True)
    until = np.minimum(times.time[both], times_p.time[both_p])  # of two that agree so far and pass here, both pass
    looked_at = np.arange(1, period + 1) <= until[:, None]  # (shared runs, epochs)
    agree = values[both, :period] == values_p[both_p, :period]
    if agree[looked_at].all():
        return both, both_p
    none = np.empty(0, dtype=np.int64)
    return none, none


def _weights(
    shared: tuple[NDArray[np.int64], NDArray[np.int64]], n_runs: int, n_perturbed: int, *, n_boot: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights of both ensembles, data first, ``(1 + n_boot, runs)``; the runs that are shared are drawn together."""
    both, both_p = shared
    only, only_p = np.setdiff1d(np.arange(n_runs), both), np.setdiff1d(np.arange(n_perturbed), both_p)
    sizes = np.cumsum([len(both), len(only), len(only_p)])
    strata = [part for part in np.split(np.arange(sizes[-1]), sizes[:-1]) if len(part)]
    seeds = bootstrap_weights(strata, n_boot=n_boot, rng=generator(seed))
    place, place_p = np.empty(n_runs, dtype=np.int64), np.empty(n_perturbed, dtype=np.int64)
    place[both] = place_p[both_p] = np.arange(len(both))
    place[only], place_p[only_p] = np.arange(sizes[0], sizes[1]), np.arange(sizes[1], sizes[2])
    return _columns(seeds, place), _columns(seeds, place_p)


def _columns(table: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Columns of a table, without a copy where they are neighbours."""
    if (np.diff(places) == 1).all():
        return table[:, places[0] : places[0] + len(places)]
    return np.take(table, places, axis=1)


def _is_full_restart(perturbed: Trajectories) -> bool:
    spec = perturbed.meta.get("spec")
    rule = (spec.get("perturbation") if isinstance(spec, dict) else None) or {}
    return rule.get("name") == "full_reset" and bool(rule.get("fresh_optimiser"))
