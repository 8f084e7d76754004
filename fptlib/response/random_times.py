r"""Form 5: perturbations at random times, with probability ``p`` after each epoch or at Poisson rate ``r`` in continuous time.

With ``q = 1 - p``, ``g(z) = <z^T>`` of the unperturbed time and ``tau_p`` the mean time that is left after the first perturbation,

.. math:: \langle T_p \rangle = \frac{1 - g(q)}{p} + \Big(1 - \frac{g(q)}{q}\Big) \tau_p
   \;\approx\; \langle T \rangle + p \Big[ (\langle T \rangle - 1)\, \tau - \tfrac12 \langle T (T - 1) \rangle \Big],

for a full restart :math:`q (1 - g(q)) / (p\, g(q))`. In continuous time, with :math:`L(r) = \langle e^{-rT} \rangle`,

.. math:: \langle T_r \rangle = \frac{1 - L(r)}{r} + (1 - L(r))\, \tau_r
   \;\approx\; \langle T \rangle + r\, \langle T \rangle \Big[ \tau - \frac{\langle T^2 \rangle}{2 \langle T \rangle} \Big],

for a full restart :math:`(1 - L) / (r L)`. The square bracket compares the time left after a perturbation with the time left at a random
moment without one, the inspection paradox: a rare perturbation helps exactly if it leaves less.

Censored runs leave the moments unknown. What is known is the survival up to a horizon ``H``, and with it all restricted means: over the
first perturbation, at epoch ``s``,

.. math:: S_p(t) = q^t S(t) + \sum_{s=1}^{t} p\, q^{s-1} S(s)\, G(t - s), \qquad
   \frac{d}{dp} E \min(T_p, H) \Big|_0 = \sum_{t=1}^{H-1} S(t)\, E \min(\tau(t), H - t) - \sum_{k=1}^{H-1} k\, S(k),

where ``G`` is the survival after it and ``tau(t)`` the time left after a single perturbation at ``t``.

References
----------
T. D. Keidar and S. Reuveni, arXiv:2410.16129 (linear response). A. Pal and S. Reuveni, Phys. Rev. Lett. 118, 030603 (2017) (restart).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft

from fptlib.response.forms import Curves

Real = NDArray[np.float64]
Later = Curves | Literal["repeat", "hold", "drop"]
_ALIASING = 1e-10  # error of a curve from its transform; rounding adds less
_ROWS = 1024  # replicates transformed at a time: their transforms fit into memory


def generating(survival: Curves, z: float) -> Real:
    """``g(z) = <z^T>`` from survival curves, shape ``(replicates,)``; runs that outlast the curve count for nothing.

    These could add no more than ``S(H) z^(H + 1)``, which is negligible unless ``1 / (1 - z)`` comes near the horizon.

    Examples
    --------
    A geometric time of hazard 1/2 has ``g(z) = z / (2 - z)``.

    >>> generating(0.5 ** np.arange(60)[None], 0.8).round(6)
    array([0.666667])
    """
    n = survival.shape[1]
    passing = -np.diff(survival, axis=1)  # at epochs 1 .. H
    return np.asarray(passing @ z ** np.arange(1, n))


def random_mean(g: ArrayLike, probability: float, residual: ArrayLike | None = None) -> Real:
    """Mean under perturbation with a probability after each epoch, ``(1 - g) / p + (1 - g / q) tau``; full restart without ``residual``.

    Parameters
    ----------
    g
        ``<q^T>`` of the unperturbed time, ``q`` being 1 - ``probability``.
    probability
        Of a perturbation after an epoch that does not pass, above 0 and below 1.
    residual
        Mean time left after the first perturbation, later ones included.

    Examples
    --------
    Restart leaves a memoryless time as it is: hazard 1/4, ``g(z) = z / (4 - 3 z)``.

    >>> float(random_mean(0.8 / (4 - 3 * 0.8), 0.2).round(6))
    4.0
    """
    g, q = np.asarray(g, dtype=np.float64), 1.0 - probability
    if residual is None:
        with np.errstate(divide="ignore"):
            return np.asarray(q * (1 - g) / (probability * g))
    return np.asarray((1 - g) / probability + (1 - g / q) * np.asarray(residual))


def random_slope(mean: ArrayLike, mean_square: ArrayLike, residual: ArrayLike) -> Real:
    """Derivative of `random_mean` at ``p = 0``: ``(<T> - 1) tau - <T (T - 1)> / 2``, with ``tau`` after a single perturbation.

    Examples
    --------
    A geometric time of mean 4 has ``<T^2> = 28``; a perturbation that does nothing leaves 4 epochs and changes nothing.

    >>> float(random_slope(4, 28, 4))
    0.0
    """
    mean, mean_square = np.asarray(mean, dtype=np.float64), np.asarray(mean_square, dtype=np.float64)
    return np.asarray((mean - 1) * np.asarray(residual) - (mean_square - mean) / 2)


def poisson_mean(laplace: ArrayLike, rate: float, residual: ArrayLike | None = None) -> Real:
    """Mean under perturbation at Poisson ``rate``: ``(1 - L) / r + (1 - L) tau``, or of a full restart without ``residual``.

    Parameters
    ----------
    laplace
        ``L(r) = <exp(-r T)>`` of the unperturbed time.
    rate, residual
        In the same unit of time.

    Examples
    --------
    Restart leaves an exponential time of mean 4 as it is: ``L(r) = 1 / (1 + 4 r)``.

    >>> float(poisson_mean(1 / 1.4, 0.1).round(6))
    4.0
    """
    laplace = np.asarray(laplace, dtype=np.float64)
    if residual is None:
        with np.errstate(divide="ignore"):
            return np.asarray((1 - laplace) / (rate * laplace))
    return np.asarray((1 - laplace) / rate + (1 - laplace) * np.asarray(residual))


def poisson_slope(mean: ArrayLike, mean_square: ArrayLike, residual: ArrayLike) -> Real:
    """Derivative of `poisson_mean` at rate 0: ``<T> (tau - <T^2> / (2 <T>))``.

    Examples
    --------
    >>> float(poisson_slope(4, 32, 4))
    0.0
    """
    return np.asarray(np.asarray(mean) * np.asarray(residual) - np.asarray(mean_square) / 2)


def random_survival(stages: Sequence[Curves], *, probability: float, later: Later = "repeat") -> Curves:
    """Survival ``S_p(0 .. H)`` under perturbation with a probability after each epoch.

    Parameters
    ----------
    stages
        Survival without perturbation, then after the first perturbation if none follows, after the second, ...; each of shape
        ``(replicates, H + 1)``.
    probability
        Of a perturbation after an epoch that does not pass, 0 to 1.
    later
        What follows the perturbation after the last stage: that stage again, nobody passes (``"hold"``), everybody passes in the next
        epoch (``"drop"``), or a survival curve of its own, later perturbations included.

    Notes
    -----
    ``S_j(t) = q^t G_j(t) + sum over s = 1 .. t of p q^(s-1) G_j(s) S_(j+1)(t - s)``, solved by its generating function on a circle, to
    1e-10. A single stage that repeats is a full restart.

    References
    ----------
    J. Abate and W. Whitt, Oper. Res. Lett. 12, 245 (1992), for the inversion.

    Examples
    --------
    Full restart after half of the epochs: 1, then 0.8, then 1/2 each of 0.6 and of 0.8 x 0.8.

    >>> random_survival([np.array([[1.0, 0.8, 0.6]])], probability=0.5).round(6)
    array([[1.  , 0.8 , 0.62]])
    """
    n_rows, n = stages[0].shape
    found = np.empty((n_rows, n))
    for first in range(0, n_rows, _ROWS):
        rows = slice(first, first + _ROWS)
        closing = later if isinstance(later, str) else later[rows]
        found[rows] = _random_survival([stage[rows] for stage in stages], probability, closing)
    found[:, 0] = 1.0
    return np.clip(found, 0.0, 1.0)


def random_residual(survival: Curves, perturbed: Curves, *, probability: float) -> Real:
    """Restricted means ``E min(tau_p, n)``, ``n = 0 .. H``, from runs perturbed with a probability: nobody need know when.

    Parameters
    ----------
    survival, perturbed
        Survival without perturbation and under it, each ``(replicates, H + 1)``.
    probability
        Of a perturbation after each epoch, above 0.

    Notes
    -----
    Undoes the sum over the first perturbation of `random_survival`. Its weights ``p q^(s-1) S(s)`` fall with ``s``, so that the zeros
    of their generating function lie outside the unit circle (Enestroem and Kakeya) and errors do not grow; noise of the difference
    between the two curves is multiplied by about ``1 / p``.
    """
    size, factors = _circle(survival.shape[1])
    epoch = np.arange(survival.shape[1])
    difference = np.cumsum(perturbed - (1 - probability) ** epoch * survival, axis=1)  # over k < 1, 2, ..., H + 1
    kernel = first_weights(survival, probability)[:, 1:]
    found = np.empty_like(difference)
    for first in range(0, len(survival), _ROWS):
        rows = slice(first, first + _ROWS)
        top = fft.rfft(difference[rows] * factors, size, axis=1)
        bottom = fft.rfft(kernel[rows] * factors[:-1], size, axis=1)
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # a replicate all of whose runs pass at epoch 1 has no residual time
            found[rows] = fft.irfft(top / bottom, size, axis=1)[:, : len(factors)] / factors
    return found


def first_weights(survival: Curves, probability: float) -> Real:
    """Probability ``p q^(s-1) S(s)`` that the first perturbation falls on epoch ``s = 0 .. H`` (0 at 0), ``(replicates, H + 1)``."""
    epoch = np.arange(1, survival.shape[1])
    weights = np.zeros_like(survival)
    weights[:, 1:] = probability * (1 - probability) ** (epoch - 1) * survival[:, 1:]
    return weights


def restricted_slope(survival: Curves, after: Real) -> Real:
    """Derivative of the restricted mean ``E min(T_p, H)`` at ``p = 0``, in epochs, ``(replicates,)``.

    Parameters
    ----------
    survival
        ``S(0 .. H)`` without perturbation, ``(replicates, H + 1)``.
    after
        ``E min(tau(t), H - t)`` after a single perturbation at epochs ``t = 1 .. H - 1``, ``(replicates, H - 1)``.

    Examples
    --------
    A perturbation after which the next epoch passes: one epoch is left where two or more of three would be.

    >>> restricted_slope(np.array([[1.0, 1.0, 1.0, 1.0]]), np.array([[1.0, 1.0]]))
    array([-1.])
    """
    running = survival[:, 1:-1]
    return np.asarray((running * (after - np.arange(1, after.shape[1] + 1))).sum(axis=1))


def _random_survival(stages: list[Curves], probability: float, later: Later) -> Curves:
    n = stages[0].shape[1]
    size, factors = _circle(n)

    def transformed(curve: Curves) -> NDArray[np.complex128]:
        return np.asarray(fft.rfft(curve * factors, size, axis=1))

    stays = (1 - probability) ** np.arange(n)
    pieces = [(transformed(stays * stage), transformed(first_weights(stage, probability))) for stage in stages]
    if isinstance(later, str):
        if later == "repeat":
            alone, kernel = pieces.pop()
            with np.errstate(invalid="ignore"):  # a replicate of which nothing is known is NaN
                total = alone / (1 - kernel)
        else:
            total = transformed(np.full((1, n), 1.0) if later == "hold" else np.eye(1, n))
    else:
        total = transformed(later)
    for alone, kernel in pieces[::-1]:
        total = alone + kernel * total
    return np.asarray(fft.irfft(total, size, axis=1)[:, :n] / factors)


def _circle(n: int) -> tuple[int, Real]:
    """Points on the circle and powers of its radius; what lies ``size`` epochs ahead is folded back, scaled by ``_ALIASING``."""
    size = int(fft.next_fast_len(2 * n, real=True))
    return size, _ALIASING ** (np.arange(n) / size)
