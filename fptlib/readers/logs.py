"""The log of one run as it stands in its file: the form in which every format returns it."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.trajectories import Trajectories


@dataclass(frozen=True, slots=True)
class Series:
    """Values of one metric in the order in which they were logged; all arrays have shape ``(values,)``.

    ``epoch`` and ``step`` are those logged with each value, as the log counts them, ``line`` where it stands in the file, ``path`` if it is
    not the file of its `Log`; ``None`` if there is no such thing. A place where nothing was logged is not a value: leave it out. NaN from
    some place to the end is a run that diverged. An InputError is raised if there is neither epoch nor step, or lengths differ.
    """

    value: NDArray[np.float64]
    epoch: NDArray[np.float64] | None = None
    step: NDArray[np.float64] | None = None
    line: NDArray[np.int64] | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.epoch is None and self.step is None:
            raise InputError("a series needs the epoch or the step of each value")
        for name in ("epoch", "step", "line"):
            other = getattr(self, name)
            if other is not None and other.shape != self.value.shape:
                raise InputError(f"a series has {len(self.value)} values, but {name} has shape {other.shape}")

    def take(self, places: NDArray[np.int64] | NDArray[np.bool_]) -> Series:
        """Return the values at some places, with what was logged with them."""
        beside: dict[str, Any] = {"value": self.value, "epoch": self.epoch, "step": self.step, "line": self.line}
        return replace(self, **{name: column[places] for name, column in beside.items() if column is not None})

    def followed_by(self, other: Series) -> Series:
        """Return the values with others after them, which may stand in another file, so that no line is kept."""
        columns = ((getattr(self, name), getattr(other, name)) for name in ("value", "epoch", "step"))
        value, epoch, step = (None if any(one is None for one in both) else np.concatenate(both) for both in columns)
        return Series(np.asarray(value), epoch=epoch, step=step)


@dataclass(frozen=True, slots=True)
class Log:
    """Everything that one run logged.

    ``path`` is the file, for messages; ``name`` that of the run, different for each run that is read together with it, with folders
    separated by ``/``. ``faults`` say in one line of each metric that is there and cannot be read where and why; ``notes`` are sentences
    on what was adjusted on reading; ``word`` is the name for a place in the file, ``line``, or ``entry`` of a list.
    """

    path: Path
    name: str
    metrics: dict[str, Series]
    faults: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    word: str = "line"

    @property
    def title(self) -> str:
        """Name the run: its file, and its own name where the file holds several runs."""
        last = self.name.split("/")[-1]
        return str(self.path) if last in (self.path.stem, *self.path.parts) else f"{self.path}, run {self.name}"

    def has(self, metric: str) -> bool:
        """Test whether the run logged a metric, readable or not."""
        return metric in self.faults or (metric in self.metrics and len(self.metrics[metric].value) > 0)

    def where(self, series: Series, i: int) -> str:
        """Return file and line of the ``i``-th of some values, in words."""
        return self.title if series.line is None else f"{series.path or self.path}, {self.word} {series.line[i]}"


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of log, with its name in messages and in ``meta["format"]``.

    ``find`` returns the files of this kind at a path, recognised by their content; it is quick, and never raises. ``read`` returns the logs
    of the runs in these files, from which `fptlib.readers.assemble` counts epochs, or trajectories if the format counts them from 1 itself.
    """

    name: str
    find: Callable[[Path], Sequence[Path]]
    read: Callable[[Path, Sequence[Path]], Sequence[Log] | Trajectories]


@functools.lru_cache(maxsize=1)  # each format looks through the same folder; who reads it again clears this first
def visible_files(path: Path) -> tuple[Path, ...]:
    """Return the files in a folder and below it, the nearest first; hidden ones, and folders linked to twice, are passed over."""
    files, walked = list[Path](), set[str]()
    for folder, inner, names in os.walk(path, followlinks=True):
        place = os.path.realpath(folder)
        inner[:] = [] if place in walked else sorted(name for name in inner if not name.startswith((".", "__")))
        files += [Path(folder, name) for name in sorted(names) if name[0] != "." and place not in walked]
        walked.add(place)
    return tuple(sorted(files, key=lambda file: len(file.parts)))


def files_below(path: Path, pattern: str, is_kind: Callable[[Path], bool]) -> list[Path]:
    """Return the files of a kind in a folder and all below it, sorted; a path that is a file is tested itself."""
    if path.is_file():
        return [path] if is_kind(path) else []
    return sorted(file for file in visible_files(path) if fnmatch(file.name, pattern) and is_kind(file))


def folder_name(file: Path, path: Path) -> str:
    """Name a run by the folder of its file, below the path that is read."""
    folder = file.parent
    return folder.name if path in (file, folder) else folder.relative_to(path).as_posix()


def labels(names: Sequence[str]) -> NDArray[np.int64]:
    """Number the runs: by the last number in the last part of their names in which these all differ, else by their place in the list.

    >>> labels(["seed_7/version_0", "seed_3/version_0"]), labels(["mary", "adam"])
    (array([7, 3]), array([0, 1]))
    """
    parts = [name.split("/") for name in names]
    for back in range(1, min(len(part) for part in parts) + 1):
        numbers = [re.findall(r"\d+", part[-back]) for part in parts]
        if all(numbers):
            last = [int(each[-1]) for each in numbers]
            if len(set(last)) == len(last) and max(last) <= np.iinfo(np.int64).max:
                return np.array(last, dtype=np.int64)
    return np.arange(len(names), dtype=np.int64)


def numbered(names: Sequence[str]) -> list[str]:
    """Tell equal names apart: the second ``calm`` becomes ``calm (2)``."""
    count = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [name if n == 1 else f"{name} ({n})" for name, n in zip(names, count, strict=True)]


def summary(notes: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
    """Return sentences on several files, of which each has the place where they are true, once, with the first place and their number."""
    places: dict[str, list[str]] = {}
    for own in notes:
        for sentence, place in own.items():
            places.setdefault(sentence, []).append(place)
    of = f" of {len(notes)} files" if len(notes) > 1 else ""
    return tuple(f"{sentence} ({own[0]}{of and f'; {len(own)}{of}'})" for sentence, own in places.items())


def decimals(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the shortest decimals for which 32-bit numbers stand; if one number needs more than 32 bits, all are left alone.

    An accuracy of 0.9 that went through 32 bits comes back as 0.8999999761581421, and would miss a threshold of 0.9.

    >>> decimals(np.array([0.8999999761581421, 0.5])), decimals(np.array([0.8999999761581421, 0.1]))
    (array([0.9, 0.5]), array([0.89999998, 0.1       ]))
    """
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.array_equal(narrow.astype(np.float64), values, equal_nan=True):
        return values
    return np.array([float(text) for text in narrow.astype(str)], dtype=np.float64)
