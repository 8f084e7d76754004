"""Runs in training: epochs, evaluation, perturbation, and who stops when."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptlib import models
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble import compute, states
from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.stacks import Part, Stack, Stacker
from fptlib.ensemble.states import Best
from fptlib.ensemble.streams import Purpose, order, streams
from fptlib.models import Tensors
from fptlib.perturbations import Context, State
from fptlib.spec import EnsembleSpec
from fptlib.spec.schedules import ConstantSpec
from fptlib.trajectories import Target, reached

# Devices that compute while the processor goes on, and epochs whose metrics may wait there for being fetched.
_ASYNCHRONOUS: Final = ("cuda",)
_WAITING: Final = 8


@dataclass(frozen=True, slots=True)
class Task:
    """Runs to be trained to an epoch, or until they reach the threshold of a retirement.

    The ``runs`` and ``epochs`` of the specification do not count here. Snapshots are kept after the epochs ``keep``, to fork from.
    """

    spec: EnsembleSpec
    runs: tuple[int, ...]
    epochs: int
    device: str
    retirement: Target | None = None
    keep: tuple[int, ...] = ()

    @property
    def units(self) -> list[int]:
        """First run of each shard that is concerned."""
        return sorted({run - run % UNIT for run in self.runs})


class Training:
    """Runs in training, each at an epoch of its own.

    They go on from ``start``, snapshots of these runs, or from ``branches``, snapshots of the same runs in unperturbed training at an
    epoch at which this training perturbs them; runs in none of these start afresh.
    """

    def __init__(
        self, task: Task, data: Dataset, start: Sequence[Snapshot] = (), branches: Sequence[Snapshot] = ()
    ) -> None:
        spec = task.spec
        self.task = task
        self.network = models.build(spec.model, shape=data.shape, n_classes=data.n_classes)
        self._device = torch.device(task.device)
        self._train_set = compute.tensors(data.x_train, data.y_train, spec, task.device)
        self._held_out = {"test": compute.tensors(data.x_test, data.y_test, spec, task.device)}
        if data.x_valid is not None and data.y_valid is not None:
            self._held_out["valid"] = compute.tensors(data.x_valid, data.y_valid, spec, task.device)
        self._target_scale = data.target_scale if data.task == "regression" else None
        self._schedule = schedule = spec.perturbation
        needs = schedule.rule.needs if schedule is not None else frozenset()
        self._best = Best() if "best" in needs else None
        self._output_layer = self.network.output_layer if "output_layer" in needs else None
        self.runs = np.array(task.runs, dtype=np.int64)
        self.epoch = np.zeros(len(self.runs), dtype=np.int64)
        width = max([task.epochs, *(int(part.epoch.max()) for part in (*start, *branches))])
        self.metrics = {
            name: np.full((len(self.runs), width), np.nan)
            for name in recorded(regression=data.task == "regression", validated="valid" in self._held_out)
        }
        self._ahead: dict[bytes, Tensor] = {}
        self._waiting: list[tuple[NDArray[np.int64], NDArray[np.int64], list[int], dict[str, Tensor]]] = []
        self._stacker = Stacker(spec, self.network, data, task.device, self.runs)
        self._kept: list[Snapshot] = []
        self._left: dict[int, State] = {}
        self._stacks: list[Stack] = []
        self._enter(start, branches)

    def record(self, run: int) -> tuple[dict[str, NDArray[np.float64]], int]:
        """Return the metrics of a run by name, and the epochs that it was trained for."""
        self._gather()
        row = int(np.flatnonzero(self.runs == run)[0])
        return {name: values[row] for name, values in self.metrics.items()}, int(self.epoch[row])

    def take_kept(self) -> list[Snapshot]:
        """Return snapshots at epochs to be kept, once."""
        kept, self._kept = self._kept, []
        return kept

    @property
    def active(self) -> int:
        """Return the number of runs still in training."""
        return sum(len(stack.places) for stack in self._stacks)

    def _enter(self, start: Sequence[Snapshot], branches: Sequence[Snapshot]) -> None:
        """Give every run its state; those that are not done go into stacks."""
        row_of = {int(run): row for row, run in enumerate(self.runs)}
        staying: list[Part] = []
        for part, branching in [*((part, False) for part in start), *((part, True) for part in branches)]:
            for place, run in enumerate(part.run.tolist()):
                row = row_of.pop(run, None)
                if row is None:
                    continue
                n = self.epoch[row] = int(part.epoch[place])
                for name, values in self.metrics.items():
                    values[row, :n] = part.metrics[name][place, :n].numpy()
                if self._best is not None:
                    assert part.best is not None
                    self._best[row] = states.select(State(**part.best, learning_rate=0.0), [place])
                momentum = math.nan if part.momentum is None else float(part.momentum[place])
                rates = float(part.learning_rate[place]), None if math.isnan(momentum) else momentum
                state = State(part.parameters, part.buffers, part.optimiser, *rates)
                state = states.to_device(states.select(state, [place]), self._device)
                if branching:
                    state = self._perturbed([row], state)
                if self._done(row):
                    self._left[row] = states.on_cpu(state)
                else:
                    staying.append(([row], state))
        if fresh := list(row_of.values()):
            drawn = self._initial("initial", self.runs[fresh], [0] * len(fresh))
            staying.append((fresh, State(*drawn, {}, self.task.spec.optimiser.lr)))
        self._stacks = self._stacker.arranged(staying, self._factors())

    def _initial(self, purpose: Purpose, runs: Iterable[int], epochs: Iterable[int]) -> tuple[Tensors, Tensors]:
        """Return parameters and buffers of fresh initialisations."""
        generators = streams(self.task.spec.seed, runs, purpose, epochs)
        return self.network.initialise(generators, dtype=compute.dtype_of(self.task.spec), device=self._device)

    def _done(self, row: int) -> bool:
        """Test whether a run has come to the horizon, or has reached the threshold and is to be retired."""
        epoch, retirement = int(self.epoch[row]), self.task.retirement
        if epoch >= self.task.epochs or retirement is None:
            return epoch >= self.task.epochs
        return bool(reached(self.metrics[retirement.name][row, :epoch], retirement).any())

    def snapshots(self) -> list[Snapshot]:
        """Return where all runs stand, one snapshot for each shard."""
        each = dict(self._left)
        for stack in self._stacks:
            each |= self._each(stack, stack.places)
        return self._snapshots(each)

    @staticmethod
    def _each(stack: Stack, places: Sequence[int]) -> dict[int, State]:
        """Return the states of the runs at some places by their rows, in main memory."""
        chosen = states.on_cpu(states.select(stack.state(), places))
        return {int(stack.rows[place]): states.select(chosen, [i]) for i, place in enumerate(places)}

    def _snapshots(self, each: Mapping[int, State]) -> list[Snapshot]:
        self._gather()
        snapshots = []
        for unit in self.task.units:
            rows = sorted(row for row in each if unit <= self.runs[row] < unit + UNIT)
            if rows:
                width = int(self.epoch[rows].max())
                momentum = np.array([each[row].momentum for row in rows], dtype=np.float64)  # None: NaN
                snapshots.append(
                    Snapshot(
                        digest=self.task.spec.digest(),
                        run=torch.from_numpy(self.runs[rows]),
                        epoch=torch.from_numpy(self.epoch[rows]),
                        **states.content(states.join([each[row] for row in rows])),
                        learning_rate=torch.tensor([each[row].learning_rate for row in rows], dtype=torch.float64),
                        momentum=None if np.isnan(momentum).all() else torch.from_numpy(momentum),
                        metrics={
                            n: torch.from_numpy(values[rows, :width].copy()) for n, values in self.metrics.items()
                        },
                        best=None if self._best is None else self._best.content(rows),
                    )
                )
        return snapshots

    def step_epoch(self) -> int:
        """Train every run for one epoch, evaluate, perturb those whose time it is; returns the run-epochs trained."""
        trained, factors = self.active, self._factors()
        drawn = set(self._ahead)
        stacks = self._stacker.rearranged(self._stacks, factors)
        self._stacks = [
            after for stack in stacks for after in self._step(stack, float(factors[stack.rows[stack.places[0]]]))
        ]
        self._stacks = [stack for stack in self._stacks if stack.places]
        for key in drawn & self._ahead.keys():  # of runs that have come apart since
            del self._ahead[key]
        if not self._stacks or len(self._waiting) >= _WAITING * len(self._stacks):
            self._gather()
        return trained

    def _gather(self) -> None:
        """Write the metrics that are still on the device into the record."""
        for rows, columns, places, results in self._waiting:
            for name, values in results.items():
                self.metrics[name][rows, columns] = values.cpu().numpy()[places]
        self._waiting.clear()

    def _order(self, runs: NDArray[np.int64], epochs: NDArray[np.int64], *, ahead: bool = False) -> Tensor:
        """Return the orders of the images in an epoch of each run, shape ``(runs, images)``: kept from before, or drawn now."""
        key = runs.tobytes() + epochs.tobytes()
        if key in self._ahead:
            return self._ahead.pop(key)
        spec, n = self.task.spec, len(self._train_set[1])
        drawn = [order(rng, n, spec.training) for rng in streams(spec.seed, runs, "order", epochs)]
        here = torch.from_numpy(np.stack(drawn))
        orders = here.pin_memory().to(self._device, non_blocking=True) if self._device.type == "cuda" else here
        if ahead:
            self._ahead[key] = orders
        return orders

    def _factors(self) -> NDArray[np.float64]:
        """Return the factor on the learning rate of each run's next epoch."""
        rates, schedule = self.task.spec.optimiser.schedule, self._schedule
        if isinstance(rates, ConstantSpec) and not (schedule and schedule.changes_rate):
            return np.ones(len(self.runs))
        following = (self.epoch + 1).tolist()
        return np.array([rates.at(epoch) * (schedule.factor(epoch) if schedule else 1.0) for epoch in following])

    def _step(self, stack: Stack, factor: float) -> list[Stack]:
        spec, places = self.task.spec, stack.places
        rows = stack.rows[places]
        # Runs that only fill a place stay at epoch 1 for ever: their numbers concern nobody.
        epochs = np.ones(len(stack.rows), dtype=np.int64)
        epochs[places] = self.epoch[rows] + 1
        x, y = self._train_set
        here = self._order(stack.runs, epochs)
        results = {"train_loss": stack.compute.train(x, y, here, spec.training.batch_size, factor=factor)}
        for part, held_out in self._held_out.items():
            loss, results[f"{part}_metric"] = stack.compute.evaluate(*held_out)
            if part == "test":
                results["test_loss"] = loss
            if self._target_scale is not None:
                results[f"{part}_rmse"] = loss.sqrt() * self._target_scale
        self.epoch[rows] += 1
        self._waiting.append((rows, self.epoch[rows] - 1, places, results))
        asynchronous = self._device.type in _ASYNCHRONOUS
        if asynchronous:  # while it is busy
            self._order(stack.runs, np.where(stack.rows >= 0, epochs + 1, 1), ahead=True)
        if not asynchronous or self.task.retirement is not None or self._best is not None:
            self._gather()
        self._keep(stack)
        self._note_best(stack)
        after = self._perturb(stack)
        for one in after:
            self._retire(one)
        return after

    def _keep(self, stack: Stack) -> None:
        for epoch in self.task.keep:
            if places := [i for i in stack.places if self.epoch[stack.rows[i]] == epoch]:
                self._kept += self._snapshots(self._each(stack, places))

    def _note_best(self, stack: Stack) -> None:
        if self._best is not None:
            values = self.metrics["valid_metric"]
            improved = [i for i in stack.places if Best.improved(values[stack.rows[i], : self.epoch[stack.rows[i]]])]
            self._best.update(self._each(stack, improved))

    def _perturb(self, stack: Stack) -> list[Stack]:
        """Perturb the runs of a stack whose time it is; stacks of what it was, with one learning rate each."""
        schedule = self._schedule
        due = [i for i in stack.places if schedule and schedule.due(int(self.epoch[stack.rows[i]]))]
        if not due:
            return [stack]
        whole, rows = stack.state(), stack.rows
        parts: list[Part] = [(rows[due].tolist(), self._perturbed(rows[due].tolist(), states.select(whole, due)))]
        others = [i for i in stack.places if i not in set(due)]
        if others:
            parts.append((rows[others].tolist(), states.select(whole, others)))
        return self._stacker.arranged(parts, self._factors())

    def _perturbed(self, rows: Sequence[int], state: State) -> State:
        assert self._schedule is not None
        runs, epochs = self.runs[list(rows)], self.epoch[list(rows)]
        context = Context(
            fresh=lambda: self._initial("fresh", runs, epochs),
            generators=streams(self.task.spec.seed, runs, "perturb", epochs),
            best=None if self._best is None else self._best.of(rows, self._device, state),
            output_layer=self._output_layer,
        )
        with torch.no_grad():
            return self._schedule.apply(state, context)

    def _retire(self, stack: Stack) -> None:
        """Take out runs that are done."""
        if done := [i for i in stack.places if self._done(int(stack.rows[i]))]:
            self._left |= self._each(stack, done)
            self._stacker.without(stack, done)


def recorded(*, regression: bool, validated: bool) -> tuple[str, ...]:
    """Return the names of the metrics that are recorded."""
    parts = ("test", "valid") if validated else ("test",)
    metrics = [f"{part}_metric" for part in parts]
    return ("train_loss", "test_loss", *metrics, *([f"{part}_rmse" for part in parts] if regression else []))
