"""Does a rare perturbation help? The slope of the restricted mean with the probability to perturb, at none."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage import N_BOOT, Estimate
from fptlib.firstpassage.resampling import percentile_interval
from fptlib.former.common import draw_ensembles
from fptlib.former.forms import Beyond, sum_cycles
from fptlib.former.sample import Sample
from fptlib.former.verdicts import FAR, OUT_OF_RANGE, Cause, Status, Verdict, doubted, flag_few, percent
from fptlib.trajectories import Direction, Trajectories
from fptlib.trajectories.origin import Origin

_BOUNDS: tuple[Beyond, Beyond] = ("drop", "hold")
_N_EPOCHS = 40  # epochs at which the drift is computed, evenly in log(epoch), and interpolated between


@dataclass(frozen=True, slots=True)
class LinearResponse:
    """Response of the restricted mean to a rare perturbation: one, at a random epoch before the passage.

    Parameters
    ----------
    horizon
        Epoch ``H`` at which all times are restricted.
    slope
        ``d E min(T_p, H) / dp`` at ``p = 0``, in epochs: ``(<min(T, H)> - 1)`` times the difference of the two that follow.
    after, without
        Mean time left, within the horizon, after a perturbation at a random epoch that was not the last, and without it: what a
        perturbation has to beat, ``<T (T - 1)> / (2 (<T> - 1))`` where nothing is censored.
    verdict
        Whether the sign of the slope can be relied on; the error is that of ``after`` relative to ``without``.
    """

    horizon: int
    slope: Estimate
    after: Estimate
    without: Estimate
    verdict: Verdict

    @property
    def helps(self) -> bool | None:
        """True if a rare perturbation shortens the training; ``None`` where the interval of the slope holds 0."""
        if self.slope.high < 0:
            return True
        return False if self.slope.low > 0 else None


def linear_response(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> LinearResponse:
    """Return the slope of the restricted mean with the probability to perturb after an epoch, at zero.

    The residual time is taken to be the same after a perturbation at any epoch, as in a quasi-steady state.

    Parameters
    ----------
    unperturbed, perturbed, period, threshold, direction, metric, level, n_boot, seed
        As in `fptlib.former.predict`; runs perturbed only once, as their store says, suit best.

    Notes
    -----
    ``sum over t = 1 .. H - 1 of S(t) E min(tau, H - t)``, less ``sum over k of k S(k)``. The verdict asks whether the sign survives
    the drift of the metric between ``P0`` and ``t``, weighted with ``S(t)``, and what later perturbations of the measured runs hide:
    from the second on they might have run on, or passed at once.

    References
    ----------
    T. D. Keidar and S. Reuveni, arXiv:2410.16129.
    """
    (sample,) = draw_ensembles(
        unperturbed,
        [("the perturbed runs", period, perturbed)],
        threshold=threshold,
        direction=direction,
        metric=metric,
        once=True,
        level=level,
        n_boot=n_boot,
        seed=seed,
    ).samples
    if Origin.of(perturbed).repeat == "once":  # one cycle, as long as the horizon allows
        sample = replace(sample, cycles=sum_cycles([sample.residual.curve]))
    running, epoch = sample.survival.curve[:, 1:-1], np.arange(1, sample.horizon)
    moment, mass = (np.maximum((running * factor).sum(axis=1), 1e-300) for factor in (epoch, np.ones_like(epoch)))
    slope, least, most = ((running * left).sum(axis=1) - moment for left in _left(sample))
    change, outside, shift = _drift(sample, running)
    ends = least + change, most + change
    span = percentile_interval(ends[0][1:], level)[0], percentile_interval(ends[1][1:], level)[1]
    n, times = (sample.n_survivors, sample.n_residual_censored), sample.times
    after = sample.estimate((slope + moment) / mass, *n)
    without = sample.estimate(moment / mass, times.n_runs, times.n_censored)
    estimate = sample.estimate(slope, *n)
    status, reason = _judge(estimate, span, outside, shift)
    low, high = ((end - slope) / moment for end in ends)
    interval = percentile_interval(low[1:], level)[0], percentile_interval(high[1:], level)[1]
    words = {"after": after.mean, "without": without.mean, "reason": reason}
    verdict = Verdict.because(status, Cause.SLOPE, float(low[0] + high[0]) / 2, *interval, **words)
    verdict = doubted(flag_few(sample, verdict), sample.records.doubt_anywhere())
    return LinearResponse(sample.horizon, estimate, after, without, verdict)


def _left(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the restricted mean time after a perturbation at epochs ``1 .. H - 1``, ``(replicates, H - 1)``, and its bracket."""
    left = range(sample.horizon - 1, 0, -1)
    single = sample.cycles[0]  # nothing is known of one perturbation alone after the next
    measured = np.stack([sample.residual.mean(n) for n in left], axis=1)
    least, most = (np.stack([single.mean(n, beyond=bound) for n in left], axis=1) for bound in _BOUNDS)
    return measured, least, most


def _drift(sample: Sample, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Sum the drift between ``P0`` and epochs ``1 .. H - 1`` with weights; average the metric's share outside and its shift."""
    last = sample.horizon - 1
    grid = np.unique(np.round(np.geomspace(1, last, min(_N_EPOCHS, last))).astype(np.int64))
    share = np.stack([np.interp(np.arange(1, last + 1), grid, row) for row in np.eye(len(grid))])  # (grid, H - 1)
    at = weights @ share.T  # (replicates, grid)
    outside, shift = (np.array([of(int(t)) for t in grid]) for of in (sample.outside, sample.shift))
    met, mass = at[0] > 0, max(float(weights[0].sum()), 1e-300)
    change = (at * sample.drift(grid.tolist()).T).sum(axis=1)
    return change, float(at[0] @ outside) / mass, float(at[0][met] @ shift[met]) / mass


def _judge(slope: Estimate, span: tuple[float, float], outside: float, shift: float) -> tuple[Status, str]:
    """Test whether the sign of the slope is the same in its interval and with all that it may be off by."""
    known = f"the slope is {slope.mean:.3g} (interval {slope.low:.3g} to {slope.high:.3g})"
    with_all = f"{span[0]:.3g} to {span[1]:.3g} with the drift of the metric and what later perturbations hide"
    if slope.low <= 0 <= slope.high:
        return Status.UNVERIFIED, f"{known}, its sign is open"
    if outside > OUT_OF_RANGE:
        share = percent(outside, sign=False)
        return Status.UNVERIFIED, f"{known}, but {share} of the runs have a metric not seen where they were perturbed"
    if span[0] <= 0 <= span[1]:
        return Status.UNVERIFIED, f"{known}, but {with_all}"
    if (span[0] > 0) == (slope.low > 0):
        return Status.VALID, f"{known}, {with_all}"
    if abs(shift) > FAR:
        far = f"the metric is on average {shift:+.1f} standard deviations from that where runs were perturbed"
        return Status.UNVERIFIED, f"{known}, but {with_all}, and {far}"
    return Status.NOT_VALID, f"{known}, but {with_all}"
