"""Does a rare perturbation help? The slope of the restricted mean with the probability to perturb, at none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, residual_times
from fptlib.record import Record
from fptlib.response.curves import conditional, held
from fptlib.study import Study


@dataclass(frozen=True, slots=True)
class LinearResponse(Record):
    """Response of the restricted mean to a rare perturbation: one, at a random epoch before the threshold is reached.

    ``after`` and ``without`` are the mean times left, within the horizon ``H``, after a perturbation at a random epoch that was not the
    last, and without it; ``slope``, in epochs, is ``d E min(T_p, H) / dp`` at ``p = 0``: ``(<min(T, H)> - 1)`` times their difference.
    """

    slope: Estimate
    after: Estimate
    without: Estimate

    @property
    def helps(self) -> bool | None:
        """True if a rare perturbation shortens the training runs; ``None`` where the interval of the slope holds 0."""
        return None if self.slope.low <= 0 <= self.slope.high else self.slope.high < 0


def linear_response(study: Study) -> LinearResponse:
    """Return the slope of the restricted mean with the probability to perturb after an epoch, at zero.

    The residual time is taken to be the same after a perturbation at any epoch, as in a quasi-steady state. Runs that were perturbed only
    once suit best: of others the later perturbations count too. Several perturbed ensembles, or none, raise an InputError.

    Notes
    -----
    ``sum over t = 1 .. H - 1 of S(t) E min(tau, H - t)``, less ``sum over t of t S(t)``.

    References
    ----------
    T. D. Keidar and S. Reuveni, arXiv:2410.16129.
    """
    if len(study.perturbed) != 1:
        raise InputError(f"the study has {len(study.perturbed)} perturbed ensembles; take one, as study.only holds it")
    (key,) = study.perturbed
    times, horizon = study.ensembles[None].times, study.horizon
    running, epoch = study.survival[1:-1], np.arange(1, horizon)[:, None]  # (H - 1, replicates)
    left = np.cumsum(held(conditional(study.curve(key), key[1]), horizon), axis=0)[horizon - 1 - epoch[:, 0]]
    moment, mass = (running * epoch).sum(axis=0), np.maximum(running.sum(axis=0), 1e-300)
    total = (running * left).sum(axis=0)
    survivors = residual_times(study.ensembles[key].times, period=key[1])
    return LinearResponse(
        slope=study.estimate(total - moment, survivors),
        after=study.estimate(total / mass, survivors),
        without=study.estimate(moment / mass, times),
    )
