"""Runs in training: epochs, evaluation, perturbation, and who stops when."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fptlib import models, perturbations
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble import compute, states
from fptlib.ensemble.compute import Compute
from fptlib.ensemble.resources import UNIT, stack_size
from fptlib.ensemble.streams import Purpose, streams
from fptlib.models import Tensors
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec, SgdSpec
from fptlib.trajectories import Retirement, reached


@dataclass(frozen=True, slots=True)
class Task:
    """Runs to be trained to an epoch, or until they pass.

    Parameters
    ----------
    spec
        Specification; its ``runs`` and ``epochs`` do not count here.
    runs
        Numbers of the runs.
    epochs
        Last epoch.
    device
        ``cpu`` or ``cuda``.
    retirement
        Runs that reach this leave the training.
    keep
        Epochs after which snapshots are kept, to fork from.
    """

    spec: EnsembleSpec
    runs: tuple[int, ...]
    epochs: int
    device: str
    retirement: Retirement | None = None
    keep: tuple[int, ...] = ()

    @property
    def units(self) -> list[int]:
        """First run of each shard that is concerned."""
        return sorted({run - run % UNIT for run in self.runs})


@dataclass(slots=True)
class _Stack:
    """Runs that are trained together: a row of the records for each place, -1 for one that is only filled."""

    rows: NDArray[np.int64]
    runs: NDArray[np.int64]
    compute: Compute

    @property
    def active(self) -> NDArray[np.bool_]:
        """Places whose run is recorded."""
        return np.asarray(self.rows >= 0)


class Training:
    """Runs in training, each at an epoch of its own.

    Parameters
    ----------
    task
        What to train.
    data
        What to train on.
    start
        Snapshots of these runs to go on from; runs in none start afresh.
    branches
        Snapshots of the same runs in unperturbed training, at an epoch at which this training perturbs them.
    """

    def __init__(
        self, task: Task, data: Dataset, start: Sequence[Snapshot] = (), branches: Sequence[Snapshot] = ()
    ) -> None:
        spec = task.spec
        self.task = task
        self.network = models.build(spec.model, shape=data.shape, n_classes=data.n_classes)
        self.schedule = perturbations.build(spec.perturbation)
        self._device = torch.device(task.device)
        self._train_set = compute.tensors(data.x_train, data.y_train, spec, task.device)
        self._held_out = {"test": compute.tensors(data.x_test, data.y_test, spec, task.device)}
        if data.x_valid is not None and data.y_valid is not None:
            self._held_out["valid"] = compute.tensors(data.x_valid, data.y_valid, spec, task.device)
        self._movable = compute.movable(spec, self.network, data, task.device)
        self._size = stack_size(spec, self.network, data, task.device, movable=self._movable)
        self.runs = np.array(task.runs, dtype=np.int64)
        self.epoch = np.zeros(len(self.runs), dtype=np.int64)
        width = max([task.epochs, *(int(part.epoch.max()) for part in (*start, *branches))])
        names = ["train_loss", "test_loss", *(f"{part}_metric" for part in self._held_out)]
        self.metrics = {name: np.full((len(self.runs), width), np.nan) for name in names}
        self._kept: list[Snapshot] = []
        self._left: dict[int, State] = {}
        self._stacks: list[_Stack] = []
        self._enter(start, branches)

    def take_kept(self) -> list[Snapshot]:
        """Snapshots at epochs to be kept, once."""
        kept, self._kept = self._kept, []
        return kept

    @property
    def active(self) -> int:
        """Runs still in training."""
        return sum(int(stack.active.sum()) for stack in self._stacks)

    # -- who is trained with whom

    def _enter(self, start: Sequence[Snapshot], branches: Sequence[Snapshot]) -> None:
        """Give every run its state; those that are not done go into stacks."""
        row_of = {int(run): row for row, run in enumerate(self.runs)}
        ready: list[tuple[list[int], State]] = []
        taken: set[int] = set()
        for part, branching in [*((part, False) for part in start), *((part, True) for part in branches)]:
            places = [i for i, run in enumerate(part.run.tolist()) if run in row_of and row_of[run] not in taken]
            rows = [row_of[int(part.run[i])] for i in places]
            taken.update(rows)
            for row, place in zip(rows, places, strict=True):
                self.epoch[row] = int(part.epoch[place])
                for name, values in self.metrics.items():
                    values[row, : self.epoch[row]] = part.metrics[name][place, : self.epoch[row]].numpy()
            for rate in sorted({float(part.learning_rate[i]) for i in places}):
                some = [k for k, i in enumerate(places) if float(part.learning_rate[i]) == rate]
                state = states.to_device(states.select(part.state(rate), [places[k] for k in some]), self._device)
                chosen = [rows[k] for k in some]
                if branching:
                    state = self._perturbed(self.runs[chosen], self.epoch[chosen], state)
                ready.append((chosen, state))
        fresh = [row for row in range(len(self.runs)) if row not in taken]
        if fresh:
            ready.append((fresh, self._fresh_state(self.runs[fresh])))
        self._stacks = []
        staying: list[tuple[list[int], State]] = []
        for rows, state in ready:
            done = [self._done(row) for row in rows]
            for i, row in enumerate(rows):
                if done[i]:
                    self._left[row] = states.on_cpu(states.select(state, [i]))
            if not all(done):
                keep = [i for i in range(len(rows)) if not done[i]]
                staying.append(([rows[i] for i in keep], states.select(state, keep)))
        self._arrange(staying)

    def _fresh_state(self, runs: NDArray[np.int64]) -> State:
        return State(*self._initial("initial", runs, [0] * len(runs)), {}, self.task.spec.optimiser.lr)

    def _initial(self, purpose: Purpose, runs: Iterable[int], epochs: Iterable[int]) -> tuple[Tensors, Tensors]:
        """Parameters and buffers of fresh initialisations."""
        generators = streams(self.task.spec.seed, runs, purpose, epochs)
        return self.network.initialise(generators, dtype=compute.dtype_of(self.task.spec), device=self._device)

    def _arrange(self, parts: Sequence[tuple[Sequence[int], State]]) -> None:
        """Put runs into stacks. Those of one stack have what an optimiser keeps in common for all of them."""
        groups: dict[tuple[float, ...], list[tuple[int, int, int]]] = defaultdict(list)
        mixed = isinstance(self.task.spec.optimiser, SgdSpec)
        for k, (rows, state) in enumerate(parts):
            for i, row in enumerate(rows):
                epoch = 0.0 if mixed else float(self.epoch[row])
                place = 0.0 if self._movable else float(self.runs[row] // self._size)
                groups[(epoch, place, *states.shared(state, i))].append((row, k, i))
        for members in groups.values():
            members.sort()
            n_stacks = math.ceil(len(members) / self._size)
            for chunk in np.array_split(np.arange(len(members)), n_stacks):
                self._add_stack([members[j] for j in chunk], [state for _, state in parts])

    def _add_stack(self, members: Sequence[tuple[int, int, int]], parts: Sequence[State]) -> None:
        pieces, rows = [], []
        for k in sorted({k for _, k, _ in members}):
            of_part = [(row, i) for row, part, i in members if part == k]
            rows += [row for row, _ in of_part]
            pieces.append(states.select(parts[k], [i for _, i in of_part]))
        runs = self.runs[rows]
        if not self._movable:
            # Every run keeps its place in a stack of one shape; the places of others are filled with copies of one.
            first = int(runs[0] // self._size) * self._size
            missing = np.setdiff1d(np.arange(first, first + self._size), runs)
            pieces += [states.select(pieces[0], [0] * len(missing))] if len(missing) else []
            rows, runs = rows + [-1] * len(missing), np.concatenate([runs, missing])
        order = np.argsort(runs, kind="stable")
        state = states.select(states.join(pieces), order.tolist())
        self._stacks.append(
            _Stack(
                np.array(rows)[order], runs[order], compute.build(self.task.spec, self.network, self.task.device, state)
            )
        )

    def _done(self, row: int) -> bool:
        """Whether a run has come to the horizon, or has passed and is to be retired."""
        epoch, retirement = int(self.epoch[row]), self.task.retirement
        if epoch >= self.task.epochs:
            return True
        if retirement is None or epoch == 0:
            return False
        values = self.metrics[retirement.metric][row, :epoch]
        return bool(reached(values, threshold=retirement.threshold, direction=retirement.direction).any())

    # -- snapshots

    def snapshots(self) -> list[Snapshot]:
        """Where all runs stand, one snapshot for each shard."""
        parts = [([row], state) for row, state in self._left.items()]
        for stack in self._stacks:
            places = np.flatnonzero(stack.active).tolist()
            parts.append((stack.rows[places].tolist(), states.on_cpu(states.select(stack.compute.state(), places))))
        return self._snapshots(parts)

    def _snapshots(self, parts: Sequence[tuple[Sequence[int], State]]) -> list[Snapshot]:
        found = []
        for unit in self.task.units:
            chosen = [
                (rows[i], states.select(state, [i]))
                for rows, state in parts
                for i in range(len(rows))
                if unit <= self.runs[rows[i]] < unit + UNIT
            ]
            if chosen:
                chosen.sort(key=lambda pair: pair[0])
                rows = [row for row, _ in chosen]
                width = int(self.epoch[rows].max())
                metrics = {name: torch.from_numpy(values[rows, :width].copy()) for name, values in self.metrics.items()}
                state = states.join([state for _, state in chosen])
                found.append(
                    Snapshot(
                        digest=self.task.spec.digest(),
                        run=torch.from_numpy(self.runs[rows]),
                        epoch=torch.from_numpy(self.epoch[rows]),
                        parameters=state.parameters,
                        buffers=state.buffers,
                        optimiser=state.optimiser,
                        learning_rate=torch.tensor([s.learning_rate for _, s in chosen], dtype=torch.float64),
                        metrics=metrics,
                    )
                )
        return found

    # -- work

    def step_epoch(self) -> int:
        """Train every run for one epoch, evaluate, perturb those whose time it is; returns the run-epochs trained."""
        trained = self.active
        for stack in list(self._stacks):
            self._step(stack)
        self._stacks = [stack for stack in self._stacks if stack.active.any()]
        full = math.ceil(self.active / self._size)
        if self._movable and full < len(self._stacks):
            parts = [(stack.rows.tolist(), stack.compute.state()) for stack in self._stacks]
            self._stacks = []
            self._arrange(parts)
        return trained

    def _step(self, stack: _Stack) -> None:
        spec, places = self.task.spec, np.flatnonzero(stack.active)
        rows = stack.rows[places]
        # Runs that only fill a place stay at epoch 1 for ever: their numbers concern nobody.
        epochs = np.ones(len(stack.rows), dtype=np.int64)
        epochs[places] = self.epoch[rows] + 1
        x, y = self._train_set
        order = np.stack([rng.permutation(len(y)) for rng in streams(spec.seed, stack.runs, "order", epochs)])
        size = spec.training.batch_size
        if spec.training.drop_last:
            order = order[:, : len(y) - len(y) % size]
        results = {"train_loss": stack.compute.train(x, y, torch.from_numpy(order).to(self._device), size)}
        for part, held_out in self._held_out.items():
            loss, results[f"{part}_metric"] = stack.compute.evaluate(*held_out)
            if part == "test":
                results["test_loss"] = loss
        self.epoch[rows] += 1
        for name, values in results.items():
            self.metrics[name][rows, self.epoch[rows] - 1] = values.cpu().numpy()[places]
        self._keep(stack)
        self._perturb(stack)
        self._retire(stack)

    def _keep(self, stack: _Stack) -> None:
        for epoch in self.task.keep:
            places = [i for i in np.flatnonzero(stack.active).tolist() if self.epoch[stack.rows[i]] == epoch]
            if places:
                state = states.on_cpu(states.select(stack.compute.state(), places))
                self._kept += self._snapshots([(stack.rows[places].tolist(), state)])

    def _perturb(self, stack: _Stack) -> None:
        if self.schedule is None:
            return
        whole = stack.compute.state()
        due = np.array([row >= 0 and self.schedule.due(int(self.epoch[row])) for row in stack.rows])
        if not due.any():
            return
        if np.array_equal(due, stack.active):
            due[:] = True  # the other places too: what optimisers keep in common stays in common
        chosen, others = np.flatnonzero(due).tolist(), np.flatnonzero(~due).tolist()
        part = self._perturbed(stack.runs[chosen], self.epoch[stack.rows[chosen]], states.select(whole, chosen))
        if others:
            joined = states.join([part, states.select(whole, others)])
            part = states.select(joined, np.argsort([*chosen, *others]).tolist())
        stack.compute = compute.build(self.task.spec, self.network, self.task.device, part)

    def _perturbed(self, runs: NDArray[np.int64], epochs: NDArray[np.int64], state: State) -> State:
        assert self.schedule is not None
        context = perturbations.Context(
            fresh=lambda: self._initial("fresh", runs, epochs),
            generators=streams(self.task.spec.seed, runs, "perturb", epochs),
        )
        with torch.no_grad():
            return self.schedule.apply(state, context)

    def _retire(self, stack: _Stack) -> None:
        """Take out runs that are done."""
        done = [i for i in np.flatnonzero(stack.active).tolist() if self._done(int(stack.rows[i]))]
        if not done:
            return
        whole = stack.compute.state()
        for i in done:
            self._left[int(stack.rows[i])] = states.on_cpu(states.select(whole, [i]))
        if self._movable:
            staying = np.setdiff1d(np.arange(len(stack.rows)), done)
            stack.rows, stack.runs = stack.rows[staying], stack.runs[staying]
            if len(staying):
                state = states.select(whole, staying.tolist())
                stack.compute = compute.build(self.task.spec, self.network, self.task.device, state)
        else:
            stack.rows[done] = -1
