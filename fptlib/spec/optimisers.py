"""Kinds of optimisers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fptlib.spec.values import NonNegative, Number, Part, Positive


class OptimiserSpec(Part):
    """What every optimiser has: a name, a learning rate and a weight decay, with PyTorch's meaning."""

    name: str
    lr: Positive
    weight_decay: NonNegative = 0.0


class SgdSpec(OptimiserSpec):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    lr: Positive = 0.1
    momentum: Annotated[Number, Field(ge=0, lt=1)] = 0.0


class AdamSpec(OptimiserSpec):
    """Adam (Kingma & Ba 2015); weight decay is added to the gradient."""

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3


class AdamWSpec(OptimiserSpec):
    """AdamW (Loshchilov & Hutter 2019); weight decay acts on the parameters directly."""

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    weight_decay: NonNegative = 1e-2
