"""Perturbing one network in somebody else's training loop."""

from __future__ import annotations

import copy
import io
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from fptlib import data, ensemble, models, spec
from fptlib.ensemble.streams import stream
from fptlib.errors import InputError
from fptlib.hooks import Perturber
from fptlib.hooks.fresh import draw
from fptlib.parameters import kinds_of
from fptlib.perturbations import Context, FullReset, PartialReset, Perturbation, Schedule, ShrinkPerturb, State, rule
from known import same, small

KICK = ShrinkPerturb(shrink=0.4, perturb=0.1)
RULES = [KICK, ShrinkPerturb(0.4, 0.1, "state"), FullReset(), PartialReset(0.7)]


def layers() -> nn.Sequential:
    """Return a convolution, two kinds of normalisation and two layers."""
    convolution = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*convolution, nn.Linear(12, 6), nn.LayerNorm(6), nn.Linear(6, 2))


def network(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Return these layers, trained a little so that nothing is as it was drawn."""
    torch.manual_seed(5)
    model = layers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        functional.cross_entropy(model(torch.randn(8, 1, 4, 4)), torch.arange(8) % 2).backward()
        optimizer.step()
    model.zero_grad()
    return model.to(dtype)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """An optimiser with momenta."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for parameter in model.parameters():
        if parameter.requires_grad:
            optimizer.state[parameter]["momentum_buffer"] = torch.ones_like(parameter)
    return optimizer


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}


def perturbed(rule: Perturbation, model: nn.Module, **options: Any) -> dict[str, Tensor]:
    """Values of a copy of the model after one perturbation."""
    model = copy.deepcopy(model)
    assert Perturber(rule, period=1, **{"seed": 3, "fresh": layers, **options}).step(1, model, sgd(model))
    return values(model)


# -- limits


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("nothing", [ShrinkPerturb(1, 0, "state"), PartialReset(0)])
def test_a_rule_that_changes_nothing_changes_nothing(dtype: torch.dtype, nothing: Perturbation) -> None:
    model = network(dtype)
    assert same(perturbed(nothing, model), values(model))


def test_to_shrink_to_nothing_and_perturb_by_all_is_a_fresh_network() -> None:
    model = network()
    reset, mixed = perturbed(FullReset(), model), perturbed(ShrinkPerturb(0, 1, "state"), model)
    counter = "1.num_batches_tracked"  # a count is no weight
    assert reset.pop(counter) == 0
    assert mixed.pop(counter) == 2
    assert same(reset, mixed)
    seed = int(stream(3, 0, "fresh", 1).integers(2**63))
    fresh = draw(model, seed=seed)
    fresh.pop(counter)
    assert same(reset, fresh)
    assert all((reset[name] != value).any() for name, value in values(model).items() if name != counter)


# -- laws


@given(
    period=st.integers(1, 6),
    repeat=st.sampled_from(["once", "periodic"]),
    direction=st.sampled_from(["above", "below"]),
    passes=st.none() | st.integers(1, 12),
)
def test_acts_at_its_epochs_until_the_threshold_is_reached(
    period: int, repeat: Any, direction: Any, passes: int | None
) -> None:
    model, short = nn.Linear(2, 2), 0.4 if direction == "above" else 0.6
    rule = Schedule(rule=FullReset(), period=period, repeat=repeat)
    perturber = Perturber(rule, seed=0, threshold=0.5, direction=direction)
    perturber.watch(model, sgd(model))
    acted = [
        epoch
        for epoch in range(1, 13)
        if perturber.step(epoch, model, sgd(model), metric=0.5 if epoch == passes else np.nan if epoch % 2 else short)
    ]
    # An epoch that passes is not perturbed: passing wins. Afterwards the metric is below again, to no effect.
    due = [period] if repeat == "once" else range(period, 13, period)
    assert acted == [epoch for epoch in due if epoch < (passes or 13)]
    assert perturber.passed == passes


