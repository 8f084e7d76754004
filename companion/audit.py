"""Predictions held against the truth, many times: how far they are off, and whether their verdicts say so.

A verdict may fail in two ways. It may vouch for a mean that is off by more than the tolerance: *missed*. Or it may not vouch for one that
is right: a *false alarm*, which costs a measurement. Both are shares of repeated studies, each with ensembles of its own, of a process
whose mean is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fptlib.errors import InputError
from fptlib.processes import Process
from fptlib.response.common import samples
from fptlib.response.prediction import Form, predict_all
from fptlib.response.verdicts import ERROR_TOLERANCE, Status
from fptlib.trajectories import Trajectories

N_BOOT = 200  # replicates of each study: verdicts need the ends of intervals to some per cent only


@dataclass(frozen=True, slots=True)
class Audit:
    """What repeated studies predicted for one period, and said of it.

    Parameters
    ----------
    period, exact
        Perturbation period and the true restricted mean, in epochs.
    mean
        Of the predictions of all studies, in epochs.
    covered
        Share of the studies whose interval holds the true mean.
    valid, unverified, not_valid
        Shares of the studies with each status.
    off
        Share of the studies whose prediction lies further from the truth than the tolerance.
    missed
        Share of the studies whose prediction does and is called valid all the same.
    repeats
        Studies.
    """

    period: int
    exact: float
    mean: float
    covered: float
    valid: float
    unverified: float
    not_valid: float
    off: float
    missed: float
    repeats: int

    @property
    def error(self) -> float:
        """Mean prediction relative to the truth, less 1."""
        return self.mean / self.exact - 1.0

    @property
    def false_alarm(self) -> float:
        """Share of the studies whose prediction is right and not called valid."""
        return (1.0 - self.off) - (self.valid - self.missed)


def audit(
    draw: Callable[[np.random.Generator], tuple[Trajectories, Trajectories]],
    exact: Callable[[int], float],
    *,
    period: int,
    periods: Sequence[int],
    threshold: float,
    form: Form = "auto",
    repeats: int = 20,
    tolerance: float = ERROR_TOLERANCE,
    level: float = 0.95,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> tuple[Audit, ...]:
    """Predict again and again from new ensembles of a process whose means are known.

    Parameters
    ----------
    draw
        Gives an unperturbed and a perturbed ensemble, or what is taken for them.
    exact
        Gives the true restricted mean at a period, up to the horizon of the ensembles, in epochs.
    period
        That the perturbed ensemble is said to have.
    periods
        To predict for.
    repeats
        Studies, at least 1.
    threshold, form, tolerance, level, n_boot
        As in `fptlib.response.predict`.
    seed
        Of the studies; each has random numbers of its own.

    Raises
    ------
    InputError
        If there is no study, or as `fptlib.response.predict`.

    Examples
    --------
    Of a memoryless process with a kick form 2 knows the first perturbation only; at a quarter of its period it is far off, and says so.

    >>> from fptlib.processes import GeometricWithKick
    >>> kick = GeometricWithKick(hazard=0.02, kick=0.3)
    >>> def draw(rng):
    ...     return tuple(kick.sample(rng, n_runs=200, horizon=150, period=p) for p in (None, 20))
    >>> (found,) = audit(draw, lambda p: kick.restricted_mean(horizon=150, period=p), period=20, periods=[5], form="2",
    ...                  threshold=0.5, repeats=3)
    >>> found.off, found.missed, round(found.exact, 1)
    (1.0, 0.0, 14.3)
    """
    if repeats < 1:
        raise InputError(f"repeats is {repeats}; at least one study is needed")
    truth = np.array([exact(p) for p in periods])
    means, lows, highs = (np.empty((repeats, len(periods))) for _ in range(3))
    said = np.empty((repeats, len(periods)), dtype=object)
    for k in range(repeats):
        unperturbed, perturbed = draw(np.random.default_rng([seed, k]))
        drawn = samples(
            unperturbed,
            perturbed,
            period=period,
            threshold=threshold,
            direction="above",
            metric=None,
            level=level,
            n_boot=n_boot,
            seed=k,
        )
        for j, (found, _) in enumerate(predict_all(drawn, periods, form=form, tolerance=tolerance)):
            means[k, j], lows[k, j], highs[k, j] = found.mean, found.low, found.high
            said[k, j] = found.verdict.status
    off = np.abs(means / truth - 1.0) > tolerance
    return tuple(
        Audit(
            period=p,
            exact=float(truth[j]),
            mean=float(means[:, j].mean()),
            covered=float(((lows[:, j] <= truth[j]) & (truth[j] <= highs[:, j])).mean()),
            valid=float((said[:, j] == Status.VALID).mean()),
            unverified=float((said[:, j] == Status.UNVERIFIED).mean()),
            not_valid=float((said[:, j] == Status.NOT_VALID).mean()),
            off=float(off[:, j].mean()),
            missed=float((off[:, j] & (said[:, j] == Status.VALID)).mean()),
            repeats=repeats,
        )
        for j, p in enumerate(periods)
    )


def audit_process(
    process: Process,
    *,
    period: int,
    periods: Sequence[int],
    horizon: int,
    n_runs: int = 200,
    n_perturbed: int = 100,
    record: Mapping[str, Any] | None = None,
    said: int | None = None,
    swapped: bool = False,
    **options: Any,
) -> tuple[Audit, ...]:
    """`audit` of ensembles drawn from a process, taken for what they are or for something else.

    Parameters
    ----------
    process, horizon
        Where runs come from, and for how many epochs they are followed.
    period, periods
        Of the perturbed runs, and to predict for.
    n_runs, n_perturbed
        Runs of the two ensembles of each study.
    record
        What a store would say of their training, as ``meta`` of the trajectories.
    said
        The period that they are taken to have, by default their own.
    swapped
        Whether each ensemble is taken for the other.
    **options
        Of `audit`: ``threshold`` (needed), ``form``, ``repeats``, ``tolerance``, ``level``, ``n_boot`` and ``seed``.
    """

    def draw(rng: np.random.Generator) -> tuple[Trajectories, Trajectories]:
        plain = process.sample(rng, n_runs=n_runs, horizon=horizon)
        kicked = process.sample(rng, n_runs=n_perturbed, horizon=horizon, period=period)
        plain, kicked = (replace(runs, meta=dict(record or {})) for runs in (plain, kicked))
        return (kicked, plain) if swapped else (plain, kicked)

    return audit(
        draw,
        lambda p: process.restricted_mean(horizon=horizon, period=p),
        period=period if said is None else said,
        periods=periods,
        **options,
    )
