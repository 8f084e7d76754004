"""MLflow's runs of one experiment, in its folder ``mlruns/EXPERIMENT/RUN`` or its database ``mlflow.db``.

Each line ``timestamp value step`` of ``metrics/NAME``, or row of the database, has one value; those that share time and step were logged
at once. Infinity is kept as the largest number.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fptlib.errors import InputError
from fptlib.readers.csv_folder import run_logs
from fptlib.readers.logs import Format, Log, files_below, numbered
from fptlib.readers.tables import Table

META = "meta.yaml"
_PARENT = "mlflow.parentRunId"  # the tag of a nested run; the one around it holds no training
_QUERY = f"""
SELECT experiments.name, run_uuid, coalesce(runs.name, run_uuid), 'deleted' IN (runs.lifecycle_stage, experiments.lifecycle_stage)
  OR run_uuid IN (SELECT value FROM tags WHERE key = '{_PARENT}'), metrics.key, timestamp,
  CASE WHEN is_nan THEN 'nan' WHEN abs(metrics.value) > 1.797e308 THEN 'inf' ELSE metrics.value END, step
FROM runs JOIN experiments USING (experiment_id) LEFT JOIN metrics USING (run_uuid) ORDER BY start_time, run_uuid"""


def _find(path: Path) -> list[Path]:
    runs = files_below(
        path, META, lambda file: file.name == META and "\nrun_" in f"\n{file.read_text(errors='replace')}"
    )
    return runs + files_below(path, "*.db", _is_database)


def _is_database(path: Path) -> bool:
    try:
        return bool(_select(path, "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"))
    except sqlite3.Error:
        return False


def _select(path: Path, query: str = _QUERY) -> list[Any]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
        return base.execute(query).fetchall()


def _of_folder(path: Path) -> list[Any]:
    """Return what `_QUERY` does of a database."""
    folder, home = path.parent, path.parents[1]
    about = yaml.safe_load(path.read_text())
    around = {file.read_text().strip() for file in home.glob(f"*/tags/{_PARENT}")}
    unused = about.get("lifecycle_stage") == "deleted" or folder.name in around
    run = (home.name, folder.name, str(about.get("run_name") or folder.name), unused)
    files = {file.relative_to(folder / "metrics").as_posix(): file for file in sorted(folder.glob("metrics/**/*"))}
    texts = {name: file.read_text() for name, file in files.items() if file.is_file()}
    lines = [(name, line.split()) for name, text in texts.items() for line in text.splitlines()]
    if cut := next((name for name, line in lines if len(line) < 3), None):
        raise InputError(f"{files[cut]}: a line without time, value or step; remove it")
    return [(*run, None, 0, 0, 0), *((*run, name, *line[:3]) for name, line in lines)]


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    runs: dict[tuple[str, Path, str, str], dict[tuple[int, int], dict[str, Any]]] = {}
    for file in files:
        place, records = (file.parent, _of_folder(file)) if file.name == META else (file, _select(file))
        for home, key, name, unused, metric, time, value, step in records:
            rows = runs.setdefault((home, place, key, name), {})
            if metric and not unused:
                rows.setdefault((int(time), int(step)), {})[metric] = value
    kept = {run: rows for run, rows in runs.items() if rows}
    if len(homes := sorted({home for home, *_ in kept})) != 1:
        raise InputError(f"{path}: runs of {len(homes)} experiments, where one is needed: {', '.join(homes) or 'none'}")
    beside = ", ".join(name for (*_, name), rows in runs.items() if not rows)
    notes = (f"runs that are deleted, without a metric or around others are left out: {beside}",) if beside else ()
    logs = []
    for name, ((_, place, *_), rows) in zip(numbered([name for *_, name in kept]), kept.items(), strict=True):
        entries = enumerate(({**rows[at], "step": at[1]} for at in sorted(rows)), start=1)
        logs += run_logs(Table.of_rows(place, dict(entries), word="entry"), name)
        for metric, series in logs[-1].metrics.items():
            if len(series.value) > 1 and not np.any(series.step):
                without = "is logged without steps; give log_metric the epoch as its step"
                logs[-1].faults[metric] = f"{logs[-1].title}: {metric} {without}"
    return [replace(log, notes=notes) for log in logs]


FORMAT = Format("MLflow runs", find=_find, read=_read)
