"""Perturb a network that the Trainer of Hugging Face trains, or drop its learning rate once its loss has settled."""

from __future__ import annotations

import base64
import io
from typing import Any, Final, final

import torch
from transformers import TrainerCallback

from fptlib.errors import InputError
from fptlib.hooks.drop import Dropping
from fptlib.hooks.pending import Pending

# Where checkpoints keep what callbacks need. No name of a class: a Trainer that restores callbacks would make one.
_KEY: Final = "fptlib.hooks"
_DROP: Final = "fptlib.hooks.drop"


@final
class PerturbTrainerCallback(Pending, TrainerCallback):
    """A `Perturber` for the Trainer of Hugging Face, with ``monitor`` the name of an evaluated metric, ``eval_...``, if it takes one.

    An InputError says that a metric is missing or an epoch to be perturbed not evaluated at its end, that epochs cannot be counted, or
    that the parameters are split. Without a seed of its own the perturber takes the training's. It resumes from any checkpoint.

    >>> from fptlib.hooks import Perturber
    >>> perturber = Perturber("shrink_perturb", period=20, threshold=0.94)
    >>> callbacks = [PerturbTrainerCallback(perturber, monitor="eval_accuracy")]  # Trainer(callbacks=callbacks, ...)
    """

    _resumed = '; or the checkpoint was saved before it was: use save_strategy="epoch"'
    _running = False
    _evaluated: Any = None  # last values of all metrics

    def on_train_begin(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Resume from a checkpoint, and inspect the network."""
        if args.deepspeed or args.fsdp:
            raise InputError("args: FSDP and DeepSpeed split the parameters, and a perturbation needs all; use DDP")
        if not self.perturber.has_own_seed:
            self.perturber.seed = args.seed
        if kept := _kept(state, _KEY):
            self.load_state_dict(kept)
        self._show(int(state.epoch), training["model"], training["optimizer"])
        self._running = True

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Perturb if a perturbation is due."""
        if epoch := _over(state):
            if self.monitor and self._evaluated and self.monitor not in self._evaluated:
                self._note(epoch, self._evaluated)  # which says so
            self._begin(epoch, training["model"], training["optimizer"])
        self._keep(state)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Refuse epochs that cannot be counted."""
        if not _over(state) and not control.should_training_stop:
            raise InputError(f"epochs: one ended at {state.epoch:.6g}; data of known length and whole ones are needed")

    def on_evaluate(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Keep the metric, at the end of an epoch; there may be several sets of data."""
        self._evaluated = {**(self._evaluated or {}), **training["metrics"]}
        if self._running and _over(state) and self.monitor in training["metrics"]:
            self._note(_over(state), training["metrics"])
            self._keep(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Take note of the last metric; what is evaluated later may be another network."""
        self._finish(_over(state))
        self._running = False

    def _keep(self, state: Any) -> None:
        _keep(state, _KEY, self.state_dict())


@final
class DropTrainerCallback(Dropping, TrainerCallback):
    """A `DropWhenSettled` for the Trainer of Hugging Face, with ``monitor`` a loss that is logged at the end of every epoch.

    The training loss needs ``logging_strategy="epoch"``, and one of an evaluation, ``eval_...``, ``eval_strategy="epoch"``; an InputError
    says that it was not logged. Training resumes from the checkpoint of an epoch.

    >>> from fptlib.hooks import DropWhenSettled
    >>> callbacks = [DropTrainerCallback(DropWhenSettled(factor=0.1))]  # Trainer(callbacks=callbacks, ...)
    """

    def on_train_begin(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Resume from a checkpoint, and act on the optimiser of this training."""
        if not self.monitor.startswith("eval_") and args.logging_strategy != "epoch":
            why = 'within epochs; logging_strategy="epoch" is needed, or a monitor that begins with eval_'
            raise InputError(f"monitor: {self.monitor!r} is logged {why}")
        if kept := _kept(state, _DROP):
            self.load_state_dict(kept)
        self._start(int(state.epoch), training["optimizer"])

    def on_log(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Take note of the loss at the end of an epoch, and drop the rate if it has settled."""
        if self._epoch is not None and _over(state) > self._epoch and self.monitor in training["logs"]:
            self._note(_over(state), training["logs"])
            _keep(state, _DROP, self.state_dict())

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **training: Any) -> None:
        """Refuse to go on without the loss of an epoch."""
        if _over(state) > (self._epoch or 0):
            self._note(_over(state), state.log_history[-1] if state.log_history else {})  # which says what there is


def _over(state: Any) -> int:
    """Return the number of epochs that are over; 0 within one."""
    epoch = state.epoch or 0.0  # before training there is none
    return round(epoch) if abs(epoch - round(epoch)) < 1e-6 else 0


def _keep(state: Any, key: str, values: dict[str, Any]) -> None:
    torch.save(values, file := io.BytesIO())
    state.stateful_callbacks[key] = base64.b64encode(file.getvalue()).decode()


def _kept(state: Any, key: str) -> Any:
    kept = state.stateful_callbacks.get(key)
    return kept and torch.load(io.BytesIO(base64.b64decode(kept)), weights_only=True)
