"""Tables, text or Parquet: a folder with files for each run, or with a folder of files for each run, or one file of many runs.

A table of many runs has a column ``run``, or another that names them; those that count epochs or steps are found as `Table.progress` says.
All other columns of numbers are metrics; an empty cell is a metric that was not logged in this row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations, takewhile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.readers.counting import without_gaps
from fptlib.readers.logs import Format, Log, Series, folder_name, summary, visible_files
from fptlib.readers.tables import Table, header_of, meaning, read_table

_ENDING = re.compile(r"(.+)\.(?:(csv|tsv|parquet)|txt|dat|log)(\.gz)?", re.IGNORECASE)
_PLAIN = re.compile("plain|base|none|unperturbed|control|without", re.IGNORECASE)
_DOWNLOAD = re.compile(r"run-(.*)-tag-(.*)\.csv")  # of one tag from TensorBoard, with columns Wall time, Step and Value
PART = re.compile(r"(?:(.*)[-_. /])?(train(?:ing)?|val(?:id|idation)?|dev|test|eval(?:uation)?)", re.IGNORECASE)
_RUN = re.compile(
    r"run[\W_]*(id|name|no|number|idx|index)?|(random[\W_]*)?seed|(trial|experiment|job)[\W_]*(id|name|no|number)?|"
    r"rep(eat|etition|licate|lication)?|fold",
    re.IGNORECASE,
)


def is_table(path: Path) -> bool:
    """Test whether a file has the ending of a table, and a column that counts where the ending is that of any text."""
    ending = _ENDING.fullmatch(path.name)
    return bool(ending and (ending[2] or any(meaning(name) is not None for name in header_of(path)[:-1])))


def _find(path: Path) -> list[Path]:
    """Return the tables at the depth at which most have the same columns, and others with these columns."""
    if path.is_file():
        return [path]
    tables = [file for file in visible_files(path) if is_table(file)]
    if len({len(file.parts) for file in tables}) < 2:
        return tables
    columns = {file: tuple(header_of(file)) for file in tables}
    often = Counter(columns.values())
    most = max(tables, key=lambda file: often[columns[file]])
    return [file for file in tables if columns[file] == columns[most] or len(file.parts) == len(most.parts)]


def read_files(path: Path, files: Sequence[Path], read: Callable[[Path], Table] = read_table) -> list[Log]:
    """Return the logs of the runs in some files, each a table; files of one run are joined."""
    tables = [read(file) for file in files]
    runs: dict[str, list[tuple[str, Log]]] = {}
    for table, (name, part) in zip(tables, _names(path, files), strict=True):
        tag = _DOWNLOAD.fullmatch(table.path.name)
        for log in run_logs(table, name, alone=table.path == path):
            if tag and "Value" in log.metrics:
                log.metrics[tag[2]] = log.metrics.pop("Value")
            runs.setdefault(log.name, []).append((part, log))
    inner = {file.parent for file in files}
    patterns = {(file.parent, re.sub(r"\d+", "", file.name)) for file in files}
    if path not in inner and len(patterns) == len(inner) and min(Counter(file.parent for file in files).values()) > 1:
        if len(inner) == 1:
            return read_files(files[0].parent, files, read)
        require_one_folder(path, [file.relative_to(path).as_posix() for file in files])
    notes = summary([table.notes for table in tables])
    wide = [*next(iter(runs.values()))[0][1].metrics]
    if len(runs) == 1 and len(wide) > 2 and len({re.sub(r"\d+", "#", name) for name in wide}) == 1:
        some = f"columns {wide[0]} to {wide[-1]} look like one metric of {len(wide)} runs"
        notes = (*notes, f"{some}; if they are, write columns run, epoch and value")
    if len(files[0].parts) != len(files[-1].parts):
        notes = (*notes, f"runs at different depths are read together, {files[0]} and {files[-1]}")
    if parts := [len(own) for own in runs.values() if len(own) > 1]:
        notes = (*notes, f"{sum(parts)} files hold metrics of {len(parts)} run{'s' * (len(parts) > 1)}")
    first, *others = [_joined(name, own) for name, own in runs.items()]
    return [replace(first, notes=notes), *others]


def require_one_folder(path: Path, runs: Sequence[str]) -> None:
    """Raise an InputError where all runs, named from ``path`` on, are in folders of several runs each."""
    names = [run.split("/") for run in runs]
    depth = 1 + len([*takewhile(lambda parts: len({*parts}) == 1, zip(*names, strict=False))])
    folders = Counter("/".join(name[:depth]) for name in names if len(name) > depth)
    if len(folders) > 1 < min(folders.values()) and folders.total() == len(names) and (path / min(folders)).is_dir():
        one, other = sorted(map(path.joinpath, folders), key=lambda folder: not _PLAIN.search(folder.name))[:2]
        holds = f"{path}: holds folders of runs ({', '.join([*folders][:5])}{', ...' * (len(folders) > 5)}); read one of them"
        pair = f"to compare two: fpt recommend --unperturbed {one} --perturbed NAME:PERIOD={other}"
        raise InputError(f"{holds}, such as {one}; {pair}")


def _names(path: Path, files: Sequence[Path]) -> list[tuple[str, str]]:
    """Return for each file its run, and what tells it from other files of this run."""
    names = []
    for file in files:
        match = _DOWNLOAD.fullmatch(file.name) or _ENDING.fullmatch(file.name)
        stem = match[1] if match else file.stem
        alone = path in (file, file.parent) or (match and match.re is _DOWNLOAD)
        names.append((stem, "") if alone else (folder_name(file, path), stem))
    ends = {run: match for run, _ in names if (match := PART.fullmatch(run)) and match[1]}
    siblings = Counter(match[1] for match in ends.values())
    return [(end[1], end[2]) if (end := ends.get(run)) and siblings[end[1]] > 1 else (run, part) for run, part in names]


def _joined(name: str, files: list[tuple[str, Log]]) -> Log:
    """Return the log of one run with the metrics of its files; where several have one of a name, that of the file goes before it.

    They have to be parts, such as training and validation, or differ in their metrics, as those of batches and of epochs do.
    """
    if len(files) == 1:
        return files[0][1]
    for (part, log), (other_part, other) in combinations(files, 2):
        alike = log.metrics.keys() == other.metrics.keys() and not (PART.fullmatch(part) and PART.fullmatch(other_part))
        if alike or (part == other_part and log.metrics.keys() & other.metrics.keys()):
            also = f"has the metrics of run {name} that {log.path} has"
            raise InputError(f"{other.path}: {also}; keep the file that counts, or read one folder of runs at a time")
    times = Counter(metric for _, log in files for metric in (*log.metrics, *log.faults))
    whole = replace(files[0][1], metrics={}, faults={})
    for part, log in files:
        names = {metric: f"{part}/{metric}" if n > 1 else metric for metric, n in times.items()}
        whole.metrics.update({names[metric]: replace(series, path=log.path) for metric, series in log.metrics.items()})
        whole.faults.update({names[metric]: fault for metric, fault in log.faults.items()})
    return whole


def run_logs(table: Table, name: str, *, alone: bool = False) -> list[Log]:
    """Return the log of each run of a table; one that holds a single run is named from outside, unless it stands alone.

    Cells of a row without any metric are kept as NaN, from which counting tells a gap from an end.
    """
    run, names, naming = _runs(table)
    several = len(names) > 1 or alone
    names = names if names and several else [name]
    epoch, step, counting = table.progress(run if several else None)
    metrics, faults = table.metrics(besides={*naming, *counting})
    logs = [Log(table.path, name=each, metrics={}, faults=faults, word=table.word) for each in names]
    rows = _by_epoch(run, np.asarray(step if epoch is None else epoch)) if several else [np.arange(len(run))]
    way = "step" if epoch is None else "epoch"
    empty = ~np.any([there for _, there in metrics.values()], axis=0) & (not faults)
    for metric, (value, there) in metrics.items():
        series = Series(value, epoch=epoch, step=step, line=table.line)
        for log, own in zip(logs, rows, strict=True):
            log.metrics[metric] = without_gaps(series.take(own[(there | empty)[own]]), way)
    return logs


def _by_epoch(run: NDArray[np.int64], place: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Return the rows of each run by epoch, or as they stand in the file where an epoch is logged twice, as by a run that was resumed."""
    rows = np.split(np.argsort(run, kind="stable"), np.cumsum(np.bincount(run))[:-1])
    return [own if len({*place[own]}) < len(own) else own[np.argsort(place[own])] for own in rows]


