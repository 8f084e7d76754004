"""The way from ensembles to samples: periods, options and records checked, one horizon, replicates drawn together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.response.records import check_labels, oddities
from fptlib.response.sample import Plain, Sample, draw
from fptlib.trajectories import Direction, Trajectories


@dataclass(frozen=True, slots=True)
class Drawn:
    """Ensembles reduced together.

    Parameters
    ----------
    unperturbed
        Unperturbed runs up to the common horizon.
    plain, samples
        See `fptlib.response.sample.draw`.
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
    check_labels(unperturbed, at, once=once)
    check_level(level)
    shortest = check_periods(unperturbed, at, periods)
    horizon = common_horizon(unperturbed, at, threshold=threshold, direction=direction, metric=metric)
    head = unperturbed.head(epochs=horizon)
    plain, samples = draw(
        head,
        [(p, runs.head(epochs=horizon)) for p, runs in at],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    notes = [
        sentence
        for (name, _, runs), sample in zip(measured, samples, strict=True)
        for sentence in (*sample.suspicions(name, shortest), *oddities(head, runs, name))
    ]
    return Drawn(head, plain, samples, tuple(dict.fromkeys(notes)))


def check_periods(
    unperturbed: Trajectories, measured: Sequence[tuple[int, Trajectories]], periods: Sequence[int] | None
) -> int:
    """Return the length of the shortest record, after a look at the measured periods and those to predict for.

    Raises
    ------
    InputError
        If one of them is not possible.
    """
    horizon = min(runs.n_epochs for runs in (unperturbed, *(runs for _, runs in measured)))
    for period, _ in measured:
        if not 1 <= period < horizon:
            raise InputError(
                f"period {period} of the perturbed runs is not between 1 and {horizon - 1} (their horizon is {horizon})"
            )
    for p in periods or ():
        if not 1 <= p <= horizon:
            raise InputError(f"period {p} is not between 1 and the horizon {horizon}")
    return horizon


def common_horizon(
    unperturbed: Trajectories,
    measured: Sequence[tuple[int, Trajectories]],
    *,
    threshold: float,
    direction: Direction,
    metric: str | None,
) -> int:
    """Return the last epoch that enough runs of every ensemble were followed to, see `fptlib.firstpassage.FirstPassageTimes.supported`.

    Raises
    ------
    InputError
        If a measured period is not before it.
    """
    ensembles = (unperturbed, *(runs for _, runs in measured))
    horizon = min(runs.n_epochs for runs in ensembles)
    for runs in ensembles:
        times = first_passage(runs.head(epochs=horizon), threshold=threshold, direction=direction, metric=metric)
        horizon = times.supported(horizon)
    for period, _ in measured:
        if period >= horizon:
            raise InputError(
                f"period {period} is not before epoch {horizon}, the last that enough runs were followed to"
            )
    return horizon


def check_level(level: float) -> None:
    """Raise an InputError for a confidence level that is none."""
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1")
