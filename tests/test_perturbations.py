"""Perturbations as values: each one's formula, limit or law, on networks of every family; their sections and timing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from companion import catalogue
from fptlib import perturbations
from fptlib.errors import InputError
from fptlib.models import MLP, Network
from fptlib.models.cnn import CNN
from fptlib.models.resnet import ResNet, ResNet18
from fptlib.parameters import kinds_of
from fptlib.perturbations import Context, FullReset, PartialReset, Perturbation, Schedule, ShrinkPerturb, State
from fptlib.perturbations.rates import RateBump, RateDrop, WarmRestart
from fptlib.perturbations.weights import LastLayerReset, RestartFromBest, WeightNoise
from known import same

RUNS = 2
CLASSES = 3
NETWORKS: dict[str, Network] = {
    "mlp with LayerNorm": MLP(n_features=64, widths=(7, 5), n_classes=CLASSES, normalisation="layer"),
    "mlp with BatchNorm": MLP(n_features=64, widths=(7, 5), n_classes=CLASSES, normalisation="batch"),
    "cnn": CNN(shape=(1, 8, 8), channels=(4, 6), kernel=3, widths=(5,), n_classes=CLASSES, normalisation="batch"),
    "resnet": ResNet(n_channels=1, n_classes=CLASSES, depth=8, width=2, normalisation="none"),
    "resnet18": ResNet18(n_channels=1, n_classes=CLASSES, width=2, scale_buffers=True),
}
# One of each, with values at which it does something.
VALUES: dict[str, Perturbation] = {
    "shrink_perturb": ShrinkPerturb(0.4, 0.1, "state"),
    "weight_noise": WeightNoise(0.3),
    "full_reset": FullReset(),
    "partial_reset": PartialReset(0.5),
    "last_layer_reset": LastLayerReset(),
    "restart_from_best": RestartFromBest(),
    "warm_restart": WarmRestart(5, 0.1),
    "rate_bump": RateBump(0.4, 3),
    "rate_drop": RateDrop(0.5, 0.9),
}
every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
every_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


def draw(network: Network, epoch: int, dtype: torch.dtype, runs: range) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generators = [np.random.default_rng([epoch, run]) for run in runs]
    return network.initialise(generators, dtype=dtype, device=torch.device("cpu"))


def stack(network: Network, dtype: torch.dtype = torch.float64, runs: range = range(RUNS)) -> tuple[State, Context]:
    """A stack of networks as training has it, and what a perturbation may draw on."""
    context = Context(
        fresh=lambda: draw(network, 2, dtype, runs),
        generators=[np.random.default_rng([4, run]) for run in runs],
        best=State(*draw(network, 7, dtype, runs), {}, 0.1),
        output_layer=network.output_layer,
    )
    return State(*draw(network, 1, dtype, runs), {0: {"momentum_buffer": torch.ones(RUNS, 5, 4)}}, 0.1), context


def of_run(values: Mapping[str, Tensor], run: int) -> dict[str, Tensor]:
    return {name: value[run : run + 1] for name, value in values.items()}


def vector(*shape: int, value: float = 0.0) -> State:
    return State({"b.weight": torch.full(shape, value, dtype=torch.float64)}, {}, {}, 0.1)


def context(runs: int = 3) -> Context:
    return Context(fresh=lambda: ({}, {}), generators=[np.random.default_rng(k) for k in range(runs)])


# -- closed forms


@settings(max_examples=20)
@given(shrink=st.floats(-2, 2), perturb=st.floats(-2, 2))
def test_shrink_perturb_is_its_formula(shrink: float, perturb: float) -> None:
    old, given_ = stack(NETWORKS["resnet18"])
    fresh = given_.fresh()
    parameters = ShrinkPerturb(shrink, perturb).apply(old, given_)
    whole = ShrinkPerturb(shrink, perturb, scope="state").apply(old, given_)
    assert same(parameters.buffers, old.buffers)
    assert same(parameters.parameters, whole.parameters)
    for name, value in old.parameters.items():
        assert torch.equal(whole.parameters[name], shrink * value + perturb * fresh[0][name])
    for name, value in old.buffers.items():
        mixed = shrink * value + perturb * fresh[1][name] if value.is_floating_point() else value
        assert torch.equal(whole.buffers[name], mixed)


@pytest.mark.parametrize(("fan_in", "bound"), [("published", 2**-0.5), ("true", 18**-0.5)])
def test_partial_reset_counts_inputs_as_asked(fan_in: Any, bound: float) -> None:
    # The largest of 10800 uniform magnitudes falls short of the bound by 1e-3 of it with probability e**-10.8.
    new = PartialReset(1, fan_in).apply(vector(3, 600, 2, 3, 3, value=1e-9), context()).parameters["b.weight"]
    assert bound * 0.999 < new.abs().max() <= bound
    assert 0.00999 < PartialReset(1, fan_in).apply(vector(3, 10_000), context()).parameters["b.weight"].max() <= 0.01


def test_noise_is_gaussian_of_the_size_asked_for() -> None:
    old = vector(2, 300, 200, value=3.0)
    for scale, size in (("relative", 0.6), ("absolute", 0.2)):
        new = WeightNoise(0.2, scale).apply(old, context(2)).parameters["b.weight"]  # type: ignore[arg-type]
        noise = (new - 3.0) / size
        # 120 000 numbers: mean and variance within five standard errors.
        assert abs(float(noise.mean())) < 5 / math.sqrt(noise.numel())
        assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / noise.numel())
    assert not WeightNoise(0.2).apply(vector(2, 300), context(2)).parameters["b.weight"].any()


@pytest.mark.parametrize("period", [1, 4])
def test_a_warm_restart_is_pytorch_s(period: int) -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=period, eta_min=0.1)
    restart = WarmRestart(period, 0.1)
    for epoch in range(3 * period):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(restart.rate(epoch % period + 1))
        optimiser.step()
        schedule.step()


@settings(max_examples=30)
@given(shrink=st.floats(0.05, 3), length=st.integers(1, 20), since=st.integers(1, 40))
def test_a_bump_is_its_formula(shrink: float, length: int, since: int) -> None:
    assert RateBump(shrink, length).rate(since) == pytest.approx(shrink**-2 if since <= length else 1)


# -- laws


@every_network
@every_value
def test_a_run_is_perturbed_alike_whatever_stands_beside_it(network: Network, value: Perturbation) -> None:
    for dtype in (torch.float32, torch.float64):
        state, given_ = stack(network, dtype)
        whole = value.apply(state, given_)
        assert all(v.dtype == state.parameters[n].dtype for n, v in whole.parameters.items())
        for run in range(RUNS):
            one = value.apply(*stack(network, dtype, range(run, run + 1)))
            assert same(one.parameters, of_run(whole.parameters, run))
            assert same(one.buffers, of_run(whole.buffers, run))
        again, _ = stack(network, dtype)
        assert same(state.parameters, again.parameters)  # the given state is left alone
        assert same(state.buffers, again.buffers)


@settings(max_examples=40)
@given(quantile=st.floats(0, 1))
def test_partial_reset_redraws_the_smallest_weights_of_each_run(quantile: float) -> None:
    old, given_ = stack(NETWORKS["mlp with BatchNorm"])
    new = PartialReset(quantile).apply(old, given_).parameters
    names = [name for name in new if name.endswith("weight")]
    assert all(torch.equal(new[name], old.parameters[name]) for name in new if name not in names)
    before = torch.cat([old.parameters[name].flatten(1) for name in names], 1).abs()
    changed = torch.cat([(old.parameters[name] != new[name]).flatten(1) for name in names], 1)
    for magnitude, redrawn in zip(before, changed, strict=True):
        if redrawn.any() and not redrawn.all():
            assert magnitude[redrawn].max() < magnitude[~redrawn].min()
        # The twelve gains of one are ties: the quantile falls short of its share by them at most.
        assert quantile * redrawn.numel() - 13 <= redrawn.sum() <= quantile * redrawn.numel() + 1


def gradient_of(network: Network) -> Callable[[State], Mapping[str, Tensor]]:
    """The gradient of the loss of a training step, run by run."""

    def gradient(state: State) -> Mapping[str, Tensor]:
        module, rows = network.template().train(), []
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eps = 1e-30  # the one thing that knows the weights' length
        x, y = torch.rand(20, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3)), torch.arange(20) % 3
        for run in range(RUNS):
            parameters = {n: v[run].clone().requires_grad_() for n, v in state.parameters.items()}
            buffers = {n: v[run].clone() for n, v in state.buffers.items()}
            loss = functional.cross_entropy(functional_call(module, {**parameters, **buffers}, (x,)), y)
            rows.append(torch.autograd.grad(loss, list(parameters.values())))
        return {name: torch.stack(parts) for name, parts in zip(state.parameters, zip(*rows, strict=True), strict=True)}

    return gradient


@pytest.mark.parametrize(
    ("kind", "layers"),
    [("mlp with BatchNorm", ("layers.0.", "layers.3.")), ("cnn", ("features.0.", "features.4."))],
)
@pytest.mark.parametrize("shrink", [0.4, 2.0])
def test_before_batch_norm_shrinking_is_a_bump_of_the_rate(kind: str, layers: tuple[str, ...], shrink: float) -> None:
    network, rate = NETWORKS[kind], 0.05
    state, _ = stack(network)
    scaled = {name for name in state.parameters if name.startswith(layers)}
    gradient = gradient_of(network)
    shrunk = replace(state, parameters={n: shrink * v if n in scaled else v for n, v in state.parameters.items()})
    at, at_shrunk = gradient(state), gradient(shrunk)
    factor = RateBump(shrink, 1).rate(1)
    for name in scaled:
        bumped = state.parameters[name] - rate * factor * at[name]
        stepped = shrunk.parameters[name] - rate * at_shrunk[name]
        assert torch.allclose(stepped, shrink * bumped, rtol=1e-9, atol=1e-12)
    for name in set(state.parameters) - scaled:
        assert torch.allclose(at[name], at_shrunk[name], rtol=1e-9, atol=1e-12)


@every_network
def test_the_last_layer_alone_is_drawn_afresh(network: Network) -> None:
    state, given_ = stack(network)
    new = LastLayerReset().apply(state, given_)
    fresh, _ = given_.fresh()
    own = {f"{network.output_layer}.{part}" for part in ("weight", "bias")}
    assert own < set(state.parameters)
    for name, value in new.parameters.items():
        assert torch.equal(value, fresh[name] if name in own else state.parameters[name])
    assert same(new.buffers, state.buffers)
    assert new.parameters[f"{network.output_layer}.weight"].shape[1] == CLASSES


def test_the_last_layer_of_a_network_of_your_own() -> None:
    class Own(Network):
        def single(self) -> nn.Module:
            return nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, CLASSES))

    class Bare(Network):
        def single(self) -> nn.Module:
            return nn.LayerNorm(64)

    state, given_ = stack(Own())
    new = LastLayerReset().apply(state, given_).parameters
    assert [name for name in new if not torch.equal(new[name], state.parameters[name])] == ["2.weight", "2.bias"]
    with pytest.raises(InputError, match="Bare has no linear layer or convolution; its class needs a property"):
        stack(Bare())
    with pytest.raises(InputError, match="last_layer_reset finds no trained parameter of 'head'"):
        LastLayerReset().apply(state, replace(given_, output_layer="head"))


@every_network
def test_resets_give_back_what_they_go_to(network: Network) -> None:
    state, given_ = stack(network)
    assert given_.best is not None
    for value, expected in ((RestartFromBest(), given_.best), (FullReset(), State(*given_.fresh(), {}, 0.1))):
        new = value.apply(state, given_)
        assert same(new.parameters, expected.parameters)
        assert same(new.buffers, expected.buffers)
        # Training changes its tensors in place: the snapshot must not change with them.
        assert not any(new.parameters[n].data_ptr() == v.data_ptr() for n, v in given_.best.parameters.items())


# -- limits


@every_network
@pytest.mark.parametrize(
    "value",
    [ShrinkPerturb(1, 0, "state"), WeightNoise(0.0), PartialReset(0.0), WarmRestart(3), RateBump(0.4, 3), RateDrop()],
    ids=lambda value: value.name,
)
def test_nothing_happens_in_the_limit(network: Network, value: Perturbation) -> None:
    state, given_ = stack(network)
    new = value.apply(state, given_)
    assert same(new.parameters, state.parameters)
    assert same(new.buffers, state.buffers)


def test_other_limits_are_resets() -> None:
    state, given_ = stack(NETWORKS["mlp with BatchNorm"])
    full = FullReset().apply(state, given_).parameters
    assert same(ShrinkPerturb(0, 1).apply(state, given_).parameters, full)
    new = PartialReset(1).apply(state, given_).parameters
    assert all((new[name] != state.parameters[name]).all() for name in new if name.endswith("weight"))


# -- sections and timing


@given(period=st.integers(1, 50), epoch=st.integers(1, 500))
def test_schedule(period: int, epoch: int) -> None:
    for repeat, due in (("periodic", epoch % period == 0), ("once", epoch == period)):
        schedule = perturbations.schedule({"name": "full_reset", "period": period, "repeat": repeat})
        assert schedule.due(epoch) == due
        assert schedule.last(epoch) == max((e for e in range(1, epoch + 1) if schedule.due(e)), default=0)


def test_the_schedule_asks_for_a_fresh_optimiser_and_for_what_a_rule_needs() -> None:
    for name, value in VALUES.items():
        state, given_ = stack(NETWORKS["cnn"])
        by_default = Schedule(rule=value, period=1)
        assert by_default.fresh_optimiser == value.fresh_optimiser
        for fresh in (True, False):
            schedule = Schedule(rule=value, period=1, repeat="once", fresh_optimiser=fresh)
            assert bool(schedule.apply(state, given_).optimiser) == (not fresh)
        if value.needs:
            with pytest.raises(InputError, match=f"perturbation: {name} needs the .*, and this training gives none"):
                by_default.apply(state, replace(given_, best=None, output_layer=None))


def test_sections_and_values_are_the_same() -> None:
    kick = perturbations.schedule({"name": "shrink_perturb", "period": 3, "shrink": "5e-1", "scope": "state"})
    assert kick == Schedule(rule=ShrinkPerturb(0.5, 0.1, "state"), period=3, repeat="periodic", fresh_optimiser=True)
    part = Schedule(rule=PartialReset(0.3, "true"), period=3, repeat="once")
    timing = {"repeat": "once", "period": 3, "fresh_optimiser": False}
    assert part.model_dump() == {"name": "partial_reset", **timing, "quantile": 0.3, "fan_in": "true"}
    for value in VALUES.values():
        schedule = Schedule(rule=value, period=3)
        assert perturbations.schedule(schedule) is schedule
        assert perturbations.schedule(schedule.model_dump()) == schedule


def test_the_cosine_takes_the_period() -> None:
    whole = {"name": "warm_restart", "period": 3}
    short = whole | {"length": 2, "floor": 0.1}
    assert [perturbations.schedule(whole).factor(e) for e in range(1, 8)] == pytest.approx([1, 1, 1, 1, 0.75, 0.25, 1])
    assert [perturbations.schedule(short).factor(e) for e in range(4, 7)] == pytest.approx([1, 0.55, 0.1])


REFUSED: list[tuple[Any, str]] = [
    ("full_reset", "perturbation: 'full_reset' is not a mapping"),
    ({"name": "kick"}, "perturbation.name: unknown perturbation 'kick'"),
    ({"name": "full_reset", "period": 0}, "perturbation.period: 0 is not possible; allowed: at least 1"),
    ({"name": "full_reset", "repeat": "random"}, r"perturbation.repeat: 'random' .* allowed: 'periodic' or 'once'"),
    ({"name": "full_reset", "perod": 4}, "perturbation.perod: unknown key; did you mean 'period'?"),
    ({"name": "partial_reset"}, "perturbation.quantile: missing"),
    ({"name": "partial_reset", "quantile": 2}, "quantile: 2 is not possible; allowed: at most 1"),
    ({"name": "warm_restart", "repeat": "once"}, "floor: 0 can leave training without a learning rate for good"),
    ({"name": "warm_restart", "length": 2}, "floor: 0 can leave training without a learning rate for good"),
    ({"name": "rate_drop", "momentum": 1}, r"perturbation\.momentum: 1 is not possible; allowed: below 1"),
    ({"name": "rate_bump", "shrink": 0}, r"perturbation\.shrink: 0 is not possible; allowed: above 0"),
]


@pytest.mark.parametrize(("section", "message"), REFUSED)
def test_impossible_sections_are_refused_in_one_line(section: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        perturbations.schedule({"period": 3, **section} if isinstance(section, dict) else section)
    assert "\n" not in str(caught.value)


# -- the table of the book


def test_every_row_has_a_formula_and_sources_that_exist(root: Path) -> None:
    built_in = {name for name, kind in kinds_of("perturbation").items() if kind.__module__.startswith("fptlib.p")}
    assert set(catalogue.CATALOGUE) == built_in == set(VALUES)
    sources = set(re.findall(r"@\w+\{(\w+),", (root / "book" / "references.bib").read_text()))
    rows = [row for row in catalogue.page().splitlines() if "`" in row]
    for (name, (formula, *keys)), row in zip(catalogue.CATALOGUE.items(), rows, strict=True):
        assert set(keys) <= sources
        assert row.count("|") == 6
        formulas = re.findall(r"\$([^$]*)\$", row)
        assert len(formulas) == 1 + formula.count(r"\quad")
        assert all(formula.count("{") == formula.count("}") and formula == formula.strip() for formula in formulas)
        assert "References\n" in (VALUES[name].__doc__ or "")
