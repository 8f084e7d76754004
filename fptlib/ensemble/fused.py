"""Fully connected networks under SGD, stacked, with the gradient written out: the fast path of the engine.

Weights are updated in place inside the batched product that forms their gradient, so no gradient is ever stored, and
nothing is recorded for differentiation. Logits are kept as ``(runs, classes, batch)``: sums and maxima over classes then
run along memory in vector registers, where a softmax over ten neighbouring numbers would not.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, final

import torch
from torch import Tensor

from fptlib.ensemble import losses, states
from fptlib.ensemble.graphs import Launcher
from fptlib.models import MLP
from fptlib.perturbations import State
from fptlib.spec.optimisers import SgdSpec

# PyTorch's defaults for BatchNorm.
_EPS: Final = 1e-5
_MOMENTUM: Final = 0.1


# Names of a linear layer's weight and bias, and of the BatchNorm after it, if any.
_Layer = tuple[str, str, str | None]


@final
class _Workspace:
    """Tensors that every step of one batch size writes to, and views of them: making a view takes as long as a small sum."""

    def __init__(self, x: Tensor, runs: int, size: int, units: Sequence[int], norms: Sequence[str | None]) -> None:
        def empty(*shape: int) -> Tensor:
            return torch.empty(runs, *shape, dtype=x.dtype, device=x.device)

        hidden = units[:-1]
        self.inputs = [empty(size, n) for n in (x.shape[1], *hidden)]  # of each linear layer, (runs, batch, units)
        self.x = self.inputs[0].view(-1, x.shape[1])  # (runs * batch, features)
        self.inputs_t = [value.transpose(1, 2) for value in self.inputs]
        # BatchNorm: what enters it, less its mean
        self.centred = [empty(0) if norm is None else empty(size, n) for n, norm in zip(hidden, norms, strict=False)]
        self.gradient = [empty(size, n) for n in hidden]  # by hidden layer, (runs, batch, units)
        self.gradient_t = [value.transpose(1, 2) for value in self.gradient]
        self.logits = empty(units[-1], size)  # (runs, classes, batch)
        self.logits_t = self.logits.transpose(1, 2)
        self.flat = self.logits.view(-1)
        self.minus_one = torch.full((runs * size,), -1.0, dtype=x.dtype, device=x.device)
        self.ones = torch.ones(runs, 1, size, dtype=x.dtype, device=x.device)


@final
class FusedMLP:
    """A stack of fully connected networks in training; see `fptlib.ensemble.compute.Compute`."""

    def __init__(self, network: MLP, optimiser: SgdSpec, state: State, launch: Launcher) -> None:
        self._layers: list[_Layer] = [(f"{name}.weight", f"{name}.bias", norm) for name, _, _, norm in network.layers()]
        state = states.copied(state)
        self._parameters, self._buffers, self._velocity = state.parameters, state.buffers, dict[str, Tensor]()
        if optimiser.momentum:
            for index, (name, value) in enumerate(state.parameters.items()):
                kept = state.optimiser.get(index)
                self._velocity[name] = torch.zeros_like(value) if kept is None else kept["momentum_buffer"]
        self._optimiser = optimiser
        self._lr = self._rate = state.learning_rate
        self._units = [outputs for _name, _inputs, outputs, _norm in network.layers()]
        self._runs = next(iter(self._parameters.values())).shape[0]
        self._spaces: dict[int, _Workspace] = {}
        self._launch = launch
        # Views of parameters, which are updated in place and never replaced.
        self._weights = [self._parameters[weight] for weight, _, _ in self._layers]
        self._weights_t = [weight.transpose(1, 2) for weight in self._weights]
        self._rows = [self._parameters[bias].unsqueeze(1) for _, bias, _ in self._layers]
        self._column = self._parameters[self._layers[-1][1]].unsqueeze(2)
        # Every parameter as the matrix that a product of matrices moves: the last bias is a column, other vectors are rows.
        self._moved = {
            name: value if value.ndim == 3 else value.unsqueeze(1) for name, value in self._parameters.items()
        } | {self._layers[-1][1]: self._column}

    def state(self) -> State:
        """Return all that training carries on."""
        optimiser = {i: {"momentum_buffer": value} for i, value in enumerate(self._velocity.values())}
        return State(self._parameters, self._buffers, optimiser, self._lr)

    # -- training

    @torch.no_grad()
    def train(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int, *, factor: float = 1.0) -> Tensor:
        """Train on the images in the given order; see `fptlib.ensemble.compute.Compute`."""
        self._rate = self._lr * factor
        lost = torch.zeros(len(order), dtype=torch.float64, device=x.device)
        work, key = partial(self._batches, x.flatten(1), y, batch_size), (factor, batch_size, id(x))
        self._launch(work, order, lost, batch_size=batch_size, key=key)
        return lost / order.shape[1]

    def _batches(self, x: Tensor, y: Tensor, batch_size: int, order: Tensor, lost: Tensor) -> None:
        runs, images = order.shape
        whole = images - images % batch_size
        for start, end, size in ((0, whole, batch_size), (whole, images, images - whole)):
            if end == start:
                continue
            steps = (end - start) // size
            rows = order[:, start:end].reshape(runs, steps, size).transpose(0, 1).contiguous()  # (steps, runs, batch)
            true = y[rows]
            if not y.is_floating_point():  # where the logit of each image's own class lies in memory
                corner = torch.arange(runs, device=x.device).view(-1, 1) * self._units[-1] * size
                true = true * size + corner + torch.arange(size, device=x.device)
            true = true.view(steps, -1)
            own = torch.empty(steps, runs * size, dtype=x.dtype, device=x.device)
            space = self._space(x, size)
            for step in zip(rows.view(steps, -1).unbind(), true.unbind(), own.unbind(), strict=True):
                self._step(x, space, size, *step)
            lost -= own.view(steps, runs, size).sum((0, 2), dtype=torch.float64)

    def _space(self, x: Tensor, size: int) -> _Workspace:
        if size not in self._spaces:
            norms = [norm for _, _, norm in self._layers]
            self._spaces[size] = _Workspace(x, self._runs, size, self._units, norms)
        return self._spaces[size]

    def _step(self, x: Tensor, space: _Workspace, size: int, rows: Tensor, true: Tensor, own: Tensor) -> None:
        """One step; ``own`` receives the logarithm of the probability of each image's own class, or minus the squared error."""
        torch.index_select(x, 0, rows, out=space.x)
        scales = self._forward(space)
        if true.is_floating_point():
            space.flat.sub_(true)
            torch.mul(space.flat, space.flat, out=own).neg_()
            space.flat.mul_(2)  # now the gradient of the loss
        else:
            torch._log_softmax(space.logits, 1, False, out=space.logits)
            torch.index_select(space.flat, 0, true, out=own)
            space.flat.exp_().index_add_(0, true, space.minus_one)  # now the gradient of the loss
        self._backward(space, scales, size)

    def _forward(self, space: _Workspace) -> list[tuple[Tensor, Tensor] | None]:
        """Fill activations and logits; returns 1/deviation and gain/deviation of each BatchNorm."""
        scales: list[tuple[Tensor, Tensor] | None] = []
        for i, layer in enumerate(self._layers[:-1]):
            out = space.inputs[i + 1]
            if layer[2] is None:
                torch.baddbmm(self._rows[i], space.inputs[i], self._weights_t[i], out=out)
                scales.append(None)
            else:
                torch.bmm(space.inputs[i], self._weights_t[i], out=space.centred[i])
                scales.append(self._normalise(layer, space.centred[i], out))
            out.relu_()
        torch.baddbmm(self._column, self._weights[-1], space.inputs_t[-1], out=space.logits)
        return scales

    def _normalise(self, layer: _Layer, z: Tensor, out: Tensor) -> tuple[Tensor, Tensor]:
        """BatchNorm of ``z``, which is centred in place; the bias before it moves the running mean and nothing else."""
        p, b, size, (_, bias, norm) = self._parameters, self._buffers, z.shape[1], layer
        mean = z.mean(1, keepdim=True)
        z.sub_(mean)
        variance = torch.mul(z, z, out=out).mean(1)
        b[f"{norm}.running_mean"].lerp_(mean.squeeze(1).add_(p[bias]), _MOMENTUM)
        b[f"{norm}.running_var"].lerp_(variance * (size / (size - 1)), _MOMENTUM)
        b[f"{norm}.num_batches_tracked"].add_(1)
        inverse = variance.add_(_EPS).rsqrt_()
        scale = (inverse * p[f"{norm}.weight"]).unsqueeze(1)
        torch.addcmul(p[f"{norm}.bias"].unsqueeze(1), z, scale, out=out)
        return inverse.unsqueeze(1), scale

    def _backward(self, space: _Workspace, scales: list[tuple[Tensor, Tensor] | None], size: int) -> None:
        last = len(self._layers) - 1
        if last:
            torch.bmm(space.logits_t, self._weights[last], out=space.gradient[-1])
        weight, bias, _ = self._layers[last]
        self._move(weight, space.logits, space.inputs[last], size)
        self._move(bias, space.logits, space.ones.transpose(1, 2), size)
        for i in range(last - 1, -1, -1):
            (weight, bias, _), gradient, active = self._layers[i], space.gradient[i], space.inputs[i + 1]
            torch.ops.aten.threshold_backward.grad_input(gradient, active, 0, grad_input=gradient)
            scale = scales[i]
            if scale is None:
                self._move(bias, space.ones, gradient, size)
            else:
                self._backward_norm(space, i, scale, size)
            if i:
                torch.bmm(gradient, self._weights[i], out=space.gradient[i - 1])
            self._move(weight, space.gradient_t[i], space.inputs[i], size)

    def _backward_norm(self, space: _Workspace, i: int, scale: tuple[Tensor, Tensor], size: int) -> None:
        """Take the gradient, in place, from behind a BatchNorm to before it; the bias before it has none."""
        (_, bias, norm), gradient = self._layers[i], space.gradient[i]
        z, scratch = space.centred[i], space.inputs[i + 1]
        inverse, slope = scale
        shift = gradient.sum(1, keepdim=True)
        gain = torch.mul(gradient, z, out=scratch).sum(1, keepdim=True).mul_(inverse)
        gradient.addcmul_(z, gain * inverse, value=-1 / size)
        torch.addcmul(shift * slope * (-1 / size), gradient, slope, out=gradient)
        one = space.ones[:, :, :1]
        self._move(f"{norm}.weight", one, gain, size)
        self._move(f"{norm}.bias", one, shift, size)
        if self._optimiser.weight_decay or self._velocity:
            self._move(bias, one, torch.zeros_like(shift), size)

    def _move(self, name: str, left: Tensor, right: Tensor, size: int) -> None:
        """SGD with the gradient ``left @ right / size``, which is formed in the sum that moves the parameter."""
        decay, value = self._optimiser.weight_decay, self._moved[name]
        if self._velocity:
            velocity = self._velocity[name].view_as(value)
            velocity.baddbmm_(left, right, beta=self._optimiser.momentum, alpha=1 / size)
            if decay:
                velocity.add_(value, alpha=decay)
            value.add_(velocity, alpha=-self._rate)
        else:
            value.baddbmm_(left, right, beta=1 - self._rate * decay, alpha=-self._rate / size)

    # -- evaluation

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy, or R2; see `fptlib.ensemble.compute.Compute`."""
        layers = [self._folded(layer) for layer in self._layers]
        # A hidden layer gives max(z, -b) instead of max(z + b, 0), one pass over memory less; the next layer's bias makes
        # up for the missing b.
        for i in range(1, len(layers)):
            weight, bias = layers[i]
            layers[i] = (weight, bias + torch.bmm(weight, layers[i - 1][1].unsqueeze(2)).squeeze(2))
        a = x.flatten(1).expand(self._runs, -1, -1)
        for weight, bias in layers[:-1]:
            out = torch.bmm(a, weight.transpose(1, 2))
            a = torch.maximum(out, -bias.unsqueeze(1), out=out)
        weight, bias = layers[-1]
        logits = torch.baddbmm(bias.unsqueeze(2), weight, a.transpose(1, 2))  # (runs, classes, images)
        right = torch.zeros(self._runs, dtype=torch.int64, device=x.device)
        if y.is_floating_point():
            loss = logits.squeeze(1).sub_(y).square_().sum(1, dtype=torch.float64)
        else:
            right = (logits.max(1).indices == y).sum(1)
            torch._log_softmax(logits, 1, False, out=logits)
            loss = -logits.gather(1, y.expand(self._runs, 1, -1)).sum((1, 2), dtype=torch.float64)
        return loss / len(y), losses.metric(loss / len(y), right, y)

    def _folded(self, layer: _Layer) -> tuple[Tensor, Tensor]:
        """Return weights and biases of a linear layer that include the BatchNorm after it, as it is in evaluation."""
        p, b, norm = self._parameters, self._buffers, layer[2]
        weight, bias = p[layer[0]], p[layer[1]]
        if norm is None:
            return weight, bias
        scale = p[f"{norm}.weight"] * torch.rsqrt(b[f"{norm}.running_var"] + _EPS)
        return weight * scale.unsqueeze(2), (bias - b[f"{norm}.running_mean"]) * scale + p[f"{norm}.bias"]
