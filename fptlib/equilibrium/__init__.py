"""Stationary states of stochastic gradient descent: diffusion, currents, entropy production, and samples of a posterior.

A model is a function ``loss(weights, *sample)`` that returns the loss of one sample, regulariser included, as a scalar tensor; data is a
tuple of arrays whose first axes run over samples. The loss of the data is the mean over samples, and that of a batch the mean over the
batch. Everything else goes in and comes out as an array.
"""

from fptlib.equilibrium.samplers import divergence, sampled, simulate
from fptlib.equilibrium.stationary import (
    batch_gradient,
    circulation,
    covariance,
    diffusion,
    effective_loss,
    entropy,
    entropy_production,
    gradients,
    hessian,
    mean_loss,
    minimum,
    swept_area,
)

__all__ = [
    "batch_gradient",
    "circulation",
    "covariance",
    "diffusion",
    "divergence",
    "effective_loss",
    "entropy",
    "entropy_production",
    "gradients",
    "hessian",
    "mean_loss",
    "minimum",
    "sampled",
    "simulate",
    "swept_area",
]
