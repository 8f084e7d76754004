"""Ensembles as the forms need them: curves of the data and of each bootstrap replicate over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, require_passage, residual_times
from fptlib.firstpassage.estimates import contributions, survival_curves
from fptlib.firstpassage.resampling import corrected_interval, weighted_slope, weighted_sums
from fptlib.former.forms import Summed, cycles, sum_cycles, summed
from fptlib.former.records import Records
from fptlib.former.seeds import Ensemble, agreement, joint_weights
from fptlib.trajectories import Direction, Target, Trajectories

_OTHER_UNIT = 10.0  # factor between metrics that no chance makes: a percentage is a hundred times a fraction


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
        Survival after each perturbation, see `fptlib.former.forms.cycles`.
    metric_at_p0, left_at_p0, weights_at_p0
        Metric at ``P0`` ``(survivors,)``, residual times and weights ``(replicates, survivors)`` of the perturbed survivors.
    n_survivors, n_residual_censored
        Perturbed runs still running at ``P0``, and how many of those were censored.
    values, times, weights
        Metric ``(runs, epochs)``, first-passage times and bootstrap weights ``(replicates, runs)`` of the unperturbed runs. The metric
        counts up to the passage of a run only.
    records
        What the records of both ensembles say.
    alone
        Restricted mean of the perturbed runs by themselves, ``(replicates,)``.
    agree_until
        Last epoch until which the perturbed runs agree exactly with unperturbed ones of the same seed, 0 without such runs.
    """

    period: int
    horizon: int
    level: float
    survival: Summed
    residual: Summed
    cycles: list[Summed]
    metric_at_p0: NDArray[np.float64]
    left_at_p0: FirstPassageTimes
    weights_at_p0: NDArray[np.float32]
    n_survivors: int
    n_residual_censored: int
    values: NDArray[np.float64]
    times: FirstPassageTimes
    weights: NDArray[np.float32]
    records: Records
    alone: NDArray[np.float64]
    agree_until: int

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
            alone=self.alone[:1],
        )

    @property
    def residual_mean(self) -> Estimate:
        """Mean residual time after ``P0``, restricted to the epochs that were followed."""
        return self.estimate(self.residual.mean(self.horizon - self.period), self.n_survivors, self.n_residual_censored)

    def estimate(self, replicates: NDArray[np.float64], n_runs: int, n_censored: int) -> Estimate:
        """Return the estimate from the data (first entry) and its replicates (the others)."""
        return estimate(replicates, n_runs, n_censored, self.level)

    def suspicions(self, name: str, n_epochs: int) -> tuple[str, ...]:
        """Return sentences on a period that the runs do not show and on records cut short.

        Parameters
        ----------
        name
            Name of the ensemble in these sentences.
        n_epochs
            Epochs that its record has; means end earlier where too few runs were followed further.
        """
        sentences = []
        if self.agree_until > self.period:
            more = "to their end" if self.agree_until >= self.horizon else f"until epoch {self.agree_until}"
            sentences.append(
                f"The runs of {name} are those without perturbation {more}, although they are said to be perturbed at epoch "
                f"{self.period}: is the period right?"
            )
        if self.horizon < n_epochs:
            sentences.append(
                f"Many runs end early: means are counted up to epoch {self.horizon} of {n_epochs}; beyond, too few were followed."
            )
        return tuple(sentences)

    def residual_at_p0(self, within: int) -> NDArray[np.float64]:
        """Return the contribution of each survivor at ``P0`` to the mean residual time within so many epochs, ``(survivors,)``."""
        return contributions(self.left_at_p0, horizon=within)

    def drift(self, epochs: Sequence[int]) -> NDArray[np.float64]:
        """Return the change of the mean residual time with the drift of the metric between ``P0`` and each epoch, to first order.

        Slope of the residual time, within the epochs that are left after the epoch, on the metric of the perturbed survivors at ``P0``,
        times the difference of the mean metric between the unperturbed survivors at the epoch and those; 0 without survivors. Shape
        ``(epochs, replicates)``.
        """
        epoch = np.array(epochs, dtype=np.int64)
        if not len(epoch):
            return np.empty((0, len(self.weights)))
        left = np.stack([self.residual_at_p0(self.horizon - t) for t in epochs], axis=1)  # (survivors, epochs)
        slope, mean_at_p0 = weighted_slope(self.metric_at_p0, left, self.weights_at_p0)
        alive = np.empty((self.times.n_runs, len(epoch)), dtype=bool)
        for j, t in enumerate(epochs):
            alive[:, j] = self.times.running(t)
        metric = np.where(alive, self.values[:, epoch - 1], 0.0)
        n, total = np.split(weighted_sums(self.weights, np.concatenate([alive, metric], axis=1)), 2, axis=1)
        return np.where(n > 0, slope * (total / np.maximum(n, 1.0) - mean_at_p0[:, None]), 0.0).T

    def outside(self, epoch: int) -> float:
        """Return the share of the unperturbed survivors at ``epoch`` whose metric lies outside the range seen at ``P0``."""
        metric = self.values[self.times.running(epoch), epoch - 1]
        seen = self.metric_at_p0
        return float(np.mean((metric < seen.min()) | (metric > seen.max()))) if len(metric) else 0.0

    def shift(self, epoch: int) -> float:
        """Return the mean metric of the unperturbed survivors at ``epoch`` less that at ``P0``, in standard deviations of the latter."""
        metric, seen = self.values[self.times.running(epoch), epoch - 1], self.metric_at_p0
        if not len(metric) or len(seen) < 2:
            return 0.0
        spread = float(seen.std(ddof=1))
        shift = float(metric.mean() - seen.mean())
        return shift / spread if spread > 0 else float(np.sign(shift)) * np.inf if shift else 0.0


