"""Runs that are trained together: stacks of runs that have one learning rate and one momentum in the epoch to come."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.data import Dataset
from fptlib.ensemble import compute, states
from fptlib.ensemble.compute import Compute
from fptlib.ensemble.resources import stack_size
from fptlib.models import Network
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec

# Rows of the records, and the state of these runs.
Part = tuple[Sequence[int], State]


@dataclass(slots=True)
class Stack:
    """Runs that are trained together: a row of the records for each place, -1 for one that is only filled."""

    rows: NDArray[np.int64]
    runs: NDArray[np.int64]
    compute: Compute
    # Of the state: the rate of an epoch is a factor times this one.
    learning_rate: float
    momentum: float | None = None

    def state(self) -> State:
        """Return all that training carries on."""
        return replace(self.compute.state(), momentum=self.momentum)

    @property
    def places(self) -> list[int]:
        """Return the places whose run is recorded, in order."""
        return [int(place) for place in np.flatnonzero(self.rows >= 0)]


@final
class Stacker:
    """Puts runs into stacks.

    Where a run is the same, bit for bit, wherever it sits, stacks are as few as possible. Elsewhere they keep one shape and
    every run its place; the places of others are filled with copies of one. ``runs`` are the numbers of the records' rows.
    """

    def __init__(
        self, spec: EnsembleSpec, network: Network, data: Dataset, device: str, runs: NDArray[np.int64]
    ) -> None:
        self._runs = runs
        self._compute = partial(compute.build, spec, network, device)
        self._movable = compute.movable(spec, network, device)
        self._size = stack_size(spec, network, data, device)

    def _place(self, row: int) -> int:
        return 0 if self._movable else int(self._runs[row]) // self._size

    def arranged(self, parts: Sequence[Part], factors: NDArray[np.float64]) -> list[Stack]:
        """Return stacks of all given runs but those with rows below 0; ``factors`` on the learning rate are one for all of a stack."""
        if not parts:
            return []
        whole = states.join([state for _, state in parts])
        origin = [(int(row), (state.learning_rate, state.momentum)) for rows, state in parts for row in rows]
        groups: dict[tuple[Any, ...], list[tuple[int, int]]] = defaultdict(list)
        for i, (row, rates) in enumerate(origin):
            if row >= 0:
                groups[(self._place(row), float(factors[row]), *rates)].append((row, i))
        return [
            self._stack(chunk, replace(whole, learning_rate=key[-2], momentum=key[-1]))
            for key, members in groups.items()
            for chunk in np.array_split(sorted(members), math.ceil(len(members) / self._size))
        ]

    def _stack(self, members: NDArray[np.int64], whole: State) -> Stack:
        """Return a stack of members, each with its row and its place in ``whole``, shape ``(members, 2)``."""
        runs = self._runs[members[:, 0]]
        if not self._movable:
            first = int(runs[0] // self._size) * self._size
            missing = np.setdiff1d(np.arange(first, first + self._size), runs)
            members = np.concatenate([members, [(-1, members[0, 1])] * len(missing)]) if len(missing) else members
            runs = np.concatenate([runs, missing])
        order = np.argsort(runs, kind="stable")
        state = states.select(whole, members[order, 1].tolist())
        return Stack(members[order, 0], runs[order], self._compute(state), state.learning_rate, state.momentum)

    def rearranged(self, stacks: list[Stack], factors: NDArray[np.float64]) -> list[Stack]:
        """Return the same runs in stacks of one learning rate each, and in no more stacks than are needed for that."""
        stacks = [stack for stack in stacks if stack.places]
        rows = [stack.rows[stack.places] for stack in stacks]
        alike = all(len(np.unique(factors[some])) == 1 for some in rows)
        rates = [(stack.learning_rate, stack.momentum) for stack in stacks]
        count = Counter(
            (self._place(r), rate, float(factors[r])) for rate, some in zip(rates, rows, strict=True) for r in some
        )
        if alike and len(stacks) <= sum(math.ceil(n / self._size) for n in count.values()):
            return stacks
        return self.arranged([(stack.rows.tolist(), stack.state()) for stack in stacks], factors)

    def without(self, stack: Stack, places: Sequence[int]) -> None:
        """Take runs out of a stack, in place."""
        if not self._movable:
            stack.rows[list(places)] = -1
            return
        staying = np.setdiff1d(np.arange(len(stack.rows)), places)
        stack.rows, stack.runs = stack.rows[staying], stack.runs[staying]
        if len(staying):
            stack.compute = self._compute(states.select(stack.state(), staying.tolist()))
