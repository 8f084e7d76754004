"""Lightning's ``CSVLogger``: ``lightning_logs/version_N/metrics.csv``, one folder for each run.

Rows carry ``epoch`` (from 0) and ``step``, and a metric only where it was logged, so that most cells are empty.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.csv_folder import read_run
from fptlib.readers.logs import Format, Log, Series, decimals, files_below, folder_name
from fptlib.readers.tables import header_of

FILE = "metrics.csv"
_VERSION = re.compile(r"/version_(\d+)$")


def _find(path: Path) -> list[Path]:
    return files_below(path, FILE, lambda file: file.name == FILE and {"epoch", "step"} <= set(header_of(file)))


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    logs = [read_run(file, name=folder_name(file, path)) for file in files]
    for log in logs:  # what Lightning logs are tensors of 32 bits
        log.metrics.update({metric: replace(s, value=decimals(s.value)) for metric, s in log.metrics.items()})
    return join_versions(logs)


def join_versions(logs: Sequence[Log]) -> list[Log]:
    """Join the versions in each of several run folders, which are starts of one run; those in one folder, or many, are runs."""
    folders: dict[str, list[Log]] = {}
    for log in sorted(logs, key=lambda log: [int(number) for number in _VERSION.findall(log.name)]):
        folders.setdefault(_VERSION.sub("", log.name), []).append(log)
    if len(folders) < 2 or len(logs) > 2 * len(folders):
        return list(logs)
    return [functools.reduce(_joined, versions) for versions in folders.values()]


def _joined(before: Log, log: Log) -> Log:
    """Return a run that was started twice, and either went on or had crashed early."""
    (first, end), (start, last) = _span(before), _span(log)
    notes = (*before.notes, *log.notes)
    if start > first:
        metrics = {**before.metrics, **log.metrics}
        for name in before.metrics.keys() & log.metrics.keys():
            both = before.metrics[name], log.metrics[name]
            value, *places = ([getattr(one, of) for one in both] for of in ("value", "epoch", "step"))
            epoch, step = (None if any(one is None for one in place) else np.concatenate(place) for place in places)
            metrics[name] = Series(np.concatenate(value), epoch=epoch, step=step)
        faults = {**before.faults, **log.faults}
        return replace(log, metrics=metrics, faults=faults, notes=(*notes, f"{log.name} goes on with {before.name}"))
    if end < last / 2:
        return replace(log, notes=(*notes, f"{before.name}, which ends early, is left out for {log.name}"))
    raise InputError(f"{log.title}: starts where {before.name} started; leave out the one that does not count")


def _span(log: Log) -> tuple[float, float]:
    """Return the first and the last step, or epoch, of a run."""
    places = [np.asarray(one.epoch if one.step is None else one.step) for one in log.metrics.values()]
    return min(map(np.nanmin, places), default=np.inf), max(map(np.nanmax, places), default=0.0)


FORMAT = Format("Lightning's CSVLogger", find=_find, read=_read)
