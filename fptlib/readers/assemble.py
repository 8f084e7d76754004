"""Make one record of runs by epochs of what each run logged: counting, resumed runs, gaps, ends, all in one place.

Nothing is made up. A metric that can be counted in one way only is counted, and ``meta["notes"]`` names what was adjusted; one that cannot
is left out with one line that names file and place, which is the answer to whoever asks for it; where no metric is left, that line is the
error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.counting import Counted, count
from fptlib.readers.logs import Log, labels
from fptlib.trajectories import Trajectories

Axis = Literal["auto", "epoch", "step"]
_RATE = re.compile(r"(.*[/_-])?(lr|learning_rate)([/_-].*)?")
FEWEST_STOPPED = 5  # runs that all end at their best by chance are fewer


def assemble(
    logs: Sequence[Log], *, source: str, axis: Axis = "auto", every: int | None = None, kind: str | None = None
) -> Trajectories:
    """Combine the logs of several runs, one each.

    ``source`` says where they come from, for messages and ``meta``, which keeps ``kind`` as ``format``. ``axis`` counts as time: the
    ``"epoch"`` that was logged, or optimiser ``"step"``, equally spaced, of which evaluation ``k`` becomes epoch ``k``; by default
    epochs, if at least one metric can be counted so, else steps. ``every`` steps (or epochs) of the log, from one evaluation to the
    next, make one epoch here; by default 1 where epochs are counted, and where steps are counted, the largest distance found among the
    metrics: evaluations are rarer than training losses.

    In ``meta`` are ``axis`` and ``every`` (what one epoch is), ``names`` of the runs by label, ``notes`` (sentences on what was
    adjusted), ``left_out`` (metrics that cannot be counted, and why). If none can, an InputError says why for the first.
    """
    if axis not in ("auto", "epoch", "step"):
        raise InputError(f"axis {axis!r} is not known; choose auto, epoch or step")
    if every is not None and every < 1:
        raise InputError(f"every is {every}; an evaluation every 1 or more epochs or steps is needed")
    if not logs:
        raise InputError(f"{source}: no run")
    names = list(dict.fromkeys(name for log in logs for name in (*log.metrics, *log.faults) if log.has(name)))
    if not names:
        raise InputError(f"{source}: no metric; at least one is needed")
    logged = [series for log in logs for series in log.metrics.values()]
    known = [way for way in ("epoch", "step") if any(getattr(series, way) is not None for series in logged)]
    ways = (known or ["epoch"]) if axis == "auto" else [axis]
    uncounted: list[str] = []
    for way in ways:
        columns, faults = _columns(logs, names, way, every)
        if columns:
            break
        uncounted.append(next(iter(faults.values())))
    else:
        raise InputError(uncounted[0])
    kept, followed, notes = _ends(logs, columns, faults)
    n_epochs = int(followed.max())
    metrics = {name: np.full((len(logs), n_epochs), np.nan) for name in kept}
    for name, array in metrics.items():
        for row, values in enumerate(columns[name].values):
            array[row, : followed[row]] = values[: followed[row]]
    numbers = labels([log.name for log in logs])
    meta = {
        "source": source,
        "axis": way,
        "every": max(column.unit for column in columns.values()),
        "names": {str(label): log.name for label, log in zip(numbers, logs, strict=True)},
        "notes": (
            *_adjusted(columns, kept),
            *(f"no metric can be counted by epochs ({fault})" for fault in uncounted),
            *_resumed(columns),
            *dict.fromkeys(note for log in logs for note in log.notes),
            *notes,
            *_early(logs, metrics, followed),
            *_schedule(logs),
            *(f"{name} is left out: {fault}" for name, fault in faults.items()),
        ),
        "left_out": faults,
    }
    return Trajectories(
        metrics=metrics,
        run=numbers,
        meta=meta if kind is None else {**meta, "format": kind},
        followed=None if (followed == n_epochs).all() else followed,
    )


def _columns(
    logs: Sequence[Log], names: list[str], way: str, every: int | None
) -> tuple[dict[str, Counted], dict[str, str]]:
    """Return the metrics that can be counted in one way, and for each of the others why it cannot."""
    columns: dict[str, Counted] = {}
    faults: dict[str, str] = {}
    for name in names:
        try:
            columns[name] = count(logs, name, way, every)
        except InputError as fault:
            faults[name] = str(fault)
    unit = max((column.unit for column in columns.values()), default=1)
    for name in [name for name, column in columns.items() if column.unit < unit]:
        own = columns.pop(name).unit
        faults[name] = (
            f"{logs[0].title}: {name} is logged every {own} steps, others every {unit}; every={own} counts in its units"
        )
    return columns, faults


def _ends(
    logs: Sequence[Log], columns: dict[str, Counted], faults: dict[str, str]
) -> tuple[list[str], NDArray[np.int64], list[str]]:
    """Return the metrics kept, the epochs to which each run is followed in all of them, and a note where that cuts runs short.

    A run may have been interrupted between two metrics of its last epoch, which then does not count. A metric that ends earlier than
    others by more is left out.
    """
    lengths = np.array([[len(values) for values in column.values] for column in columns.values()])  # (metrics, runs)
    longest = lengths.max(axis=0)
    short = lengths < longest - 1
    for name, own, early in zip(columns, lengths, short, strict=True):
        for row in np.flatnonzero(early)[:1]:
            faults[name] = (
                f"{logs[row].title}: {name} ends at epoch {own[row]}, while others go on to epoch {longest[row]}"
            )
    kept = ~short.any(axis=1)
    followed = lengths[kept].min(axis=0)
    cut = np.flatnonzero(followed < longest)
    first = [f"{logs[row].title}, epoch {longest[row]}" for row in cut[:1]]
    notes = [f"in the last epoch of {_runs(len(cut))} a metric is missing ({at}): it does not count" for at in first]
    return [name for name, keep in zip(columns, kept, strict=True) if keep], followed, notes


def _adjusted(columns: dict[str, Counted], kept: list[str]) -> list[str]:
    about: dict[str, list[str]] = {}
    for name in kept:
        for note in dict.fromkeys(columns[name].notes):
            about.setdefault(note, []).append(name)
    return [note if len(names) == len(kept) else f"{', '.join(names)}: {note}" for note, names in about.items()]


def _resumed(columns: dict[str, Counted]) -> list[str]:
    places = {row: place for column in reversed(columns.values()) for row, place in column.resumed.items()}
    if not places:
        return []
    many = f"{_runs(len(places))} {'were' if len(places) > 1 else 'was'} resumed"
    return [f"{many} ({places[min(places)]}); of what is logged twice the last counts"]


def _early(logs: Sequence[Log], metrics: dict[str, NDArray[np.float64]], followed: NDArray[np.int64]) -> list[str]:
    """Return notes on runs that end before others."""
    n_epochs = followed.max()
    early = np.flatnonzero(followed < n_epochs)
    if not len(early):
        return []
    notes = [
        f"{len(early)} of {len(logs)} runs end before epoch {n_epochs} ({logs[early[0]].title} at epoch {followed[early[0]]}): each is "
        "censored at its own end, which is right if that has nothing to do with its metric"
    ]
    for name, values in metrics.items():
        last = values[early, followed[early] - 1]
        at_best = (last >= np.nanmax(values[early], axis=1)).all() or (last <= np.nanmin(values[early], axis=1)).all()
        if len(early) >= FEWEST_STOPPED and at_best and followed[early].min() > 2:
            return [
                *notes,
                f"all of these end at their best {name}: if they were stopped on reaching a target, ask for no harder threshold than that",
            ]
    return notes


def _schedule(logs: Sequence[Log]) -> list[str]:
    """Return a warning where a learning rate was logged that changes during training."""
    for log in logs:
        for name, series in log.metrics.items():
            rate = series.value[np.isfinite(series.value)]
            if _RATE.fullmatch(name) and len(rate) and np.ptp(rate) > 1e-6 * np.abs(rate).max():
                return [
                    f"{name} goes from {rate[0]:.3g} to {rate[-1]:.3g} ({log.title}): predictions hold where training is the same at every "
                    "epoch"
                ]
    return []


def _runs(n: int) -> str:
    return f"{n} run{'s' if n > 1 else ''}"
