"""What a rule may be given as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fptlib.errors import InputError
from fptlib.parameters import build
from fptlib.perturbations import Perturbation, Schedule, schedule

Rule = Perturbation | Schedule | Mapping[str, Any] | str


def schedule_of(rule: Rule, given: Mapping[str, Any]) -> Schedule:
    """Return the rule with its schedule, checked as a section of a parameter file is.

    Parameters
    ----------
    rule
        A value, a section of a parameter file, or the name of a kind.
    given
        Keys of a section, which replace those of the rule.

    Raises
    ------
    InputError
        One line naming key, value and what is allowed.
    """
    if isinstance(rule, Perturbation):
        return build(Schedule, {"rule": rule, **given}, "perturbation")
    if isinstance(rule, Schedule):
        rule = rule.model_dump()
    elif isinstance(rule, str):
        rule = {"name": rule}
    elif not isinstance(rule, Mapping):
        raise InputError(
            f"rule: {rule!r} is not possible; allowed: a Perturbation such as FullReset(), or a section such as "
            "{'name': 'full_reset', 'period': 20}"
        )
    return schedule({**rule, **given})
