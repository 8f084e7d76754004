"""Candidates of a search: perturbations with their parameters, whose period is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fptlib.errors import InputError
from fptlib.response.results import named
from fptlib.spec.written import parse as parse_value
from fptlib.trajectories.origin import is_full_reset

Cell = tuple[str | None, int | None]  # label of a candidate and period
UNPERTURBED = (None, None)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A perturbation without its period: a unique label, and the section ``perturbation`` of the parameters without ``period``.

    A rule that has no name, names a period, or acts once only raises an InputError.
    """

    label: str
    rule: Mapping[str, Any] = field(hash=False)

    def __post_init__(self) -> None:
        if not self.label or not isinstance(self.rule.get("name"), str):
            raise InputError(f"candidate {self.label!r}: a label and the name of a perturbation are needed")
        if "period" in self.rule:
            raise InputError(f"candidate {self.label}: leave out the period; it is what is to be found")
        if self.rule.get("repeat", "periodic") != "periodic":
            raise InputError(f"candidate {self.label}: only perturbations that are repeated periodically have a period")

    @property
    def restarts(self) -> bool:
        """True if a perturbed run starts again from scratch, so that unperturbed runs determine all its means."""
        return is_full_reset(self.rule)


def parse(texts: str | Iterable[str]) -> tuple[Candidate, ...]:
    """Parse candidates written as ``NAME`` or ``NAME:key=value,key=value``, separated by spaces or in a list.

    Two of one name carry their parameters in their labels. A text of another shape, and two that say the same, raise an InputError.

    >>> [c.label for c in parse(["full_reset", "shrink_perturb:shrink=0.4", "shrink_perturb:shrink=0.6"])]
    ['full_reset', 'shrink_perturb:shrink=0.4', 'shrink_perturb:shrink=0.6']
    """
    words = [word for text in ([texts] if isinstance(texts, str) else texts) for word in text.split()]
    rules = [_rule(word) for word in words]
    names = [rule["name"] for rule in rules]
    candidates = tuple(
        Candidate(rule["name"] if names.count(rule["name"]) == 1 else word, rule)
        for word, rule in zip(words, rules, strict=True)
    )
    check(candidates)
    return candidates


def _rule(text: str) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    rule: dict[str, Any] = {"name": name.strip()}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not (key.strip() and equals):
            raise InputError(f"candidate {text}: NAME or NAME:key=value,key=value is needed")
        try:
            rule[key.strip()] = parse_value(value)
        except InputError:
            message = f"candidate {text}: {value!r} is not a value (a number, a word, true, false)"
            raise InputError(message) from None
    return rule


def cell(candidate: Candidate | None, period: int | None) -> Cell:
    """Return the label of a candidate (``None``: unperturbed) with a period."""
    return (None if candidate is None else candidate.label), period


def described(label: str | None, period: int | None) -> str:
    """Return a cell in words."""
    return "unperturbed" if label is None else named(label, period)


def check(candidates: Iterable[Candidate]) -> None:
    """Raise an InputError unless there is a candidate and labels tell them apart, and from unperturbed runs."""
    labels = [candidate.label for candidate in candidates]
    if not labels:
        raise InputError("no candidate; at least one perturbation is needed")
    for label in labels:
        if label.lower() == "none":
            raise InputError(f"candidate {label}: none is the name of unperturbed runs; choose another")
        if labels.count(label) > 1:
            raise InputError(f"candidate {label} is given twice")