@pytest.mark.parametrize("rule", RULES)
def test_what_happens_depends_on_seed_run_and_epoch_alone(rule: Perturbation) -> None:
    model, other = network(), network()
    first = Perturber(rule, period=1, seed=3, fresh=layers)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    first.step(1, other, sgd(other))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(1)
    other.load_state_dict(model.state_dict())
    alone = copy.deepcopy(model)
    first.step(2, other, sgd(other))
    Perturber(rule, period=2, seed=3, fresh=layers).step(2, alone, sgd(alone))
    assert same(values(other), values(alone))
    for changes in ({"seed": 4}, {"run": 1}):
        different = copy.deepcopy(model)
        Perturber(rule, period=2, fresh=layers, **{"seed": 3, **changes}).step(2, different, sgd(different))
        assert not torch.equal(different.get_parameter("4.weight"), alone.get_parameter("4.weight"))


def test_without_a_seed_it_is_pytorch_s() -> None:
    for seed in (7, 2**64 - 1):
        torch.manual_seed(seed)
        torch.rand(3)
        assert Perturber(FullReset(), period=1).seed == seed


@pytest.mark.parametrize("rule", RULES)
def test_parameters_change_in_place_and_momenta_only_if_asked(rule: Perturbation) -> None:
    for fresh_optimiser in (None, True, False):
        model = network()
        optimizer, before = sgd(model), {id(value) for value in model.parameters()}
        own = {} if fresh_optimiser is None else {"fresh_optimiser": fresh_optimiser}
        Perturber(Schedule(rule=rule, period=1, **own), seed=3, fresh=layers).step(1, model, optimizer)
        assert {id(value) for value in model.parameters()} == before
        cleared = rule.fresh_optimiser if fresh_optimiser is None else fresh_optimiser
        assert len(optimizer.state) == (0 if cleared else len(before))
        assert all((entry["momentum_buffer"] == 1).all() for entry in optimizer.state.values())
        model(torch.randn(4, 1, 4, 4)).sum().backward()
        optimizer.step()


# -- parity: the stack of one, ensembles, modules of other makes


SECTIONS: dict[str, dict[str, Any]] = {
    "shrink": {"name": "shrink_perturb", "period": 2},
    "reset": {"name": "full_reset", "period": 4},
    "partial": {"name": "partial_reset", "period": 2, "quantile": 0.8},
    "best": {"name": "restart_from_best", "period": 3, "fresh_optimiser": False},
    "best, fresh": {"name": "restart_from_best", "period": 2},
    "rate": {"name": "rate_bump", "period": 3, "shrink": 0.6, "length": 2},
    "rate, once": {"name": "rate_drop", "period": 3, "factor": 0.3, "momentum": 0.2, "repeat": "once"},
    "rate, cosine": {"name": "warm_restart", "period": 4, "length": 2, "floor": 0.1},
}


def spec_of(section: dict[str, Any]) -> spec.EnsembleSpec:
    changes = {"data.validation_size": 40, "optimiser.lr": 0.4, "optimiser.momentum": 0.8, "training.batch_size": 15}
    changes |= {"model.widths": [9, 8], "model.normalisation": "batch", "training.dtype": "float64"}
    return small(**changes, perturbation=section, runs=8, epochs=9, seed=11)


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
            fresh=self._fresh,
        )
        self.perturber.watch(self.model, self.optimizer)

    def _fresh(self) -> nn.Module:
        """Draw as ensembles do, which have a way of their own, from what stands for their streams here."""
        epochs = {int(stream(11, self.run, "fresh", epoch).integers(2**63)): epoch for epoch in range(1, 10)}
        return self._drawn("fresh", epochs.get(torch.initial_seed(), 100 + torch.initial_seed()))

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
        self.perturber.watch(self.model, self.optimizer)
        self.epoch = epoch


@pytest.mark.slow
@pytest.mark.parametrize("kind", SECTIONS)
def test_a_plain_loop_is_a_run_of_an_ensemble(tmp_path: Path, kind: str) -> None:
    parameters = spec_of(SECTIONS[kind])
    trained = ensemble.train(parameters, out=tmp_path, workers=1).metrics["test_loss"]
    for run in (0, 5):
        loop = Loop(parameters, run)
        loop.train_to(9)
        np.testing.assert_allclose(loop.losses, trained[run], rtol=1e-8)


