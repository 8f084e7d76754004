"""What training changes in a PyTorch module, and fresh initialisations of it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy

from fptlib.errors import InputError
from fptlib.models.initial import otherwise, reset, seeded

Tensors = dict[str, Tensor]
Factory = Callable[[], nn.Module]


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile` and data-parallel wrappers."""
    inner = model.module if isinstance(model, DataParallel | DistributedDataParallel) else None
    inner = getattr(model, "_orig_mod", inner)
    return unwrapped(inner) if isinstance(inner, nn.Module) else model


def plain(name: str) -> str:
    """Return a name without the marks of compiled parts."""
    return name.replace("_orig_mod.", "")


def trained(model: nn.Module, held: set[int]) -> tuple[dict[str, nn.Parameter], Tensors]:
    """Return what training changes, by name: parameters, and buffers; what is shared by several modules comes once.

    Parameters require a gradient and have an `id` among those that optimisers hold. Buffers are floating-point ones that checkpoints
    keep and counters of running averages, of modules whose parameters are trained. One without any goes with the last before it, or
    else the first after it, in the smallest part that has some. Where ``weight`` is a buffer, averages are constants.
    """
    parameters = {n: value for n, value in model.named_parameters() if value.requires_grad and id(value) in held}
    names, buffers = {id(value) for value in parameters.values()}, {}
    modules = dict(model.named_modules())
    own = {module: [id(p) in names for p in module.parameters(recurse=False)] for module in modules.values()}
    for part, module in modules.items():
        parts = [modules[part.rsplit(".", k)[0]] for k in range(part.count(".") + 1)]
        inside = list(next((some for some in parts if any(True for _ in some.parameters())), model).modules())
        place = inside.index(module)
        closest = next((own[some] for some in (*inside[place::-1], *inside[place:]) if own[some]), [])
        constant = {"weight", "running_mean"} <= module._buffers.keys()
        for name, value in module.named_buffers(part, recurse=False) if any(closest) and not constant else ():
            leaf = name.rpartition(".")[2]
            state = value.is_floating_point() or value.is_complex() or leaf == "num_batches_tracked"
            if state and leaf not in module._non_persistent_buffers_set:
                buffers[name] = value
    return parameters, buffers


def draw(model: nn.Module, *, seed: int, factory: Factory | None = None) -> Tensors:
    """Return parameters and buffers of a fresh initialisation by their `plain` names, on the CPU in single precision.

    It is a function of the seed alone, and ``model`` is left as it is. Without a ``factory`` of freshly initialised networks, the layers
    of a copy are asked, from the innermost outwards, to ``reset_parameters``.
    """
    with seeded(seed):
        fresh = _copied(model).apply(reset) if factory is None else _built(model, factory)
    if any(value.is_meta for value in fresh.parameters()):
        raise InputError("fresh: the new network is on the device meta and has no values; build it on the CPU")
    return {plain(n): _single(value) for n, value in (*fresh.named_parameters(), *fresh.named_buffers())}


def like(drawn: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> Tensors:
    """Return the fresh values of trained tensors, by their names; an InputError names one that has none."""
    for name, value in tensors.items():
        new = drawn.get(plain(name))
        if new is None or new.shape != value.shape:
            there = "nothing of this name" if new is None else f"shape {tuple(new.shape)}"
            needed = f"where the model has {name} of shape {tuple(value.shape)}; build the network that is trained"
            raise InputError(f"fresh: the new network has {there} {needed}")
    return {name: drawn[plain(name)] for name in tensors}


def check_shapes(model: nn.Module, argument: str) -> None:
    """Refuse layers that wait for their first batch."""
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(value):
            raise InputError(f"{argument}: {name} is lazy and has no shape yet; run one batch through the network")


def check_factory(model: nn.Module, parameters: Mapping[str, Tensor], factory: Factory) -> Tensors:
    """Return what a factory builds whatever the seed, such as the gains of BatchNorm; refuse one that builds nothing else."""
    first, second, again = (like(draw(model, seed=seed, factory=factory), parameters) for seed in (0, 1, 0))
    if changed := [name for name, value in first.items() if not value.equal(again[name])]:
        why = "is not the same twice under one seed; draw from the global generators of PyTorch, NumPy or random"
        raise InputError(f"fresh: {changed[0]} {why}")
    constants = {name: value for name, value in first.items() if value.equal(second[name])}
    if len(constants) == len(first):
        why = "builds the same values under two seeds, those of the model or one initialisation that is repeated"
        raise InputError(f"fresh: {why}; {_how(model)}, without a seed of its own")
    return constants


def check_initial(model: nn.Module, tensors: Tensors) -> None:
    """Refuse a network whose tensors are not what PyTorch's own layers draw; without a factory nothing else can be drawn."""
    _copied(model)
    if why := otherwise(model, tensors):
        before = "if training began from what layers of torch.nn draw by default, call watch(model, optimizer) before it does"
        raise InputError(f"fresh: missing; {why}; {_how(model)}. Or, {before}")


def _how(model: nn.Module) -> str:
    return f"pass fresh=lambda: {type(model).__name__}(...), which builds the network anew as it was before training"


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module).cpu().float()
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise InputError(f"fresh: missing; the model cannot be copied ({line}); {_how(module)}") from None


def _built(model: nn.Module, factory: Factory) -> nn.Module:
    if isinstance(factory, nn.Module):
        raise InputError(f"fresh: is a network, not a function; {_how(model)}")
    try:
        with torch.enable_grad():  # some initialisations take a step
            fresh = factory()
    except Exception as error:
        line = str(error).partition("\n")[0]
        raise InputError(f"fresh: the function failed, {type(error).__name__}: {line}; {_how(model)}") from error
    if not isinstance(fresh, nn.Module):
        raise InputError(f"fresh: built {type(fresh).__name__}, not a torch.nn.Module; {_how(model)}")
    fresh = unwrapped(fresh)
    if {id(value) for value in fresh.parameters()} & {id(p) for p in model.parameters() if p.requires_grad}:
        raise InputError("fresh: gave the model that is trained; pass a function that builds a new network each time")
    check_shapes(fresh, "fresh")
    return fresh


def _single(value: Tensor) -> Tensor:
    # Not in place: frozen parts may be shared with the network that is trained.
    return value.detach().to("cpu", torch.float32 if value.is_floating_point() else value.dtype, copy=True)
