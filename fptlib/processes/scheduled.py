"""A process under a schedule of the learning rate: what a perturbation does depends on the epoch at which it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import block_diag

from fptlib.processes import checks
from fptlib.processes.chain import Array, FiniteChain
from fptlib.processes.hazards import HazardProcess
from fptlib.spec.schedules import CosineSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Annealed(HazardProcess):
    r"""A memoryless process in which a perturbation helps as far as the learning rate has not fallen.

    Parameters
    ----------
    hazard
        Probability h of an unperturbed run to pass in an epoch, the same in all.
    hazard_after
        Probability b to pass in an epoch after a perturbation, at the full learning rate.
    epochs
        Epochs N for which the learning rate falls along half a cosine, from the first epoch on.
    floor
        Fraction of the learning rate that is left after them.

    Notes
    -----
    With :math:`c(t)` the factor on the learning rate in epoch t (`fptlib.spec.schedules`), a run that was perturbed passes in
    epoch t with probability :math:`h_t = h + (b - h) c(t)`, however often it was perturbed, and

    .. math:: \tau_P = \sum_{k \ge 0} \prod_{j=1}^{k} (1 - h_{P+j}) .

    The unperturbed process is stationary from the first epoch on. Nothing that it shows tells that a perturbation at epoch 50 is
    another thing than one at epoch 10; the record of its training does.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "SGDR: Stochastic gradient descent with warm restarts", ICLR 2017.

    Examples
    --------
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
        for name in ("hazard", "hazard_after", "floor"):
            checks.probability(name, getattr(self, name))
        checks.count("epochs", self.epochs)

    @property
    def record(self) -> dict[str, Any]:
        """What a store would say of this training: ``meta`` for the trajectories that `sample` draws, which carry none."""
        schedule = {"name": "cosine", "epochs": self.epochs, "floor": self.floor}
        return {"spec": {"optimiser": {"schedule": schedule}}}

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
