"""Processes with a continuous state, watched once per epoch: x -> a x + b + s xi with xi standard normal.

Their exact answers are those of the finite chain that Gauss-Legendre quadrature makes of the transition density
(Nystrom's method): the nodes are its states, and as the density is smooth the means converge to rounding with a few
nodes per standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from fptlib.errors import InputError
from fptlib.processes import checks
from fptlib.processes.chain import Array, FiniteChain, Process, as_trajectories
from fptlib.trajectories import Trajectories

_NODES, _PANEL = 10, 2.0  # Gauss-Legendre nodes per panel, and its width in units of the noise: exact to about 1e-13
_NEGLIGIBLE = 1e-14  # probability ever to leave the interval of the quadrature downwards
_MOST_NODES = 3000  # the matrices of a larger chain take minutes and gigabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The walk behind the processes; a perturbation sets x, if it is below `limit`, to ``target + shrink x``."""

    start: float
    carry: float
    drift: float
    noise: float
    threshold: float
    target: float
    shrink: float
    limit: float = np.inf

    def sample(self, rng: np.random.Generator, *, n_runs: int, horizon: int, period: int | None) -> Trajectories:
        """Simulate runs; the metric is the state. See :meth:`Process.sample`."""
        n_runs, horizon = checks.count("n_runs", n_runs), checks.count("horizon", horizon)
        every = horizon + 1 if period is None else checks.count("period", period)
        x, passed = np.full(n_runs, self.start), np.zeros(n_runs, dtype=bool)
        metric = np.empty((n_runs, horizon))
        for epoch in range(1, horizon + 1):
            x = self.carry * x + self.drift + self.noise * rng.standard_normal(n_runs)
            metric[:, epoch - 1] = x
            passed |= x >= self.threshold
            if epoch % every == 0:
                x = np.where(passed | (x >= self.limit), x, self.target + self.shrink * x)
        return as_trajectories(metric)

    def chain(self, *, lowest: float) -> FiniteChain:
        """Return the chain of the start, nodes from `lowest` to the threshold and where a perturbation takes them."""
        # What a perturbation does may jump at the limit, so a panel ends there.
        ends = np.unique([lowest, np.clip(self.limit, lowest, self.threshold), self.threshold])
        panels = np.ceil(np.diff(ends) / (_PANEL * self.noise)).astype(int)
        if panels.sum() * _NODES > _MOST_NODES:
            raise InputError(
                f"exact answers over states from {lowest:g} to {self.threshold:g} with noise {self.noise:g} need "
                f"{panels.sum() * _NODES} quadrature nodes; at most {_MOST_NODES} are allowed, so sample this process "
                "instead"
            )
        pieces = [np.linspace(a, b, k + 1)[:-1] for a, b, k in zip(ends[:-1], ends[1:], panels, strict=True)]
        edges = np.append(np.concatenate(pieces), self.threshold)
        node, weight = np.polynomial.legendre.leggauss(_NODES)
        half = np.diff(edges)[:, None] / 2
        nodes, weights = (edges[:-1, None] + half * (1 + node)).ravel(), (half * weight).ravel()

        before = np.append(self.start, nodes)
        moved = np.flatnonzero(before < self.limit)
        after, where = np.unique(self.target + self.shrink * before[moved], return_inverse=True)
        points, n, m = np.append(before, after), len(before), len(after)
        transition, perturbation = np.zeros((n + m, n + m)), np.eye(n + m)
        expected = self.carry * points[:, None] + self.drift
        density = stats.norm.pdf(nodes, expected, self.noise)
        # A step that would end below the interval is drawn anew: what is left out must not count as passed.
        transition[:, 1:n] = weights * density / stats.norm.sf(lowest, expected, self.noise)
        perturbation[moved] = np.eye(n + m)[n + where]
        return FiniteChain(transition=transition, perturbation=perturbation, start=np.eye(n + m)[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class OrnsteinUhlenbeck(Process):
    r"""Noise around a mean of zero that a run relaxes to: a process that reaches a quasi-steady state.

    Parameters
    ----------
    decay
        Share a of the state that is kept per epoch, at least 0 and below 1; relaxation takes about :math:`-1/\ln a`
        epochs.
    noise
        Standard deviation s of the noise per epoch.
    threshold
        State to reach.
    start
        State at epoch 0, below the threshold.
    shrink
        A perturbation sets x to ``shrink * x`` (0 to 1); None for a full reset to the start.

    Notes
    -----
    .. math:: x_{t+1} = a x_t + s \xi_t, \qquad \xi_t \sim N(0, 1), \qquad T = \min \{t \ge 1: x_t \ge \theta\} .

    Without a threshold the state settles to :math:`N(0, s^2/(1-a^2))`; the surviving runs settle to a law close to it
    when the threshold is rarely reached, and their hazard is constant from then on.

    References
    ----------
    .. [1] G. E. Uhlenbeck and L. S. Ornstein, "On the theory of the Brownian motion", Phys. Rev. 36, 823 (1930).
    .. [2] A. Pal and S. Reuveni, "First passage under restart", Phys. Rev. Lett. 118, 030603 (2017).

    Examples
    --------
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
        checks.real("decay", self.decay, low=0)
        if self.decay >= 1:
            checks.refuse("decay", self.decay, "at least 0 and below 1")
        checks.real("noise", self.noise, above=0)
        checks.real("threshold", self.threshold)
        if checks.real("start", self.start) >= self.threshold:
            checks.refuse("start", self.start, f"below the threshold {self.threshold:g}")
        if self.shrink is not None:
            checks.real("shrink", self.shrink, low=0, high=1)

    @property
    def _walk(self) -> Walk:
        target, shrink = (self.start, 0.0) if self.shrink is None else (0.0, self.shrink)
        return Walk(
            start=self.start,
            carry=self.decay,
            drift=0.0,
            noise=self.noise,
            threshold=self.threshold,
            target=target,
            shrink=shrink,
        )

    def chain(self) -> FiniteChain:
        """Return the chain on the nodes of a quadrature; see the module's description."""
        spread = self.noise / np.sqrt(1 - self.decay**2)
        # Survivors sit above the free process, whose mean never falls below the smallest of these.
        return self._walk.chain(lowest=min(self.start, self.threshold, 0.0) + spread * stats.norm.ppf(_NEGLIGIBLE))

    def sample(self, rng: np.random.Generator, *, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
        """Simulate runs; the metric is the state x. See :meth:`Process.sample`."""
        return self._walk.sample(rng, n_runs=n_runs, horizon=horizon, period=period)


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftDiffusion(Process):
    r"""Brownian motion with drift towards a threshold: in continuous time by its law, and watched once per epoch.

    Parameters
    ----------
    distance
        Distance d from the start, at 0, to the threshold.
    drift
        Drift v towards it, per epoch.
    noise
        Standard deviation s of the motion per square root of an epoch.

    Notes
    -----
    The first time at the threshold has the inverse Gaussian law with mean d/v and shape :math:`d^2/s^2`,

    .. math:: f(t) = \frac{d}{\sqrt{2 \pi s^2 t^3}} \exp \left( -\frac{(d - v t)^2}{2 s^2 t} \right),

    with the Laplace transform

    .. math:: L(r) = \langle e^{-rT} \rangle = e^{-\mu d}, \qquad \mu = \frac{\sqrt{v^2 + 2 r s^2} - v}{s^2};

    `pdf`, `cdf`, `sf`, `laplace`, `mean`, `second_moment` and `sample_times` give them, and `fptlib.processes.PoissonReset`
    and its neighbours what perturbations at random times do to them. All other verbs are those of the same motion watched at
    epochs 1, 2, 3, ... only, which has passed when it is seen at or above the threshold, and whose perturbation is a
    full reset to 0. It is late: by Wald's identity its mean is (d + overshoot)/v, and what it overshoots by is about
    :math:`0.5826 s + v/4` for small v [2]_.

    References
    ----------
    .. [1] S. Redner, *A Guide to First-Passage Processes* (Cambridge, 2001), chapter 3.
    .. [2] D. Siegmund, *Sequential Analysis* (Springer, 1985), chapter 10: the overshoot :math:`-\zeta(1/2)/\sqrt{2\pi}
       = 0.5826`.

    Examples
    --------
    >>> process = DriftDiffusion(distance=20, drift=0.5, noise=1)
    >>> process.mean, round(process.watched_mfpt(), 1)
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

    @property
    def second_moment(self) -> float:
        """Mean square of the first-passage time in continuous time, mean^2 + mean^3/shape."""
        return self.mean**2 + self.mean**3 / self.shape

    def exponent(self, rate: float) -> float:
        r"""Return the root :math:`\mu(r)` of :math:`s^2 \mu^2 / 2 + v \mu = r` that is not negative."""
        rate = checks.real("rate", rate, low=0)
        return 2 * rate / (self.drift + float(np.sqrt(self.drift**2 + 2 * rate * self.noise**2)))  # nothing cancels

    def laplace(self, rate: float) -> float:
        """Return L(r) = <exp(-r T)>: the probability to pass before the first event of a Poisson process of this rate."""
        return float(np.exp(-self.exponent(rate) * self.distance))

    def pdf(self, t: ArrayLike) -> Array:
        """Return the density of the first-passage time in continuous time, at times `t` of any shape."""
        return np.asarray(stats.invgauss.pdf(t, self.mean / self.shape, scale=self.shape))

    def cdf(self, t: ArrayLike) -> Array:
        """Return the probability to have passed by `t` in continuous time, for `t` of any shape."""
        return np.asarray(stats.invgauss.cdf(t, self.mean / self.shape, scale=self.shape))

    def sf(self, t: ArrayLike) -> Array:
        """Return the probability not to have passed by `t` in continuous time, for `t` of any shape."""
        return np.asarray(stats.invgauss.sf(t, self.mean / self.shape, scale=self.shape))

    def sample_times(self, rng: np.random.Generator, n: int) -> Array:
        """Draw `n` first-passage times from the law in continuous time, shape ``(n,)``."""
        return rng.wald(self.mean, self.shape, size=checks.count("n", n))

    def watched_mfpt(self) -> float:
        """Return the mean first-passage time when watched once per epoch, the same as ``mfpt()``; it exceeds `mean`."""
        return self.mfpt()

    def watched_walk(self, *, limit: float = np.inf) -> Walk:
        """Return the walk seen once per epoch, reset to 0 where it is below the limit."""
        return Walk(
            start=0.0,
            carry=1.0,
            drift=self.drift,
            noise=self.noise,
            threshold=self.distance,
            target=0.0,
            shrink=0.0,
            limit=limit,
        )

    @property
    def lowest(self) -> float:
        """Position below which the motion ever falls with negligible probability: to -x with exp(-2 v x / s^2)."""
        return float(np.log(_NEGLIGIBLE)) * self.noise**2 / (2 * self.drift)

    def chain(self) -> FiniteChain:
        """Return the chain of the watched motion on the nodes of a quadrature; see the module's description."""
        return self.watched_walk().chain(lowest=self.lowest)

    def sample(self, rng: np.random.Generator, *, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
        """Simulate the motion watched once per epoch; the metric is its position. See :meth:`Process.sample`."""
        return self.watched_walk().sample(rng, n_runs=n_runs, horizon=horizon, period=period)
