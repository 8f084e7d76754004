"""The way from ensembles to samples: periods, options and records checked, one horizon, replicates drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.former.records import check_labels, oddities
from fptlib.former.sample import Plain, Sample, draw
from fptlib.trajectories import Direction, Target, Trajectories


@dataclass(frozen=True, slots=True)
class Drawn:
    """Ensembles reduced together.

    Parameters
    ----------
    unperturbed
        Unperturbed runs up to the common horizon.
    plain, samples
        See `fptlib.former.sample.draw`.
    notes
        Sentences on oddities of the runs: a period that they do not show, records cut short, other training.
    """

    unperturbed: Trajectories
    plain: Plain
    samples: list[Sample]
    notes: tuple[str, ...]

    @property
    def horizon(self) -> int:
        """Last epoch that counts."""
        return self.unperturbed.n_epochs


def draw_ensembles(
    unperturbed: Trajectories,
    measured: Sequence[tuple[str, int, Trajectories]],
    *,
    threshold: float,
    periods: Sequence[int] | None = None,
    direction: Direction = "above",
    metric: str | None = None,
    once: bool = False,
    level: float,
    n_boot: int,
    seed: int,
) -> Drawn:
    """Reduce an unperturbed ensemble and several perturbed ones to samples up to their common horizon, replicates drawn together.

    Parameters
    ----------
    unperturbed
        Runs without perturbation.
    measured
        Name, period and runs of each perturbed ensemble.
    periods
        Periods to predict for.
    once
        Whether the perturbed runs may have been perturbed at their period only.

    Raises
    ------
    InputError
        If a period or an option is not possible, a record says that an ensemble is something else, or as `draw`.
    """
    at = [(period, runs) for _, period, runs in measured]
    asked: dict[str, Any] = {"threshold": threshold, "direction": direction, "metric": metric}
    check_labels(unperturbed, at, once=once)
    check_level(level)
    shortest, horizon = horizons(unperturbed, at, periods, **asked)
    head = unperturbed.head(epochs=horizon)
    perturbed = [(p, runs.head(epochs=horizon)) for p, runs in at]
    plain, samples = draw(head, perturbed, **asked, level=level, n_boot=n_boot, seed=seed)
    notes = [
        sentence
        for (name, _, runs), sample in zip(measured, samples, strict=True)
        for sentence in (*sample.suspicions(name, shortest), *oddities(head, runs, name))
    ]
    return Drawn(head, plain, samples, tuple(dict.fromkeys(notes)))


def horizons(
    unperturbed: Trajectories,
    measured: Sequence[tuple[int, Trajectories]],
    periods: Sequence[int] | None,
    *,
    threshold: float,
    direction: Direction,
    metric: str | None,
) -> tuple[int, int]:
    """Return the length of the shortest record, and the last epoch that enough runs of every ensemble were followed to.

    The second, see `fptlib.firstpassage.FirstPassageTimes.supported`, is the horizon of everything that is predicted.

    Raises
    ------
    InputError
        If a measured period is not before them, or a period to predict for is beyond the shortest record.
    """
    ensembles = (unperturbed, *(runs for _, runs in measured))
    shortest = horizon = min(runs.n_epochs for runs in ensembles)
    for period, _ in measured:
        if not 1 <= period < shortest:
            raise InputError(
                f"period {period} of the perturbed runs is not between 1 and {shortest - 1} (their horizon is {shortest})"
            )
    for period in periods or ():
        if not 1 <= period <= shortest:
            raise InputError(f"period {period} is not between 1 and the horizon {shortest}")
    for runs in ensembles:
        times = first_passage(runs.head(epochs=horizon), Target(threshold, direction, metric))
        horizon = times.supported(horizon)
    for period, _ in measured:
        if period >= horizon:
            raise InputError(
                f"period {period} is not before epoch {horizon}, the last that enough runs were followed to"
            )
    return shortest, horizon


def check_level(level: float) -> None:
    """Raise an InputError for a confidence level that is none."""
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1")
