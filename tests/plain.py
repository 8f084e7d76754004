"""Training as anyone would write it: the oracle of stacked and compiled training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from fptlib import data, models, spec
from fptlib.ensemble.streams import order, stream
from fptlib.perturbations import ShrinkPerturb


def plain_run(
    requested: spec.EnsembleSpec, run: int, schedule_of: Callable[[torch.optim.Optimizer], Any] | None = None
) -> dict[str, list[float]]:
    """Train one run by an ordinary loop over an ordinary module; only the random numbers are those of the ensemble.

    One of PyTorch's schedulers is stepped after every epoch.
    """
    source = data.load(requested.data)
    model = models.build(requested.model, shape=source.shape, n_classes=source.n_classes)

    def fresh(purpose: Any, epoch: int) -> dict[str, torch.Tensor]:
        generator = stream(requested.seed, run, purpose, epoch)
        return models.run_state(*model.initialise([generator], dtype=torch.float64, device=torch.device("cpu")), run=0)

    network: nn.Module = model.single().double()
    network.load_state_dict(fresh("initial", 0))
    x, y, x_test, y_test = map(torch.from_numpy, (source.x_train, source.y_train, source.x_test, source.y_test))
    x, x_test, regression = x.double(), x_test.double(), source.task == "regression"
    y, y_test = (y.double(), y_test.double()) if regression else (y, y_test)
    section, kick = requested.optimiser, requested.perturbation
    made = getattr(torch.optim, section.TORCH)
    options = {n: getattr(section, n) for n in ("lr", "momentum", "weight_decay") if hasattr(section, n)}
    optimiser = made(network.parameters(), **options)
    schedule = None if schedule_of is None else schedule_of(optimiser)

    def loss_of(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.mse_loss(outputs[:, 0], targets) if regression else functional.cross_entropy(outputs, targets)

    record: dict[str, list[float]] = {"train_loss": [], "test_loss": [], "test_metric": []}
    for epoch in range(1, requested.epochs + 1):
        network.train()
        shown = order(stream(requested.seed, run, "order", epoch), len(y), requested.training)
        seen = 0.0
        for batch in torch.from_numpy(shown).split(requested.training.batch_size):
            loss = loss_of(network(x[batch]), y[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            seen += loss.item() * len(batch)
        if schedule is not None:
            schedule.step()
        with torch.no_grad():
            outputs = network.eval()(x_test)
            error = loss_of(outputs, y_test).item()
        right = (outputs.argmax(1) == y_test).sum().item() / len(y_test)
        record["train_loss"].append(seen / len(shown))
        record["test_loss"].append(error)
        record["test_metric"].append(1 - error / y_test.var(correction=0).item() if regression else right)
        if kick is not None and isinstance(kick.rule, ShrinkPerturb) and epoch % kick.period == 0:
            values = fresh("fresh", epoch)
            with torch.no_grad():
                for name, parameter in network.named_parameters():
                    parameter.copy_(kick.rule.shrink * parameter + kick.rule.perturb * values[name])
            if kick.fresh_optimiser:
                optimiser = made(network.parameters(), **options)
    return record
