"""Lightning's ``CSVLogger``: ``lightning_logs/version_N/metrics.csv``, one folder for each run.

Rows carry ``epoch`` (from 0) and ``step``, and a metric only where it was logged, so that most cells are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fptlib.readers.csv_folder import read_run
from fptlib.readers.logs import Format, Log, decimals, folder_name
from fptlib.readers.tables import header_of

FILE = "metrics.csv"
_DEEPEST = 3  # run/lightning_logs/version_0


def _find(path: Path) -> list[Path]:
    """Return the files of all runs at the depth at which the first are; none if they are not of this kind."""
    if path.is_file():
        files = [path] if path.name == FILE else []
    else:
        depths = (sorted(path.glob("*/" * depth + FILE)) for depth in range(_DEEPEST + 1))
        files = next((files for files in depths if files), [])
    return files if files and {"epoch", "step"} <= set(header_of(files[0])) else []


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    logs = []
    for file in files:
        log = read_run(file, name=folder_name(file, path))
        # what Lightning logs are tensors of 32 bits
        metrics = {metric: replace(series, value=decimals(series.value)) for metric, series in log.metrics.items()}
        logs.append(replace(log, metrics=metrics))
    return logs


FORMAT = Format("Lightning's CSVLogger", find=_find, read=_read)
