"""The initialisation that PyTorch's layers have by default, and whether a network has it."""

from __future__ import annotations

import copy
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import Tensor, nn

# Logarithm of the probability below which a tensor is not what its layer draws.
_RARE: Final = math.log(1e-7)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw PyTorch's random numbers from a seed, on the CPU by default; afterwards they are as before."""
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=devices), torch.device("cpu"), torch.no_grad():
        # Other than `torch.manual_seed`, this leaves devices alone that are not in use.
        torch.default_generator.manual_seed(seed)
        if devices:
            torch.cuda.manual_seed_all(seed)
        yield


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
    Constants must be equal. Other entries are compared with eight draws of their layer, tensor by tensor and all tensors together of
    one name and kind of layer: how many are equal to one another or zero, how many are larger than all that was drawn, and their
    distribution (Kolmogorov and Smirnov). Of some ten entries it cannot be said whether they follow another law of the same width.

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
    alike: dict[Any, list[tuple[str, Tensor, Tensor]]] = defaultdict(list)
    with seeded(0):
        for module in model.modules():
            every = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
            own = {leaf: value for leaf, value in every if id(value) in names}
            for value in own.values():
                if owners.setdefault(id(value), module) is not module or not _resets(module):
                    what = f"{names[id(value)]} ({type(owners[id(value)]).__name__})"
                    return f"{what} does not belong to one layer of torch.nn with reset_parameters()"
            for leaf, rows in _drawn(module, own).items():
                value, what = own[leaf], f"{names[id(own[leaf])]} ({type(module).__name__})"
                if rows.isnan().any():
                    return f"{what} is not drawn by reset_parameters()"
                fixed = (rows[1:] == rows[1]).all(dim=0)
                rows = rows.to(value.real.dtype).double()
                if not rows[0, fixed].equal(rows[1, fixed]):
                    return f"{what} is not the constant that reset_parameters() gives"
                if not fixed.all():
                    rows = rows[:, ~fixed]
                    scale = rows.square().mean(dim=(0, 1), keepdim=True).sqrt().expand(1, rows.shape[1])
                    if not _may_be_drawn(rows, scale, value.dtype):
                        return f"{what} is not as reset_parameters() draws it"
                    alike[type(module), leaf, value.dtype].append((what, rows, scale))
    for (*_, dtype), parts in alike.items():
        rows, scale = (torch.cat([part[k] for part in parts], dim=1) for k in (1, 2))  # type: ignore[misc]
        if not _may_be_drawn(rows, scale, dtype):
            return f"{parts[0][0]} and its like are not as reset_parameters() draws them"
    return ""


def _drawn(module: nn.Module, own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return entries of tensors of a layer, those it has and eight draws, ``(9, entries)``; not a number where it draws none."""
    rows = {leaf: [_entries(value)] for leaf, value in own.items()}
    layer: Any = copy.deepcopy(module).cpu().float() if own else None
    for _ in range(8 if own else 0):
        for value in layer.parameters():
            value.fill_(math.nan)
        layer.reset_parameters()
        for leaf, kept in rows.items():
            kept.append(_entries(getattr(layer, leaf)))
    return {leaf: torch.stack(kept) for leaf, kept in rows.items()}


def _entries(value: Tensor) -> Tensor:
    """Return 4000 entries at most, evenly spaced; complex ones as pairs."""
    flat = (torch.view_as_real(value.detach()) if value.is_complex() else value.detach()).flatten()
    return flat[:: len(flat) // 4000 + 1].cpu().double()


def _may_be_drawn(rows: Tensor, scale: Tensor, dtype: torch.dtype) -> bool:
    """Test whether the first row may have the law of the others."""
    from scipy.stats import ks_2samp

    n = rows.shape[1]
    # Random numbers of PyTorch are no finer than single precision; rounding makes them coarser.
    pairs = n * (n + 1) / 4 * max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
    equal = n + 1 - len({0.0, *rows[0].tolist()})
    mine, others = (rows / scale)[0], (rows / scale)[1:].flatten()
    # In each of nine rows the largest of all entries is as likely as in any other, and so on downwards.
    larger = int((mine.abs() > others.abs().max()).sum())
    distance = ks_2samp(mine.numpy(), others.numpy(), method="asymp").statistic
    chances = math.log(9) * -larger, math.log(2) - 2 * distance**2 * n * 8 / 9
    # The last two are rarer yet, since there may be a hundred tensors; the first has to tell a single zero.
    return equal * math.log(pairs) - math.lgamma(equal + 1) > _RARE and min(chances) > _RARE - 5
