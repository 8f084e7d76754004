"""The initialisation that PyTorch's layers have by default, and whether a network has it."""

from __future__ import annotations

import copy
import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Logarithm of the probability below which a tensor is not what its layer draws.
_RARE: Final = math.log(1e-7)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random numbers of PyTorch, on the CPU by default, NumPy and Python from a seed; afterwards they are as before."""
    others = random.getstate(), np.random.get_state()  # noqa: NPY002
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices), torch.device("cpu"), torch.no_grad():
        # Other than `torch.manual_seed`, this leaves devices alone that are not in use.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(others[0])
            np.random.set_state(others[1])  # noqa: NPY002


def _resets(module: nn.Module) -> bool:
    # Asked of the class: a compiled part passes on what it is asked, and would be reset twice.
    return type(module).__module__.startswith("torch.nn.modules.") and hasattr(type(module), "reset_parameters")


def reset(module: Any) -> None:
    """Let a layer of PyTorch's own draw its parameters anew; leave any other module as it is."""
    if _resets(module):
        module.reset_parameters()


def otherwise(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """Return which of a network's tensors is not as layers of PyTorch draw it, and why; nothing if all may be.

    Parameters
    ----------
    tensors
        Parameters and buffers of the network by name, those that are looked at.

    Notes
    -----
    Constants must be equal. Other entries must lie within their law, uniform or normal, and tensor by tensor and all tensors together
    of one name and kind of layer are tested: how many have the same magnitude or are zero, the largest magnitude, and the distributions
    of entries and magnitudes (Kolmogorov and Smirnov). Of a few entries it cannot be said which law within the same bounds they follow.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    >>> otherwise(model, dict(model.named_parameters()))
    ''
    >>> _ = nn.init.zeros_(model[2].bias)
    >>> otherwise(model, dict(model.named_parameters()))
    '2.bias (Linear) is not as reset_parameters() draws it'
    """
    names, owners = {id(value): name for name, value in tensors.items()}, dict[int, nn.Module]()
    alike: dict[Any, list[tuple[str, Tensor]]] = defaultdict(list)
    with seeded(0):
        for module in model.modules():
            every = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            own = {leaf: value for leaf, value in every if id(value) in names}
            for value in own.values():
                if owners.setdefault(id(value), module) is not module or not _resets(module):
                    what = f"{names[id(value)]} ({type(owners[id(value)]).__name__})"
                    return f"{what} does not belong to one layer of torch.nn with reset_parameters()"
            for leaf, (centre, width, limit) in _laws(module, own).items():
                value, what = own[leaf], f"{names[id(own[leaf])]} ({type(module).__name__})"
                if centre.isnan().any():
                    return f"{what} is not drawn by reset_parameters()"
                fixed, mine, fine = centre == limit, _entries(value), _fineness(value.dtype)
                if not mine[fixed].equal(centre[fixed].to(value.real.dtype).double()):
                    return f"{what} is not the constant that reset_parameters() gives"
                mine, width, limit = ((part - centre)[~fixed] for part in (mine, width, limit))
                if len(mine):
                    normal, step = limit > 2 * width, len(mine) // 4000 + 1
                    places = torch.where(normal, torch.erf(mine / width / math.sqrt(2)), mine / limit)[::step]
                    if not (mine.abs() <= limit * (1 + fine)).all() or not _may_be_drawn(places, fine):
                        return f"{what} is not as reset_parameters() draws it"
                    alike[type(module), leaf, fine].append((what, places))
    for (*_, fine), parts in alike.items():
        if not _may_be_drawn(torch.cat([places for _, places in parts]), fine):
            return f"{parts[0][0]} and its like are not as reset_parameters() draws them"
    return ""


class _Quantile(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Instead of random numbers, gives the quantile of their law that lies ``z`` standard deviations from the mean of a normal one."""

    def __init__(self, z: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.z = z

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket not in (torch.ops.aten.uniform_, torch.ops.aten.normal_):
            return func(*args, **(kwargs or {}))
        given: Any = (*args, *(0.0, 1.0)[len(args) - 1 :])
        value, first, second = given
        if func.overloadpacket is torch.ops.aten.uniform_:
            quantile = first + (second - first) * (1 + math.erf(self.z / math.sqrt(2))) / 2
        else:  # the variance of a complex number is that of both its parts
            quantile = first + self.z * second / math.sqrt(2 if value.is_complex() else 1)
        (torch.view_as_real(value) if value.is_complex() else value).fill_(quantile)
        return value


def _laws(module: nn.Module, own: Mapping[str, Tensor]) -> dict[str, list[Tensor]]:
    """Return the quantiles of the entries of a layer's tensors at 0, 1 and 8 standard deviations; not a number where it draws none."""
    laws: dict[str, list[Tensor]] = {leaf: [] for leaf in own}
    layer: Any = copy.deepcopy(module).cpu().float() if own else None
    for z in (0.0, 1.0, 8.0) if own else ():
        for value in layer.parameters():
            value.fill_(math.nan)
        with _Quantile(z):
            layer.reset_parameters()
        for leaf, law in laws.items():
            law.append(_entries(getattr(layer, leaf)))
    return laws


def _entries(value: Tensor) -> Tensor:
    """Return all entries; complex ones as pairs."""
    value = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
    return value.flatten().cpu().double().clone()


def _fineness(dtype: torch.dtype) -> float:
    """Return the relative spacing of random numbers, which PyTorch draws no finer than in single precision."""
    known = dtype.is_floating_point or dtype.is_complex
    return max(torch.finfo(dtype if known else torch.float32).eps, torch.finfo(torch.float32).eps)


def _may_be_drawn(places: Tensor, fine: float) -> bool:
    """Test whether numbers may be drawn uniformly between -1 and 1, to this spacing."""
    n, sizes = len(places), places.abs()
    equal = n + 1 - len({0.0, *sizes.tolist()})
    # The first is allowed to be likelier, since it has to tell a single pair.
    chances = [equal * math.log(n * n / 2 * fine) - math.lgamma(equal + 1) - 3]
    chances.append(n * math.log(min(1.0, float(sizes.max()) + fine)))
    below = torch.arange(n) / n
    for mine in ((places + 1) / 2, sizes):
        above = mine.sort().values - below
        distance = float(torch.maximum(above, 1 / n - above).max()) - fine
        chances.append(math.log(2) - 2 * n * max(distance, 0.0) ** 2)
    return min(chances) > _RARE
