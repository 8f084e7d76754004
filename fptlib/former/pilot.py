"""Variance of predictions and cost of runs, from a pilot of a few dozen runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.firstpassage.estimates import survival_curves
from fptlib.firstpassage.resampling import bootstrap_weights, generator
from fptlib.former.forms import Summed, cycle_mean, cycles, splice_mean, sum_cycles, summed
from fptlib.former.prediction import SECOND_PERTURBATION
from fptlib.former.seeds import Ensemble, seeds_of

SMALLEST = 10  # runs, and survivors, below which a pilot says nothing about a variance


@dataclass(frozen=True, slots=True)
class Pilot:
    """Curves of the data (row 0) and without each run in turn (the others), and the runs themselves."""

    period: int
    horizon: int
    times: FirstPassageTimes
    survival: Summed  # (1 + runs, horizon + 1)
    alive: NDArray[np.bool_]  # perturbed runs at P0
    residual: Summed  # (1 + survivors, horizon - period + 1)
    cycles: list[Summed]
    residual_time: NDArray[np.float64]  # (survivors,), up to the horizon
    before: NDArray[np.float64]  # epochs up to P0 of the perturbed runs, (perturbed runs,)
    kicked: bool
    parent: NDArray[np.int64]  # unperturbed run of the same seed for each survivor, -1 for none

    @classmethod
    def of(cls, plain: Ensemble, perturbed: Ensemble, *, horizon: int, kicked: bool) -> Pilot:
        """Reduce two ensembles, of which the second is perturbed (`kicked`) or a copy of the first.

        Raises
        ------
        InputError
            If there are fewer than 10 unperturbed runs or survivors.
        """
        times, times_p, period = plain.times, perturbed.times, perturbed.period or 0
        alive = times_p.running(period)
        for name, n in (("runs", times.n_runs), (f"survivors at epoch {period}", int(alive.sum()))):
            if n < SMALLEST:
                raise InputError(f"the pilot has {n} {name}; at least {SMALLEST} are needed to judge a variance")
        left_out = _without_each(np.flatnonzero(alive), times_p.n_runs)
        curve = survival_curves(times_p, left_out, horizon=horizon)
        return cls(
            period=period,
            horizon=horizon,
            times=times,
            survival=summed(
                survival_curves(times, _without_each(np.arange(times.n_runs), times.n_runs), horizon=horizon)
            ),
            alive=alive,
            residual=summed(curve[:, period:] / curve[:, [period]]),
            cycles=sum_cycles(cycles(curve, period=period, n_runs=times_p.n_runs)),
            residual_time=(times_p.time[alive] - period).astype(np.float64),
            before=np.minimum(times_p.time, period).astype(np.float64),
            kicked=kicked,
            parent=_parents(*seeds_of([plain, perturbed]))[alive] if kicked else np.full(int(alive.sum()), -1),
        )

    def form(self, period: int) -> int:
        """Return the form that `fptlib.former.predict` takes; without perturbed runs the cycles are not those of a perturbation."""
        first = self.cycles[0]
        near = period < self.period and period <= first.length
        return 7 if self.kicked and near and first.curve[0, period] > SECOND_PERTURBATION else 2

    def weights(self, n_boot: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of each run and of each perturbed run in the pilot and in its replicates."""
        rng = generator(seed)
        drawn = [
            bootstrap_weights([np.arange(n)], n_boot=n_boot, rng=rng) for n in (self.times.n_runs, len(self.alive))
        ]
        first, second = (w.astype(np.float64) / w.sum(axis=1, keepdims=True) for w in drawn)
        return first, second

    def parts(self, period: int) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """Return the prediction, and its change with each unperturbed run, ``(runs,)``, and each survivor, ``(survivors,)``."""
        after = self.horizon - period
        if self.form(period) == 7:
            tau, _ = cycle_mean(self.cycles, period=period, n_epochs=after)
        else:
            tau = self.residual.mean(after)
        mean = splice_mean(self.survival, np.full(len(self.survival.curve), tau[0]), period=period)
        entering = float(self.survival.value(period)[0])
        n, n_s = self.times.n_runs, len(tau) - 1
        return float(mean[0]), (n - 1) * (mean[0] - mean[1:]), entering * (n_s - 1) * (tau[0] - tau[1:])

    def costs(self, *, fork: bool) -> tuple[float, float]:
        """Return the run-epochs of an unperturbed run, and of a survivor together with the runs that passed on the way to it."""
        after = float(self.residual_time.mean())
        return float(self.times.time.mean()), after if fork else after + float(self.before.sum()) / int(
            self.alive.sum()
        )


def variance(weights: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the variance of values, ``(runs,)``, under weights that sum to 1, ``(replicates, runs)``."""
    n = len(values)
    return np.asarray((weights @ values**2 - (weights @ values) ** 2).clip(0) * n / (n - 1))


def common(
    among: NDArray[np.float64],
    by_run: NDArray[np.float64],
    by_survivor: NDArray[np.float64],
    parent: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return the covariance of the effects of a survivor and of the unperturbed run of its seed, times their share, ``(replicates,)``."""
    other = np.where(parent >= 0, by_run[parent], 0.0)
    return np.asarray(among @ (other * by_survivor) - (among @ other) * (among @ by_survivor))


def _parents(seeds: NDArray[np.int64], seeds_p: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each perturbed run the unperturbed one of its seed, -1 for none, ``(perturbed runs,)``."""
    place = np.full(1 + max(seeds.max(), seeds_p.max()), -1)
    place[seeds] = np.arange(len(seeds))
    return np.asarray(place[seeds_p])


def _without_each(members: NDArray[np.int64], n_runs: int) -> NDArray[np.float32]:
    """Return the weights of all runs (row 0) and of all but one of `members` (the others), ``(1 + members, runs)``."""
    weights = np.ones((1 + len(members), n_runs), dtype=np.float32)
    weights[np.arange(1, 1 + len(members)), members] = 0
    return weights
