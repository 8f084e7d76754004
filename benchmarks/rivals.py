"""What the closed loop is compared with: a full grid, random search, Optuna's TPE with a pruner, successive halving.

All of them buy runs from the same kind of source as the loop and pay as it does: a run ends when it passes, runs with the same number start
alike, and their epochs before the first perturbation are paid once for all periods and perturbations. What a method recommends at any
time is the cell, a perturbation with a period, with the smallest mean among those it has measured.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from fptlib.search import Candidate, Source

Cell = tuple[Candidate, int]
Track = list[tuple[int, Cell | None]]  # run-epochs spent, and what is recommended from then on


@dataclass(slots=True)
class Purchase:
    """Cells bought so far: their means, and what was paid."""

    source: Source
    means: dict[Cell, tuple[int, float]] = field(default_factory=dict)
    track: Track = field(default_factory=list)

    @property
    def spent(self) -> int:
        """Run-epochs paid."""
        return self.source.ledger.spent

    def buy(self, cell: Cell, n_runs: int) -> float:
        """Mean of so many runs up to the horizon; those that were bought before cost nothing."""
        runs = self.source.runs(cell[0], period=cell[1], n_runs=n_runs, epochs=self.source.horizon)
        mean = float(np.mean(runs.lengths))  # a run is followed to its passage, or to the horizon
        if n_runs >= self.means.get(cell, (0, 0.0))[0]:
            self.means[cell] = (n_runs, mean)
        return mean

    def recommend(self, among: Sequence[Cell] | None = None) -> None:
        """Note what is recommended now."""
        cells = list(self.means) if among is None else list(among)
        self.track.append((self.spent, min(cells, key=lambda cell: self.means[cell][1]) if cells else None))


def full_grid(source: Source, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
    """Every cell with the same runs, more of them each time."""
    bought = Purchase(source)
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

    def search(source: Source, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
        bought, rng, n_runs = Purchase(source), np.random.default_rng([seed, 1]), runs
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


def successive_halving(source: Source, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
    """The worse half of the cells leaves after each round; rounds may spend alike, and add the same runs to all cells that are left.

    The number of rounds follows from the number of cells, and what each may spend from the budget: another budget is another search.
    """
    bought, left, n_runs = Purchase(source), list(cells), 0
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

    def search(source: Source, cells: Sequence[Cell], *, budget: int, seed: int) -> Track:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", module="optuna")
        bought = Purchase(source)
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


# Names as they are shown; numbers of runs as they serve the rival best, small for small budgets and larger for large ones.
RIVALS: dict[str, Callable[..., Track]] = {
    "full grid": full_grid,
    "random search, 4 runs": random_search(4),
    "random search, 16 runs": random_search(16),
    "TPE with pruner, 4 runs": tpe(2, 2),
    "TPE with pruner, 16 runs": tpe(4, 4),
    "successive halving": successive_halving,
}
PER_BUDGET = ("successive halving",)  # what they do depends on the budget from the start
