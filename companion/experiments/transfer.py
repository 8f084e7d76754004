"""Whether the best choice of one row is still the best, or near it, in another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from companion.experiments.measure import By, Means, Measured, words_of
from companion.experiments.rows import STEPS, Key, Row, chain
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import percentile_interval

# What a choice is compared with: the mean regret of a choice at random, and that of training without perturbation.
CHANCE, NOTHING = "a random choice", "no perturbation"


@dataclass(frozen=True, slots=True)
class _Means:
    """Means of the candidates of a row in the data and all replicates."""

    keys: list[Key]
    measured: NDArray[np.float64]  # (candidates, 1 + n_boot)
    choosing: NDArray[np.float64]  # the same as the choice sees it; infinite where it is not to be chosen


def transfer(
    results: Mapping[str, Measured | Means],
    *,
    by: By = "measured",
    perturbations: tuple[str, ...] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute the regret of taking over the choice of one row in another.

    Parameters
    ----------
    results
        Rows by name; or of a row only the means that were measured, which are then what it chooses by. Without replicates there are no
        intervals: they are NaN.
    by
        How the choice is made in its own row: ``"measured"``, the smallest mean measured at any period; ``"predicted"``, the smallest one
        predicted from ``P0``, predictions that are not valid left out.
    perturbations
        Candidates; by default those that all rows have.
    level
        Confidence level of intervals.

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
        If the rows have no perturbation in common, or not one that is asked for.
    """
    found, means = _regrets(results, by, perturbations)
    lines = []
    for (source, target), (chosen, regret) in found.items():
        keys, measured = means[target].keys, means[target].measured[:, 0]
        low, high = percentile_interval(regret[1:], level)
        if source == CHANCE:
            choice, rank = "any", (len(keys) + 1) // 2
        else:
            choice, rank = words_of(keys[chosen]), 1 + int(np.sum(measured < measured[chosen]))
        lines.append((source, target, choice, float(regret[0]), low, high, rank, len(keys)))
    names = ["source", "target", "choice", "regret", "low", "high", "rank", "n_candidates"]
    return pd.DataFrame(lines, columns=names)


def summary(
    results: Mapping[str, Measured | Means],
    *,
    by: By = "measured",
    perturbations: tuple[str, ...] | None = None,
    level: float = 0.95,
) -> pd.DataFrame:
    """Average the regret of a choice over rows, by where it comes from.

    Parameters
    ----------
    results, by, perturbations, level
        As in `transfer`.

    Returns
    -------
    DataFrame
        Columns ``source, regret, low, high, largest, n``; ``source`` is ``"another row"``, ``"the row itself"`` or one of the comparisons,
        ``n`` the number of pairs.
    """
    found, _ = _regrets(results, by, perturbations)
    groups: dict[str, list[NDArray[np.float64]]] = {}
    for (source, target), (_, regret) in found.items():
        name = source if source in (CHANCE, NOTHING) else "the row itself" if source == target else "another row"
        groups.setdefault(name, []).append(regret)
    lines = []
    for name, regrets in groups.items():
        n = min(map(len, regrets))
        means = np.mean([regret[:n] for regret in regrets], axis=0)
        low, high = percentile_interval(means[1:], level)
        lines.append((name, float(means[0]), low, high, float(max(regret[0] for regret in regrets)), len(regrets)))
    return pd.DataFrame(lines, columns=["source", "regret", "low", "high", "largest", "n"])


def step_table(rows: Mapping[str, Row], results: Mapping[str, Measured], *, level: float = 0.95) -> pd.DataFrame:
    """Compute the regret of each step of each chain by itself: the choice of the earlier row in the next one.

    Returns
    -------
    DataFrame
        Columns ``step, source, target, choice, regret, low, high, rank, n_candidates, correlation, correlation_low, correlation_high``; the
        correlation is that of `ranks`. Empty where no two neighbours are among the results.
    """
    lines = []
    for step in STEPS:
        names = [name for name in chain(rows, step) if name in results]
        for source, target in itertools.pairwise(names):
            both = {source: results[source], target: results[target]}
            regret = transfer(both, level=level).query("source == @source and target == @target").iloc[0]
            order = ranks(both, level=level).iloc[0]
            own = {f"correlation{end}": order[end.strip("_") or "correlation"] for end in ("", "_low", "_high")}
            lines.append({"step": step, **regret.to_dict(), **own})
    columns = ["step", "source", "target", "choice", "regret", "low", "high", "rank", "n_candidates"]
    return pd.DataFrame(lines, columns=[*columns, "correlation", "correlation_low", "correlation_high"])


