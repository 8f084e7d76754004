r"""Numbers of runs that a wanted interval needs, from a pilot of a few dozen.

A prediction is put together from two samples: the unperturbed runs give ``RM(P)`` and ``S(P)``, the survivors at ``P0`` the residual
time. Its variance has a part for each, :math:`V_u / n_u + V_s / n_s`, which the bootstrap tells by drawing the one and keeping the other.
With an unperturbed run at ``c_u`` epochs and a survivor at ``c_s`` the cheapest way to a given variance is Neyman's, :math:`n_u : n_s =
\sqrt{V_u / c_u} : \sqrt{V_s / c_s}` (J. R. Stat. Soc. 97, 558, 1934). More runs narrow the sampling part of an interval only: how far a
residual time may change from ``P0`` to another period, and how much a second perturbation counts, stays open.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import special

from fptlib.errors import InputError
from fptlib.record import Record
from fptlib.response.curves import conditional
from fptlib.response.interval import GRADES, OPEN, Source, combined, reach, source, transfer
from fptlib.response.ranking import DEFAULT_PERIODS
from fptlib.response.results import spelt
from fptlib.study import Study

CAUTION = 0.9  # level of the upper bounds behind the cautious numbers
SMALLEST = 10  # runs, and survivors, below which a pilot says nothing about a variance
LEAST = 30  # unperturbed runs, and survivors, that are planned for at least
MIN_WIDTH = 1e-3  # below which no number of runs is practical


@dataclass(frozen=True, slots=True)
class Size(Record):
    """Unperturbed runs, survivors at ``P0``, perturbed runs of which so many are left there, and epochs to train in all."""

    unperturbed: int
    survivors: int
    perturbed: int
    run_epochs: int


@dataclass(frozen=True, slots=True)
class Requirement(Record):
    """Numbers of runs that the prediction at one period needs.

    Of the pilot: mean, width of its sampling interval over the mean, and the share of the unperturbed runs in its variance; ``low`` and
    ``high``, which no number of runs narrows, and the grade that goes with the wanted width. Numbers if the variances of the pilot are
    right (``expected``), and if both are at their upper 90 % bound by chi-squared (``cautious``).
    """

    period: int
    mean: float
    width: float
    unperturbed_share: float
    low: float
    high: float
    grade: str
    expected: Size
    cautious: Size


@dataclass(frozen=True, slots=True)
class SampleSize(Record):
    """Runs needed for sampling intervals of a wanted width at several periods: numbers that suffice for all, and advice in sentences."""

    perturbation: str | None
    period: int
    horizon: int
    level: float
    width: float
    fork: bool
    requirements: tuple[Requirement, ...]
    expected: Size
    cautious: Size
    advice: tuple[str, ...] = ()

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return one row for each period."""
        for r in self.requirements:
            own = {name: value for name, value in r.to_dict().items() if not isinstance(value, dict)}
            yield own | asdict(r.expected) | {f"cautious_{name}": n for name, n in asdict(r.cautious).items()}


def sample_size(
    study: Study,
    width: float = 0.2,
    *,
    periods: Sequence[int] | None = None,
    period: int | None = None,
    fork: bool = False,
) -> SampleSize:
    """Return how many unperturbed runs, and survivors at ``P0``, the sampling part of the intervals of predictions needs.

    The study is a pilot with one perturbed ensemble; or with none and a ``period``, planned as if perturbing changed nothing. A ``width``
    of 0.2 means that neither end of the sampling interval is further than 10 % from the mean. ``periods`` to predict for are by default
    ``P0`` and, with perturbed runs, others from half to twice of it. With ``fork`` perturbed runs continue unperturbed ones from ``P0``
    on: they cost less, and there are no more survivors than the unperturbed runs have. What a run and its fork have in common, being slow
    in both, counts as far as the pilot shows it.

    An InputError is raised if the pilot has fewer than 10 runs or survivors or several perturbed ensembles, or no run passes.

    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
    >>> runs, kicked = (process.sample(np.random.default_rng(4), n_runs=40, horizon=150, period=p) for p in (None, 20))
    >>> size = sample_size(Study(runs, {("kick", 20): kicked}, 0.5), 0.1, periods=[60])
    >>> size.expected.unperturbed > 40, size.expected.survivors, size.requirements[0].grade
    (True, 46, 'to 10 %')
    """
    if not MIN_WIDTH <= width < 2:
        raise InputError(f"width is {width}; it must be {MIN_WIDTH:g} or more and below 2, relative to the mean")
    study.require_passage()
    pilot = _pilot(study, period, fork=fork)
    at, horizon = pilot.origin.period, study.horizon
    near = [p for p in DEFAULT_PERIODS if p < horizon and reach(p, at, 1.0) <= 2 and study.perturbed]
    requested = sorted({at, *near}) if periods is None else list(periods)
    if not requested or not all(1 <= p < horizon for p in requested):
        raise InputError(f"periods are {requested}; one or more from 1 to {horizon - 1}, below the horizon, are needed")
    needs = tuple(_required(pilot, p, width, study.level) for p in requested)
    expected, cautious = (pilot.largest([getattr(need, kind) for need in needs]) for kind in ("expected", "cautious"))
    name = pilot.origin.key[0] or None
    size = SampleSize(name, at, horizon, study.level, width, fork, needs, expected, cautious)
    return replace(size, advice=tuple(_advice(size, study.plain.n_censored)))


