"""A stack of runs in training: epochs, evaluation, perturbation, snapshots in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fptlib import data, models, perturbations
from fptlib.checkpoints import Snapshot
from fptlib.errors import InputError
from fptlib.spec import EnsembleSpec, OptimiserSpec

# Runs in one shard of the store. Sixteen float32 fill 64 bytes, the alignment that matrix kernels prefer.
UNIT: Final = 16

# Images in one evaluation: activations of a stack then stay in the cache, which halves the time.
_EVALUATED_TOGETHER: Final = 256

# Purposes of random streams.
_INITIAL, _ORDER, _FRESH, _PERTURB = range(4)


def stream(seed: int, run: int, purpose: int, epoch: int = 0) -> np.random.Generator:
    """Random numbers of one run for one purpose in one epoch.

    They depend on nothing else: no random state has to be kept to resume, and two specifications with the same seed
    share them, so that a perturbed run equals the unperturbed one until its first perturbation.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(seed, spawn_key=(run, purpose, epoch))))


@dataclass(frozen=True, slots=True)
class Block:
    """Runs ``first`` to ``first + size - 1``, to be trained to ``epochs`` on ``device``."""

    spec: EnsembleSpec
    data: data.Dataset
    first: int
    size: int
    epochs: int
    device: str

    @property
    def runs(self) -> range:
        """Numbers of the runs."""
        return range(self.first, self.first + self.size)

    @property
    def units(self) -> range:
        """First run of each shard."""
        return range(self.first, self.first + self.size, UNIT)