@pytest.mark.parametrize("kind", SECTIONS)
def test_a_resumed_training_is_the_same(kind: str) -> None:
    whole = Loop(spec_of(SECTIONS[kind]), 2)
    whole.train_to(9)
    for epoch in (1, 4, 5):
        first, second = Loop(spec_of(SECTIONS[kind]), 2), Loop(spec_of(SECTIONS[kind]), 2)
        first.train_to(epoch)
        second.go_on_from(first.saved(), epoch)
        second.train_to(9)
        assert second.losses == whole.losses[epoch:]


@pytest.mark.parametrize("section", [{"name": "cnn", "normalisation": "batch"}, {"name": "resnet18", "width": 4}])
def test_convolutional_networks_are_drawn_as_in_an_ensemble(section: dict[str, Any]) -> None:
    kind = kinds_of("model")[section["name"]](**section)
    assert isinstance(kind, spec.ModelSpec)
    family = models.build(kind, shape=(3, 16, 16), n_classes=4)
    rows = family.initialise([stream(3, 2, "fresh", 6)], dtype=torch.float32, device=torch.device("cpu"))
    model = family.single()
    fresh = None if section["name"] == "cnn" else family.single  # the residual network has an initialisation of its own
    Perturber(FullReset(), period=6, seed=3, run=2, fresh=fresh).step(6, model, sgd(model))
    assert same(values(model), models.run_state(*rows, run=0))


@pytest.mark.parametrize("build", [layers, lambda: nn.LSTM(3, 4), lambda: nn.Embedding(5, 3, padding_idx=0)])
def test_a_factory_and_the_network_s_own_modules_draw_the_same(build: Callable[[], nn.Module]) -> None:
    module = build()
    assert same(draw(module, seed=2), draw(module, seed=2, factory=build))


