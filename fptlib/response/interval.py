r"""One interval and one grade for each prediction.

A residual time measured at ``P0`` is carried to another period over :math:`|\log_2 (P/P_0)|` octaves, and may change by 26 % for each:
by a factor of :math:`r = (\max/\min)^{1/3}` in all. Beyond that it is open how much a second perturbation counts. So the slow end
takes the larger, and the fast end the smaller, of the two residual times with one perturbation alone and with all of them as observed,
times or over ``r``. Sampling adds to it on the log scale, as squares. The exponent 1/3 is calibrated at 95 % and kept at other levels;
``benchmarks/prediction_coverage.py`` shows what it covers on every ensemble at hand, where it does not, and which exponents would be
chosen without the setting that they are judged on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from fptlib.firstpassage import FirstPassageTimes
from fptlib.firstpassage.resampling import Floats
from fptlib.response.curves import Curves, conditional, cycles, extended, held, periodic, restarted, spliced
from fptlib.study import Key, Study

REACH_EXPONENT = 1 / 3
GRADES = {"to 10 %": 1.1, "to 20 %": 1.2, "to a factor 1.5": 1.5, "to a factor 2": 2.0}
OPEN = "open"


@dataclass(frozen=True, slots=True)
class Source:
    """A perturbed ensemble as predictions need it.

    Parameters
    ----------
    key
        Perturbation and period ``P0``.
    once
        Whether it acted at ``P0`` only.
    survival
        Survival of the unperturbed runs, ``(horizon + 1, replicates)``.
    residual
        Survival after ``P0``, ``(horizon - P0 + 1, replicates)``; shorter where runs were not followed to the horizon.
    seen
        Survival after each perturbation, see `fptlib.response.curves.cycles`.
    n_survivors, n_passed
        Runs left at ``P0``, and how many of them were seen to pass.
    """

    key: Key
    once: bool
    survival: Curves
    residual: Curves
    seen: list[Curves]
    n_survivors: int
    n_passed: int

    @classmethod
    def of(cls, key: Key, times: FirstPassageTimes, curve: Curves, survival: Curves, *, once: bool = False) -> Source:
        """Reduce perturbed runs, with their survival from the start of training, to what predictions need."""
        alive = times.running(key[1])
        return cls(
            key=key,
            once=once,
            survival=survival,
            residual=conditional(curve, key[1]),
            seen=cycles(curve, key[1], times.n_runs),
            n_survivors=int(alive.sum()),
            n_passed=int((alive & times.observed).sum()),
        )

    @property
    def period(self) -> int:
        """Period ``P0``."""
        return self.key[1]

    @property
    def horizon(self) -> int:
        """Last epoch that counts."""
        return len(self.survival) - 1

    def measures(self, period: int) -> bool:
        """Test whether the mean at a period is a measurement: the period of these runs, followed to the horizon."""
        return period == self.period and len(self.residual) > self.horizon - period

    def after(self, period: int) -> Curves:
        """Return the residual survival after the first perturbation under a period, ``(horizon - period + 1, replicates)``."""
        left = self.horizon - period
        if self.once or self.measures(period):
            return held(self.residual, left)
        later = periodic(self.seen, period, left, self.survival)
        if period != self.period:
            return later
        end = len(self.residual) - 1  # followed so far; beyond, cycles go on from there
        share = np.divide(later[end + 1 :], later[end], out=np.zeros_like(later[end + 1 :]), where=later[end] > 0)
        return np.concatenate([self.residual, self.residual[end] * share])


def source(study: Study, key: Key) -> Source:
    """Reduce a perturbed ensemble of a study to what predictions need."""
    times, once = study.ensembles[key].times, key[0] in study.once
    return Source.of(key, times, study.curve(key), study.survival, once=once)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its prediction interval, in epochs.

    Parameters
    ----------
    centre, low, high
        The mean by the formula, whatever its grade, NaN where nothing is known of it; ends of the interval.
    sampling
        Ends of the part that more runs would narrow.
    """

    centre: float
    low: float
    high: float
    sampling: tuple[float, float]

    @property
    def factor(self) -> float:
        """Return the larger of the two factors between the mean and an end; infinite where nothing is known."""
        return max(self.high / self.centre, self.centre / self.low) if self.centre > 0 else math.inf

    @property
    def grade(self) -> str:
        """Return the grade of the factor: one of `GRADES`, or open."""
        return next((name for name, most in GRADES.items() if self.factor <= most + 1e-12), OPEN)


def reach(period: int, at: int, exponent: float = REACH_EXPONENT) -> float:
    """Return the factor by which a residual time may change between two periods.

    >>> reach(40, 20, 1 / 3) == reach(20, 40, 1 / 3) == 2 ** (1 / 3)
    True
    """
    return float((max(period, at) / min(period, at)) ** exponent)


