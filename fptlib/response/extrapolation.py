r"""Means without a horizon: over cycles of a perturbation, or along a tail that a named model describes. Or the reason why not.

Under perturbation with a period, what happens in a cycle happens again in the next: once cycles 1 and 2 are seen to pass runs alike, the
last may be repeated for ever, ``<T_P> = RM(P) + S(P) tau_P`` with form 7 closed by ``m_J / (1 - G_J)``. Within a cycle the hazard is never
extrapolated.

Without perturbation the tail beyond the horizon needs a model. The exponential one (in epochs geometric) takes the hazard ``h`` after the
relaxation epoch ``t*`` as constant, ``<T> = RM(H) + S(H) / h`` with ``h`` the passages over the epochs at risk after ``t*``. It is refused
where a hazard that rises or falls with age describes the passages better: the likelihood ratio of

.. math:: h(t) = 1 - \exp \left( -e^{a + b\,(t - t^*)} \right)

to the same with ``b = 0``, twice its logarithm being chi-squared with one degree of freedom where the hazard is constant. A test that
did not reject is no proof: the prediction stays an extrapolation, says what change of the hazard it would have seen, and is refused where
more than half of the mean would lie beyond the horizon.

References
----------
D. R. Cox and P. A. W. Lewis, *The Statistical Analysis of Series of Events* (1966), chapter 3 (log-linear trend).
R. L. Prentice and L. A. Gloeckler, Biometrics 34, 57 (1978) (the model in discrete time).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from fptlib.errors import InputError
from fptlib.firstpassage import (
    N_BOOT,
    Direction,
    Estimate,
    FirstPassageTimes,
    bootstrap_weights,
    first_passage,
    generator,
    survival_curves,
    weighted_sums,
)
from fptlib.qss import judge
from fptlib.response.common import after_entering, estimate_unbounded, samples, unlike
from fptlib.response.forms import geometric_close
from fptlib.response.prediction import check_options
from fptlib.response.records import Records
from fptlib.response.sample import Sample
from fptlib.response.verdicts import MIN_SURVIVORS
from fptlib.trajectories import Trajectories

Model = Literal["exponential"]
SIGNIFICANCE = 0.05  # of the test that may refuse a model
MOST_BEYOND = (
    0.5  # share of a mean that may lie beyond the horizon: with more the model is all, and what was seen nothing
)


@dataclass(frozen=True, slots=True)
class Extrapolated:
    """A mean without horizon, or the reason why there is none.

    Parameters
    ----------
    period
        Perturbation period; ``None`` without perturbation.
    estimate
        The mean with its interval, in epochs; ``None`` where it is refused.
    reason
        What the mean rests on, or why it is refused.
    """

    period: int | None
    estimate: Estimate | None
    reason: str


@dataclass(frozen=True, slots=True)
class HazardTrend:
    """Does the hazard change with age? Likelihood ratio of a log-linear to a constant hazard.

    Parameters
    ----------
    after, last
        Only passages after epoch ``after`` count, up to the ``last`` epoch that a run was followed to.
    n_passed, n_epochs
        Passages, and epochs at risk of all runs together.
    hazard
        Passages over epochs at risk.
    slope, slope_low, slope_high
        ``b``, the relative change of the hazard for each epoch, with its 95 % interval (normal, by the curvature of the likelihood).
    statistic, p_value
        Twice the logarithm of the likelihood ratio, and its probability to be larger where the hazard is constant.
    """

    after: int
    last: int
    n_passed: int
    n_epochs: int
    hazard: float
    slope: float
    slope_low: float
    slope_high: float
    statistic: float
    p_value: float


def hazard_trend(times: FirstPassageTimes, *, after: int) -> HazardTrend:
    """Test whether the hazard after an epoch is constant; censored runs count as long as they were followed.

    Parameters
    ----------
    times
        First-passage times.
    after
        Epoch ``t*`` after which to look, 0 or later: the relaxation before it is no trend of the tail.

    Raises
    ------
    InputError
        If no run passes after this epoch, or none is at risk in two epochs after it.

    Examples
    --------
    A hazard of one half in each epoch:

    >>> time, count = np.array([1, 2, 3, 3]), np.array([40, 20, 10, 10])
    >>> observed = np.repeat([True, True, True, False], count)
    >>> times = FirstPassageTimes(time=np.repeat(time, count), observed=observed, run=np.arange(80))
    >>> trend = hazard_trend(times, after=0)
    >>> trend.hazard, abs(trend.slope) < 1e-6, trend.p_value > 0.99
    (0.5, True, True)
    """
    if after < 0:
        raise InputError(f"epoch {after} to look after is below 0")
    last = times.horizon
    epoch = np.arange(after + 1, last + 1)
    passed = np.bincount(times.time[times.observed], minlength=last + 1)[after + 1 :]
    at_risk = np.bincount(times.time, minlength=last + 1)[::-1].cumsum()[::-1][after + 1 :]
    n_passed, n_epochs = int(passed.sum()), int(at_risk.sum())
    if n_passed == 0 or (at_risk > 0).sum() < 2:
        raise InputError(
            f"{n_passed} runs pass after epoch {after}, the last being {last}: too little to test for a trend"
        )
    age = epoch - after
    centre = float(age @ at_risk) / n_epochs
    width = max(float(np.sqrt((age - centre) ** 2 @ at_risk / n_epochs)), 1.0)
    u = ((age - centre) / width).astype(np.float64)  # of order one, so that both parameters are
    hazard = n_passed / n_epochs
    start = np.log(-np.log1p(-min(hazard, 1 - 1e-12)))
    constant = _negative_log_likelihood(np.array([start, 0.0]), u, passed, at_risk)[0]
    found = optimize.minimize(
        _negative_log_likelihood, np.array([start, 0.0]), args=(u, passed, at_risk), jac=True, method="BFGS"
    )
    curvature = _information(found.x, u, at_risk)
    error = float(np.sqrt(np.linalg.inv(curvature)[1, 1])) if np.linalg.det(curvature) > 0 else float("inf")
    statistic = max(2.0 * (constant - float(found.fun)), 0.0)
    slope, half = float(found.x[1]) / width, float(stats.norm.ppf(0.975)) * error / width
    return HazardTrend(
        after=after,
        last=last,
        n_passed=n_passed,
        n_epochs=n_epochs,
        hazard=hazard,
        slope=slope,
        slope_low=slope - half,
        slope_high=slope + half,
        statistic=statistic,
        p_value=float(stats.chi2.sf(statistic, 1)),
    )


def unperturbed_mean(
    trajectories: Trajectories,
    *,
    threshold: float,
    after: int | None = None,
    model: Model = "exponential",
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    significance: float = SIGNIFICANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Extrapolated:
    """Mean first-passage time without perturbation and without horizon, by a named model of the tail that was not rejected.

    Parameters
    ----------
    trajectories
        Unperturbed runs.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    after
        Relaxation epoch ``t*`` from which the model holds; by default the one that `fptlib.qss.judge` finds.
    model
        ``"exponential"``: a constant hazard after ``t*``. Not used where no run is censored: the mean is then measured.
    level, n_boot, seed
        Confidence level, bootstrap replicates over runs, and the seed of their random numbers.
    significance
        The model is refused where the test of `hazard_trend` has a smaller p-value.

    Raises
    ------
    InputError
        If the model is not known, ``after`` is not before the horizon, or a level is not between 0 and 1.
    """
    if model != "exponential":
        raise InputError(f"model {model!r} of the tail is not known; choose exponential")
    if not 0 < significance < 1:
        raise InputError(f"significance {significance} is not between 0 and 1")
    check_options("auto", level)
    times = first_passage(trajectories, threshold=threshold, direction=direction, metric=metric)
    horizon = times.supported(times.horizon)
    if after is not None and not 0 <= after < horizon:
        raise InputError(f"epoch {after} after which the model holds is not between 0 and {horizon - 1}")
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    curves = survival_curves(times, weights, horizon=horizon)
    mean = curves[:, :-1].sum(axis=1)
    if not times.n_censored:
        return Extrapolated(None, estimate_unbounded(mean, times.n_runs, 0, level), "no run is censored: measured")
    if after is None:
        state = judge(trajectories, threshold=threshold, direction=direction, metric=metric, seed=seed)
        if state.relaxation_epoch is None:
            reason = f"there is no epoch from which a model of the tail could hold: {state.reasons[0]}"
            return Extrapolated(None, None, reason)
        after = state.relaxation_epoch
    moving = Records.of(trajectories.head(epochs=horizon)).moving(after)
    if moving is not None:
        return Extrapolated(None, None, f"{moving}: what the hazard was says nothing of what it will be")
    exposure = np.maximum(times.time - after, 0)
    passing = times.observed & (times.time > after)
    if (n_passed := int(passing.sum())) < MIN_SURVIVORS:
        reason = f"{n_passed} runs pass after epoch {after}, and {MIN_SURVIVORS} are needed to see whether their hazard changes"
        return Extrapolated(None, None, reason)
    trend = hazard_trend(times, after=after)
    said = (
        f"the hazard changes by {100 * trend.slope:+.2g} % for each epoch after epoch {after} (95 % interval "
        f"{100 * trend.slope_low:+.2g} to {100 * trend.slope_high:+.2g} %, {n_passed} passages, p = {trend.p_value:.2g})"
    )
    if trend.p_value < significance:
        return Extrapolated(None, None, f"the exponential tail is rejected: {said}")
    passes, epochs = weighted_sums(weights, np.stack([passing, exposure], axis=1).astype(np.float64)).T
    with np.errstate(divide="ignore"):
        left = np.where(passes > 0, epochs / passes, np.inf)
    mean = mean + np.where(curves[:, -1] > 0, curves[:, -1] * left, 0.0)
    share = float(curves[0, -1] * left[0] / mean[0])
    beyond = f"{100 * share:.0f} % of the mean would lie beyond epoch {horizon} by an exponential tail"
    if share > MOST_BEYOND:
        return Extrapolated(None, None, f"{beyond}, where nothing was seen; follow the runs further: {said}")
    found = estimate_unbounded(mean, times.n_runs, times.n_censored, level)
    return Extrapolated(None, found, f"{beyond.replace('would lie', 'lies')}: {said}")


def extrapolate(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    periods: Sequence[int],
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> tuple[Extrapolated, ...]:
    """Mean first-passage times without horizon at periods up to ``P0``, the last cycle seen being repeated for ever.

    Parameters
    ----------
    unperturbed, perturbed, period, threshold, direction, metric, level, n_boot, seed
        As in `fptlib.response.predict`.
    periods
        Periods to extrapolate for, each from 1 to ``period``.

    Returns
    -------
    tuple of Extrapolated
        Refused where fewer than two cycles after ``P0`` lie within the horizon (``H - P0 >= 2 P0``) or were met by enough runs, where
        cycles 1 and 2 do not pass runs alike, or where the last passes nobody. How far the prediction itself can be relied on is for
        `fptlib.response.predict` to say.

    Raises
    ------
    InputError
        If a period is beyond ``P0``, or as `fptlib.response.predict`.
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
    for p in periods:
        if not 1 <= p <= period:
            raise InputError(f"period {p} is not between 1 and {period}: nothing was seen of longer cycles")
    return tuple(_over_cycles(sample, p) for p in periods)


