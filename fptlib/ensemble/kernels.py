"""Loops that Numba compiles: SGD on fully connected networks, one run after another, everything in the cache.

All numbers of one run lie in one row: parameters, then what a step writes to in a workspace. ``plan`` says where; its rows
are the linear layers, its columns the constants `INPUTS` to `MOVING` below. A hidden layer's weights are kept
``(inputs, outputs)`` and the last layer's ``(outputs, inputs)``: small products are fastest so.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import njit, types
from numba.extending import overload

# Columns of a plan: sizes, then places of tensors (-1: there is none).
INPUTS: Final = 0
OUTPUTS: Final = 1
WEIGHT: Final = 2  # in a row of parameters
BIAS: Final = 3
GAIN: Final = 4
SHIFT: Final = 5
MOVING: Final = 6  # in a row of buffers: running mean, then running variance
ACTIVE: Final = 7  # in the workspace: what enters the layer, (batch, inputs)
CENTRED: Final = 8  # BatchNorm: what enters it less its mean, (batch, outputs)
SCALES: Final = 9  # BatchNorm: 1/deviation, then gain/deviation, (2, outputs)
DELTA: Final = 10  # gradient of what leaves the layer, (batch, outputs)
COLUMNS: Final = 11

# PyTorch's defaults for BatchNorm.
_EPS: Final = 1e-5
_MOMENTUM: Final = 0.1
# Multiply-adds of a product up to which OpenBLAS neither packs matrices nor starts threads.
_SMALL: Final = 1_000_000
_FEWEST: Final = 8
# Sums may be reordered and products fused, as the machine likes; NaN and infinity stay what they are.
_OPTIONS: Final[Any] = {
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract", "reassoc"},
    "nogil": True,
}


def _exponentials(values: Any, bits: Any) -> None:
    """``exp`` of numbers not above zero, in place."""


@overload(_exponentials, jit_options={"fastmath": {"contract"}})
def _compiled_exponentials(values: Any, bits: Any) -> Any:
    if values.dtype is not types.float32:

        def exact(values: Any, bits: Any) -> None:
            for i in range(values.shape[0]):
                values[i] = np.exp(values[i])

        return exact

    def vectorised(values: Any, bits: Any) -> None:
        # exp(x) = 2**k exp(f), |f| <= log(2)/2, with the polynomial of Cephes' expf: right to the last bit or one beside it.
        for i in range(values.shape[0]):
            x = max(values[i], np.float32(-87.0)) if values[i] == values[i] else values[i]
            k = np.floor(x * np.float32(1.44269504) + np.float32(0.5))
            f = x - k * np.float32(0.693359375) + k * np.float32(2.12194440e-4)
            y = np.float32(1.9875691500e-4)
            y = y * f + np.float32(1.3981999507e-3)
            y = y * f + np.float32(8.3334519073e-3)
            y = y * f + np.float32(4.1665795894e-2)
            y = y * f + np.float32(1.6666665459e-1)
            y = y * f + np.float32(5.0000001201e-1)
            values[i] = y * f * f + f + np.float32(1.0)
            bits[i] = (np.int32(k) + np.int32(127)) << np.int32(23)
        powers = bits.view(np.float32)
        for i in range(values.shape[0]):
            values[i] *= powers[i]

    return vectorised


@njit(**_OPTIONS)
def _matrix(row: Any, start: int, rows: int, columns: int) -> Any:
    return row[start : start + rows * columns].reshape(rows, columns)


@njit(**_OPTIONS)
def _product(left: Any, right: Any, out: Any) -> None:
    """``left @ right``, in pieces that OpenBLAS takes to its kernels for small matrices."""
    rows, inner = left.shape
    pieces = 1 + rows * inner * right.shape[1] // _SMALL
    step = -(-rows // pieces)
    if step < _FEWEST:  # large matrices fill the processor whole
        step = rows
    for start in range(0, rows, step):
        np.dot(left[start : start + step], right, out[start : start + step])


@njit(**_OPTIONS)
def _forward(p: Any, buffers: Any, plan: Any, work: Any, logits: Any, size: int) -> None:
    """Activations and logits of a batch that lies in the workspace; running averages move."""
    last = plan.shape[0] - 1
    for layer in range(last):
        n_in, n_out = plan[layer, INPUTS], plan[layer, OUTPUTS]
        below = _matrix(work, plan[layer, ACTIVE], size, n_in)
        out = _matrix(work, plan[layer + 1, ACTIVE], size, n_out)
        weight = _matrix(p, plan[layer, WEIGHT], n_in, n_out)
        bias = p[plan[layer, BIAS] : plan[layer, BIAS] + n_out]
        if plan[layer, GAIN] < 0:
            _product(below, weight, out)
            for i in range(size):
                for j in range(n_out):
                    value = out[i, j] + bias[j]
                    out[i, j] = value if not value <= 0 else 0
        else:
            z = _matrix(work, plan[layer, CENTRED], size, n_out)
            _product(below, weight, z)
            _normalise(p, buffers, plan, work, layer, z, out, bias)
    n_in, n_out = plan[last, INPUTS], plan[last, OUTPUTS]
    below = _matrix(work, plan[last, ACTIVE], size, n_in)
    weight = _matrix(p, plan[last, WEIGHT], n_out, n_in)
    bias = p[plan[last, BIAS] : plan[last, BIAS] + n_out]
    np.dot(below, weight.T, logits)
    for i in range(size):
        for j in range(n_out):
            logits[i, j] += bias[j]


@njit(**_OPTIONS)
def _normalise(p: Any, buffers: Any, plan: Any, work: Any, layer: int, z: Any, out: Any, bias: Any) -> None:
    """BatchNorm and ReLU of ``z``, which is centred in place; the bias moves the running mean and nothing else."""
    size, n_out = z.shape
    inverse = work[plan[layer, SCALES] : plan[layer, SCALES] + n_out]
    slope = work[plan[layer, SCALES] + n_out : plan[layer, SCALES] + 2 * n_out]
    mean, variance = slope, inverse  # until they are known
    mean[:] = 0
    variance[:] = 0
    for i in range(size):
        for j in range(n_out):
            mean[j] += z[i, j]
    for j in range(n_out):
        mean[j] /= size
    for i in range(size):
        for j in range(n_out):
            z[i, j] -= mean[j]
            variance[j] += z[i, j] * z[i, j]
    at = plan[layer, MOVING]
    gain, shift = p[plan[layer, GAIN] :], p[plan[layer, SHIFT] :]
    for j in range(n_out):
        v = variance[j] / size
        buffers[at + j] += _MOMENTUM * (mean[j] + bias[j] - buffers[at + j])
        buffers[at + n_out + j] += _MOMENTUM * (v * size / (size - 1) - buffers[at + n_out + j])
        inverse[j] = 1 / np.sqrt(v + _EPS)
        slope[j] = inverse[j] * gain[j]
    for i in range(size):
        for j in range(n_out):
            value = z[i, j] * slope[j] + shift[j]
            out[i, j] = value if not value <= 0 else 0


def _cross_entropy(logits: Any, bits: Any, targets: Any, scale: float) -> float:
    """Summed cross-entropy; logits become its gradient times ``scale``."""
    size, n = logits.shape
    lost = 0.0
    for i in range(size):
        highest = logits[i, 0]
        for c in range(1, n):
            highest = max(highest, logits[i, c])
        for c in range(n):
            logits[i, c] -= highest
        lost -= logits[i, targets[i]]
    _exponentials(logits.reshape(size * n), bits)
    for i in range(size):
        total = logits[i, 0]
        for c in range(1, n):
            total += logits[i, c]
        lost += np.log(total)
        factor = scale / total
        for c in range(n):
            logits[i, c] *= factor
        logits[i, targets[i]] -= scale
    return lost


def _squares(logits: Any, bits: Any, targets: Any, scale: float) -> float:
    """Summed squared error of one output; it becomes its gradient times ``scale``."""
    lost = 0.0
    for i in range(logits.shape[0]):
        error = logits[i, 0] - targets[i]
        lost += error * error
        logits[i, 0] = 2 * scale * error
    return lost


def _loss(logits: Any, bits: Any, targets: Any, scale: float) -> float:
    """Loss as the type of the targets says: of classes, or of numbers."""
    return (_cross_entropy if targets.dtype.kind == "i" else _squares)(logits, bits, targets, scale)


@overload(_loss, jit_options=_OPTIONS)
def _compiled_loss(logits: Any, bits: Any, targets: Any, scale: float) -> Any:
    return _cross_entropy if isinstance(targets.dtype, types.Integer) else _squares


@njit(**_OPTIONS)
def _backward(p: Any, g: Any, plan: Any, work: Any, logits: Any, size: int) -> None:
    """Gradients of all parameters into ``g``; ``logits`` hold the gradient of the loss."""
    last = plan.shape[0] - 1
    n_in, n_out = plan[last, INPUTS], plan[last, OUTPUTS]
    np.dot(logits.T, _matrix(work, plan[last, ACTIVE], size, n_in), _matrix(g, plan[last, WEIGHT], n_out, n_in))
    _sum_rows(logits, g[plan[last, BIAS] : plan[last, BIAS] + n_out])
    if last > 0:
        np.dot(logits, _matrix(p, plan[last, WEIGHT], n_out, n_in), _matrix(work, plan[last - 1, DELTA], size, n_in))
    for layer in range(last - 1, -1, -1):
        n_in, n_out = plan[layer, INPUTS], plan[layer, OUTPUTS]
        delta = _matrix(work, plan[layer, DELTA], size, n_out)
        active = _matrix(work, plan[layer + 1, ACTIVE], size, n_out)
        for i in range(size):
            for j in range(n_out):
                delta[i, j] = delta[i, j] if not active[i, j] <= 0 else 0
        if plan[layer, GAIN] < 0:
            _sum_rows(delta, g[plan[layer, BIAS] : plan[layer, BIAS] + n_out])
        else:
            _backward_norm(g, plan, work, layer, delta)
        below = _matrix(work, plan[layer, ACTIVE], size, n_in)
        if layer > 0:
            weight = _matrix(p, plan[layer, WEIGHT], n_in, n_out)
            np.dot(delta, weight.T, _matrix(work, plan[layer - 1, DELTA], size, n_in))
        np.dot(below.T, delta, _matrix(g, plan[layer, WEIGHT], n_in, n_out))


@njit(**_OPTIONS)
def _backward_norm(g: Any, plan: Any, work: Any, layer: int, delta: Any) -> None:
    """Take the gradient, in place, from behind a BatchNorm to before it; the bias before it has none."""
    size, n_out = delta.shape
    z = _matrix(work, plan[layer, CENTRED], size, n_out)
    inverse = work[plan[layer, SCALES] : plan[layer, SCALES] + n_out]
    slope = work[plan[layer, SCALES] + n_out : plan[layer, SCALES] + 2 * n_out]
    gain = g[plan[layer, GAIN] : plan[layer, GAIN] + n_out]
    shift = g[plan[layer, SHIFT] : plan[layer, SHIFT] + n_out]
    bias = g[plan[layer, BIAS] : plan[layer, BIAS] + n_out]
    gain[:] = 0
    shift[:] = 0
    bias[:] = 0
    for i in range(size):
        for j in range(n_out):
            shift[j] += delta[i, j]
            gain[j] += delta[i, j] * z[i, j]
    for j in range(n_out):
        gain[j] *= inverse[j]
    for i in range(size):
        for j in range(n_out):
            delta[i, j] = slope[j] * (delta[i, j] - (shift[j] + z[i, j] * inverse[j] * gain[j]) / size)


@njit(**_OPTIONS)
def _sum_rows(values: Any, out: Any) -> None:
    out[:] = 0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            out[j] += values[i, j]


@njit(**_OPTIONS)
def train(
    parameters: Any,
    velocity: Any,
    buffers: Any,
    plan: Any,
    work: Any,
    gradient: Any,
    logits: Any,
    bits: Any,
    x: Any,
    y: Any,
    order: Any,
    batch: int,
    rate: float,
    momentum: float,
    decay: float,
    lost: Any,
) -> None:
    """Train every run on images in its own order; ``lost`` receives the mean loss of each as it was in its batch.

    ``parameters``, ``velocity`` (without columns where there is no momentum) and ``buffers`` have a row for each run. ``work``,
    ``gradient`` (one row), ``logits`` and ``bits`` (``batch * classes`` numbers and 32-bit integers) are written to. ``x`` are
    images ``(images, features)``, ``order`` is ``(runs, images)``.
    """
    n_classes, n_features = plan[-1, OUTPUTS], plan[0, INPUTS]
    images = order.shape[1]
    targets = np.empty(batch, y.dtype)
    for run in range(order.shape[0]):
        p, b = parameters[run], buffers[run]
        total = 0.0
        for start in range(0, images, batch):
            size = min(batch, images - start)
            first = _matrix(work, plan[0, ACTIVE], size, n_features)
            for i in range(size):
                image = order[run, start + i]
                targets[i] = y[image]
                for j in range(n_features):
                    first[i, j] = x[image, j]
            out = logits[: size * n_classes].reshape(size, n_classes)
            _forward(p, b, plan, work, out, size)
            total += _loss(out, bits, targets, parameters.dtype.type(1 / size))
            _backward(p, gradient, plan, work, out, size)
            _move(p, velocity[run], gradient, rate, momentum, decay)
        lost[run] = total / images


@njit(**_OPTIONS)
def _move(p: Any, velocity: Any, gradient: Any, rate: float, momentum: float, decay: float) -> None:
    """SGD as PyTorch does it."""
    if velocity.shape[0] == 0:
        for i in range(p.shape[0]):
            p[i] -= rate * (gradient[i] + decay * p[i])
    else:
        for i in range(p.shape[0]):
            velocity[i] = momentum * velocity[i] + gradient[i] + decay * p[i]
            p[i] -= rate * velocity[i]


@njit(**_OPTIONS)
def _outputs(p: Any, plan: Any, work: Any, below: Any, out: Any) -> None:
    """Give the network's outputs for images, less the last layer's shift; BatchNorm is part of the weights."""
    size, last = below.shape[0], plan.shape[0] - 1
    for layer in range(last):
        n_in, n_out = plan[layer, INPUTS], plan[layer, OUTPUTS]
        above = _matrix(work, plan[layer + 1, ACTIVE], size, n_out)
        _product(below, _matrix(p, plan[layer, WEIGHT], n_in, n_out), above)
        bias = p[plan[layer, BIAS] : plan[layer, BIAS] + n_out]
        for i in range(size):
            for j in range(n_out):
                value = above[i, j] + bias[j]
                above[i, j] = value if not value <= 0 else 0
        below = above
    np.dot(below, _matrix(p, plan[last, WEIGHT], plan[last, OUTPUTS], plan[last, INPUTS]).T, out)


@njit(**_OPTIONS)
def evaluate(
    parameters: Any, plan: Any, work: Any, logits: Any, bits: Any, x: Any, y: Any, together: int, loss: Any, right: Any
) -> None:
    """Mean loss and accuracy of every run; BatchNorm is part of the weights. ``together`` images at a time."""
    n_classes, last = plan[-1, OUTPUTS], plan.shape[0] - 1
    for run in range(parameters.shape[0]):
        p = parameters[run]
        bias = p[plan[last, BIAS] : plan[last, BIAS] + n_classes]
        total = 0.0
        hits = 0
        for start in range(0, y.shape[0], together):
            size = min(together, y.shape[0] - start)
            flat = logits[: size * n_classes]
            out = flat.reshape(size, n_classes)
            _outputs(p, plan, work, x[start : start + size], out)
            for i in range(size):
                highest = out[i, 0] + bias[0]
                best = 0
                for c in range(n_classes):
                    out[i, c] += bias[c]
                    if out[i, c] > highest:
                        highest = out[i, c]
                        best = c
                for c in range(n_classes):
                    out[i, c] -= highest
                total -= out[i, y[start + i]]
                hits += best == y[start + i]
            _exponentials(flat, bits)
            for i in range(size):
                sum_ = out[i, 0]
                for c in range(1, n_classes):
                    sum_ += out[i, c]
                total += np.log(sum_)
        loss[run] = total / y.shape[0]
        right[run] = hits / y.shape[0]


@njit(**_OPTIONS)
def evaluate_numbers(parameters: Any, plan: Any, work: Any, x: Any, y: Any, together: int, loss: Any) -> None:
    """Mean squared error of every run; as `evaluate`."""
    for run in range(parameters.shape[0]):
        p = parameters[run]
        total = 0.0
        for start in range(0, y.shape[0], together):
            size = min(together, y.shape[0] - start)
            out = _matrix(work, plan[-1, DELTA], size, 1)
            _outputs(p, plan, work, x[start : start + size], out)
            for i in range(size):
                error = out[i, 0] + p[plan[-1, BIAS]] - y[start + i]
                total += error * error
        loss[run] = total / y.shape[0]
