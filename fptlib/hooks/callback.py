"""Perturb a network that Lightning trains."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, final

from fptlib.errors import InputError
from fptlib.hooks.perturber import Perturber

if TYPE_CHECKING or find_spec("lightning") is not None:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    from pytorch_lightning import Callback, LightningModule, Trainer

# By name: the same package is installed under two.
_SPLITTING: Final = ("DeepSpeedStrategy", "FSDPStrategy", "ModelParallelStrategy")


@final
class PerturbCallback(Callback):
    """A `Perturber` for Lightning's trainer.

    An InputError says that the perturber takes a metric and there is no ``monitor``, or the reverse; in training, that the metric is not
    logged, an epoch to be perturbed is not validated, or the strategy splits the parameters.

    Epochs count from 1: with period 5 the first perturbation follows what Lightning calls epoch 4. ``monitor`` is the name of a metric
    logged in validation, where the perturber has a threshold or its rule goes back to the best epoch.

    The network is perturbed before the first batch of the next epoch, so that the checkpoints of an epoch hold the network that was
    evaluated. ``trainer.fit(..., ckpt_path=...)`` resumes to the same trajectory from a checkpoint of any epoch or step, as far as the
    training itself does; with a checkpoint of unperturbed training it perturbs that one from there: a fork. Several optimisers are
    perturbed as one. With several GPUs all do the same.

    >>> from fptlib.hooks import Perturber
    >>> rule = {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1}
    >>> perturber = Perturber(rule, period=20, threshold=0.94)
    >>> callbacks = [PerturbCallback(perturber, monitor="val_accuracy")]  # Trainer(callbacks=callbacks, ...)
    """

    def __init__(self, perturber: Perturber, *, monitor: str | None = None) -> None:
        if (monitor is None) == perturber.takes_metric:
            raise InputError(
                "monitor: name the metric where the perturber has a threshold or goes back to the best epoch, and only there"
            )
        self.perturber = perturber
        self.monitor = monitor
        # The epoch last validated and its metric: taken note of when the epoch is over, since it may be validated again.
        self._validated: tuple[int, float] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse strategies that give each device a part of the parameters."""
        if any(kind.__name__ in _SPLITTING for kind in type(trainer.strategy).__mro__):
            raise InputError(
                f"strategy: {type(trainer.strategy).__name__} splits the parameters, and a perturbation needs all of them; "
                "use one device or DDP"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the epoch's metric."""
        if self.monitor is None or trainer.sanity_checking or trainer.state.fn != "fit":
            return
        value = trainer.callback_metrics.get(self.monitor)
        if value is None:
            known = ", ".join(sorted(trainer.callback_metrics)) or "nothing"
            raise InputError(f"monitor: no {self.monitor!r} is logged in validation; there is {known}")
        # One process decides for all, whose networks must stay the same.
        self._validated = trainer.current_epoch + 1, float(trainer.strategy.broadcast(value))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take note of the epoch's metric."""
        if self._validated is not None and self._validated[0] == trainer.current_epoch + 1:
            self.perturber.observe(*self._validated)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Perturb before the first batch of an epoch, if it is time."""
        # Not at the start of the epoch: training that resumes from the end of one may skip that.
        epoch = trainer.current_epoch  # the one that is over, counted from 1
        if batch_idx or epoch == 0 or epoch <= (self.perturber.epoch or 0):
            return
        validated, metric = self._validated or (0, 0.0)
        if self.monitor is None or validated == epoch:
            self.perturber.step(epoch, pl_module, trainer.optimizers, metric=None if self.monitor is None else metric)
        elif self.perturber.due(epoch):
            raise InputError(
                f"epoch {epoch} is to be perturbed but was not validated: it may have passed; validate every epoch that is "
                "(check_val_every_n_epoch), or do without a threshold"
            )

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"perturber": self.perturber.state_dict(), "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.perturber.load_state_dict(state_dict["perturber"])
        self._validated = state_dict["validated"]