class Tied(nn.Module):
    """An embedding that is the last layer too, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight


def test_shared_parameters_are_perturbed_once() -> None:
    model = Tied()
    before = values(model)
    after = perturbed(ShrinkPerturb(0.5, 0), model, fresh=Tied)
    assert list(after) == ["embedding.weight"]
    assert torch.equal(after["embedding.weight"], 0.5 * before["embedding.weight"])
    Perturber(FullReset(), period=1, seed=0, fresh=Tied).step(1, model, sgd(model))
    assert model.head.weight is model.embedding.weight


def test_what_is_frozen_stays() -> None:
    model = network()
    for part in model[:2]:
        part.requires_grad_(False)
    before = values(model)
    for value in RULES:
        after = perturbed(value, model)
        changed = {name for name in before if not torch.equal(after[name], before[name])}
        assert "6.weight" in changed
        assert not any(name.startswith(("0.", "1.")) for name in changed)


def test_wrappers_are_seen_through() -> None:
    model = network()
    plain = perturbed(KICK, model)
    for wrap in (nn.DataParallel, lambda m: torch.compile(m, backend="eager")):
        inner = copy.deepcopy(model)
        Perturber(KICK, period=1, seed=3, fresh=layers).step(1, wrap(inner), sgd(inner))
        assert same(values(inner), plain)


def test_a_part_that_is_compiled_is_drawn_by_its_own_name() -> None:
    model = network()
    plain = perturbed(FullReset(), model)
    model[4] = torch.compile(model[4], backend="eager")  # type: ignore[assignment]
    assert list(values(model)) != list(plain)
    after = perturbed(FullReset(), model)
    assert all(torch.equal(a, b) for a, b in zip(after.values(), plain.values(), strict=True))
    own = draw(model, seed=7)
    assert same(own, draw(layers(), seed=7))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rule", RULES)
def test_half_precision_is_rounded_once(dtype: torch.dtype, rule: Perturbation) -> None:
    model = network(dtype)
    wide = perturbed(rule, copy.deepcopy(model).float())
    assert same(perturbed(rule, model), {n: v.to(values(model)[n].dtype) for n, v in wide.items()})


def test_several_optimisers_are_one() -> None:
    model = network()
    plain = perturbed(KICK, model)
    parts = [torch.optim.Adam(model[:4].parameters()), torch.optim.AdamW(model[4:].parameters(), amsgrad=True)]
    model(torch.randn(4, 1, 4, 4)).sum().backward()
    state = copy.deepcopy(model.state_dict())
    for one in parts:
        one.step()
    model.load_state_dict(state)
    model[1].load_state_dict(network()[1].state_dict())
    Perturber(KICK, period=1, seed=3, fresh=layers).step(1, model, parts)
    assert same(values(model), plain)
    assert not parts[0].state
    assert not parts[1].state


# -- rules of your own


@rule("soften")
@dataclass(frozen=True, slots=True)
class Soften(Perturbation):
    """Shrinks weights, momenta and the learning rate, and drops what was drawn to zero or above."""

    fresh_optimiser: ClassVar[bool] = False
    factor: float = 0.5

    def apply(self, state: State, context: Context) -> State:
        del context
        halved = {name: self.factor * value for name, value in state.parameters.items()}
        entries = {k: {n: self.factor * v for n, v in e.items()} for k, e in state.optimiser.items()}
        return replace(state, parameters=halved, optimiser=entries, learning_rate=self.factor * state.learning_rate)


def rates_of_a_step(optimizer: torch.optim.Optimizer) -> list[float]:
    rates: list[float] = []
    hook = optimizer.register_step_pre_hook(lambda *_: rates.extend(float(g["lr"]) for g in optimizer.param_groups))
    optimizer.step()
    hook.remove()
    return rates


def test_a_registered_rule_works_as_any_other() -> None:
    for way in (Soften(0.5), "soften", {"name": "soften", "factor": 0.5}, Schedule(rule=Soften(0.5), period=9)):
        model = network()
        before, optimizer = values(model), sgd(model)
        optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": torch.tensor(0.02)})
        perturber = Perturber(way, period=1, seed=0)
        perturber.step(1, model, optimizer)
        assert all(torch.equal(value, 0.5 * before[name]) for name, value in model.named_parameters())
        assert all((entry["momentum_buffer"] == 0.5).all() for entry in optimizer.state.values())
        assert rates_of_a_step(optimizer) == pytest.approx([0.05, 0.01])
        # Its own change of the learning rate is no schedule.
        perturber.step(2, model, optimizer)
        assert rates_of_a_step(optimizer) == pytest.approx([0.025, 0.005])


# -- the best epoch


def returned_to(direction: Any, metrics: list[float]) -> list[int]:
    """Return the epochs to which a network goes back."""
    model = nn.Linear(2, 1)
    optimizer = sgd(model)
    perturber = Perturber("restart_from_best", period=1, direction=direction)
    epochs = []
    for epoch, metric in enumerate(metrics, start=1):
        nn.init.constant_(model.weight, epoch)
        perturber.step(epoch, model, optimizer, metric=metric)
        epochs.append(int(model.weight[0, 0]))
    return epochs


def test_best_is_the_first_of_the_best_by_the_direction() -> None:
    metrics = [math.nan, 0.5, 0.5, math.nan, 0.2, 0.7, 0.7]
    assert returned_to("above", metrics) == [1, 2, 2, 2, 2, 6, 6]
    assert returned_to("below", metrics) == [1, 2, 2, 2, 5, 5, 5]
    assert returned_to("above", [-1.0, 0.0, -0.5]) == [1, 2, 2]


# -- learning rates


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 1 / (1 + epoch)),
    "StepLR": lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=2, gamma=0.5),
    "CosineAnnealingLR": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=9),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.5, total_steps=12, cycle_momentum=False),
    "warmup": lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=4),
    "ReduceLROnPlateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "tensor": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
}


@pytest.mark.filterwarnings("ignore:the learning rate at epoch")
@pytest.mark.parametrize("first", ["scheduler", "perturber"])
@pytest.mark.parametrize("kind", SCHEDULERS)
@pytest.mark.parametrize(
    "rule", [{"name": "rate_bump", "length": 2}, {"name": "warm_restart", "length": 2, "floor": 0.1}]
)
def test_a_factor_and_a_scheduler_compose_whichever_is_stepped_first(rule: Any, kind: str, first: str) -> None:
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    schedule, rates, factors = Perturber(rule, period=3).schedule, [], []
    optimizer = torch.optim.SGD(model.parameters(), lr=torch.tensor(0.8) if kind == "tensor" else 0.8)
    scheduler, perturber = SCHEDULERS[kind](optimizer), Perturber(rule, period=3)
    perturber.watch(model, optimizer)
    for epoch in range(1, 9):
        rate, before = float(optimizer.param_groups[0]["lr"]), model.weight.item()
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
        rates.append((before - model.weight.item()) / rate)
        factors.append(schedule.factor(epoch))
        assert optimizer.param_groups[0]["lr"] == rate  # which no scheduler and no checkpoint sees changed
        for one in ("scheduler", "perturber") if first == "scheduler" else ("perturber", "scheduler"):
            if one == "perturber":
                perturber.step(epoch, model, optimizer)
            else:
                scheduler.step(*([1.0] if kind == "ReduceLROnPlateau" else []))
    assert rates == pytest.approx(factors, rel=1e-4)
    assert len(set(factors)) > 1


def test_a_factor_that_was_missed_is_named() -> None:
    model = nn.Linear(1, 1)
    optimizer, other = sgd(model), sgd(model)
    perturber = Perturber("rate_bump", period=1, seed=0)
    perturber.step(1, model, optimizer)
    resumed = Perturber("rate_bump", period=1)
    resumed.load_state_dict(perturber.state_dict())
    for one in (perturber, resumed):
        with pytest.raises(
            InputError,
            match=r"epoch 2 was trained without the factor on the learning rate; call watch\(model, optimizer\)",
        ):
            one.step(2, model, other)
    with pytest.raises(InputError, match="another hook changes its learning rate"):
        resumed.watch(model, optimizer)
    with pytest.raises(InputError, match="SimpleNamespace does not let its learning rate be changed"):
        Perturber("rate_bump", period=1).watch(model, SimpleNamespace(state={}, param_groups=optimizer.param_groups))  # type: ignore[arg-type]


# -- what is said and refused


def test_a_momentum_of_its_own_is_sgd_s() -> None:
    drop, model = Perturber({"name": "rate_drop", "momentum": 0.5}, period=2), nn.Linear(1, 1)
    with pytest.raises(InputError, match="only SGD's momentum can be changed; leave momentum out"):
        drop.watch(model, torch.optim.Adam(model.parameters()))


def test_a_schedule_of_learning_rates_is_named_once() -> None:
    model = nn.Linear(2, 2)
    optimizer = sgd(model)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    perturber = Perturber(FullReset(), period=2, seed=0)
    optimizer.step()
    perturber.step(1, model, optimizer)
    scheduler.step()
    with pytest.warns(UserWarning, match="learning rate at epoch 2 is not that of the epoch before") as caught:
        perturber.step(2, model, optimizer)
    assert caught[0].filename == __file__
    scheduler.step()
    perturber.step(3, model, optimizer)


class Bare(nn.Module):
    """Parameters that nothing redraws."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, 2))
        self.scale = nn.Parameter(torch.ones(2))


