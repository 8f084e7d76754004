"""Verbs of all processes, and the finite Markov chain that all exact answers come from.

Each process here is a finite chain, by nature or (continuous states) by quadrature.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.processes import checks
from fptlib.trajectories import Trajectories

Array = NDArray[np.float64]

# A row that sums to 1 within this does not pass: rounding (0.3 + 0.6 + 0.1 < 1) must not open a way out.
_ROUNDING = 1e-12


class Process(ABC):
    """A first-passage process: `sample` simulates it, the other verbs are exact.

    References
    ----------
    .. [1] J. G. Kemeny and J. L. Snell, *Finite Markov Chains* (1960), chapter 3 (absorbing chains).
    .. [2] A. Pal and S. Reuveni, "First passage under restart", Phys. Rev. Lett. 118, 030603 (2017).
    .. [3] M. R. Evans, S. N. Majumdar and G. Schehr, "Stochastic resetting and applications", J. Phys. A 53, 193001
       (2020).
    """

    __slots__ = ()

    @abstractmethod
    def chain(self) -> FiniteChain:
        """Return the process as a finite chain."""

    @abstractmethod
    def _metric(self, rng: np.random.Generator, n_runs: int, horizon: int, every: int) -> NDArray[Any]:
        """Simulate the metric at epochs 1 .. horizon, shape ``(n_runs, horizon)``, perturbed every so many epochs."""

    def sample(self, rng: np.random.Generator, *, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
        """Simulate runs of ``horizon`` epochs each, unperturbed or with a period, as if they were training logs.

        Their metric ``test_metric`` has shape ``(n_runs, horizon)``; a run has passed when it is at or above
        ``threshold``, and is not perturbed any more then.
        """
        n_runs, horizon = checks.count("n_runs", n_runs), checks.count("horizon", horizon)
        metric = self._metric(rng, n_runs, horizon, _every(period, horizon))
        return Trajectories(metrics={"test_metric": metric.astype(np.float64)}, run=np.arange(n_runs))

    def survival(self, horizon: int, *, period: int | None = None) -> Array:
        """Return S(k) = P(T > k) for k = 0 .. horizon, shape ``(horizon + 1,)``; with a period, under perturbation."""
        chain, horizon = self.chain(), checks.count("horizon", horizon, least=0)
        every = _every(period, horizon)
        law, survival = chain.start, np.ones(horizon + 1)
        for epoch in range(1, horizon + 1):
            law = law @ chain.transition
            survival[epoch] = law.sum()
            if epoch % every == 0:
                law = law @ chain.perturbation
        return np.minimum.accumulate(survival)  # rounding alone could make it rise

    def restricted_mean(self, *, horizon: int, period: int | None = None) -> float:
        """Return E min(T, horizon), the sum of S(k) over k < horizon; with a period, that of the perturbed process."""
        return float(self.survival(checks.count("horizon", horizon) - 1, period=period).sum())

    def mfpt(self, period: int | None = None) -> float:
        r"""Return the mean first-passage time, infinite where it diverges; with a period, under perturbation.

        Unperturbed, :math:`\pi (I - Q)^{-1} 1`; with period P, where :math:`r = \sum_{k<P} Q^k 1`,

        .. math:: \langle T_P \rangle = \pi r + \pi Q^P (I - R Q^P)^{-1} R r .
        """
        chain = self.chain()
        if period is None:
            return _mean_total(chain.start, chain.transition, chain.passing, np.ones(chain.n_states))
        within, passed, time = _first_epochs(chain, period)
        law, moved = chain.start @ within, chain.perturbation
        return float(chain.start @ time) + _mean_total(law, moved @ within, moved @ passed, moved @ time)

    def residual_mean(self, period: int) -> float:
        r"""Return the mean residual time ``tau_P``: T - P of the perturbed runs that have not passed by epoch P.

        :math:`\langle T_P \rangle = \mathrm{RM}(P) + S(P) \tau_P`, the restricted mean and the survival being
        unperturbed. An InputError if every run has passed by then.
        """
        chain = self.chain()
        within, passed, time = _first_epochs(chain, period)
        law, moved = chain.start @ within, chain.perturbation
        if not law.any():
            raise InputError(f"period is {period}; it must be one that some run survives")
        return _mean_total(law / law.sum(), moved @ within, moved @ passed, moved @ time)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FiniteChain(Process):
    r"""Any finite Markov chain with any perturbation; its metric is the number of its state.

    ``transition`` Q, shape ``(states, states)``, has the probabilities per epoch to go from a state (row) to another
    (column); what is missing to 1 passes, if it is more than 1e-12. ``perturbation`` R, of the same shape, rows summing to
    1, says where a perturbation puts the run, ``start`` pi, shape ``(states,)``, the law of the state at epoch 0.

    S(k) = :math:`\pi Q^k 1`; the means are with :meth:`Process.mfpt`. In :meth:`sample` a run that has passed shows the
    number of states.

    One state that passes with probability 1/4 per epoch takes 4 epochs, whatever a perturbation does.

    >>> one = FiniteChain(transition=[[0.75]], perturbation=[[1.0]], start=[1.0])
    >>> round(one.mfpt(), 6), round(one.mfpt(3), 6)
    (4.0, 4.0)
    """

    transition: Array
    perturbation: Array
    start: Array

    def __post_init__(self) -> None:
        for name in ("transition", "perturbation", "start"):
            object.__setattr__(self, name, _probabilities(name, getattr(self, name)))
        n = self.start.size
        for name, shape in (("start", (n,)), ("transition", (n, n)), ("perturbation", (n, n))):
            given = getattr(self, name).shape
            if given != shape or n == 0:
                raise InputError(f"{name} has shape {given}; with {n} entries in start it must be {shape}, not empty")
        if (most := self.transition.sum(axis=1).max()) > 1 + 1e-9:
            raise InputError(f"a row of transition sums to {most:g}; it must be at most 1")
        rows, start = self.perturbation.sum(axis=1), self.start.sum(keepdims=True)
        for name, sums in (("row of perturbation", rows), ("start", start)):
            if np.abs(sums - 1).max() > 1e-9:
                raise InputError(f"{name} sums to {sums[np.abs(sums - 1).argmax()]:g}; it must be 1")

    @classmethod
    def birth_death(cls, *, n_states: int, up: float, down: float, kick: int, start: int = 0) -> FiniteChain:
        """Return the chain on 0 .. n_states - 1 that steps up or down by one and passes above its last state.

        ``up`` and ``down`` are probabilities per epoch; with what is left, and at a step down from 0, the state stays.
        The perturbation sets the state x back to ``max(x - kick, 0)``; from ``n_states - 1`` on it is a full reset.
        From 0, over two states with ``down = 0``: two steps of mean 1/up.

        >>> round(FiniteChain.birth_death(n_states=2, up=0.5, down=0.0, kick=1).mfpt(), 6)
        4.0
        """
        n, up, down = checks.count("n_states", n_states), checks.probability("up", up), checks.probability("down", down)
        if up + down > 1 + _ROUNDING:
            checks.refuse("up + down", up + down, "at most 1")
        if checks.count("start", start, least=0) >= n:
            checks.refuse("start", start, f"a state, 0 to {n - 1}")
        states = np.arange(n)
        transition = (1 - up - down) * np.eye(n) + up * np.eye(n, k=1) + down * np.eye(n, k=-1)
        transition[0, 0] += down
        back = np.maximum(states - checks.count("kick", kick, least=0), 0)
        return cls(transition=transition.clip(min=0), perturbation=np.eye(n)[back], start=np.eye(n)[start])

    @property
    def n_states(self) -> int:
        """Number of states that have not passed."""
        return int(self.start.size)

    @property
    def threshold(self) -> float:
        """The number of states, which is what a run that has passed shows."""
        return float(self.n_states)

    @property
    def passing(self) -> Array:
        """Probability to pass in the next epoch, shape ``(states,)``."""
        missing = 1 - self.transition.sum(axis=1)
        return np.where(missing > _ROUNDING, missing, 0.0)

    def chain(self) -> FiniteChain:
        """Return the chain itself."""
        return self

    def _metric(self, rng: np.random.Generator, n_runs: int, horizon: int, every: int) -> NDArray[np.int64]:
        steps = _cumulative(self.transition, closed=self.passing == 0)
        kicks = _cumulative(self.perturbation, closed=True)
        state = _draw(rng, _cumulative(np.tile(self.start, (n_runs, 1)), closed=True)[:n_runs])
        states = np.empty((n_runs, horizon), dtype=np.int64)
        for epoch in range(1, horizon + 1):
            state = _draw(rng, steps[state])
            states[:, epoch - 1] = state
            if epoch % every == 0:
                state = _draw(rng, kicks[state])
        return states


def _every(period: int | None, horizon: int) -> int:
    return horizon + 1 if period is None else checks.count("period", period)


def _probabilities(name: str, values: Any) -> Array:
    """Return a read-only copy of an array of numbers that are not negative."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} is no array of numbers; its entries must be probabilities") from None
    possible = np.isfinite(array) & (array >= 0)
    if not possible.all():
        raise InputError(f"{name} has the entry {array[~possible][0]:g}; its entries must be probabilities")
    array.flags.writeable = False
    return array


