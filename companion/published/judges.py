"""Six functions that hold a claim against the evidence of a case; each returns what decides, with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from companion import words
from companion.published.steady import steadiness
from fptlib.firstpassage import Estimate, ratio, residual_times, restricted_mean
from fptlib.firstpassage.estimates import binomial_interval
from fptlib.response import Comparison, Ranking, compare, recommend
from fptlib.response.interval import GRADES
from fptlib.study import Key, Study

FEWEST_RUNS = 10  # a bootstrap over fewer runs has no interval to speak of
_NOTHING = Estimate(math.nan, math.nan, math.nan, 0, 0)


class Judgement(NamedTuple):
    """The evidence on a claim: what decides, in words and with its interval, what it is made of, and what else to know."""

    measure: str = ""
    score: Estimate = _NOTHING
    ours: str = ""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """The evidence on one training set-up and threshold.

    ``study`` has all ensembles, ``sources`` are those that predictions are made from; the table of claims asks for cases by ``kinds``.
    ``values`` is the metric of the unperturbed runs, as `steadiness` takes it, and ``best`` the mean over runs of their best metric;
    ``data`` names the published data set, if it is one.
    """

    name: str
    data: str = ""
    kinds: tuple[str, ...]
    title: str
    label: str
    words: str
    study: Study
    sources: tuple[Key, ...]
    values: pd.DataFrame
    best: Mapping[Key | None, Estimate] = field(default_factory=dict)

    @cached_property
    def ranking(self) -> Ranking:
        """What is predicted from the sources at every period with a measurement."""
        return recommend(self.study.only(*self.sources), sorted({period for _, period in self.study.perturbed}))

    @cached_property
    def means(self) -> dict[Key | None, Estimate]:
        """Measured mean of every ensemble that has enough runs, ``None`` the unperturbed one."""
        means = {key: self.study.mean(key) for key in (None, *self.study.perturbed)}
        return {key: mean for key, mean in means.items() if mean.n_runs >= FEWEST_RUNS}

    @cached_property
    def comparison(self) -> Comparison:
        """Predictions beside measurements with a common start: up to ``P`` both have the survival of the same unperturbed runs."""
        curve, measured = self.study.survival[:, 0], {}
        for key in self.study.perturbed:
            tau, start, left = self.study.residual(key), float(curve[: key[1]].sum()), float(curve[key[1]])
            if tau.n_runs >= FEWEST_RUNS:
                mean, low, high = (start + left * x for x in (tau.mean, tau.low, tau.high))
                measured[key] = Estimate(mean, low, high, tau.n_runs, tau.n_censored)
        return compare(self.ranking, measured)

    @cached_property
    def steadiness(self) -> pd.DataFrame:
        """Tests of whether the metric of the unperturbed runs still changes."""
        return steadiness(self.values, self.study.ensembles[None].times)


def verdict(score: Estimate, accepted: Sequence[float]) -> str:
    """Hold an interval against the accepted values: an equivalence test (two one-sided tests) in its interval form."""
    if math.isnan(score.low) or math.isnan(score.high):
        return "cannot be tested"
    if accepted[0] <= score.low and score.high <= accepted[1]:
        return "reproduces"
    return "does not reproduce" if score.high < accepted[0] or score.low > accepted[1] else "undecided"


def spell(estimate: Estimate, digits: int = 1) -> str:
    """Write an estimate with its interval, if it has one."""
    mean, low, high = (f"{x:.{digits}f}" for x in (estimate.mean, estimate.low, estimate.high))
    return mean if estimate.low == estimate.high or math.isnan(estimate.low) else f"{mean} ({low} to {high})"


def steady(case: Case, *, lag: int | str, survivors: bool, by: str) -> Judgement:
    """Test that the metric no longer changes from P0 on, by the largest distance or the smallest p-value times the number of pairs."""
    start, table = min(period for _, period in case.sources), case.steadiness
    tests = table[(table["lag"] == lag) & (table["survivors"] == survivors) & (table["epoch"] >= start)]
    if tests.empty:
        return Judgement(note=f"no such pair of epochs from {start} on with enough runs at both")
    far, (p, p_bootstrap) = tests["distance"], (tests[name].min() * len(tests) for name in ("p_value", "p_bootstrap"))
    rejected = ", ".join(f"{row.epoch} and {row.later}" for row in tests[tests["p_value"] < 0.05].itertuples())
    ours = f"distances of {far.min():.2f} to {far.max():.2f} in {len(tests)} pairs"
    note = f"pairs with p below 0.05: {rejected or 'none'}; the bootstrap over runs gives a corrected p-value of {p_bootstrap:.2g}"
    if by == "distance":
        return Judgement("largest distance", Estimate(*(float(far.max()),) * 3, 0, 0), ours, note)
    return Judgement("smallest p-value times the number of pairs", Estimate(*(min(1.0, p),) * 3, 0, 0), ours, note)


def residual(case: Case) -> Judgement:
    """Test that the mean residual time after later periods is that after P0, over the epochs that the longest leaves; the furthest off.

    Periods count after which `FEWEST_RUNS` runs passed: where hardly any does, the mean is the time that was watched, whatever the process.
    """
    (source,), left, taus = case.sources, case.study.horizon - max(period for _, period in case.study.perturbed), {}
    for key in case.study.perturbed:
        times = residual_times(case.study.ensembles[key].times, period=key[1])
        if key[1] >= source[1] and (times.observed & (times.time <= left)).sum() >= FEWEST_RUNS:
            taus[key] = restricted_mean(times, horizon=left)
    if source not in taus or len(taus) < 2:
        return Judgement(note=f"at too few periods do {FEWEST_RUNS} perturbed runs reach the threshold")
    ratios = {key: ratio(tau, taus[source]) for key, tau in taus.items() if key != source}
    worst = max(ratios, key=lambda key: abs(math.log(ratios[key].mean)))
    ours = f"{spell(taus[worst])} epochs at P = {worst[1]}, {spell(taus[source])} at P0 = {source[1]}"
    note = f"the largest deviation among periods {', '.join(str(period) for _, period in ratios)}; times restricted to {left} epochs"
    return Judgement("residual time / that at P0", ratios[worst], ours, note)


def coverage(case: Case) -> Judgement:
    """Count the predictions whose interval agrees with the measurement, noise allowed for; the share has a binomial interval."""
    cells = [cell for cell in case.comparison.cells if not cell.at_horizon]
    if not cells:
        return Judgement(note="nothing to compare")
    n, bare = (sum(getattr(cell, name) for cell in cells) for name in ("covered", "covered_bare"))
    missed = [f"P = {c.prediction.period} (measured {spell(c.measured)})" for c in cells if not c.covered]
    ours, note = (
        f"{n} of {len(cells)}; {bare} contain the measured mean itself",
        f"missed: {'; '.join(missed) or 'none'}",
    )
    low, high = (float(end[0]) for end in binomial_interval(np.array([n]), np.array([len(cells)]), 0.95))
    return Judgement("share of predictions covered", Estimate(n / len(cells), low, high, 0, 0), ours, note)


def error(case: Case, *, grades: Sequence[str], within: float | None = None) -> Judgement:
    """Test that predictions are as right as their grades say, or all within one factor; the one furthest off, relative to that.

    The interval of the score has that of the measurement and, of the prediction, the part that runs would narrow.
    """
    scores = []
    for cell in case.comparison.cells:
        if cell.prediction.grade in grades and not cell.at_horizon:
            centre = Estimate(cell.prediction.centre, *cell.prediction.sampling, 0, 0)
            off, allowed = ratio(centre, cell.measured), math.log(within or GRADES[cell.prediction.grade])
            mean, *ends = (abs(math.log(x)) / allowed for x in (off.mean, off.low, off.high))
            low = 0.0 if off.low <= 1 <= off.high else min(ends)
            scores.append((Estimate(mean, low, max(ends), cell.measured.n_runs, 0), cell.prediction, cell.measured))
    if not scores:
        return Judgement(note=f"no prediction is graded {' or '.join(grades)}")
    score, worst, measured = max(scores, key=lambda each: each[0].mean)
    good = [str(p) for p in sorted(each[1].period or 0 for each in scores if each[0].mean <= 1)]
    measure = f"largest error / the error that {'is allowed' if within else 'its grade allows'}, on the log scale"
    note = f"{len(good)} of {len(scores)} are within the allowed error, at periods {', '.join(good)}"
    return Judgement(
        measure, score, f"at P = {worst.period} {spell(worst.estimate)} epochs, measured {spell(measured)}", note
    )


def means(case: Case, *, first: str, second: str) -> Judgement:
    """Divide two means, each that of doing nothing, the best measured ensemble, the choice, or the best of a perturbation."""
    key, other = _pick(case, first), _pick(case, second)
    if missing := [words(k) for k in (key, other) if k not in case.means]:
        return Judgement(note=f"{missing[0]}: not measured, or in fewer than {FEWEST_RUNS} runs")
    score = Estimate(1.0, 1.0, 1.0, 0, 0) if key == other else ratio(case.means[key], case.means[other])
    ours = f"{spell(case.means[key])} epochs, {words(key)}; {spell(case.means[other])}, {words(other)}"
    note = "the smallest of several measured means is optimistic" if "best" in first + second else ""
    return Judgement(f"mean of {first} / {second}", score, ours, note)


def gain(case: Case) -> Judgement:
    """Test that the best metric of a run is larger with a perturbation, at the period where it is largest on average."""
    key = max((k for k in case.best if k is not None), key=lambda k: case.best[k].mean)
    best, plain, digits = case.best[key], case.best[None], 3 if case.best[key].mean < 1 else 1
    ours = f"{spell(best, digits)}, {words(key)}; {spell(plain, digits)} without"
    return Judgement(
        "best metric / that without", ratio(best, plain), ours, "the largest of several means is optimistic"
    )


JUDGES: dict[str, Callable[..., Judgement]] = {f.__name__: f for f in (steady, residual, coverage, error, means, gain)}


def _pick(case: Case, name: str) -> Key | None:
    """Return the ensemble that a name of the table of claims means; ``None``: the unperturbed one."""
    choice, names = case.ranking.choice, {key[0] for key in case.study.perturbed}
    if name == "doing nothing" or (name == "choice" and choice.perturbation is None):
        return None
    if name == "choice":
        return str(choice.perturbation), choice.period or 0
    winner = next(p.perturbation for p in case.ranking.predictions if p.perturbation in names)
    labels = {"best": names, "best of the predicted perturbation": {winner}, "best of the other": names - {winner}}[
        name
    ]
    return min((key for key in case.means if key and key[0] in labels), key=lambda key: case.means[key].mean)
