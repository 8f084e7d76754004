"""What a rule may be given as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fptlib import perturbations
from fptlib.errors import InputError
from fptlib.perturbations import Perturbation, Schedule
from fptlib.spec import PerturbationSpec, perturbation_section

Rule = Perturbation | PerturbationSpec | Mapping[str, Any] | str


def schedule_of(rule: Rule, given: Mapping[str, Any]) -> Schedule:
    """The rule with its schedule, checked as a section of a parameter file is.

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
        # A section of no other keys checks those of the schedule.
        section = perturbation_section({"name": "full_reset", "fresh_optimiser": rule.fresh_optimiser, **given})
        return Schedule(
            rule,
            period=section.period,
            repeat=section.repeat,
            fresh_optimiser=section.fresh_optimiser,
        )
    if isinstance(rule, PerturbationSpec):
        rule = rule.model_dump(exclude_unset=True) | {"name": rule.name}
    elif isinstance(rule, str):
        rule = {"name": rule}
    elif not isinstance(rule, Mapping):
        raise InputError(
            f"rule: {rule!r} is not possible; allowed: a Perturbation such as FullReset(), or a section such as "
            "{'name': 'full_reset', 'period': 20}"
        )
    schedule = perturbations.build(perturbation_section({**rule, **given}))
    assert schedule is not None
    return schedule
