"""Does a rare perturbation help? The slope of the restricted mean with the probability to perturb, at none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage import N_BOOT, Direction, Estimate, percentile_interval
from fptlib.response.common import Repeat, samples
from fptlib.response.forms import Beyond
from fptlib.response.interpolation import Interpolated
from fptlib.response.sample import Sample
from fptlib.response.verdicts import FAR, OUT_OF_RANGE, Status, Verdict, doubted, flag_few, percent
from fptlib.trajectories import Trajectories

_BOUNDS: tuple[Beyond, Beyond] = ("drop", "hold")


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
        """Whether a rare perturbation shortens the training; ``None`` where the interval of the slope holds 0."""
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
    others: Mapping[int, Trajectories] | None = None,
    repeat: Repeat | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> LinearResponse:
    """Slope of the restricted mean with the probability to perturb after an epoch, at zero.

    Parameters
    ----------
    unperturbed, perturbed, period, threshold, direction, metric
        As in `fptlib.response.predict`; runs perturbed ``"once"`` suit best.
    others
        Period to runs perturbed with it: the residual time after a perturbation at epoch ``t`` is then interpolated between those that
        were measured, and taken from the nearest beyond them. With one period it is the same at all epochs, as in a quasi-steady state.
    repeat
        As in `fptlib.response.predict_random`, of all perturbed ensembles.
    level, n_boot, seed
        As in `fptlib.response.predict`.

    Notes
    -----
    ``sum over t = 1 .. H - 1 of S(t) E min(tau(t), H - t)``, less ``sum over k of k S(k)``. The verdict asks whether the sign survives
    the drift of the metric between ``P0`` and ``t``, weighted with ``S(t)``, and what later perturbations of the measured runs hide:
    from the second on they might have run on, or passed at once.

    References
    ----------
    T. D. Keidar and S. Reuveni, arXiv:2410.16129.
    """
    drawn = samples(
        unperturbed,
        perturbed,
        period=period,
        threshold=threshold,
        direction=direction,
        metric=metric,
        others=others,
        repeat=repeat,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    source = Interpolated.of(drawn)
    survival, horizon = drawn[0].survival.curve, drawn[0].horizon
    running, epoch = survival[:, 1:-1], np.arange(1, horizon)
    moment, mass = (np.maximum((running * factor).sum(axis=1), 1e-300) for factor in (epoch, np.ones_like(epoch)))
    slope, least, most = (
        source.total(running, left) - moment
        for left in zip(*(_after(sample) for sample in source.samples), strict=True)
    )
    change, outside, shift = source.drift(running)
    whole = least + change, most + change
    span = percentile_interval(whole[0][1:], level)[0], percentile_interval(whole[1][1:], level)[1]
    estimate, times = drawn[0].estimate, drawn[0].times
    n = source.n_survivors, source.n_residual_censored
    after, without = estimate((slope + moment) / mass, *n), estimate(moment / mass, times.n_runs, times.n_censored)
    found = estimate(slope, *n)
    status, reason = _judge(found, span, outside, shift)
    said = f"a perturbation at a random epoch leaves {after.mean:.3g} epochs of {without.mean:.3g}: {reason}"
    errors = [(end - slope) / moment for end in whole]
    judged = Verdict(
        status,
        said,
        float(errors[0][0] + errors[1][0]) / 2,
        percentile_interval(errors[0][1:], level)[0],
        percentile_interval(errors[1][1:], level)[1],
    )
    return LinearResponse(horizon, found, after, without, _flag(source.weakest(running), judged))


def _flag(sample: Sample, judged: Verdict) -> Verdict:
    return doubted(flag_few(sample, judged), sample.records.doubt_at_random())


def _after(sample: Sample) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Restricted mean time after a perturbation at epochs ``1 .. H - 1``, ``(replicates, H - 1)``: as measured, and its bracket."""
    left = range(sample.horizon - 1, 0, -1)
    single = sample.cycles[0]  # nothing is known of one perturbation alone after the next
    measured = np.stack([sample.residual.mean(n) for n in left], axis=1)
    least, most = (np.stack([single.mean(n, beyond=bound) for n in left], axis=1) for bound in _BOUNDS)
    return measured, least, most


def _judge(slope: Estimate, whole: tuple[float, float], outside: float, shift: float) -> tuple[Status, str]:
    """Whether the sign of the slope is the same in its interval and with all that it may be off by."""
    said = f"the slope is {slope.mean:.3g} (interval {slope.low:.3g} to {slope.high:.3g})"
    with_all = f"{whole[0]:.3g} to {whole[1]:.3g} with the drift of the metric and what later perturbations hide"
    if slope.low <= 0 <= slope.high:
        return Status.UNVERIFIED, f"{said}, its sign is open"
    if outside > OUT_OF_RANGE:
        share = percent(outside, sign=False)
        return Status.UNVERIFIED, f"{said}, but {share} of the runs have a metric not seen where they were perturbed"
    if whole[0] <= 0 <= whole[1]:
        return Status.UNVERIFIED, f"{said}, but {with_all}"
    if (whole[0] > 0) == (slope.low > 0):
        return Status.VALID, f"{said}, {with_all}"
    if abs(shift) > FAR:
        far = f"the metric is on average {shift:+.1f} standard deviations from that where runs were perturbed"
        return Status.UNVERIFIED, f"{said}, but {with_all}, and {far}"
    return Status.NOT_VALID, f"{said}, but {with_all}"
