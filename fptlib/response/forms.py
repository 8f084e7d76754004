r"""Survival under perturbation with period ``P``, put together from measured curves.

Every form gives the survival ``S_P(0 .. H)`` of a perturbed run up to the horizon ``H``; the restricted mean is its sum. All arrays carry
a leading axis of bootstrap replicates: ``(replicates, epochs + 1)``. With ``RM(P) = sum of S(k), k < P``:

1. exact for any process, from runs perturbed with period ``P`` itself: ``<T_P> = RM(P) + S(P) tau_P``: `splice` with their residual.
2. quasi-steady state, from runs perturbed with another period ``P0``: ``<T_P> ~ RM(P) + S(P) tau_P0``: `splice` with that residual.
3. its whole distribution, ``S_P(t) = S(t)`` up to ``P`` and ``S(P) S_tau(t - P)`` after: the curve that `splice` returns.
4. sharp full restart, no perturbed run needed: ``<T_P> = RM(P) / (1 - S(P))``: `full_restart`, `restart_mean`.
7. cycles: ``tau_P = m_1(P) + G_1(P) (m_2(P) + G_2(P) (...))`` with ``G_j`` the survival after perturbation ``j`` and ``m_j(P)`` the sum
   of ``G_j(k), k < P``: `cycles`, `cycle_residual`.

References
----------
Meir, Keidar, Reuveni and Hirshberg, arXiv:2502.04121 (forms 1 and 2). Form 4: A. Pal and S. Reuveni, Phys. Rev. Lett. 118, 030603 (2017).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Curves = NDArray[np.float64]  # (replicates, epochs + 1)
MIN_CYCLE_RUNS = 10  # a cycle that fewer runs enter closes the sum rather than being used


def restricted(curve: Curves) -> NDArray[np.float64]:
    """Restricted mean at the horizon of each curve, shape ``(replicates,)``.

    Examples
    --------
    >>> restricted(np.array([[1.0, 0.5, 0.25]]))
    array([1.5])
    """
    return np.asarray(curve[:, :-1].sum(axis=1))


def splice(survival: Curves, residual: Curves, *, period: int) -> Curves:
    """Forms 1 to 3: ``S(t)`` for ``t <= P``, then ``S(P) S_tau(t - P)``.

    A residual curve that ends before the horizon is held at its last value, an upper bound.

    Examples
    --------
    >>> splice(np.array([[1.0, 0.8, 0.6, 0.5]]), np.array([[1.0, 0.5, 0.0]]), period=1)
    array([[1. , 0.8, 0.4, 0. ]])
    """
    n_after = survival.shape[1] - 1 - period
    after = np.minimum(np.arange(1, n_after + 1), residual.shape[1] - 1)
    return np.concatenate([survival[:, : period + 1], survival[:, [period]] * residual[:, after]], axis=1)


def full_restart(survival: Curves, *, period: int) -> Curves:
    """Form 4 as a curve: ``S_P(t) = S(P)**(t // P) S(t mod P)``.

    Examples
    --------
    >>> full_restart(np.array([[1.0, 0.5, 0.4, 0.3]]), period=1)
    array([[1.   , 0.5  , 0.25 , 0.125]])
    """
    epoch = np.arange(survival.shape[1])
    return survival[:, [period]] ** (epoch // period) * survival[:, epoch % period]


def restart_mean(survival: Curves, *, period: int) -> NDArray[np.float64]:
    """Form 4 without horizon: ``RM(P) / (1 - S(P))``, infinite where no run passes within a period.

    Examples
    --------
    >>> restart_mean(np.array([[1.0, 0.5, 0.4, 0.3]]), period=2)
    array([2.5])
    """
    passed = 1.0 - survival[:, period]
    with np.errstate(divide="ignore"):
        return np.where(passed > 0, survival[:, :period].sum(axis=1) / passed, np.inf)


def cycles(perturbed: Curves, *, period: int, n_runs: int) -> list[Curves]:
    """Survival ``G_j(k)`` after perturbation ``j`` of the runs that it found still running, for each observed cycle.

    Parameters
    ----------
    perturbed
        Survival of the perturbed runs from the start of training, shape ``(replicates, horizon + 1)``; row 0 are the data.
    period
        Their perturbation period.
    n_runs
        Number of runs behind ``perturbed``; cycles that fewer than ten of them enter are left out, the first one is always there.

    Returns
    -------
    list of arrays ``(replicates, length + 1)``; the length is the period, or less where the horizon cuts the cycle.
    """
    horizon = perturbed.shape[1] - 1
    found: list[Curves] = []
    for start in range(period, horizon, period):
        entering = perturbed[:, [start]]
        if found and (n_runs * entering[0, 0] < MIN_CYCLE_RUNS or horizon - start < found[0].shape[1] - 1):
            break
        piece = perturbed[:, start : min(start + period, horizon) + 1]
        found.append(np.divide(piece, entering, out=np.zeros_like(piece), where=entering > 0))
    return found


def cycle_residual(
    observed: list[Curves], *, period: int, n_epochs: int, beyond: Literal["hold", "drop"] = "hold"
) -> Curves:
    """Form 7: residual survival under period ``P`` from the cycles of another period, shape ``(replicates, n_epochs + 1)``.

    After the last observed cycle that one is repeated. For ``P`` longer than a cycle was observed, ``G_j`` is bracketed: held at its last
    value (``"hold"``, the largest it can be) or dropped to zero (``"drop"``, the smallest).
    """
    extended = [_extend(curve, period, beyond) for curve in observed]
    pieces = [np.ones((len(observed[0]), 1))]
    scale = pieces[0]
    for start in range(0, n_epochs, period):
        curve = extended[min(start // period, len(extended) - 1)]
        take = min(period, n_epochs - start)
        pieces.append(scale * curve[:, 1 : take + 1])
        scale = scale * curve[:, [period]]
    return np.concatenate(pieces, axis=1)


def geometric_close(observed: list[Curves], *, period: int) -> NDArray[np.float64]:
    """Form 7 without horizon: ``m_1 + G_1 (m_2 + G_2 ( ... + m_J / (1 - G_J)))``, infinite where the last cycle passes nobody."""
    last = observed[-1]
    with np.errstate(divide="ignore"):
        tau = np.where(last[:, period] < 1, last[:, :period].sum(axis=1) / (1 - last[:, period]), np.inf)
    for curve in observed[-2::-1]:
        again = curve[:, period]
        later = np.multiply(again, tau, out=np.zeros_like(tau), where=again > 0)  # nobody meets an infinite time
        tau = curve[:, :period].sum(axis=1) + later
    return tau


def _extend(curve: Curves, period: int, beyond: str) -> Curves:
    missing = period + 1 - curve.shape[1]
    if missing <= 0:
        return curve[:, : period + 1]
    fill = curve[:, [-1]] if beyond == "hold" else np.zeros((len(curve), 1))
    return np.concatenate([curve, np.repeat(fill, missing, axis=1)], axis=1)
