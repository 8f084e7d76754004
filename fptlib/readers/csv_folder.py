"""Tables, text or Parquet: a folder with files for each run, or with a folder of files for each run, or one file of many runs.

A table of many runs has a column ``run``, or another that names them; those that count epochs or steps are found as `Table.progress` says.
All other columns of numbers are metrics; an empty cell is a metric that was not logged in this row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, Series, folder_name, summary, visible_files
from fptlib.readers.tables import Table, header_of, meaning, read_table

_ENDING = re.compile(r"(.+)\.(?:(csv|tsv|parquet)|txt|dat|log)(\.gz)?", re.IGNORECASE)
_DOWNLOAD = re.compile(r"run-(.*)-tag-(.*)")  # of one tag from TensorBoard, with columns Wall time, Step and Value
_PARTS = "train|training|val|valid|validation|dev|test|eval|evaluation"
PART = re.compile(rf"(?:(.*)[-_. /])?({_PARTS})", re.IGNORECASE)
_RUN = re.compile(
    r"run[\W_]*(id|name|no|number|idx|index)?|(random[\W_]*)?seed|(trial|experiment|job)[\W_]*(id|name|no|number)?|"
    r"rep(eat|etition|licate|lication)?|fold",
    re.IGNORECASE,
)


def is_table(path: Path) -> bool:
    """Test whether a file has the ending of a table, and a column that counts where the ending is that of any text."""
    ending = _ENDING.fullmatch(path.name)
    return ending is not None and (
        ending[2] is not None or any(meaning(name) is not None for name in header_of(path)[:-1])
    )


def _find(path: Path) -> list[Path]:
    """Return the tables at the depth at which most have the same columns, and others with these columns."""
    if path.is_file():
        return [path]
    tables = [file for file in visible_files(path) if is_table(file)]
    if len({len(file.parts) for file in tables}) < 2:
        return tables
    columns = {file: tuple(header_of(file)) for file in tables}
    ((most, _),) = Counter(columns.values()).most_common(1)
    depth = next(len(file.parts) for file in tables if columns[file] == most)
    return [file for file in tables if columns[file] == most or len(file.parts) == depth]


def read_files(path: Path, files: Sequence[Path], read: Callable[[Path], Table] = read_table) -> list[Log]:
    """Return the logs of the runs in some files, each a table; files of one run are joined."""
    if len(files[0].parts) != len(files[-1].parts):
        near, far = (file.relative_to(path) for file in (files[0], files[-1]))
        raise InputError(
            f"{path}: runs at different depths, {near} and {far}; move all to one, and elsewhere what is no run"
        )
    tables = [read(file) for file in files]
    runs: dict[str, list[tuple[str, Log]]] = {}
    for table, (name, part, metric) in zip(tables, _names(path, files), strict=True):
        for log in run_logs(table, name, alone=table.path == path):
            if metric and "Value" in log.metrics:
                log.metrics[metric] = log.metrics.pop("Value")
            runs.setdefault(log.name, []).append((part, log))
    first, *others = [_joined(name, own) for name, own in runs.items()]
    return [replace(first, notes=summary([table.notes for table in tables])), *others]


def _names(path: Path, files: Sequence[Path]) -> list[tuple[str, str, str]]:
    """Return for each file its run, what tells it from other files of this run, and the metric that its name gives."""
    names = []
    for file in files:
        stem = match[1] if (match := _ENDING.fullmatch(file.name)) else file.stem
        if match := _DOWNLOAD.fullmatch(stem):
            names.append((match[1], "", match[2]))
        else:
            names.append((stem, "", "") if path in (file, file.parent) else (folder_name(file, path), stem, ""))
    ends = {run: match for run, *_ in names if (match := PART.fullmatch(run)) and match[1]}
    siblings = Counter(match[1] for match in ends.values())
    return [
        (end[1], end[2], metric) if (end := ends.get(run)) and siblings[end[1]] > 1 else (run, part, metric)
        for run, part, metric in names
    ]


def _joined(name: str, files: list[tuple[str, Log]]) -> Log:
    """Return the log of one run with the metrics of its files; where several have one of a name, that of the file goes before it.

    They have to be parts, such as training and validation, or differ in their metrics, as those of batches and of epochs do.
    """
    if len(files) == 1:
        return files[0][1]
    for (part, log), (other_part, other) in combinations(files, 2):
        parted = part != other_part and (
            {*log.metrics} != {*other.metrics} or (PART.fullmatch(part) and PART.fullmatch(other_part))
        )
        if {*log.metrics} & {*other.metrics} and not parted:
            raise InputError(
                f"{other.path}: has the metrics of run {name} that {log.path} has; keep the file that counts, or read "
                "one folder of runs at a time"
            )
    times = Counter(metric for _, log in files for metric in (*log.metrics, *log.faults))
    whole = replace(files[0][1], metrics={}, faults={})
    for part, log in files:
        names = {metric: f"{part}/{metric}" if n > 1 else metric for metric, n in times.items()}
        whole.metrics.update({names[metric]: replace(series, path=log.path) for metric, series in log.metrics.items()})
        whole.faults.update({names[metric]: fault for metric, fault in log.faults.items()})
    return whole


def read_run(path: Path, *, name: str) -> Log:
    """Read one file as what one run logged."""
    table = read_table(path)
    (log,) = run_logs(table, name)
    return replace(log, notes=summary([table.notes]))


def run_logs(table: Table, name: str, *, alone: bool = False) -> list[Log]:
    """Return the log of each run of a table; one that holds a single run is named from outside, unless it stands alone."""
    run, names, naming = _runs(table)
    several = len(names) > 1 or alone
    names = names if names and several else [name]
    epoch, step, counting = table.progress(run if several else None)
    metrics, faults = table.metrics(epoch=epoch, step=step, besides={*naming, *counting})
    logs = [Log(table.path, name=each, metrics={}, faults=faults, word=table.word) for each in names]
    for metric, series in metrics.items():
        for log, part in zip(logs, _by_run(series, table, run, len(names)) if several else [series], strict=True):
            log.metrics[metric] = _without_gaps(part)
    if not faults:
        _check_rows(table, run, metrics.values())
    return logs


def _by_run(series: Series, table: Table, runs: NDArray[np.int64], n_runs: int) -> list[Series]:
    """Return the values of each run by epoch, or as they stand in the file where an epoch is logged twice, as by a run that was resumed."""
    run = runs[np.searchsorted(table.line, np.asarray(series.line))]
    place = np.asarray(series.step if series.epoch is None else series.epoch)
    order = np.lexsort((place, run))
    twice = (np.diff(run[order]) == 0) & (np.diff(place[order]) == 0)
    if twice.any():
        again = np.isin(run, run[order][1:][twice])
        order = np.lexsort((np.where(again, np.arange(len(run)), place), run))
    return [series.take(rows) for rows in np.split(order, np.searchsorted(run[order], range(1, n_runs)))]


def _without_gaps(series: Series) -> Series:
    """Leave out NaN where nothing was evaluated; where numbers were due, it is a run that diverged."""
    gap = np.isnan(series.value)
    if not gap.any():
        return series
    number = np.flatnonzero(~gap)
    return series.take(np.concatenate([number, _due(number, len(gap))]))


def _due(logged: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return the places, of ``n``, after the last of some at which others were due, by the distance that is the most frequent."""
    every = int(np.bincount(np.diff(logged, prepend=-1)).argmax()) if len(logged) else 1
    return np.arange((logged[-1] if len(logged) else -1) + every, n, every)


