"""The regret of taking the best choice of one row over into another."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import replace

import pandas as pd

from companion import words
from companion.experiments.measure import Means, best_of
from companion.experiments.rows import STEPS, Key, Row, chain
from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, ratio

ANOTHER, ITSELF = "another setting", "the setting itself"
# What a choice is compared with: the mean regret of a choice at random, and that of training without perturbation.
CHANCE, NOTHING = "a random choice", "no perturbation"


def regret(means: Means, choice: Key) -> Estimate:
    """Return the relative regret of a candidate: its mean over the smallest one, less 1, with the interval of that ratio.

    Zero for the best candidate itself. The best of many noisy means is flattered by the noise, which makes every regret somewhat too large.
    """
    best = best_of(means)
    if choice == best:
        return replace(means[best], mean=0.0, low=0.0, high=0.0)
    quotient = ratio(means[choice], means[best])
    return replace(quotient, mean=quotient.mean - 1, low=quotient.low - 1, high=quotient.high - 1)


def transfer(results: Mapping[str, Means]) -> pd.DataFrame:
    """Compute the regret of taking over the best choice of one row in another, among the perturbations that both have.

    Parameters
    ----------
    results
        Name of each row to its measured means.

    Returns
    -------
    DataFrame
        One line for each pair of rows, and for each row two lines whose ``source`` is what a choice is compared with: a random choice,
        whose regret has no interval, and no perturbation. Columns ``kind, source, target, choice, regret, low, high, rank, n_candidates``:
        the choice as it is carried out in the target (at the nearest period measured there), its `regret`, and its place.

    Raises
    ------
    InputError
        If two rows have no perturbation in common.
    """
    lines = []
    for target, means in results.items():
        for source, theirs in results.items():
            common = _names(means) & _names(theirs)
            if not common:
                raise InputError(f"rows {source} and {target} have no perturbation in common")
            own, there = (
                {key: mean for key, mean in each.items() if key is None or key[0] in common} for each in (means, theirs)
            )
            kind = ITSELF if source == target else ANOTHER
            lines.append((kind, source, target, *_line(own, _nearest(best_of(there), own))))
        chance = sum(regret(means, key).mean for key in means) / len(means)
        lines.append((CHANCE, CHANCE, target, "any", chance, math.nan, math.nan, (len(means) + 1) // 2, len(means)))
        lines.append((NOTHING, NOTHING, target, *_line(means, None)))
    names = ["kind", "source", "target", "choice", "regret", "low", "high", "rank", "n_candidates"]
    return pd.DataFrame(lines, columns=names)


def step_table(rows: Mapping[str, Row], table: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `transfer` for each step of each chain: the choice of the earlier row in the next one, with a column ``step``."""
    pairs = [(step, *pair) for step in STEPS for pair in itertools.pairwise(chain(rows, step))]
    steps = pd.DataFrame(pairs, columns=["step", "source", "target"])
    return steps.merge(table.drop(columns="kind"), on=["source", "target"])


def _names(means: Means) -> set[str]:
    return {key[0] for key in means if key is not None}


def _line(means: Means, choice: Key) -> tuple[str, float, float, float, int, int]:
    cost = regret(means, choice)
    rank = 1 + sum(mean.mean < means[choice].mean for mean in means.values())
    return words(choice), cost.mean, cost.low, cost.high, rank, len(means)


def _nearest(key: Key, there: Means) -> Key:
    """Return the candidate that carries out a choice: the same perturbation at the nearest period, by ratio."""
    if key is None:
        return None
    name, period = key
    same = [other for other in there if other is not None and other[0] == name]
    return min(same, key=lambda other: abs(math.log(other[1] / period)))
