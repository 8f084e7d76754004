"""The best state of each run so far, for perturbations that go back to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray

from fptlib.ensemble import states
from fptlib.perturbations import State


@final
class Best:
    """The state of each run after the epoch with its best metric so far; the first of several equal ones."""

    def __init__(self) -> None:
        self._of: dict[int, State] = {}

    @staticmethod
    def improved(values: NDArray[np.float64]) -> bool:
        """Return whether the last of a run's values is better than all before it; NaN is worse than any."""
        return int(np.argmax(np.where(np.isnan(values), -np.inf, values))) == len(values) - 1

    def note(self, row: int, state: State) -> None:
        """Keep the state of one run."""
        self._of[row] = state

    def enter(self, rows: Sequence[int], places: Sequence[int], kept: Mapping[str, Any]) -> None:
        """Take over what a snapshot has."""
        state = State(kept["parameters"], kept["buffers"], kept["optimiser"], 0.0)
        for row, place in zip(rows, places, strict=True):
            self._of[row] = states.select(state, [place])

    def of(self, rows: Sequence[int], device: torch.device, rate: float) -> State:
        """Return the states of some runs, with a learning rate that is not theirs but the present one."""
        return replace(states.join([states.to_device(self._of[row], device) for row in rows]), learning_rate=rate)

    def content(self, rows: Sequence[int]) -> dict[str, Any] | None:
        """Return what a snapshot keeps of some runs; ``None`` where nothing is to be kept."""
        if not all(row in self._of for row in rows):
            return None
        state = states.on_cpu(states.join([states.on_cpu(self._of[row]) for row in rows]))
        optimiser = {key: dict(entries) for key, entries in state.optimiser.items()}
        return {"parameters": dict(state.parameters), "buffers": dict(state.buffers), "optimiser": optimiser}
