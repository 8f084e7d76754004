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
from torch.func import grad, jacfwd, vmap

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
    result: Array = jacfwd(grad(function))(_vector(w)).numpy()
    return (result + result.T) / 2


def minimum(function: Function, w: ArrayLike) -> Array:
    """Return the minimum next to a start, by Newton's method.

    Each step is taken along the eigenvectors of the Hessian, divided by the size of the curvature, and halved until the function falls.

    Raises
    ------
    InputError
        If the gradient does not vanish to rounding.
    """
    at = _vector(w)
    for _ in range(_NEWTON):
        slope = grad(function)(at)
        values, vectors = torch.linalg.eigh(torch.as_tensor(hessian(function, at.numpy())))
        size = values.abs().clamp(min=_RIDGE * float(values.abs().max()))
        step = vectors @ ((vectors.T @ slope) / size)
        if float(slope @ step) <= 1e-22 * (1 + abs(float(function(at)))):
            return (at - step).numpy()
        scale = next((s for s in 0.5 ** np.arange(40) if function(at - s * step) < function(at)), None)
        if scale is None:  # rounding hides any further fall
            return at.numpy()
        at = at - scale * step
    raise InputError(f"minimum: the gradient is still {float(slope.norm()):.2g} after {_NEWTON} steps; start nearer")


def effective_loss(loss: Loss, data: Data, *, rate: float, batch: int) -> Function:
    """Return the loss of an epoch without replacement: its gradient, times the rate, is the mean displacement of an epoch.

    Correct to second order in the rate.

    References
    ----------
    Adhikari, Kabakcioglu, Strang, Yuret and Hinczewski, arXiv:2306.03521.
    """
    parts = _tensors(data)
    n, each = _batches(len(parts[0]), batch), vmap(grad(loss), in_dims=(None, *[0] * len(parts)))
    total, size = mean_loss(loss, data), len(parts[0])

    def function(w: Tensor) -> Tensor:
        g = each(w, *parts)
        mean = g.mean(dim=0)
        spread = ((g - mean) ** 2).sum() / (size * (size - 1))
        return n * total(w) - rate * n * (n - 1) / 4 * (mean @ mean - spread)

    return function


def _batches(size: int, batch: int) -> int:
    if not 1 <= batch <= size or size % batch:
        raise InputError(f"batch: {batch} does not divide the {size} samples; without replacement it must")
    return size // batch


def diffusion(
    loss: Loss, data: Data, w: ArrayLike, *, rate: float, batch: int, replacement: bool = True
) -> Array:
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
    Adhikari, Kabakcioglu, Strang, Yuret and Hinczewski, arXiv:2306.03521, and the authors' notebooks; without replacement, as stated
    there with the regulariser inside the losses of the samples.
    """
    g = gradients(loss, data, w)
    M, m = len(g), batch
    if replacement:
        return rate**2 / 2 * (M - m) / (m * (M - 1)) * np.cov(g.T, ddof=0).reshape(len(g.T), -1)
    n, parts = _batches(M, m), _tensors(data)
    U = vmap(jacfwd(grad(loss)), in_dims=(None, *[0] * len(parts)))(_vector(w), *parts).numpy() / M
    V = g / M
    own = np.einsum("iab,ib->ia", U, V)
    B, C = V @ U.sum(axis=0) - own, U @ V.sum(axis=0) - own
    mixed = np.einsum("iab,ic->abc", U, V)
    F = np.einsum("iab,bc,icd->ad", U, V.T @ V, U, optimize=True) - own.T @ own
    G = np.einsum("abc,cdb->ad", mixed, mixed) - own.T @ own
    # Covariances of "j comes in an earlier batch than i" and "l earlier than k", for i = k or j = l; for (i, j) = (k, l); for (l, k); for
    # i = l or j = k; and for four different samples.
    base = (M - m) / (12 * (M - 2) * (M - 1) ** 2)
    share, same, turned = base * ((M + m) * (M - 4) + 6), (M - m) * (M + m - 2), -((M - m) ** 2)
    same, turned = same / (4 * (M - 1) ** 2), turned / (4 * (M - 1) ** 2)
    chain = -base * (M**2 - 4 * M + m * M + 2 * m)
    alike = (m - 1) / (M - 1)
    apart = alike * (((m - 2) * (m - 3) + (M - m) * (m - 1)) / ((M - 2) * (M - 3)) - alike) / 4
    total = (share - apart) * (B.T @ B + C.T @ C) + (chain - apart) * (B.T @ C + C.T @ B)
    total += (same - 2 * share + apart) * F + (turned - 2 * chain + apart) * G
    total += apart * np.outer(C.sum(axis=0), C.sum(axis=0))
    return np.asarray(rate**4 * n**4 / 2 * total)


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
    array([[ 0.0e+00, -1.7e-05],
           [ 1.7e-05,  0.0e+00]])
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

    It is v(w) D^-1 dw with the velocity v = -C S^-1 (w - mean) at the start of the step. For Gaussian noise its exponential
    exp(-entropy) has mean one (*integral fluctuation theorem*).
    """
    x = np.asarray(paths, dtype=float)
    velocity = x[:, :-1] @ np.linalg.solve(covariance, np.asarray(circulation))  # C is antisymmetric
    return np.asarray(np.einsum("rti,rti->rt", velocity @ np.linalg.inv(diffusion), np.diff(x, axis=1)))


