"""The arithmetic of a stack of runs: one epoch of training, one evaluation. Which implementation is chosen by rules.

- `CompiledMLP`: fully connected networks under SGD with plain momentum or none on a CPU, gradient written out and compiled,
  one run after another.
- `FusedMLP`: the same in PyTorch, stacked, for a GPU.
- `Stacked`: any module through `torch.func`, any elementwise optimiser of `torch.optim`, on stacked tensors.
- `OneByOne`: the same, one run after another: a CPU gains nothing from stacked convolutions, nor from stacks of wide layers.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final, Protocol, final

import torch
from torch import Tensor, nn

from fptlib import models
from fptlib.ensemble import losses, updates
from fptlib.ensemble.fused import FusedMLP
from fptlib.ensemble.graphs import Launcher
from fptlib.models import Network, Tensors, stacking
from fptlib.perturbations import State
from fptlib.spec import EnsembleSpec
from fptlib.spec.optimisers import SgdSpec

# Weights of one layer from which PyTorch's products for a single run fill a core.
_WIDE: Final = 1 << 19
# Images in one evaluation, so that activations stay in the cache, and on a GPU need no more memory than training.
_EVALUATED_TOGETHER: Final = {"cpu": 250, "cuda": 500}
# float16 rounds small gradients to zero; losses are scaled by a power of two, which changes nothing else. A constant,
# because a scale that adapts would let the runs of one stack influence each other.
_LOSS_SCALE: Final = 1024.0


class Compute(Protocol):
    """A stack of runs in training."""

    def state(self) -> State:
        """Return all that training carries on; its tensors are the live ones."""

    def train(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int, *, factor: float = 1.0) -> Tensor:
        """Train on images in the given order, ``(runs, images)``, with ``factor`` times the learning rate of the state.

        Returns the loss of each image as it was when its batch was trained, averaged, float64, shape ``(runs,)``.
        """

    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy, or R2 of regression, on all given images, float64, shape ``(runs,)`` each."""


def dtype_of(spec: EnsembleSpec) -> torch.dtype:
    """Return the floating-point type of everything that is trained."""
    return torch.float64 if spec.training.dtype == "float64" else torch.float32


def kind(spec: EnsembleSpec, network: Network, device: str) -> str:
    """Return which implementation trains these runs: ``compiled``, ``fused``, ``one by one`` or ``stacked``."""
    if (
        isinstance(network, models.MLP)
        and network.normalisation != "layer"
        and isinstance(spec.optimiser, SgdSpec)
        and not spec.optimiser.nesterov
        and spec.optimiser.dampening == 0
        and spec.training.autocast == "none"
    ):
        if device != "cpu":
            return "fused"
        widest = max(inputs * outputs for _, inputs, outputs, _ in network.layers())
        return "compiled" if widest <= _WIDE else "one by one"
    return "one by one" if device == "cpu" and network.has_convolutions else "stacked"


def movable(spec: EnsembleSpec, network: Network, device: str) -> bool:
    """Test whether a run is the same, bit for bit, wherever it sits in a stack of whatever size.

    Matrix kernels choose their path by the shapes and the alignment of matrices, and with it their rounding: what is multiplied in
    stacks keeps one shape and every run its place.
    """
    return kind(spec, network, device) in ("compiled", "one by one")


def build(spec: EnsembleSpec, network: Network, device: str, state: State) -> Compute:
    """Go on from a state."""
    if state.momentum is not None:
        after = spec.optimiser.model_copy(update={"momentum": state.momentum})
        spec = spec.model_copy(update={"optimiser": after})
    which = kind(spec, network, device)
    if which in ("compiled", "fused"):
        assert isinstance(network, models.MLP)
        assert isinstance(spec.optimiser, SgdSpec)
        if which == "fused":
            return FusedMLP(network, spec.optimiser, state, Launcher(spec, device))
        from fptlib.ensemble.compiled import CompiledMLP

        return CompiledMLP(network, spec.optimiser, spec.training.batch_size, state)
    return (OneByOne if which == "one by one" else Stacked)(spec, network, device, state)


def _precision(spec: EnsembleSpec, device: str) -> tuple[AbstractContextManager[Any], float]:
    """Return autocast as asked for, and the factor on losses."""
    name = spec.training.autocast
    if name == "none":
        return nullcontext(), 1.0
    dtype = torch.float16 if name == "float16" else torch.bfloat16
    return torch.autocast(device, dtype=dtype), _LOSS_SCALE if name == "float16" else 1.0


