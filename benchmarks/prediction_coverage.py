# ruff: noqa: T201
"""How well prediction intervals cover, what a grade is worth and what the rule for choosing costs, on every ensemble at hand.

Run with ``OPENBLAS_NUM_THREADS=1 python benchmarks/prediction_coverage.py``; ``--help`` lists the options. It writes
``book/results/prediction_coverage``.

- A *setting* is data, network and optimiser: the published ones (ResNet-18 on CIFAR-10 and CIFAR-100, a fully connected network judged
  by SSIM) and the kept experiments. Perturbations, thresholds and P0 are averaged within a setting, then settings are averaged.
- The truth is the restricted mean of the perturbed ensemble alone at the common horizon.
- A *cell* is a prediction from one P0 for another measured period. It counts unless prediction and truth both lie within 0.1 % of the
  horizon, and if any run of the evidence reaches the threshold.
- *Covered* allows for the noise of the truth: on the log scale the distances of both intervals add as squares. *Bare* asks whether the
  measured mean lies inside; *meet* whether the two intervals meet.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd

from companion import ROOT, experiments, published
from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, restricted_mean
from fptlib.response import Prediction, recommend
from fptlib.response.interval import GRADES, OPEN, carried, source
from fptlib.response.ranking import choose
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories

RESULTS = ROOT / "book" / "results" / "prediction_coverage"
EXPONENTS = {"0": 0.0, "1/6": 1 / 6, "1/4": 1 / 4, "1/3": 1 / 3, "1/2": 1 / 2}
CHOSEN = "1/3"
SOURCES = {  # periods P0; of the published sets the one nearest to a quarter of the horizon that leaves 30 survivors, and others
    "cifar10": (20, 50, 100),
    "cifar100": (20, 30),
    "cifar100_momentum": (30, 50),
    "fc_adam": (15, 40),
    "kept": (20, 30),
}
CIFAR10_THRESHOLDS = tuple(float(t) for t in range(71, 85))
DRAWN_THRESHOLDS = (71.0, 72.0, 74.0, 76.0, 78.0, 81.0)  # of CIFAR-10, for few runs
SIZES = (5, 8, 20)
AT_HORIZON = 0.999  # of the horizon
CASE = ["setting", "perturbation", "threshold", "source"]
Times = Mapping[int | None, FirstPassageTimes]  # by period; None without perturbation


@dataclass(frozen=True)
class Case:
    """Ensembles of one setting with one perturbation at one threshold.

    Parameters
    ----------
    setting, perturbation, threshold
        What was measured.
    horizon
        Common horizon, in epochs.
    sources
        Periods P0 to predict from.
    times
        First-passage times by period, ``None`` without perturbation.
    shared
        Whether runs of the same label have the same seed in all ensembles, which are then drawn together.
    replicates
        Of the bootstrap of the truths.
    """

    setting: str
    perturbation: str
    threshold: float
    horizon: int
    sources: tuple[int, ...]
    times: Times
    shared: bool
    replicates: int = 2000
    truths: dict[int | None, Estimate] = field(default_factory=dict)

    @property
    def periods(self) -> list[int]:
        """Measured periods, in order."""
        return sorted(period for period in self.times if period is not None)

    def truth(self, period: int | None) -> Estimate:
        """Return the restricted mean of one ensemble alone."""
        if period not in self.truths:
            self.truths[period] = restricted_mean(self.times[period], horizon=self.horizon, n_boot=self.replicates)
        return self.truths[period]

    def regret(self, period: int | None) -> float:
        """Return by how much a period takes longer than the best measured one, relative to it."""
        return self.truth(period).mean / min(self.truth(p).mean for p in self.times) - 1

    def name(self, source: int | None) -> dict[str, Any]:
        """Return the columns `CASE` of a prediction from a period P0."""
        return dict(zip(CASE, (self.setting, self.perturbation, self.threshold, source), strict=True))

    def tells(self, source: int, times: Times | None = None) -> bool:
        """Test whether runs perturbed with a period tell anything: some run is left at it, and some run reaches the threshold."""
        plain, perturbed = ((self.times if times is None else times)[period] for period in (None, source))
        return bool(perturbed.running(source).any() and (plain.observed.any() or perturbed.observed.any()))

    def study(self, *sources: int, n_boot: int, times: Times | None = None) -> Study:
        """Return the study of perturbed ensembles, of all runs or of those given."""
        times = self.times if times is None else times
        runs = {period: _followed(times[period], self.horizon) for period in (None, *sources)}
        perturbed = {(self.perturbation, period): runs[period] for period in sources}
        return Study(runs[None], perturbed, Target(1.5), n_boot=n_boot)

    def draw(self, size: int, rng: np.random.Generator) -> Times:
        """Draw so many runs of each ensemble without replacement, or all where it has no more; of shared seeds the same in all."""
        labels = {period: times.run for period, times in self.times.items()}
        seeds = np.unique(np.concatenate([*labels.values()]))
        rank = rng.permutation(len(seeds))
        if self.shared:  # not those that no perturbed ensemble has
            rank[~np.isin(seeds, np.concatenate([run for period, run in labels.items() if period]))] += len(seeds)
        drawn = {period: np.argsort(rank[np.searchsorted(seeds, run)])[:size] for period, run in labels.items()}
        return {period: _part(times, drawn[period]) for period, times in self.times.items()}


def _followed(times: FirstPassageTimes, horizon: int) -> FirstPassageTimes | Trajectories:
    """Return times that tell how far runs were followed: where all passed, as trajectories up to the horizon."""
    if times.n_censored:
        return times
    passed = np.arange(1, horizon + 1) >= times.time[:, None]  # (runs, epochs)
    return Trajectories(metrics={"passed": 1.0 + passed}, run=times.run)


def _part(times: FirstPassageTimes, chosen: np.ndarray) -> FirstPassageTimes:
    return FirstPassageTimes(time=times.time[chosen], observed=times.observed[chosen], run=times.run[chosen])


def published_cases(name: str, thresholds: Sequence[float] | None = None) -> Iterator[Case]:
    """Yield the cases of a published data set."""
    known = published.dataset(name)
    for perturbation, periods in known.periods.items():
        for threshold in thresholds or known.thresholds:
            times = {period: published.times(threshold, perturbation, period, data=name) for period in periods}
            plain = {None: published.times(threshold, data=name)}
            yield Case(name, perturbation, threshold, known.horizon, SOURCES[name], plain | times, known.shared_seeds)


def kept_cases() -> Iterator[Case]:
    """Yield the cases of the kept experiments, whose ensembles share their seeds."""
    kept, _ = experiments.read_rows(experiments.load_rows())
    for name, ensembles in kept.items():
        row = ensembles.row
        target = ensembles.target
        for perturbation in row.perturbations:
            keys = {None: None} | {period: (perturbation, period) for period in (row.period, *row.periods)}
            times = {period: first_passage(ensembles.of(key), target) for period, key in keys.items()}
            yield Case(name, perturbation, target.threshold, row.epochs, SOURCES["kept"], times, shared=True)


def all_cases(thresholds: Sequence[float] = CIFAR10_THRESHOLDS) -> list[Case]:
    """Return the cases of all settings that tell anything."""
    sets = [published_cases("cifar10", thresholds), *map(published_cases, published.SUPPLEMENTARY), kept_cases()]
    return [case for cases in sets for case in cases if any(map(case.tells, case.sources))]


# -- Cells: predictions beside measurements


def cells(case: Case, *, exponents: Mapping[str, float], n_boot: int) -> list[dict[str, Any]]:
    """Return the predictions of a case from each P0 for every other measured period, a row for each exponent."""
    rows = []
    for p0 in case.sources:
        if not case.tells(p0):
            continue
        study = case.study(p0, n_boot=n_boot)
        origin = source(study, (case.perturbation, p0))
        about = case.name(p0) | {
            "survivors": origin.n_survivors,
            "alike": passed_alike(case.times[p0], p0, case.horizon),
        }
        for period in case.periods:
            for label, exponent in exponents.items():
                if period != p0:
                    interval, _ = carried(origin, period, level=study.level, exponent=exponent)
                    rows.append(about | {"exponent": label} | cell(case, period, interval))
    return rows


def cell(case: Case, period: int, predicted: Any) -> dict[str, Any]:
    """Return one prediction, which has a centre, ends, a factor and a grade, beside the measurement."""
    truth = case.truth(period)
    return {
        "period": period,
        "predicted": predicted.centre,
        "low": predicted.low,
        "high": predicted.high,
        "factor": predicted.factor,
        "grade": predicted.grade,
        "measured": truth.mean,
        "measured_low": truth.low,
        "measured_high": min(truth.high, case.horizon),
        "runs": truth.n_runs,
        "horizon": case.horizon,
    }


def judged(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the cells that count, with the columns ``bare``, ``covered`` and ``meet`` (see the head of this file) and ``off``."""
    table = pd.DataFrame(rows)
    at_end = AT_HORIZON * table["horizon"]
    known = table["predicted"].notna()
    table = table[~((table["predicted"].where(known, table["high"]) >= at_end) & (table["measured"] >= at_end))].copy()
    centre, low, high, measured = (np.log(table[name]) for name in ("predicted", "low", "high", "measured"))
    least, most = np.log(table["measured_low"]), np.log(table["measured_high"])
    close = 1e-9
    table["bare"] = (low <= measured + close) & (measured <= high + close)
    table["meet"] = (low <= most + close) & (least <= high + close)
    above = measured - centre <= np.hypot(high - centre, measured - least) + close
    below = centre - measured <= np.hypot(centre - low, most - measured) + close
    table["covered"] = (above & below).where(centre.notna(), table["meet"])
    table["off"] = (table["predicted"] / table["measured"] - 1).abs()
    for name, most_off in GRADES.items():
        table[name] = table["factor"] <= most_off + 1e-12
    return table


