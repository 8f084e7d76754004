"""Predictions from one period of a row beside what was measured at the others, the best choice by each, and both as tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from companion import words
from companion.experiments.rows import Key
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate
from fptlib.response import Comparison, Prediction, Ranking, compare, recommend
from fptlib.response.ranking import choose
from fptlib.study import Study

Means = Mapping[Key, Estimate]  # measured restricted means of all candidates; ``None``: without perturbation


@dataclass(frozen=True, slots=True)
class Measured:
    """The predictions for a row from one ensemble for each perturbation, all at ``P0``, and what was measured.

    Parameters
    ----------
    ranking
        From these ensembles alone, at all periods that were measured.
    means
        Measured means of all candidates, controls left out.
    """

    ranking: Ranking
    means: Means

    @property
    def comparison(self) -> Comparison:
        """Predictions beside measurements."""
        return compare(self.ranking, {key: mean for key, mean in self.means.items() if key is not None})

    @property
    def best(self) -> Key:
        """The candidate with the smallest measured mean."""
        return best_of(self.means)

    def choice(self, *, more: bool = False) -> Key:
        """Return the candidate that the ensembles at ``P0`` choose; with one ``more`` ensemble, where they name one to measure next."""
        known = [p for p in self.ranking.predictions if _key(p) in self.means]
        chosen, following = choose(known)
        if not more or following is None or following not in self.means:
            return _key(chosen)
        return best_of({key: self.means[key] for key in (following, *(_key(p) for p in known if p.measured))})


def best_of(means: Means) -> Key:
    """Return the candidate with the smallest mean."""
    return min(means, key=lambda key: means[key].mean)


def _key(prediction: Prediction) -> Key:
    name, period = prediction.perturbation, prediction.period
    return None if name is None or period is None else (name, period)


def measure(study: Study, *, period: int, controls: Collection[str] = ()) -> Measured:
    """Predict from the runs at ``P0``, and take the measured means at all periods.

    Parameters
    ----------
    study
        All ensembles of a row.
    period
        ``P0``, at which each perturbation was measured.
    controls
        Perturbations that are no candidates for a choice.

    Raises
    ------
    InputError
        If a perturbation was not measured at ``period``.
    """
    keys = [key for key in study.perturbed if key[0] not in controls]
    for name in dict.fromkeys(name for name, _ in keys):
        if (name, period) not in keys:
            raise InputError(f"{name} is not measured at P0 = {period}")
    evidence = study.only(*[key for key in keys if key[1] == period])
    ranking = recommend(evidence, sorted({p for _, p in keys}))
    measured: list[Key] = [None, *keys]
    return Measured(ranking, {key: study.mean(key, horizon=ranking.horizon) for key in measured})


def cells_of(results: Mapping[str, Measured]) -> pd.DataFrame:
    """Collect the predictions of several rows beside their measurements, with a column ``row``.

    Cells of which prediction and measurement both sit at the horizon, where there is nothing to predict, are left out.
    """
    parts = [result.comparison.to_frame().assign(row=name) for name, result in results.items()]
    table = pd.concat(parts, ignore_index=True)
    return table[~table["at_horizon"]].reset_index(drop=True)


def row_table(results: Mapping[str, Measured]) -> pd.DataFrame:
    """Tabulate the results of each row in one line.

    Columns ``row, threshold, runs, mean``, of the unperturbed runs; ``best, best_mean``, the best candidate by measurement; ``choice,
    choice_mean`` and ``after_one_more, after_mean``: what the ensembles at ``P0`` choose, and with one more ensemble where they name one,
    with the means measured for these. Means are `Estimate` records.
    """
    lines = []
    for name, result in results.items():
        line = {"row": name, "threshold": result.ranking.target.threshold, "runs": result.means[None].n_runs}
        keys = {"best": result.best, "choice": result.choice(), "after_one_more": result.choice(more=True)}
        line |= {"mean": result.means[None]} | {kind: words(key) for kind, key in keys.items()}
        means = zip(("best_mean", "choice_mean", "after_mean"), keys.values(), strict=True)
        lines.append(line | {kind: result.means[key] for kind, key in means})
    return pd.DataFrame(lines)
