"""Processes given by hazards: nothing is to be seen before the passage, so their metric is 0 and then 1."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from fptlib.processes import checks
from fptlib.processes.chain import Array, FiniteChain, Process
from fptlib.spec.schedules import CosineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class HazardProcess(Process):
    """A process without a metric of its own: it shows 0 until it passes and 1 from then on.

    Its numbers are probabilities, its whole numbers counts of epochs; an InputError refuses others.
    """

    threshold: ClassVar[float] = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type == "float":
                checks.probability(field.name, getattr(self, field.name))
            elif field.type == "int":
                checks.count(field.name, getattr(self, field.name), least=0)

    def _metric(self, rng: np.random.Generator, n_runs: int, horizon: int, every: int) -> NDArray[np.bool_]:
        chain = self.chain()
        return np.asarray(chain._metric(rng, n_runs, horizon, every) == chain.n_states)


def _countdown(length: int, hazard: float, *, meanwhile: float = 0.0) -> Array:
    """Return transitions of a clock: state c > 0 counts down, with hazard `meanwhile`; state 0 stays, with `hazard`."""
    transition = (1 - meanwhile) * np.eye(length + 1, k=-1)
    transition[0, 0] = 1 - hazard
    return transition


@dataclass(frozen=True, slots=True, kw_only=True)
class GeometricWithKick(HazardProcess):
    r"""A memoryless process that has another hazard in the first epoch after a perturbation.

    A run passes with probability h (``hazard``) in an epoch, and a (``kick``) in the first one after a perturbation.

    With :math:`q = 1 - h`,

    .. math:: \tau_P = \frac{1 + (1-a)(1-q^{P-1})/h}{1 - (1-a) q^{P-1}}, \qquad
              \langle T_P \rangle = \frac{1 - q^P}{h} + q^P \tau_P .

    Stationary from the start, and yet the residual time depends on P, as each later perturbation kicks anew: a
    prediction from one period P0 that stops at the first perturbation is off by :math:`q^P (\tau_{P0} - \tau_P)`.

    Perturbed at every epoch with a = 1/2: one epoch, then (with 3/4) a residual time of 2.

    >>> process = GeometricWithKick(hazard=0.25, kick=0.5)
    >>> round(process.residual_mean(1), 6), round(process.mfpt(1), 6), round(process.mfpt(), 6)
    (2.0, 2.5, 4.0)
    """

    hazard: float
    kick: float

    def chain(self) -> FiniteChain:
        """Return the chain with the states *ordinary* and *just perturbed*."""
        return FiniteChain(
            transition=_countdown(1, self.hazard, meanwhile=self.kick),
            perturbation=np.array([[0, 1], [0, 1]]),
            start=np.array([1, 0]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenMixture(HazardProcess):
    r"""Some silent epochs, after which a run either passes with a hazard or never does; a perturbation draws anew.

    No unperturbed run passes in the first L epochs (``silent``); a perturbation ends the silence. A run is one that passes
    with probability w unperturbed (``good``) and w2 after each perturbation (``good_after``), and does so with
    probability h in an epoch (``hazard``).

    With :math:`q = 1 - h` and, for the survival, :math:`k \ge L`,

    .. math:: S(k) = w q^{k-L} + 1 - w, \qquad \tau_P = \frac{1}{h} + P \frac{1 - w_2}{w_2 (1 - q^P)} .

    The metric of the surviving runs can be stationary here and the residual time depends on P all the same, since a run
    that draws badly waits for the next perturbation. Unperturbed the mean diverges for w < 1.

    Good runs pass at once, half of the draws are good, one every 3 epochs: 1 epoch, plus 3 for each bad draw.

    >>> process = FrozenMixture(silent=2, good=0.0, good_after=0.5, hazard=1.0)
    >>> round(process.residual_mean(3), 6), process.mfpt()
    (4.0, inf)
    """

    silent: int
    good: float
    good_after: float
    hazard: float

    def chain(self) -> FiniteChain:
        """Return the chain with the states *never*, *good* and the silent epochs left."""
        n = self.silent + 2
        transition = block_diag(1.0, _countdown(self.silent, self.hazard))
        transition[2:3, :2] = drawn = np.array([1 - self.good, self.good])  # the silence ends
        start = np.eye(n)[-1] if self.silent else drawn
        drawn_after = np.concatenate([[1 - self.good_after, self.good_after], np.zeros(self.silent)])
        return FiniteChain(transition=transition, perturbation=np.tile(drawn_after, (n, 1)), start=start)


@dataclass(frozen=True, slots=True, kw_only=True)
class DelayedGeometric(HazardProcess):
    r"""Some silent epochs, then a constant hazard; only the first perturbation acts: new silence, new hazard.

    No run passes in the first L epochs (``silent``) and, after the first perturbation, in D more (``silent_after``), beside
    those left; in each later epoch it does with probability h unperturbed (``hazard``), b perturbed (``hazard_after``).

    .. math:: \tau_P = \max(L - P, 0) + D + 1/b, \qquad \langle T_P \rangle = \mathrm{RM}(P) + S(P) \tau_P .

    For :math:`P \ge L` the residual time does not depend on P: one perturbed ensemble predicts all these periods
    exactly, and none below L.

    Perturbed at epoch 2 of 3 silent ones: 2 epochs, 1 still silent, 1 from the perturbation, then 1/b = 2.

    >>> round(DelayedGeometric(silent=3, hazard=0.1, silent_after=1, hazard_after=0.5).mfpt(2), 6)
    6.0
    """

    silent: int
    hazard: float
    silent_after: int
    hazard_after: float

    def chain(self) -> FiniteChain:
        """Return the chain with the silent epochs left, before and after the first perturbation."""
        before, after = self.silent + 1, self.silent + self.silent_after + 1
        perturbation = block_diag(np.zeros((before, before)), np.eye(after))
        perturbation[:before, -before:] = np.eye(before)  # c epochs left become c + D
        return FiniteChain(
            transition=block_diag(_countdown(self.silent, self.hazard), _countdown(after - 1, self.hazard_after)),
            perturbation=perturbation,
            start=np.eye(before + after)[self.silent],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Heterogeneous(HazardProcess):
    r"""Runs of several equally frequent types that differ, for good, in how they respond to a perturbation.

    A run passes with probability h (``hazard``) in an ordinary epoch and, if it is of type i, with probability a_i
    (``hazards_after``) in each of the w epochs (``window``) just after a perturbation.

    Type i alone has, for periods P of at least the window w, :math:`\tau_P = m_i / (1 - s_i (1-h)^{P-w})`, where
    :math:`s_i = (1 - a_i)^w` is the probability to survive the window and :math:`m_i` the mean time within one cycle.
    The mixture has the mean of these. A renewal argument takes the mean of the :math:`m_i` and the mean of the
    survivals first, as if each perturbation drew the type anew, and predicts too short a time: those who are left are
    the slow ones.

    Perturbed at every epoch, half of the runs pass at once and the others take 10 epochs.

    >>> round(Heterogeneous(hazard=0.01, hazards_after=(1.0, 0.1), window=1).residual_mean(1), 6)
    5.5
    """

    hazard: float
    hazards_after: tuple[float, ...]
    window: int

    def __post_init__(self) -> None:
        HazardProcess.__post_init__(self)
        if not isinstance(self.hazards_after, tuple) or not self.hazards_after:
            checks.refuse("hazards_after", self.hazards_after, "a tuple with one probability for each type")
        for after in self.hazards_after:
            checks.probability("hazards_after", after)

    def chain(self) -> FiniteChain:
        """Return the chain that has, for each type, the epochs left for which a perturbation acts."""
        types, states = len(self.hazards_after), self.window + 1
        each = [_countdown(self.window, self.hazard, meanwhile=after) for after in self.hazards_after]
        return FiniteChain(
            transition=block_diag(*each),
            perturbation=np.kron(np.eye(types), np.tile(np.eye(states)[-1], (states, 1))),
            start=np.tile(np.eye(states)[0] / types, types),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealed(HazardProcess):
    r"""A memoryless process in which a perturbation helps as far as the learning rate has not fallen.

    A run passes in an epoch with probability h unperturbed (``hazard``) and b after a perturbation at the full learning rate
    (``hazard_after``), which falls along half a cosine for N epochs (``epochs``), to a fraction of it (``floor``).

    With :math:`c(t)` the factor on the learning rate in epoch t (`fptlib.spec.schedules.CosineSpec`), a run that was
    perturbed passes in epoch t with probability :math:`h_t = h + (b - h) c(t)`, however often it was perturbed, and

    .. math:: \tau_P = \sum_{k \ge 0} \prod_{j=1}^{k} (1 - h_{P+j}) .

    The unperturbed process is stationary from the first epoch on. Nothing that it shows tells that a perturbation at epoch 50 is
    another thing than one at epoch 10; the record of its training does.

    Two epochs at factors 1 and 1/2, then none: after a perturbation at epoch 1 the run passes with 1/2 and else, with the hazard
    1/4 that it would have had anyway, after 4 epochs more.

    >>> process = Annealed(hazard=0.25, hazard_after=0.75, epochs=2)
    >>> process.residual_mean(1), process.residual_mean(2)
    (3.0, 4.0)
    """

    hazard: float
    hazard_after: float
    epochs: int
    floor: float = 0.0

    def __post_init__(self) -> None:
        HazardProcess.__post_init__(self)
        checks.count("epochs", self.epochs)

    @property
    def record(self) -> dict[str, Any]:
        """Record that a store would have of this training: ``meta`` for the trajectories that `sample` draws, which carry none."""
        return {"spec": {"optimiser": {"schedule": {"name": "cosine", "epochs": self.epochs, "floor": self.floor}}}}

    def hazards(self) -> Array:
        """Probability to pass after a perturbation in epochs ``1 .. epochs + 1``, the last of which goes on, ``(epochs + 1,)``."""
        schedule = CosineSpec(epochs=self.epochs, floor=self.floor)
        factor = np.array([schedule.at(epoch) for epoch in range(1, self.epochs + 2)])
        return np.asarray(self.hazard + (self.hazard_after - self.hazard) * factor)

    def chain(self) -> FiniteChain:
        """Return the chain that has, unperturbed and perturbed, the epochs gone by, up to `epochs`."""
        n = self.epochs + 1
        clock = np.eye(n, k=1)
        clock[-1, -1] = 1
        perturbed = (1 - self.hazards())[:, None] * clock
        return FiniteChain(
            transition=block_diag((1 - self.hazard) * clock, perturbed),
            perturbation=np.hstack([np.zeros((2 * n, n)), np.tile(np.eye(n), (2, 1))]),
            start=np.eye(2 * n)[0],
        )
