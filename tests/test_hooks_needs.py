"""Rules that need more than the network, in somebody else's loop: the same training as in an ensemble."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from fptlib import data, ensemble, models, spec
from fptlib.ensemble.streams import stream
from fptlib.errors import InputError
from fptlib.hooks import Perturber
from fptlib.hooks.given import BestSoFar, RateFactor
from fptlib.perturbations import State

SECTIONS: dict[str, dict[str, Any]] = {
    "best": {"name": "restart_from_best", "period": 3, "fresh_optimiser": False},
    "best, fresh": {"name": "restart_from_best", "period": 2},
    "rate": {"name": "rate_bump", "period": 3, "shrink": 0.6, "length": 2},
    "rate, cosine": {"name": "warm_restart", "period": 4, "length": 2, "floor": 0.1},
}


def asked(section: dict[str, Any]) -> spec.EnsembleSpec:
    return spec.EnsembleSpec(
        data={"name": "digits", "train_size": 45, "validation_size": 40},
        model={"name": "mlp", "widths": [9, 8], "normalisation": "batch"},
        optimiser={"name": "sgd", "lr": 0.4, "momentum": 0.8},
        training={"batch_size": 15, "dtype": "float64"},
        perturbation=section,
        runs=8,
        epochs=9,
        seed=11,
        device="cpu",
    )


class Loop:
    """A training in plain PyTorch that a perturber disturbs; only the random numbers are those of the ensemble."""

    def __init__(self, parameters: spec.EnsembleSpec, run: int) -> None:
        self.run, self.epoch, self.losses = run, 0, list[float]()
        source = data.load(parameters.data)
        self._family = models.build(parameters.model, shape=source.shape, n_classes=source.n_classes)
        assert source.x_valid is not None
        parts = [(source.x_train, source.y_train), (source.x_valid, source.y_valid), (source.x_test, source.y_test)]
        self._train, self._valid, self._test = [
            (torch.from_numpy(x).double(), torch.from_numpy(np.asarray(y))) for x, y in parts
        ]
        self.model = self._drawn("initial", 0)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.4, momentum=0.8)
        assert parameters.perturbation is not None
        self.perturber = Perturber(
            parameters.perturbation,
            seed=11,
            run=run,
            fresh=lambda: self._drawn("fresh", self.epoch),
        )

    def _drawn(self, purpose: Any, epoch: int) -> nn.Module:
        rows = self._family.initialise(
            [stream(11, self.run, purpose, epoch)], dtype=torch.float64, device=torch.device("cpu")
        )
        model = self._family.single().double()
        model.load_state_dict(models.run_state(*rows, run=0))
        return model

    def train_to(self, epochs: int) -> None:
        x, y = self._train
        while self.epoch < epochs:
            self.epoch += 1
            self.model.train()
            for batch in torch.from_numpy(stream(11, self.run, "order", self.epoch).permutation(45)).split(15):
                self.optimizer.zero_grad()
                functional.cross_entropy(self.model(x[batch]), y[batch]).backward()
                self.optimizer.step()
            self.model.eval()
            with torch.no_grad():
                self.losses.append(functional.cross_entropy(self.model(self._test[0]), self._test[1]).item())
                right = (self.model(self._valid[0]).argmax(1) == self._valid[1]).double().mean().item()
            metric = right if self.perturber.takes_metric else None
            self.perturber.step(self.epoch, self.model, self.optimizer, metric=metric)

    def saved(self) -> Any:
        """Through a file, as a checkpoint goes."""
        file = io.BytesIO()
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(parts | {"perturber": self.perturber.state_dict()}, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    def go_on_from(self, saved: Any, epoch: int) -> None:
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.perturber.load_state_dict(saved["perturber"])
        self.epoch = epoch


# -- parity


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_plain_loop_is_a_run_of_an_ensemble(tmp_path: Path, kind: str) -> None:
    parameters = asked(SECTIONS[kind])
    trained = ensemble.train(parameters, out=tmp_path, workers=1).metrics["test_loss"]
    for run in (0, 5):
        loop = Loop(parameters, run)
        loop.train_to(9)
        np.testing.assert_allclose(loop.losses, trained[run], rtol=1e-8)


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_resumed_training_is_the_same(kind: str) -> None:
    whole = Loop(asked(SECTIONS[kind]), 2)
    whole.train_to(9)
    for epoch in (1, 4, 5):
        first, second = (Loop(asked(SECTIONS[kind]), 2) for _ in range(2))
        first.train_to(epoch)
        second.go_on_from(first.saved(), epoch)
        second.train_to(9)
        assert second.losses == whole.losses[epoch:]


# -- the best epoch


def noted(direction: Any, metrics: list[float]) -> list[int]:
    best, kept = BestSoFar(direction), []
    for epoch, metric in enumerate(metrics, start=1):
        best.note(metric, State({"epoch": torch.tensor([epoch])}, {}, {}, 0.1))
        assert best.state is not None
        kept.append(int(best.state.parameters["epoch"]))
    return kept


def test_best_is_the_first_of_the_best_by_the_direction() -> None:
    metrics = [math.nan, 0.5, 0.5, math.nan, 0.2, 0.7, 0.7]
    assert noted("above", metrics) == [1, 2, 2, 2, 2, 6, 6]
    assert noted("below", metrics) == [1, 2, 2, 2, 5, 5, 5]
    assert noted("above", [-1.0, 0.0, -0.5]) == [1, 2, 2]


# -- learning rates


def test_a_factor_goes_on_top_of_what_a_scheduler_does() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    halves = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    factor, seen = RateFactor(), []
    for value in (0.25, 0.5, 1.0):
        factor.set([optimizer], value)
        optimizer.step()
        halves.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.8 * 0.25 / 2, 0.8 * 0.5 / 4, 0.8 / 8])


def test_a_rate_comes_back_exactly() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    factor = RateFactor()
    for value in (0.3, 0.0, 0.7, 1.0):
        factor.set([optimizer], value)
    assert optimizer.param_groups[0]["lr"] == 0.1


# -- what is refused


def test_what_is_missing_is_named() -> None:
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: Perturber("full_reset"), "perturbation.period: missing"),
    ]
    for build, message in cases:
        with pytest.raises(InputError, match=message):
            build()
    model = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(InputError, match="metric: missing at epoch 1; to find the best epoch each step needs"):
        Perturber("restart_from_best", period=2, seed=0).step(1, model, optimizer)
    bump = Perturber("rate_bump", period=1, repeat="once", seed=0)
    bump.step(1, model, optimizer)
    with pytest.raises(InputError, match="epoch: 3 comes after 1, but the rule sets the learning rate of every epoch"):
        bump.step(3, model, optimizer)
    with pytest.raises(InputError, match=r"period: 4 here but 5 in the checkpoint"):
        Perturber("full_reset", seed=0, period=4).load_state_dict(
            Perturber("full_reset", seed=0, period=5).state_dict()
        )
