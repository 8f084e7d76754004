"""All ensembles of a row, kept with the book or trained now, with the threshold that its unperturbed runs give."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from companion.experiments.kept import keep, kept_path, read_kept, refuse_orphans
from companion.experiments.rows import Key, Row, load_rows, words
from companion.experiments.threshold import Threshold, threshold_of
from fptlib.errors import InputError
from fptlib.sources import cache_dir
from fptlib.trajectories import Retirement, Trajectories


@dataclass(frozen=True, slots=True)
class Ensembles:
    """The runs of a row.

    Parameters
    ----------
    row
        What they are.
    threshold
        Taken from the unperturbed runs.
    unperturbed
        Runs without perturbation.
    perturbed
        Perturbation and period to its runs; a perturbation has all its periods.
    missing
        Ensembles of the row that are not here, in words.
    """

    row: Row
    threshold: Threshold
    unperturbed: Trajectories
    perturbed: Mapping[tuple[str, int], Trajectories]
    missing: tuple[str, ...] = field(default=())


def retirement_of(row: Row, threshold: Threshold) -> Retirement | None:
    """Where perturbed runs of the row leave their training."""
    if not row.retire:
        return None
    return Retirement(threshold=threshold.value, direction=row.direction, metric=row.metric)


def read_row(row: Row, folder: str | os.PathLike[str] | None = None) -> Ensembles | None:
    """The kept ensembles of a row; ``None`` where its unperturbed runs, or all perturbations, are missing.

    Raises
    ------
    InputError
        If a kept ensemble is stale, see `companion.experiments.read_kept`.
    """
    plain = read_kept(row.unperturbed, folder=folder)
    if plain is None:
        return None
    threshold = threshold_of(row, plain)
    at = retirement_of(row, threshold)
    found: dict[tuple[str, int], Trajectories | None] = {}
    for key in row.members():
        if key is not None:
            found[key] = read_kept(row.ensemble(key), retirement=at, folder=folder)
    missing = tuple(words(key) for key, runs in found.items() if runs is None)
    incomplete = {key[0] for key, runs in found.items() if runs is None}
    whole = {key: runs for key, runs in found.items() if runs is not None and key[0] not in incomplete}
    if not set(row.perturbations) & {name for name, _ in whole}:
        return None
    return Ensembles(row, threshold, plain, whole, missing)


def read_rows(
    rows: Mapping[str, Row], folder: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Ensembles], list[str]]:
    """Kept ensembles of several rows, and in sentences what is not there.

    Raises
    ------
    InputError
        If a kept ensemble is stale, or belongs to no row of the project.
    """
    refuse_orphans(load_rows().values() if folder is None else rows.values(), folder)
    found, said = {}, []
    for name, row in rows.items():
        ensembles = read_row(row, folder)
        if ensembles is None:
            said.append(f"Nothing is kept of row {name}.")
            continue
        found[name] = ensembles
        if ensembles.missing:
            said.append(f"Of row {name} these are not kept: {', '.join(ensembles.missing)}.")
    return found, said


def missing_of(row: Row, folder: str | os.PathLike[str] | None = None) -> list[Key]:
    """Ensembles of a row that are not kept, in the order in which they are trained."""
    return [key for key in row.members() if not kept_path(row.ensemble(key), folder).exists()]


def train_row(
    row: Row,
    *,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
) -> Ensembles:
    """Train all ensembles of a row, or read them from stores, and keep nothing beside these stores.

    Parameters
    ----------
    row
        The row.
    out, workers
        As in `fptlib.ensemble.train`.

    Raises
    ------
    InputError
        As `fptlib.ensemble.train`.
    """
    plain, _ = _unperturbed(row, row.members(), out=out, workers=workers)
    threshold = threshold_of(row, plain)
    perturbed = {
        key: _perturbed(row, key, threshold, out=out, workers=workers) for key in row.members() if key is not None
    }
    return Ensembles(row, threshold, plain, perturbed)


def keep_row(
    row: Row,
    *,
    folder: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    say: Callable[[str], object] = lambda _text: None,
) -> int:
    """Train what is missing of a row and keep each ensemble as soon as it is finished.

    Perturbed ensembles branch off snapshots of the unperturbed one. Interrupted, the same call goes on where it was.

    Parameters
    ----------
    row
        The row.
    folder
        See `companion.experiments.kept_folder`.
    out
        Folder for the stores in between, a folder of their own in the user's cache by default. What has been kept is removed from it.
    workers
        As in `fptlib.ensemble.train`.
    say
        Told in a line of each ensemble that is finished.

    Returns
    -------
    int
        Run-epochs trained.

    Raises
    ------
    InputError
        As `fptlib.ensemble.train`, or if an ensemble that is kept already is stale.
    """
    todo = missing_of(row, folder)
    if not todo:
        read_row(row, folder)  # what is kept must be sound
        say(f"{row.name}: all of {len(row.members())} ensembles are kept")
        return 0
    stores = Path(out) if out is not None else cache_dir() / "experiments"
    stores = stores / row.name
    total, n = len(row.members()), len(row.members()) - len(todo)
    plain = read_kept(row.unperturbed, folder=folder)
    if plain is None:
        started = time.perf_counter()
        plain, trained = _unperturbed(row, todo, out=stores, workers=workers)
        keep(plain, row.unperturbed, folder=folder)
        n += 1
        say(_line(row, None, plain, trained, time.perf_counter() - started, n, total))
    else:
        # What is kept decides, also where this machine would train it otherwise: a row has one threshold.
        trained = _snapshots(row, todo, out=stores, workers=workers)
    threshold = threshold_of(row, plain)
    say(f"{row.name}: threshold {threshold.value:.6g}, {100 * threshold.censored:.0f} % of {threshold.n_runs} censored")
    for key in todo:
        if key is None:
            continue
        started = time.perf_counter()
        runs = _perturbed(row, key, threshold, out=stores, workers=workers)
        trained += int(runs.meta["trained"])
        keep(runs, row.ensemble(key), folder=folder)
        shutil.rmtree(stores / row.ensemble(key).digest(), ignore_errors=True)
        n += 1
        say(_line(row, key, runs, int(runs.meta["trained"]), time.perf_counter() - started, n, total))
    shutil.rmtree(stores, ignore_errors=True)
    return trained


def run_epochs(row: Row, todo: Iterable[Key]) -> int:
    """Run-epochs that these ensembles of a row take at most: perturbed runs from their first perturbation on, none retired.

    Where the unperturbed ensemble is not among them, as many of its runs come first, to the last epoch at which one branches off.
    """
    keys = list(todo)
    total = 0 if None in keys else row.perturbed_runs * max((key[1] for key in keys if key is not None), default=0)
    for key in keys:
        total += row.runs * row.epochs if key is None else row.perturbed_runs * (row.epochs - key[1])
    return total


def _line(row: Row, key: Key, runs: Trajectories, trained: int, seconds: float, n: int, total: int) -> str:
    return (
        f"{row.name}: {words(key)}: {runs.n_runs} runs, {trained} run-epochs trained in {seconds:.1f} s; "
        f"{n} of {total} ensembles are kept"
    )


def _snapshots(row: Row, todo: Iterable[Key], *, out: str | os.PathLike[str] | None, workers: int | None) -> int:
    """Snapshots of unperturbed runs at the periods of the ensembles that are to branch off; returns the run-epochs trained."""
    from fptlib import ensemble
    from fptlib.spec import override

    at = {key[1] for key in todo if key is not None}
    if not at:
        return 0
    first = override(row.unperturbed, {"runs": row.perturbed_runs, "epochs": max(at)})
    return int(ensemble.train(first, out=out, keep=at, workers=workers).meta["trained"])


def _unperturbed(
    row: Row, todo: Iterable[Key], *, out: str | os.PathLike[str] | None, workers: int | None
) -> tuple[Trajectories, int]:
    """Unperturbed runs, with the snapshots that these ensembles branch off from, and the run-epochs trained."""
    from fptlib import ensemble

    before = _snapshots(row, todo, out=out, workers=workers)
    plain = ensemble.train(row.unperturbed, out=out, workers=workers)
    return plain, before + int(plain.meta["trained"])


def _perturbed(
    row: Row, key: Key, threshold: Threshold, *, out: str | os.PathLike[str] | None, workers: int | None
) -> Trajectories:
    from fptlib import ensemble

    runs = ensemble.train(row.ensemble(key), out=out, retirement=retirement_of(row, threshold), workers=workers)
    if runs.n_runs != row.perturbed_runs:
        raise InputError(f"row {row.name}: {words(key)} has {runs.n_runs} runs instead of {row.perturbed_runs}")
    return runs
