"""Lightning's ``CSVLogger``: ``lightning_logs/version_N/metrics.csv``, one folder for each run.

Rows carry ``epoch`` (from 0) and ``step``, and a metric only where it was logged, so that most cells are empty.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.csv_folder import run_logs
from fptlib.readers.logs import Format, Log, Series, decimals, files_below, folder_name, summary
from fptlib.readers.tables import header_of, read_table

FILE = "metrics.csv"
_VERSION = re.compile(r"/version_(\d+)$")


def _find(path: Path) -> list[Path]:
    return files_below(path, FILE, lambda file: file.name == FILE and {"epoch", "step"} <= set(header_of(file)))


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    logs = []
    for file in files:
        table = read_table(file)
        log = run_logs(table, folder_name(file, path))[0]
        metrics = {name: replace(s, value=decimals(s.value)) for name, s in log.metrics.items()}  # tensors of 32 bits
        logs.append(replace(log, metrics=metrics, notes=summary([table.notes])))
    return join_versions(logs)


def join_versions(logs: Sequence[Log]) -> list[Log]:
    """Join the versions in each of several run folders, which are starts of one run; those in one folder, or many, are runs."""
    folders: dict[str, list[Log]] = {}
    for log in sorted(logs, key=lambda log: [int(number) for number in _VERSION.findall(log.name)]):
        folders.setdefault(_VERSION.sub("", log.name), []).append(log)
    later = [log.name for versions in folders.values() for log in versions[1:]]
    if len(folders) < 2 or not 0 < len(later) <= len(folders):
        return list(logs)
    first, *others = map(join_starts, folders.values())
    more = f" and {len(later) - 1} more" * (len(later) > 1)
    note = f"versions in one folder are starts of one run; {later[0]}{more} came later"
    return [replace(first, notes=(*first.notes, note)), *others]


def join_starts(starts: Sequence[Log]) -> Log:
    """Join what several starts of one run logged, each of which went on with it, or stands for one that had ended early."""
    whole, *later = starts
    for log in later:
        both = [name for name in whole.metrics if name in log.metrics and whole.has(name) and log.has(name)]
        pairs = [(_places(whole.metrics[name]), _places(log.metrics[name])) for name in both]
        joined, notes = {**whole.metrics, **log.metrics}, (*whole.notes, *log.notes)
        if all(then[0] > first[0] for first, then in pairs):
            joined |= {name: whole.metrics[name].followed_by(log.metrics[name]) for name in both}
        elif all(first[-1] < then[-1] / 2 for first, then in pairs):
            notes = (*notes, f"a start that ends early is left out for the next one ({whole.path})")
            joined = log.metrics
        else:
            raise InputError(f"{log.path}: starts where {whole.path} did; leave out the one that does not count")
        whole = replace(log, metrics=joined, faults={**whole.faults, **log.faults}, notes=notes)
    return whole


def _places(series: Series) -> NDArray[np.float64]:
    return np.asarray(series.epoch if series.step is None else series.step)


FORMAT = Format("Lightning's CSVLogger", find=_find, read=_read)
