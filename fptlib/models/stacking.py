"""Any module, for many runs at once: PyTorch's ``vmap`` over stacked parameters and buffers."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Inputs are vectors or images, so the number of axes tells whether there is one of runs.
_SHARED: Final = (2, 4)
_STACKED: Final = (3, 5)


def forward(
    module: nn.Module, parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor, *, training: bool
) -> Tensor:
    """Logits of many networks, shape ``(runs, batch, classes)``.

    Parameters
    ----------
    module
        Template: what is computed. Its own tensors are neither read nor written and may be on the device ``meta``; its
        mode (``module.training``) is set.
    parameters, buffers
        Stacked tensors by name, shape ``(runs, ...)``, contiguous.
    x
        Vectors ``(runs, batch, features)`` or images ``(runs, batch, channels, height, width)``; without the first axis,
        the same inputs for every run.
    training
        Whether BatchNorm normalises with the batch's own statistics, and updates the buffers of every run in place.

    Notes
    -----
    The result can be differentiated with respect to the parameters. Where autocast is on, the layers compute in its type.

    Examples
    --------
    >>> weights = {"weight": torch.ones(3, 2, 4), "bias": torch.zeros(3, 2)}
    >>> forward(nn.Linear(4, 2, device="meta"), weights, {}, torch.ones(5, 4), training=False).shape
    torch.Size([3, 5, 2])
    """
    if x.ndim not in _SHARED + _STACKED:
        raise ValueError(
            f"x: shape {tuple(x.shape)} is neither of vectors ([runs,] batch, features) nor of images "
            "([runs,] batch, channels, height, width)"
        )
    if module.training != training:
        module.train(training)

    def one(parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], x: Tensor) -> Any:
        return functional_call(module, ({**parameters, **buffers},), (x,))

    stacked = vmap(one, in_dims=(0, 0, None if x.ndim in _SHARED else 0))
    kind = x.device.type
    with _Autocast(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else nullcontext():
        result: Tensor = stacked(dict(parameters), dict(buffers), x)
    return result


class _Autocast(TorchFunctionMode):
    """Autocast for convolutions and BatchNorm, which PyTorch 2.14 takes apart under ``vmap`` before its own autocast sees them."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call a function of PyTorch, with its inputs cast if it is a layer."""
        kwargs = kwargs or {}
        if func in _SHORT:
            args = tuple(self._cast(value) for value in args)
            kwargs = {name: self._cast(value) for name, value in kwargs.items()}
        elif func is functional.batch_norm and args[0].dtype == self._dtype:
            # As without vmap: it computes in single precision and returns the type that it was given.
            return func(args[0].float(), *args[1:], **kwargs).to(self._dtype)
        return func(*args, **kwargs)

    def _cast(self, value: Any) -> Any:
        # As autocast does: double precision was asked for and is left alone.
        eligible = isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float64
        return value.to(self._dtype) if eligible else value


_SHORT: Final = frozenset(
    [functional.linear] + [getattr(functional, f"conv{kind}{n}d") for kind in ("", "_transpose") for n in (1, 2, 3)]
)
