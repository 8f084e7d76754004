"""Numbers as parameters have them, and what every section of the parameters has in common."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError


def _integer(value: object) -> object:
    """Whole numbers however they are written (5, 5.0, numpy's), never truth values."""
    if isinstance(value, bool | np.bool_):
        raise PydanticCustomError("allowed", "a whole number")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, np.integer):
        return operator.index(value)
    if isinstance(value, str | float):
        raise PydanticCustomError("allowed", "a whole number")
    return value


def _number(value: object) -> object:
    """Finite numbers; text such as ``1e-3``, which YAML 1.1 does not take for a number, is read as one."""
    if isinstance(value, bool | np.bool_):
        raise PydanticCustomError("allowed", "a number")
    if isinstance(value, np.integer | np.floating):
        return float(value)
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise PydanticCustomError("allowed", "a number") from None
    return value


Integer = Annotated[int, BeforeValidator(_integer)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
PositiveInteger = Annotated[Integer, Field(ge=1)]
NaturalNumber = Annotated[Integer, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
# numpy's seed sequences take any non-negative integer; 64 bits keep the seed portable in JSON and Parquet.
Seed = Annotated[Integer, Field(ge=0, lt=2**63)]


def unsaid(default: Any) -> Any:
    """A field that is written down, and counts in a digest, only where it differs from its default.

    For keys whose default is what always was: parameters that do not name them are the same parameters as before.
    """
    return Field(default=default, exclude_if=lambda value: bool(value == default))


class Part(BaseModel):
    """One section of the parameters: immutable, and closed to keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
