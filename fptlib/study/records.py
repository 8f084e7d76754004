"""What the records of ensembles say of their training: labels that are wrong, rules applied once, schedules, other parameters.

A residual time is carried from one epoch to another as if training were the same at both, which the metric cannot show:
a learning rate that falls may leave the survivors' accuracy as it was. Records are read by
`fptlib.trajectories.origin`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.study.causes import Cause, Note
from fptlib.trajectories import Trajectories
from fptlib.trajectories.origin import Origin

Runs = Trajectories | FirstPassageTimes
Key = tuple[str, int]  # perturbation and period


def origin_of(runs: Runs) -> Origin:
    """Return the record of an ensemble; an empty one where there is none."""
    return Origin.of(runs) if isinstance(runs, Trajectories) else Origin({})


def check_unperturbed(runs: Runs) -> None:
    """Raise an InputError if the record of unperturbed runs says that they were perturbed."""
    origin = origin_of(runs)
    within = isinstance(runs, FirstPassageTimes) or origin.period is None or origin.period < runs.n_epochs
    if origin.perturbation and within:
        raise InputError(
            f"the runs given as unperturbed were perturbed ({_rule(origin)}), says their record: were the two ensembles swapped?"
        )


def check_units(ensembles: Iterable[tuple[str, Runs]]) -> None:
    """Raise an InputError if one epoch of two ensembles, given with their names, is not the same part of their logs.

    Epochs and steps that are one evaluation each are the same; of a store, and of times alone, nothing is known.
    """
    known = [(name, runs.meta) for name, runs in ensembles if isinstance(runs, Trajectories) and "every" in runs.meta]
    for (name, one), (other_name, other) in itertools.pairwise(known):
        mixed = one["axis"] != other["axis"]
        if one["every"] == other["every"] and (one["every"] == 1 or not mixed):
            continue
        same = math.lcm(one["every"], other["every"])
        remedy = "axis='step' for both" if mixed else f"every={same} for both, where each has evaluations at these"
        raise InputError(
            f"one epoch is {_unit(one)} for {name} and {_unit(other)} for {other_name}: times in different units cannot be compared; read "
            f"them alike ({remedy}), or evaluate alike"
        )


def _unit(meta: Mapping[str, Any]) -> str:
    return f"{meta['every']} {meta['axis']}{'s' * (meta['every'] > 1)} of the log {meta.get('source', '')}".rstrip()


def applied_once(key: Key, runs: Runs, *, once: bool) -> bool:
    """Test whether runs were perturbed at their period only, by their record or, without one, as ``once`` has it.

    An InputError says where the record contradicts ``once``, or names no perturbation or another period.
    """
    (name, period), origin = key, origin_of(runs)
    given = f"the runs given as perturbed at epoch {period}"
    if origin.unperturbed:
        raise InputError(f"{given} were trained without perturbation, says their record")
    if not origin.perturbation:
        return once
    if origin.period not in (None, period):
        raise InputError(f"{given} have {_rule(origin)} in their record")
    if once and origin.repeat != "once":
        raise InputError(f"the runs of {name} were perturbed {_rule(origin)}, says their record, and not once only")
    return origin.repeat == "once"


def differences(unperturbed: Runs, perturbed: Runs, name: str) -> Iterator[Note]:
    """Yield a note where the two ensembles were trained differently, beside the perturbation."""
    items = [*origin_of(unperturbed).differences(origin_of(perturbed))]
    if items:
        listed = ", ".join(f"{key} ({_value(one)} and {_value(other)})" for key, one, other in items)
        yield Cause.TRAINING.note(name=name, differences=listed)


def doubts(origins: tuple[Origin, ...], *, horizon: int, period: int, source: int) -> Iterator[Note]:
    """Yield notes on why runs perturbed at epoch ``source`` may say little of runs perturbed with ``period``."""
    if period == source:
        return
    schedule = moving(origins, horizon=horizon, after=min(period, source))
    if schedule is not None:
        yield Cause.SCHEDULE.note(schedule=schedule, source=source)
    if origins[-1].tied_to_period:
        yield Cause.TIED.note(rule=origins[-1].perturbation.get("name"), source=source)


def moving(origins: tuple[Origin, ...], *, horizon: int, after: int) -> str | None:
    """Return the schedule by which training is not the same at all epochs after ``after``; ``None`` where no record names one."""
    for origin in origins:
        steady = origin.steady_from(horizon)
        if steady is None or steady > after + 1:
            return origin.schedule_in_words(horizon)
    return None


def _value(value: object) -> str:
    return "the default" if value is None else str(value)


def _rule(origin: Origin) -> str:
    name = origin.perturbation.get("name", "a perturbation")
    periodic = origin.repeat == "periodic"
    return f"{name} every {origin.period} epochs" if periodic else f"{name} at epoch {origin.period} only"