def _runs(table: Table) -> tuple[NDArray[np.int64], list[str], list[str]]:
    """Return for each row the place of its run among the sorted names of runs, these names, and the columns that name runs."""
    naming = [name for name in table.columns if _RUN.fullmatch(name.strip())]
    used = [name for name in naming if name.lower() == "run"][:1] or naming
    if not used:
        return np.zeros(len(table.line), dtype=np.int64), [], []
    cells = {name: [str(cell).strip().removesuffix(".0") for cell in table.columns[name]] for name in used}
    for name in used:
        if "" in cells[name]:
            raise InputError(f"{table.where(cells[name].index(''))}: no {name} given")
    apart = len({*zip(*cells.values(), strict=True)})
    telling = [name for name in used if len({*cells[name]}) == apart]
    if not telling:
        which = " or ".join(name for name in used if len({*cells[name]}) > 1)
        raise InputError(f"{table.path}: does {which} name the run? write a column run that tells each from all others")
    name = telling[0]
    if apart > 1 and name.lower() != "run":
        table.notes[f"runs are named by the column {name}"] = str(table.path)
    numeric = all(re.fullmatch(r"-?\d+(\.\d+)?", cell) for cell in cells[name])
    names = sorted({*cells[name]}, key=float if numeric else str)
    places = {each: place for place, each in enumerate(names)}
    return np.array([places[cell] for cell in cells[name]]), names, naming


FORMAT = Format("tables", find=_find, read=read_files)
