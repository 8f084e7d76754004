"""One network and its optimisers as a stack of one run, and a factor on their learning rates."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Final, final
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from fptlib.errors import InputError
from fptlib.hooks.fresh import Tensors, check_shapes, trained, unwrapped
from fptlib.perturbations import State

Optimisers = torch.optim.Optimizer | Sequence[torch.optim.Optimizer]


def optimisers_of(optimizer: Optimisers) -> list[torch.optim.Optimizer]:
    """Return one optimiser or several as a list, without the wrappers of trainers; an InputError says what is none."""
    given = optimizer if isinstance(optimizer, Sequence) else (optimizer,)
    if not given:
        raise InputError("optimizer: none is given; pass what trains the model")
    for one in given:
        # By what they have: those of other libraries are no subclasses.
        if not hasattr(one, "state") or not hasattr(one, "param_groups"):
            raise InputError(f"optimizer: {type(one).__name__} is no PyTorch optimiser; pass one or several")
    # The wrappers of trainers pass on the state of what they wrap.
    inner = [(one, getattr(one, "optimizer", one)) for one in given]
    return [within if getattr(within, "state", None) is one.state else one for one, within in inner]


def set_momentum(
    optimisers: Sequence[torch.optim.Optimizer], momentum: float | None, *, only_check: bool = False
) -> None:
    """Change the momentum, where there is another one; an InputError says that an optimiser is not SGD."""
    for group in (group for one in optimisers if momentum is not None for group in one.param_groups):
        if not {"momentum", "dampening"} <= group.keys():
            raise InputError("optimizer: only SGD's momentum can be changed; leave momentum out")
        group["momentum"] = group["momentum"] if only_check else momentum


@final
class Training:
    """A network and what trains it, one optimiser or several, also in wrappers; an InputError says why that cannot be perturbed."""

    def __init__(self, model: nn.Module, optimizer: Optimisers) -> None:
        self.network = unwrapped(model)
        self.optimisers = optimisers_of(optimizer)
        self.groups = [group for one in self.optimisers for group in one.param_groups]
        check_shapes(self.network, "model")
        if not any(value.requires_grad for value in self.network.parameters()):
            raise InputError("model: has no parameter that requires a gradient; there is nothing to perturb")
        held = {id(value) for group in self.groups for value in group["params"]}
        self.parameters, self.buffers = trained(self.network, held)
        self.tensors: Tensors = {**self.parameters, **self.buffers}
        if not self.parameters:
            raise InputError("optimizer: holds no trained parameter of this model; pass the optimiser that trains it")

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rates of all groups of parameters that have one."""
        return tuple(float(group["lr"]) for group in self.groups if group.get("lr") is not None)

    def read(self, factor: float) -> State:
        """Return the state, its learning rate times a factor; nothing is copied but what is in half precision."""
        entries = {key: _rows(one.state[value]) for value, key, one in self._places() if value in one.state}
        return State(_rows(self.parameters), _rows(self.buffers), entries, factor * (self.rates or (1.0,))[0])

    def check_wrappers(self) -> None:
        """Refuse an optimiser that wraps another, whose state would stay where it is to be forgotten."""
        for one in self.optimisers:
            for within in getattr(one, "__dict__", {}).values():
                if isinstance(within, torch.optim.Optimizer) and within.state is not one.state:
                    names = f"{type(one).__name__} wraps {type(within).__name__}, and their states"
                    why = "cannot both be forgotten; pass the one inside or keep them with fresh_optimiser: false"
                    raise InputError(f"optimizer: {names} {why}")

    def unstepped(self) -> dict[int, dict[str, Any]]:
        """Return the state with which the optimisers are made, which is empty for most."""
        made = {}
        for one in self.optimisers:
            known = inspect.signature(type(one)).parameters
            try:
                options = {key: value for key, value in one.defaults.items() if key in known}
                made[id(one)] = type(one)([dict(group) for group in one.param_groups], **options).state
            except Exception as error:
                why = f"cannot be made anew ({error}) to forget its state; keep it with fresh_optimiser: false"
                raise InputError(f"optimizer: {type(one).__name__} {why}".replace("\n", " ")) from None
        return {key: _rows(made[id(one)][value]) for value, key, one in self._places() if value in made[id(one)]}

    @torch.no_grad()
    def write(self, old: State, new: State) -> None:
        """Change network and optimisers, in place, from the state that was read to another; the learning rates stay."""
        set_momentum(self.optimisers, new.momentum)
        layers = [m for m in self.network.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        rows = [(m.weight, m.padding_idx) for m in layers if m.padding_idx is not None]
        padding = [(weight, place, weight[place].clone()) for weight, place in rows]
        _copy(self.parameters, old.parameters, new.parameters)
        _copy(self.buffers, old.buffers, new.buffers)
        for weight, place, value in padding:  # no gradient reaches it
            weight[place] = value
        for parameter, key, one in self._places():
            entries = one.state.pop(parameter, {})
            if key in new.optimiser:
                _copy(entries, old.optimiser.get(key, {}), new.optimiser[key])
                one.state[parameter] = {name: entries[name] for name in new.optimiser[key]}

    def _places(self) -> list[tuple[nn.Parameter, int, torch.optim.Optimizer]]:
        """Return trained parameters, their keys in `State.optimiser`, as an optimiser of all parameters has them, and their optimisers."""
        keys = {id(value): key for key, value in enumerate(self.network.parameters())}
        mine = {id(value) for value in self.parameters.values()}
        held = [(value, one) for one in self.optimisers for group in one.param_groups for value in group["params"]]
        return [(value, keys[id(value)], one) for value, one in held if id(value) in mine]


def row(value: Any) -> Any:
    """Return a tensor as one run of a stack, complex numbers as pairs and half precision as single; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    value = torch.view_as_real(value.detach()) if value.is_complex() else value.detach()
    return (value.float() if value.is_floating_point() and value.element_size() < 4 else value)[None]


def _rows(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row(value) for name, value in values.items()}


def _copy(mine: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    for name, value in new.items():
        if name not in mine or not isinstance(value, Tensor):
            mine[name] = value[0].clone() if isinstance(value, Tensor) else value
        elif value is not old.get(name):
            (torch.view_as_real(mine[name]) if mine[name].is_complex() else mine[name]).copy_(value[0])


@final
class RateFactor:
    """A factor that is on the learning rates while an optimiser takes a step, and only then: no scheduler and no checkpoint sees it."""

    def __init__(self) -> None:
        self.value, self.used = 1.0, False
        self._own: dict[int, list[Any]] = {}  # the rates without it, during a step

    def attach(self, optimisers: Sequence[torch.optim.Optimizer]) -> None:
        """Act on all steps from now on; an InputError names an optimiser that does not let it."""
        for one in optimisers:
            without = any(group.get("lr") is None for group in one.param_groups)
            if without or not hasattr(one, "_optimizer_step_pre_hooks"):
                why = "does not let its learning rate be changed for a step; use an optimiser of PyTorch"
                raise InputError(f"optimizer: {type(one).__name__} {why}")
            if _FACTORS.get(one) not in (None, self):
                raise InputError("optimizer: another hook changes its learning rate; make a new optimiser")
            if not self.acts_on([one]):
                one.register_step_pre_hook(self._before)
                one.register_step_post_hook(self._after)
                _FACTORS[one] = self

    def acts_on(self, optimisers: Sequence[torch.optim.Optimizer]) -> bool:
        """Test whether the factor is on the steps of all these optimisers."""
        return all(_FACTORS.get(one) is self for one in optimisers)

    def _before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        self._after(optimizer)  # of a step that failed, or of the subclass whose parent takes this one
        self.used = True
        if self.value != 1:
            self._own[id(optimizer)] = [group["lr"] for group in optimizer.param_groups]
            for group in optimizer.param_groups:
                group["lr"] = group["lr"] * self.value  # not in place: groups may share a tensor

    def _after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for group, rate in zip(optimizer.param_groups, self._own.pop(id(optimizer), []), strict=False):
            group["lr"] = rate


_FACTORS: Final[WeakKeyDictionary[torch.optim.Optimizer, RateFactor]] = WeakKeyDictionary()
