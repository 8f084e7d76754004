# ruff: noqa: T201
"""Do the intervals cover? Simulated processes whose answers are known, many ensembles of each, three intervals from every one.

Run with ``OPENBLAS_NUM_THREADS=1 python benchmarks/interval_coverage.py``; ``--help`` lists the options. The 95 % intervals of
the predicted restricted mean, of the mean residual time and of the unperturbed restricted mean are held against the exact values:
at P0 itself, at other periods where every perturbation counts as observed or the residual time does not depend on the period, under
full resets, and where the residual time drifts, so that a note has to say so.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.processes import (
    DelayedGeometric,
    FiniteChain,
    FrozenMixture,
    GeometricWithKick,
    Heterogeneous,
    OrnsteinUhlenbeck,
)
from fptlib.response import Prediction, predict, recommend
from fptlib.study import Study
from fptlib.trajectories import Trajectories

DELAYED = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
SLOW = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.02)  # most of it beyond the horizon
KICK = GeometricWithKick(hazard=0.02, kick=0.3)
MIXTURE = FrozenMixture(silent=10, good=0.4, good_after=0.6, hazard=0.1)
TYPES = Heterogeneous(hazard=0.01, hazards_after=(0.3, 0.03), window=5)
CHAIN = FiniteChain.birth_death(n_states=6, up=0.3, down=0.2, kick=2)
SHRINK = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=1.5, start=-2.0, shrink=0.4)
RESET = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=1.5, start=-2.0)
DRIFT = OrnsteinUhlenbeck(decay=0.97, noise=0.25, threshold=1.6, start=-3.0, shrink=0.7)  # relaxes within 60 epochs
STUCK = Heterogeneous(hazard=0.002, hazards_after=(0.4,) * 9 + (0.0,), window=10)  # one in ten is stuck
RARE = Heterogeneous(hazard=0.002, hazards_after=(0.4,) * 29 + (0.0,), window=10)  # one in thirty is stuck


@dataclass(frozen=True, slots=True)
class Case:
    """A process, the period P0, the period that is predicted, and the runs: perturbed survivors at P0, and whether seeds are shared.

    Without ``period`` runs start over after every ``at`` epochs, and the survivors are the unperturbed runs. A sample of an ``unseen``
    case may lack a kind of survivor that decides the mean, which no interval can see.
    """

    name: str
    process: Any
    period: int | None
    at: int
    survivors: int
    shared: bool = False
    unseen: bool = False
    horizon: int = 120
    unperturbed: int = 60

    @property
    def label(self) -> str:
        """Name, number of survivors and way of pairing."""
        return f"{self.name}, {self.survivors}{', forks' if self.shared else ''}"


def cases() -> list[Case]:
    """Return all cases of the default study."""
    kinds: list[tuple[str, Any, int | None, int, tuple[int, ...], tuple[int, ...]]] = [
        ("chain", CHAIN, 20, 20, (12, 40), ()),
        ("shrink", SHRINK, 10, 10, (40,), (40,)),
        ("stuck 1:10", STUCK, 20, 20, (12, 40, 100), ()),
        ("stuck 1:30", RARE, 20, 20, (40, 100), ()),
        ("delayed", DELAYED, 20, 60, (12, 40, 100), (40, 100)),
        ("slow", SLOW, 20, 60, (12, 40), (40,)),
        ("reset", RESET, None, 20, (12, 40, 100), ()),
        ("kick", KICK, 20, 10, (12, 40, 100), (40,)),
        ("mixture", MIXTURE, 20, 10, (12, 40, 100), (40,)),
        ("types", TYPES, 20, 10, (40, 100), (40,)),
        ("drift", DRIFT, 10, 60, (40, 100), ()),
    ]
    return [
        Case(name, process, period, at, n, shared, unseen=name == "stuck 1:30")
        for name, process, period, at, *sizes in kinds
        for shared, numbers in zip((False, True), sizes, strict=True)
        for n in numbers
    ]


def studies(case: Case, *, repeats: int, n_boot: int, seed: int) -> Iterator[Study]:
    """Yield studies of a case, all simulated in one go; forks agree with their parents up to P0."""
    n_plain, n_perturbed = case.survivors, 0
    if case.period is not None:
        n_perturbed = round(case.survivors / float(case.process.survival(case.period)[-1]))
        n_plain = n_perturbed if case.shared else case.unperturbed
    seeds = np.random.SeedSequence(seed).spawn(2)
    values = [
        case.process.sample(np.random.default_rng(s), n_runs=n * repeats, horizon=case.horizon, period=p)
        .metrics["test_metric"]
        .reshape(repeats, n, -1)
        if n
        else None
        for s, n, p in (
            (seeds[0], n_plain, None),
            (seeds[0] if case.shared else seeds[1], n_perturbed, case.period),
        )
    ]
    for i in range(repeats):
        plain, perturbed = (
            v if v is None else Trajectories(metrics={"test_metric": v[i]}, run=np.arange(len(v[i])) + offset, meta={})
            for v, offset in zip(values, (0, 0 if case.shared else 10**6), strict=True)
        )
        assert plain is not None
        runs = {} if perturbed is None or case.period is None else {("perturbation", case.period): perturbed}
        try:
            yield Study(plain, runs, case.process.threshold, n_boot=n_boot, seed=i)
        except InputError:  # nobody passed, or nobody is left at P0
            continue


def answers(case: Case, study: Study) -> dict[str, Estimate | Prediction]:
    """Return the three estimates of one study; the residual time only where runs are perturbed."""
    if case.period is None:  # none where no run passes within the period
        restarted = [("prediction", p) for p in recommend(study, [case.at]).predictions if p.period == case.at]
        return {"unperturbed": study.plain, **dict(restarted)}
    prediction = predict(study, [case.at]).at(case.at)
    return {
        "prediction": prediction,
        "residual": study.residual(("perturbation", case.period)),
        "unperturbed": study.plain,
    }


def truths(case: Case) -> dict[str, float]:
    """Return the exact restricted means under perturbation, after the first perturbation, and without any."""
    process, horizon = case.process, case.horizon
    exact = {
        "prediction": process.restricted_mean(horizon=horizon, period=case.at),
        "unperturbed": process.restricted_mean(horizon=horizon),
    }
    if case.period is not None:
        curve = process.survival(horizon, period=case.period)
        exact["residual"] = float(curve[case.period : horizon].sum() / curve[case.period])
    return exact


def coverage(case: Case, *, repeats: int, n_boot: int, seed: int = 0) -> pd.DataFrame:
    """Return how often the intervals cover in many ensembles of a case, a row for each quantity.

    Counts of ensembles: ``repeats``; ``covered``, and the truth ``above`` or ``below`` the interval; ``noted``, with a note on the
    prediction. ``width`` is the mean ratio of the ends.
    """
    exact, rows = truths(case), []
    for study in studies(case, repeats=repeats, n_boot=n_boot, seed=seed):
        for name, answer in answers(case, study).items():
            truth, close = exact[name], 1e-9 * exact[name]  # where nothing varies the interval is a point
            above, below = truth > answer.high + close, truth < answer.low - close
            row = {"quantity": name, "repeats": 1, "covered": not (above or below), "above": above, "below": below}
            noted = isinstance(answer, Prediction) and bool(answer.notes)
            rows.append(row | {"noted": noted, "width": answer.high / answer.low})
    each = pd.DataFrame(rows).groupby("quantity")
    counts = each[["repeats", "covered", "above", "below", "noted"]].sum()
    about = {"case": case.label, "unseen": case.unseen}
    return counts.assign(width=each["width"].mean(), **about).reset_index()


def table(results: pd.DataFrame) -> str:
    """Write lines for people: the share covered in per cent with its exact 95 % interval."""
    lines = results[["case", "quantity"]].copy()
    shares = [stats.binomtest(int(r.covered), int(r.repeats)).proportion_ci(0.95) for r in results.itertuples()]
    covers = 100 * results["covered"] / results["repeats"]
    ends = [f"({100 * share.low:.1f} to {100 * share.high:.1f})" for share in shares]
    lines["covers"] = [f"{c:.1f} {e}" for c, e in zip(covers, ends, strict=True)]
    for name in ("above", "below", "noted"):
        lines[name] = (100 * results[name] / results["repeats"]).round(1)
    lines["width"] = results["width"].round(2)
    lines[""] = np.where(results["unseen"], "unseen kinds", "")
    return lines.to_string(index=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=300, help="ensembles of each case")
    parser.add_argument("--replicates", type=int, default=300, help="of the bootstrap")
    parser.add_argument("--cases", nargs="*", help="names of cases, all by default")
    parser.add_argument("--seed", type=int, default=0)
    options, started = parser.parse_args(arguments), time.perf_counter()
    how = {"repeats": options.repeats, "n_boot": options.replicates}
    chosen = [case for case in cases() if not options.cases or case.name in options.cases]
    results = [coverage(case, **how, seed=options.seed + 1000 * i) for i, case in enumerate(chosen)]
    print(table(pd.concat(results, ignore_index=True)))
    print(
        f"{options.repeats} ensembles of each case, {options.replicates} replicates, {time.perf_counter() - started:.0f} s"
    )


if __name__ == "__main__":
    main()
