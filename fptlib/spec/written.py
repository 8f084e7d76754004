"""Parameters as they are written: YAML, dotted keys, and one mapping laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from fptlib.errors import InputError


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which a key given twice is a fault: plain YAML would silently keep the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise InputError(f"{key}: given twice (line {key_node.start_mark.line + 1})")
            seen.add(key if isinstance(key, str) else repr(key))
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """Return the value of a text in YAML; an InputError names the line that is none, or a key that is given twice."""
    try:
        # The loader is a subclass of the safe one, which builds plain values only.
        return yaml.load(text, Loader=_UniqueKeys)
    except (ValueError, AttributeError, RecursionError) as error:
        # What looks like a date or a number of a certain type and is none: 2024-13-45.
        raise InputError(f"not valid YAML ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{line}not valid YAML ({getattr(error, 'problem', None) or error})") from None


def nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Unfold dotted keys into nested mappings; the later of two that touch the same key wins."""
    result: dict[str, Any] = {}
    for key, value in changes.items():
        if not isinstance(key, str) or not all(key.split(".")):
            raise InputError(f"{key!r}: not a key; allowed: names joined by dots, as in optimiser.lr")
        value = nested(value) if isinstance(value, Mapping) else value
        for step in reversed(key.split(".")):
            value = {step: value}
        result = merge(result, value)
    return result


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings. A section whose ``name`` changes is replaced: another kind has other keys."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(value, Mapping) and isinstance(old, Mapping):
            renamed = "name" in value and "name" in old and value["name"] != old["name"]
            result[key] = dict(value) if renamed else merge(old, value)
        else:
            result[key] = value
    return result
