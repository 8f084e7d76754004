"""JSON: an object in each line, as detectron2, DeiT and Ray Tune write, a list of objects, or lists of values, as Keras' history.

Names of objects inside others are joined by ``/``. The places in lists of values count as epochs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fptlib.errors import InputError
from fptlib.readers.csv_folder import read_files
from fptlib.readers.logs import Format, visible_files
from fptlib.readers.tables import UNREADABLE, Table, meaning, opened


def _find(path: Path) -> list[Path]:
    """Return the files that hold many rows, and others of their names, of runs that were cut short."""
    contents = {file: _rows(file) for file in ([path] if path.is_file() else visible_files(path))}
    names = {
        file.name
        for file, (word, rows) in contents.items()
        if ".jsonl" in file.suffixes or (len(rows) > 1 and (word != "entry" or _counts([*rows.values()][1])))
    }
    return [file for file, (_, rows) in contents.items() if rows and file.name in names]


def _rows(path: Path) -> tuple[str, dict[int, dict[str, Any]]]:
    """Return the word for a place and the rows by their places, empty where there is no object; none in a file of another kind."""
    try:
        with opened(path) as file:
            text = start + file.read() if (start := file.read(1)) in ("{", "[") else ""
    except UNREADABLE:
        text = ""
    content = _parsed(text)
    if content is None:
        lines = enumerate(text.split("\n"), start=1)
        return "line", {i: _flat(_parsed(line)) for i, line in lines if line.strip()}
    columns = _flat(content)
    if not columns or not all(isinstance(values, list) for values in columns.values()):
        return "entry", dict(enumerate(map(_flat, content if isinstance(content, list) else [content]), start=1))
    if len(lengths := {*map(len, columns.values())}) > 1:
        return "value", {1: {}, 2: {}}
    columns = columns if _counts(columns) else {"epoch": range(1, max(lengths) + 1), **columns}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    return "value", dict(enumerate(rows, start=1))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _flat(content: Any, start: str = "") -> dict[str, Any]:
    """Return what an object holds, itself and in others inside it."""
    flat: dict[str, Any] = {}
    for key, value in content.items() if isinstance(content, dict) else ():
        flat.update(_flat(value, f"{start}{key}/") if isinstance(value, dict) else {f"{start}{key}": value})
    return flat


def counts(path: Path) -> bool:
    """Test whether a file holds objects with the epoch or step that they are of."""
    word, rows = _rows(path)
    return word != "value" and any(map(_counts, rows.values()))


def _counts(row: dict[str, Any]) -> bool:
    return any(meaning(name) is not None for name in row)


def _table(path: Path) -> Table:
    word, rows = _rows(path)
    odd = [i for i, row in rows.items() if not row]
    if not rows or odd not in ([], [max(rows)]):
        uneven = "lists of different lengths; write the epoch of each value beside it, in a list of objects"
        fault = uneven if word == "value" else "no object of JSON"
        raise InputError(f"{path}, {word} {min(odd, default=1)}: {fault}")
    table = Table.of_rows(path, {i: row for i, row in rows.items() if row}, word=word)
    table.notes.update({"a last line that was cut is left out": f"{path}, {word} {odd[0]}"} if odd else {})
    return table


FORMAT = Format("JSON", find=_find, read=lambda path, files: read_files(path, files, _table))
