"""Lightning's ``CSVLogger``: ``lightning_logs/version_N/metrics.csv``, one folder for each run.

Rows carry ``epoch`` (from 0) and ``step``, and a metric only where it was logged, so that most cells are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fptlib.readers.csv_folder import read_run
from fptlib.readers.logs import Format, Log, decimals, folder_name, nearest_files
from fptlib.readers.tables import header_of

FILE = "metrics.csv"


def _find(path: Path) -> list[Path]:
    files = nearest_files(path, FILE, lambda file: file.name == FILE)
    return files if files and {"epoch", "step"} <= set(header_of(files[0])) else []


def _read(path: Path, files: Sequence[Path]) -> list[Log]:
    logs = [read_run(file, name=folder_name(file, path)) for file in files]
    for log in logs:  # what Lightning logs are tensors of 32 bits
        log.metrics.update({metric: replace(s, value=decimals(s.value)) for metric, s in log.metrics.items()})
    return logs


FORMAT = Format("Lightning's CSVLogger", find=_find, read=_read)
