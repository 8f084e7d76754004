"""The stationary state near a minimum: noise of minibatches, covariance, circulation, entropy production, and a simulation.

Weights are vectors of length ``p``, data has ``M`` samples, a batch ``m`` of them, and an epoch ``n = M / m`` batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from torch import Tensor
from torch.func import grad, jacrev, vmap

from fptlib.errors import InputError

Array = NDArray[np.float64]
Loss = Callable[..., Tensor]
Data = Sequence[Any]
Function = Callable[[Tensor], Tensor]

_NEWTON = 100  # steps, far more than a convex start needs
_RIDGE = 1e-8  # of the largest eigenvalue, below which curvature counts as none


def _tensors(data: Data) -> list[Tensor]:
    """Return data as tensors, real numbers in double precision."""
    tensors = [torch.as_tensor(part) for part in data]
    if len({len(part) for part in tensors}) != 1:
        raise InputError(f"data: parts have {[len(part) for part in tensors]} samples; they need the same number")
    return [part.double() if part.is_floating_point() else part for part in tensors]


def _vector(w: ArrayLike) -> Tensor:
    return torch.as_tensor(np.asarray(w, dtype=float))


def _each(loss: Loss, data: Sequence[Tensor]) -> Function:
    """Return the losses of all samples as a function of the weights."""
    return lambda w: torch.as_tensor(vmap(loss, in_dims=(None, *[0] * len(data)))(w, *data))


def mean_loss(loss: Loss, data: Data) -> Function:
    """Return the mean loss over the data as a function of the weights, for `minimum` and `hessian`."""
    each = _each(loss, _tensors(data))
    return lambda w: each(w).mean()


def gradients(loss: Loss, data: Data, w: ArrayLike) -> Array:
    """Return the gradient of each sample's loss, ``(M, p)``.

    >>> gradients(lambda w, x: ((w - x) ** 2).sum() / 2, [np.array([[0.0, 1.0], [2.0, 0.0]])], [1.0, 1.0])
    array([[ 1.,  0.],
           [-1.,  1.]])
    """
    parts = _tensors(data)
    result: Array = vmap(grad(loss), in_dims=(None, *[0] * len(parts)))(_vector(w), *parts).numpy()
    return result


def hessian(function: Function, w: ArrayLike) -> Array:
    """Return the second derivatives of a function of the weights, ``(p, p)``."""
    result: Array = jacrev(grad(function))(_vector(w)).numpy()
    return (result + result.T) / 2


def minimum(function: Function, w: ArrayLike) -> Array:
    """Return the minimum next to a start, by Newton's method.

    Each step is taken along the eigenvectors of the Hessian, divided by the size of the curvature, and halved until the function falls.
    A gradient that does not vanish to rounding raises an InputError.
    """
    at = _vector(w)
    for _ in range(_NEWTON):
        slope = grad(function)(at)
        values, vectors = torch.linalg.eigh(torch.as_tensor(hessian(function, at.numpy())))
        size = values.abs().clamp(min=_RIDGE * max(float(values.abs().max()), 1e-8))
        step = vectors @ ((vectors.T @ slope) / size)
        if float(slope @ step) <= 1e-22 * (1 + abs(float(function(at)))):
            return np.asarray((at - step).numpy())
        scale = next((s for s in 0.5 ** np.arange(40) if function(at - s * step) < function(at)), None)
        if scale is None:  # rounding hides any further fall
            return np.asarray(at.numpy())
        at = at - scale * step
    raise InputError(f"minimum: the gradient is still {float(slope.norm()):.2g} after {_NEWTON} steps; start nearer")


def batch_gradient(loss: Loss, data: Data) -> Callable[[Array, NDArray[np.int64] | None], Array]:
    """Return the gradient of the mean loss over a batch, for `simulate`: of weights ``(replicas, p)`` and rows ``(replicas, m)``."""
    parts = _tensors(data)
    inner = (None, *[0] * len(parts))
    slope = grad(lambda w, *batch: vmap(loss, in_dims=inner)(w, *batch).mean())
    every, own = vmap(slope, in_dims=(0, *inner[1:])), vmap(slope, in_dims=(0, *[None] * len(parts)))

    def gradient(w: Array, rows: NDArray[np.int64] | None) -> Array:
        at = torch.as_tensor(w)
        slopes = own(at, *parts) if rows is None else every(at, *(part[torch.as_tensor(rows)] for part in parts))
        return np.asarray(slopes.numpy())

    return gradient


def effective_loss(loss: Loss, data: Data, *, rate: float, batch: int) -> Function:
    """Return the loss of an epoch without replacement: its gradient, times the rate, is the mean displacement of an epoch.

    Correct to second order in the rate; the formula is that of the notebooks of Adhikari et al., arXiv:2306.03521.
    """
    parts = _tensors(data)
    n, each = _batches(len(parts[0]), batch), vmap(grad(loss), in_dims=(None, *[0] * len(parts)))
    total, size = mean_loss(loss, data), len(parts[0])

    def function(w: Tensor) -> Tensor:
        g = each(w, *parts)
        mean = g.mean(dim=0)
        spread = ((g - mean) ** 2).sum() / (size * (size - 1))
        return torch.as_tensor(n * total(w) - rate * n * (n - 1) / 4 * (mean @ mean - spread))

    return function


def _batches(size: int, batch: int) -> int:
    if not 1 <= batch <= size or size % batch:
        raise InputError(f"batch: {batch} does not divide the {size} samples; without replacement it must")
    return size // batch


def diffusion(loss: Loss, data: Data, w: ArrayLike, *, rate: float, batch: int, replacement: bool = True) -> Array:
    """Return the diffusion matrix, half the covariance of a displacement from ``w``, ``(p, p)``.

    Parameters
    ----------
    rate
        Learning rate, eta.
    batch
        Samples in a batch, m; all of a batch are distinct.
    replacement
        Whether each step draws its batch from all samples, and the displacement is that of one step (order eta^2), or an epoch deals
        all of them out once, and it is that of one epoch (order eta^4).

    References
    ----------
    With replacement as in Adhikari, Kabakcioglu, Strang, Yuret and Hinczewski, arXiv:2306.03521. Without, derived here, exact to its
    order; of the authors' notebooks it has the coefficients a2, a3 and a4.
    """
    g = gradients(loss, data, w)
    size, m = len(g), batch
    if replacement:
        return rate**2 / 2 * (size - m) / (m * (size - 1)) * np.cov(g.T, ddof=0).reshape(len(g.T), -1)
    _batches(size, m)
    parts = _tensors(data)
    h = vmap(jacrev(grad(loss)), in_dims=(None, *[0] * len(parts)))(_vector(w), *parts).numpy()
    own = np.einsum("iab,ib->ia", h, g)
    after, before = g @ h.sum(axis=0) - own, h @ g.sum(axis=0) - own  # sums over all pairs in which sample i is j, or k
    mixed, square = np.einsum("iab,ic->abc", h, g), own.T @ own
    same_pairs = np.einsum("iab,bc,icd->ad", h, g.T @ g, h, optimize=True) - square
    turned_pairs = np.einsum("abc,cdb->ad", mixed, mixed) - square
    # The displacement is rate^2 times the sum of h_k g_j / m^2 over pairs with j in an earlier batch than k. Covariances of this order
    # of two pairs: with one sample in the same role, the same pair, the pair turned, one sample in both roles, four different samples.
    base, chance = (size - m) / (12 * (size - 2) * (size - 1) ** 2), (size - m) / (2 * (size - 1))
    share, same, turned = base * ((size + m) * (size - 4) + 6), chance * (1 - chance), -(chance**2)
    chain, alike = -base * (size**2 - 4 * size + m * size + 2 * m), (m - 1) / (size - 1)
    joint = ((m - 2) * (m - 3) + (size - m) * (m - 1)) / ((size - 2) * (size - 3))
    apart = alike * (joint - alike) / 4
    result = (share - apart) * (after.T @ after + before.T @ before)
    result += (chain - apart) * (after.T @ before + before.T @ after)
    result += (same - 2 * share + apart) * same_pairs + (turned - 2 * chain + apart) * turned_pairs
    result += apart * np.outer(before.sum(axis=0), before.sum(axis=0))
    return np.asarray(rate**4 / 2 / m**4 * result)


def covariance(hessian: ArrayLike, diffusion: ArrayLike, *, rate: float) -> Array:
    """Return the stationary covariance of the weights: the solution of H S + S H = 2 D / rate.

    For epochs without replacement the Hessian is that of the `effective_loss`.
    """
    return np.asarray(linalg.solve_continuous_lyapunov(np.asarray(hessian), 2 / rate * np.asarray(diffusion)))


def circulation(hessian: ArrayLike, covariance: ArrayLike, *, rate: float) -> Array:
    """Return the antisymmetric matrix C = rate (H S - S H) / 2: the mean area that is swept in each plane in a step.

    The stationary current is -C S^-1 (w - mean) times the density; it vanishes where H and D commute.

    >>> H, D = np.diag([1.0, 2.0]), np.array([[1.0, 0.5], [0.5, 1.0]]) * 1e-4
    >>> circulation(H, covariance(H, D, rate=0.1), rate=0.1).round(7)
    array([[ 0.00e+00, -1.67e-05],
           [ 1.67e-05,  0.00e+00]])
    """
    product = np.asarray(hessian) @ np.asarray(covariance)
    return np.asarray(rate / 2 * (product - product.T))


def swept_area(paths: ArrayLike) -> Array:
    """Return the mean area that each path sweeps in a step, by pairs of weights, ``(replicas, p, p)``, from ``(replicas, times, p)``."""
    x = np.asarray(paths, dtype=float)
    turned = np.einsum("rti,rtj->rij", x[:, :-1], np.diff(x, axis=1)) / (x.shape[1] - 1)
    return np.asarray((turned - turned.swapaxes(1, 2)) / 2)


def entropy(paths: ArrayLike, *, circulation: ArrayLike, diffusion: ArrayLike, covariance: ArrayLike) -> Array:
    """Return the entropy that each step produces, ``(replicas, steps)``, from deviations from the mean, ``(replicas, times, p)``.

    It is v(w) D^-1 dw with the velocity v = -C S^-1 (w - mean) at the start of the step. For normal noise
    the mean of exp(-entropy) is one (*integral fluctuation theorem*).
    """
    x, c, d, cov = (np.asarray(each, dtype=float) for each in (paths, circulation, diffusion, covariance))
    velocity = x[:, :-1] @ np.linalg.solve(cov, c)  # C is antisymmetric
    return np.asarray(np.einsum("rti,rti->rt", velocity @ np.linalg.inv(d), np.diff(x, axis=1)))


def entropy_production(*, circulation: ArrayLike, diffusion: ArrayLike, covariance: ArrayLike) -> float:
    """Return the mean entropy that a step produces in the stationary state, -tr(C D^-1 C S^-1), never negative."""
    c, d, cov = (np.asarray(each, dtype=float) for each in (circulation, diffusion, covariance))
    return float(-np.trace(c @ np.linalg.solve(d, c) @ np.linalg.inv(cov)))
