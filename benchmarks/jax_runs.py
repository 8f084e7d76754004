"""JAX: a whole run, evaluation included, is one compiled program; single runs, ``vmap`` or ``lax.map`` over a stack.

Orders of the images are drawn beforehand and not timed, which favours JAX: ``jax.random.permutation`` inside the program
took 4 to 13 % more time. Parameters and buffers are donated, and nothing is read back before the end.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import Case, Conv, Linear, initial
from jax import Array, lax

Layers = list[dict[str, Array]]
State = tuple[Layers, Layers]

# PyTorch's defaults for BatchNorm.
_EPS, _MOMENTUM = 1e-5, 0.1

# Runs in a stack by number of threads: of 4 and 16 the faster one for `digits`, by 10 % or less.
_STACK = {1: 4, 2: 16}
_STACK_OF_CONVOLUTIONAL = 2


def _initial_state(case: Case, run: int) -> State:
    """Parameters with inputs first, as products along rows want them, and running averages."""
    values = initial(case, run)
    parameters, averages = [], []
    for i, layer in enumerate(case.layers):
        weight = values[f"{i}.weight"]
        weight = weight.transpose(2, 3, 1, 0) if isinstance(layer, Conv) else weight.T
        entry = {"weight": np.ascontiguousarray(weight), "bias": values[f"{i}.bias"]}
        zeros, ones = np.zeros(layer.outputs, np.float32), np.ones(layer.outputs, np.float32)
        normalised = isinstance(layer, Linear) and layer.norm
        parameters.append(entry | ({"scale": ones, "shift": zeros} if normalised else {}))
        averages.append({"mean": zeros, "var": ones} if normalised else {})
    return parameters, averages  # type: ignore[return-value]


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _same_convolution(x: Array, weight: Array) -> Array:
    return lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _convolution(x: Array, weight: Array) -> Array:
    """Convolution; with three channels it takes two neighbouring columns at a time, which is four times as fast."""
    images, height, width, channels = x.shape
    kernel, _, _, outputs = weight.shape
    if channels > 3 or kernel % 4 != 1 or width % 2 or not _on_cpu():
        return _same_convolution(x, weight)
    # Column j of the kernel acts on column j + parity of the pairs around an output of that parity.
    shifted = [jnp.pad(weight, ((0, 0), (parity, 1 - parity), (0, 0), (0, 0))) for parity in (0, 1)]
    pairs = [part.reshape(kernel, (kernel + 1) // 2, 2, channels, outputs) for part in shifted]
    paired = jnp.stack(pairs, axis=4).reshape(kernel, (kernel + 1) // 2, 2 * channels, 2 * outputs)
    return _same_convolution(x.reshape(images, height, width // 2, 2 * channels), paired).reshape(
        images, height, width, outputs
    )


def _maximum_of_four(x: Array) -> Array:
    """With ``reduce_window`` and its gradient a whole step takes twice as long."""
    images, height, width, channels = x.shape
    return x.reshape(images, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def _normalised(x: Array, entry: dict[str, Array], average: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
    """BatchNorm in training, and the updated running averages."""
    images = x.shape[0]
    mean = x.mean(axis=0)
    centred = x - mean
    var = (centred * centred).mean(axis=0)
    unbiased = lax.stop_gradient(var) * (images / (images - 1))
    updated = {
        "mean": (1 - _MOMENTUM) * average["mean"] + _MOMENTUM * lax.stop_gradient(mean),
        "var": (1 - _MOMENTUM) * average["var"] + _MOMENTUM * unbiased,
    }
    return centred * (lax.rsqrt(var + _EPS) * entry["scale"]) + entry["shift"], updated


def _folded(entry: dict[str, Array], average: dict[str, Array]) -> tuple[Array, Array]:
    """Weights and biases that include the BatchNorm after them, as it is in evaluation."""
    scale = entry["scale"] * lax.rsqrt(average["var"] + _EPS)
    return entry["weight"] * scale, (entry["bias"] - average["mean"]) * scale + entry["shift"]


def _forward(case: Case, state: State, x: Array, *, training: bool) -> tuple[Array, Layers]:
    """Logits and running averages."""
    parameters, averages = state
    updated = list(averages)
    for i, (layer, entry) in enumerate(zip(case.layers, parameters, strict=True)):
        if isinstance(layer, Conv):
            # The maximum first: ReLU and bias then act on a quarter of the values.
            x = jax.nn.relu(_maximum_of_four(_convolution(x, entry["weight"])) + entry["bias"])
            continue
        x = x.reshape(x.shape[0], -1)
        if layer.norm and not training:
            weight, bias = _folded(entry, averages[i])
            x = x @ weight + bias
        else:
            x = x @ entry["weight"] + entry["bias"]
            if layer.norm:
                x, updated[i] = _normalised(x, entry, averages[i])
        if i < len(case.layers) - 1:
            x = jax.nn.relu(x)
    return x, updated


def _cross_entropy(logits: Array, labels: Array) -> Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()


def _written_out(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, inputs: Any) -> tuple[Any, Any]:
    """What ``lax.scan`` does, one step after the other; its own ``unroll`` leaves a call that is as slow as a loop."""
    results = []
    for i in range(len(jax.tree.leaves(inputs)[0])):
        carry, result = body(carry, jax.tree.map(lambda values, i=i: values[i], inputs))
        results.append(result)
    return carry, jax.tree.map(lambda *values: jnp.stack(values), *results)


def _program(case: Case) -> Any:
    """``state, orders (epochs, images) -> state, (training loss, loss, accuracy) of each epoch`` of one run."""
    data = case.load()
    x_train, x_test = jnp.asarray(data.x_train), jnp.asarray(data.x_test)
    y_train, y_test = jnp.asarray(data.y_train, jnp.int32), jnp.asarray(data.y_test, jnp.int32)
    steps = len(data.y_train) // case.batch
    # Inside a loop XLA takes a slow path for gradients of convolutions on a CPU (30 times slower), so there is no loop then.
    scan = _written_out if case.is_convolutional and _on_cpu() else lax.scan

    def loss_of(parameters: Layers, averages: Layers, x: Array, y: Array) -> tuple[Array, Layers]:
        logits, averages = _forward(case, (parameters, averages), x, training=True)
        return _cross_entropy(logits, y), averages

    def step(state: State, batch: tuple[Array, Array]) -> tuple[State, Array]:
        (loss, averages), gradient = jax.value_and_grad(loss_of, has_aux=True)(*state, *batch)
        parameters = jax.tree.map(lambda value, slope: value - case.lr * slope, state[0], gradient)
        return (parameters, averages), loss

    def epoch(state: State, order: Array) -> tuple[State, tuple[Array, Array, Array]]:
        batches = order.reshape(steps, case.batch)
        state, losses = scan(step, state, (x_train[batches], y_train[batches]))
        logits, _ = _forward(case, state, x_test, training=False)
        accuracy = (logits.argmax(axis=1) == y_test).mean()
        return state, (losses.mean(), _cross_entropy(logits, y_test), accuracy)

    return lambda state, orders: scan(epoch, state, orders)


class JaxTrainer:
    """``case.epochs`` epochs of one run or of a stack in each call of a compiled program.

    Parameters
    ----------
    case
        The work.
    threads
        Threads of this process, for the size of the stack.
    way
        ``single``, ``vmap`` or ``map``.
    stack
        Runs in a stack; without it what is fastest on a CPU.
    """

    def __init__(self, case: Case, threads: int, *, way: str, stack: int | None = None) -> None:
        self.case, self.way = case, way
        stack = stack or (_STACK_OF_CONVOLUTIONAL if case.is_convolutional else _STACK[threads])
        self.runs = 1 if way == "single" else stack
        run = _program(case)
        program = {
            "single": run,
            "vmap": jax.vmap(run),
            "map": lambda state, orders: lax.map(lambda one: run(*one), (state, orders)),
        }[way]
        self.program = jax.jit(program, donate_argnums=0)
        self._prepared = lru_cache(maxsize=2)(self._prepare)

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Accuracies of the runs after their last epoch."""
        start, orders = self._prepared(first_run, epochs // self.case.epochs)
        # Copies, because the program overwrites what it is given.
        state = jax.tree.map(jnp.array, start)
        for order in orders:
            state, history = self.program(state, order)
        return np.asarray(history[2])[..., -1].reshape(-1).tolist()

    def _prepare(self, first_run: int, calls: int) -> tuple[State, list[Array]]:
        """Initial state, and the order of images in each call."""
        runs = range(first_run, first_run + self.runs)
        states = [_initial_state(self.case, run) for run in runs]
        images = np.arange(len(self.case.load().y_train), dtype=np.int32)
        rng = np.random.default_rng([8, first_run])
        shape = (calls, self.runs, self.case.epochs, len(images))
        orders = rng.permuted(np.broadcast_to(images, shape), axis=-1)
        if self.way == "single":
            return states[0], [jnp.asarray(order[0]) for order in orders]
        return jax.tree.map(lambda *values: np.stack(values), *states), [jnp.asarray(order) for order in orders]
