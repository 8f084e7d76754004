"""Arguments of the processes, checked when they are made."""

from __future__ import annotations

import math
import operator
from typing import Any, NoReturn

from fptlib.errors import InputError


def refuse(name: str, value: object, allowed: str) -> NoReturn:
    """Raise the one-line error: argument, value, what is allowed."""
    raise InputError(f"{name} is {value!r}; it must be {allowed}")


def real(name: str, value: Any, *, low: float = -math.inf, above: float = -math.inf, high: float = math.inf) -> float:
    """Return `value` as a finite float with ``low <= value <= high`` and ``value > above``."""
    named = {"at least": low, "above": above, "at most": high}
    bounds = " and ".join(f"{text} {bound:g}" for text, bound in named.items() if math.isfinite(bound))
    allowed = f"a finite number {bounds}".strip()
    try:
        number = float(value)
    except (TypeError, ValueError):
        refuse(name, value, allowed)
    if not (math.isfinite(number) and low <= number <= high and number > above):
        refuse(name, value, allowed)
    return number


def probability(name: str, value: Any) -> float:
    """Return `value` as a float between 0 and 1, both included."""
    return real(name, value, low=0, high=1)


def count(name: str, value: Any, *, least: int = 1) -> int:
    """Return `value` as an int of at least `least`; true and false are not numbers."""
    allowed = f"a whole number of at least {least}"
    try:
        number = operator.index(value)
    except TypeError:
        refuse(name, value, allowed)
    if isinstance(value, bool) or number < least:
        refuse(name, value, allowed)
    return number
