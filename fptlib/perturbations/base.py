"""What a perturbation is: ``apply(state, context) -> state``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from torch import Tensor

from fptlib.models import Network


@dataclass(frozen=True, slots=True)
class State:
    """All that a training carries from one step to the next, of all runs.

    Parameters
    ----------
    parameters, buffers
        Name to tensor ``(runs, ...)``.
    optimiser
        The optimiser's state as PyTorch's ``state_dict()["state"]`` has it: empty for a fresh one.
    learning_rate
        Learning rate.
    """

    parameters: Mapping[str, Tensor]
    buffers: Mapping[str, Tensor]
    optimiser: Mapping[Any, Any]
    learning_rate: float


@dataclass(frozen=True, slots=True)
class Context:
    """What a perturbation may draw on.

    Parameters
    ----------
    fresh
        Draws the parameters and buffers of a fresh initialisation; each call gives the same.
    generators
        Source of randomness of each run.
    best
        The best snapshot so far, where one is kept.
    probe
        A batch of inputs and targets, the same for every run, where one is given.
    network
        What the parameters are parts of, where it is known.
    gradient
        Gradient of each run's mean loss on the probe with respect to its parameters, where it can be had.
    """

    fresh: Callable[[], tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]
    generators: Sequence[np.random.Generator]
    best: State | None = None
    probe: tuple[Tensor, Tensor] | None = None
    network: Network | None = None
    gradient: Callable[[State], Mapping[str, Tensor]] | None = None


class Perturbation(ABC):
    """One way to change a training.

    ``fresh_optimiser`` says whether the optimiser starts anew as well where nobody decides otherwise; ``needs`` names what
    `apply` takes from the context beyond ``fresh`` and ``generators``.
    """

    __slots__ = ()
    fresh_optimiser: ClassVar[bool] = True
    needs: ClassVar[frozenset[Literal["best", "probe", "network", "gradient"]]] = frozenset()

    def rate(self, since: int) -> float:
        """Factor on the learning rate in the epoch that is ``since`` (1, 2, ...) epochs after the last perturbation."""
        return 1.0

    @abstractmethod
    def apply(self, state: State, context: Context) -> State:
        """State after the perturbation; the given one is left as it is."""
