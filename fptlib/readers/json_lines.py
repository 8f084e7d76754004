"""JSON: an object in each line, as detectron2, DeiT and Ray Tune write, or a list of objects, or lists of values, as Keras' history.

Names of objects inside others are joined by ``/``. The places in lists of values count as epochs; a file may hold those of several runs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fptlib.errors import InputError
from fptlib.readers.csv_folder import PART, read_files
from fptlib.readers.logs import Format, visible_files
from fptlib.readers.tables import Table, meaning


def _find(path: Path) -> list[Path]:
    """Return the files that hold many rows, and others of their names, of runs that were cut short."""
    texts = {file: _text(file) for file in ([path] if path.is_file() else visible_files(path))}
    files = {file: text for file, text in texts.items() if text}
    names = {file.name for file, text in files.items() if _is_log(file, text)}
    return [file for file in files if file.name in names]


def _text(path: Path) -> str:
    try:
        with open(path, encoding="utf-8-sig") as file:
            start = file.read(1)
            return start + file.read() if start in ("{", "[") else ""
    except (OSError, UnicodeDecodeError):
        return ""


def _is_log(path: Path, text: str) -> bool:
    try:
        word, rows = _rows(path, text)
    except InputError:
        return True
    return path.suffix == ".jsonl" or (len(rows) > 1 and (word != "entry" or _counts(rows[1])))


def _rows(path: Path, text: str) -> tuple[str, dict[int, dict[str, Any]]]:
    """Return the word for a place and the rows by their places, empty where a line is no object."""
    content = _parsed(text)
    flat = _flat(content)
    if content is None:
        return "line", {i: _flat(_parsed(line)) for i, line in enumerate(text.split("\n"), start=1) if line.strip()}
    if not flat or not all(isinstance(value, list) for value in flat.values()):
        return "entry", dict(enumerate(map(_flat, content if isinstance(content, list) else [content]), start=1))
    parts = [{*part} for part in content.values() if isinstance(part, dict)]
    if len(parts) == len(content) > 1 and parts[1:] == parts[:-1] and not all(map(PART.fullmatch, content)):  # of runs
        rows = (
            {"run": run, **row} for run, part in content.items() for row in _rows(path, json.dumps(part))[1].values()
        )
        return "value", dict(enumerate(rows, start=1))
    lengths = {len(value): name for name, value in flat.items()}
    if len(lengths) > 1:
        known = ", ".join(f"{n} values of {name}" for n, name in lengths.items())
        raise InputError(f"{path}: {known}; write the epoch of each beside it, in a list of objects")
    columns = flat if _counts(flat) else {"epoch": range(1, max(lengths) + 1), **flat}
    return "value", {
        i: dict(zip(columns, row, strict=True)) for i, row in enumerate(zip(*columns.values(), strict=True), 1)
    }


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


def _counts(row: dict[str, Any]) -> bool:
    return any(meaning(name) is not None for name in row)


def _table(path: Path) -> Table:
    word, rows = _rows(path, _text(path))
    odd = [i for i, row in rows.items() if not row]
    if not rows or odd[:-1] or odd[:1] not in ([], [max(rows)]):
        raise InputError(f"{path}, {word} {min(odd, default=1)}: no object of JSON")
    without = [i for i, row in rows.items() if row and not _counts(row)]
    without = without if 2 * len(without) < len(rows) else []
    table = Table.of_rows(path, {i: row for i, row in rows.items() if i not in without + odd}, word=word)
    for note, places in (("a last line that was cut", odd), ("what is logged without epoch or step", without)):
        table.notes.update({f"{note} is left out": f"{path}, {word} {places[0]}"} if places else {})
    return table


FORMAT = Format("JSON", find=_find, read=lambda path, files: read_files(path, files, _table))
