"""SGD that sums, entry by entry, what the fluctuation-dissipation relation of the weights compares: ``w u`` and ``u^2``."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fptlib.ensemble import optimisers


@optimisers.rule("summing_sgd")
class SummingSgd(torch.optim.Optimizer):
    """Plain SGD; the update of ``w`` is ``-lr u``, and ``work`` and ``square`` are the sums of ``w u`` and ``u^2`` since the start."""

    def __init__(self, params: Iterable[Tensor], lr: float = 0.1, weight_decay: float = 0.0) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    kept = self.state[w]
                    if not kept:
                        kept.update(work=torch.zeros_like(w), square=torch.zeros_like(w))
                    u = w.grad.add(w, alpha=group["weight_decay"])
                    kept["work"].addcmul_(w, u)
                    kept["square"].addcmul_(u, u)
                    w.add_(u, alpha=-group["lr"])
