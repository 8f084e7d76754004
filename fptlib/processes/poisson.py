r"""Brownian motion with drift, perturbed at random times: events of a Poisson process of rate r, in continuous time.

The motion starts at a distance d from its target, drifts towards it with velocity v, and has noise s:
:math:`dy = -v\,dt + s\,dW`, until y = 0. Write L(r) for the Laplace transform of its first-passage time without
perturbation, the probability to pass before the first event. Then for any perturbation whatsoever

.. math:: \langle T_r \rangle = \frac{1 - L(r)}{r} + (1 - L(r)) \, \tau_r
          = \langle T \rangle + r \langle T \rangle \left( \tau_0 - \frac{\langle T^2 \rangle}{2 \langle T \rangle}
          \right) + O(r^2) :

the mean time until the first event or the passage, and for those that meet an event the mean time :math:`\tau_r` from
it. Where the first event finds the motion has the density :func:`PoissonPerturbed.found_at`; what the perturbation does
there, and how long it takes from then on, is all that an example has to say.

References
----------
.. [1] T. D. Keidar and S. Reuveni, "Universal linear response of first-passage kinetics", arXiv:2410.16129 (2025).
.. [2] M. R. Evans, S. N. Majumdar and G. Schehr, "Stochastic resetting and applications", J. Phys. A 53, 193001 (2020).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate

from fptlib.processes import checks
from fptlib.processes.chain import Array, FiniteChain, Process
from fptlib.processes.diffusion import DriftDiffusion
from fptlib.trajectories import Trajectories

_FAR = 40.0  # decay lengths after which an exponential is nothing, e^-40 = 4e-18
_TOLERANCE = 1e-11  # error of an integral, relative to it or to the mean time without perturbation


class PoissonPerturbed(ABC):
    """Drift-diffusion under perturbations at rate r: `sample_times` simulates it, the other verbs are exact.

    A subclass says what a perturbation does by `mean_after`.
    """

    __slots__ = ()

    motion: DriftDiffusion

    @abstractmethod
    def mean_after(self, y: ArrayLike, rate: float) -> Array:
        """Return the mean time to the target from the moment that a perturbation finds the motion at distance `y`.

        Perturbations go on with the rate; at rate 0 it was the only one. `y` has any shape.
        """

    @abstractmethod
    def sample_times(self, rng: np.random.Generator, n: int, *, rate: float) -> Array:
        """Draw `n` first-passage times under perturbation at the rate, shape ``(n,)``, without any step of time."""

    @property
    def kinks(self) -> tuple[float, ...]:
        """Distances at which `mean_after` is not smooth."""
        return ()

    def laplace(self, rate: float) -> float:
        """Return L(r), the probability to pass before the first perturbation."""
        return self.motion.laplace(rate)

    def found_at(self, y: ArrayLike, rate: float) -> Array:
        r"""Return the density of the distance at which the first perturbation finds the motion, for `y` of any shape.

        Notes
        -----
        Its law given that the motion has not passed: with :math:`w = \sqrt{v^2 + 2 r s^2}`, by the method of images,

        .. math:: \rho_r(y) = \frac{r}{(1 - L(r)) \, w} \, e^{v (d - y) / s^2}
                  \left( e^{-|y - d| w / s^2} - e^{-(y + d) w / s^2} \right) .

        At rate 0 it is the share of the time spent at y.
        """
        rate = checks.real("rate", rate, low=0)
        v, s2, d = self.motion.drift, self.motion.noise**2, self.motion.distance
        w, y = np.sqrt(v**2 + 2 * rate * s2), np.asarray(y, dtype=np.float64)
        # Both exponents and the bracket are written so that none is positive and nothing cancels.
        near = np.exp(np.where(y < d, -self.motion.exponent(rate) * (d - y), -(w + v) * (y - d) / s2))
        density = near * -np.expm1(-2 * np.minimum(y, d) * w / s2) / (w * self._until_event(rate))
        return np.where(y > 0, density, 0.0)

    def residual_time(self, rate: float) -> float:
        r"""Return :math:`\tau_r`, the mean time from the first perturbation of those that meet one; at rate 0, its limit."""
        s2, d = self.motion.noise**2, self.motion.distance
        v, mu = self.motion.drift, self.motion.exponent(rate)
        tail = s2 / (np.sqrt(v**2 + 2 * rate * s2) + v)
        ends = {0.0, d, d - _FAR / mu if mu else 0.0, d + tail, d + _FAR * tail, *self.kinks}
        inside = sorted(end for end in ends if 0 <= end <= d + _FAR * tail)
        pieces = [
            integrate.quad(
                lambda y: self.found_at(y, rate) * self.mean_after(y, rate),
                a,
                b,
                epsabs=_TOLERANCE * self.motion.mean,
                epsrel=_TOLERANCE,
                limit=200,
            )[0]
            for a, b in pairwise(inside)
        ]
        return float(sum(pieces))

    def mean_time(self, rate: float) -> float:
        r"""Return the mean first-passage time :math:`\langle T_r \rangle` under perturbation at the rate."""
        met = -np.expm1(-self.motion.exponent(rate) * self.motion.distance)
        return self._until_event(rate) + float(met) * self.residual_time(rate)

    def linear_response(self, rate: float) -> float:
        r"""Return the mean first-passage time to first order in the rate.

        Notes
        -----
        :math:`\langle T \rangle + r \langle T \rangle (\tau_0 - \langle T^2 \rangle / (2 \langle T \rangle))`: rare
        perturbations help if those whom they find need less time than half of :math:`\langle T^2\rangle/\langle T\rangle`,
        which is what the motion found at a random moment would still have needed.
        """
        rate, motion = checks.real("rate", rate, low=0), self.motion
        return motion.mean + rate * (motion.mean * self.residual_time(0) - motion.second_moment / 2)

    def _until_event(self, rate: float) -> float:
        """Return (1 - L(r))/r, the mean time until the first perturbation or the passage."""
        if rate == 0:
            return self.motion.mean
        return float(-np.expm1(-self.motion.exponent(rate) * self.motion.distance)) / rate


@dataclass(frozen=True, slots=True, kw_only=True)
class PoissonReset(PoissonPerturbed):
    r"""Every perturbation takes the motion back to its start: a full restart at rate r.

    Parameters
    ----------
    motion
        The motion without perturbation.

    Notes
    -----
    :math:`\langle T_r \rangle = \tau_r = (1 - L(r)) / (r L(r))`. Rare resets help if
    :math:`\langle T^2\rangle > 2 \langle T\rangle^2`, which here is :math:`s^2 > v d`.

    Examples
    --------
    A motion of mean 3 and mean square 12: its start is 3 away, a random moment finds 12/(2 x 3) = 2 to go.

    >>> reset = PoissonReset(motion=DriftDiffusion(distance=3, drift=1, noise=1))
    >>> round(reset.residual_time(0), 9), round(reset.linear_response(0.01), 9), round(reset.mean_time(0.01), 4)
    (3.0, 3.03, 3.0302)
    """

    motion: DriftDiffusion = field(default_factory=DriftDiffusion)

    def mean_after(self, y: ArrayLike, rate: float) -> Array:
        """Return the mean time from the start, under resets at the rate: the same wherever the motion is found."""
        again = self.motion.mean if rate == 0 else np.expm1(self.motion.exponent(rate) * self.motion.distance) / rate
        return np.full_like(np.asarray(y, dtype=np.float64), again)

    def sample_times(self, rng: np.random.Generator, n: int, *, rate: float) -> Array:
        """Draw first-passage times, shape ``(n,)``. See :meth:`PoissonPerturbed.sample_times`."""
        return _with_resets(rng, n, motion=self.motion, rate=rate, beyond=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackReset(PoissonPerturbed, Process):
    r"""A perturbation looks first: it takes the motion back to its start only if it finds it farther away than that.

    Parameters
    ----------
    motion
        The motion without perturbation.
    beyond
        Distance b from the target beyond which a perturbation resets, at least 0; by default that of the start, so that
        a reset never sets back. With 0 it always resets, as in `PoissonReset`.

    Notes
    -----
    The mean time T(y) from distance y, events going on, solves

    .. math:: \tfrac{s^2}{2} T'' - v T' + r \, [y > b] \, (T(d) - T) = -1, \qquad T(0) = 0,

    by :math:`T = y/v + A (e^{c (y-b)} - e^{-c b})`, c = 2v/s^2, up to b and :math:`T = 1/r + T(d) + B e^{-\mu (y - b)}`
    beyond, T and T' being continuous at b. For b at least d,

    .. math:: A = - \left( \frac{s^2}{v (w + v)} + \frac{b - d}{v} \right) \Big/
              \left( 1 - e^{-c (b - d)} + \frac{c}{\mu} \right) < 0 :

    such resets help at every rate. Besides, all verbs of :class:`Process` are there for the motion watched at
    epochs 1, 2, 3, ..., perturbed in the same way with a period or with a probability per epoch.

    References
    ----------
    .. [1] T. D. Keidar and S. Reuveni, arXiv:2410.16129 (2025): resetting with information feedback.
    .. [2] O. Tal-Friedman, T. D. Keidar, S. Reuveni and Y. Roichman, "Smart resetting", arXiv:2409.10108 (2024).

    Examples
    --------
    A motion of mean 3; a random moment finds 2 to go without, and a little less with feedback.

    >>> feedback = FeedbackReset(motion=DriftDiffusion(distance=3, drift=1, noise=1))
    >>> round(feedback.residual_time(0), 3), round(feedback.mean_time(0.1), 3), round(feedback.mean_time(10.0), 3)
    (1.917, 2.977, 2.68)
    """

    motion: DriftDiffusion = field(default_factory=DriftDiffusion)
    beyond: float | None = None

    def __post_init__(self) -> None:
        if self.beyond is not None:
            checks.real("beyond", self.beyond, low=0)

    @property
    def _beyond(self) -> float:
        return self.motion.distance if self.beyond is None else self.beyond

    @property
    def kinks(self) -> tuple[float, ...]:
        """The distance beyond which a perturbation resets."""
        return (self._beyond,)

    @property
    def threshold(self) -> float:
        """What the watched position, 0 at the start, has to reach: the distance."""
        return self.motion.threshold

    def mean_from(self, y: ArrayLike, rate: float) -> Array:
        """Return the mean time T(y) from distance `y`, of any shape, under perturbation at the rate."""
        v, s2, d, b = self.motion.drift, self.motion.noise**2, self.motion.distance, self._beyond
        y, rate = np.asarray(y, dtype=np.float64), checks.real("rate", rate, low=0)
        if rate == 0:
            return np.asarray(y / v)
        mu, w, c = self.motion.exponent(rate), np.sqrt(v**2 + 2 * rate * s2), 2 * v / s2
        if d <= b:
            a = -(s2 / (v * (w + v)) + (b - d) / v) / (c / mu - np.expm1(-c * (b - d)))
            level = d / v + a * (np.exp(-c * (b - d)) - np.exp(-c * b))  # T(d)
            kick = -(1 / v + c * a) / mu
        else:  # the start is where resets happen: T(d) = 1/r + T(d) + B exp(-mu (d - b)) gives B
            kick = -np.exp(mu * (d - b)) / rate
            a = -(1 / v + mu * kick) / c
            level = b / v - a * np.expm1(-c * b) - 1 / rate - kick
        near = np.minimum(y, b)
        inside = near / v + a * (np.exp(c * (near - b)) - np.exp(-c * b))
        beyond = 1 / rate + level + kick * np.exp(-mu * np.maximum(y - b, 0.0))
        return np.asarray(np.where(y <= b, inside, beyond))

    def mean_after(self, y: ArrayLike, rate: float) -> Array:
        """Return the mean time from `y`, or from the start where `y` is beyond. See :meth:`mean_from`."""
        y = np.asarray(y, dtype=np.float64)
        return self.mean_from(np.where(y > self._beyond, self.motion.distance, y), rate)

    def sample_times(self, rng: np.random.Generator, n: int, *, rate: float) -> Array:
        """Draw first-passage times, shape ``(n,)``. See :meth:`PoissonPerturbed.sample_times`."""
        return _with_resets(rng, n, motion=self.motion, rate=rate, beyond=self._beyond)

    def chain(self) -> FiniteChain:
        """Return the chain of the watched motion on the nodes of a quadrature; see `fptlib.processes.diffusion`."""
        return self.motion.watched_walk(limit=self.motion.distance - self._beyond).chain(lowest=self.motion.lowest)

    def sample(self, rng: np.random.Generator, *, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
        """Simulate the motion watched once per epoch; the metric is its position. See :meth:`Process.sample`."""
        walk = self.motion.watched_walk(limit=self.motion.distance - self._beyond)
        return walk.sample(rng, n_runs=n_runs, horizon=horizon, period=period)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogarithmicSwitch(PoissonPerturbed):
    r"""The first perturbation changes the force for good: from the constant drift v to k/y, that of a logarithmic potential.

    Parameters
    ----------
    motion
        The motion without perturbation, in a linear potential.
    strength
        Strength k of the force after the switch, above ``noise**2 / 2``; else the mean time diverges.

    Notes
    -----
    After the switch :math:`dy = -(k/y)\,dt + s\,dW`. The backward equation
    :math:`\tfrac{s^2}{2} T'' - \tfrac{k}{y} T' = -1` with T(0) = 0 gives the mean time from y, and scaling its whole law,

    .. math:: T(y) = \frac{y^2}{2k - s^2}, \qquad T \sim \frac{y^2}{2 s^2 \, \Gamma_\alpha}, \qquad
              \alpha = \frac{1}{2} + \frac{k}{s^2},

    where :math:`\Gamma_\alpha` is a standard gamma variate: y/s is a Bessel process of dimension 1 - 2k/s^2. Its mean
    square when the switch comes makes everything explicit,

    .. math:: (1 - L) \, \tau_r = \frac{d^2 - 2 v d / r + (s^2 + 2 v^2 / r)(1 - L)/r}{2k - s^2}, \qquad
              \tau_0 = \frac{d^2/3 + s^2 d/(2v) + s^4/(2 v^2)}{2k - s^2} .

    References
    ----------
    .. [1] T. D. Keidar and S. Reuveni, arXiv:2410.16129 (2025): transition from a linear to a logarithmic potential.
    .. [2] A. J. Bray, "Random walks in logarithmic and power-law potentials, nonuniversal persistence, and vortex dynamics
       in the two-dimensional XY model", Phys. Rev. E 62, 103 (2000).

    Examples
    --------
    A random moment finds 12/(2 x 3) = 2 to go without the switch and (3 + 3/2 + 1/2)/(2k - 1) = 2 with it at k = 1.75: to
    first order such switches change nothing.

    >>> switch = LogarithmicSwitch(motion=DriftDiffusion(distance=3, drift=1, noise=1), strength=1.75)
    >>> round(switch.residual_time(0), 9), round(switch.linear_response(0.1), 9), round(switch.mean_time(0.1), 4)
    (2.0, 3.0, 3.005)
    """

    motion: DriftDiffusion = field(default_factory=DriftDiffusion)
    strength: float = 5.0

    def __post_init__(self) -> None:
        checks.real("strength", self.strength, above=self.motion.noise**2 / 2)

    def mean_after(self, y: ArrayLike, rate: float) -> Array:
        """Return the mean time from `y` in the logarithmic potential; later perturbations change nothing."""
        return np.asarray(y, dtype=np.float64) ** 2 / (2 * self.strength - self.motion.noise**2)

    def sample_times(self, rng: np.random.Generator, n: int, *, rate: float) -> Array:
        """Draw first-passage times, shape ``(n,)``. See :meth:`PoissonPerturbed.sample_times`."""
        time, met, found = _first_event(rng, np.full(checks.count("n", n), self.motion.distance), self.motion, rate)
        s2 = self.motion.noise**2
        time[met] += found**2 / (2 * s2 * rng.standard_gamma(0.5 + self.strength / s2, size=len(found)))
        return time


def _with_resets(rng: np.random.Generator, n: int, *, motion: DriftDiffusion, rate: float, beyond: float) -> Array:
    """Draw first-passage times under resets to the start of what an event finds beyond a distance, shape ``(n,)``."""
    time = np.zeros(checks.count("n", n))
    running, y = np.arange(n), np.full(n, float(motion.distance))
    while len(running):
        passed, met, found = _first_event(rng, y, motion, rate)
        time[running] += passed
        running, y = running[met], np.where(found > beyond, motion.distance, found)
    return time


def _first_event(
    rng: np.random.Generator, y: Array, motion: DriftDiffusion, rate: float
) -> tuple[Array, NDArray[np.bool_], Array]:
    """Let motions at distances `y` run to their passage or the next event, whichever is first.

    Returns the time of that, shape ``(motions,)``, which of them met an event, and where those are then, ``(met,)``.
    The passage time has its inverse Gaussian law; the place of one that has not passed by t is drawn from the free motion
    and kept with the probability that the Brownian bridge there has not touched the target, 1 - exp(-2 y y'/(s^2 t)).
    """
    rate, v, s = checks.real("rate", rate, low=0), motion.drift, motion.noise
    passage = rng.wald(y / v, (y / s) ** 2)
    event = rng.exponential(1 / rate, size=len(y)) if rate else np.full(len(y), np.inf)
    met = event < passage
    start, time = y[met], event[met]
    found, open_ = np.empty(len(start)), np.arange(len(start))
    while len(open_):
        at = start[open_] - v * time[open_] + s * np.sqrt(time[open_]) * rng.standard_normal(len(open_))
        untouched = -np.expm1(-2 * start[open_] * np.maximum(at, 0.0) / (s**2 * time[open_]))
        kept = rng.random(len(open_)) < untouched
        found[open_[kept]] = at[kept]
        open_ = open_[~kept]
    return np.minimum(passage, event), met, found