def _over_cycles(sample: Sample, period: int) -> Extrapolated:
    if sample.n_survivors < MIN_SURVIVORS:
        reason = f"only {sample.n_survivors} survivors at epoch {sample.period}; {MIN_SURVIVORS} are needed"
        return Extrapolated(period, None, reason)
    why_not = sample.records.doubt(period, sample.period) or sample.records.moving(period) or unlike(sample, period)
    if why_not is not None:
        return Extrapolated(period, None, why_not)
    entering = sample.survival.value(period)
    tau = geometric_close([cycle.curve for cycle in sample.cycles], period=period)
    mean = sample.survival.mean(period) + after_entering(entering, tau)
    if not np.isfinite(mean[0]):
        return Extrapolated(
            period, None, f"no run passed within {period} epochs of the last perturbations that were seen"
        )
    found = estimate_unbounded(mean, sample.n_survivors, sample.n_residual_censored, sample.level)
    follow = np.cumprod([float(cycle.value(period)[0]) for cycle in sample.cycles])
    said = f"{100 * follow[0]:.2g} % of the runs perturbed once meet a second perturbation, "
    if follow[-1] > 0:
        said += f"which acts as the first did; {100 * follow[-1]:.2g} % outlast the cycles seen"
    else:
        said += f"none outlasts the {len(follow)} cycles seen"
    return Extrapolated(period, found, said)


def _negative_log_likelihood(
    parameters: NDArray[np.float64], u: NDArray[np.float64], passed: NDArray[np.int64], at_risk: NDArray[np.int64]
) -> tuple[float, NDArray[np.float64]]:
    """Of passages under the integrated hazards ``exp(a + b u)`` of each epoch, with its gradient."""
    rate = np.exp(np.clip(parameters[0] + parameters[1] * u, -500, 50))
    stays = at_risk - passed
    ratio = rate / np.expm1(np.minimum(rate, 500))  # derivative of log(1 - exp(-rate)) with log(rate)
    value = float(stays @ rate - passed @ np.log(-np.expm1(-rate)))
    slope = stays * rate - passed * ratio
    return value, np.array([slope.sum(), slope @ u])


def _information(
    parameters: NDArray[np.float64], u: NDArray[np.float64], at_risk: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Expected information of both parameters, ``(2, 2)``."""
    rate = np.exp(np.clip(parameters[0] + parameters[1] * u, -500, 50))
    weight = at_risk * rate**2 / np.expm1(np.minimum(rate, 500))  # n (dh / d log rate)^2 / (h (1 - h))
    return np.array([[weight.sum(), weight @ u], [weight @ u, weight @ u**2]])
