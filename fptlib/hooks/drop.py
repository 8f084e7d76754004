"""Drop the learning rate of one training run once its loss has settled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch

from fptlib.errors import InputError
from fptlib.hooks.single import Optimisers, RateFactor, optimisers_of, set_momentum
from fptlib.parameters import build
from fptlib.perturbations import RateDrop
from fptlib.settling import WINDOW, settled


@final
class DropWhenSettled:
    """Apply `RateDrop` to one training run, once, when its loss has settled, see `fptlib.settling.settled`.

    Parameters
    ----------
    optimizer
        What trains the network, one optimiser or several; callbacks pass it to `attach` when training begins.
    factor
        On the learning rate, above 0. With 1 it stays, and `step` says when to do something else, such as `Perturber.perturb`.
    momentum
        That of SGD from the drop on, from 0 to below 1; by default it stays.
    window
        Epochs that the decision rests on, about twice the time in which the loss falls by a factor of e.

    Notes
    -----
    As for a `Perturber`, any scheduler composes with the factor; ``param_groups[0]["lr"]`` goes on showing the rate without it.
    To resume, load the optimiser and the hook.

    >>> import torch
    >>> drop = DropWhenSettled(torch.optim.SGD([torch.nn.Parameter(torch.ones(()))], lr=0.5), window=5)
    >>> [drop.step(loss) for loss in (5, 4, 3, 2, 1, 1.1, 1, 1.1, 1)], drop.epoch  # after each epoch
    ([False, False, False, False, False, False, False, True, False], 8)
    """

    def __init__(
        self,
        optimizer: Optimisers | None = None,
        *,
        factor: float = 0.1,
        momentum: float | None = None,
        window: int = WINDOW,
    ) -> None:
        settled([], window=window)  # which says if it is impossible
        self.rule: RateDrop = build(RateDrop, {"factor": factor, "momentum": momentum}, "")
        self.window, self.losses = window, list[float]()
        self.epoch: int | None = None
        self._rate, self._optimisers = RateFactor(), list[torch.optim.Optimizer]()
        if optimizer is not None:
            self.attach(optimizer)

    def attach(self, optimizer: Optimisers) -> None:
        """Act on the steps of these optimisers; an InputError names one that does not let its rate or its momentum be changed."""
        optimisers = optimisers_of(optimizer)
        set_momentum(optimisers, self.rule.momentum, only_check=True)
        self._rate.attach(optimisers)
        self._optimisers = optimisers
        self._act()

    def step(self, loss: float) -> bool:
        """Take note of the loss of the epoch that is over, and return whether the rate drops now; call it once after every epoch."""
        if not self._optimisers:
            raise InputError("optimizer: none is given; pass it to DropWhenSettled or to attach")
        self.losses.append(float(loss))
        if now := self.epoch is None and bool(settled(self.losses[-self.window :], window=self.window)[-1]):
            self.epoch = len(self.losses)
            self._act()
        return now

    def state_dict(self) -> dict[str, Any]:
        """Return what resumed training needs, as plain values that ``torch.load(weights_only=True)`` reads."""
        return {"losses": list(self.losses), "epoch": self.epoch}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state_dict`."""
        if set(state) != set(self.state_dict()):
            raise InputError(f"state: has {', '.join(state)}; what DropWhenSettled.state_dict gave is needed")
        self.losses, self.epoch = list(state["losses"]), state["epoch"]
        self._act()

    def _act(self) -> None:
        if self.epoch is not None:
            self._rate.value = self.rule.factor
            set_momentum(self._optimisers, self.rule.momentum)


class Dropping:
    """What the callbacks of trainers have in common: they take note of one loss for each epoch."""

    def __init__(self, drop: DropWhenSettled, *, monitor: str = "loss") -> None:
        self.drop, self.monitor = drop, monitor
        self._epoch: int | None = None  # whose loss was the last one

    def _start(self, epoch: int, optimizer: Optimisers) -> None:
        if self._epoch not in (None, epoch) or (self._epoch is None and self.drop.losses):
            why = "make one for each training, and save checkpoints when the epoch and its validation are over"
            raise InputError(f"drop: has not seen epoch {epoch} of this training last; {why}")
        self._epoch = epoch
        self.drop.attach(optimizer)

    def _note(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        if (value := metrics.get(self.monitor)) is None:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise InputError(f"monitor: no {self.monitor!r} is logged at the end of epoch {epoch}; there is {known}")
        self.drop.step(value)
        self._epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"drop": self.drop.state_dict(), "epoch": self._epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.drop.load_state_dict(state_dict["drop"])
        self._epoch = state_dict["epoch"]
