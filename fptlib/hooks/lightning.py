"""Perturb a network that Lightning trains, or drop its learning rate once its loss has settled."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, final

from fptlib.errors import InputError
from fptlib.hooks.drop import Dropping
from fptlib.hooks.pending import Pending

if TYPE_CHECKING or find_spec("lightning") is not None:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer


@final
class PerturbCallback(Pending, Callback):
    """A `Perturber` for Lightning's trainer, with ``monitor`` the name of a metric logged in validation if it takes one.

    An InputError says that a metric is missing or an epoch to be perturbed not validated, or that the strategy splits the parameters.

    Epochs count from 1: with period 5 the first perturbation follows what Lightning calls epoch 4. ``trainer.fit(..., ckpt_path=...)``
    resumes to the same trajectory from a checkpoint of any epoch or step, as far as the training itself does, and forks unperturbed
    training. Several optimisers are perturbed as one. With several GPUs all do the same.

    >>> from fptlib.hooks import Perturber
    >>> perturber = Perturber("shrink_perturb", period=20, threshold=0.94)
    >>> callbacks = [PerturbCallback(perturber, monitor="val_accuracy")]  # Trainer(callbacks=callbacks, ...)
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Inspect the network; refuse strategies that give each device a part of the parameters."""
        for kind in type(trainer.strategy).__mro__:  # by name: the same package is installed under two
            if kind.__name__ in ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy"):
                why = "splits the parameters, and a perturbation needs all of them; use one device or DDP"
                raise InputError(f"strategy: {kind.__name__} {why}")
        self._show(trainer.current_epoch, pl_module, trainer.optimizers)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch's metric."""
        if self.monitor is not None and not trainer.sanity_checking and trainer.state.fn == "fit":
            # One process decides for all, whose networks must stay the same.
            self._note(trainer.current_epoch + 1, trainer.strategy.broadcast(dict(trainer.callback_metrics)))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record the epoch's metric."""
        self._finish(trainer.current_epoch + 1)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Perturb before the first batch of an epoch, if a perturbation is due."""
        if batch_idx == 0:  # not at the start of the epoch: training that resumes from the end of one may skip that
            self._begin(trainer.current_epoch, pl_module, trainer.optimizers)


@final
class DropCallback(Dropping, Callback):
    """A `DropWhenSettled` for Lightning's trainer, with ``monitor`` the name of a loss that is logged for each epoch, or an InputError.

    >>> from fptlib.hooks import DropWhenSettled
    >>> callbacks = [DropCallback(DropWhenSettled(factor=0.1), monitor="train_loss")]  # Trainer(callbacks=callbacks, ...)
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Act on the optimisers of this training."""
        self._start(trainer.current_epoch, trainer.optimizers)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the epoch's loss, and drop the rate if it has settled."""
        # One process decides for all.
        self._note(trainer.current_epoch + 1, trainer.strategy.broadcast(dict(trainer.callback_metrics)))