def _check_rows(table: Table, run: NDArray[np.int64], metrics: Collection[Series]) -> None:
    """Refuse a row without a metric where one was due."""
    if any(len(series.value) == len(run) for series in metrics):
        return
    logged = np.isin(table.line, np.concatenate([np.asarray(series.line) for series in metrics]))
    for each in np.unique(run[~logged]):
        rows = np.flatnonzero(run == each)
        for row in rows[_due(np.flatnonzero(logged[rows]), len(rows))][:1]:
            raise InputError(
                f"{table.where(row)}: no metric in this {table.word}; leave it out if the run had ended before"
            )


def _runs(table: Table) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Return for each row the place of its run among the sorted names of runs, these names, and the columns that name runs."""
    naming = [name for name in table.columns if _RUN.fullmatch(name.strip())]
    first = [name for name in naming if name.lower() == "run"][:1] or naming
    found = {name: _codes(table, name) for name in first}
    varying = [name for name in first if len(found[name][1]) > 1]
    for name in varying:
        codes, names = found[name]
        if all(len({*zip(codes.tolist(), found[other][0].tolist(), strict=True)}) == len(names) for other in varying):
            if name.lower() != "run":
                table.notes[f"runs are named by the column {name}"] = str(table.path)
            return codes, names, naming
    if varying:
        which = " or ".join(varying)
        raise InputError(f"{table.path}: does {which} name the run? write a column run that tells each from all others")
    codes, names = found[first[0]] if first else (np.zeros(len(table.line), dtype=np.int64), [])
    return codes, names, naming


def _codes(table: Table, name: str) -> tuple[NDArray[np.int64], list[str]]:
    """Return for each row the place of its cell among those of a column, sorted, and the texts of these."""
    cells = [str(cell).strip().removesuffix(".0") for cell in table.columns[name]]
    if "" in cells:
        raise InputError(f"{table.where(cells.index(''))}: no {name} given")
    try:
        names = sorted({*cells}, key=float)
    except ValueError:
        names = sorted({*cells})
    places = {each: place for place, each in enumerate(names)}
    return np.array([places[cell] for cell in cells]), names


FORMAT = Format("tables", find=_find, read=read_files)
