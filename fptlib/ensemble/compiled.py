"""Fully connected networks under SGD on a CPU, compiled: the fast path of the engine where there is no GPU."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fptlib.ensemble import kernels, losses
from fptlib.models import MLP, Tensors
from fptlib.perturbations import State
from fptlib.spec.optimisers import SgdSpec

# Tensors begin at multiples of this many numbers: 64 bytes in single precision, a line of the cache.
_LINE: Final = 16
# Images in one evaluation, for layers of so many weights and for larger ones.
_TOGETHER: Final = 64
_TOGETHER_WIDE: Final = 256
_WIDE: Final = 1 << 16

# By name: place in a row, shape as it lies there, and true for the transpose.
_Places = dict[str, tuple[int, tuple[int, ...], bool]]


@final
class CompiledMLP:
    """A stack of fully connected networks in training; see `fptlib.ensemble.compute.Compute`."""

    def __init__(self, network: MLP, optimiser: SgdSpec, batch_size: int, state: State) -> None:
        self._network, self._optimiser, self._lr = network, optimiser, state.learning_rate
        widest = max(inputs * outputs for _, inputs, outputs, _ in network.layers())
        self._together = _TOGETHER if widest <= _WIDE else _TOGETHER_WIDE
        self._batch = max(batch_size, self._together)
        first = next(iter(state.parameters.values()))
        self._runs, self._dtype = first.shape[0], first.dtype
        self._plan, self._width, averages, work = _plan(network, self._batch)
        self._places, self._averages = self._located()
        self._parameters = self._packed(state.parameters, self._places, self._width)
        self._buffers = self._packed(state.buffers, self._averages, averages)
        self._seen = {name: value.clone() for name, value in state.buffers.items() if not value.is_floating_point()}
        self._velocity = self._zeros(self._runs, self._width if optimiser.momentum else 0)
        if optimiser.momentum and state.optimiser:
            kept = {name: state.optimiser[i]["momentum_buffer"] for i, name in enumerate(state.parameters)}
            self._velocity = self._packed(kept, self._places, self._width)
        classes = int(self._plan[-1, kernels.OUTPUTS])
        self._workspace = self._zeros(work)
        self._gradient = self._zeros(self._width)
        self._logits = self._zeros(self._batch * classes)
        self._bits = np.zeros(self._batch * classes, dtype=np.int32)

    # -- where everything lies

    def _zeros(self, *shape: int) -> NDArray[Any]:
        # PyTorch's memory begins at lines of the cache, NumPy's need not.
        return np.asarray(torch.zeros(*shape, dtype=self._dtype).numpy())

    def _located(self) -> tuple[_Places, _Places]:
        """Return where parameters and running averages lie."""
        places: _Places = {}
        averages: _Places = {}
        layers = self._network.layers()
        for row, (name, inputs, outputs, norm) in zip(self._plan.tolist(), layers, strict=True):
            last = name == layers[-1][0]
            places[f"{name}.weight"] = row[kernels.WEIGHT], (outputs, inputs) if last else (inputs, outputs), not last
            places[f"{name}.bias"] = row[kernels.BIAS], (outputs,), False
            if norm is not None:
                places[f"{norm}.weight"] = row[kernels.GAIN], (outputs,), False
                places[f"{norm}.bias"] = row[kernels.SHIFT], (outputs,), False
                averages[f"{norm}.running_mean"] = row[kernels.MOVING], (outputs,), False
                averages[f"{norm}.running_var"] = row[kernels.MOVING] + outputs, (outputs,), False
        return places, averages

    def _packed(self, tensors: Mapping[str, Tensor], places: _Places, width: int) -> NDArray[Any]:
        rows = self._zeros(self._runs, width)
        for name, (at, shape, transposed) in places.items():
            value = tensors[name].detach().numpy()
            value = value.transpose(0, 2, 1) if transposed else value
            rows[:, at : at + math.prod(shape)] = value.reshape(self._runs, -1)
        return rows

    def _unpacked(self, rows: NDArray[Any], places: _Places) -> Tensors:
        """Return tensors as PyTorch has them, in its order; copies."""
        tensors: Tensors = {}
        for name, (at, shape, transposed) in places.items():
            value = rows[:, at : at + math.prod(shape)].reshape(self._runs, *shape)
            tensors[name] = torch.from_numpy((value.transpose(0, 2, 1) if transposed else value).copy())
        return tensors

    def state(self) -> State:
        """Return all that training carries on, as copies."""
        parameters = self._unpacked(self._parameters, self._places)
        buffers = self._unpacked(self._buffers, self._averages) | {n: value.clone() for n, value in self._seen.items()}
        optimiser: dict[int, Tensors] = {}
        if self._velocity.shape[1]:
            velocity = self._unpacked(self._velocity, self._places).values()
            optimiser = {i: {"momentum_buffer": value} for i, value in enumerate(velocity)}
        return State(parameters, buffers, optimiser, self._lr)

    # -- work

    def train(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int, *, factor: float = 1.0) -> Tensor:
        """Train on the images in the given order; see `fptlib.ensemble.compute.Compute`."""
        lost = np.zeros(self._runs)
        scalar = self._workspace.dtype.type
        kernels.train(
            self._parameters,
            self._velocity,
            self._buffers,
            self._plan,
            self._workspace,
            self._gradient,
            self._logits,
            self._bits,
            x.flatten(1).numpy(),
            y.numpy(),
            order.numpy(),
            batch_size,
            scalar(self._lr * factor),
            scalar(self._optimiser.momentum),
            scalar(self._optimiser.weight_decay),
            lost,
        )
        for value in self._seen.values():
            value.add_(-(-order.shape[1] // batch_size))
        return torch.from_numpy(lost)

    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy, or R2; see `fptlib.ensemble.compute.Compute`."""
        loss, right = np.zeros(self._runs), np.zeros(self._runs)
        rows, images, targets = self._folded(), x.flatten(1).numpy(), y.numpy()
        if y.is_floating_point():
            kernels.evaluate_numbers(rows, self._plan, self._workspace, images, targets, self._together, loss)
            mean = torch.from_numpy(loss)
            return mean, losses.metric(mean, torch.from_numpy(right), y)
        kernels.evaluate(
            rows, self._plan, self._workspace, self._logits, self._bits, images, targets, self._together, loss, right
        )
        return torch.from_numpy(loss), torch.from_numpy(right)

    def _folded(self) -> NDArray[Any]:
        """Return parameters in which weights and biases include the BatchNorm after them, as it is in evaluation."""
        if not self._averages:
            return self._parameters
        rows = self._zeros(*self._parameters.shape)
        rows[:] = self._parameters
        for row in self._plan.tolist()[:-1]:
            n, units, at = row[kernels.INPUTS], row[kernels.OUTPUTS], row[kernels.MOVING]
            gain = self._parameters[:, row[kernels.GAIN] : row[kernels.GAIN] + units]
            shift = self._parameters[:, row[kernels.SHIFT] : row[kernels.SHIFT] + units]
            scale = gain / np.sqrt(self._buffers[:, at + units : at + 2 * units] + self._workspace.dtype.type(1e-5))
            weight = rows[:, row[kernels.WEIGHT] : row[kernels.WEIGHT] + n * units].reshape(self._runs, n, units)
            weight *= scale[:, None, :]
            bias = rows[:, row[kernels.BIAS] : row[kernels.BIAS] + units]
            bias -= self._buffers[:, at : at + units]
            bias *= scale
            bias += shift
        return rows