def _cumulative(moves: Array, *, closed: bool | NDArray[np.bool_]) -> Array:
    """Return cumulative sums along the rows and a last row for "passed", which stays; a closed row never passes."""
    sums = moves.cumsum(axis=1)
    sums[:, -1] = np.where(closed, np.inf, sums[:, -1])
    return np.vstack([sums, np.zeros(moves.shape[1])])


def _draw(rng: np.random.Generator, cumulative: Array) -> NDArray[np.int64]:
    """Draw one state per run from its cumulative row, shape ``(runs, states)``; the number of states means passed."""
    return np.asarray((rng.random((len(cumulative), 1)) >= cumulative).sum(axis=1))


def _first_epochs(chain: FiniteChain, period: int) -> tuple[Array, Array, Array]:
    """Return, for P unperturbed epochs from every state, Q^P, the probability to pass and the mean time not passed.

    One power of the chain completed by "passed" and by a counter of epochs gives all three without a subtraction: the
    probability to pass stays accurate however small it is.
    """
    period, n = checks.count("period", period), chain.n_states
    complete = np.zeros((n + 2, n + 2))
    complete[:n, :n], complete[:n, n], complete[:n, n + 1] = chain.transition, chain.passing, 1
    complete[n, n] = complete[n + 1, n + 1] = 1
    power = np.linalg.matrix_power(complete, period)
    return power[:n, :n], power[:n, n], power[:n, n + 1]


def _mean_total(start: Array, moves: Array, leaves: Array, cost: Array) -> float:
    """Return the mean total cost until a chain is left; infinite if it may stay for ever.

    States are eliminated one by one (Grassmann, Taksar and Heyman, Oper. Res. 33, 1107 (1985)). No numbers are
    subtracted, so a mean of 1e30 is as accurate as one of 3, and states without a way out show as an exact zero, where
    solving with ``I - moves`` would be singular or, by rounding, wrong.
    """
    n = len(start)
    flow = np.zeros((n + 1, n + 1))  # row and column 0: the start, which nothing returns to
    flow[0, 1:], flow[1:, 1:] = start, moves
    leaves, cost = np.append(0.0, leaves), np.append(0.0, cost)
    for k in range(n, 0, -1):
        into, out = flow[:k, k], flow[k, :k].sum() + leaves[k]
        reached = into > 0
        if out == 0:
            cost[:k][reached] = np.inf
            continue
        visits = into / out
        flow[:k, :k] += np.outer(visits, flow[k, :k])
        leaves[:k] += visits * leaves[k]
        cost[:k][reached] += visits[reached] * cost[k]
    return float(cost[0])
