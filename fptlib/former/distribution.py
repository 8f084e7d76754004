r"""Form 3: the whole distribution of the first-passage time under perturbation, not its mean only.

The survival under perturbation with period ``P`` is ``S(t)`` up to ``P`` and ``S(P) S_tau(t - P)`` after, with ``S_tau`` the survival of
the residual time as form 2, 4 or 7 has it. From it: the epoch by which a share of the runs has passed, and the probability to pass within
a budget. A quantile that lies beyond the horizon is not a number: of it a lower bound is known, and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.former.forms import Curves
from fptlib.former.prediction import Prediction, Response, predicted_survival
from fptlib.former.sample import Sample

QUANTILES = (0.5, 0.9)


@dataclass(frozen=True, slots=True)
class Quantile:
    """The first epoch by which a share of the runs has passed, with its bootstrap interval.

    Parameters
    ----------
    share
        Of the runs, between 0 and 1: 0.5 for the median.
    epoch, low, high
        ``epoch`` and ``high`` are ``None`` where they lie beyond the horizon; ``low`` is then at most ``horizon + 1``, before which the
        share is not reached.
    """

    share: float
    epoch: int | None
    low: int
    high: int | None


@dataclass(frozen=True, slots=True)
class Success:
    """Probability to pass within a budget of epochs for one run, with its bootstrap interval."""

    budget: int
    probability: Estimate


@dataclass(frozen=True, slots=True)
class Distribution:
    """Predicted distribution of the first-passage time under perturbation with one period.

    Parameters
    ----------
    prediction
        Restricted mean, form and verdict, as `fptlib.former.predict` gives them. The verdict is on the mean.
    epoch, survival, low, high
        Survival at epochs ``0 .. horizon`` with its pointwise interval, each ``(horizon + 1,)``. The interval is by the bootstrap; where
        nobody or everybody is left in the data, by the binomial law.
    quantiles, successes
        In the order asked for.
    n_runs, n_censored
        Perturbed survivors behind it, and how many of them were censored.
    """

    prediction: Prediction
    epoch: NDArray[np.int64]
    survival: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    quantiles: tuple[Quantile, ...]
    successes: tuple[Success, ...]
    n_runs: int
    n_censored: int


def distribution(
    response: Response, *, quantiles: Sequence[float] = QUANTILES, budgets: Sequence[int] = ()
) -> tuple[Distribution, ...]:
    """Return the distribution of the first-passage time behind each prediction, from the same replicates.

    Parameters
    ----------
    response
        Predictions, see `fptlib.former.predict`.
    quantiles
        Shares of the runs, each above 0 and below 1.
    budgets
        Epochs within which to reach the threshold, each from 0 to the horizon.

    Raises
    ------
    InputError
        If a share or a budget is not possible.

    Notes
    -----
    Where form 2 predicts for a period below ``P0``, the residual curve ends ``P0 - P`` epochs before the horizon and is held there.
    """
    for share in quantiles:
        if not 0 < share < 1:
            raise InputError(f"quantile {share} is not between 0 and 1")
    for budget in budgets:
        if not 0 <= budget <= response.horizon:
            raise InputError(f"budget {budget} is not between 0 and the horizon {response.horizon}")
    at = {sample.period: sample for sample in response.samples}
    first = at[response.period]
    return tuple(_distribution(at.get(p.period, first), p, quantiles, budgets) for p in response.predictions)


def quantile_epochs(curves: Curves, share: float) -> NDArray[np.int64]:
    """Return the first epoch at which at most ``1 - share`` is left, ``(replicates,)``; one beyond the horizon where it is not reached.

    Examples
    --------
    >>> quantile_epochs(np.array([[1.0, 0.7, 0.5, 0.4]]), 0.5), quantile_epochs(np.array([[1.0, 0.7, 0.5, 0.4]]), 0.9)
    (array([2]), array([4]))
    """
    reached = curves <= 1 - share + 1e-12  # rounding must not put off what is reached exactly
    return np.asarray(np.where(reached.any(axis=1), reached.argmax(axis=1), curves.shape[1]))


def _distribution(
    sample: Sample, prediction: Prediction, quantiles: Sequence[float], budgets: Sequence[int]
) -> Distribution:
    curves = predicted_survival(sample, period=prediction.period, form=prediction.form)
    ends = 0.5 - sample.level / 2, 0.5 + sample.level / 2
    defined = curves[1:][np.isfinite(curves[1:, -1])]  # without survivors at P0 a replicate says nothing
    low, high = np.quantile(defined, ends, axis=0) if len(defined) else np.full((2, curves.shape[1]), np.nan)
    # No replicate has what nobody in the data had: there the exact binomial bounds stand in.
    rare = 1.0 - ends[0] ** (1.0 / np.array([sample.times.n_runs, sample.n_survivors]))
    low = np.where(curves[0] == 1, 1.0 - rare[0], low)
    high = np.where(curves[0] == 0, rare[1] * high[prediction.period], high)
    low[0] = 1.0  # no run passes before its first epoch

    def quantile(share: float) -> Quantile:
        at = int(quantile_epochs(curves[:1], share)[0])
        drawn = quantile_epochs(defined, share)
        first = int(np.quantile(drawn, ends[0], method="lower")) if len(drawn) else 0
        last = int(np.quantile(drawn, ends[1], method="higher")) if len(drawn) else sample.horizon + 1
        return Quantile(share, _within(at, sample.horizon), first, _within(last, sample.horizon))

    def success(budget: int) -> Success:
        n, censored = sample.n_survivors, sample.n_residual_censored
        left = float(curves[0, budget])
        if 0 < left < 1:
            return Success(budget, sample.estimate(1.0 - curves[:, budget], n, censored))
        bounds = float(1 - high[budget]), float(1 - low[budget])
        return Success(budget, Estimate(1 - left, *bounds, n, censored, sample.level))

    return Distribution(
        prediction=prediction,
        epoch=np.arange(sample.horizon + 1),
        survival=curves[0],
        low=low,
        high=high,
        quantiles=tuple(quantile(share) for share in quantiles),
        successes=tuple(success(budget) for budget in budgets),
        n_runs=sample.n_survivors,
        n_censored=sample.n_residual_censored,
    )


def _within(epoch: int, horizon: int) -> int | None:
    return epoch if epoch <= horizon else None
