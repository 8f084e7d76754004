"""An optimiser of one's own, named under ``uses`` in `params/ensembles/digits_diffgrad.yml`."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from fptlib.ensemble import optimisers


@optimisers.rule("diffgrad")
class DiffGrad(torch.optim.Optimizer):
    """Adam with a friction that slows a parameter down where its gradient hardly changes (diffGrad).

    With gradients ``g_t`` and ``g_0 = 0``, every entry by itself::

        m_t  = beta_1 m_{t-1} + (1 - beta_1) g_t
        v_t  = beta_2 v_{t-1} + (1 - beta_2) g_t^2
        xi_t = 1 / (1 + exp(-|g_{t-1} - g_t|))
        theta_t = theta_{t-1} - lr xi_t (m_t / (1 - beta_1^t)) / (sqrt(v_t / (1 - beta_2^t)) + eps)

    The friction coefficient ``xi_t`` lies between 1/2, for a gradient that stays what it was, and 1, where this is Adam.

    Parameters
    ----------
    params
        What is to be trained.
    lr
        Learning rate.
    betas
        Decay of the means of the gradient and of its square in a step.
    eps
        Added to the root of the mean square.
    weight_decay
        Times the parameter, added to the gradient.

    References
    ----------
    S. R. Dubey, S. Chakraborty, S. K. Roy, S. Mukherjee, S. K. Singh and B. B. Chaudhuri, "diffGrad: An Optimization Method
    for Convolutional Neural Networks", IEEE Transactions on Neural Networks and Learning Systems 31, 4500 (2020),
    arXiv:1909.11015, Section III.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step of every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._step(parameter, parameter.grad, **{k: v for k, v in group.items() if k != "params"})

    def _step(
        self,
        parameter: Tensor,
        gradient: Tensor,
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ) -> None:
        kept = self.state[parameter]
        if not kept:
            kept.update(step=0, mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter))
            kept["last"] = torch.zeros_like(parameter)
        if weight_decay:
            gradient = gradient + weight_decay * parameter
        kept["step"] += 1
        kept["mean"].lerp_(gradient, 1 - betas[0])
        kept["square"].mul_(betas[1]).addcmul_(gradient, gradient, value=1 - betas[1])
        friction = torch.sigmoid((kept["last"] - gradient).abs())
        mean = kept["mean"] / (1 - betas[0] ** kept["step"])
        root = (kept["square"] / (1 - betas[1] ** kept["step"])).sqrt()
        parameter.sub_(lr * friction * mean / (root + eps))
        kept["last"].copy_(gradient)
