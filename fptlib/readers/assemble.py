"""Make one record of runs by epochs of what each run logged: counting, resumed runs, gaps, ends, all in one place.

Nothing is made up. A metric that can be counted in one way only is counted, and ``meta["notes"]`` names what was adjusted; one that cannot
is left out with one line that names file and place, which is the answer to whoever asks for it; where no metric is left, that line is the
error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError, meant
from fptlib.readers.counting import Counted, count
from fptlib.readers.logs import Log, labels
from fptlib.trajectories import Trajectories
from fptlib.trajectories.checks import CLOCK, RATE, doubts

Axis = Literal["auto", "epoch", "step"]
Zero = Literal["first", "before"]
_FEWEST = 3  # values of a metric that tell where evaluations are
_WAYS: tuple[Literal["epoch", "step"], ...] = ("epoch", "step")


def assemble(
    logs: Sequence[Log],
    *,
    source: str,
    axis: Axis = "auto",
    every: int | None = None,
    epoch_zero: Zero | None = None,
    metric: str | None = None,
    kind: str | None = None,
) -> Trajectories:
    """Combine the logs of several runs, one each.

    ``source`` says where they come from, for messages and ``meta``, which keeps ``kind`` as ``format``. ``axis`` counts as time: the
    ``"epoch"`` that was logged, or optimiser ``"step"``, equally spaced, of which evaluation ``k`` becomes epoch ``k``; by default
    epochs, if at least one metric can be counted so, else steps. ``every`` steps (or epochs) of the log make one epoch here, with the
    value at its end; by default 1 where epochs are counted, and where steps are counted, the largest distance found among the metrics:
    evaluations are rarer than training losses. ``epoch_zero`` is the ``"first"`` epoch, or an evaluation ``"before"`` training, which is
    left out; by default the first, unless the log shows otherwise. Where ``metric`` is named, only that one is read, and decides.

    In ``meta`` are ``axis`` and ``every`` (what one epoch is), ``names`` of the runs by label, ``notes`` (sentences on what was
    adjusted), ``left_out`` (metrics that cannot be counted, and why). If none can, an InputError says why for the first.
    """
    if axis not in ("auto", *_WAYS):
        raise InputError(f"axis {axis!r} is not known; choose auto, epoch or step")
    if epoch_zero not in (None, "first", "before"):
        raise InputError(f"epoch_zero {epoch_zero!r} is not known; choose first or before")
    if every is not None and every < 1:
        raise InputError(f"every is {every}; an evaluation every 1 or more epochs or steps is needed")
    if not logs:
        raise InputError(f"{source}: no run")
    names = list(dict.fromkeys(name for log in logs for name in (*log.metrics, *log.faults) if log.has(name)))
    if not names:
        raise InputError(f"{source}: no metric; at least one is needed")
    if metric not in (None, *names):
        raise InputError(
            f"{source}: no metric {metric!r}; there is {', '.join(sorted(names))}{meant(str(metric), names)}"
        )
    requested = names if metric is None else [metric]
    leading = _leading(logs, names)
    ways = [way for way in _WAYS if any(_places(log, requested, way) for log in logs)] or ["epoch"]
    before = [epoch_zero is None and _before_training(log, leading) for log in logs]
    uncounted = list[str]()
    for way in ways if axis == "auto" else [axis]:
        shown = way == "epoch" and all(before)
        columns, faults = _columns(logs, requested, leading, way, every, "before" if shown else epoch_zero)
        if [name for name in columns if name in leading] or (columns and not {*leading} & {*requested}):
            break
        uncounted.append(next(faults[name] for name in [*leading, *faults] if name in faults))
    else:
        raise InputError(uncounted[0])
    lengths = np.array([column.lengths for column in columns.values()])  # (metrics, runs)
    followed, longest = lengths.min(axis=0), lengths.max(axis=0)
    cut = np.flatnonzero(followed < longest)  # interrupted between two metrics of its last epoch
    s, at = "s" * (len(cut) > 1), [f"{logs[row].title}, epoch {longest[row]}" for row in cut[:1]]
    later = np.arange(followed.max()) >= followed[:, None]
    numbers = labels([log.name for log in logs])
    runs = Trajectories(
        metrics={name: np.where(later, np.nan, column.values[:, : followed.max()]) for name, column in columns.items()},
        run=numbers,
        meta={
            "source": source,
            "axis": way,
            "every": next(iter(columns.values())).unit,
            "names": {str(label): log.name for label, log in zip(numbers, logs, strict=True)},
            "left_out": faults,
            **({} if kind is None else {"format": kind}),
        },
        followed=followed if later.any() else None,
    )
    notes = (
        *_adjusted(columns),
        *([f"epoch 0 is an evaluation before training, as {before[0]}; epoch_zero='first' counts it"] if shown else []),
        *(f"no metric can be counted by epochs ({fault})" for fault in uncounted),
        *_once([log.notes for log in logs]),
        *(f"in the last epoch of {len(cut)} run{s} a metric is missing ({each}): it does not count" for each in at),
        *doubts(runs),
        *_schedule(logs),
        *(f"{name} is left out: {fault}" for name, fault in faults.items()),
    )
    return replace(runs, meta={**runs.meta, "notes": notes})


def _leading(logs: Sequence[Log], names: Sequence[str]) -> list[str]:
    """Return the metrics that tell where evaluations are: no rate, no clock, no mark that is logged once or is always the same."""
    values = {name: [log.metrics[name].value for log in logs if name in log.metrics] for name in names}
    moving = [name for name in names if any(len(v) >= _FEWEST and (v != v[0]).any() for v in values[name])]
    return [name for name in moving if not (RATE.fullmatch(name) or CLOCK.fullmatch(name))]


def _places(log: Log, names: Sequence[str], way: str) -> dict[str, NDArray[np.float64]]:
    """Return where a run logged some metrics, if it did."""
    places = {name: getattr(log.metrics[name], way) for name in names if name in log.metrics}
    return {name: place for name, place in places.items() if place is not None and len(place) and place[-1] >= 0}


def _before_training(log: Log, names: Sequence[str]) -> str | None:
    """Return the reason for which epoch 0 is certain to be an evaluation before training, if there is one."""
    starts = {name: place[0] for name, place in _places(log, names, "epoch").items()}
    trained = {name: start for name, start in starts.items() if "train" in name.lower() or f"val_{name}" in starts}
    others = {name: start for name, start in starts.items() if name not in trained}
    if set(trained.values()) == {1} and set(others.values()) == {0}:
        return f"{next(iter(trained))} starts at epoch 1"
    for name, step in _places(log, [*others], "step").items():
        if step[0] == 0 and len(step) > 1 < step[1] and np.array_equal(step, step[1] * log.metrics[name].epoch):
            return f"{name} has step 0 there"
    return None


def _columns(
    logs: Sequence[Log], names: list[str], leading: list[str], way: str, every: int | None, zero: Zero | None
) -> tuple[dict[str, Counted], dict[str, str]]:
    """Return the metrics that can be counted in one way, together, and for each of the others why it cannot."""
    columns: dict[str, Counted] = {}
    faults: dict[str, str] = {}
    for name in names:
        try:
            columns[name] = count(logs, name, way, every, zero)
        except InputError as fault:
            faults[name] = str(fault)
    unit = max((columns[name].unit for name in [n for n in columns if n in leading] or columns), default=1)
    places = [_places(log, leading, way) for log in logs]
    last = np.array([max((place[-1] for place in each.values()), default=0) for each in places])
    from_zero = [n for n, place in places[0].items() if place[0] == 0 and (np.diff(place) == 1).all()]
    for name, column in [*columns.items()]:
        own = column.unit
        for row in np.flatnonzero(column.ends + own * (name in leading) < last)[:1]:
            ends = f"{name} ends at {way} {column.ends[row]:g}, while others go on to {way} {last[row]:g}"
            faults[name] = f"{logs[row].title}: {ends}"
        if own == column.start == 1 and from_zero and zero != "before":
            other = f"but {from_zero[0]} at 0; if 0 is an evaluation before training, epoch_zero='before' leaves it out"
            faults[name] = f"{logs[0].title}: {name} starts at {way} 1, {other}"
        if own != unit:
            units = f"every {own} steps, others every {unit}; every={own}, or metric={name!r}, counts in its units"
            faults[name] = f"{logs[0].title}: {name} is logged {units}"
    return {name: column for name, column in columns.items() if name not in faults}, faults


def _adjusted(columns: dict[str, Counted]) -> list[str]:
    about: dict[str, list[str]] = {}
    for name, column in columns.items():
        for note in dict.fromkeys(column.notes):
            about.setdefault(note, []).append(name)
    return [note if len(names) == len(columns) else f"{', '.join(names)}: {note}" for note, names in about.items()]


def _once(notes: Sequence[Sequence[str]]) -> list[str]:
    """Return the notes on some runs; of those that differ in the place at their end only, the first and their number."""
    alike: dict[str, list[str]] = {}
    for note in dict.fromkeys(note for own in notes for note in own):
        alike.setdefault(re.sub(r" \([^()]*\)$", "", note), []).append(note)
    return [own[0][:-1] + f"; {len(own)} of {len(notes)} runs)" if len(own) > 1 else own[0] for own in alike.values()]


def _schedule(logs: Sequence[Log]) -> list[str]:
    """Return a warning where a learning rate was logged that changes during training."""
    rates = [(log, name) for log in logs for name in log.metrics if RATE.fullmatch(name)]
    for log, name in rates:
        rate = log.metrics[name].value[np.isfinite(log.metrics[name].value)]
        if len(rate) and np.ptp(rate) > 1e-6 * np.abs(rate).max():
            change = f"{name} goes from {rate[0]:.3g} to {rate[-1]:.3g} ({log.title})"
            return [f"{change}: predictions hold where training is the same at every epoch"]
    return []
