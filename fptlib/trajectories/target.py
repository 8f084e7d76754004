"""The threshold that a metric is to reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, SupportsFloat

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.record import Record

Direction = Literal["above", "below"]


class _HasMetrics(Protocol):
    def metric_name(self, name: str | None = None) -> str: ...


@dataclass(frozen=True, slots=True)
class Target(Record):
    """The value that a metric should reach; where training retires runs, they end there.

    Parameters
    ----------
    threshold
        In the unit of the metric; reaching it exactly counts.
    direction
        ``"above"`` for a metric to maximise, ``"below"`` for one to minimise.
    metric
        Name of the metric; ``test_metric``, or the only one, by default. Where training retires runs it must be named.

    Examples
    --------
    >>> target = Target(94, metric="test_metric")
    >>> str(target), target == Target.from_dict(target.to_dict()), Target.of(0.9)
    ('test_metric above 94', True, Target(threshold=0.9, direction='above', metric=None))
    """

    threshold: float
    direction: Direction = "above"
    metric: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.threshold, SupportsFloat) or not math.isfinite(self.threshold):
            raise InputError(f"target: threshold {self.threshold!r} is not possible; a finite number is needed")
        if self.direction not in ("above", "below"):
            raise InputError(f"target: direction {self.direction!r} is not known; choose above or below")
        if not isinstance(self.metric, str | None):
            raise InputError(f"target: metric {self.metric!r} is not the name of a metric")
        object.__setattr__(self, "threshold", float(self.threshold))

    def __str__(self) -> str:
        return f"{self.metric or 'metric'} {self.direction} {self.threshold:.10g}"

    @classmethod
    def of(cls, target: Target | float) -> Target:
        """Return the target itself, or the one of a number that the metric is to rise to."""
        return target if isinstance(target, Target) else cls(target)

    @classmethod
    def from_dict(cls, content: Any) -> Target:
        """Return the target at which training retired runs from its `to_dict`; its metric must be named."""
        if not isinstance(content, Mapping) or set(content) != {"threshold", "direction", "metric"}:
            raise InputError(f"retirement {content!r}: threshold, direction and metric are needed, and nothing else")
        target = cls(**content)
        _ = target.name
        return target

    @property
    def name(self) -> str:
        """Name of the metric; an InputError if the target leaves it to the trajectories, see `on`."""
        if self.metric is None:
            raise InputError(f"target {self}: name the metric; training that retires runs does not choose one")
        return self.metric

    def on(self, trajectories: _HasMetrics) -> Target:
        """Return the target with the name of its metric filled in, see `Trajectories.metric_name`."""
        return replace(self, metric=trajectories.metric_name(self.metric))

    def covers(self, other: Target) -> bool:
        """Test whether a run that retired here had reached ``other`` by then, which has the same metric and direction and is no harder."""
        easier = self.threshold >= other.threshold if self.direction == "above" else self.threshold <= other.threshold
        return (self.metric, self.direction) == (other.metric, other.direction) and easier


def reached(values: NDArray[np.float64], target: Target) -> NDArray[np.bool_]:
    """Test where a metric is at the threshold or beyond it; never where it is NaN."""
    return np.asarray(values >= target.threshold if target.direction == "above" else values <= target.threshold)