def carried(origin: Source, period: int, *, level: float, exponent: float = REACH_EXPONENT) -> tuple[Interval, Floats]:
    """Return the mean at a period from runs perturbed at ``P0`` with its interval, and its replicates, ``(replicates,)``.

    Parameters
    ----------
    origin
        Runs perturbed at ``P0``.
    period
        Period, from 1 to below the horizon. At ``P0`` itself it is a measurement, and only sampling counts, if runs were followed to
        the horizon.
    level
        Confidence level.
    exponent
        Of the reach.
    """
    survival = origin.survival
    least = survival[:period].sum(axis=0) + survival[period]
    floor = float(np.quantile(least[1:], 0.5 - level / 2))
    if origin.n_survivors < 2:
        most = float(least[0] + survival[period, 0] * (origin.horizon - period - 1))
        low = min(floor, most)
        return Interval(math.nan, low, most, (low, most)), np.full_like(least, math.nan)
    mean, low, high = transfer(origin, period, exponent=exponent)
    part = sampling(mean, level, n=origin.n_survivors, n_passed=origin.n_passed, least=float(least[0]))
    return combined(float(mean[0]), low, high, part, floor=floor, horizon=origin.horizon), mean


def transfer(origin: Source, period: int, *, exponent: float = REACH_EXPONENT) -> tuple[Floats, float, float]:
    """Return the mean at a period, ``(replicates,)``, and its fast and slow end beside sampling; arguments as those of `carried`."""
    survival, left = origin.survival, origin.horizon - period
    before, entering = survival[:period].sum(axis=0), survival[period]  # RM(P) and S(P), (replicates,)
    after = np.clip(origin.after(period)[:left].sum(axis=0), 1, left)  # tau, (replicates,)
    mean = before + np.where(entering > 0, entering * after, 0.0)
    alone = float(held(origin.residual[:, :1], left)[:left].sum())
    ends = _ends(origin, period, min(alone, after[0]), max(alone, after[0]), reach(period, origin.period, exponent))
    low, high = (float(before[0] + entering[0] * np.clip(end, 1, left)) for end in ends)
    return mean, low, high


def _ends(origin: Source, period: int, low: float, high: float, r: float) -> tuple[float, float]:
    """Return the ends of the residual time beside sampling."""
    left, low = origin.horizon - period, low / r
    if period == origin.period and not origin.measures(period):
        soon = float(origin.residual[:, 0].sum())  # all may pass right after the last epoch that they were followed to
        return soon, high
    if len(origin.seen) > 1 or origin.once or period == origin.period:
        return low, high * r
    # What a second perturbation does was not seen: all may pass right after it. That none does is the slow end already.
    first = extended(origin.seen[0][:, :1], 1, period, origin.survival[:, :1])[:, 0]
    low = min(low, float(first[: min(period, left)].sum() + (first[period] if period < left else 0.0)) / r)
    return low, high * r


def restart(study: Study, period: int) -> tuple[Interval, Floats]:
    """Return the mean under a sharp full restart with its interval, and its replicates: exact, from unperturbed runs alone."""
    survival, times = study.survival, study.ensembles[None].times
    mean = restarted(survival, period)[:-1].sum(axis=0)
    floor = float(np.quantile((survival[:period].sum(axis=0) + survival[period])[1:], 0.5 - study.level / 2))
    part = sampling(mean, study.level, n=times.n_runs)
    centre = float(mean[0])
    return combined(centre, centre, centre, part, floor=floor, horizon=study.horizon), mean


def sampling(mean: Floats, level: float, *, n: int, n_passed: int | None = None, least: float = 0.0) -> float:
    """Return the half-width of the sampling interval of the log of a mean.

    Parameters
    ----------
    mean
        The mean in the data (first entry) and in each replicate.
    n, n_passed
        Runs behind it, and how many of them were seen to pass.
    least
        The mean if all passed right after the perturbation: what exceeds it rests on ``n_passed`` passages, and replicates of a few
        runs that happen to be alike do not show how uncertain it is.
    """
    if n < 2:
        return math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = float(np.nanstd(np.log(mean[1:]))) * math.sqrt(n / (n - 1))
    if n_passed is not None:
        spread = max(spread, (1 - least / float(mean[0])) / (2 * math.sqrt(n_passed + 1)))
    return float(special.stdtrit(n - 1, 0.5 + level / 2)) * spread


def combined(mean: float, low: float, high: float, part: float, *, floor: float, horizon: int) -> Interval:
    """Return the interval from what a period may change and what sampling does, added as squares on the log scale.

    Parameters
    ----------
    mean, low, high
        The mean, and its ends beside sampling.
    part
        Half-width of the sampling interval of its log.
    floor, horizon
        Between which the interval lies, unless the mean does not.
    """

    def within(value: float) -> float:
        return min(max(value, min(floor, mean)), max(horizon, mean))

    below, above = math.hypot(part, math.log(mean / low)), math.hypot(part, math.log(high / mean))
    return Interval(
        centre=mean,
        low=within(mean * math.exp(-below)),
        high=within(mean * math.exp(above)) if above < 700 else float(horizon),
        sampling=(within(mean * math.exp(-part)), within(mean * math.exp(part)) if part < 700 else float(horizon)),
    )


def predicted_survival(study: Study, origin: Source | None, period: int) -> Curves:
    """Return the survival under a period, or without a source under a full restart, ``(horizon + 1, replicates)``."""
    if origin is None:
        return restarted(study.survival, period)
    return spliced(study.survival, origin.after(period), period)
