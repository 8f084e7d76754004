"""Candidates of a search: perturbations with their parameters, whose period is open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fptlib.errors import InputError
from fptlib.spec.written import parse as parse_value
from fptlib.trajectories.origin import is_full_reset


@dataclass(frozen=True, slots=True)
class Candidate:
    """A perturbation without its period: a unique label, and the section ``perturbation`` of the parameters without ``period``.

    A rule that has no name, names a period, or acts once only raises an InputError.

    >>> Candidate("reset", {"name": "full_reset"}).restarts
    True
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

    Two of one name carry their parameters in their labels.

    A text of another shape, and two that say the same, raise an InputError.

    >>> [c.label for c in parse(["full_reset", "shrink_perturb:shrink=0.4", "shrink_perturb:shrink=0.6"])]
    ['full_reset', 'shrink_perturb:shrink=0.4', 'shrink_perturb:shrink=0.6']
    """
    rules: list[dict[str, Any]] = []
    words = [word for text in ([texts] if isinstance(texts, str) else texts) for word in text.split()]
    for text in words:
        name, _, rest = text.partition(":")
        rule: dict[str, Any] = {"name": name.strip()}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not (key.strip() and equals):
                raise InputError(f"candidate {text}: NAME or NAME:key=value,key=value is needed")
            try:
                rule[key.strip()] = parse_value(value)
            except InputError:
                raise InputError(
                    f"candidate {text}: {value!r} is not a value (a number, a word, true, false)"
                ) from None
        rules.append(rule)
    names = [rule["name"] for rule in rules]
    labels = [rule["name"] if names.count(rule["name"]) == 1 else text for text, rule in zip(words, rules, strict=True)]
    candidates = tuple(Candidate(label, rule) for label, rule in zip(labels, rules, strict=True))
    check(candidates)
    return candidates


def check(candidates: Iterable[Candidate]) -> None:
    """Raise an InputError unless there is a candidate and labels tell them apart."""
    labels = [candidate.label for candidate in candidates]
    if not labels:
        raise InputError("no candidate; at least one perturbation is needed")
    for label in labels:
        if labels.count(label) > 1:
            raise InputError(f"candidate {label} is given twice")
