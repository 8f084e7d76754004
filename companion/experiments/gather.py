"""All ensembles of a row, kept with the book or trained now, with the threshold that its unperturbed runs give."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from companion import words
from companion.experiments.kept import keep, kept_path, read_kept, refuse_orphans
from companion.experiments.rows import Key, Row, load_rows
from fptlib.errors import InputError
from fptlib.sources import cache_dir
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories


@dataclass(frozen=True, slots=True)
class Ensembles:
    """The runs of a row.

    Parameters
    ----------
    row
        What they are.
    target
        What all of them have to reach; its threshold is taken from the unperturbed runs.
    unperturbed
        Runs without perturbation.
    perturbed
        Perturbation and period to its runs; a perturbation has all its periods.
    """

    row: Row
    target: Target
    unperturbed: Trajectories
    perturbed: Mapping[tuple[str, int], Trajectories]

    def of(self, key: Key) -> Trajectories:
        """Return the runs of one ensemble."""
        return self.unperturbed if key is None else self.perturbed[key]

    def study(self, **options: Any) -> Study:
        """Return all of them as a `Study` with the row's target; options are those of a study."""
        return Study(self.unperturbed, self.perturbed, self.target, **options)

    def on_validation(self) -> Ensembles:
        """Return the same runs judged by validation data, with a threshold of its own by the same rule.

        Raises
        ------
        InputError
            If runs were retired by the test metric, or there is no validation metric.
        """
        row = self.row
        if row.retire or row.metric != "test_metric" or "valid_metric" not in self.unperturbed.metrics:
            raise InputError(f"row {row.name}: needs runs followed to the end (retire: false) and data.validation_size")
        other = row.sized(metric="valid_metric")
        return Ensembles(other, target_of(other, self.unperturbed), self.unperturbed, self.perturbed)


def target_of(row: Row, unperturbed: Trajectories) -> Target:
    """Return the target of a row: the threshold it states, or the one its rule takes from the unperturbed runs alone.

    Notes
    -----
    Each run has a best value of the metric within the horizon. A threshold between two neighbouring values of these leaves a certain share
    of the runs censored; of all such midpoints the one is taken whose share is closest to ``row.censored``, the easier one of two. A
    midpoint is no value that an accuracy can have, so that no run hits it by rounding.

    Raises
    ------
    InputError
        If all runs have the same best value: nothing lies between.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> rule = SimpleNamespace(name="x", threshold=None, metric="test_metric", direction="above", censored=0.5, epochs=2)
    >>> runs = Trajectories(metrics={"test_metric": np.array([[0.1, 0.9], [0.7, 0.2], [0.3, 0.5], [0.8, 0.8]])}, run=np.arange(4))
    >>> target_of(rule, runs).threshold
    0.75
    """
    if row.threshold is not None:
        return Target(row.threshold, row.direction, row.metric)
    values = unperturbed.head(epochs=row.epochs).metric(row.metric)
    sign = 1.0 if row.direction == "above" else -1.0
    best = np.sort((sign * values).max(axis=1))
    distinct = np.unique(best)
    if len(distinct) < 2:
        raise InputError(
            f"row {row.name}: all runs have the same best {row.metric}; the rule finds no threshold between"
        )
    middle = (distinct[1:] + distinct[:-1]) / 2
    shares = np.searchsorted(best, middle) / len(best)
    chosen = int(np.argmin(np.abs(shares - row.censored)))
    return Target(float(sign * middle[chosen]), row.direction, row.metric)


def read_row(row: Row) -> Ensembles | None:
    """Read the kept ensembles of a row; return ``None`` unless all of them are there.

    Raises
    ------
    InputError
        If a kept ensemble is stale, see `companion.experiments.read_kept`.
    """
    plain = read_kept(row.unperturbed)
    if plain is None:
        return None
    target = target_of(row, plain)
    at = target if row.retire else None
    kept = {key: read_kept(row.ensemble(key), retirement=at) for key in row.members() if key is not None}
    perturbed = {key: runs for key, runs in kept.items() if runs is not None}
    return Ensembles(row, target, plain, perturbed) if len(perturbed) == len(kept) else None


def read_rows(rows: Mapping[str, Row]) -> tuple[dict[str, Ensembles], list[str]]:
    """Read the kept ensembles of several rows, and say which rows are incomplete.

    Raises
    ------
    InputError
        If a kept ensemble is stale, or belongs to no row of the project.
    """
    refuse_orphans(load_rows().values())
    results = {name: read_row(row) for name, row in rows.items()}
    notes = []
    for name in [name for name, ensembles in results.items() if ensembles is None]:
        total = len(rows[name].members())
        notes.append(f"Row {name} is left out: {total - len(missing_of(rows[name]))} of {total} ensembles are kept.")
    return {name: ensembles for name, ensembles in results.items() if ensembles is not None}, notes