SHARES = ["meet", "covered", "bare", *list(GRADES)]


def by_setting(table: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Return the shares of each setting, all of its cells counted alike."""
    return table.groupby([*keys, "setting"], sort=False)[SHARES].mean()


def over_settings(shares: pd.DataFrame, *keys: str) -> pd.DataFrame:
    """Return the means over the settings, the lowest coverage, and the standard error of the mean coverage."""
    grouped = shares.groupby(list(keys), sort=False)
    return (
        grouped[SHARES]
        .mean()
        .assign(lowest=grouped["covered"].min(), error=grouped["covered"].std() / np.sqrt(grouped["covered"].size()))
    )


def held_out(shares: pd.DataFrame, rule: str = "covered") -> pd.DataFrame:
    """Choose the exponent without each setting, and judge it there.

    It is the smallest exponent whose mean coverage over the other settings is at least .95, with none of these below .80.
    """
    table, rows = shares[rule].unstack("exponent"), []
    for name in table.index:
        others = table.drop(index=name)
        enough = [e for e in EXPONENTS if others[e].mean() >= 0.95 and others[e].min() >= 0.8]
        chosen = enough[0] if enough else [*EXPONENTS][-1]
        rows.append({"rule": rule, "setting": name, "exponent": chosen} | shares.loc[(chosen, name)].to_dict())
    return pd.DataFrame(rows)


def grade_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return how far cells of each grade are off."""
    order = [*GRADES, OPEN]
    within = {f"within {100 * most:.0f} %": table["off"] <= most for most in (0.1, 0.2, 0.5)}
    shares = pd.DataFrame(within).groupby(table["grade"]).mean()
    counts = table.groupby("grade").size().rename("cells")
    return pd.concat([counts, shares], axis=1).reindex(order).rename_axis("grade").reset_index()


def passed_alike(times: FirstPassageTimes, period: int, horizon: int) -> bool:
    """Return whether two cycles or more were seen that 30 runs entered, of which like shares passed: within two standard errors."""
    starts = range(period, horizon - period + 1, period)
    entered = np.array([(times.time > start).sum() for start in starts])
    passed = np.array([((times.time > s) & (times.time <= s + period) & times.observed).sum() for s in starts])
    entered, passed = entered[entered >= 30], passed[: (entered >= 30).sum()]
    if len(entered) < 2:
        return False
    share = passed.sum() / entered.sum()
    error = np.sqrt(share * (1 - share) * (1 / entered[0] + 1 / entered[1:]))
    return bool((np.abs(passed[0] / entered[0] - passed[1:] / entered[1:]) <= 2 * error).all())


def narrower_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return the coverage at each exponent where cycles passed alike, and the shares by grade if it were used there."""
    chosen = table["exponent"] == CHOSEN
    rows = []
    for label in EXPONENTS:
        alike = table[(table["exponent"] == label) & table["alike"]]
        mixed = pd.concat([alike, table[chosen & ~table["alike"]]])
        for name, part in (("cycles alike", alike), ("used there, all cells", mixed)):
            row = over_settings(by_setting(part.assign(of=name), "of"), "of").iloc[0]
            counts = {"cells": len(part), "settings": part["setting"].nunique()}
            rows.append({"exponent there": label, "of": name} | counts | row.to_dict())
    return pd.DataFrame(rows)


def several(case: Case, singles: pd.DataFrame, *, n_boot: int) -> list[dict[str, Any]]:
    """Return predictions from all P0 together: of the smallest reach, as the library does, and the narrowest of them."""
    sources = [p0 for p0 in case.sources if case.tells(p0)]
    if not sources:
        return []
    study = case.study(*sources, n_boot=n_boot)
    here = (singles["setting"] == case.setting) & (singles["perturbation"] == case.perturbation)
    own = singles[here & (singles["threshold"] == case.threshold) & ~singles["period"].isin(case.sources)]
    rows = own.loc[own.groupby("period")["factor"].idxmin()].assign(way="narrowest").to_dict("records")
    for p in recommend(study, case.periods).predictions:
        if p.method in ("cycles", "single"):
            rows.append(case.name(p.source) | {"way": "smallest reach"} | cell(case, p.period or 0, p))
    return rows


# -- Choosing


def choices(case: Case, *, times: Times | None, n_boot: int) -> list[dict[str, Any]]:
    """Return what each way to choose costs, from each P0 of a case, and how the predictions of that study fare.

    Where the study has nothing to say, all ways stay at P0. The rule trains one further ensemble, of as many runs, where it asks for one
    of the measured periods, and is asked again; its run-epochs end at the threshold.
    """
    rows = []
    evidence = case.times if times is None else times
    for p0 in filter(case.tells, case.sources):
        smallest = rule = p0
        answered, continued, further, predicted = case.tells(p0, evidence), False, 0, []
        if answered:
            candidates = options(case, p0, times=evidence, n_boot=n_boot)
            smallest = min(
                (p for p in candidates if not np.isnan(p.centre)), key=lambda p: (p.centre, not p.measured)
            ).period
            choice, following = choose(candidates)
            predicted = [cell(case, p.period, p) | case.name(p0) for p in candidates if not p.measured]
            rule, continued = choice.period, following is not None and following[1] in case.periods
            if following is not None and continued:
                further = int(evidence[following[1]].time.sum())
                if case.tells(following[1], evidence):
                    choice, _ = choose(options(case, p0, following[1], times=evidence, n_boot=n_boot))
                    rule = choice.period
        ways = {"do nothing": None, "stay at P0": p0, "smallest cycles": smallest, "the rule": rule}
        row = case.name(p0) | {way: case.regret(period) for way, period in ways.items()}
        row |= {"answered": answered, "asked": continued, "further": further}
        row["evidence"] = int(evidence[None].time.sum() + evidence[p0].time.sum())
        rows.append(row | {"predicted": predicted})
    return rows


def options(case: Case, *sources: int, times: Times, n_boot: int) -> list[Prediction]:
    """Return the candidates whose means were measured: doing nothing and the measured periods, but no full reset."""
    ranking = recommend(case.study(*sources, n_boot=n_boot, times=times), case.periods)
    return [p for p in ranking.predictions if p.method != "restart"]


WAYS = ["do nothing", "stay at P0", "smallest cycles", "the rule"]


def drawn(case: Case, size: int | None, *, draws: int, n_boot: int, seed: Sequence[int] = (0,)) -> pd.DataFrame:
    """Return one row for each P0 and draw: regrets, and how many cells count, are covered and have each grade."""
    rng, rows, predicted = np.random.default_rng([*seed, size or 0]), [], []
    for _ in range(draws if size else 1):
        for row in choices(case, times=case.draw(size, rng) if size else None, n_boot=n_boot):
            predicted += [each | {"row": len(rows)} for each in row.pop("predicted")]
            rows.append(row)
    table = (
        judged(predicted).groupby("row")[SHARES] if predicted else pd.DataFrame(columns=["row", *SHARES]).groupby("row")
    )
    counts = table.sum().assign(cells=table.size())
    return pd.DataFrame(rows).join(counts).fillna(dict.fromkeys(["cells", *SHARES], 0))


def regret_table(rows: pd.DataFrame, runs: str) -> pd.DataFrame:
    """Return the mean over the settings, and each setting, of regrets, questions, coverage and grades; cases are averaged within."""
    rows = rows.assign(cost=rows["further"] / rows["evidence"])
    within = rows.groupby([*CASE], sort=False)[[*WAYS, "answered", "asked", "further", "cost"]].mean()
    regrets = within.groupby("setting", sort=False).mean()
    counts = rows.groupby("setting", sort=False)[["cells", *SHARES]].sum()
    table = pd.concat([regrets, counts[SHARES].div(counts["cells"], axis=0)], axis=1)
    mean = table.mean().to_frame("mean").T.assign(lowest=table["covered"].min(), lowest_bare=table["bare"].min())
    return pd.concat([mean, table]).rename_axis("setting").reset_index().assign(runs=runs)


# -- The study


def required(tables: Mapping[str, pd.DataFrame], table: pd.DataFrame) -> pd.DataFrame:
    """Return the figures that the intervals and the rule have to reach, with what they reach."""
    overall = tables["exponents"].set_index("exponent").loc[CHOSEN]
    regret = tables["regret"][tables["regret"]["setting"] == "mean"].set_index("runs")["the rule"]
    one = table[table["exponent"] == CHOSEN]
    close = one[one["to 20 %"]]
    main = one[(one["setting"] == "cifar10") & (one["perturbation"] == "shrink_perturb") & (one["threshold"] == 72)]
    grades = main[main["source"] == 50].set_index("period")["grade"]
    late = close[(close["source"] == 100) & (close["setting"] == "cifar10")]
    rows = []
    for rule in ("covered", "meet"):
        held = tables["held_out"][tables["held_out"]["rule"] == rule]
        rows += [
            (f"{rule}: coverage", 0.95, overall[rule]),
            (f"{rule}: lowest setting", 0.8, tables["settings"][rule].min()),
            (f"{rule}: coverage, exponent held out", 0.95, held[rule].mean()),
            (f"{rule}: lowest setting, exponent held out", 0.8, held[rule].min()),
            (f"{rule}: share to 20 %, exponent held out", 0.37, held["to 20 %"].mean()),
            (f"{rule}: share to a factor 1.5, exponent held out", 0.57, held["to a factor 1.5"].mean()),
        ]
    rows += [
        ("share to 20 %", 0.37, overall["to 20 %"]),
        ("share to a factor 1.5", 0.57, overall["to a factor 1.5"]),
        ("of those to 20 %, within 20 %", 0.97, (close["off"] <= 0.2).mean()),
        ("72 %, P0 = 50: share to 10 % at P = 15 to 100", 1.0, (grades.loc[15:] == "to 10 %").mean()),
        ("72 %, P0 = 50: share open at P = 1 to 3", 1.0, (grades.loc[:3] == OPEN).mean()),
        ("published, P0 = 100, to 20 %: largest error", -0.2, late["off"].max()),
        ("regret of the rule, full ensembles", -0.14, regret["all"]),
        ("regret of the rule, 8 + 8 runs", -0.2, regret.get("8 + 8", np.nan)),
    ]
    figures = pd.DataFrame(rows, columns=["figure", "wanted", "reached"])
    good = np.sign(figures["wanted"]) * figures["reached"] >= figures["wanted"]
    wanted = [f"{'at least' if w > 0 else 'at most'} {abs(w):g}" for w in figures["wanted"]]
    return figures.assign(wanted=wanted, good=good)


def full_tables(cases: Sequence[Case], *, n_boot: int) -> dict[str, pd.DataFrame]:
    """Return the tables that rest on full ensembles, and the cells themselves."""
    table = judged([row for case in cases for row in cells(case, exponents=EXPONENTS, n_boot=n_boot)])
    one = table[table["exponent"] == CHOSEN]
    shares = by_setting(table, "exponent")
    together = judged([row for case in cases for row in several(case, one, n_boot=n_boot)])
    return {
        "cells": table,
        "exponents": over_settings(shares, "exponent").reset_index(),
        "settings": by_setting(one).assign(cells=one.groupby("setting", sort=False).size()).reset_index(),
        "held_out": pd.concat([held_out(shares, rule) for rule in ("covered", "meet")]),
        "grades": grade_table(one),
        "several": over_settings(by_setting(together, "way"), "way").reset_index(),
        "narrower": narrower_table(table),
    }


def regrets(cases: Sequence[Case], *, draws: int, n_boot: int, work: Path | None) -> pd.DataFrame:
    """Return `regret_table` for full ensembles and for few runs; with a folder, cases that were finished there are read."""
    tables = []
    for size in (None, *SIZES) if draws else (None,):
        parts = []
        for number, case in enumerate(cases):
            if size and case.setting == "cifar10" and case.threshold not in DRAWN_THRESHOLDS:
                continue
            path = work and work / f"{size}-{case.setting}-{case.perturbation}-{case.threshold:g}.parquet"
            if path and path.exists():
                parts.append(pd.read_parquet(path))
                continue
            parts.append(drawn(case, size, draws=draws, n_boot=n_boot // (2 if size else 1), seed=(number,)))
            if path:
                path.parent.mkdir(parents=True, exist_ok=True)
                parts[-1].to_parquet(path)
        tables.append(regret_table(pd.concat(parts, ignore_index=True), f"{size} + {size}" if size else "all"))
        print(f"runs: {size or 'all'}, done at {time.strftime('%H:%M:%S')}", flush=True)
    return pd.concat(tables, ignore_index=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=200, help="of few runs from each case; 0: full ensembles only")
    parser.add_argument("--replicates", type=int, default=200, help="of the bootstrap; half of them for few runs")
    parser.add_argument("--work", type=Path, help="folder in which an interrupted study finds what was finished")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the tables")
    options, started = parser.parse_args(arguments), time.perf_counter()
    cases = all_cases()
    tables = full_tables(cases, n_boot=options.replicates)
    table = tables.pop("cells")
    tables["regret"] = regrets(cases, draws=options.draws, n_boot=options.replicates, work=options.work)
    tables["required"] = required(tables, table)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, each in tables.items():
        each.round(4).to_csv(options.out / f"{name}.csv", index=False)
        shown = each[each["setting"] == "mean"] if name == "regret" else each
        print(f"\n{name}\n{shown.round(3).to_string(index=False, line_width=250)}")
    kept = table[table["exponent"] == CHOSEN].drop(columns=["exponent", *GRADES])
    kept.round(4).to_parquet(options.out / "cells.parquet", index=False)
    about = {
        "command": "OPENBLAS_NUM_THREADS=1 python benchmarks/prediction_coverage.py",
        "machine": machine.describe(),
    }
    about |= {"draws": options.draws, "replicates": options.replicates, "seconds": round(time.perf_counter() - started)}
    (options.out / "about.json").write_text(json.dumps(about, indent=1) + "\n")
    print(f"\n{about['seconds']} s")


if __name__ == "__main__":
    main()
