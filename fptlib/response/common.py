"""What all predictions beside those of `predict` share: their samples, whether later cycles are like those seen, infinite times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import Direction, Estimate, percentile_interval
from fptlib.response.forms import sum_cycles
from fptlib.response.prediction import check_options, check_periods, common_horizon
from fptlib.response.records import check_labels
from fptlib.response.sample import Sample, draw, estimate
from fptlib.response.verdicts import MIN_SURVIVORS, Replicates, percent, spread, unbounded
from fptlib.trajectories import Trajectories
from fptlib.trajectories.origin import Origin

Repeat = Literal["periodic", "once"]


def samples(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction,
    metric: str | None,
    others: Mapping[int, Trajectories] | None = None,
    repeat: Repeat | None = None,
    random: bool = False,
    level: float,
    n_boot: int,
    seed: int,
) -> list[Sample]:
    """Samples of one or more perturbed ensembles, by period, up to the common horizon, replicates drawn together.

    Where runs ended early, the horizon is the last epoch that enough runs of each ensemble were followed to, see
    `fptlib.firstpassage.FirstPassageTimes.supported`.

    Runs perturbed only ``"once"`` (which their store says, unless ``repeat`` does) have a single cycle, as long as the horizon allows.
    ``random`` says that they were perturbed with a probability, and ``period`` is no period of theirs.

    Raises
    ------
    InputError
        If a period or an option is not possible, or as `fptlib.response.sample.draw`.
    """
    if repeat not in (None, "periodic", "once"):
        raise InputError(f"repeat {repeat!r} is not known; choose periodic or once")
    check_options("auto", level)
    measured = sorted({**(others or {}), period: perturbed}.items())  # their order decides which replicates are drawn
    check_labels(unperturbed, measured, repeat="random" if random else "periodic or once")
    check_periods(unperturbed, measured, None)
    horizon = common_horizon(unperturbed, measured, threshold=threshold, direction=direction, metric=metric)
    _, drawn = draw(
        unperturbed.head(epochs=horizon),
        [(p, runs.head(epochs=horizon)) for p, runs in measured],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    once = [(repeat or Origin.of(runs).repeat) == "once" for _, runs in measured]
    return [
        replace(sample, cycles=sum_cycles([sample.residual.curve])) if single else sample
        for sample, single in zip(drawn, once, strict=True)
    ]


def unlike(sample: Sample, period: int) -> str | None:
    """Why what follows the cycles seen cannot be taken to be like them; ``None`` if it can.

    Runs that pass within ``period`` epochs of the second perturbation (of all later ones, where few meet it) must be as frequent as those
    that do after the first.
    """
    first, p0 = sample.cycles[0], sample.period
    if first.length < period:
        return f"the cycles that were seen are {first.length} epochs long, those asked for {period}"
    if any(cycle.curve[0, period] == 0 for cycle in sample.cycles):
        return None  # nothing follows
    entered = round(sample.n_survivors * float(first.curve[0, -1]))
    if sample.horizon < 3 * p0 or first.length > p0:
        return f"no second cycle was seen after epoch {p0}: the horizon is {sample.horizon}, and perturbations until {2 * p0} need {3 * p0}"
    if len(sample.cycles) < 2 or entered < MIN_SURVIVORS:
        return f"{entered} runs met a second perturbation, and {MIN_SURVIVORS} are needed to see whether it does what the first did"
    passed = [1 - cycle.value(period) for cycle in sample.cycles[:2]]
    low, high = percentile_interval((passed[1] - passed[0])[1:], sample.level)
    if low <= 0 <= high:
        return None
    shares = " and ".join(percent(float(share[0]), sign=False) for share in passed)
    return (
        f"{shares} of the runs pass within {period} epochs of the first and of a later perturbation: the difference is "
        f"{spread((low, high))}, not 0"
    )


def after_entering(entering: Replicates, tau: Replicates) -> Replicates:
    """``S(P) tau``: an infinite time that nobody meets counts for nothing."""
    return np.multiply(entering, tau, out=np.zeros_like(tau), where=entering > 0)


def estimate_unbounded(replicates: Replicates, n_runs: int, n_censored: int, level: float) -> Estimate:
    """Estimate from the data (first entry) and its replicates (the others), some of which may be infinite."""
    if np.isinf(replicates).any():
        return Estimate(float(replicates[0]), *unbounded(replicates, level), n_runs, n_censored, level)
    return estimate(replicates, n_runs, n_censored, level)
