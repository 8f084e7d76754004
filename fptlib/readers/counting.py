"""Epochs of one metric: counted from what each run logged with its values, or refused with file and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Log, Series
from fptlib.trajectories.checks import LOSS, switched, unlike

_OFTEN = 4  # a run that was resumed repeats an epoch now and then; a log of batches repeats more than each fourth


@dataclass(frozen=True, slots=True)
class Counted:
    """One metric by epochs."""

    values: NDArray[np.float64]  # (runs, epochs) from epoch 1 on, NaN after the last of a run
    lengths: NDArray[np.int64]  # epochs of each run
    unit: int  # steps (or epochs) of the log that make one epoch
    start: int  # where the log has the first value that counts
    ends: NDArray[np.float64]  # where it has the last, of each run
    notes: list[str]  # sentences on what was adjusted


def count(logs: Sequence[Log], name: str, way: str, every: int | None, zero: str | None) -> Counted:
    """Count the values of one metric; if that is possible in no way or in several, an InputError names file and place.

    ``way`` and ``zero`` are ``axis`` and ``epoch_zero`` of `fptlib.readers.assemble`, ``None`` for a zero that nothing tells of.
    """
    settled = [_settle(log, name, way, _series(log, name, way, logs)) for log in logs]
    places = [getattr(series, way) for series, _ in settled]
    own = _spacing(places)
    unit = every or (1 if way == "epoch" else own)
    if unit is None:
        raise InputError(
            f"{logs[0].title}: {name} is logged once, which does not tell how many steps make an epoch; say so by every="
        )
    apart = own if every and own and unit % own == 0 else unit  # of the values in between none counts
    notes, kept, starts = list[str](), list[NDArray[np.float64]](), list[float]()
    for log, (series, _), place in zip(logs, settled, places, strict=True):
        early = int(0 <= place[0] < apart - 1 or (place[0] == 0 and zero == "before"))
        if early == len(place):
            raise InputError(f"{log.where(series, 0)}: {name} is logged at {way} {place[0]:g} and not after it")
        if early:
            until = "training" if apart == 1 else f"the first {apart} {way}s were over"
            notes.append(f"what was logged at {way} {place[0]:g}, before {until}, is left out")
        _check_spacing(log, name, way, series.take(np.arange(early, len(place))), apart, every)
        if not 0 <= place[early] <= apart + early * place[0]:
            raise InputError(
                f"{log.where(series, early)}: {name} starts at {way} {place[early]:g}, what came before is missing; was the run resumed in "
                "a file of its own? join the two"
            )
        starts.append(place[early])
        kept.append(series.value[early + unit // apart - 1 :: unit // apart])
        if starts[-1] != starts[0]:
            raise InputError(
                f"{log.title}: {name} starts at {way} {starts[-1]:g}, but in {logs[0].title} at {starts[0]:g}; count alike in all runs"
            )
        if not len(kept[-1]):
            raise InputError(
                f"{log.title}: {name} ends at {way} {place[-1]:g}, before the first {unit} {way}s are over"
            )
    if unit > 1 or way == "step":
        notes.append(f"one epoch is {unit} {way}{'s' * (unit > 1)} of the log, from one evaluation to the next")
    if apart < unit:
        notes.append(f"values in between, logged every {apart} {way}{'s' * (apart > 1)}, are passed over")
    if starts[0] == apart - 1:
        remedy = "; if 0 is an evaluation before training, epoch_zero='before' leaves it out"
        notes.append(f"{way}s that the log counts from 0 are counted from 1{'' if zero or apart > 1 else remedy}")
    if resumed := [back for _, back in settled if back is not None]:
        many = f"{len(resumed)} runs were" if len(resumed) > 1 else "1 run was"
        notes.append(f"{many} resumed ({resumed[0]}); of what is logged twice the last counts")
    lengths = np.array([len(own) for own in kept])
    values = np.full((len(logs), lengths.max()), np.nan)
    values[np.arange(lengths.max()) < lengths[:, None]] = np.concatenate(kept)
    titles = [log.title for log in logs]
    if fault := (not LOSS.search(name) and switched(values, titles)) or unlike(values, titles):
        raise InputError(f"{name} in {fault}")
    return Counted(values, lengths, unit, int(starts[0]), np.array([place[-1] for place in places]), notes)


def _series(log: Log, name: str, way: str, logs: Sequence[Log]) -> Series:
    """Return the values of a metric if each is finite and has a whole number for its epoch or step; NaN between values is none."""
    if name in log.faults:
        raise InputError(log.faults[name])
    series = log.metrics.get(name)
    if series is None or not len(series.value):
        other = next(one for one in logs if one.has(name))
        raise InputError(f"{log.title}: never logs {name}, which {other.title} does; leave this run out, or the metric")
    if getattr(series, way) is None:
        raise InputError(f"{log.title}: {name} is logged without {'an epoch' if way == 'epoch' else 'a step'}")
    series = without_gaps(series, way)
    place = getattr(series, way)
    for i in np.flatnonzero(place != np.floor(place))[:1]:  # also where there is none
        at = f"no {way}" if np.isnan(place[i]) else f"{way} {place[i]:g}, no whole number"
        raise InputError(f"{log.where(series, i)}: {name} is logged at {at}{_by_step(way, series)}")
    for i in np.flatnonzero(~np.isfinite(series.value))[:1]:
        raise InputError(
            f"{log.where(series, i)}: {name} is {series.value[i]} at {way} {place[i]:g}, a finite number is needed; if the run diverged "
            "for good, write a value that no threshold takes for a passage"
        )
    return series


def without_gaps(series: Series, way: str) -> Series:
    """Leave out NaN where nothing was evaluated: between two values, and after the last until another one was due."""
    there = ~np.isnan(series.value)
    if there.all() or not there.any():
        return series
    place, last = getattr(series, way), int(np.flatnonzero(there)[-1])
    due = place[last] + (_spacing([place[there]]) or 1)
    return series.take(there | ((np.arange(len(there)) > last) & (place >= due)))


def _by_step(way: str, series: Series) -> str:
    return "; axis='step' counts evaluations by steps" if way == "epoch" and series.step is not None else ""


def _settle(log: Log, name: str, way: str, series: Series) -> tuple[Series, str | None]:
    """Return the values that count, and the place of the first that goes back: a resumed run logs some epochs or steps again.

    A value that is logged again at once may be that of a run that was resumed, too, if it goes on from there and that happens rarely.
    """
    place = getattr(series, way)
    if (np.diff(place) > 0).all():
        return series, None
    kept, resumed, repeated = list[int](), None, dict[int, int]()
    for i, here in enumerate(place):
        back = bool(kept) and place[kept[-1]] > here
        while back and kept and place[kept[-1]] >= here:
            kept.pop()
        if back and not kept:
            raise InputError(
                f"{log.where(series, i)}: {name} starts again at {way} {here:g}; keep one run in a file, or what its last start logged"
            )
        if kept and place[kept[-1]] == here:
            if series.value[kept[-1]] == series.value[i]:
                continue
            back, repeated[i] = True, kept.pop()
        if back:
            resumed = resumed or log.where(series, i)
        kept.append(i)
    for i, first in [*repeated.items()][: int(len(repeated) > max(1, len(kept) // _OFTEN) or kept[-1] in repeated)]:
        raise InputError(
            f"{log.where(series, i)}: {name} is logged more than once at {way} {place[i]:g}, {series.value[first]:.6g} and "
            f"{series.value[i]:.6g}{_by_step(way, series) or '; keep the value that counts'}"
        )
    return series.take(np.array(kept)), resumed


def _spacing(places: Sequence[NDArray[np.float64]]) -> int | None:
    """Return the distance of evaluations that occurs most often; ``None`` where each run has one."""
    apart = np.concatenate([np.diff(place) for place in places])
    distances, counts = np.unique(apart[apart >= 1], return_counts=True)
    return int(distances[counts.argmax()]) if len(distances) else None


def _check_spacing(log: Log, name: str, way: str, series: Series, unit: int, every: int | None) -> None:
    place = getattr(series, way)
    distance = np.diff(place)
    for i in np.flatnonzero(distance != unit)[:1]:
        remedy = "fill in what is missing, or leave the run out"
        if (distance == distance[0]).all():
            remedy = f"where it is logged every {distance[0]:g} {way}s, every={distance[0]:g} makes them one epoch"
        expected = f"{unit} {way}s apart" if unit > 1 or every else f"each {way}"
        raise InputError(
            f"{log.where(series, i + 1)}: {name} goes from {way} {place[i]:g} to {place[i + 1]:g}, and is needed {expected}; {remedy}"
        )
