"""The trained tensors of any PyTorch module, and those of a fresh initialisation of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from fptlib.errors import InputError

Tensors = dict[str, Tensor]
Factory = Callable[[], nn.Module]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile` and data-parallel wrappers."""
    inner = model.module if isinstance(model, DataParallel | DistributedDataParallel) else None
    inner = getattr(model, "_orig_mod", inner)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def trained(model: nn.Module) -> tuple[dict[str, nn.Parameter], Tensors]:
    """Return parameters that require a gradient, and buffers, by name; what is shared by several modules comes once.

    Frozen parameters are left out, and so are the buffers of a module all of whose own parameters are frozen.
    """
    own = {n: [p.requires_grad for p in module.parameters(recurse=False)] for n, module in model.named_modules()}
    frozen = {name for name, needs in own.items() if needs and not any(needs)}
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    return parameters, {n: value for n, value in model.named_buffers() if n.rpartition(".")[0] not in frozen}


def draw(model: nn.Module, *, seed: int, factory: Factory | None = None) -> tuple[Tensors, Tensors]:
    """Return parameters and buffers of a fresh initialisation, as `trained` names them, on the CPU in single precision.

    It is a function of the seed alone; PyTorch's random numbers are as before afterwards, and ``model`` is left as it is. Without a
    ``factory`` of freshly initialised networks, the modules of a copy are asked, from the innermost outwards, to
    ``reset_parameters``; an InputError names one with trained parameters that has none, or what the factory built instead of the network.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        # Other than `torch.manual_seed`, this leaves the random numbers of other devices alone.
        torch.default_generator.manual_seed(seed)
        fresh = _reset_copy(model) if factory is None else _built(model, factory)
    known = {_plain(name): value for name, value in (*fresh.named_parameters(), *fresh.named_buffers())}

    def drawn(name: str, value: Tensor) -> Tensor:
        new = known.get(_plain(name))
        if new is None or new.shape != value.shape:
            there = "nothing of this name" if new is None else f"shape {tuple(new.shape)}"
            raise InputError(
                f"fresh: the new network has {there} where the model has {name} of shape {tuple(value.shape)}; "
                "build the network that is trained"
            )
        return new.detach().float() if new.is_floating_point() else new.detach()

    parameters, buffers = trained(model)
    return {n: drawn(n, value) for n, value in parameters.items()}, {n: drawn(n, value) for n, value in buffers.items()}


def _plain(name: str) -> str:
    """Return a name without the marks of compiled parts."""
    return name.replace("_orig_mod.", "")


def _built(model: nn.Module, factory: Factory) -> nn.Module:
    with torch.enable_grad():  # some initialisations take a step
        fresh = factory()
    if not isinstance(fresh, nn.Module):
        raise InputError(
            f"fresh: built {type(fresh).__name__}, not a torch.nn.Module; pass a function that builds the network"
        )
    fresh = unwrapped(fresh)
    if {id(value) for value in fresh.parameters()} & {id(value) for value in model.parameters()}:
        raise InputError("fresh: gave the model that is trained; pass a function that builds a new network each time")
    return fresh.cpu().float()


def _reset_copy(model: nn.Module) -> nn.Module:
    """Return a copy in main memory whose modules drew their own parameters."""
    for name, module in model.named_modules():
        own = any(value.requires_grad for value in module.parameters(recurse=False))
        if own and not _resets(module):
            raise InputError(
                f"fresh: missing; {name or 'the model'} ({type(module).__name__}) has no reset_parameters() to draw its parameters, so a "
                "function is needed that builds a freshly initialised network"
            )
    try:
        fresh = copy.deepcopy(model)
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise InputError(
            f"fresh: missing; the model cannot be copied ({line}), so a function is needed that builds a freshly initialised network"
        ) from None
    return fresh.cpu().float().apply(_reset)


def _reset(module: Any) -> None:
    if _resets(module):
        module.reset_parameters()


def _resets(module: nn.Module) -> bool:
    # Asked of the class: a compiled part passes on what it is asked, and would be reset twice.
    return callable(getattr(type(module), "reset_parameters", None))
