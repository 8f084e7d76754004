"""A folder with one CSV file for each run, or one sub-folder with one CSV file for each run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fptlib.errors import InputError
from fptlib.readers.assemble import Axis, assemble
from fptlib.readers.csv_run import read_csv_run
from fptlib.readers.logs import Format, Log
from fptlib.trajectories import Trajectories


def read_csv_folder(folder: str | os.PathLike[str], *, axis: Axis = "auto", every: int | None = None) -> Trajectories:
    """Read every ``*.csv`` file of a folder as one run.

    The label of a run is the last number in its file's name where these are all different, else its place in the sorted list. A column
    ``epoch`` or ``step``, if there is one, counts; without it rows are epochs. Runs may have different lengths.

    Parameters
    ----------
    folder
        Where the files are.
    axis, every
        As in `fptlib.readers.assemble`.

    Raises
    ------
    InputError
        Naming file and line: no file, a line with too few or too many values, or no metric that can be read, see
        `fptlib.readers.assemble`.
    """
    return assemble(_read(Path(folder)), source=str(folder), axis=axis, every=every, kind=FORMAT.name)


def _find(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    here = sorted(folder.glob("*.csv"))
    if here:
        return here
    inside = sorted(folder.glob("*/*.csv"))
    return inside if len({path.parent for path in inside}) == len(inside) else []


def _read(folder: Path) -> Sequence[Log]:
    paths = _find(folder)
    if not paths:
        raise InputError(f"{folder}: no .csv file in this folder; expected one for each run, or a store")
    named_by_folder = paths[0].parent != folder
    return [read_csv_run(path, name=path.parent.name if named_by_folder else path.stem) for path in paths]


FORMAT = Format("folder of CSV files", matches=lambda path: bool(_find(path)), read=_read)
