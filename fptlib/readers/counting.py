"""Epochs of one metric: counted from what each run logged with its values, or refused with file and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Log, Series


@dataclass(frozen=True, slots=True)
class Counted:
    """One metric by epochs."""

    values: list[NDArray[np.float64]]  # of each run, from epoch 1 on
    unit: int  # steps (or epochs) of the log that make one epoch
    notes: list[str]  # sentences on what was adjusted
    resumed: dict[int, str]  # the runs that were resumed, by their place, and where in their file


def count(logs: Sequence[Log], name: str, way: str, every: int | None) -> Counted:
    """Count the values of one metric; if that is possible in no way or in several, an InputError names file and place."""
    notes, values, starts = [], [], list[int]()
    settled = [_settle(log, name, way, _series(log, name, way, logs)) for log in logs]
    unit = every or (1 if way == "epoch" else _spacing(logs[0], name, [series.step for series, _ in settled]))
    for log, (series, _) in zip(logs, settled, strict=True):
        _check_spacing(log, name, way, series, unit, every)
        place = getattr(series, way)
        start, first = place[0], int(0 <= place[0] < unit - 1)
        if first:
            notes.append(f"what was logged at {way} {start:g}, before the first {unit} {way}s were over, is left out")
        elif start < 0 or start > unit:
            raise InputError(
                f"{log.where(series, 0)}: {name} starts at {way} {start:g}, what came before is missing; was the run resumed in a file of "
                "its own? join the two"
            )
        if first == len(place):
            raise InputError(f"{log.where(series, 0)}: {name} is logged at {way} {start:g} and not after it")
        starts.append(int(place[first]))
        values.append(series.value[first:])
        if starts[-1] != starts[0]:
            raise InputError(
                f"{log.title}: {name} starts at {way} {starts[-1]}, but in {logs[0].title} at {starts[0]}; count alike in all runs"
            )
    if unit > 1 or way == "step":
        notes.append(f"one epoch is {unit} {way}{'s' if unit > 1 else ''} of the log, from one evaluation to the next")
    if starts[0] == unit - 1:
        notes.append(f"{way}s that the log counts from 0 are counted from 1")
    return Counted(values, unit, notes, {row: back for row, (_, back) in enumerate(settled) if back is not None})


def _series(log: Log, name: str, way: str, logs: Sequence[Log]) -> Series:
    """Return the values of a metric if each is finite and has a whole number for its epoch or step."""
    if name in log.faults:
        raise InputError(log.faults[name])
    series = log.metrics.get(name)
    if series is None or not len(series.value):
        other = next(one for one in logs if one.has(name))
        raise InputError(f"{log.title}: never logs {name}, which {other.title} does; leave this run out, or the metric")
    place = getattr(series, way)
    if place is None:
        raise InputError(f"{log.title}: {name} is logged without {'an epoch' if way == 'epoch' else 'a step'}")
    for i in np.flatnonzero(place != np.floor(place))[:1]:  # also where there is none
        at = f"no {way}" if np.isnan(place[i]) else f"{way} {place[i]:g}, no whole number"
        raise InputError(f"{log.where(series, i)}: {name} is logged at {at}{_by_step(way, series)}")
    for i in np.flatnonzero(~np.isfinite(series.value))[:1]:
        raise InputError(
            f"{log.where(series, i)}: {name} is {series.value[i]} at {way} {place[i]:g}, a finite number is needed; if the run diverged "
            "for good, write a value that no threshold takes for a passage"
        )
    return series


def _by_step(way: str, series: Series) -> str:
    return "; axis='step' counts evaluations by steps" if way == "epoch" and series.step is not None else ""


def _settle(log: Log, name: str, way: str, series: Series) -> tuple[Series, str | None]:
    """Return the values that count, and the place of the first that goes back: a resumed run logs some epochs or steps again."""
    place = getattr(series, way)
    if (np.diff(place) > 0).all():
        return series, None
    kept, resumed = list[int](), None
    for i, here in enumerate(place):
        back = bool(kept) and place[kept[-1]] > here
        while back and kept and place[kept[-1]] >= here:
            kept.pop()
        if back:
            resumed = resumed or log.where(series, i)
            if not kept:
                raise InputError(
                    f"{log.where(series, i)}: {name} starts again at {way} {here:g}; keep one run in a file, or what its last start logged"
                )
        if kept and place[kept[-1]] == here:
            first, again = series.value[kept[-1]], series.value[i]
            if first != again:
                raise InputError(
                    f"{log.where(series, i)}: {name} is logged more than once at {way} {here:g}, {first:.6g} and {again:.6g}"
                    f"{_by_step(way, series) or '; keep the value that counts'}"
                )
            continue
        kept.append(i)
    return series.take(np.array(kept)), resumed


def _spacing(log: Log, name: str, steps: Sequence[NDArray[np.float64] | None]) -> int:
    """Return the distance of evaluations that occurs most often."""
    apart = np.concatenate([np.diff(step) for step in steps if step is not None])
    distances, counts = np.unique(apart, return_counts=True)
    if not len(distances):
        raise InputError(
            f"{log.title}: {name} is logged once, which does not tell how many steps make an epoch; say so by every="
        )
    return int(distances[counts.argmax()])


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
