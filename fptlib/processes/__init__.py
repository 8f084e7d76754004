"""Simulated first-passage processes under perturbation, with exact answers.

Every process has the same verbs: ``sample`` simulates it, ``survival``, ``mfpt``, ``residual_mean``,
``restricted_mean`` and ``mfpt_random`` give the exact answers, so that any estimate or prediction can be held against
the truth.

Time runs in epochs, T = 1, 2, 3, ...; a perturbation with period P acts right after the evaluation at epochs P, 2P,
3P, ...; an epoch that passes is not perturbed.

In continuous time, with perturbations at a rate, drift-diffusion has three more: `PoissonReset`, `FeedbackReset` and
`LogarithmicSwitch`, with ``sample_times``, ``laplace``, ``residual_time``, ``mean_time`` and ``linear_response``.
"""

from fptlib.processes.chain import FiniteChain, Process
from fptlib.processes.diffusion import DriftDiffusion, OrnsteinUhlenbeck
from fptlib.processes.hazards import DelayedGeometric, FrozenMixture, GeometricWithKick, Heterogeneous
from fptlib.processes.poisson import FeedbackReset, LogarithmicSwitch, PoissonPerturbed, PoissonReset
from fptlib.processes.scheduled import Annealed

__all__ = [
    "Annealed",
    "DelayedGeometric",
    "DriftDiffusion",
    "FeedbackReset",
    "FiniteChain",
    "FrozenMixture",
    "GeometricWithKick",
    "Heterogeneous",
    "LogarithmicSwitch",
    "OrnsteinUhlenbeck",
    "PoissonPerturbed",
    "PoissonReset",
    "Process",
]
