"""Signs that a record is not what it seems: runs that are one, two units, runs stopped on reaching a target.

Values are ``(runs, epochs)``, NaN after the end of a run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fptlib.trajectories.record import Trajectories

TWICE = "if they are one training run logged twice, leave one out; intervals would be too narrow otherwise"
RATE = re.compile(r"(.*[/_-])?(lr|learning_rate)([/_-].*)?")
CLOCK = re.compile(r"(.*[/_ -])?(time|seconds|runtime|duration|elapsed|per_second|mem(ory)?)([/_ -].*)?", re.IGNORECASE)
LOSS = re.compile(r"loss|nll|entropy|err|mse|mae|perplexity|ppl|\b[wc]er\b|fid", re.IGNORECASE)
FEWEST_STOPPED = 5  # runs that all end at their best by chance are fewer
FEWEST_DISTINCT = 5  # values of a metric: two runs that share as many, in their order, are one
_LASTING = 3  # epochs
_HUNDRED = (50.0, 200.0)  # bounds of the ratio of per cent to fractions, epoch by epoch


def twins(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the rows of runs that are equal over all epochs that they have in common, as pairs, each run with the next like it.

    A run that stays at a few values, and one that moves by equal steps as a counter does, is equal to others for no reason.

    >>> rising = [0.1, 0.4, 0.5, 0.7, 0.6]
    >>> twins(np.array([[*rising, 0.8], [*rising, 0.9], [*rising, np.nan]]))
    [(2, 0)]
    """
    lengths = (~np.isnan(values)).sum(axis=1)
    return [(i, j) for i, j in _equal(values) if _tells(values[i, : lengths[i]])]


def _equal(values: NDArray[np.float64]) -> list[tuple[int, int]]:
    lengths = (~np.isnan(values)).sum(axis=1)
    content = [row[:n].astype(">f8").tobytes() for row, n in zip(values, lengths, strict=True)]
    order = sorted(range(len(values)), key=content.__getitem__)  # what begins as another run follows it at once
    return [(i, j) for i, j in itertools.pairwise(order) if content[j].startswith(content[i])]


def _tells(row: NDArray[np.float64]) -> bool:
    return len(np.unique(row)) >= FEWEST_DISTINCT and not _even(row)


def _even(row: NDArray[np.float64]) -> bool:
    with np.errstate(over="ignore"):
        steps = np.diff(row)
        return bool(np.allclose(steps, steps[:1]))


def unlike(values: NDArray[np.float64], names: Sequence[str]) -> str | None:
    """Say that some runs are fractions and others in per cent, a hundred times as large at nearly all epochs; ``None`` if none are.

    >>> unlike(np.array([[0.5, 0.6, 0.9], [0.6, 0.4, 0.7], [52.0, 60.0, 91.0]]), names="abc")
    'c: 1 of 3 runs differs from the others by a factor of a hundred (52 and 0.5 at first); write all in per cent, or all as fractions'
    """
    top = np.nanmax(values, axis=1)
    order = np.argsort(top, kind="stable")
    order = order[top[order] > 0]
    top = top[order]
    if not len(top) or not top[0] <= 1 < top[-1] <= 100 or np.nanmin(values) < 0:
        return None
    cut = int((top[1:] / top[:-1]).argmax()) + 1
    groups = order[:cut], order[cut:]
    both = ~np.any([np.isnan(values[rows]).all(axis=0) for rows in groups], axis=0)  # epochs
    low, high = (np.nanmedian(values[rows][:, both], axis=0) for rows in groups)
    if top[cut - 1] > 1 or np.mean((high > _HUNDRED[0] * low) & (high < _HUNDRED[1] * low)) < 0.9:
        return None
    few, others = (np.sort(rows) for rows in sorted(groups, key=len))
    ratio = values[few[0]] / np.where(values[others[0]] > 0, values[others[0]], np.nan)
    epoch = int((np.abs(np.log(np.maximum(ratio, 1e-9))) > np.log(_HUNDRED[0])).argmax())
    at = f"epoch {epoch + 1}" if epoch else "first"
    return (
        f"{names[few[0]]}: {len(few)} of {len(top)} runs differ{'s' * (len(few) == 1)} from the others by a factor of a hundred "
        f"({values[few[0], epoch]:.4g} and {values[others[0], epoch]:.4g} at {at}); write all in per cent, or all as fractions"
    )


