"""What the callbacks of trainers have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from fptlib.errors import InputError
from fptlib.hooks.perturber import Perturber
from fptlib.hooks.single import Optimisers


class Pending:
    """Perturbs a network when the next epoch begins, so that the checkpoints of an epoch hold the network that was evaluated."""

    _resumed = ""  # what else it may be, in training that resumes

    def __init__(self, perturber: Perturber, *, monitor: str | None = None) -> None:
        if (monitor is None) == perturber.takes_metric:
            where = "where the perturber has a threshold or goes back to the best epoch, and only there"
            raise InputError(f"monitor: name the metric {where}")
        self.perturber, self.monitor = perturber, monitor
        # The epoch last validated and its metric: taken note of when the epoch is over, since it may be validated again.
        self._validated: tuple[int, float] = (0, 0.0)

    def _show(self, epoch: int, model: nn.Module, optimizer: Optimisers) -> None:
        if (self.perturber.epoch or 0) > epoch:
            raise InputError(f"perturber: has seen epoch {self.perturber.epoch} of another training; make one for each")
        self.perturber.watch(model, optimizer)

    def _note(self, epoch: int, metrics: Mapping[str, Any]) -> None:
        if (value := metrics.get(str(self.monitor))) is None:
            known = ", ".join(sorted(metrics)) or "nothing"
            raise InputError(f"monitor: no {self.monitor!r} is logged in validation; there is {known}")
        self._validated = epoch, float(value)

    def _finish(self, epoch: int) -> None:
        if epoch and self._validated[0] == epoch:
            self.perturber.observe(*self._validated)

    def _begin(self, epoch: int, model: nn.Module, optimizer: Optimisers) -> None:
        """Perturb after this epoch, if it is time and was not done."""
        validated, metric = self._validated
        if epoch > (self.perturber.epoch or 0) and (self.monitor is None or validated == epoch):
            self.perturber.step(epoch, model, optimizer, metric=None if self.monitor is None else metric)
        elif epoch > (self.perturber.epoch or 0) and self.perturber.due(epoch):
            why = "it may have passed; validate every epoch that is, at its end, or do without a threshold"
            raise InputError(f"epoch {epoch} is to be perturbed but was not validated: {why}{self._resumed}")

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"perturber": self.perturber.state_dict(), "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.perturber.load_state_dict(state_dict["perturber"])
        self._validated = state_dict["validated"]
