r"""The whole distribution of the first-passage time under a perturbation, and not its mean only.

Survival is ``S(t)`` up to the period and ``S(P) G(t - P)`` after it, with ``G`` that of the residual time. As for the mean, the intervals
hold sampling and what is open beside it: the fast end takes the lower ``G`` of one perturbation alone and of all as observed, with time
shortened by the reach ``r``, the slow end the upper one with time stretched by ``r``. An interval goes from the low bootstrap quantile of
the one to the high quantile of the other. Of a quantile beyond the horizon a lower bound is known, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.record import Record
from fptlib.response.curves import Curves, held, spliced
from fptlib.response.interval import Source, predicted_survival, reach, source
from fptlib.response.results import Prediction, Ranking
from fptlib.study import Study


@dataclass(frozen=True, slots=True)
class Quantile(Record):
    """The first epoch by which a share of the runs has passed, with its interval; ``None`` where that is beyond the horizon."""

    share: float
    epoch: int | None
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Success(Record):
    """Probability of a run to pass within a budget of epochs, with its interval."""

    budget: int
    probability: Estimate


@dataclass(frozen=True, slots=True)
class Distribution(Record):
    """Distribution behind a prediction: survival at epochs ``0 .. horizon`` with its pointwise interval, quantiles, and budgets."""

    prediction: Prediction
    epoch: NDArray[np.int64]
    survival: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    quantiles: tuple[Quantile, ...]
    successes: tuple[Success, ...]


def distributions(
    study: Study, ranking: Ranking, quantiles: Sequence[float] = (0.5, 0.9), budgets: Sequence[int] = ()
) -> tuple[Distribution, ...]:
    """Return the distribution of the first-passage time behind each prediction that was made of a study.

    ``quantiles`` are shares of the runs, each above 0 and below 1; ``budgets`` epochs within which to reach the threshold, each from 0
    to the horizon. Others raise an InputError.
    """
    for share in quantiles:
        if not 0 < share < 1:
            raise InputError(f"quantile {share} is not between 0 and 1")
    for budget in budgets:
        if not 0 <= budget <= study.horizon:
            raise InputError(f"budget {budget} is not between 0 and the horizon {study.horizon}")
    keys = {p: (p.perturbation or "", p.source) for p in ranking.predictions if p.source is not None}
    origins = {key: source(study, key) for key in set(keys.values())}
    behind = ((p, origins[keys[p]] if p in keys else None) for p in ranking.predictions)
    return tuple(_distribution(study, p, origin, quantiles, budgets) for p, origin in behind)


def quantile_epochs(curves: Curves, share: float) -> NDArray[np.int64]:
    """Return the first epoch at which at most ``1 - share`` is left, ``(replicates,)``; one beyond the horizon where there is none."""
    reached = curves <= 1 - share + 1e-12  # rounding must not put off what is reached exactly
    return np.asarray(np.where(reached.any(axis=0), reached.argmax(axis=0), len(curves)))


def _distribution(
    study: Study, p: Prediction, origin: Source | None, quantiles: Sequence[float], budgets: Sequence[int]
) -> Distribution:
    curve, fast, slow = _curves(study, p, origin)
    ends, n_plain = (0.5 - study.level / 2, 0.5 + study.level / 2), study.ensembles[None].times.n_runs
    low, high = np.quantile(fast[:, 1:], ends[0], axis=1), np.quantile(slow[:, 1:], ends[1], axis=1)
    # No replicate has what nobody in the data had: there the exact binomial bounds stand in.
    low = np.where(fast[:, 0] == 1, ends[0] ** (1 / n_plain), low)
    high = np.where(slow[:, 0] == 0, (1 - ends[0] ** (1 / max(p.n_runs, 1))) * high[p.period or 0], high)
    low[0] = 1.0  # no run passes before its first epoch

    def within(epoch: float) -> int | None:
        return int(epoch) if epoch <= study.horizon else None

    def quantile(share: float) -> Quantile:
        first = np.quantile(quantile_epochs(fast[:, 1:], share), ends[0], method="lower")
        last = np.quantile(quantile_epochs(slow[:, 1:], share), ends[1], method="higher")
        return Quantile(share, within(quantile_epochs(curve[:, None], share)[0]), int(first), within(last))

    def success(budget: int) -> Success:
        values = float(1 - curve[budget]), float(1 - high[budget]), float(1 - low[budget])
        return Success(budget, Estimate(*values, p.n_runs, p.n_censored, study.level))

    return Distribution(
        p, np.arange(len(curve)), curve, low, high, tuple(map(quantile, quantiles)), tuple(map(success, budgets))
    )


def _curves(study: Study, p: Prediction, origin: Source | None) -> tuple[NDArray[np.float64], Curves, Curves]:
    """Return the survival by the formula, and that at the fast and the slow end with its replicates."""
    if p.period is None or origin is None:
        curves = study.survival if p.period is None else predicted_survival(study, None, p.period)
        return curves[:, 0], curves, curves
    left, r = study.horizon - p.period, reach(p.period, origin.period)
    every, one = origin.after(p.period), held(origin.residual, left)
    fast, slow = np.minimum(every, one), np.maximum(every, one)
    if origin.n_survivors < 2:
        fast, slow = np.zeros_like(fast), np.ones_like(slow)
    elif len(origin.seen) < 2 and not (origin.once or origin.measures(p.period)):
        known = min(p.period, len(origin.residual) - 1)
        fast[known + 1 :] = 0  # what a second perturbation does was not seen: all may pass right after it
    ends = (spliced(study.survival, _stretched(g, f), p.period) for g, f in ((fast, 1 / r), (slow, r)))
    fast, slow = (g[:, np.isfinite(g[-1])] for g in ends)  # without survivors a replicate says nothing
    return spliced(study.survival, every, p.period)[:, 0], fast, slow


def _stretched(curve: Curves, r: float) -> Curves:
    """Return a survival with its time stretched by a factor."""
    at, last = np.arange(len(curve)) / r, len(curve) - 1
    below, part = np.minimum(at.astype(np.int64), last), (at % 1)[:, None]
    return np.asarray((1 - part) * curve[below] + part * curve[np.minimum(below + 1, last)])