def test_what_cannot_be_drawn_afresh_is_named() -> None:
    model = Bare()
    missing = r"scale \(Bare\) does not belong to one layer of torch.nn with reset_parameters\(\); pass fresh=lambda: Bare\(...\)"
    with pytest.raises(InputError, match=missing):  # at once, long before it is needed
        Perturber(FullReset(), period=50).watch(model, sgd(model))
    assert (perturbed(FullReset(), model, fresh=Bare)["scale"] == 1).all()
    # It is not needed by what draws single weights.
    perturbed(PartialReset(0.5), model, fresh=None)
    linear = nn.Linear(2, 2)
    linear.kept = linear.weight * 2
    with pytest.raises(InputError, match=r"fresh: missing; the model cannot be copied \(Only Tensors"):
        draw(linear, seed=0)


@pytest.mark.parametrize(
    ("fresh", "message"),
    [
        (lambda: nn.Linear(2, 3), r"shape \(3, 2\) where the model has weight of shape \(2, 2\)"),
        (lambda: nn.Linear(2, 2, bias=False), "nothing of this name where the model has bias"),
        (lambda: 3, "built int, not a torch.nn.Module"),
    ],
)
def test_a_factory_must_build_the_network(fresh: Callable[[], Any], message: str) -> None:
    model = nn.Linear(2, 2)
    before = values(model)
    with pytest.raises(InputError, match=message):
        Perturber(FullReset(), period=1, seed=0, fresh=fresh).step(1, model, sgd(model))
    with pytest.raises(InputError, match="gave the model that is trained"):
        Perturber(FullReset(), period=1, seed=0, fresh=lambda: model).step(1, model, sgd(model))
    assert same(values(model), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": KICK}, "perturbation.period: missing"),
        ({"rule": "full_reset"}, "perturbation.period: missing"),
        ({"rule": KICK, "period": 2.5}, "perturbation.period: 2.5 is not a whole number"),
        ({"rule": {"name": "full_reset", "shrink": 1}, "period": 2}, "perturbation.shrink: unknown key"),
        ({"rule": FullReset, "period": 2}, "rule: <class .*FullReset'> is not possible"),
        ({"rule": KICK, "period": 2, "seed": -1}, "seed: -1 is not possible; allowed: at least 0"),
        ({"rule": KICK, "period": 2, "run": 0.5}, "run: 0.5 is not a whole number"),
        ({"rule": KICK, "period": 2, "threshold": "high"}, "threshold: 'high' is not a number"),
        ({"rule": KICK, "period": 2, "direction": "up"}, "direction: 'up' is not possible"),
    ],
)
def test_arguments_that_are_impossible(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Perturber(**options)


def test_calls_that_are_impossible() -> None:
    model = nn.Linear(2, 2)
    optimizer = sgd(model)

    def refused(message: str, perturber: Perturber, epoch: Any, *, optimizer: Any = optimizer, **metric: Any) -> None:
        with pytest.raises(InputError, match=message):
            perturber.step(epoch, model, optimizer, **metric)

    def new(**options: Any) -> Perturber:
        return Perturber(FullReset(), period=3, seed=0, **options)

    refused("epoch: 0 is not possible; allowed: at least 1", new(), 0)
    refused("epoch: 1.5 is not a whole number", new(), 1.5)
    refused("metric: missing at epoch 1", new(threshold=1), 1)
    with pytest.warns(UserWarning, match=r"the metric of epoch 1 is 0.5; if it is a fraction, is 0.95 meant\?"):
        new(threshold=95).step(1, model, optimizer, metric=0.5)
    refused("metric: there is no threshold", new(), 1, metric=1.0)
    refused("optimizer: none is given", new(), 1, optimizer=[])
    refused("optimizer: Linear is no PyTorch optimiser", new(), 1, optimizer=model)
    refused("optimizer: holds no trained parameter of this model", new(), 1, optimizer=sgd(nn.Linear(1, 1)))
    refused("each step needs it for the threshold or the best epoch", Perturber("restart_from_best", period=2), 1)
    bump = Perturber({"name": "rate_bump", "repeat": "once"}, period=1, seed=0)
    bump.step(1, model, optimizer)
    refused("epoch: 3 comes after 1, but the learning rate changes every epoch", bump, 3)
    perturber = new()
    perturber.step(2, model, optimizer)
    refused("epoch: 2 comes after 2", perturber, 2)
    refused("epoch: 5 comes after 2, but epoch 3 was to be perturbed", perturber, 5)
    assert perturber.step(3, model, optimizer)
    model.requires_grad_(False)
    refused("nothing to perturb", new(), 3)


def test_checkpoints_of_something_else() -> None:
    state = Perturber(KICK, period=3, seed=0).state_dict()
    for other, message in (
        (Perturber(KICK, period=4, seed=0), "period: 4 here but 3 in the checkpoint"),
        (Perturber(KICK, period=3, seed=1), "seed: 1 here but 0 in the checkpoint"),
        (Perturber(ShrinkPerturb(0.4, 0.2), period=3, seed=0), "rule: .*perturb=0.2.* here but .*perturb=0.1"),
    ):
        with pytest.raises(InputError, match=message):
            other.load_state_dict(state)
    with pytest.raises(InputError, match=r"what Perturber\.state_dict gave is needed"):
        Perturber(KICK, period=3).load_state_dict({"epoch": 3})


@pytest.mark.slow
def test_without_lightning_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    import lightning.pytorch

    import fptlib.hooks

    for name in ("lightning", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "fptlib.hooks.lightning", raising=False)
    with pytest.raises(InputError, match=r"PerturbCallback needs more than PyTorch: pip install 'fptlib\[lightning\]'"):
        _ = fptlib.hooks.PerturbCallback
    monkeypatch.setitem(sys.modules, "pytorch_lightning", lightning.pytorch)  # its older name will do
    assert issubclass(fptlib.hooks.PerturbCallback, lightning.pytorch.Callback)


# -- Lightning

lightning = pytest.importorskip("lightning.pytorch")
quiet = pytest.mark.filterwarnings(
    # What Lightning says of any small training on a laptop.
    "ignore:The '.*_dataloader' does not have many workers:UserWarning",
    "ignore:The number of training batches:UserWarning",
    "ignore:Checkpoint directory .* exists and is not empty:UserWarning",
    "ignore:Be aware that when using `ckpt_path`, callbacks used to create the checkpoint:UserWarning",
    # What PyTorch says of Lightning.
    "ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning",
)


TRAINED = network().state_dict()


class Small(lightning.LightningModule):  # type: ignore[misc]
    """Linear separation of 48 images, with as many optimisers as asked for."""

    def __init__(self, optimisers: int = 1) -> None:
        super().__init__()
        self.net, self.optimisers = layers(), optimisers
        self.net.load_state_dict(TRAINED)
        self.automatic_optimization = optimisers == 1
        self.record: list[float] = []

    def training_step(self, batch: list[Tensor], index: int) -> Tensor | None:
        loss = functional.cross_entropy(self.net(batch[0]), batch[1])
        if self.automatic_optimization:
            return loss
        for optimizer in self.optimizers():
            optimizer.zero_grad()
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
        return None

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        loss = functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("val_loss", loss)
        if not self.trainer.sanity_checking:
            self.record.append(loss.item())

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        if self.optimisers == 1:
            return [torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)]
        return [torch.optim.SGD(part.parameters(), lr=0.1, momentum=0.9) for part in (self.net[:4], self.net[4:])]


