"""TensorBoard's event files: a folder for each run, or one folder with event files, one run.

Scalars are kept by step, in 32 bits. Some tools write the epoch beside them, as a scalar ``epoch``. Folders ``train`` and ``validation``,
as Keras writes them, and those that ``add_scalars`` makes for its curves hold metrics of one run.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.csv_folder import PART
from fptlib.readers.lightning import join_versions
from fptlib.readers.logs import Format, Log, Series, decimals, files_below

_MARK = b"brain.Event:"  # in the first record of every event file
_HPARAMS = re.compile(r"(?:.*/)?\d{9,}\.\d+")  # folders that `add_hparams` makes, for values written once
_RAY = "ray/tune/"  # before the names of metrics of Ray Tune
_NO_METRIC = ("hp_metric", 0, -1)  # written by Lightning at each start where no such metric is given


def _is_event_file(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return _MARK in file.read(64)
    except OSError:
        return False


def _find(path: Path) -> list[Path]:
    """Return event files in the order in which they were begun."""
    return files_below(path, "*tfevents*", _is_event_file)


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    folders: dict[str, list[Path]] = {}
    for file in files:
        folder = "." if path in (file, file.parent) else file.parent.relative_to(path).as_posix()
        folders.setdefault(folder, []).append(file)
    logs = {folder: _read_folder(path / folder, own) for folder, own in folders.items()}
    runs: dict[str, Log] = {}
    for folder, (run, metric) in _runs(logs).items():
        whole = runs.setdefault(run, Log(path / run, name=path.name if run == "." else run, metrics={}))
        whole.metrics.update({metric.replace("*", tag): series for tag, series in logs[folder].metrics.items()})
        whole.faults.update({metric.replace("*", tag): fault for tag, fault in logs[folder].faults.items()})
    kept = {
        run: log for run, log in runs.items() if (log.metrics or log.faults) and not _HPARAMS.fullmatch(run)
    } or runs
    beside = [run for run in runs if run not in kept and not any(_below(folder, [run]) for folder in logs)]
    notes = (f"folders without metrics by steps are left out: {', '.join(beside)}",) if beside else ()
    return join_versions([replace(log, notes=notes) for log in kept.values()])


def _runs(logs: Mapping[str, Log]) -> dict[str, tuple[str, str]]:
    """Return for each folder its run, and the metrics that its tags are there, each in place of a ``*``."""
    runs = {folder: (folder, "*") for folder in logs}
    for folder, log in logs.items():  # of add_scalars
        start = "".join(log.metrics).replace("/", "_") + "_"
        if (inside := _below(folder, logs)) and inside[1].startswith(start):
            runs[folder] = (inside[0], f"*/{inside[1].removeprefix(start)}")
    own = [folder for folder, log in logs.items() if runs[folder][0] == folder and log.metrics]
    turned = {folder: "/".join(reversed(folder.split("/"))) for folder in own}  # where a folder train holds the runs
    parts = {folder: match for folder in own if (match := PART.fullmatch(folder) or PART.fullmatch(turned[folder]))}
    around = Counter(match[1] or "." for match in parts.values())
    if max(around.values(), default=0) > 1:
        runs.update({folder: (at[0], f"{at[1]}/*") for folder in own if (at := _below(folder, around))})
        runs.update({folder: (match[1] or ".", f"{match[2]}/*") for folder, match in parts.items()})
    return runs


def _below(folder: str, others: Container[str]) -> tuple[str, str] | None:
    """Return the innermost of other folders that hold one, and the way from there."""
    inside = PurePosixPath(folder)
    return next(((str(o), inside.relative_to(o).as_posix()) for o in inside.parents if str(o) in others), None)


def _read_folder(folder: Path, files: Sequence[Path]) -> Log:
    scalars: dict[str, list[tuple[float, float]]] = {}
    log = Log(folder, name=folder.name, metrics={})
    for file in files:
        for tag, rows in _scalars(file).items():
            if tag in scalars and scalars[tag][0][0] == rows[0][0]:
                again = f"{tag} starts at step {rows[0][0]:g} again, as in {files[0].name}"
                log.faults[tag] = f"{file}: {again}; give each run a folder of its own"
            scalars.setdefault(tag, []).extend(rows)
    epoch_at = dict(scalars.pop("epoch", []))
    of_keras = folder.name in ("train", "validation") or files[0].suffix == ".v2"
    for tag in [tag for tag in scalars if tag not in log.faults]:
        steps, values = np.array(scalars[tag]).T
        by_epoch = of_keras and tag.startswith("epoch_")
        epochs = steps if by_epoch else np.array([epoch_at.get(step, np.nan) for step in steps])
        log.metrics[tag] = Series(value=decimals(values), step=steps, epoch=None if np.isnan(epochs).any() else epochs)
    return log


def _scalars(path: Path) -> dict[str, list[tuple[float, float]]]:
    """Return step and value of each scalar in the order in which they were written."""
    try:
        from tensorboard.backend.event_processing import event_file_loader  # type: ignore[import-untyped]
        from tensorboard.util.tensor_util import make_ndarray  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            f"{path}: TensorBoard's event files need its package; pip install 'fptlib[tensorboard]'"
        ) from None
    scalars: dict[str, list[tuple[float, float]]] = {}
    tensors = set()  # tags of scalars kept as tensors, as TensorFlow does; the first of each says so
    for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():  # ends where a file is cut or damaged
        for value in event.summary.value:
            tag, number = value.tag.removeprefix(_RAY), value.simple_value
            if value.metadata.plugin_data.plugin_name == "scalars":
                tensors.add(tag)
            if value.HasField("tensor") and tag in tensors:
                number = float(make_ndarray(value.tensor).item())
            elif not value.HasField("simple_value"):
                continue
            if (tag, event.step, number) != _NO_METRIC:
                scalars.setdefault(tag, []).append((float(event.step), number))
    return scalars


FORMAT = Format("TensorBoard event files", find=_find, read=_read)
