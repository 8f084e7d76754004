"""Epochs of one metric: counted from what each run logged with its values, or refused with file and place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Log


@dataclass(slots=True)
class Told:
    """Sentences, each with the metrics or runs that it is about, in the order in which they came up."""

    by_metric: dict[str, list[str]] = field(default_factory=dict)
    resumed: dict[int, str] = field(default_factory=dict)

    def say(self, metric: str, sentence: str) -> None:
        """Note a sentence about one metric."""
        self.by_metric.setdefault(sentence, []).append(metric)


@dataclass(frozen=True, slots=True)
class Counted:
    """Values of one metric from epoch 1 on, for each run, and how many steps (or epochs) of the log make one epoch."""

    values: list[NDArray[np.float64]]
    unit: int


def count(logs: Sequence[Log], name: str, way: str, every: int | None, told: Told) -> Counted:
    """Count the values of one metric."""
    found = [_places(log, name, way, row, logs, told) for row, log in enumerate(logs)]
    unit = every or (1 if way == "epoch" else _spacing(logs[0], name, found))
    values, starts = [], []
    for log, (place, value, index) in zip(logs, found, strict=True):
        _check_spacing(log, name, way, place, index, unit, every)
        start = place[0]
        if 0 <= start < unit - 1:
            told.say(name, f"what was logged at {way} {start:g}, before the first {unit} {way}s were over, is left out")
            place, value = place[1:], value[1:]
            if not len(place):
                raise InputError(
                    f"{log.where(name, int(index[0]))}: {name} is logged at {way} {start:g} and not after it"
                )
        elif start < 0 or start > unit:
            raise InputError(
                f"{log.where(name, int(index[0]))}: {name} starts at {way} {start:g}, what came before is missing; was the run resumed "
                "in a file of its own? join the two"
            )
        starts.append(int(place[0]))
        values.append(value)
    row = next((row for row, start in enumerate(starts) if start != starts[0]), None)
    if row is not None:
        raise InputError(
            f"{logs[row].title}: {name} starts at {way} {starts[row]}, but in {logs[0].title} at {starts[0]}; count alike in all runs"
        )
    if unit > 1 or way == "step":
        told.say(
            name, f"one epoch is {unit} {way}{'s' if unit > 1 else ''} of the log, from one evaluation to the next"
        )
    if starts[0] == unit - 1:
        told.say(name, f"{way}s that the log counts from 0 are counted from 1")
    return Counted(values=values, unit=unit)


def _places(
    log: Log, name: str, way: str, row: int, logs: Sequence[Log], told: Told
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Epochs or steps at which a run logged a metric, rising, the values that count, and which they are."""
    if name in log.faults:
        raise InputError(log.faults[name])
    if name not in log.metrics or not len(log.metrics[name].value):
        other = next(
            one for one in logs if name in one.faults or (name in one.metrics and len(one.metrics[name].value))
        )
        raise InputError(f"{log.title}: never logs {name}, which {other.title} does; leave this run out, or the metric")
    series = log.metrics[name]
    place = series.epoch if way == "epoch" else series.step
    if place is None:
        raise InputError(f"{log.title}: {name} is logged without {'an epoch' if way == 'epoch' else 'a step'}")
    odd = np.flatnonzero(place != np.floor(place))  # also where there is none
    if len(odd):
        said = "no " + way if np.isnan(place[odd[0]]) else f"{way} {place[odd[0]]:g}, no whole number"
        raise InputError(f"{log.where(name, int(odd[0]))}: {name} is logged at {said}{_by_step(way, series.step)}")
    bad = np.flatnonzero(~np.isfinite(series.value))
    if len(bad):
        i = int(bad[0])
        raise InputError(
            f"{log.where(name, i)}: {name} is {series.value[i]} at {way} {place[i]:g}, a finite number is needed; if the run diverged for "
            "good, write a value that no threshold takes for a passage"
        )
    index = np.arange(len(place))
    if (np.diff(place) <= 0).any():
        index, back = _settle(log, name, way, place)
        if back is not None:
            told.resumed.setdefault(row, log.where(name, back))
    return place[index], series.value[index], index


def _by_step(way: str, step: NDArray[np.float64] | None) -> str:
    return "; axis='step' counts evaluations by steps" if way == "epoch" and step is not None else ""


def _settle(log: Log, name: str, way: str, place: NDArray[np.float64]) -> tuple[NDArray[np.int64], int | None]:
    """Which values count where epochs or steps go back, and the first that went back: a resumed run logs some of them again."""
    series, kept, back = log.metrics[name], list[int](), None
    for i, here in enumerate(place):
        gone_back = bool(kept) and place[kept[-1]] > here
        while kept and (place[kept[-1]] > here or (gone_back and place[kept[-1]] == here)):
            kept.pop()
        if gone_back:
            back = i if back is None else back
            if not kept:
                raise InputError(
                    f"{log.where(name, i)}: {name} starts again at {way} {here:g}; keep one run in a file, or what its last start logged"
                )
        if kept and place[kept[-1]] == here:
            first, again = series.value[kept[-1]], series.value[i]
            if first != again:
                raise InputError(
                    f"{log.where(name, i)}: {name} is logged more than once at {way} {here:g}, {first:.6g} and {again:.6g}"
                    f"{_by_step(way, series.step) or '; keep the value that counts'}"
                )
            continue
        kept.append(i)
    return np.array(kept, dtype=np.int64), back


def _spacing(
    log: Log, name: str, found: list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]]
) -> int:
    """The distance of evaluations that occurs most often."""
    distances, counts = np.unique(np.concatenate([np.diff(place) for place, _, _ in found]), return_counts=True)
    if not len(distances):
        raise InputError(
            f"{log.title}: {name} is logged once, which does not tell how many steps make an epoch; say so by every="
        )
    return int(distances[counts.argmax()])


def _check_spacing(
    log: Log, name: str, way: str, place: NDArray[np.float64], index: NDArray[np.int64], unit: int, every: int | None
) -> None:
    distance = np.diff(place)
    wrong = np.flatnonzero(distance != unit)
    if not len(wrong):
        return
    i = int(wrong[0])
    if (distance == distance[0]).all():
        remedy = f"; where it is logged every {distance[0]:g} {way}s, every={distance[0]:g} makes them one epoch"
    else:
        remedy = "; fill in what is missing, or leave the run out"
    expected = f"{unit} {way}s apart" if unit > 1 or every else f"each {way}" if way == "epoch" else "each step"
    raise InputError(
        f"{log.where(name, int(index[i + 1]))}: {name} goes from {way} {place[i]:g} to {place[i + 1]:g}, and is needed {expected}{remedy}"
    )
