"""Perturb somebody else's training loop: one network, by the same rules as in the ensembles.

`Perturber` is called once for each epoch of a loop in plain PyTorch; `PerturbCallback` does that in Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fptlib.errors import InputError
from fptlib.hooks.perturber import Perturber

if TYPE_CHECKING:
    from fptlib.hooks.callback import PerturbCallback

__all__ = ["PerturbCallback", "Perturber"]


def __getattr__(name: str) -> Any:
    if name != "PerturbCallback":
        raise AttributeError(f"module 'fptlib.hooks' has no attribute {name!r}")
    try:
        return import_module("fptlib.hooks.callback").PerturbCallback
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("lightning", "pytorch_lightning"):
            raise
        raise InputError("PerturbCallback needs Lightning: pip install 'fptlib[lightning]'") from None
