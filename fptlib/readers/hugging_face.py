"""Hugging Face's ``trainer_state.json``: one folder for each run, or in it ``checkpoint-N`` folders of which the last counts.

``log_history`` is a list of what was logged, each entry with ``epoch`` (a fraction) and ``step``. Metrics of evaluations start with
``eval_``. An evaluation at step 0 is one before training.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, Series

FILE = "trainer_state.json"
NEAR = 0.05  # of an epoch: where the last batches do not fill a step, epochs end at 0.98, 1.96, ...
_UNUSED = re.compile(r"epoch|step|total_flos|.*_(runtime|per_second)|train_.*")  # written beside the metrics


def _find(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.name == FILE else []
    states = [_last(folder) for folder in [path, *sorted(path.glob("*/"))]]
    return [state for state in (states[:1] if states[0] else states) if state is not None]


def _last(folder: Path) -> Path | None:
    """Return the state of a run: that of its folder, else that of its last checkpoint."""
    if (folder / FILE).exists():
        return folder / FILE
    checkpoints = [path for path in folder.glob(f"checkpoint-*/{FILE}") if path.parent.name[11:].isdigit()]
    return max(checkpoints, key=lambda path: int(path.parent.name[11:]), default=None)


def _read(_: Path, files: Sequence[Path]) -> list[Log]:
    runs = [file.parent.parent if file.parent.name.startswith("checkpoint-") else file.parent for file in files]
    return [_read_run(file, name=run.name) for file, run in zip(files, runs, strict=True)]


def _read_run(path: Path, *, name: str) -> Log:
    try:
        history = json.loads(path.read_text(encoding="utf-8"))["log_history"]
        entries = [dict(entry) for entry in history]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a state of a trainer ({' '.join(str(error).split())})") from None
    rows: dict[str, list[tuple[float, float, float, float]]] = {}
    notes = []
    for i, entry in enumerate(entries, start=1):
        epoch, step = _number(entry.get("epoch")), _number(entry.get("step"))
        if step == 0:
            notes.append("evaluations before training, at step 0, are left out")
            continue
        for key, value in entry.items():
            if not _UNUSED.fullmatch(key) and isinstance(value, int | float):
                rows.setdefault(key, []).append((_number(value), epoch, step, i))
    metrics = {}
    for key, own in rows.items():
        value, epoch, step, place = np.array(own).T
        rounded = np.round(epoch)
        off = np.abs(epoch - rounded)
        if (off <= NEAR).all() and (rounded > 0).all():
            if off.any():
                notes.append(f"epochs that end up to {off.max():.2g} off a whole number are rounded")
            epoch = rounded
        metrics[key] = Series(value=value, epoch=epoch, step=step, line=place.astype(np.int64))
    return Log(path, name=name, metrics=metrics, notes=tuple(dict.fromkeys(notes)), word="entry")


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


FORMAT = Format("Hugging Face trainer states", find=_find, read=_read)
