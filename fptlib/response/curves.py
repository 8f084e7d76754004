r"""Survival under a perturbation with period ``P``, put together from measured curves.

Curves are arrays ``(epochs + 1, replicates)``: ``S[k]`` holds ``S(k) = P(T > k)`` of the data (column 0) and of every bootstrap
replicate. With ``G_j(k)`` the probability to be still running ``k`` epochs after perturbation ``j``,

.. math:: \langle T_P \rangle = \sum_{k<P} S(k) + S(P) \tau_P, \qquad
          \tau_P = m_1(P) + G_1(P) (m_2(P) + G_2(P) (\ldots)), \quad m_j(P) = \sum_{k<P} G_j(k) .

The first equation is exact for any process: the first ``P`` epochs of a perturbed run are unperturbed. An epoch in which a run passes is
not perturbed.

References
----------
Meir, Keidar, Reuveni and Hirshberg, arXiv:2502.04121. Restart: A. Pal and S. Reuveni, Phys. Rev. Lett. 118, 030603 (2017).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Curves = NDArray[np.float64]  # (epochs + 1, replicates)
POOLED_RUNS = 100  # cycles that fewer runs enter are pooled: one late cycle is too noisy to stand for all that follow
LEAST_RUNS = 10  # a pool that fewer runs enter is left out


def conditional(survival: Curves, period: int) -> Curves:
    """Return the survival after ``period`` of those left there, ``(horizon - period + 1, replicates)``; NaN where nobody is.

    >>> conditional(np.array([[1.0], [0.5], [0.25]]), 1).ravel()
    array([1. , 0.5])
    """
    return _relative(survival[period:], empty=np.nan)


def cycles(perturbed: Curves, period: int, n_runs: int) -> list[Curves]:
    """Return ``G_1, G_2, ...``, the survival after each perturbation of those still running, as far as cycles were observed.

    Parameters
    ----------
    perturbed
        Survival of the perturbed runs from the start of training, ``(horizon + 1, replicates)``.
    period
        Their perturbation period.
    n_runs
        Their number. From the second cycle on, the first that fewer than 100 runs enter is pooled with all later whole ones, if 10 enter.

    Returns
    -------
    list of arrays ``(length + 1, replicates)``; the length is the period, or less where the horizon cuts the first cycle. A replicate
    in which no run enters the first cycle is NaN.
    """
    horizon = len(perturbed) - 1
    seen = [_relative(perturbed[period : min(2 * period, horizon) + 1], empty=np.nan)]
    whole = [perturbed[start : start + period + 1] for start in range(2 * period, horizon - period + 1, period)]
    for j, piece in enumerate(whole):
        if n_runs * piece[0, 0] < POOLED_RUNS:
            pool = np.sum(whole[j:], axis=0)
            if n_runs * pool[0, 0] >= LEAST_RUNS:
                seen.append(_relative(pool, empty=0.0))
            break
        seen.append(_relative(piece, empty=0.0))
    return seen


def extended(cycle: Curves, j: int, period: int, survival: Curves) -> Curves:
    """Return ``G_j`` up to ``period``, beyond its length continued at the unperturbed hazard, ``(period + 1, replicates)``.

    ``G_j(k) = G_j(L) S(jP + k) / S(jP + L)``, held where the unperturbed runs have all passed or are not followed.
    """
    length, horizon = len(cycle) - 1, len(survival) - 1
    if period <= length:
        return cycle[: period + 1]
    at = survival[min(j * period + length, horizon)]
    later = survival[np.minimum(j * period + np.arange(length + 1, period + 1), horizon)]
    ratio = np.divide(later, at, out=np.ones_like(later), where=at > 0)
    return np.concatenate([cycle, cycle[-1] * ratio])


def periodic(seen: list[Curves], period: int, n_epochs: int, survival: Curves) -> Curves:
    """Return the residual survival under another period, the last observed cycle repeating, ``(n_epochs + 1, replicates)``."""
    result = np.ones((n_epochs + 1, survival.shape[1]))
    scale = result[0]
    for j, start in enumerate(range(0, n_epochs, period)):
        cycle = extended(seen[min(j, len(seen) - 1)], j + 1, period, survival)
        n = min(period, n_epochs - start)
        result[start + 1 : start + n + 1] = scale * cycle[1 : n + 1]
        scale = scale * cycle[period]
    return result


def held(residual: Curves, n_epochs: int) -> Curves:
    """Return a residual survival up to ``n_epochs``, beyond what is known of it held at its last value, ``(n_epochs + 1, replicates)``."""
    return residual[np.minimum(np.arange(n_epochs + 1), len(residual) - 1)]


def spliced(survival: Curves, residual: Curves, period: int) -> Curves:
    """Return ``S(t)`` up to the period and ``S(P) S_tau(t - P)`` after it, ``(horizon + 1, replicates)``.

    >>> spliced(np.array([[1.0], [0.8], [0.6]]), np.array([[1.0], [0.5]]), 1).ravel()
    array([1. , 0.8, 0.4])
    """
    later = np.where(survival[period] > 0, survival[period] * residual[1:], 0.0)  # a residual that nobody has is NaN
    return np.concatenate([survival[: period + 1], later])


def continued(survival: Curves, horizon: int, *, since: int | None) -> Curves:
    """Return survival up to the horizon, beyond its end with its mean hazard from an epoch on, or in its second half, if that is later.

    >>> continued(np.array([[1.0], [1.0], [0.5]]), 4, since=None).ravel()
    array([1.   , 1.   , 0.5  , 0.25 , 0.125])
    """
    followed = len(survival) - 1
    first = max(since or 0, followed // 2)
    whole = np.divide(survival[-1], survival[first], out=np.zeros_like(survival[-1]), where=survival[first] > 0)
    rate = whole ** (1.0 / max(followed - first, 1))
    later = np.arange(1, horizon + 1 - followed)[:, None]
    return np.concatenate([survival, survival[-1] * rate**later])


def restarted(survival: Curves, period: int) -> Curves:
    """Return the survival under a sharp full restart, ``S(P)**(t // P) S(t mod P)``, from unperturbed runs alone.

    >>> restarted(np.array([[1.0], [0.5], [0.4], [0.3]]), 1).ravel()
    array([1.   , 0.5  , 0.25 , 0.125])
    """
    epoch = np.arange(len(survival))
    return np.asarray(survival[period] ** (epoch // period)[:, None] * survival[epoch % period])


def _relative(alive: Curves, *, empty: float) -> Curves:
    """Return a survival relative to its first epoch; ``empty`` where nobody is left there."""
    return np.asarray(np.divide(alive, alive[0], out=np.full_like(alive, empty), where=alive[0] > 0))
