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
from fptlib.readers.csv_folder import run_logs
from fptlib.readers.logs import Format, Log, files_below, folder_name
from fptlib.readers.tables import Table

FILE = "trainer_state.json"
NEAR = 0.05  # of an epoch: where the last batches do not fill a step, epochs end at 0.98, 1.96, ...
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")
_UNUSED = re.compile(r"total_flos|.*_(runtime|per_second)|train_.*")  # written beside the metrics, epoch and step


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    """Return what each run logged: in the state of its folder, else in that of its last checkpoint."""
    runs: dict[str, tuple[float, Path]] = {}
    for file in files:
        checkpoint = _CHECKPOINT.fullmatch(file.parent.name) if path not in (file, file.parent) else None
        place = (float(checkpoint[1]) if checkpoint else np.inf, file)
        run = folder_name(file.parent if checkpoint else file, path)
        runs[run] = max(runs.get(run, place), place)
    return [_read_run(file, name=run) for run, (_, file) in runs.items()]


def _read_run(path: Path, *, name: str) -> Log:
    try:
        entries = dict(enumerate(json.loads(path.read_text(encoding="utf-8"))["log_history"], start=1))
        trained = {i: entry for i, entry in entries.items() if entry["step"] and entry["epoch"] is not None}
        rows = {i: {key: entry[key] for key in entry if not _UNUSED.fullmatch(key)} for i, entry in trained.items()}
        if not (rows := {i: row for i, row in rows.items() if len(row) > 2}):
            raise ValueError("it logged nothing after step 0")
        table = Table.of_rows(path, rows, word="entry")
        (log,) = run_logs(table, name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a state of a trainer ({' '.join(str(error).split())})") from None
    notes = ["evaluations before training, at step 0, are left out"] if len(trained) < len(entries) else []
    for key, series in log.metrics.items():
        value, epoch, step = (np.asarray(one) for one in (series.value, series.epoch, series.step))
        off = np.abs(epoch - (rounded := np.round(epoch)))
        if (off > 0).any() and (off <= NEAR).all() and (rounded > 0).all():
            notes.append(f"epochs that end up to {off.max():.2g} off a whole number are rounded")
            series = replace(series, epoch=rounded)
        after = np.cumsum(step == step[-1:]) > 1  # of the values at the last step, those after the first
        if (value[after] != value[~after][-1:]).any():
            notes.append("evaluations after training, which log its last step again, are left out")
        log.metrics[key] = series.take(~after)
    return replace(log, notes=tuple(dict.fromkeys(notes)))


FORMAT = Format(
    "Hugging Face trainer states", find=lambda path: files_below(path, FILE, lambda file: file.name == FILE), read=_read
)