def _through_torch_compile(spec: EnsembleSpec, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return the function through ``torch.compile`` where that is asked for; as it is, with a message, where that fails."""
    if not spec.execution.compile:
        return function
    fast: list[Callable[..., Tensor] | None] = [None]

    def call(*arguments: Any, **named: Any) -> Tensor:
        if fast:
            try:
                compiled = fast[0] = fast[0] or torch.compile(function)
                return compiled(*arguments, **named)
            except Exception as error:  # whatever a compiler raises: the plain function is the same calculation
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                warnings.warn(f"execution.compile: failed ({reason}); going on without", stacklevel=2)
                fast.clear()
        return function(*arguments, **named)

    return call


@final
class Stacked:
    """Any network: one call of `torch.func` for all runs."""

    def __init__(self, spec: EnsembleSpec, network: Network, device: str, state: State) -> None:
        self._spec, self._device = spec, device
        module = network.template()
        last = channels_last(spec, device)
        self._parameters = {name: _own(value, last).requires_grad_() for name, value in state.parameters.items()}
        self._buffers = {name: _own(value, last) for name, value in state.buffers.items()}
        self._runs = next(iter(self._parameters.values())).shape[0]
        self._lr = state.learning_rate
        self._optimiser = updates.Stack(spec.optimiser, list(self._parameters.values()), state)

        def forward(parameters: Tensors, buffers: Tensors, x: Tensor, *, training: bool) -> Tensor:
            return stacking.forward(module, parameters, buffers, x, training=training)

        self._forward = _through_torch_compile(spec, forward)
        self._launch = Launcher(spec, device)

    def state(self) -> State:
        """Return all that training carries on."""
        parameters = {name: value.detach() for name, value in self._parameters.items()}
        return State(parameters, self._buffers, self._optimiser.state(), self._lr)

    def train(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int, *, factor: float = 1.0) -> Tensor:
        """Train on images in the given order."""
        total = torch.zeros(self._runs, dtype=torch.float64, device=x.device)
        self._optimiser.set_rate(self._lr * factor)
        work, key = partial(self._batches, x, y, batch_size), (factor, batch_size, id(x))
        self._launch(work, order, total, batch_size=batch_size, key=key)
        return total / order.shape[1]

    def _batches(self, x: Tensor, y: Tensor, batch_size: int, order: Tensor, losses_of_runs: Tensor) -> None:
        precision, scale = _precision(self._spec, self._device)
        for start in range(0, order.shape[1], batch_size):
            batch = order[:, start : start + batch_size]
            with precision:
                logits = self._forward(self._parameters, self._buffers, x[batch], training=True)
            loss = losses.per_example(logits, y[batch]).mean(dim=1)
            self._optimiser.zero_grad()
            # The sum over runs: each run's parameters see the gradient of that run's mean loss.
            (loss.sum() * scale).backward()  # type: ignore[no-untyped-call]
            _unscale(self._parameters.values(), scale)
            self._optimiser.step()
            losses_of_runs += loss.detach() * batch.shape[1]

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy, or R2."""
        precision, _ = _precision(self._spec, self._device)
        loss = torch.zeros(self._runs, dtype=torch.float64, device=x.device)
        right = torch.zeros(self._runs, dtype=torch.int64, device=x.device)
        together = _EVALUATED_TOGETHER[self._device]
        for start in range(0, len(y), together):
            with precision:
                images = x[start : start + together]
                logits = self._forward(self._parameters, self._buffers, images, training=False)
            targets = y[start : start + together].expand(self._runs, -1)
            loss += losses.per_example(logits, targets).sum(dim=1, dtype=torch.float64)
            right += losses.hits(logits, targets)
        return loss / len(y), losses.metric(loss / len(y), right, y)


@final
class OneByOne:
    """Any network, one run after another, each an ordinary module with an optimiser of its own."""

    def __init__(self, spec: EnsembleSpec, network: Network, device: str, state: State) -> None:
        self._spec, self._device, self._lr = spec, device, state.learning_rate
        self._modules: list[nn.Module] = []
        self._optimisers: list[torch.optim.Optimizer] = []
        format_ = torch.channels_last if channels_last(spec, device) else torch.contiguous_format
        runs, here = len(next(iter(state.parameters.values()))), next(iter(state.parameters.values())).device
        for run in range(runs):
            module = network.template().to(dtype_of(spec)).to_empty(device=here)
            module.load_state_dict(models.run_state(state.parameters, state.buffers, run))
            module = module.to(memory_format=format_)
            self._modules.append(module)
            self._optimisers.append(updates.alone(spec.optimiser, list(module.parameters()), state, run))
        self._launch = [Launcher(spec, device) for _ in self._modules]

    def state(self) -> State:
        """Return all that training carries on."""
        own = [list(module.parameters()) for module in self._modules]
        return State(
            parameters=_stack([dict(module.named_parameters()) for module in self._modules]),
            buffers=_stack([dict(module.named_buffers()) for module in self._modules]),
            optimiser=updates.stacked(self._spec.optimiser, list(zip(self._optimisers, own, strict=True))),
            learning_rate=self._lr,
        )

    def train(self, x: Tensor, y: Tensor, order: Tensor, batch_size: int, *, factor: float = 1.0) -> Tensor:
        """Train on images in the given order."""
        totals = torch.zeros(len(self._modules), dtype=torch.float64, device=x.device)
        for run, (optimiser, launch) in enumerate(zip(self._optimisers, self._launch, strict=True)):
            updates.set_rate(optimiser, self._lr * factor)
            work, key = partial(self._batches, run, x, y, batch_size), (factor, batch_size, id(x))
            launch(work, order[run], totals[run], batch_size=batch_size, key=key)
        return totals / order.shape[1]

    def _batches(self, run: int, x: Tensor, y: Tensor, batch_size: int, order: Tensor, its_losses: Tensor) -> None:
        precision, scale = _precision(self._spec, self._device)
        module, optimiser = self._modules[run].train(), self._optimisers[run]
        for batch in torch.split(order, batch_size):
            with precision:
                logits = module(x[batch])
            loss = losses.per_example(logits, y[batch]).mean()
            optimiser.zero_grad(set_to_none=True)
            (loss * scale).backward()  # type: ignore[no-untyped-call]
            _unscale(module.parameters(), scale)
            optimiser.step()
            its_losses += loss.detach() * len(batch)

    @torch.no_grad()
    def evaluate(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean loss and accuracy, or R2."""
        precision, _ = _precision(self._spec, self._device)
        loss = torch.zeros(len(self._modules), dtype=torch.float64, device=x.device)
        right = torch.zeros(len(self._modules), dtype=torch.int64, device=x.device)
        together = _EVALUATED_TOGETHER[self._device]
        for run, module in enumerate(self._modules):
            module.eval()
            for start in range(0, len(y), together):
                targets = y[start : start + together]
                with precision:
                    logits = module(x[start : start + together])
                loss[run] += losses.per_example(logits, targets).sum(dtype=torch.float64)
                right[run] += losses.hits(logits, targets)
        return loss / len(y), losses.metric(loss / len(y), right, y)


def _own(value: Tensor, channels_last: bool) -> Tensor:
    """Return a copy in one piece of memory: rounding depends on how a tensor lies there, and must not on where it came from."""
    if channels_last and value.ndim == 5:  # (runs, out, in, height, width)
        return value.detach().permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    return value.detach().clone(memory_format=torch.contiguous_format)


def _unscale(parameters: Any, scale: float) -> None:
    if scale != 1:
        torch._foreach_mul_([value.grad for value in parameters if value.grad is not None], 1 / scale)


def _stack(parts: list[Any]) -> Tensors:
    return {name: torch.stack([part[name].detach() for part in parts]).contiguous() for name in parts[0]}


_SAFE_CHANNELS: Final = 8


def tensors(x: Any, y: Any, spec: EnsembleSpec, device: str) -> tuple[Tensor, Tensor]:
    """Return images and targets on the device, images with channels last in memory where that is faster or asked for."""
    images = torch.from_numpy(x).to(device, dtype_of(spec))
    if images.ndim == 4 and channels_last(spec, device):
        images = images.to(memory_format=torch.channels_last)
    targets = torch.from_numpy(y).to(device)
    return images, targets.to(dtype_of(spec)) if targets.is_floating_point() else targets


def channels_last(spec: EnsembleSpec, device: str) -> bool:
    """Test whether channels come last in memory: as asked for; on a CPU, where convolutions take two thirds of the time so.

    Not by default where a convolution has fewer than eight channels: the gradients of such strided convolutions overrun their memory in
    PyTorch 2.14.1 on some CPUs, and the process is aborted.
    """
    requested = spec.execution.channels_last
    if requested is not None:
        return requested
    fewest = min(getattr(spec.model, "channels", (getattr(spec.model, "width", _SAFE_CHANNELS),)))
    return device == "cpu" and fewest >= _SAFE_CHANNELS
