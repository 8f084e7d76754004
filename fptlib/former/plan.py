r"""Numbers of runs that a wanted interval needs, from a pilot of a few dozen.

A prediction is put together from two samples: the unperturbed runs give ``RM(P)`` and ``S(P)``, the survivors at ``P0`` the residual
time. Its variance is a part for each,

.. math:: \mathrm{Var} = \frac{V_u}{n_u} + \frac{V_s}{n_s},

and the pilot says how large they are: by the jackknife, from what the prediction becomes without one run. With an unperturbed run at
``c_u`` epochs and a survivor at ``c_s``, the cheapest way to a given variance is that of Neyman, ``n_u : n_s = sqrt(V_u / c_u) :
sqrt(V_s / c_s)``.

References
----------
J. Neyman, J. R. Stat. Soc. 97, 558 (1934). B. Efron and C. Stein, Ann. Stat. 9, 586 (1981).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, require_passage
from fptlib.former.common import check_level, horizons
from fptlib.former.pilot import Pilot, common, variance
from fptlib.former.records import check_labels
from fptlib.former.seeds import Ensemble
from fptlib.former.verdicts import MIN_SURVIVORS
from fptlib.trajectories import Direction, Target, Trajectories

CAUTION = 0.9  # share of the replicates of a pilot for which the cautious numbers are enough
MIN_WIDTH = 1e-3  # relative width below which no number of runs is practical
_PLAN_BOOT = 1000
_MIN_UNPERTURBED = 30


@dataclass(frozen=True, slots=True)
class Size:
    """Numbers of runs, and what they cost.

    Parameters
    ----------
    unperturbed
        Unperturbed runs.
    survivors
        Perturbed runs still below the threshold at ``P0``.
    perturbed
        Perturbed runs to start so that so many are left at ``P0``; none of them is trained anew up to ``P0`` where they are forked.
    run_epochs
        Epochs to train in all, runs being retired at their passage.
    """

    unperturbed: int
    survivors: int
    perturbed: int
    run_epochs: int


@dataclass(frozen=True, slots=True)
class Requirement:
    """Numbers of runs that the prediction at one period needs.

    Parameters
    ----------
    period, form
        Period to predict for, and the form of the theory that the prediction is made by.
    mean, pilot_width
        Predicted mean in the pilot, and the width of its interval, in epochs.
    unperturbed_share
        Share of the pilot's variance that its unperturbed runs cause.
    expected, cautious
        Numbers of runs if the pilot's variances are right, and such that they suffice for nine in ten replicates of the pilot.
    """

    period: int
    form: int
    mean: float
    pilot_width: float
    unperturbed_share: float
    expected: Size
    cautious: Size


@dataclass(frozen=True, slots=True)
class Plan:
    """Runs needed for intervals of a wanted width.

    Parameters
    ----------
    period, horizon, level, relative_width
        Period ``P0`` of the perturbed runs, last epoch used, level of the intervals and their width, upper less lower end over the mean.
    fork
        Whether perturbed runs continue unperturbed ones, and so are trained from ``P0`` on only.
    requirements
        One for each period, in the order asked for.
    expected, cautious
        Numbers of runs that suffice for all these periods.
    notes
        What to know before relying on this.
    """

    period: int
    horizon: int
    level: float
    relative_width: float
    fork: bool
    requirements: tuple[Requirement, ...]
    expected: Size
    cautious: Size
    notes: tuple[str, ...]


def plan(
    unperturbed: Trajectories,
    perturbed: Trajectories | None = None,
    *,
    period: int,
    threshold: float,
    periods: Sequence[int],
    relative_width: float = 0.2,
    direction: Direction = "above",
    metric: str | None = None,
    fork: bool = False,
    level: float = 0.95,
    n_boot: int = _PLAN_BOOT,
    seed: int = 0,
) -> Plan:
    """Return how many unperturbed runs and survivors at ``P0`` predictions need for intervals of a wanted width.

    Parameters
    ----------
    unperturbed, perturbed
        The pilot. Without perturbed runs it is planned as if the perturbation changed nothing.
    period
        Perturbation period ``P0``, in epochs.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    periods
        Periods to predict for, in epochs, each from 1 to the horizon, which is that of `fptlib.former.predict`: the last epoch that
        enough runs were followed to.
    relative_width
        Wanted width of the interval, upper less lower end, over the predicted mean: 0.2 is about plus or minus 10 %.
    fork
        Whether perturbed runs continue unperturbed ones from epoch ``P0`` on: they cost less, and there are no more survivors than the
        unperturbed runs have.
    level
        Confidence level of the interval.
    n_boot, seed
        Replicates of the pilot behind the cautious numbers, and the seed of their random numbers.

    Raises
    ------
    InputError
        If the pilot has fewer than 10 runs or survivors, no run passes, or an option is not possible.

    Notes
    -----
    Intervals are taken as those of t for the survivors, which holds for the numbers that come out; 30 runs and 30 survivors are the
    least. Where the perturbed runs of the pilot continue unperturbed ones and those of the plan will too, what the two have in common,
    a run that is slow in both, is counted as well. Form 4 needs no perturbed runs at all: a full reset is not planned here.

    Examples
    --------
    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
    >>> runs, kicked = (process.sample(np.random.default_rng(4), n_runs=40, horizon=150, period=p) for p in (None, 20))
    >>> answer = plan(runs, kicked, period=20, threshold=0.5, periods=[60], relative_width=0.1)
    >>> answer.expected.unperturbed > 40, answer.expected.survivors
    (True, 44)
    """
    check_level(level)
    if not MIN_WIDTH <= relative_width < 2:
        raise InputError(
            f"relative_width is {relative_width}; it must be {MIN_WIDTH:g} or more and below 2, the whole width over the mean"
        )
    check_labels(unperturbed, [] if perturbed is None else [(period, perturbed)])
    stand_in = unperturbed if perturbed is None else perturbed
    if not periods:
        raise InputError("periods is empty; name at least one period to predict for")
    target = Target(threshold, direction, metric)
    _, horizon = horizons(unperturbed, [(period, stand_in)], periods, **target.to_dict())
    if beyond := [p for p in periods if p > horizon]:
        raise InputError(f"period {beyond[0]} is beyond epoch {horizon}, the last that enough runs were followed to")
    plain, kicked = (
        Ensemble(head.metric(metric), first_passage(head, target), at)
        for runs, at in ((unperturbed, None), (stand_in, period))
        for head in (runs.head(epochs=horizon),)
    )
    require_passage(target, unperturbed=plain.values, perturbed=kicked.values)
    pilot = Pilot.of(plain, kicked, horizon=horizon, kicked=perturbed is not None)
    needs = [
        _require(pilot, p, level=level, relative_width=relative_width, fork=fork, weights=pilot.weights(n_boot, seed))
        for p in periods
    ]
    return Plan(
        period=period,
        horizon=horizon,
        level=level,
        relative_width=relative_width,
        fork=fork,
        requirements=tuple(needs),
        expected=_largest(pilot, [need.expected for need in needs], fork=fork),
        cautious=_largest(pilot, [need.cautious for need in needs], fork=fork),
        notes=_notes(pilot, relative_width, needs),
    )


def _largest(pilot: Pilot, sizes: Sequence[Size], *, fork: bool) -> Size:
    """Return the least size that is enough for all of `sizes`."""
    n_u, n_s, n_p = (max(getattr(size, name) for size in sizes) for name in ("unperturbed", "survivors", "perturbed"))
    n_u = max(n_u, n_p) if fork else n_u  # what is continued must have been trained
    cost_u, cost_s = pilot.costs(fork=fork)
    return Size(n_u, n_s, n_p, math.ceil(n_u * cost_u + n_s * cost_s))


def _require(
    pilot: Pilot,
    period: int,
    *,
    level: float,
    relative_width: float,
    fork: bool,
    weights: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> Requirement:
    z = float(stats.norm.ppf(0.5 + level / 2))
    mean, by_run, by_survivor = pilot.parts(period)
    first, second = weights
    among = second[:, pilot.alive]
    left = among.sum(axis=1, keepdims=True)  # share that is left at P0
    among = among / np.where(left > 0, left, 1.0)
    # Mean, variances and costs of the pilot (first entry) and of each replicate.
    means = mean + first @ by_run + among @ by_survivor
    var_u, var_s = variance(first, by_run), variance(among, by_survivor)
    shared = common(among, by_run, by_survivor, pilot.parent)
    if fork:
        var_u = np.maximum(var_u + 2 * shared, 0.05 * var_u)
    cost_u = first @ pilot.times.time
    cost_s = among @ pilot.residual_time + (0.0 if fork else (second @ pilot.before) / left[:, 0].clip(1e-9))
    target = (relative_width * means / (2 * z)) ** 2
    first_guess = _allocate(var_u, var_s, cost_u, cost_s, left[:, 0], target, fork=fork)
    sizes = _allocate(
        var_u, var_s, cost_u, cost_s, left[:, 0], target / _widening(first_guess[1], level) ** 2, fork=fork
    )
    n_u, n_s, n_p = (np.quantile(n, CAUTION, method="higher") for n in sizes)
    expected = Size(int(sizes[0][0]), int(sizes[1][0]), int(sizes[2][0]), 0)
    cautious = Size(int(n_u), int(n_s), int(max(n_p, _starts(float(n_s), float(left[0, 0])))), 0)
    own = var_u[0] if fork else max(var_u[0] + 2 * shared[0], 0.05 * var_u[0])
    pilot_var = np.array([own / pilot.times.n_runs, var_s[0] / len(by_survivor)])
    return Requirement(
        period=period,
        form=pilot.form(period),
        mean=mean,
        pilot_width=float(2 * z * _widening(np.array(len(by_survivor)), level) * np.sqrt(pilot_var.sum())),
        unperturbed_share=float(pilot_var[0] / pilot_var.sum()) if pilot_var.any() else 1.0,
        expected=_largest(pilot, [expected], fork=fork),
        cautious=_largest(pilot, [cautious], fork=fork),
    )


def _allocate(
    var_u: NDArray[np.float64],
    var_s: NDArray[np.float64],
    cost_u: NDArray[np.float64],
    cost_s: NDArray[np.float64],
    left: NDArray[np.float64],
    target: NDArray[np.float64],
    *,
    fork: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the unperturbed runs, survivors and perturbed runs to start that are cheapest for a variance; all arrays ``(replicates,)``."""
    scale = (np.sqrt(var_u * cost_u) + np.sqrt(var_s * cost_s)) / target
    n_u = np.maximum(scale * np.sqrt(var_u / cost_u), _MIN_UNPERTURBED)
    n_s = np.maximum(scale * np.sqrt(var_s / cost_s), MIN_SURVIVORS)
    # Where one of the two is at its least, the other may be smaller; what is left of the variance is its own.
    few_s, few_u = n_s == MIN_SURVIVORS, n_u == _MIN_UNPERTURBED
    with np.errstate(divide="ignore"):
        alone_u = np.where(target > var_s / n_s, var_u / np.maximum(target - var_s / n_s, 1e-300), np.inf)
        alone_s = np.where(target > var_u / n_u, var_s / np.maximum(target - var_u / n_u, 1e-300), np.inf)
    n_u = np.where(few_s, np.maximum(np.minimum(n_u, alone_u), _MIN_UNPERTURBED), n_u)
    n_s = np.where(few_u & ~few_s, np.maximum(np.minimum(n_s, alone_s), MIN_SURVIVORS), n_s)
    if fork:  # a parent has one survivor at most
        short = n_s > n_u * left
        n_u = np.where(
            short, np.maximum((var_u + var_s / left.clip(1e-9)) / target, MIN_SURVIVORS / left.clip(1e-9)), n_u
        )
        n_s = np.where(short, n_u * left, n_s)
    n_u, n_s = np.ceil(n_u - 1e-9), np.ceil(n_s - 1e-9)
    return n_u, n_s, np.ceil(n_s / left.clip(1e-9) - 1e-9)


