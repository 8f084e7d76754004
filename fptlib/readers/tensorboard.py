"""TensorBoard's event files: a folder for each run, or one folder with event files, one run.

Scalars are kept by step, in 32 bits. Some tools write the epoch beside them, as a scalar ``epoch``. Folders ``train`` and ``validation``,
as Keras writes them, and those that ``add_scalars`` makes for its curves hold metrics of one run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.csv_folder import PART
from fptlib.readers.lightning import join_starts, join_versions
from fptlib.readers.logs import Format, Log, Series, decimals, files_below

_HPARAMS = re.compile(r"\d{9,}\.\d+")  # folders that `add_hparams` makes, for values written once
_NO_METRIC = ("hp_metric", 0, -1)  # written by Lightning at each start where no such metric is given


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    """Return the runs; event files in one folder are starts of one."""
    folders: dict[Path, list[Log]] = {}
    for file in files:
        folders.setdefault(file.parent, []).append(_read_file(file))
    logs = {folder: join_starts(own) for folder, own in folders.items()}
    notes = [note for log in logs.values() for note in log.notes]
    inner = _inner(logs)
    runs: dict[Path, Log] = {}
    for folder, log in logs.items():
        run, names = inner.get(folder, (folder, "*"))
        name = run.relative_to(path).as_posix() if path in run.parents else run.name
        whole = runs.setdefault(run, Log(run, name=name, metrics={}))
        whole.metrics.update({names.replace("*", tag): series for tag, series in log.metrics.items()})
    kept = {run for run, log in runs.items() if log.metrics and not _HPARAMS.fullmatch(run.name)} or {*runs}
    if inner:
        around, metrics = len({run for run, _ in inner.values()}), sorted({names for _, names in inner.values()})
        whose = f"{around} run{'s' * (around > 1)} around them"
        notes.append(f"{len(inner)} folders hold metrics {' and '.join(metrics)} of {whose}")
    if beside := ", ".join(log.name for run, log in runs.items() if run not in kept):
        notes.append(f"folders without metrics by steps are left out: {beside}")
    return join_versions([replace(log, notes=tuple(notes)) for run, log in runs.items() if run in kept])


def _inner(logs: Mapping[Path, Log]) -> dict[Path, tuple[Path, str]]:
    """Return the run of each folder that holds metrics of one, and their names, in which the tag stands for a ``*``."""
    inner: dict[Path, tuple[Path, str]] = {}
    for folder, log in logs.items():
        start = "".join(log.metrics).replace("/", "_") + "_"  # of the names of folders of add_scalars
        if folder.parent in logs and folder.name.startswith(start):
            inner[folder] = (folder.parent, f"*/{folder.name.removeprefix(start)}")
    parts = {}
    for folder in (folder for folder, log in logs.items() if folder not in inner and log.metrics):
        for part, run in ((folder.parent, folder.name), (folder, "")):  # validation/seed_0 and seed_0/validation
            if match := PART.fullmatch(part.as_posix()):
                parts[folder] = (Path(match[1] or ".", run), f"{match[2]}/*")
    return inner | parts if len({run for run, _ in parts.values()}) < len(parts) else inner


def _read_file(path: Path) -> Log:
    """Return the scalars in an event file, in the order in which they were written."""
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
            tag, number = value.tag.removeprefix("ray/tune/"), value.simple_value
            if value.metadata.plugin_data.plugin_name == "scalars":
                tensors.add(tag)
            if value.HasField("tensor") and tag in tensors:
                number = float(make_ndarray(value.tensor).item())
            elif not value.HasField("simple_value"):
                continue
            if (tag, event.step, number) != _NO_METRIC:
                scalars.setdefault(tag, []).append((float(event.step), number))
    epoch_at = dict(scalars.pop("epoch", []))
    of_keras = path.parent.name in ("train", "validation") or path.suffix == ".v2"
    log = Log(path, name=path.parent.name, metrics={})
    for tag, rows in scalars.items():
        steps, values = np.array(rows).T
        by_epoch = of_keras and tag.startswith("epoch_")
        epochs = steps if by_epoch else np.array([epoch_at.get(step, np.nan) for step in steps])
        log.metrics[tag] = Series(value=decimals(values), step=steps, epoch=None if np.isnan(epochs).any() else epochs)
    return log


FORMAT = Format(
    "TensorBoard event files",
    find=lambda path: files_below(path, "*tfevents*", lambda file: "tfevents" in file.name),
    read=_read,
)
