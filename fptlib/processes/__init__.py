"""Simulated first-passage processes under perturbation, with exact answers.

Every process has the same verbs: ``sample`` simulates it, ``survival``, ``mfpt``, ``residual_mean`` and
``restricted_mean`` are exact. Time runs in epochs, T = 1, 2, 3, ...; a perturbation with period P acts right after the
evaluation at epochs P, 2P, 3P, ...; an epoch that passes is not perturbed.
"""

from fptlib.processes.chain import FiniteChain, Process
from fptlib.processes.diffusion import DriftDiffusion, OrnsteinUhlenbeck
from fptlib.processes.hazards import Annealed, DelayedGeometric, FrozenMixture, GeometricWithKick, Heterogeneous

__all__ = [
    "Annealed",
    "DelayedGeometric",
    "DriftDiffusion",
    "FiniteChain",
    "FrozenMixture",
    "GeometricWithKick",
    "Heterogeneous",
    "OrnsteinUhlenbeck",
    "Process",
]