def _plan(network: MLP, batch: int) -> tuple[NDArray[np.int64], int, int, int]:
    """Return the places of all tensors, and the lengths of a row of parameters, of buffers and of the workspace."""
    layers = network.layers()
    plan = np.full((len(layers), kernels.COLUMNS), -1, dtype=np.int64)
    ends = {"parameters": 0, "buffers": 0, "work": 0}

    def place(where: str, numbers: int) -> int:
        start = ends[where]
        ends[where] = start + (numbers if where == "buffers" else -(-numbers // _LINE) * _LINE)
        return start

    for row, (_, inputs, outputs, norm) in zip(plan, layers, strict=True):
        row[kernels.INPUTS], row[kernels.OUTPUTS] = inputs, outputs
        row[kernels.WEIGHT] = place("parameters", inputs * outputs)
        row[kernels.BIAS] = place("parameters", outputs)
        row[kernels.ACTIVE] = place("work", batch * inputs)
        row[kernels.DELTA] = place("work", batch * outputs)
        if norm is not None:
            row[kernels.GAIN] = place("parameters", outputs)
            row[kernels.SHIFT] = place("parameters", outputs)
            row[kernels.MOVING] = place("buffers", 2 * outputs)
            row[kernels.CENTRED] = place("work", batch * outputs)
            row[kernels.SCALES] = place("work", 2 * outputs)
    return plan, ends["parameters"], ends["buffers"], ends["work"]