# Inputs and classes.
X = torch.randn(48, 1, 4, 4, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0, 0, 0] > 0).long()


def fit(epochs: int, *callbacks: Any, ckpt_path: Path | None = None, optimisers: int = 1, **options: Any) -> Small:
    """Train by Lightning; the order of images does not change, since Lightning keeps no random numbers in its checkpoints."""
    images = torch.utils.data.TensorDataset(X, Y)
    model = Small(optimisers)
    saving = any(isinstance(one, lightning.callbacks.ModelCheckpoint) for one in callbacks)
    options |= {"accelerator": "cpu"} | dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    lightning.Trainer(max_epochs=epochs, callbacks=list(callbacks), enable_checkpointing=saving, **options).fit(
        model,
        torch.utils.data.DataLoader(images, batch_size=12),
        torch.utils.data.DataLoader(images, batch_size=48),
        **({} if ckpt_path is None else {"ckpt_path": ckpt_path, "weights_only": True}),
    )
    return model


def callback(rule: Perturbation = KICK, *, monitor: str | None = None, **options: Any) -> Any:
    from fptlib.hooks import PerturbCallback

    def fresh() -> Small:
        net, model = layers(), Small()
        model.net = net
        return model

    return PerturbCallback(Perturber(rule, **{"period": 4, "seed": 3, "fresh": fresh, **options}), monitor=monitor)


