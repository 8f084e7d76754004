"""Processes with a continuous state, watched once per epoch: x -> a x + b + s xi with xi standard normal.

Their exact answers are those of the finite chain that Gauss-Legendre quadrature makes of the transition density
(Nystrom's method): the nodes are its states, and the means converge to rounding with a few nodes per standard
deviation.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fptlib.errors import InputError
from fptlib.processes import checks
from fptlib.processes.chain import Array, FiniteChain, Process

_NODES, _PANEL = 10, 2.0  # Gauss-Legendre nodes per panel, and its width in units of the noise: exact to about 1e-13
_NEGLIGIBLE = 1e-14  # probability ever to leave the interval of the quadrature downwards
_MOST_NODES = 3000  # the matrices of a larger chain take minutes and gigabytes


class Walk(Process):
    """A walk x -> carry x + drift + noise xi, whose metric is x; a perturbation sets x to ``target + shrink x``."""

    __slots__ = ()

    noise: float

    @property
    @abstractmethod
    def threshold(self) -> float:
        """State to reach."""

    @property
    @abstractmethod
    def dynamics(self) -> tuple[float, float, float, float, float, float]:
        """Start, carry, drift, target, shrink, and a state below which the walk ever falls with negligible probability."""

    def _metric(self, rng: np.random.Generator, n_runs: int, horizon: int, every: int) -> Array:
        start, carry, drift, target, shrink, _ = self.dynamics
        x, passed = np.full(n_runs, start), np.zeros(n_runs, dtype=bool)
        metric = np.empty((n_runs, horizon))
        for epoch in range(1, horizon + 1):
            x = carry * x + drift + self.noise * rng.standard_normal(n_runs)
            metric[:, epoch - 1] = x
            passed |= x >= self.threshold
            if epoch % every == 0:
                x = np.where(passed, x, target + shrink * x)
        return metric

    def chain(self) -> FiniteChain:
        """Return the chain of the start, the nodes of the quadrature and where a perturbation takes them."""
        start, carry, drift, target, shrink, lowest = self.dynamics
        panels = int(np.ceil((self.threshold - lowest) / (_PANEL * self.noise)))
        if (needed := panels * _NODES) > _MOST_NODES:
            states = f"exact answers over states from {lowest:g} to {self.threshold:g} with noise {self.noise:g}"
            allowed = f"at most {_MOST_NODES} are allowed, so sample this process instead"
            raise InputError(f"{states} need {needed} quadrature nodes; {allowed}")
        edges = np.linspace(lowest, self.threshold, panels + 1)
        node, weight = np.polynomial.legendre.leggauss(_NODES)
        half = np.diff(edges)[:, None] / 2
        nodes, weights = (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()
        before = np.append(start, nodes)
        after, where = np.unique(target + shrink * before, return_inverse=True)
        points, n, m = np.append(before, after), len(before), len(after)
        transition, perturbation = np.zeros((n + m, n + m)), np.eye(n + m)
        expected = carry * points[:, None] + drift
        density = stats.norm.pdf(nodes, expected, self.noise)
        # A step that would end below the interval is drawn anew: what is left out must not count as passed.
        transition[:, 1:n] = weights * density / stats.norm.sf(lowest, expected, self.noise)
        perturbation[:n] = np.eye(n + m)[n + where]
        return FiniteChain(transition=transition, perturbation=perturbation, start=np.eye(n + m)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrnsteinUhlenbeck(Walk):
    r"""Noise around a mean of zero that a run relaxes to: a process that reaches a quasi-steady state.

    ``decay`` is the share a of the state that is kept per epoch, below 1 (relaxation takes about :math:`-1/\ln a` epochs),
    ``noise`` the standard deviation s of the noise per epoch, ``threshold`` the state to reach and ``start`` one below it,
    at epoch 0. A perturbation sets x to ``shrink * x`` (0 to 1); without it, to the start (full reset).

    .. math:: x_{t+1} = a x_t + s \xi_t, \qquad \xi_t \sim N(0, 1), \qquad T = \min \{t \ge 1: x_t \ge \theta\} .

    Without a threshold the state settles to :math:`N(0, s^2/(1-a^2))`; the surviving runs settle to a law close to it
    when the threshold is rarely reached, and their hazard is constant from then on.

    Source: G. E. Uhlenbeck and L. S. Ornstein, "On the theory of the Brownian motion", Phys. Rev. 36, 823 (1930).

    Without memory (a = 0) every epoch passes with the probability that noise is above its mean, 1/2.

    >>> round(OrnsteinUhlenbeck(decay=0.0, noise=1.0, threshold=0.0, start=-1.0).mfpt(), 6)
    2.0
    """

    decay: float = 0.8
    noise: float = 0.6
    threshold: float = 1.5
    start: float = -2.0
    shrink: float | None = None

    def __post_init__(self) -> None:
        if checks.real("decay", self.decay, low=0) >= 1:
            checks.refuse("decay", self.decay, "at least 0 and below 1")
        checks.real("noise", self.noise, above=0)
        checks.real("threshold", self.threshold)
        if checks.real("start", self.start) >= self.threshold:
            checks.refuse("start", self.start, f"below the threshold {self.threshold:g}")
        if self.shrink is not None:
            checks.real("shrink", self.shrink, low=0, high=1)

    @property
    def dynamics(self) -> tuple[float, float, float, float, float, float]:
        """See `Walk`."""
        # Survivors sit above the free process, whose mean never falls below the smallest of these.
        spread = self.noise / np.sqrt(1 - self.decay**2)
        lowest = float(min(self.start, self.threshold, 0.0) + spread * stats.norm.ppf(_NEGLIGIBLE))
        target, shrink = (self.start, 0.0) if self.shrink is None else (0.0, self.shrink)
        return self.start, self.decay, 0.0, target, shrink, lowest


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDiffusion(Walk):
    r"""Brownian motion with drift towards a threshold: in continuous time by its law, and watched once per epoch.

    ``distance`` d from the start, at 0, to the threshold; ``drift`` v towards it, per epoch; ``noise``, the standard
    deviation s of the motion per square root of an epoch.

    The first time at the threshold has the inverse Gaussian law with mean d/v and shape :math:`d^2/s^2`,

    .. math:: f(t) = \frac{d}{\sqrt{2 \pi s^2 t^3}} \exp \left( -\frac{(d - v t)^2}{2 s^2 t} \right),

    which `mean`, `sf` and `sample_times` are of. All other verbs are those of the same motion watched at epochs 1, 2,
    3, ... only, whose perturbation is a full reset to 0. It is late: by Wald's identity its mean is (d + overshoot)/v,
    with an overshoot of about :math:`0.5826 s + v/4` for small v. Sources: S. Redner, *A Guide to First-Passage
    Processes* (Cambridge, 2001), chapter 3; D. Siegmund, *Sequential Analysis* (Springer, 1985), chapter 10:
    :math:`-\zeta(1/2)/\sqrt{2\pi} = 0.5826`.

    >>> process = DriftDiffusion(distance=20, drift=0.5, noise=1)
    >>> process.mean, round(process.mfpt(), 1)
    (40.0, 41.4)
    """

    distance: float = 20.0
    drift: float = 0.5
    noise: float = 1.0

    def __post_init__(self) -> None:
        for name in ("distance", "drift", "noise"):
            checks.real(name, getattr(self, name), above=0)

    @property
    def threshold(self) -> float:
        """The distance, as the motion starts at 0."""
        return float(self.distance)

    @property
    def mean(self) -> float:
        """Mean first-passage time in continuous time, d/v."""
        return self.distance / self.drift

    @property
    def shape(self) -> float:
        """Shape parameter of the inverse Gaussian law, d^2/s^2; the variance of the time is mean^3/shape."""
        return (self.distance / self.noise) ** 2

    def sf(self, t: ArrayLike) -> Array:
        """Return the probability not to have passed by `t` in continuous time, for `t` of any shape."""
        return np.asarray(stats.invgauss.sf(t, self.mean / self.shape, scale=self.shape))

    def sample_times(self, rng: np.random.Generator, n: int) -> Array:
        """Draw `n` first-passage times from the law in continuous time, shape ``(n,)``."""
        return rng.wald(self.mean, self.shape, size=checks.count("n", n))

    @property
    def dynamics(self) -> tuple[float, float, float, float, float, float]:
        """See `Walk`; a motion ever falls to -x with probability exp(-2 v x / s^2)."""
        lowest = float(np.log(_NEGLIGIBLE)) * self.noise**2 / (2 * self.drift)
        return 0.0, 1.0, self.drift, 0.0, 0.0, lowest
