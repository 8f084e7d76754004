"""The regret of taking the best choice of one row over into another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from companion.experiments.measure import LEVEL, By, Means, Measured, words_of
from companion.experiments.rows import STEPS, Key, Row, chain
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import percentile_interval

# What a choice is compared with: the mean regret of a choice at random, and that of training without perturbation.
CHANCE, NOTHING = "a random choice", "no perturbation"
Results = Mapping[str, Measured | Means]


def transfer(results: Results, *, by: By = "measured") -> pd.DataFrame:
    """Compute the regret of taking over the choice of one row in another, among the perturbations that all rows have.

    Parameters
    ----------
    results
        Rows by name; or of a row only the means that were measured, which are then what it chooses by. Without replicates there are no
        intervals: they are NaN.
    by
        How the choice is made in its own row: ``"measured"``, the smallest mean measured at any period; ``"predicted"``, the smallest one
        predicted from ``P0``, predictions that are not valid left out.

    Returns
    -------
    DataFrame
        One line for each pair of rows, and for each row two lines whose ``source`` is what a choice is compared with: a random choice
        and no perturbation. Columns ``source, target, choice, regret, low, high, rank, n_candidates``: the choice as it is carried out in
        the target (at the nearest period measured there), its measured mean over that of the target's best, less 1, and its place.

    Notes
    -----
    Every replicate draws the seeds of both rows anew, chooses in one and regrets in the other, so that the interval knows how uncertain
    both the choice and the best are. The best of many noisy means is flattered by the noise, which makes every regret somewhat too large.

    Raises
    ------
    InputError
        If the rows have no perturbation in common.
    """
    measured = _shared(results, "measured")
    lines = []
    for (source, target), (chosen, regret) in _regrets(results, by).items():
        keys, means = list(measured[target]), [mean[0] for mean in measured[target].values()]
        if source == CHANCE:
            choice, rank = "any", (len(keys) + 1) // 2
        else:
            choice, rank = words_of(keys[chosen]), 1 + sum(mean < means[chosen] for mean in means)
        lines.append((source, target, choice, *_with_interval(regret), rank, len(keys)))
    names = ["source", "target", "choice", "regret", "low", "high", "rank", "n_candidates"]
    return pd.DataFrame(lines, columns=names)


def summary(results: Results, *, by: By = "measured") -> pd.DataFrame:
    """Average the regret of a choice, see `transfer`, over rows, by where it comes from.

    Returns
    -------
    DataFrame
        Columns ``source, regret, low, high, largest, n``; ``source`` is ``"another row"``, ``"the row itself"`` or one of the comparisons,
        ``n`` the number of pairs.
    """
    groups: dict[str, list[NDArray[np.float64]]] = {}
    for (source, target), (_, regret) in _regrets(results, by).items():
        name = source if source in (CHANCE, NOTHING) else "the row itself" if source == target else "another row"
        groups.setdefault(name, []).append(regret)
    lines = []
    for name, regrets in groups.items():
        n = min(map(len, regrets))
        average = _with_interval(np.mean([regret[:n] for regret in regrets], axis=0))
        lines.append((name, *average, float(max(regret[0] for regret in regrets)), len(regrets)))
    return pd.DataFrame(lines, columns=["source", "regret", "low", "high", "largest", "n"])


def step_table(rows: Mapping[str, Row], results: Mapping[str, Measured]) -> pd.DataFrame:
    """Compute the regret of each step of each chain by itself: the choice of the earlier row in the next one.

    Returns
    -------
    DataFrame
        Columns ``step, source, target, choice, regret, low, high, rank, n_candidates, correlation, correlation_low, correlation_high``; the
        correlation is `rank_correlation`. Empty where no two neighbours are among the results.
    """
    lines = []
    for step in STEPS:
        names = [name for name in chain(rows, step) if name in results]
        for source, target in itertools.pairwise(names):
            both = {source: results[source], target: results[target]}
            regret = transfer(both).query("source == @source and target == @target").iloc[0]
            lines.append((step, *regret, *rank_correlation(*both.values())))
    columns = ["step", "source", "target", "choice", "regret", "low", "high", "rank", "n_candidates"]
    return pd.DataFrame(lines, columns=[*columns, "correlation", "correlation_low", "correlation_high"])


def rank_correlation(one: Measured, other: Measured) -> tuple[float, float, float]:
    """Compute Spearman's rank correlation between the measured means of the candidates that two rows share, with its interval over seeds.

    Raises
    ------
    InputError
        If the rows have no perturbation in common.
    """
    first, second = _shared({"one": one, "the other": other}, "measured").values()
    x, y = (np.stack([means[key] for key in first if key in second]) for means in (first, second))
    n = min(x.shape[1], y.shape[1])
    a, b = (stats.rankdata(values[:, :n], axis=0) for values in (x, y))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return _with_interval(np.asarray((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))))


def _with_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the value in the data, and its interval over replicates."""
    return float(values[0]), *percentile_interval(values[1:], LEVEL)


def _shared(results: Results, by: By) -> dict[str, Means]:
    """Return the means of each row, of no perturbation and of the perturbations that all rows have."""
    own = {name: result.means(by) if isinstance(result, Measured) else result for name, result in results.items()}
    perturbations = [{key[0] for key in means if key is not None} for means in own.values()]
    common = set.intersection(*perturbations) if perturbations else set()
    if not common:
        raise InputError(f"rows {', '.join(results)} have no perturbation in common")
    return {
        name: {key: mean for key, mean in means.items() if key is None or key[0] in common}
        for name, means in own.items()
    }


def _regrets(results: Results, by: By) -> dict[tuple[str, str], tuple[int, NDArray[np.float64]]]:
    """Find for each source and target the choice in the data (place in the target) and the regret in the data and all replicates."""
    measured, choosing = _shared(results, "measured"), _shared(results, by)
    regrets: dict[tuple[str, str], tuple[int, NDArray[np.float64]]] = {}
    for target, there in measured.items():
        keys, means = list(there), np.stack(list(there.values()))  # (candidates, 1 + n_boot)
        regret = means / means.min(axis=0) - 1
        for source, here in choosing.items():
            place = np.array([_nearest(key, keys) for key in here])
            chosen = place[np.stack(list(here.values())).argmin(axis=0)]  # in the target, for every replicate
            n = min(len(chosen), regret.shape[1])
            regrets[source, target] = int(chosen[0]), regret[chosen[:n], np.arange(n)]
        regrets[CHANCE, target] = -1, regret.mean(axis=0)
        regrets[NOTHING, target] = keys.index(None), regret[keys.index(None)]
    return regrets


def _nearest(key: Key, there: list[Key]) -> int:
    """Return the place of the candidate that carries out a choice: the same perturbation at the nearest period, by ratio."""
    if key is None:
        return there.index(None)
    name, period = key
    same = [(abs(math.log(other[1] / period)), i) for i, other in enumerate(there) if other and other[0] == name]
    return min(same)[1]
