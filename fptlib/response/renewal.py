r"""Form 6, renewal: every cycle as the first one, ``tau_P = m(P) / (1 - G(P))``, and whether it holds.

With ``G(k)`` the probability to be still running ``k`` epochs after a perturbation and ``m(P)`` the sum of ``G(k), k < P``, one cycle of
one perturbed ensemble gives the mean residual time at every shorter period, without horizon. It needs the same law of the state before
each perturbation, and is wrong

- where ``P`` is shorter than the relaxation after a perturbation, or perturbations accumulate: the state before the second is another;
- where differences between runs survive a perturbation: those who meet the second are the slow ones.

The last two show where the second cycle passes runs otherwise than the first. The first shows, to first order, in the metric: with
``Delta`` the slope of the residual time on the metric at the perturbation times the shift of that metric,

.. math:: E(P) = \frac{S(P)}{\langle T_P \rangle} \Big[ \Delta_\text{first}
   + \frac{G(P)}{1 - G(P)} \Delta_\text{later} + \tau_\text{cycles}(P) - \tau_P \Big],

where the metric shifts from that at ``P0`` to that of unperturbed runs at ``P`` (first) and to that of perturbed runs ``P`` epochs after
their first perturbation (later), and ``tau_cycles`` is form 7 with all cycles that were seen.

References
----------
A. Pal and S. Reuveni, Phys. Rev. Lett. 118, 030603 (2017): a restart is the case in which ``G`` is the unperturbed survival.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Direction, Estimate, first_passage, weighted_slope, weighted_sums
from fptlib.response.common import after_entering, estimate_unbounded, samples
from fptlib.response.forms import geometric_close
from fptlib.response.sample import Sample
from fptlib.response.verdicts import ERROR_TOLERANCE, MIN_SURVIVORS, Replicates, Status, Verdict, percent, weigh_error
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class Renewal:
    """Mean first-passage time at one period by renewal, without horizon; infinite where the cycle seen passes nobody.

    Parameters
    ----------
    period
        Perturbation period ``P``, at most that of the perturbed runs.
    mean, residual
        ``<T_P>`` and ``tau_P``, in epochs.
    again
        Share ``G(P)`` of the runs perturbed once that meet the next perturbation.
    verdict
        Whether later cycles are like the first, why, and the expected relative error of the mean with its interval.
    """

    period: int
    mean: Estimate
    residual: Estimate
    again: Estimate
    verdict: Verdict


def renewal(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    periods: Sequence[int],
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> tuple[Renewal, ...]:
    """Mean first-passage times at periods up to ``P0`` from the first cycle of runs perturbed with period ``P0``.

    Parameters
    ----------
    unperturbed, perturbed, period, threshold, direction, metric, level, tolerance, n_boot, seed
        As in `fptlib.response.predict`. The horizon must hold the whole first cycle, ``2 P0`` epochs.
    periods
        Periods to predict for, each from 1 to ``period``.

    Raises
    ------
    InputError
        If a period is beyond the cycle that was seen, or as `fptlib.response.predict`.
    """
    (sample,) = samples(
        unperturbed,
        perturbed,
        period=period,
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    if sample.horizon < 2 * period:
        raise InputError(f"the first cycle needs {2 * period} epochs, and the horizon is {sample.horizon}")
    for p in periods:
        if not 1 <= p <= period:
            raise InputError(f"period {p} is not between 1 and {period}, the length of the cycle that was seen")
    later = _Later(sample, perturbed, threshold=threshold, direction=direction, metric=metric)
    return tuple(
        _renewal(sample, p, drift, later, tolerance) for p, drift in zip(periods, sample.drift(periods), strict=True)
    )


class _Later:
    """The metric of the runs that were perturbed once, between their first and second perturbation."""

    def __init__(
        self, sample: Sample, perturbed: Trajectories, *, threshold: float, direction: Direction, metric: str | None
    ) -> None:
        runs = perturbed.head(epochs=sample.horizon)
        times = first_passage(runs, threshold=threshold, direction=direction, metric=metric)
        going = times.time > sample.period  # as the sample has them
        self.sample, self.values = sample, runs.metric(metric)[going]
        self.running = np.stack([times.running(sample.period + k)[going] for k in range(sample.period + 1)])

    def shift(self, period: int) -> tuple[Replicates, float, float]:
        """Change of the residual time that goes with the metric ``period`` epochs after the first perturbation instead of at ``P0``,
        share of runs whose metric there was not seen at ``P0``, and shift of the mean in standard deviations.
        """
        sample, running = self.sample, self.running[period]
        seen, metric = sample.metric_at_p0, self.values[running, sample.period + period - 1]
        nothing = np.zeros(len(sample.weights_at_p0))
        if not len(metric):
            return nothing, 0.0, 0.0
        slope, mean = weighted_slope(seen, sample.residual_at_p0(sample.horizon - sample.period), sample.weights_at_p0)
        there = np.stack([np.ones_like(metric), metric], axis=1)
        n, total = weighted_sums(sample.weights_at_p0[:, running], there).T
        outside = float(np.mean((metric < seen.min()) | (metric > seen.max())))
        spread, moved = float(seen.std()), float(metric.mean() - seen.mean())
        far = moved / spread if spread > 0 else 0.0 if moved == 0 else np.inf * np.sign(moved)
        return np.where(n > 0, slope * (total / np.maximum(n, 1.0) - mean), 0.0), outside, float(far)


def _renewal(sample: Sample, period: int, drift: NDArray[np.float64], later: _Later, tolerance: float) -> Renewal:
    reached, entering = sample.survival.mean(period), sample.survival.value(period)
    curves = [cycle.curve for cycle in sample.cycles]
    again = sample.cycles[0].value(period)
    tau = geometric_close(curves[:1], period=period)
    mean = reached + after_entering(entering, tau)
    by_cycles = geometric_close(curves, period=period)
    n, censored = sample.n_survivors, sample.n_residual_censored

    def estimate(values: Replicates) -> Estimate:
        return estimate_unbounded(values, n, censored, sample.level)

    return Renewal(
        period=period,
        mean=estimate(mean),
        residual=estimate(tau),
        again=estimate(again),
        verdict=_judge(sample, period, mean, tau, by_cycles, drift, later, tolerance),
    )


def _judge(
    sample: Sample,
    period: int,
    mean: Replicates,
    tau: Replicates,
    by_cycles: Replicates,
    drift: Replicates,
    later: _Later,
    tolerance: float,
) -> Verdict:
    again, entering = sample.cycles[0].value(period), sample.survival.value(period)
    entered = round(sample.n_survivors * float(sample.cycles[0].curve[0, -1]))
    if entering[0] == 0:
        return Verdict(Status.VALID, f"no run is left to be perturbed at epoch {period}", 0.0, 0.0, 0.0)
    for time, which in ((tau, "first perturbation"), (by_cycles, "later perturbations")):
        if not np.isfinite(time[0]):
            said = f"no run passed within {period} epochs of its {which}: what was seen does not bound the mean"
            return Verdict(Status.UNVERIFIED, said, float("nan"), float("nan"), float("nan"))
    shift, outside, far = later.shift(period)
    with np.errstate(invalid="ignore", divide="ignore"):  # replicates in which the last cycle passes nobody
        moved = entering * (drift + np.where(again > 0, again / (1 - again) * shift, 0.0)) / mean
        cycles = np.where(np.isfinite(by_cycles), entering * (by_cycles - tau) / mean, np.inf)
    first_shift = sample.shift(period)
    judged = weigh_error(
        sample,
        below=cycles,
        above=cycles,
        drift=moved,
        possible=(float((sample.survival.mean(period) + entering)[0] / mean[0] - 1), np.inf),
        outside=max(outside, sample.outside(period)),
        shift=first_shift if abs(first_shift) > abs(far) else far,
        who=f"the runs perturbed after {period} epochs, at first or again,",
        seen=f"at epoch {sample.period}",
        tolerance=tolerance,
        doubt=sample.records.doubt(period, sample.period) or sample.records.moving(period),
    )
    after_second = float(entering[0] * again[0] * tau[0] / mean[0])
    if (
        judged.status is Status.VALID
        and after_second > tolerance
        and (len(sample.cycles) < 2 or entered < MIN_SURVIVORS)
    ):
        said = (
            f"{percent(after_second, sign=False)} of the mean lies after a second perturbation, and only {entered} runs were seen there: "
            f"{MIN_SURVIVORS} are needed to tell whether it does what the first did"
        )
        return replace(judged, status=Status.UNVERIFIED, reason=said)
    return judged
