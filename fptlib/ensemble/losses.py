"""Losses and metrics: cross-entropy and accuracy of classes, squared error and R2 of numbers.

The type of the targets says which is meant: classes are whole numbers, the targets of regression are not.
"""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION
from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def per_example(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of each example, in single precision at least, shape of ``targets``: ``(...)``.

    The outputs of the network have shape ``(..., classes)``, or ``(..., 1)`` for regression.
    """
    outputs = outputs.float() if outputs.dtype in (torch.float16, torch.bfloat16) else outputs
    if targets.is_floating_point():
        return (outputs.squeeze(-1) - targets).square()
    return functional.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none").view(targets.shape)


def hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """Count the right classes along the last axis of ``targets``, which are as for `per_example`; 0 for regression."""
    if targets.is_floating_point():
        return torch.zeros(targets.shape[:-1], dtype=torch.int64, device=targets.device)
    return (outputs.argmax(dim=-1) == targets).sum(dim=-1)


def metric(loss: Tensor, right: Tensor, targets: Tensor) -> Tensor:
    """Return accuracy, or R2, of each run, float64, from its mean loss, its hits and the targets ``(examples,)``.

    R2 = 1 - sum of (y - f)**2 / sum of (y - mean of y)**2 over the examples evaluated: 1 where all are met, 0 for the mean of the
    targets themselves.
    """
    if targets.is_floating_point():
        return 1 - loss / targets.to(torch.float64).var(correction=0)
    return right.to(torch.float64) / len(targets)