def _optimiser(spec: OptimiserSpec, parameters: Sequence[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    """Elementwise optimisers act on stacked tensors as they would on each run alone."""
    if spec.name not in _OPTIMISERS:
        raise InputError(f"optimiser.name: no builder for {spec.name!r}; known: {', '.join(sorted(_OPTIMISERS))}")
    return _OPTIMISERS[spec.name](spec, list(parameters), learning_rate)


_OPTIMISERS: dict[str, Callable[[Any, list[Tensor], float], torch.optim.Optimizer]] = {
    "sgd": lambda spec, parameters, lr: torch.optim.SGD(
        parameters, lr=lr, momentum=spec.momentum, weight_decay=spec.weight_decay, foreach=True
    ),
    "adam": lambda spec, parameters, lr: torch.optim.Adam(
        parameters, lr=lr, weight_decay=spec.weight_decay, foreach=True
    ),
    "adamw": lambda spec, parameters, lr: torch.optim.AdamW(
        parameters, lr=lr, weight_decay=spec.weight_decay, foreach=True
    ),
}


class Training:
    """A stack of runs in training."""

    def __init__(self, block: Block) -> None:
        spec, source = block.spec, block.data
        self.block = block
        self.device = torch.device(block.device)
        self.dtype = torch.float64 if spec.training.dtype == "float64" else torch.float32
        self.model = models.build(spec.model, n_features=source.n_features, n_classes=source.n_classes)
        self.schedule = perturbations.build(spec.perturbation)
        self.train_set = self._tensors(source.x_train, source.y_train)
        self.held_out = {"test": self._tensors(source.x_test, source.y_test)}
        if source.x_valid is not None and source.y_valid is not None:
            self.held_out["valid"] = self._tensors(source.x_valid, source.y_valid)
        self.epoch = 0
        self._metrics = self._empty(block.epochs)
        parameters, buffers = self.initial(_INITIAL)
        self._start(perturbations.State(parameters, buffers, {}, spec.optimiser.lr))

    def _tensors(self, x: NDArray[Any], y: NDArray[Any]) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(x).to(self.device, self.dtype), torch.from_numpy(y).to(self.device)

    def initial(self, purpose: int, epoch: int = 0) -> tuple[models.Tensors, models.Tensors]:
        """Parameters and buffers of a fresh initialisation."""
        return self.model.initialise(self.streams(purpose, epoch), dtype=self.dtype, device=self.device)

    def _empty(self, epochs: int) -> dict[str, NDArray[np.float64]]:
        names = ["train_loss", "test_loss", *(f"{part}_metric" for part in self.held_out)]
        return {name: np.full((self.block.size, epochs), np.nan) for name in names}

    def streams(self, purpose: int, epoch: int) -> list[np.random.Generator]:
        """One generator for each run."""
        return [stream(self.block.spec.seed, run, purpose, epoch) for run in self.block.runs]

    # -- state

    def _start(self, state: perturbations.State) -> None:
        """Continue from a state, with an optimiser of its own."""
        # Copies, each in one piece of memory: rounding depends on how a tensor lies there, and must not on where it
        # came from.
        self.parameters = {
            name: value.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
            for name, value in state.parameters.items()
        }
        self.buffers = {
            name: value.clone(memory_format=torch.contiguous_format) for name, value in state.buffers.items()
        }
        self.learning_rate = state.learning_rate
        self.optimiser = _optimiser(self.block.spec.optimiser, list(self.parameters.values()), state.learning_rate)
        if state.optimiser:
            content = self.optimiser.state_dict()
            content["state"] = state.optimiser
            self.optimiser.load_state_dict(content)

    def state(self) -> perturbations.State:
        """Everything but the recorded metrics."""
        return perturbations.State(
            parameters={name: value.detach() for name, value in self.parameters.items()},
            buffers=self.buffers,
            optimiser=self.optimiser.state_dict()["state"],
            learning_rate=self.learning_rate,
        )

    def snapshots(self) -> Iterator[Snapshot]:
        """One snapshot for each shard."""
        state = self.state()
        for unit in self.block.units:
            rows = slice(unit - self.block.first, unit - self.block.first + UNIT)
            yield Snapshot(
                digest=self.block.spec.digest(),
                first_run=unit,
                epoch=self.epoch,
                parameters=_some(state.parameters, rows),
                buffers=_some(state.buffers, rows),
                optimiser={index: _some(values, rows) for index, values in state.optimiser.items()},
                learning_rate=state.learning_rate,
                metrics={name: torch.from_numpy(values[rows].copy()) for name, values in self.recorded().items()},
            )

    def recorded(self) -> dict[str, NDArray[np.float64]]:
        """Metrics up to the present epoch, shape ``(runs, epoch)``."""
        return {name: values[:, : self.epoch] for name, values in self._metrics.items()}

    def resume(self, snapshots: Sequence[Snapshot]) -> None:
        """Continue from the snapshots of all shards of the block, which are of one epoch."""
        first = snapshots[0]
        self.epoch = first.epoch
        # A snapshot may be ahead of the horizon that is asked for now.
        self._metrics = self._empty(max(self.epoch, self.block.epochs))
        for name, values in self._metrics.items():
            values[:, : self.epoch] = np.concatenate([part.metrics[name].numpy() for part in snapshots])
        self._start(
            perturbations.State(
                parameters=self._joined([part.parameters for part in snapshots]),
                buffers=self._joined([part.buffers for part in snapshots]),
                optimiser={
                    index: self._joined([part.optimiser[index] for part in snapshots]) for index in first.optimiser
                },
                learning_rate=first.learning_rate,
            )
        )

    def _joined(self, parts: Sequence[Mapping[str, Tensor]]) -> models.Tensors:
        """Stacks put together; step counts, which have no axis of runs, are those of the first."""
        return {
            name: (value if value.ndim == 0 else torch.cat([part[name] for part in parts])).to(self.device)
            for name, value in parts[0].items()
        }

    # -- work

    def step_epoch(self) -> None:
        """Train for one epoch, evaluate, and perturb if it is time."""
        self.epoch += 1
        self._record("train_loss", self._train())
        for part, (x, y) in self.held_out.items():
            loss, metric = self._evaluate(x, y)
            self._record(f"{part}_metric", metric)
            if part == "test":
                self._record("test_loss", loss)
        if self.schedule is not None and self.schedule.due(self.epoch):
            context = perturbations.Context(
                fresh=lambda: self.initial(_FRESH, self.epoch), generators=self.streams(_PERTURB, self.epoch)
            )
            with torch.no_grad():
                state = self.schedule.apply(self.state(), context)
            self._start(state)

    def _record(self, name: str, values: Tensor) -> None:
        self._metrics[name][:, self.epoch - 1] = values.cpu().numpy()

    def _train(self) -> Tensor:
        """Loss per image as trained, averaged over the epoch, shape ``(runs,)``."""
        x, y = self.train_set
        images, size = len(y), self.block.spec.training.batch_size
        order = np.stack([rng.permutation(images) for rng in self.streams(_ORDER, self.epoch)])
        chosen = torch.from_numpy(order).to(self.device)  # (runs, images)
        total = torch.zeros(self.block.size, dtype=torch.float64, device=self.device)
        for start in range(0, images, size):
            batch = chosen[:, start : start + size]
            logits = self.model.forward(self.parameters, self.buffers, x[batch], training=True)
            losses = _cross_entropy(logits, y[batch]).mean(dim=1)
            self.optimiser.zero_grad(set_to_none=True)
            # The sum over runs: each run's parameters see the gradient of that run's mean loss.
            losses.sum().backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            total += losses.detach() * batch.shape[1]
        return total / images

    @torch.no_grad()
    def _evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and accuracy on held-out images, shape ``(runs,)`` each."""
        loss = torch.zeros(self.block.size, dtype=torch.float64, device=self.device)
        right = torch.zeros(self.block.size, dtype=torch.int64, device=self.device)
        for start in range(0, len(y), _EVALUATED_TOGETHER):
            logits = self.model.forward(
                self.parameters, self.buffers, x[start : start + _EVALUATED_TOGETHER], training=False
            )
            labels = y[start : start + _EVALUATED_TOGETHER].expand(self.block.size, -1)
            loss += _cross_entropy(logits, labels).to(torch.float64).sum(dim=1)
            right += (logits.argmax(dim=2) == labels).sum(dim=1)
        return loss / len(y), right.to(torch.float64) / len(y)


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each image, shape ``(runs, images)``."""
    losses = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape)


def _some(tensors: Mapping[Any, Tensor], rows: slice) -> models.Tensors:
    """Some runs of stacked tensors, on the CPU; step counts, which have no axis of runs, as they are."""
    return {name: (value if value.ndim == 0 else value[rows]).detach().cpu().clone() for name, value in tensors.items()}


@contextmanager
def numerics() -> Iterator[None]:
    """One thread, so that sums are taken in one order, and no denormal numbers, which cost a hundred times more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
