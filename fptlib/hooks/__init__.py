"""Perturb one network in your own training loop, by the same rules as in the ensembles.

`Perturber` is called once for each epoch of a loop in plain PyTorch, `PerturbCallback` does that in Lightning, and
`PerturbTrainerCallback` in the Trainer of Hugging Face. `DropWhenSettled`, `DropCallback` and `DropTrainerCallback` wait for the loss to
settle and drop the learning rate.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fptlib.errors import InputError
from fptlib.hooks.drop import DropWhenSettled
from fptlib.hooks.perturber import Perturber

if TYPE_CHECKING:
    from fptlib.hooks.hugging_face import DropTrainerCallback, PerturbTrainerCallback
    from fptlib.hooks.lightning import DropCallback, PerturbCallback

_MODULE = {"DropCallback": "lightning", "DropTrainerCallback": "hugging_face"}
_MODULE |= {"PerturbCallback": "lightning", "PerturbTrainerCallback": "hugging_face"}
__all__ = ["DropCallback", "DropTrainerCallback", "DropWhenSettled", "PerturbCallback", "PerturbTrainerCallback", "Perturber"]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'fptlib.hooks' has no attribute {name!r}")
    try:
        return getattr(import_module(f"fptlib.hooks.{_MODULE[name]}"), name)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("lightning", "pytorch_lightning", "transformers", "accelerate"):
            raise
        packages = "'fptlib[lightning]'" if _MODULE[name] == "lightning" else "transformers accelerate"
        raise InputError(f"{name} needs more than PyTorch: pip install {packages}") from None