def _widening(n: NDArray[np.float64] | NDArray[np.int64], level: float) -> NDArray[np.float64]:
    """Return how much wider than normal the interval from n survivors is, see `fptlib.firstpassage.resampling.corrected_interval`."""
    t = stats.t.ppf(0.5 + level / 2, np.maximum(n, 2) - 1) * np.sqrt(n / (np.maximum(n, 2) - 1))
    return np.asarray(t / stats.norm.ppf(0.5 + level / 2))


def _starts(survivors: float, left: float) -> int:
    """Return the runs to start so that with probability `CAUTION` at least `survivors` of them are left."""
    n = math.ceil(survivors / left)
    while stats.binom.sf(survivors - 1, n, left) < CAUTION:
        n += max(1, n // 100)
    return n


def _notes(pilot: Pilot, relative_width: float, needs: Sequence[Requirement]) -> tuple[str, ...]:
    notes = []
    if not pilot.kicked:
        notes.append(
            "there are no perturbed runs yet: survivors are planned as if the perturbation changed nothing; plan again once some are there"
        )
    lost = int(np.sum(~pilot.times.observed))
    if lost:
        notes.append(
            f"{lost} of {pilot.times.n_runs} unperturbed runs had not passed by epoch {pilot.horizon}: means are restricted to that horizon"
        )
    reached = [str(r.period) for r in needs if r.pilot_width <= relative_width * r.mean]
    if reached:
        notes.append(f"the pilot itself is large enough for period {', '.join(reached)}")
    return tuple(notes)
