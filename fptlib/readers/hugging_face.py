"""Hugging Face's ``trainer_state.json``: one folder for each run, or in it ``checkpoint-N`` folders of which the last counts.

``log_history`` is a list of what was logged, each entry with ``epoch`` (a fraction) and ``step``. Metrics of evaluations start with
``eval_``. An evaluation at step 0 is one before training; one that repeats the last step is one after it, often of the best model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, Series, files_below, folder_name
from fptlib.readers.tables import Table

FILE = "trainer_state.json"
NEAR = 0.05  # of an epoch: where the last batches do not fill a step, epochs end at 0.98, 1.96, ...
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_UNUSED = re.compile(r"epoch|step|total_flos|.*_(runtime|per_second)|train_.*")  # written beside the metrics


def _find(path: Path) -> list[Path]:
    """Return the state of each run: that of its folder, else that of its last checkpoint."""
    runs: dict[Path, tuple[float, Path]] = {}
    for file in files_below(path, FILE, lambda file: file.name == FILE):
        checkpoint = _CHECKPOINT.fullmatch(file.parent.name) if path not in (file, file.parent) else None
        place = (float(checkpoint[1]) if checkpoint else np.inf, file)
        run = file.parents[bool(checkpoint)]
        runs[run] = max(runs.get(run, place), place)
    return [file for _, file in runs.values()]


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    runs = [file.parent if _CHECKPOINT.fullmatch(file.parent.name) and path != file else file for file in files]
    return [_read_run(file, name=folder_name(run, path)) for file, run in zip(files, runs, strict=True)]


def _read_run(path: Path, *, name: str) -> Log:
    try:
        entries = dict(enumerate(json.loads(path.read_text(encoding="utf-8"))["log_history"], start=1))
        table = Table.of_rows(path, {i: entry for i, entry in entries.items() if entry.get("step") != 0}, word="entry")
        epochs, steps, _ = table.progress()
        if epochs is None or steps is None:
            raise KeyError("epoch and step")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a state of a trainer ({' '.join(str(error).split())})") from None
    columns, faults = table.metrics(besides={*filter(_UNUSED.fullmatch, table.columns)})
    notes = ["evaluations before training, at step 0, are left out"] if len(table.line) < len(entries) else []
    metrics = {}
    for key, (value, there) in columns.items():
        series = Series(value, epoch=epochs, step=steps, line=table.line).take(there)
        value, epoch, step = (np.asarray(one) for one in (series.value, series.epoch, series.step))
        off = np.abs(epoch - (rounded := np.round(epoch)))
        if (off > 0).any() and (off <= NEAR).all() and (rounded > 0).all():
            notes.append(f"epochs that end up to {off.max():.2g} off a whole number are rounded")
            epoch = rounded
        n = len(step)
        while n > 1 and step[n - 2] == step[-1]:
            n -= 1
        if (value[n:] != value[n - 1]).any():
            notes.append("evaluations after training, which log its last step again, are left out")
        metrics[key] = replace(series, epoch=epoch).take(np.arange(n))
    return Log(path, name=name, metrics=metrics, faults=faults, notes=tuple(dict.fromkeys(notes)), word="entry")


FORMAT = Format("Hugging Face trainer states", find=_find, read=_read)
