"""MLflow's runs: those of one experiment, in its folder ``mlruns/EXPERIMENT/RUN`` or its database ``mlflow.db``.

``metrics/NAME`` has a line ``timestamp value step`` for each value, a database a row. One of several experiments in a database is named as
if it were a folder, ``mlflow.db/EXPERIMENT``.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fptlib.errors import InputError
from fptlib.readers.logs import Format, Log, files_below, numbered
from fptlib.readers.tables import Table

META = "meta.yaml"
# Infinity is kept as the largest number. Runs around others hold no training.
_QUERY = """
SELECT experiments.name, run_uuid, coalesce(runs.name, run_uuid), 'deleted' IN (runs.lifecycle_stage, experiments.lifecycle_stage)
  OR run_uuid IN (SELECT value FROM tags WHERE key = 'mlflow.parentRunId'), metrics.key, metrics.rowid, step,
  CASE WHEN is_nan THEN 'nan' WHEN abs(metrics.value) > 1.797e308 THEN 'inf' ELSE metrics.value END
FROM runs JOIN experiments USING (experiment_id) LEFT JOIN metrics USING (run_uuid) ORDER BY start_time, run_uuid, timestamp, step"""
_Rows = dict[int, dict[str, Any]]


def _find(path: Path) -> list[Path]:
    if path.parent.is_file():
        return [path.parent] if _is_database(path.parent) else []
    return files_below(path, META, _is_run) + files_below(path, "*.db", _is_database)


def _is_run(path: Path) -> bool:
    return (
        path.name == META and re.search("^run_(id|name):", path.read_text(errors="replace"), re.MULTILINE) is not None
    )


def _is_database(path: Path) -> bool:
    try:
        return bool(_asked(path, "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"))
    except sqlite3.Error:
        return False


def _asked(path: Path, query: str) -> list[Any]:
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as base:
        return base.execute(query).fetchall()


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    found = [run for file in files for run in (_of_folder if file.name == META else _of_database)(file)]
    homes = {home for home, log in found if log.metrics or log.faults}
    homes = homes & {str(path)} if path.parent in files else homes
    if len(homes) != 1:
        known = ", ".join(sorted({home for home, _ in found}))
        raise InputError(f"{path}: runs of {len(homes)} experiments, where one is needed; there is {known}")
    runs = [log for home, log in found if home in homes]
    kept = [log for log in runs if log.metrics or log.faults]
    beside = ", ".join(log.name for log in runs if not (log.metrics or log.faults))
    notes = (f"runs that are deleted, without a metric or around others are left out: {beside}",) if beside else ()
    names = numbered([log.name for log in kept])
    return [replace(log, name=name, notes=(*notes, *log.notes)) for log, name in zip(kept, names, strict=True)]


def _of_folder(path: Path) -> Iterator[tuple[str, Log]]:
    folder, home = path.parent, path.parents[1]
    about, title = (yaml.safe_load(file.read_text()) if file.exists() else {} for file in (path, home / META))
    log = Log(folder, name=str(about.get("run_name") or folder.name), metrics={})
    around = {file.read_text().strip() for file in home.glob("*/tags/mlflow.parentRunId")}
    unused = about.get("lifecycle_stage") == "deleted" or folder.name in around
    for file in sorted(file for file in folder.glob("metrics/**/*") if file.is_file() and not unused):
        lines = enumerate(file.read_text().splitlines(), start=1)
        rows = {i: dict(zip(("", "value", "step"), line.split(), strict=False)) for i, line in lines}
        _add(log, file.relative_to(folder / "metrics").as_posix(), file, rows)
    yield str(home) + f" ({title.get('name')})" * bool(title), log


def _of_database(path: Path) -> Iterator[tuple[str, Log]]:
    runs: dict[tuple[str, str, str], dict[str, _Rows]] = {}
    for experiment, key, name, unused, metric, i, step, value in _asked(path, _QUERY):
        rows = runs.setdefault((experiment, key, name), {})
        if not unused and metric:
            rows.setdefault(metric, {})[i] = {"step": step, "value": value}
    for (experiment, _, name), metrics in runs.items():
        log = Log(path, name=name, metrics={}, word="row")
        for metric, own in metrics.items():
            _add(log, metric, path, own)
        yield str(path / experiment), log


def _add(log: Log, metric: str, path: Path, rows: _Rows) -> None:
    """Add the values of a metric, or a fault where step 0 in all of them says that no step was given."""
    if len(rows) > 1 and {str(row.get("step")) for row in rows.values()} == {"0"}:
        log.faults[metric] = f"{path}: {metric} is logged without steps; give log_metric the epoch as its step"
        return
    table = Table.of_rows(path, rows)
    epoch, step, _ = table.progress()
    if series := table.series("value", epoch=epoch, step=step):
        log.metrics[metric] = replace(series, path=path)


FORMAT = Format("MLflow runs", find=_find, read=_read)
