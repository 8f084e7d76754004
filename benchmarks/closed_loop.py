# ruff: noqa: T201
"""How good a perturbation and period the closed loop finds for how many trained epochs, beside other ways to search.

Run with ``FPTLIB_DATA=FOLDER python benchmarks/closed_loop.py``; ``--help`` lists the options. Every study has the same cells
(perturbation, period) for all methods and the regret against the best of them, in epochs of the mean first-passage time:

- *published*: runs drawn with replacement from the published trajectories of ResNet-18 on CIFAR-10;
- *digits*: runs drawn with replacement from one ensemble of real training runs for each cell, with common seeds;
- *masses*, *mnist*: the same from kept rows of the experiments, on which no setting of any method was chosen;
- *live*: networks trained while the methods ask for them, other seeds in each repeat; the regret is that in the ensembles of *digits*.

All methods pay by the same ledger: a run ends when it passes, and the epochs before the first perturbation are paid once for all cells
(*shared*); in *live* also with each run of a rival paid from its first epoch on (*scratch*), as those tools work by themselves.
``summary.csv`` says what the loop needs for the regret that the best rival has reached (`needed`), ``profile.csv`` what it spent it on.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import typing
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rivals import PER_BUDGET, RIVALS, Cell, Shop

import fptlib as fpt
from companion import published
from companion.experiments import load_rows
from companion.experiments.gather import read_row
from fptlib import ensemble, spec
from fptlib.search import Candidate, Ledger, Live, Recorded, Settings, Source, optimise
from fptlib.search.result import Purpose, SearchResult
from fptlib.trajectories import Target, Trajectories

ROOT = Path(__file__).resolve().parents[1]
PARAMS = "params/ensembles/digits_bn.yml"
RULES: dict[str, dict[str, Any]] = {
    "shrink_perturb": {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1},
    "partial_reset": {"name": "partial_reset", "quantile": 0.5},
    "full_reset": {"name": "full_reset"},
}
PERIODS = (5, 7, 10, 15, 20, 30, 50, 70)  # of the digits
THRESHOLD = 0.942  # of the digits
AT = Target(THRESHOLD, metric="test_metric")
POOL = 256  # training runs of the digits for each cell
LADDER = (250, 500, 750, 1000, 1500, 2000, 3000, 4000)  # run-epochs
PUBLISHED_LADDER = (150, 250, 350, 500, 750, 1000, 1500, 2000)  # runs are short there
LIVE_LADDER = (750, 1000, 1500, 2000, 3000)
ROWS = {"masses": "masses-mlp-sgd", "mnist": "mnist5k-mlp-sgd"}
RECORDED = ("published", "digits", *ROWS)
Repeat = dict[
    str, Any
]  # regrets at the budgets of the ladder; of the loop also its track and the purposes of its steps
OURS = "closed loop"
SUMMARY = ["study", "threshold", "budget", "rival", "regret", "loop", "ratio", "low", "high"]
LIVE_METHODS = (OURS, "successive halving", "random search, 4 runs", "TPE with pruner, 4 runs", "full grid")


@dataclass(frozen=True, slots=True)
class Study:
    """Cells to choose from, their true means, and a source of runs for each repeat."""

    name: str
    threshold: float
    cells: tuple[Cell, ...]
    truth: Mapping[tuple[str | None, int | None], float]
    source: Callable[[int, Ledger], Source]
    ladder: tuple[int, ...]

    def regret(self, cell: Cell | None) -> float:
        """Return how many epochs a cell, or no perturbation, takes more than the best cell."""
        mine = self.truth[(None, None)] if cell is None else self.truth[(cell[0].label, cell[1])]
        return mine - min(self.truth.values())


def published_study(threshold: float) -> Study:
    """The published trajectories: two perturbations at the twelve periods that both were published at."""
    plain = published.unperturbed()
    retirement = Target(threshold, metric=plain.metric_name())
    known = published.dataset("cifar10").periods
    named = {name: Candidate(name, {"name": name}) for name in known}
    periods = sorted(set.intersection(*map(set, known.values())))
    pools = {(name, p): published.perturbed(name, p) for name in named for p in periods}
    return Study(
        "published",
        threshold,
        tuple((named[name], p) for name, p in pools),
        _truth(plain, pools, retirement),
        lambda seed, ledger: Recorded(plain, pools, retirement=retirement, seed=seed, ledger=ledger),
        PUBLISHED_LADDER,
    )


def digits_study(workers: int) -> Study:
    """Digits, trained once: three perturbations at eight periods."""
    parameters = spec.override(spec.load(ROOT / PARAMS), {"runs": POOL, "device": "cpu"})
    how: dict[str, Any] = {"retirement": AT, "workers": workers}
    plain = ensemble.train(parameters, keep=PERIODS, **how)
    pools = {}
    for name, rule in RULES.items():
        for p in PERIODS:
            pools[name, p] = ensemble.fork(parameters, at=p, perturbation=rule, **how).trajectories
            print(f"digits: {name} every {p} epochs", flush=True)
    named = {name: Candidate(name, rule) for name, rule in RULES.items()}
    return Study(
        "digits",
        THRESHOLD,
        tuple((named[name], p) for name, p in pools),
        _truth(plain, pools, AT),
        lambda seed, ledger: Recorded(plain, pools, retirement=AT, seed=seed, common_seeds=True, ledger=ledger),
        LADDER,
    )


def row_study(name: str) -> Study:
    """A row of the experiments as it is kept, with the seeds that all its ensembles have."""
    row = load_rows([ROWS[name]])[ROWS[name]]
    kept = read_row(row)
    if kept is None:
        raise SystemExit(f"{row.name}: not all of its ensembles are kept; fpt experiments trains them")
    plain, at = kept.unperturbed.head(runs=row.perturbed_runs), kept.target
    named = {label: Candidate(label, rule) for label, rule in row.perturbations.items()}
    pools = {key: runs for key, runs in kept.perturbed.items() if key[0] in named}
    return Study(
        name,
        at.threshold,
        tuple((named[label], p) for label, p in pools),
        _truth(plain, pools, at),
        lambda seed, ledger: Recorded(plain, pools, retirement=at, seed=seed, common_seeds=True, ledger=ledger),
        LADDER,
    )


def live_study(like: Study, folder: str, workers: int) -> Study:
    """The same cells, trained while they are asked for."""
    parameters = spec.override(spec.load(ROOT / PARAMS), {"device": "cpu"})

    def source(seed: int, ledger: Ledger) -> Source:
        anew = spec.override(parameters, {"seed": 1000 + seed})
        live = Live(anew, retirement=AT, periods=PERIODS, out=f"{folder}/{seed}", workers=workers)
        live.ledger = ledger
        return live

    return Study("live", THRESHOLD, like.cells, like.truth, source, LIVE_LADDER)


def _truth(
    plain: Trajectories, pools: Mapping[tuple[str, int], Trajectories], target: Target
) -> dict[tuple[str | None, int | None], float]:
    keyed: dict[tuple[str | None, int | None], Trajectories] = {(None, None): plain, **pools}
    times = {key: fpt.first_passage(runs, target) for key, runs in keyed.items()}
    return {key: fpt.restricted_mean(t, n_boot=50).mean for key, t in times.items()}


def searched(study: Study, seed: int) -> SearchResult:
    """Return the whole course of the closed loop; it knows no budget, and spends until nothing is left open."""
    candidates = list(dict.fromkeys(candidate for candidate, _ in study.cells))
    periods = tuple(sorted({p for _, p in study.cells}))
    settings = Settings(periods=periods, budget=max(study.ladder), confirm=0, n_boot=200, seed=seed)
    return optimise(study.source(seed, Ledger()), candidates, settings=settings)


def repeated(study: Study, method: str, seed: int, *, shared: bool) -> Repeat:
    """Return the regret at each budget of the ladder, that of not perturbing where nothing is recommended; of the loop, every step too."""

    def at(track: Iterable[tuple[int, float]], budget: int) -> float:
        until = [regret for spent, regret in track if spent <= budget]
        return until[-1] if until else study.regret(None)

    if method == OURS:
        steps = searched(study, seed).steps
        best = min(study.truth.values())
        track = [(s.spent, study.truth[s.candidate, s.period] - best) for s in steps]
        return {"regrets": [at(track, b) for b in study.ladder], "track": track, "purposes": [s.purpose for s in steps]}
    search, recorded, drawn = RIVALS[method], study.source(seed, Ledger()), {}

    def bought(budget: int) -> list[tuple[int, float]]:
        ledger = Ledger(shared=shared)
        source = recorded if isinstance(recorded, Recorded) else study.source(seed, ledger)
        track = search(Shop(source, ledger, drawn), study.cells, budget=budget, seed=seed)
        return [(spent, study.regret(cell)) for spent, cell in track]

    tracks = (
        {b: bought(b) for b in study.ladder}
        if method in PER_BUDGET
        else dict.fromkeys(study.ladder, bought(max(study.ladder)))
    )
    return {"regrets": [at(track, budget) for budget, track in tracks.items()]}


def results(study: Study, method: str, seeds: range, *, shared: bool = True, work: Path | None = None) -> list[Repeat]:
    """Return `repeated` for each seed; with a folder of work, those that were finished there are read."""
    lines: dict[int, dict[str, Any]] = {}
    path = work and work / f"{study.name}-{study.threshold:g}-{method}-{'shared' if shared else 'scratch'}.jsonl"
    if path and path.exists():
        lines = {each["seed"]: each for each in map(json.loads, path.read_text().splitlines())}
    started = time.perf_counter()
    for seed in (seed for seed in seeds if seed not in lines):
        lines[seed] = {"seed": seed, **repeated(study, method, seed, shared=shared)}
        if path:
            with path.open("a") as file:
                file.write(json.dumps(lines[seed]) + "\n")
    chosen = [lines[seed] for seed in seeds]
    means = np.mean([each["regrets"] for each in chosen], axis=0)
    label = f"{study.name} {study.threshold:g} {method}{'' if shared else ', scratch'}"
    print(f"{label}:", *(f"{x:.2f}" for x in means), f"({time.perf_counter() - started:.0f} s)", flush=True)
    return chosen


def curve(study: Study, method: str, repeats: Sequence[Repeat], *, shared: bool) -> pd.DataFrame:
    """Mean regret of a method against the budget, with a bootstrap interval over repeats."""
    table = np.array([each["regrets"] for each in repeats])  # (repeats, budgets)
    low, high = np.quantile(table[_redrawn(len(table))].mean(axis=1), [0.025, 0.975], axis=0)
    return pd.DataFrame(
        {
            "study": study.name, "threshold": study.threshold, "method": method,
            "accounts": "shared" if shared else "scratch", "budget": study.ladder, "regret": table.mean(axis=0),
            "low": low, "high": high, "right": (table == 0).mean(axis=0), "repeats": len(table),
        }
    )  # fmt: skip


def _redrawn(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(0, n, (2000, n))


def needed(spent: NDArray[np.float64], regret: NDArray[np.float64], *, level: float, budget: float) -> float:
    """Return the epochs from which on a curve stays at or below a level, up to a budget or, if that is later, where it gets there.

    >>> spent, regret = np.array([100.0, 200.0, 300.0, 400.0]), np.array([3.0, 1.0, 2.0, 1.0])
    >>> [needed(spent, regret, level=1.0, budget=b) for b in (200, 300, 400)]
    [200.0, 400.0, 400.0]
    """
    good = regret <= level
    now = np.searchsorted(spent, budget, side="right") - 1
    if now < 0 or not good[now]:
        later = np.flatnonzero(good[max(now, 0) :])
        return float(spent[max(now, 0) + later[0]]) if len(later) else math.nan
    above = np.flatnonzero(~good[:now])
    return float(spent[above[-1] + 1 if len(above) else 0])


def summary(study: Study, ours: Sequence[Repeat], rivals: Mapping[str, Sequence[Repeat]]) -> pd.DataFrame:
    """Return what the loop needs for the regret that the best rival has reached, with a bootstrap interval over repeats.

    One row for each budget at which some rival has a smaller mean regret than any has had before: its regret, and the epochs that the
    loop `needed` for one no larger, over that budget.
    """
    spent = np.unique([at for each in ours for at, _ in each["track"]]).astype(float)
    nothing = study.regret(None)
    steps = np.array([_steps(each["track"], spent, nothing) for each in ours])  # (repeats, epochs)
    tables = {name: np.array([each["regrets"] for each in repeats]) for name, repeats in rivals.items()}
    draws, best, rows = _redrawn(len(ours))[:300], math.inf, []
    for j, budget in enumerate(study.ladder):
        name = min(tables, key=lambda name: float(tables[name][:, j].mean()))
        level = float(tables[name][:, j].mean())
        if not level < min(best, nothing):
            continue
        best = level
        epochs = needed(spent, steps.mean(axis=0), level=level, budget=budget)
        pairs = [(steps[d].mean(axis=0), float(tables[name][d, j].mean())) for d in draws]
        drawn = [needed(spent, curve, level=level, budget=budget) for curve, level in pairs]
        low, high = np.quantile(np.nan_to_num(drawn, nan=math.inf), [0.025, 0.975], method="nearest") / budget
        rows.append((study.name, study.threshold, budget, name, best, epochs, epochs / budget, low, high))
    return pd.DataFrame(rows, columns=SUMMARY)


def _steps(track: Sequence[tuple[int, float]], spent: NDArray[np.float64], nothing: float) -> NDArray[np.float64]:
    """Return the regret at each number of epochs: that of the last step until then."""
    at, regret = np.array([0, *(s for s, _ in track)]), np.array([nothing, *(r for _, r in track)])
    return np.asarray(regret[np.searchsorted(at, spent, side="right") - 1])


def profile(study: Study, ours: Sequence[Repeat]) -> pd.DataFrame:
    """Return for what the loop had spent its epochs at each budget of the ladder, mean over repeats."""
    names = typing.get_args(Purpose)
    parts = [zip(e["track"], np.diff([0, *(at for at, _ in e["track"])]), e["purposes"], strict=True) for e in ours]
    steps = pd.DataFrame([(at, cost / len(ours), why) for part in parts for (at, _), cost, why in part])
    rows = []
    for budget in study.ladder:
        sums = steps[steps[0] <= budget].groupby(2)[1].sum().reindex(names, fill_value=0.0)
        rows.append({"study": study.name, "threshold": study.threshold, "budget": budget, **sums})
    return pd.DataFrame(rows)


def truths(studies: Sequence[Study]) -> pd.DataFrame:
    """Mean first-passage time of every cell."""
    rows = [
        {"study": s.name, "threshold": s.threshold, "perturbation": label or "none", "period": period, "mean": mean}
        for s in studies
        for (label, period), mean in s.truth.items()
    ]
    return pd.DataFrame(rows).astype({"period": "Int64"})


def _joined(path: Path, table: pd.DataFrame, *keys: str) -> str:
    """Return a table as text, after the rows of the kept one whose keys are others."""
    table = table.round(4)
    if path.exists():
        kept = pd.read_csv(path)
        again = kept.set_index([*keys]).index.isin(table.set_index([*keys]).index)
        order = {name: place for place, name in enumerate([*RECORDED, OURS, *RIVALS])}
        joined = pd.concat([kept[~again], table])
        table = joined.sort_values([*keys], key=lambda c: c if c.dtype == float else c.map(order), kind="stable")
    return str(table.to_csv(index=False))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = [*RECORDED, "live"]
    parser.add_argument("--studies", nargs="+", default=studies, choices=studies)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[72.0, 74.0], help="of the published runs")
    parser.add_argument("--repeats", type=int, default=40, help="of recorded studies")
    parser.add_argument("--first", type=int, default=5000, help="first seed of these; settings were chosen on 0 to 39")
    parser.add_argument("--live", type=int, default=20, help="repeats with training")
    parser.add_argument("--methods", nargs="+", default=[OURS, *RIVALS], choices=[OURS, *RIVALS], metavar="METHOD")
    parser.add_argument("--workers", type=int, default=1, help="processes that train")
    parser.add_argument("--work", type=Path, help="folder in which an interrupted study finds what was finished")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "closed_loop", help="folder for tables")
    return parser.parse_args(arguments)


def studies_of(name: str, options: argparse.Namespace, folder: str) -> list[Study]:
    """Return the studies of one name, one for each threshold."""
    if name == "published":
        return [published_study(threshold) for threshold in options.thresholds]
    if name in ROWS:
        return [row_study(name)]
    digits = digits_study(options.workers)
    return [digits] if name == "digits" else [live_study(digits, folder, options.workers)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the studies and write their tables."""
    options = _options(arguments)
    warnings.simplefilter("ignore")
    for folder in (options.out, *([options.work] if options.work else [])):
        folder.mkdir(parents=True, exist_ok=True)
    kept = options.out / "about.json"
    about: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    about |= {
        "command": "FPTLIB_DATA=FOLDER python benchmarks/closed_loop.py",
        "machine": machine.describe(),
        "versions": {name: metadata.version(name) for name in ("optuna", "smac", "scikit-learn")},
    } | {"pool": POOL, "rules": RULES}

    def save(name: str, table: pd.DataFrame, *keys: str) -> None:
        (options.out / name).write_text(_joined(options.out / name, table, *keys))

    with tempfile.TemporaryDirectory() as folder:
        for name in options.studies:
            live = name == "live"
            seeds = range(options.live) if live else range(options.first, options.first + options.repeats)
            methods = [m for m in options.methods if not live or m in LIVE_METHODS]
            studies = studies_of(name, options, folder)
            for study in studies:
                outcomes = {m: results(study, m, seeds, work=options.work) for m in methods}
                tables = [curve(study, m, repeats, shared=True) for m, repeats in outcomes.items()]
                for m in [m for m in methods if live and m != OURS]:
                    repeats = results(study, m, seeds, shared=False, work=options.work)
                    tables.append(curve(study, m, repeats, shared=False))
                save(f"{name}.csv", pd.concat(tables), "threshold", "method")
                if not live and len(methods) == 1 + len(RIVALS):
                    ours = outcomes.pop(OURS)
                    save("summary.csv", summary(study, ours, outcomes), "study", "threshold")
                    save("profile.csv", profile(study, ours), "study", "threshold")
            if not live:
                truths(studies).round(4).to_csv(options.out / f"{name}_cells.csv", index=False)
            about[name] = {"seeds": [seeds[0], seeds[-1]]}
            kept.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