@dataclass(frozen=True, slots=True)
class _Pilot:
    origin: Source
    n_runs: int
    left: float  # share of the perturbed runs that is left at P0
    cost_run: float  # epochs of an unperturbed run, and of a survivor with the runs that passed on the way to it
    cost_survivor: float
    fork: bool

    def size(self, n_u: float, n_s: float, *, sure: bool) -> Size:
        """Return whole numbers; the survivors are left on average, or with 90 % to be ``sure``."""
        survivors = math.ceil(n_s - 1e-9)
        n = math.ceil(survivors / self.left - 1e-9)
        while sure and special.bdtrc(survivors - 1, n, self.left) < CAUTION:
            n += max(1, n // 100)
        return self.largest([Size(math.ceil(n_u - 1e-9), survivors, n, 0)])

    def largest(self, sizes: Sequence[Size]) -> Size:
        """Return the least size that is enough for all of them."""
        n_u, n_s, n = (max(getattr(size, name) for size in sizes) for name in ("unperturbed", "survivors", "perturbed"))
        n_u = max(n_u, n) if self.fork else n_u  # what is continued must have been trained
        return Size(n_u, n_s, n, math.ceil(n_u * self.cost_run + n_s * self.cost_survivor))

    def allocate(self, var_u: float, var_s: float, target: float, fewest: float) -> tuple[float, float]:
        """Return the unperturbed runs and survivors that are cheapest for a variance, none below its least."""
        scale = (math.sqrt(var_u * self.cost_run) + math.sqrt(var_s * self.cost_survivor)) / target
        n_s = max(scale * math.sqrt(var_s / self.cost_survivor), fewest)
        n_u = max(var_u / max(target - var_s / n_s, 1e-300), LEAST) if var_u else float(LEAST)
        if n_u == LEAST:
            n_s = max(var_s / (target - var_u / n_u), fewest)
        if self.fork and n_s > n_u * self.left:  # a parent has one survivor at most
            n_u = max((var_u + var_s / self.left) / target, fewest / self.left)
            n_s = n_u * self.left
        return n_u, n_s


def _pilot(study: Study, period: int | None, *, fork: bool) -> _Pilot:
    if len(study.perturbed) > 1:
        raise InputError("the pilot has several perturbed ensembles; plan for one of them, as study.only holds it")
    key = next(iter(study.perturbed), None)
    at = (period or 0) if key is None else key[1]
    if period not in (None, at) or not 1 <= at < study.horizon:
        raise InputError(f"period is {period}; it must be that of the perturbed runs, from 1 to {study.horizon - 1}")
    plain, times = study.ensembles[None].times, study.ensembles[key].times
    alive = times.running(at)
    n, passed = int(alive.sum()), int((alive & times.observed).sum())
    for what, number in (("runs", plain.n_runs), (f"survivors at epoch {at}", n)):
        if number < SMALLEST:
            raise InputError(f"the pilot has {number} {what}; at least {SMALLEST} are needed to estimate a variance")
    nothing = Source(("", at), True, study.survival, conditional(study.survival, at), [], n, passed)
    origin = nothing if key is None else source(study, key)
    before = 0.0 if fork else float(np.minimum(times.time, at).sum()) / n
    costs = float(plain.time.mean()), float(times.time[alive].mean()) - at + before
    return _Pilot(origin, plain.n_runs, float(alive.mean()), *costs, fork)


def _required(pilot: _Pilot, period: int, width: float, level: float) -> Requirement:
    origin, n_u, n_s = pilot.origin, pilot.n_runs, pilot.origin.n_survivors
    kept = [np.broadcast_to(c[:, :1], c.shape) for c in (origin.survival, origin.residual, *origin.seen)]  # not drawn
    runs, low, high = transfer(replace(origin, residual=kept[1], seen=kept[2:]), period)
    survivors, _, _ = transfer(replace(origin, survival=kept[0]), period)
    mean, least, half = float(runs[0]), float(origin.survival[: period + 1, 0].sum()), math.log1p(width / 2)
    defined = np.isfinite(survivors) & (np.arange(len(runs)) > 0)
    table = np.cov(runs[defined], survivors[defined], ddof=0)
    var_u, var_s = float(table[0, 0]) * n_u**2 / (n_u - 1), float(table[1, 1]) * n_s**2 / (n_s - 1)
    # Replicates draw a run with its fork: what they have in common is seen in the covariance.
    paired = max(var_u + 2 * float(table[0, 1]) * n_u**2 / (n_u - 1), 0.05 * var_u) if origin.key[0] else var_u

    def t(n: float) -> float:
        return float(special.stdtrit(min(n, 1e9) - 1, 0.5 + level / 2))

    def needed(factor_u: float, factor_s: float) -> tuple[float, float]:
        numbers = math.inf, math.inf
        for _ in range(2):  # the quantile of t is that of the survivors
            error = half / t(numbers[1])  # standard error of the log of the mean
            passing = ((1 - least / mean) / (2 * error)) ** 2 - 1  # see `fptlib.response.interval.sampling`
            fewest = max(LEAST, passing * (n_s + 1) / (origin.n_passed + 1))
            first = factor_u * (paired if pilot.fork else var_u)
            numbers = pilot.allocate(first, factor_s * var_s, (mean * error) ** 2, fewest)
        return numbers

    upper = ((n - 1) / float(special.chdtri(n - 1, CAUTION)) for n in (n_u, n_s))
    variance = paired / n_u + var_s / n_s
    return Requirement(
        period=period,
        mean=mean,
        width=2 * math.expm1(t(n_s) * math.sqrt(variance) / mean),
        unperturbed_share=paired / n_u / variance if variance else 1.0,
        low=low,
        high=high,
        grade=combined(mean, low, high, half, floor=least, horizon=origin.horizon).grade,
        expected=pilot.size(*needed(1.0, 1.0), sure=False),
        cautious=pilot.size(*needed(*upper), sure=True),
    )


def _advice(size: SampleSize, n_censored: int) -> Iterator[str]:
    e, c, at, name = size.expected, size.cautious, size.period, spelt(size.perturbation or "a perturbation")
    what, sure = (
        f"{e.perturbed} perturbed ones ({name} at epoch {at})",
        f"up to {c.perturbed}, until {c.survivors} are left at epoch {at}",
    )
    if size.fork:
        what, sure = f"fork {e.survivors} of them at epoch {at} ({name})", str(c.survivors)
    yield (
        f"Train {e.unperturbed} unperturbed runs and {what}: about {e.run_epochs} run-epochs. "
        f"To be on the safe side, take {c.unperturbed} and {sure}, about {c.run_epochs} run-epochs."
    )
    wide = ", ".join(str(r.period) for r in size.requirements if r.width > size.width)
    enough = f"the pilot itself is not enough at {wide}" if wide else "the pilot itself is large enough for that"
    yield f"Sampling intervals ({100 * size.level:g} %) are then at most {100 * size.width:g} % of the mean wide; {enough}."
    grades = {grade: [str(r.period) for r in size.requirements if r.grade == grade] for grade in (*GRADES, OPEN)}
    listed = "; ".join(f"{grade} at {', '.join(periods)}" for grade, periods in grades.items() if periods)
    yield f"Predictions are then graded {listed}; no number of runs narrows what may change between period {at} and another."
    if size.perturbation is None:
        yield "There are no perturbed runs yet, and this is planned as if the perturbation changed nothing: plan again with a few."
    if n_censored:
        yield f"{n_censored} unperturbed runs had not reached the threshold by epoch {size.horizon}, where all means end."
