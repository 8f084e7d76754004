r"""Survival under perturbation with period ``P``, put together from measured curves.

Every form gives the survival ``S_P(0 .. H)`` of a perturbed run up to the horizon ``H``; the restricted mean is its sum. All arrays carry
a leading axis of bootstrap replicates: ``(replicates, epochs + 1)``. Where only the means are wanted, `Summed` curves give them without
the curve: `splice_mean`, `restart_restricted_mean`, `cycle_mean`. With ``RM(P) = sum of S(k), k < P``:

1. exact for any process, from runs perturbed with period ``P`` itself: ``<T_P> = RM(P) + S(P) tau_P``: `splice` with their residual.
2. quasi-steady state, from runs perturbed with another period ``P0``: ``<T_P> ~ RM(P) + S(P) tau_P0``: `splice` with that residual.
3. its whole distribution, ``S_P(t) = S(t)`` up to ``P`` and ``S(P) S_tau(t - P)`` after: the curve that `splice` returns.
4. sharp full restart, no perturbed run needed: ``<T_P> = RM(P) / (1 - S(P))``: `full_restart`.
7. cycles: ``tau_P = m_1(P) + G_1(P) (m_2(P) + G_2(P) (...))`` with ``G_j`` the survival after perturbation ``j`` and ``m_j(P)`` the sum
   of ``G_j(k), k < P``: `cycles`, `cycle_residual`.

References
----------
Meir, Keidar, Reuveni and Hirshberg, arXiv:2502.04121 (forms 1 and 2). Form 4: A. Pal and S. Reuveni, Phys. Rev. Lett. 118, 030603 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Curves = NDArray[np.float64]  # (replicates, epochs + 1)
POOLED_CYCLE_RUNS = 100  # cycles that fewer runs enter are pooled
MIN_CYCLE_RUNS = 10  # a pool that fewer runs enter is left out


Beyond = Literal["hold", "drop"]
After = Literal["repeat", "hold", "drop"]


@dataclass(frozen=True, slots=True)
class Summed:
    """Curves with their restricted means: column ``n`` of ``sums`` is the sum of the values at ``k < n``; make them by `summed`."""

    curve: Curves
    sums: NDArray[np.float64]

    @property
    def length(self) -> int:
        """Last epoch of the curves."""
        return int(self.curve.shape[1]) - 1

    @property
    def data(self) -> Summed:
        """The first row alone."""
        return Summed(self.curve[:1], self.sums[:1])

    def value(self, k: int, *, beyond: Beyond = "hold") -> NDArray[np.float64]:
        """Return values at ``k``, shape ``(replicates,)``; beyond the end held at the last value, or zero."""
        if k > self.length and beyond == "drop":
            return np.zeros(len(self.curve))
        return self.curve[:, min(k, self.length)]

    def mean(self, n: int, *, beyond: Beyond = "hold") -> NDArray[np.float64]:
        """Return the sum of the values at ``k < n``, shape ``(replicates,)``, beyond the end as in `value`."""
        missing = n - self.length
        if missing <= 0:
            return self.sums[:, n]
        return self.sums[:, -1] + (missing if beyond == "hold" else 1) * self.curve[:, -1]


def summed(curve: Curves) -> Summed:
    """Add up curves epoch by epoch.

    Examples
    --------
    >>> curves = summed(np.array([[1.0, 0.5, 0.25]]))
    >>> curves.mean(2), curves.mean(4), curves.mean(4, beyond="drop")
    (array([1.5]), array([2.]), array([1.75]))
    """
    by_epoch = np.ascontiguousarray(curve.T)  # the values of one epoch side by side: they are added up together
    sums = np.zeros_like(by_epoch)
    for k in range(1, len(sums)):
        np.add(sums[k - 1], by_epoch[k - 1], out=sums[k])
    return Summed(by_epoch.T, sums.T)


def splice(survival: Curves, residual: Curves, *, period: int) -> Curves:
    """Put together forms 1 to 3: ``S(t)`` for ``t <= P``, then ``S(P) S_tau(t - P)``.

    A residual curve that ends before the horizon is held at its last value, an upper bound.

    Examples
    --------
    >>> splice(np.array([[1.0, 0.8, 0.6, 0.5]]), np.array([[1.0, 0.5, 0.0]]), period=1)
    array([[1. , 0.8, 0.4, 0. ]])
    """
    n_after = survival.shape[1] - 1 - period
    after = np.minimum(np.arange(1, n_after + 1), residual.shape[1] - 1)
    entering = survival[:, [period]]
    later = np.where(entering > 0, entering * residual[:, after], 0.0)  # a residual nobody has may be NaN
    return np.concatenate([survival[:, : period + 1], later], axis=1)


def splice_mean(survival: Summed, residual_mean: NDArray[np.float64], *, period: int) -> NDArray[np.float64]:
    """Return the restricted mean of `splice`, from that of the residual within what is left of the horizon, ``(replicates,)``.

    Examples
    --------
    >>> splice_mean(summed(np.array([[1.0, 0.8, 0.6, 0.5]])), np.array([1.5]), period=1)
    array([2.2])
    """
    entering = survival.value(period)
    return survival.mean(period) + np.where(entering > 0, entering * residual_mean, 0.0)


def full_restart(survival: Curves, *, period: int) -> Curves:
    """Return form 4 as a curve: ``S_P(t) = S(P)**(t // P) S(t mod P)``.

    Examples
    --------
    >>> full_restart(np.array([[1.0, 0.5, 0.4, 0.3]]), period=1)
    array([[1.   , 0.5  , 0.25 , 0.125]])
    """
    epoch = np.arange(survival.shape[1])
    return survival[:, [period]] ** (epoch // period) * survival[:, epoch % period]


def restart_restricted_mean(survival: Summed, *, period: int) -> NDArray[np.float64]:
    """Return the restricted mean of `full_restart` at the horizon, ``(replicates,)``.

    Examples
    --------
    >>> restart_restricted_mean(summed(np.array([[1.0, 0.5, 0.4, 0.3]])), period=1)
    array([1.75])
    """
    n_periods, rest = divmod(survival.length, period)
    total, scale = np.zeros(len(survival.curve)), np.ones(len(survival.curve))
    for _ in range(n_periods):
        total = total + scale * survival.mean(period)
        scale = scale * survival.value(period)
    return total + scale * survival.mean(rest)


def cycles(perturbed: Curves, *, period: int, n_runs: int) -> list[Curves]:
    """Return the survival ``G_j(k)`` after perturbation ``j`` of the runs that were still running, for the cycles that were observed.

    Parameters
    ----------
    perturbed
        Survival of the perturbed runs from the start of training, shape ``(replicates, horizon + 1)``; row 0 are the data.
    period
        Their perturbation period.
    n_runs
        Number of runs behind ``perturbed``. From the second cycle on, the first that fewer than 100 runs enter is pooled with all later
        ones: a single late cycle is too noisy to stand for what comes after it.

    Returns
    -------
    list of arrays ``(replicates, length + 1)``; the length is the period, or less where the horizon cuts the first cycle. A replicate
    in which no run enters the first cycle is NaN.
    """
    horizon = perturbed.shape[1] - 1
    first = _conditional(perturbed[:, period : min(2 * period, horizon) + 1], empty=np.nan)
    seen = [first]
    complete = [perturbed[:, start : start + period + 1] for start in range(2 * period, horizon - period + 1, period)]
    for j, piece in enumerate(complete):
        if n_runs * piece[0, 0] < POOLED_CYCLE_RUNS:
            pooled = np.sum(complete[j:], axis=0)
            if n_runs * pooled[0, 0] >= MIN_CYCLE_RUNS:
                seen.append(_conditional(pooled, empty=0.0))
            break
        seen.append(_conditional(piece, empty=0.0))
    return seen


def cycle_residual(
    observed: list[Curves],
    *,
    period: int,
    n_epochs: int,
    beyond: Beyond = "hold",
    after: After = "repeat",
) -> Curves:
    """Return form 7: residual survival under period ``P`` from the cycles of another period, shape ``(replicates, n_epochs + 1)``.

    Parameters
    ----------
    observed
        From `cycles`.
    period, n_epochs
        Period ``P`` to predict for, and epochs after the first perturbation to predict.
    beyond
        ``G_j`` beyond the length of an observed cycle: held at its last value, the largest it can be, or dropped to zero, the smallest.
    after
        After the last observed cycle: that one repeated, or the bracket of what is possible (nobody passes, everybody passes).
    """
    extended = [_extend(curve, period, beyond) for curve in observed]
    if after != "repeat":
        extended.append(np.full((len(observed[0]), period + 1), float(after == "hold")))
    pieces = [np.ones((len(observed[0]), 1))]
    scale = pieces[0]
    for start in range(0, n_epochs, period):
        curve = extended[min(start // period, len(extended) - 1)]
        take = min(period, n_epochs - start)
        pieces.append(scale * curve[:, 1 : take + 1])
        scale = scale * curve[:, [period]]
    return np.concatenate(pieces, axis=1)


def cycle_mean(
    observed: list[Summed], *, period: int, n_epochs: int, beyond: Beyond = "hold", after: After = "repeat"
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the restricted mean of `cycle_residual`, and the part of it that lies after the last observed cycle, each ``(replicates,)``.

    Parameters
    ----------
    observed
        From `cycles`, by `sum_cycles`.
    period, n_epochs, beyond, after
        As in `cycle_residual`.
    """
    scale = np.ones(len(observed[0].curve))
    total, later = np.zeros_like(scale), np.zeros_like(scale)
    for start in range(0, n_epochs, period):
        seen, left = start // period < len(observed), n_epochs - start
        if not seen and after != "repeat":
            part = scale * (left if after == "hold" else 1)  # the cycle that starts here counts its first epoch
            return total + part, part
        cycle = observed[min(start // period, len(observed) - 1)]
        part = scale * cycle.mean(min(period, left), beyond=beyond)
        total = total + part
        later = later if seen else later + part
        scale = scale * cycle.value(period, beyond=beyond)
    return total, later


def sum_cycles(observed: list[Curves]) -> list[Summed]:
    """Return cycles as `cycle_mean` needs them: each starts at 1, also where nobody enters it."""
    return [summed(np.concatenate([np.ones((len(curve), 1)), curve[:, 1:]], axis=1)) for curve in observed]


def _conditional(alive: Curves, *, empty: float) -> Curves:
    """Return the survival relative to its first column; ``empty`` where that is zero."""
    entering = alive[:, [0]]
    return np.divide(alive, entering, out=np.full_like(alive, empty), where=entering > 0)


def _extend(curve: Curves, period: int, beyond: str) -> Curves:
    missing = period + 1 - curve.shape[1]
    if missing <= 0:
        return curve[:, : period + 1]
    fill = curve[:, [-1]] if beyond == "hold" else np.zeros((len(curve), 1))
    return np.concatenate([curve, np.repeat(fill, missing, axis=1)], axis=1)