def switched(values: NDArray[np.float64], names: Sequence[str]) -> str | None:
    """Say that a run goes from fractions to per cent, or back, between two epochs, and stays there; ``None`` if none does.

    >>> switched(np.array([[0.5, 0.6, 0.7, 72.0, 74.0, 73.0]]), names="a")
    'a: goes from 0.7 at epoch 3 to 72 at epoch 4, a factor of a hundred; write all in per cent, or all as fractions'
    """
    large = values > 1
    if np.nanmin(values) < 0 or np.nanmax(values) > 100:
        return None
    for run, i in np.argwhere((large[:, 1:] != large[:, :-1]) & ~np.isnan(values[:, 1:])):
        row = values[run][~np.isnan(values[run])]
        sides = row[max(i + 1 - _LASTING, 0) : i + 1], row[i + 1 : i + 1 + _LASTING]
        small, big = sorted(sides, key=np.max)
        low, high = sorted(row[i : i + 2])
        lasts = len(sides[0]) == _LASTING and np.max(small) <= 1 < np.min(big) and np.ptp(small) > 0
        if lasts and _HUNDRED[0] * low < high < _HUNDRED[1] * low:
            change = (
                f"goes from {row[i]:.4g} at epoch {i + 1} to {row[i + 1]:.4g} at epoch {i + 2}, a factor of a hundred"
            )
            return f"{names[run]}: {change}; write all in per cent, or all as fractions"
    return None


def doubts(runs: Trajectories) -> list[str]:
    """Return notes on runs that are equal in all metrics but rates, clocks and counters, and on runs that end before others."""
    ends = runs.lengths
    evaluated = {
        name: values
        for name, values in runs.metrics.items()
        if not (RATE.fullmatch(name) or CLOCK.fullmatch(name))
        and not all(_even(row[:end]) for row, end in zip(values, ends, strict=True))
    }
    pairs = _equal(np.stack([*evaluated.values()], axis=2).reshape(runs.n_runs, -1)) if evaluated else []
    telling = {name: [p for p in pairs if _tells(values[p[0], : ends[p[0]]])] for name, values in evaluated.items()}
    clearest = max(telling, key=lambda name: len(telling[name]), default="")
    equal = [f"{in_words(runs, telling[clearest])} ({clearest}): {TWICE}"] if clearest and telling[clearest] else []
    return [*equal, *_early(runs, evaluated)]


def in_words(runs: Trajectories, pairs: list[tuple[int, int]]) -> str:
    """Name the first of some pairs of equal runs, and say over how many epochs they are equal and how many pairs there are."""
    known = runs.meta.get("names", {})
    first = min(pairs, key=sorted)
    one, other = (known.get(str(runs.run[i]), str(runs.run[i])) for i in sorted(first))
    more = f" and {len(pairs) - 1} more pair{'s' * (len(pairs) > 2)}" * (len(pairs) > 1)
    return f"runs {one} and {other}{more} are equal over all their {runs.lengths[[*first]].min()} common epochs"


def _early(runs: Trajectories, evaluated: Mapping[str, NDArray[np.float64]]) -> list[str]:
    early = np.flatnonzero(runs.lengths < runs.n_epochs)
    if not len(early):
        return []
    first = runs.meta.get("names", {}).get(str(runs.run[early[0]]), runs.run[early[0]])
    notes = [
        f"{len(early)} of {runs.n_runs} runs end before epoch {runs.n_epochs} ({first} at epoch {runs.lengths[early[0]]}): each is "
        "censored at its own end, which is right if that has nothing to do with its metric"
    ]
    for name, values in evaluated.items():
        last = values[early, runs.lengths[early] - 1]
        at_best = (last >= np.nanmax(values[early], axis=1)).all() or (last <= np.nanmin(values[early], axis=1)).all()
        if len(early) >= FEWEST_STOPPED and at_best and runs.lengths[early].min() > 2:
            return [
                *notes,
                f"all of these end at their best {name}: if they were stopped on reaching a target, ask for no harder threshold than that",
            ]
    return notes