def missing_of(row: Row) -> list[Key]:
    """Return the ensembles of a row that are not kept, in the order in which they are trained."""
    return [key for key in row.members() if not kept_path(row.ensemble(key)).exists()]


def train_row(row: Row, *, out: str | os.PathLike[str] | None = None, workers: int | None = None) -> Ensembles:
    """Train all ensembles of a row, or read them from stores, and keep nothing beside these stores; see `fptlib.ensemble.train`."""
    _train_snapshots(row, row.members(), out=out, workers=workers)
    plain = _train(row, None, None, out=out, workers=workers)
    target = target_of(row, plain)
    kicked = [key for key in row.members() if key is not None]
    return Ensembles(row, target, plain, {key: _train(row, key, target, out=out, workers=workers) for key in kicked})


def keep_row(
    row: Row,
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    say: Callable[[str], object] = lambda _text: None,
) -> int:
    """Train what is missing of a row, keep each ensemble as soon as it is finished, and return the run-epochs trained.

    Perturbed ensembles branch off snapshots of the unperturbed one. Interrupted, the same call goes on where it was.

    Parameters
    ----------
    row, workers
        What is trained, and by how many processes.
    out
        Folder for the stores in between, a folder of their own in the user's cache by default. What has been kept is removed from it.
    say
        Called with a line on each ensemble that is finished.

    Raises
    ------
    InputError
        As `fptlib.ensemble.train`, or if an ensemble that is kept already is stale.
    """
    todo, total = missing_of(row), len(row.members())
    if not todo:
        read_row(row)  # what is kept must be sound
        say(f"{row.name}: all of {total} ensembles are kept")
        return 0
    stores = (Path(out) if out is not None else cache_dir() / "experiments") / row.name
    started = time.perf_counter()
    sum_trained = _train_snapshots(row, todo, out=stores, workers=workers)
    # What is kept decides, also where this machine would train it otherwise: a row has one threshold.
    plain = read_kept(row.unperturbed)
    for key in todo:  # the unperturbed runs come first
        target = None if plain is None else target_of(row, plain)
        runs = _train(row, key, target, out=stores, workers=workers)
        sum_trained += int(runs.meta["trained"])
        keep(runs, row.ensemble(key))
        if key is None:
            plain = runs
        else:
            shutil.rmtree(stores / row.ensemble(key).digest(), ignore_errors=True)
        there, seconds = total - len(missing_of(row)), time.perf_counter() - started
        say(
            f"{row.name}: {words(key)}: {runs.n_runs} runs; {there} of {total} ensembles are kept after {seconds:.0f} s"
        )
    shutil.rmtree(stores, ignore_errors=True)
    return sum_trained


def run_epochs(row: Row, todo: Iterable[Key]) -> int:
    """Count the run-epochs that these ensembles of a row take at most: perturbed runs from their first perturbation on, none retired.

    Where the unperturbed ensemble is not among them, as many of its runs come first, to the last epoch at which one branches off.
    """
    keys = list(todo)
    total = 0 if None in keys else row.perturbed_runs * max((key[1] for key in keys if key is not None), default=0)
    for key in keys:
        total += row.runs * row.epochs if key is None else row.perturbed_runs * (row.epochs - key[1])
    return total


def _train_snapshots(row: Row, todo: Iterable[Key], *, out: str | os.PathLike[str] | None, workers: int | None) -> int:
    """Take snapshots of unperturbed runs at the periods of the ensembles that are to branch off; return the run-epochs trained."""
    from fptlib import ensemble
    from fptlib.spec import override

    at = {key[1] for key in todo if key is not None}
    if not at:
        return 0
    first = override(row.unperturbed, {"runs": row.perturbed_runs, "epochs": max(at)})
    return int(ensemble.train(first, out=out, keep=at, workers=workers).meta["trained"])


def _train(
    row: Row, key: Key, target: Target | None, *, out: str | os.PathLike[str] | None, workers: int | None
) -> Trajectories:
    from fptlib import ensemble

    spec, retirement = row.ensemble(key), target if row.retire else None
    runs = ensemble.train(spec, out=out, retirement=retirement, workers=workers)
    if runs.n_runs != spec.runs:
        raise InputError(f"row {row.name}: {words(key)} has {runs.n_runs} runs instead of {spec.runs}")
    return runs
