"""What a perturbation cannot do without."""

from __future__ import annotations

from typing import Literal, TypeVar

from fptlib.errors import InputError
from fptlib.perturbations.base import Perturbation

Need = Literal["best", "probe", "network", "gradient"]
_Value = TypeVar("_Value")


def needed(value: _Value | None, what: str, perturbation: Perturbation) -> _Value:
    """Something of the context that has to be there.

    Raises
    ------
    InputError
        If it is not.
    """
    if value is None:
        raise InputError(f"perturbation: {type(perturbation).__name__} needs {what}, and this training gives none")
    return value
