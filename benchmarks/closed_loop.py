# ruff: noqa: T201
"""How good a perturbation and period the closed loop finds for how many trained epochs, beside other ways to search.

Run with ``FPTLIB_DATA=FOLDER python benchmarks/closed_loop.py``; ``--help`` lists the options. Three studies, each with the same cells
(perturbation, period) for all methods and the regret against the best of them, in epochs of the mean first-passage time:

- *published*: runs drawn with replacement from the published trajectories of ResNet-18 on CIFAR-10;
- *digits*: runs drawn with replacement from one ensemble of real training runs for each cell, with common seeds;
- *live*: networks trained while the methods ask for them, other seeds in each repeat; the regret is that in the ensembles of *digits*.

All methods pay by the same ledger: a run ends when it passes. Twice: once the rivals are given this library's forks as well, so that the
epochs before the first perturbation are paid once for all cells (*shared*); once each of their runs is paid from its first epoch on
(*scratch*), as those tools work by themselves. The loop pays as in *shared* both times.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
import numpy as np
import pandas as pd
from rivals import PER_BUDGET, RIVALS, Cell, Track

import fptlib as fpt
from companion import published
from fptlib import ensemble, spec
from fptlib.files import write_atomically
from fptlib.search import Candidate, Ledger, Live, Recorded, Settings, Source, optimise
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
LADDER = (250, 500, 750, 1000, 1500, 2000, 3000, 4000, 6000, 9000)  # run-epochs
LIVE_LADDER = (750, 1000, 1500, 2000, 3000)
OURS = "closed loop"
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
        _truth(plain, pools, threshold),
        lambda seed, ledger: Recorded(plain, pools, retirement=retirement, seed=seed, ledger=ledger),
        LADDER[:-1],
    )


def digits_study(workers: int) -> Study:
    """Digits, trained once: three perturbations at eight periods."""
    asked = spec.override(spec.load(ROOT / PARAMS), {"runs": POOL, "device": "cpu"})
    how: dict[str, Any] = {"retirement": AT, "workers": workers}
    plain = ensemble.train(asked, keep=PERIODS, **how)
    pools = {}
    for name, rule in RULES.items():
        for p in PERIODS:
            pools[name, p] = ensemble.fork(asked, at=p, perturbation=rule, **how).trajectories
            print(f"digits: {name} every {p} epochs", flush=True)
    named = {name: Candidate(name, rule) for name, rule in RULES.items()}
    return Study(
        "digits",
        THRESHOLD,
        tuple((named[name], p) for name, p in pools),
        _truth(plain, pools, THRESHOLD),
        lambda seed, ledger: Recorded(plain, pools, retirement=AT, seed=seed, common_seeds=True, ledger=ledger),
        LADDER,
    )


def live_study(like: Study, folder: str, workers: int) -> Study:
    """The same cells, trained while they are asked for."""
    asked = spec.override(spec.load(ROOT / PARAMS), {"device": "cpu"})

    def source(seed: int, ledger: Ledger) -> Source:
        anew = spec.override(asked, {"seed": 1000 + seed})
        live = Live(anew, retirement=AT, periods=PERIODS, out=f"{folder}/{seed}", workers=workers)
        live.ledger = ledger
        return live

    return Study("live", THRESHOLD, like.cells, like.truth, source, LIVE_LADDER)


def _truth(
    plain: Trajectories, pools: Mapping[tuple[str, int], Trajectories], threshold: float
) -> dict[tuple[str | None, int | None], float]:
    keyed: dict[tuple[str | None, int | None], Trajectories] = {(None, None): plain, **pools}
    times = {key: fpt.first_passage(runs, threshold) for key, runs in keyed.items()}
    return {key: fpt.restricted_mean(t, n_boot=50).mean for key, t in times.items()}


def loop_track(study: Study, seed: int) -> Track:
    """Return what the closed loop would have recommended at any time; it knows no budget, and spends until nothing is left open."""
    candidates = list(dict.fromkeys(candidate for candidate, _ in study.cells))
    named = {candidate.label: candidate for candidate in candidates}
    periods = tuple(sorted({p for _, p in study.cells}))
    settings = Settings(periods=periods, budget=max(study.ladder), confirm=0, n_boot=200, seed=seed)
    result = optimise(study.source(seed, Ledger()), candidates, settings=settings)
    return [(s.spent, (named[s.candidate], s.period) if s.candidate and s.period else None) for s in result.steps]


def regrets(study: Study, method: str, seed: int, *, shared: bool) -> list[float]:
    """Regret at each budget of the ladder; without a recommendation, that of not perturbing."""

    def at(track: Track, budget: int) -> float:
        until = [cell for spent, cell in track if spent <= budget]
        return study.regret(until[-1] if until else None)

    if method == OURS:
        track = loop_track(study, seed)
        return [at(track, budget) for budget in study.ladder]
    search = RIVALS[method]

    def bought(budget: int) -> Track:
        return search(study.source(seed, Ledger(shared=shared)), study.cells, budget=budget, seed=seed)

    if method in PER_BUDGET:
        return [at(bought(budget), budget) for budget in study.ladder]
    track = bought(max(study.ladder))
    return [at(track, budget) for budget in study.ladder]


def curves(study: Study, repeats: int, methods: Iterable[str]) -> pd.DataFrame:
    """Mean regret of each method against the budget, with a bootstrap interval over repeats."""
    rows, rng = [], np.random.default_rng(0)
    for method in methods:
        for shared in (True, False):
            if method == OURS and not shared:
                continue
            started = time.perf_counter()
            table = np.array(
                [regrets(study, method, seed, shared=shared) for seed in range(repeats)]
            )  # (repeats, budgets)
            drawn = table[rng.integers(0, repeats, (2000, repeats))].mean(axis=1)
            low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
            for j, budget in enumerate(study.ladder):
                rows.append(
                    {
                        "study": study.name, "threshold": study.threshold, "method": method,
                        "accounts": "shared" if shared else "scratch", "budget": budget, "regret": table[:, j].mean(),
                        "low": low[j], "high": high[j], "right": float(np.mean(table[:, j] == 0)), "repeats": repeats,
                    }
                )  # fmt: skip
            seconds = time.perf_counter() - started
            print(f"{study.name} {study.threshold:g} {method} {'shared' if shared else 'scratch'}: ", end="")
            print(" ".join(f"{x:.2f}" for x in table.mean(axis=0)), f"({seconds:.0f} s)", flush=True)
    return pd.DataFrame(rows)


def truths(studies: Sequence[Study]) -> pd.DataFrame:
    """Mean first-passage time of every cell."""
    rows = [
        {"study": s.name, "threshold": s.threshold, "perturbation": label or "none", "period": period, "mean": mean}
        for s in studies
        for (label, period), mean in s.truth.items()
    ]
    return pd.DataFrame(rows).astype({"period": "Int64"})


def _save(folder: Path, name: str, text: str) -> None:
    write_atomically(folder / name, lambda file: file.write(text.encode()))


def _joined(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return a table after the rows of the kept one that are of other methods or thresholds."""
    if not path.exists():
        return table
    kept, keys = pd.read_csv(path), ["threshold", "method"]
    again = kept.set_index(keys).index.isin(table.set_index(keys).index)
    order = {name: place for place, name in enumerate([OURS, *RIVALS])}
    joined = pd.concat([kept[~again], table])
    return joined.sort_values(keys, key=lambda c: c.map(order) if c.name == "method" else c, kind="stable")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    studies = ["published", "digits", "live"]
    parser.add_argument("--studies", nargs="+", default=studies, choices=studies)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[72.0, 74.0], help="of the published runs")
    parser.add_argument("--repeats", type=int, default=40, help="of recorded studies")
    parser.add_argument("--live", type=int, default=20, help="repeats with training")
    parser.add_argument("--methods", nargs="+", default=[OURS, *RIVALS], choices=[OURS, *RIVALS], metavar="METHOD")
    parser.add_argument("--workers", type=int, default=1, help="processes that train")
    parser.add_argument("--out", type=Path, default=ROOT / "book" / "results" / "closed_loop", help="folder for tables")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the studies and write their tables."""
    options = _options(arguments)
    warnings.simplefilter("ignore")
    kept = options.out / "about.json"
    about: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    about |= {
        "command": "FPTLIB_DATA=FOLDER python benchmarks/closed_loop.py",
        "machine": machine.describe(),
        "pool": POOL,
        "horizon": {"published": 200, "digits": spec.load(ROOT / PARAMS).epochs},
        "rules": RULES,
    }
    with tempfile.TemporaryDirectory() as folder:
        for name in options.studies:
            if name == "published":
                studies = [published_study(threshold) for threshold in options.thresholds]
            else:
                digits = digits_study(options.workers)
                studies = [digits] if name == "digits" else [live_study(digits, folder, options.workers)]
            repeats = options.live if name == "live" else options.repeats
            methods = [m for m in options.methods if name != "live" or m in LIVE_METHODS]
            table = pd.concat([curves(study, repeats, methods) for study in studies])
            _save(options.out, f"{name}.csv", _joined(options.out / f"{name}.csv", table.round(4)).to_csv(index=False))
            if name != "live":
                _save(options.out, f"{name}_cells.csv", truths(studies).round(4).to_csv(index=False))
            about[name] = {"repeats": repeats, "finished": math.isfinite(float(table["regret"].sum()))}
    _save(options.out, "about.json", json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