def entropy_production(*, circulation: ArrayLike, diffusion: ArrayLike, covariance: ArrayLike) -> float:
    """Return the mean entropy that a step produces in the stationary state, -tr(C D^-1 C S^-1), never negative."""
    C = np.asarray(circulation)
    return float(-np.trace(C @ np.linalg.solve(diffusion, C) @ np.linalg.inv(covariance)))


def simulate(
    loss: Loss,
    data: Data,
    start: ArrayLike,
    *,
    rate: float,
    batch: int,
    steps: int,
    rng: np.random.Generator,
    replacement: bool = True,
    noise: bool = False,
    every: int = 1,
) -> Array:
    """Return the weights of replicas that descend by minibatches, ``(replicas, 1 + steps // every, p)``.

    Parameters
    ----------
    start
        Weights at the beginning, ``(replicas, p)``.
    steps
        Updates.
    rng
        Draws the batches, of each replica its own.
    replacement
        Whether each update draws its batch from all samples, or an epoch deals all of them out once. A batch never holds a sample twice.
    noise
        Whether each update adds normal noise of variance twice the rate (Langevin dynamics).
    every
        Updates from one time that is kept to the next.
    """
    parts, w = _tensors(data), torch.as_tensor(np.array(start, dtype=float))
    size, rows = len(parts[0]), np.arange(len(w))
    n = 1 if replacement else _batches(size, batch)
    if not 1 <= batch <= size:
        raise InputError(f"batch: {batch}; allowed: 1 to the {size} samples")
    inner = (None, *[0] * len(parts))
    slope = grad(lambda w, *some: vmap(loss, in_dims=inner)(w, *some).mean())
    slopes = vmap(slope, in_dims=(0, *[None if (full := batch == size) else 0] * len(parts)))
    deck = np.tile(np.arange(size)[:, None], len(w))  # one column of shuffled samples for each replica
    kept = np.empty((len(w), 1 + steps // every, w.shape[1]))
    kept[:, 0] = w
    for step in range(1, steps + 1):
        first = (step - 1) % n * batch
        for j in range(first, first + batch) if not full else ():
            k = rng.integers(j, size, len(w))
            deck[j], deck[k, rows] = deck[k, rows], deck[j].copy()
        drawn = torch.as_tensor(deck[first : first + batch].T)
        w = w - rate * slopes(w, *(parts if full else (part[drawn] for part in parts)))
        if noise:
            w = w + np.sqrt(2 * rate) * torch.as_tensor(rng.standard_normal(w.shape))
        if step % every == 0:
            kept[:, step // every] = w
    return kept
