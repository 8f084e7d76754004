"""TensorBoard's event files: a folder for each run, or one folder with event files, one run.

Scalars are kept by step, in 32 bits. Some tools write the epoch beside them, as a scalar ``epoch``. Needs the extra ``tensorboard``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, Series, decimals, folder_name, nearest_files

_MARK = b"brain.Event:"  # in the first record of every event file


def _is_event_file(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return _MARK in file.read(64)
    except OSError:
        return False


def _find(path: Path) -> list[Path]:
    """Return event files in the order in which they were begun."""
    return nearest_files(path, "*tfevents*", _is_event_file)


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    runs: dict[Path, list[Path]] = {}
    for file in files:
        runs.setdefault(file.parent, []).append(file)
    return [_read_run(own, name=path.name if path == own[0] else folder_name(own[0], path)) for own in runs.values()]


def _read_run(files: list[Path], *, name: str) -> Log:
    scalars: dict[str, list[tuple[float, float]]] = {}
    starts: dict[str, float] = {}
    for file in files:
        started: set[str] = set()
        for tag, step, value in _scalars(file):
            if tag not in started and starts.setdefault(tag, step) == step and tag in scalars:
                raise InputError(
                    f"{file}: {tag} starts at step {step:g} again, as in {files[0].name}; give each run a folder of its own"
                )
            started.add(tag)
            scalars.setdefault(tag, []).append((step, value))
    epoch_at = dict(scalars.pop("epoch", []))
    metrics = {}
    for tag, rows in scalars.items():
        steps, values = np.array(rows).T
        epochs = np.array([epoch_at.get(step, np.nan) for step in steps])
        metrics[tag] = Series(value=decimals(values), step=steps, epoch=None if np.isnan(epochs).any() else epochs)
    return Log(files[0] if len(files) == 1 else files[0].parent, name=name, metrics=metrics)


def _scalars(path: Path) -> Iterator[tuple[str, float, float]]:
    """Tag, step and value of each scalar in the order in which they were written."""
    try:
        from tensorboard.backend.event_processing import event_file_loader  # type: ignore[import-untyped]
        from tensorboard.util.tensor_util import make_ndarray  # type: ignore[import-untyped]
    except ImportError:
        raise InputError(
            f"{path}: TensorBoard's event files need its package; pip install 'fptlib[tensorboard]'"
        ) from None
    tensors = set()  # tags of scalars kept as tensors, as TensorFlow does; the first of each says so
    for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():  # ends where a file is cut or damaged
        for value in event.summary.value:
            if value.HasField("simple_value"):
                yield value.tag, float(event.step), value.simple_value
            elif value.HasField("tensor"):
                if value.metadata.plugin_data.plugin_name == "scalars":
                    tensors.add(value.tag)
                if value.tag in tensors:
                    yield value.tag, float(event.step), float(make_ndarray(value.tensor).item())


FORMAT = Format("TensorBoard event files", find=_find, read=_read)