def _regrets(
    results: Mapping[str, Measured | Means], by: By, perturbations: tuple[str, ...] | None
) -> tuple[dict[tuple[str, str], tuple[int, NDArray[np.float64]]], dict[str, _Means]]:
    """Find for each source and target the choice in the data (place in the target) and the regret in the data and all replicates."""
    common = _common(results)
    if not common:
        raise InputError(f"rows {', '.join(results)} have no perturbation in common")
    for name in perturbations or ():
        if name not in common:
            raise InputError(f"perturbation {name!r} is not in all rows; these are: {', '.join(common)}")
    common = perturbations or common
    means = {name: _means(result, common, by) for name, result in results.items()}
    found: dict[tuple[str, str], tuple[int, NDArray[np.float64]]] = {}
    for target, there in means.items():
        regrets = there.measured / there.measured.min(axis=0) - 1  # (candidates, 1 + n_boot)
        for source, here in means.items():
            place = np.array([_nearest(key, there.keys) for key in here.keys])
            chosen = place[here.choosing.argmin(axis=0)]  # in the target, for every replicate
            n = min(len(chosen), regrets.shape[1])
            found[source, target] = int(chosen[0]), regrets[chosen[:n], np.arange(n)]
        found[CHANCE, target] = -1, regrets.mean(axis=0)
        found[NOTHING, target] = there.keys.index(None), regrets[there.keys.index(None)]
    return found, means


def ranks(results: Mapping[str, Measured], *, level: float = 0.95) -> pd.DataFrame:
    """Compute Spearman's rank correlation between the measured means of the candidates that two rows share.

    Returns
    -------
    DataFrame
        Columns ``source, target, correlation, low, high, n_candidates``, each pair once; intervals over seeds.

    Raises
    ------
    InputError
        If the rows have no perturbation in common.
    """
    common = _common(results)
    if not common:
        raise InputError(f"rows {', '.join(results)} have no perturbation in common")
    means = {name: _means(result, common, "measured") for name, result in results.items()}
    names, lines = list(results), []
    for i, source in enumerate(names):
        for target in names[i + 1 :]:
            a, b = means[source], means[target]
            shared = [key for key in a.keys if key in b.keys]
            x, y = (m.measured[[m.keys.index(key) for key in shared]] for m in (a, b))
            n = min(x.shape[1], y.shape[1])
            r = _spearman(x[:, :n], y[:, :n])
            low, high = percentile_interval(r[1:], level)
            lines.append((source, target, float(r[0]), low, high, len(shared)))
    return pd.DataFrame(lines, columns=["source", "target", "correlation", "low", "high", "n_candidates"])


def _common(results: Mapping[str, Measured | Means]) -> tuple[str, ...]:
    own = [dict.fromkeys(key[0] for key in _measured(result) if key is not None) for result in results.values()]
    return tuple(name for name in own[0] if all(name in other for other in own)) if own else ()


def _measured(result: Measured | Means) -> Means:
    return result.means("measured") if isinstance(result, Measured) else result


def _means(result: Measured | Means, perturbations: tuple[str, ...], by: By) -> _Means:
    measured = _measured(result)
    choosing = result.means(by) if isinstance(result, Measured) else result
    keys = [key for key in measured if key is None or key[0] in perturbations]
    return _Means(keys, np.stack([measured[key] for key in keys]), np.stack([choosing[key] for key in keys]))


def _nearest(key: Key, there: list[Key]) -> int:
    """Place of the candidate that carries out a choice: the same perturbation at the nearest period, by ratio."""
    if key is None:
        return there.index(None)
    name, period = key
    same = [(abs(math.log(other[1] / period)), i) for i, other in enumerate(there) if other and other[0] == name]
    return min(same)[1]


def _spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank correlation of each column, ``(replicates,)``."""
    a, b = (stats.rankdata(values, axis=0) for values in (x, y))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.asarray((a * b).sum(axis=0) / np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0)))
