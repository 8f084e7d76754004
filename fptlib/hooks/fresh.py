"""The trained tensors of any PyTorch module, and those of a fresh initialisation of it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

from fptlib.errors import InputError

Tensors = dict[str, Tensor]
Factory = Callable[[], nn.Module]
# What PyTorch's own modules call it; the second is that of attention and of transformers.
_RESETS = ("reset_parameters", "_reset_parameters")
_INITIALISERS = {name for name in dir(nn.init) if name.endswith("_") and not name.startswith("_")}


def unwrapped(model: nn.Module) -> nn.Module:
    """The module inside `torch.compile` and data-parallel wrappers."""
    while True:
        inner = model.module if isinstance(model, DataParallel | DistributedDataParallel) else None
        inner = getattr(model, "_orig_mod", inner)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def trained(model: nn.Module) -> tuple[dict[str, nn.Parameter], Tensors]:
    """Parameters that require a gradient, and buffers, by name; what is shared by several modules comes once.

    Frozen parameters are left out, and so are the buffers of a module all of whose own parameters are frozen.
    """
    parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
    buffers: Tensors = {}
    frozen = {name for name, module in model.named_modules() if _is_frozen(module)}
    for name, value in model.named_buffers():
        if name.rpartition(".")[0] not in frozen:
            buffers[name] = value
    return parameters, buffers


def _is_frozen(module: nn.Module) -> bool:
    own = list(module.parameters(recurse=False))
    return bool(own) and not any(value.requires_grad for value in own)


def draw(model: nn.Module, *, seed: int, factory: Factory | None = None) -> tuple[Tensors, Tensors]:
    """Parameters and buffers of a fresh initialisation, as `trained` names them, on the CPU in single precision.

    Parameters
    ----------
    model
        The network; it is left as it is.
    seed
        The initialisation is a function of this alone. PyTorch's random numbers are as before afterwards.
    factory
        Builds a new network; its random numbers are PyTorch's, drawn on the CPU. Without it a copy of ``model`` is asked,
        from the innermost modules outwards, to ``reset_parameters``.

    Raises
    ------
    InputError
        If a trained parameter is not drawn afresh, a class initialises its layers elsewhere than in ``reset_parameters``, or the
        factory builds another network.
    """
    parameters, buffers = trained(model)
    with _random_numbers(seed):
        fresh = _reset_copy(model) if factory is None else _built(model, factory)
    known = {_plain(name): value.detach() for name, value in (*fresh.named_parameters(), *fresh.named_buffers())}
    for name, value in (*parameters.items(), *buffers.items()):
        drawn = known.get(_plain(name))
        if drawn is None or drawn.shape != value.shape:
            there = "nothing of this name" if drawn is None else f"shape {tuple(drawn.shape)}"
            raise InputError(
                f"fresh: the new network has {there} where the model has {name} of shape {tuple(value.shape)}; "
                "build the network that is trained"
            )
    return {n: _single(known[_plain(n)]) for n in parameters}, {n: _single(known[_plain(n)]) for n in buffers}


@contextmanager
def _random_numbers(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        # Other than `torch.manual_seed`, this leaves the random numbers of other devices alone.
        torch.default_generator.manual_seed(seed)
        yield


def _single(value: Tensor) -> Tensor:
    return value.detach().float() if value.is_floating_point() else value.detach()


def _plain(name: str) -> str:
    """A name without the marks of compiled parts."""
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
    """A copy in main memory whose trained parameters were drawn by its own modules."""
    for module in model.modules():
        initialiser = _initialiser(type(module))
        if initialiser is not None:
            raise InputError(
                f"model: {type(module).__name__} draws its parameters in its own way ({initialiser}); let it do so in "
                "reset_parameters(), or pass fresh=, a function that builds a new network"
            )
    # Trained parameters start as NaN: whatever no module redraws, or only changes, gives itself away. They stand in for the
    # model's own tensors while it is copied, so that nothing is copied on a GPU and shared parameters stay shared.
    memo: dict[int, object] = {}
    for parameter in model.parameters():
        value = _single(parameter).to("cpu", copy=True)
        if parameter.requires_grad:
            value.fill_(math.nan)
        memo[id(parameter)] = nn.Parameter(value, requires_grad=parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = _single(buffer).to("cpu", copy=True)
    try:
        fresh = copy.deepcopy(model, memo)
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise InputError(
            f"model: cannot be copied ({line}); pass fresh=, a function that builds a new network"
        ) from None
    fresh.apply(_reset)
    for name, value in trained(fresh)[0].items():
        if value.isnan().any():
            owner = fresh.get_submodule(name.rpartition(".")[0])
            raise InputError(
                f"model: {name} is not redrawn by {type(owner).__name__} or what holds it; give its class "
                "reset_parameters(), or pass fresh=, a function that builds a new network"
            )
    return fresh


def _initialiser(kind: type[nn.Module]) -> str | None:
    """A function of `torch.nn.init` that a class of modules uses and that resetting its modules would leave out."""
    for base in kind.__mro__:
        if base is nn.Module or any(name in vars(base) for name in _RESETS):
            return None
        for name, member in vars(base).items():
            code = getattr(getattr(member, "__func__", member), "__code__", None)
            used = set() if code is None or name == "forward" else _INITIALISERS.intersection(_names(code))
            if used:
                return min(used)
    return None


def _names(code: CodeType) -> Iterator[str]:
    """Names that a function uses, and those that functions inside it use."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _reset(module: nn.Module) -> None:
    for name in _RESETS:
        # Asked of the class: a compiled part passes on what it is asked, and would be reset twice.
        if callable(getattr(type(module), name, None)):
            getattr(module, name)()
            return
