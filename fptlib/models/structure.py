"""Where the hidden units of a network are, and how active they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call

_LINEAR: Final = (nn.Linear, nn.modules.conv._ConvNd)
_NORMS: Final = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@dataclass(frozen=True, slots=True)
class HiddenLayer:
    """Units of which one layer makes the activations that another takes.

    Parameters
    ----------
    incoming
        Name of the linear layer or convolution with one output for each unit.
    norm
        Name of what normalises them, if anything.
    outgoing
        Name of the linear layer or convolution whose inputs they are: one for each unit, or as many for each as its image
        has pixels where images become vectors.

    Notes
    -----
    The activation of a unit is what the outgoing layer is given, after whatever lies between.
    """

    incoming: str
    norm: str | None
    outgoing: str


def chain(module: nn.Module) -> tuple[HiddenLayer, ...]:
    """Hidden layers of a module whose layers act one after the other in the order in which they were made.

    Examples
    --------
    >>> chain(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)))
    (HiddenLayer(incoming='0', norm='1', outgoing='3'),)
    """
    layers: list[HiddenLayer] = []
    incoming: str | None = None
    norm: str | None = None
    for name, layer in module.named_modules():
        if isinstance(layer, _LINEAR):
            if incoming is not None:
                layers.append(HiddenLayer(incoming, norm, name))
            incoming, norm = name, None
        elif isinstance(layer, _NORMS):
            norm = name
    return tuple(layers)


def inside(blocks: Iterable[tuple[str, nn.Module]]) -> tuple[HiddenLayer, ...]:
    """Hidden layers between the convolutions ``conv1`` and ``conv2`` of residual blocks.

    What lies on the shortcut is shared by many blocks and has no outgoing layer of its own.
    """
    layers = []
    for name, block in blocks:
        parts = dict(block.named_children())
        if "conv1" in parts and "conv2" in parts:
            norm = next((part for part in ("bn1", "norm1") if isinstance(parts.get(part), _NORMS)), None)
            layers.append(HiddenLayer(f"{name}.conv1", norm and f"{name}.{norm}", f"{name}.conv2"))
    return tuple(layers)


def output_layer(module: nn.Module) -> str | None:
    """Name of the last linear layer or convolution in the order in which they were made, if there is any."""
    names = [name for name, layer in module.named_modules() if isinstance(layer, _LINEAR)]
    return names[-1] if names else None


@torch.no_grad()
def activity(
    module: nn.Module,
    layers: Iterable[HiddenLayer],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    x: Tensor,
) -> list[Tensor]:
    """Mean absolute activation of every unit, shape ``(runs, units)`` for each hidden layer.

    Parameters
    ----------
    module
        Template; may be on the device ``meta``. It evaluates: BatchNorm normalises with its running averages.
    layers
        Whose units.
    parameters, buffers
        Stacked tensors by name, shape ``(runs, ...)``.
    x
        Inputs, the same for every run.

    Notes
    -----
    The mean is over the inputs and, for convolutions, over the pixels. Runs are computed one by one, so that none depends
    on those beside it in any digit.
    """
    layers = list(layers)
    taken: dict[str, Tensor] = {}

    def take(name: str, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        taken[name] = inputs[0]

    hooks = [
        module.get_submodule(layer.outgoing).register_forward_pre_hook(partial(take, layer.outgoing))
        for layer in layers
    ]
    module.eval()
    found: list[list[Tensor]] = [[] for _ in layers]
    try:
        for run in range(next(iter(parameters.values())).shape[0]):
            state = {name: value[run] for name, value in {**parameters, **buffers}.items()}
            functional_call(module, state, (x,))
            for rows, layer in zip(found, layers, strict=True):
                units = state[f"{layer.incoming}.weight"].shape[0]
                rows.append(_mean_of_units(taken[layer.outgoing], units))
    finally:
        for hook in hooks:
            hook.remove()
    return [torch.stack(rows) for rows in found]


def _mean_of_units(activations: Tensor, units: int) -> Tensor:
    """Mean absolute value over all but the units of ``(batch, units * pixels, ...)``."""
    rest = math.prod(activations.shape[1:]) // units
    return activations.abs().reshape(len(activations), units, rest).mean(dim=(0, 2))
