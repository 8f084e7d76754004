"""What the closed loop is compared with: a full grid, random search, TPE with a pruner, successive halving, SMAC3 with Hyperband.

All of them buy runs from the same kind of source as the loop and pay as it does: a run ends when it passes, runs with the same number start
alike, and their epochs before the first perturbation are paid once for all periods and perturbations. What a method recommends at any
time is the cell, a perturbation with a period, with the smallest mean among those it has measured.
"""

from __future__ import annotations

import contextlib
import logging
import math
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.search import Candidate, Ledger, Recorded, Source

Cell = tuple[Candidate, int]
Track = list[tuple[int, Cell | None]]  # run-epochs spent, and what is recommended from then on


@dataclass(frozen=True, slots=True)
class Shop:
    """A source of runs and the account that pays for them; recorded runs are drawn once, many of each cell, and sold from stock."""

    source: Source
    ledger: Ledger
    stock: dict[Cell, FirstPassageTimes]

    def lengths(self, cell: Cell, n_runs: int) -> NDArray[np.int64]:
        """Return the lengths of so many runs, each up to its passage or the horizon, and pay for them."""
        horizon, had = self.source.horizon, self.stock.get(cell)
        if not isinstance(self.source, Recorded):
            return self.source.runs(*cell, n_runs=n_runs, epochs=horizon).lengths
        if had is None or had.n_runs < n_runs:
            runs = self.source.runs(*cell, n_runs=max(2 * n_runs, 256), epochs=horizon)
            had = self.stock[cell] = first_passage(runs, self.source.retirement)
        lengths, passed = had.time[:n_runs], had.observed[:n_runs]
        self.ledger.charge(cell[0].label, period=cell[1], followed=lengths, passed=passed)
        return lengths


@dataclass(slots=True)
class Purchase:
    """Cells bought so far: their means, and what was paid."""

    shop: Shop
    means: dict[Cell, tuple[int, float]] = field(default_factory=dict)
    track: Track = field(default_factory=list)

    @property
    def spent(self) -> int:
        """Run-epochs paid."""
        return self.shop.ledger.spent

    def buy(self, cell: Cell, n_runs: int) -> float:
        """Mean of so many runs up to the horizon; those that were bought before cost nothing."""
        mean = float(np.mean(self.shop.lengths(cell, n_runs)))
        if n_runs >= self.means.get(cell, (0, 0.0))[0]:
            self.means[cell] = (n_runs, mean)
        return mean

    def recommend(self, among: Sequence[Cell] | None = None) -> None:
        """Note what is recommended now."""
        cells = list(self.means) if among is None else list(among)
        self.track.append((self.spent, min(cells, key=lambda cell: self.means[cell][1]) if cells else None))


