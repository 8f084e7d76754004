"""Records of results: frozen dataclasses that become JSON or a table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Record:
    """Base of frozen dataclasses that hold results: `to_dict` for JSON, `to_frame` for a table."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields in JSON types: lists for arrays and tuples, ``None`` for what is not finite."""
        return {field.name: plain(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    def rows(self) -> Iterable[dict[str, Any]]:
        """Return the rows of the table: one for each entry of the fields that are arrays, or else one of the scalar fields,
        those of a record within it under its name and theirs. Arrays of several lengths raise a TypeError.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        columns = {name: value.tolist() for name, value in values.items() if isinstance(value, np.ndarray)}
        if not columns:
            return [_flat(values)]
        if len({len(column) for column in columns.values()}) > 1:
            raise TypeError(f"{type(self).__name__}: arrays of several lengths are no table")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def to_frame(self) -> pd.DataFrame:
        """Return the `rows` as a data frame (pandas)."""
        import pandas as pd

        return pd.DataFrame([*self.rows()])


def plain(value: Any) -> Any:
    """Return a value in JSON types.

    >>> plain({"ends": np.array([1.5, np.nan]), 3: (np.int64(2), float("inf"))})
    {'ends': [1.5, None], '3': [2, None]}
    """
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    return value


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scalars among values; those of a record within it carry its name before their own."""
    row: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Record):
            inner = {field.name: getattr(value, field.name) for field in fields(value)}  # type: ignore[arg-type]
            row |= {f"{name}_{key}": entry for key, entry in _flat(inner).items()}
        elif value is None or isinstance(value, bool | int | float | str | Enum | np.generic):
            row[name] = value
    return row