@dataclass(frozen=True, slots=True)
class Plain:
    """Unperturbed runs alone: survival, metric ``(runs, epochs)``, first-passage times, bootstrap weights, record."""

    survival: Summed
    values: NDArray[np.float64]
    times: FirstPassageTimes
    weights: NDArray[np.float32]
    level: float
    records: Records

    @property
    def mean(self) -> Estimate:
        """Restricted mean at the horizon."""
        replicates = self.survival.mean(self.survival.length)
        return estimate(replicates, self.times.n_runs, self.times.n_censored, self.level)


def estimate(replicates: NDArray[np.float64], n_runs: int, n_censored: int, level: float) -> Estimate:
    """Return the estimate from the data (first entry) and its replicates (the others)."""
    low, high = corrected_interval(replicates, level, n_runs=n_runs)
    return Estimate(float(replicates[0]), low, high, n_runs, n_censored, level)


def draw(
    unperturbed: Trajectories,
    perturbed: Sequence[tuple[int, Trajectories]],
    *,
    threshold: float,
    direction: Direction,
    metric: str | None,
    level: float,
    n_boot: int,
    seed: int,
) -> tuple[Plain, list[Sample]]:
    """Reduce an unperturbed ensemble and several perturbed ones, each with its period, to a `Plain` and a `Sample` for each of these.

    All have one horizon; there may be no perturbed ones. Row ``i`` of every array in every sample is the same replicate over seeds, so
    that differences between perturbations, and between periods, have replicates too.

    Raises
    ------
    InputError
        If no run reaches the threshold, all unperturbed runs reach it at epoch 1, or no perturbed run is still running after its period.
    """
    values, times = _passages(unperturbed, threshold, direction, metric)
    ensembles = [Ensemble(values, times)]
    for period, runs in perturbed:
        ensembles.append(Ensemble(*_passages(runs, threshold, direction, metric), period))
    named = {"unperturbed": values} | {_label(e, len(perturbed)): e.values for e in ensembles[1:]}
    require_passage(Target(threshold, direction), **named)
    scale = f"is {threshold:g} on the scale of the metric, and is {direction!r} the right direction?"
    if times.observed.all() and times.time.max() == 1:
        raise InputError(f"all unperturbed runs reach {threshold:g} at epoch 1: {scale}")
    for ensemble in ensembles[1:]:
        if not ensemble.times.running(ensemble.period or 0).any():
            raise InputError(
                f"all perturbed runs reach {threshold:g} by epoch {ensemble.period}; residual times need a shorter period or a harder "
                f"threshold ({scale})"
            )
    for ensemble in ensembles[1:]:
        _require_one_unit(ensembles[0], ensemble)
    weights, *weights_p = joint_weights(ensembles, n_boot=n_boot, seed=seed)
    survival = summed(survival_curves(times, weights, horizon=unperturbed.n_epochs))
    records = Records.of(unperturbed)
    plain = Plain(survival=survival, values=values, times=times, weights=weights, level=level, records=records)
    return plain, [
        _sample(plain, ensemble, drawn, Records.of(unperturbed, runs))
        for ensemble, drawn, (_, runs) in zip(ensembles[1:], weights_p, perturbed, strict=True)
    ]


def _sample(plain: Plain, ensemble: Ensemble, weights_p: NDArray[np.float32], records: Records) -> Sample:
    times_p, period, horizon = ensemble.times, ensemble.period or 0, plain.survival.length
    alive = times_p.running(period)
    curve_p = survival_curves(times_p, weights_p, horizon=horizon)
    entering, tail = curve_p[:, [period]], curve_p[:, period:]
    going = times_p.time > period  # all survivors but those whose record ends here, of whom nothing later is known
    return Sample(
        period=period,
        horizon=horizon,
        level=plain.level,
        survival=plain.survival,
        residual=summed(np.where(entering > 0, tail, np.nan) / np.where(entering > 0, entering, 1.0)),
        cycles=sum_cycles(cycles(curve_p, period=period, n_runs=times_p.n_runs)),
        metric_at_p0=ensemble.values[going, period - 1],
        left_at_p0=residual_times(times_p, period=period),
        weights_at_p0=weights_p[:, going],
        n_survivors=int(alive.sum()),
        n_residual_censored=int(np.sum(alive & ~times_p.observed)),
        values=plain.values,
        times=plain.times,
        weights=plain.weights,
        records=records,
        alone=curve_p[:, :-1].sum(axis=1),
        agree_until=agreement(Ensemble(plain.values, plain.times), ensemble),
    )


def _passages(
    runs: Trajectories, threshold: float, direction: Direction, metric: str | None
) -> tuple[NDArray[np.float64], FirstPassageTimes]:
    return runs.metric(metric), first_passage(runs, Target(threshold, direction, metric))


def _require_one_unit(plain: Ensemble, perturbed: Ensemble) -> None:
    """Refuse two units: up to the first perturbation both ensembles are trained alike, and the metric changes by no such factor."""
    epoch = perturbed.period or 0
    before, there = (float(np.nanmean(np.abs(e.values[:, epoch - 1]))) for e in (plain, perturbed))
    if min(before, there) > 0 and max(before / there, there / before) > _OTHER_UNIT:
        raise InputError(
            f"at epoch {epoch}, before they are perturbed at all, the perturbed runs have a metric of {there:.4g} on average and the "
            f"unperturbed ones of {before:.4g}: are both in the same unit?"
        )


def _label(ensemble: Ensemble, n_perturbed: int) -> str:
    return "perturbed" if n_perturbed == 1 else f"perturbed_{ensemble.period}"
