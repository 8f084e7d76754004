"""Sampling a posterior by noisy gradient descent: one simulation with two switches, and how far off its samples are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg

from fptlib.errors import InputError

Array = NDArray[np.float64]
Gradient = Callable[[Array, NDArray[np.int64] | None], Array]


def simulate(
    gradient: Gradient, start: ArrayLike, *, size: int, rate: float, batch: int, steps: int, rng: np.random.Generator,
    replacement: bool = True, noise: bool = False, every: int = 1,
) -> Array:  # fmt: skip
    """Return runs of ``w <- w - rate g(w) + sqrt(2 rate) xi``, at first and every so many steps, ``(runs, kept, p)``.

    With ``noise``, the last term, this is full-batch Langevin dynamics if ``batch`` is ``size``, the number of samples,
    and else SGLD, or SGWORLD without ``replacement``. Generators in the same state give all three the same noise. A
    batch never holds a sample twice; without replacement, the batches of an epoch are those of a permutation.

    ``start`` has shape ``(runs, p)``; ``gradient`` takes such weights and the samples of each run's batch, ``(runs,
    batch)`` or None for all, and returns the gradients ``(runs, p)``. An InputError names a wrong ``batch``. Sources:
    Welling and Teh, ICML 2011 (SGLD); Adhikari et al., arXiv:2306.03521 (SGWORLD).
    """
    if not 1 <= batch <= size or (size % batch and not replacement):
        raise InputError(
            f"batch: {batch} of {size} samples; allowed: {'1 to' if replacement else 'a divisor of'} {size}"
        )
    (order, shake), w = rng.spawn(2), np.array(start, dtype=float)
    runs, kept, deck = np.arange(len(w)), [w], np.tile(np.arange(size), (len(w), 1))
    for step in range(steps):
        first = 0 if replacement else step * batch % size
        if not (replacement or first):
            order.permuted(deck, axis=1, out=deck)
        for j in range(batch % size if replacement else 0):  # deal the first cards of a deck that is never put in order
            k = order.integers(j, size, len(w))
            deck[runs, k], deck[:, j] = deck[:, j].copy(), deck[runs, k]
        w = w - rate * gradient(w, None if batch == size else deck[:, first : first + batch])
        w += np.sqrt(2 * rate) * shake.standard_normal(w.shape) if noise else 0
        kept += [w] if (step + 1) % every == 0 else []
    return np.stack(kept, axis=1)


def divergence(covariance: ArrayLike, precision: ArrayLike, *, off: ArrayLike = 0.0) -> Array:
    """Return the Kullback-Leibler divergence, in nats, of a Gaussian from one of known precision and a mean ``off`` its own.

    >>> round(float(divergence([[1.5]], [[1.0]])), 4)
    0.0473
    """
    h = np.asarray(precision)
    p = h @ np.asarray(covariance)  # (..., p, p)
    away = np.broadcast_to(off, p.shape[:-1])
    whole = np.trace(p, axis1=-2, axis2=-1) - p.shape[-1] - np.linalg.slogdet(p)[1]
    return np.asarray((whole + np.einsum("...i,ij,...j", away, h, away)) / 2)


def sampled(gradients: ArrayLike, hessians: ArrayLike, *, rate: float, batch: int, replacement: bool = True) -> Array:
    """Return the stationary covariance of `simulate` with noise at the ends of epochs, for a quadratic loss, ``(p, p)``.

    With ``A = 1 - rate H``, ``R`` the covariance of a step that batches make, and sums over ``j < n``, the batches of
    an epoch, ``S = A^n S A^n + sum A^j (2 rate + (1 + c) R) A^j - c (sum A^j) R (sum A^j)``. With replacement ``n = 1``
    and ``c = 0``; without, ``c = 1 / (n - 1)``, as the batches add up to the data, and ``A^j`` becomes the mean product
    of ``j`` batches. That Hessians of samples differ is exact with replacement, and else to first order. ``gradients``
    ``(M, p)`` and ``hessians`` ``(M, p, p)`` are those of each sample's loss at the minimum. An InputError is raised
    where nothing is stationary.
    """
    g, each = np.asarray(gradients, dtype=float), np.asarray(hessians, dtype=float)
    (size, p), h = g.shape, each.mean(axis=0)
    n, top = 1 if replacement else size // batch, float(np.linalg.eigvalsh(h)[-1])
    c, share = 1 / (n - 1) if n > 1 else 0.0, rate**2 * (size - batch) / (batch * max(size - 1, 1))
    a = np.stack([np.linalg.matrix_power(np.eye(p) - rate * h, j) for j in range(n + 1)])
    apart, later = each - h, np.arange(2, n + 1)[:, None, None]
    a[2:] -= c * share * later * (later - 1) / 2 * (np.einsum("mij,mjk->ik", apart, apart) / size @ a[:-2])
    s, total = linalg.inv(h), a[:-1].sum(axis=0)
    for _ in range(1000 if rate * top < 2 else 0):
        r = share * (g.T @ g + np.einsum("mij,jk,mkl->il", apart, s, apart, optimize=True)) / size
        q = np.einsum("nij,jk,nkl->il", a[:-1], 2 * rate * np.eye(p) + (1 + c) * r, a[:-1], optimize=True)
        before, s = s, linalg.solve_discrete_lyapunov(a[-1], q - c * total @ r @ total)
        if np.abs(s - before).max() <= 1e-10 * np.abs(s).max():
            return np.asarray(s)
    raise InputError(f"rate: nothing is stationary at {rate:g}; the largest curvature is {top:.3g}")