@pytest.fixture(scope="module")
def plain() -> list[float]:
    """The same training in plain PyTorch, perturbed by the same rule."""
    model, record = network(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    perturber = Perturber(KICK, period=4, seed=3, fresh=layers)
    for epoch in range(1, 11):
        for batch in torch.arange(48).split(12):
            optimizer.zero_grad()
            functional.cross_entropy(model.train()(X[batch]), Y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            record.append(functional.cross_entropy(model.eval()(X), Y).item())
        perturber.step(epoch, model, optimizer)
    return record


@quiet
@pytest.mark.parametrize("optimisers", [1, 2])
def test_lightning_is_the_plain_loop(plain: list[float], optimisers: int) -> None:
    assert fit(10, callback(), optimisers=optimisers).record == plain
    unperturbed = fit(5, optimisers=optimisers).record
    assert unperturbed[:4] == plain[:4]
    assert unperturbed[4] != plain[4]


NEVER = {"threshold": -1.0, "direction": "below", "monitor": "val_loss"}


@quiet
@pytest.mark.parametrize(
    ("epochs", "before", "after", "options"),
    [
        (6, {}, {"seed": None}, {}),
        (6, {}, {"seed": None}, {"save_on_train_epoch_end": True}),
        (6, {}, {"seed": None}, {"every_n_train_steps": 16}),
        (4, None, {}, {}),
        (4, NEVER, NEVER, {}),
    ],
    ids=["validation end", "epoch end", "last step", "fork", "metric kept over a sanity check"],
)
def test_lightning_resumes_to_the_same_training(
    tmp_path: Path, plain: list[float], epochs: int, before: Any, after: Any, options: dict[str, Any]
) -> None:
    saver = lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1, **options)
    fit(epochs, *([] if before is None else [callback(**before)]), saver)
    for file in sorted(tmp_path.iterdir())[-3:]:
        record = fit(10, callback(**after), ckpt_path=file).record
        assert len(record) >= 3
        assert record == plain[-len(record) :]
    if before == {} and not options:  # checkpoints of epoch 4 hold the network that was evaluated
        model = Small()
        model.load_state_dict(torch.load(tmp_path / "epoch=3-step=16.ckpt", weights_only=True)["state_dict"])
        assert functional.cross_entropy(model.eval().net(X), Y).item() == plain[3]


@quiet
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended:UserWarning")
def test_lightning_does_not_perturb_twice_what_was_saved_within_an_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acted: list[int] = []
    monkeypatch.setattr(Perturber, "perturb", lambda self, epoch, model, optimizer: acted.append(epoch))
    fit(6, callback(), lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, every_n_train_steps=18))
    assert acted == [4]
    fit(9, callback(), ckpt_path=next(tmp_path.iterdir()))
    assert acted == [4, 8]