def full_grid(shop: Shop, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
    """Every cell with the same runs, more of them each time."""
    bought = Purchase(shop)
    n_runs = 0
    while bought.spent < budget:
        n_runs = _next(n_runs)
        for cell in cells:
            bought.buy(cell, n_runs)
        bought.recommend()
    return bought.track


def _next(n_runs: int) -> int:
    """One more run of each cell, or an eighth more where there are many."""
    return n_runs + max(1, n_runs // 8)


def random_search(runs: int) -> Callable[..., Track]:
    """Cells in random order with so many runs each; once all were seen, twice as many, in another order."""

    def search(shop: Shop, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
        bought, rng, n_runs = Purchase(shop), np.random.default_rng([seed, 1]), runs
        while bought.spent < budget:
            for place in rng.permutation(len(cells)):
                bought.buy(cells[place], n_runs)
                most = max(n for n, _ in bought.means.values())
                bought.recommend(
                    [cell for cell, (n, _) in bought.means.items() if n == most or most == n_runs > n] or None
                )
                if bought.spent >= budget:
                    break
            n_runs *= 2
        return bought.track

    return search


def successive_halving(shop: Shop, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
    """The worse half of the cells leaves after each round; rounds may spend alike, and add the same runs to all cells that are left.

    The number of rounds follows from the number of cells, and what each may spend from the budget: another budget is another search.
    """
    bought, left, n_runs = Purchase(shop), list(cells), 0
    rounds = max(1, math.ceil(math.log2(len(cells))))
    for k in range(rounds):
        due = budget * (k + 1) / rounds
        while True:
            n_runs = _next(n_runs)
            before = bought.spent
            for cell in left:
                bought.buy(cell, n_runs)
            cost = bought.spent - before
            if bought.spent + cost > due:  # the next run of each would be too many
                break
        left.sort(key=lambda cell: bought.means[cell][1])
        bought.recommend(left)
        left = left[: max(1, math.ceil(len(left) / 2))]
        if bought.spent >= budget:
            break
    return bought.track


def tpe(step: int, steps: int) -> Callable[..., Track]:
    """Optuna's TPE over perturbation and period; a trial buys ``steps`` times ``step`` runs, and the median pruner may end it."""

    def search(shop: Shop, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        bought = Purchase(shop)
        periods = {label: sorted(p for c, p in cells if c.label == label) for label in {c.label for c, _ in cells}}
        named = {c.label: c for c, _ in cells}

        def objective(trial: optuna.Trial) -> float:
            label = trial.suggest_categorical("perturbation", sorted(periods))
            place = trial.suggest_int(
                f"period of {label}", 0, len(periods[label]) - 1
            )  # places are logarithmic, as the grid is
            cell = (named[label], periods[label][place])
            mean, had = math.nan, bought.means.get(cell, (0, 0.0))[0]
            for k in range(1, steps + 1):  # a cell that is asked for again gets further runs
                mean = bought.buy(cell, had + k * step)
                trial.report(mean, k)
                if k < steps and trial.should_prune():
                    raise optuna.TrialPruned
            return mean

        study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed), pruner=optuna.pruners.MedianPruner(n_startup_trials=5)
        )

        def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            whole = [cell for cell, (n, _) in bought.means.items() if n >= step * steps]
            bought.recommend(whole or None)
            if bought.spent >= budget:
                study.stop()

        study.optimize(objective, n_trials=6 * len(cells), callbacks=[note])
        return bought.track

    return search


def smac(runs: int) -> Callable[..., Track]:
    """SMAC3's random forest over perturbation and period, with Hyperband over the runs of a trial: a ninth, a third, or all of ``runs``.

    When each cell was proposed it begins anew with twice as many runs of a trial; what was bought stays.
    """

    def search(shop: Shop, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
        from ConfigSpace import Categorical, ConfigurationSpace, Integer
        from joblib import parallel_config
        from smac import MultiFidelityFacade as Facade
        from smac import Scenario
        from smac.main.exceptions import ConfigurationSpaceExhaustedException
        from smac.model.random_forest import RandomForest
        from smac.runhistory import TrialValue

        logging.getLogger("smac").setLevel(logging.ERROR)
        bought, named = Purchase(shop), {c.label: c for c, _ in cells}
        periods = sorted({p for _, p in cells})
        most = runs
        while bought.spent < budget:
            space = ConfigurationSpace(seed=seed)
            space.add([Categorical("perturbation", list(named)), Integer("place", (0, len(periods) - 1))])
            with tempfile.TemporaryDirectory() as folder:
                plan = Scenario(space, deterministic=True, n_trials=10**6, min_budget=most / 9, max_budget=most,
                                seed=seed, output_directory=Path(folder))  # fmt: skip
                # SMAC's own parts; room for a million leaves, and thousands of points to choose from, would take the time here.
                search_for = {"challengers": 500, "local_search_iterations": 2}
                leaves = {"min_samples_split": 2, "min_samples_leaf": 1, "max_leaf_nodes": 256}
                parts = {
                    "model": RandomForest(space, log_y=True, ratio_features=1.0, seed=seed, **leaves),
                    "config_selector": Facade.get_config_selector(plan, retries=4 * len(cells)),
                    "acquisition_maximizer": Facade.get_acquisition_maximizer(plan, **search_for),
                }
                facade = Facade(plan, lambda config, seed, budget: math.nan, logging_level=False, **parts)
                with parallel_config("sequential"), contextlib.suppress(ConfigurationSpaceExhaustedException):
                    while bought.spent < budget:
                        trial = facade.ask()
                        cell = named[str(trial.config["perturbation"])], periods[int(trial.config["place"])]
                        facade.tell(trial, TrialValue(cost=bought.buy(cell, round(trial.budget or most))))
                        enough = min(runs, max(n for n, _ in bought.means.values()))
                        bought.recommend([c for c, (n, _) in bought.means.items() if n >= enough])
            most *= 2
        return bought.track

    return search


# Names as they are shown; numbers of runs as they serve the rival best, small for small budgets and larger for large ones.
RIVALS: dict[str, Callable[..., Track]] = {
    "full grid": full_grid,
    "random search, 4 runs": random_search(4),
    "random search, 16 runs": random_search(16),
    "TPE with pruner, 4 runs": tpe(2, 2),
    "successive halving": successive_halving,
    "SMAC3 with Hyperband, 9 runs": smac(9),
}
PER_BUDGET = ("successive halving",)  # what they do depends on the budget from the start