@quiet
def test_lightning_leaves_a_network_that_passed_alone(tmp_path: Path, plain: list[float]) -> None:
    threshold = plain[3]
    assert threshold < min(plain[:3])  # passes at epoch 4, whose turn it would have been
    kick = callback(threshold=threshold, direction="below", monitor="val_loss")
    record = fit(10, kick, lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1)).record
    assert record == fit(10).record
    for epoch in (3, 4):
        again = callback(threshold=threshold, direction="below", monitor="val_loss")
        file = tmp_path / f"epoch={epoch - 1}-step={4 * epoch}.ckpt"
        assert fit(10, again, ckpt_path=file).record == record[epoch:]
        assert again.perturber.passed == kick.perturber.passed == 4
    last = callback(period=9, threshold=plain[2], direction="below", monitor="val_loss")
    fit(3, last)
    assert last.perturber.passed == 3  # noted also after the last epoch


@quiet
def test_what_lightning_s_callback_refuses() -> None:
    with pytest.raises(InputError, match="monitor: name the metric where the perturber has a threshold"):
        callback(threshold=1)
    with pytest.raises(InputError, match="monitor: name the metric where the perturber has a threshold"):
        callback(monitor="val_loss")
    with pytest.raises(InputError, match="monitor: no 'loss' is logged in validation; there is val_loss"):
        fit(1, callback(threshold=1, monitor="loss"))
    with pytest.raises(InputError, match="epoch 4 is to be perturbed but was not validated"):
        fit(9, callback(threshold=-1, direction="below", monitor="val_loss"), check_val_every_n_epoch=3)
    strategy = lightning.strategies.FSDPStrategy.__new__(lightning.strategies.FSDPStrategy)
    with pytest.raises(InputError, match="strategy: FSDPStrategy splits the parameters"):
        callback().on_train_start(SimpleNamespace(strategy=strategy), None)
