"""The catalogue of perturbations: each one's formula, limit or law, on real networks of every family."""

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
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from fptlib import perturbations, spec
from fptlib.errors import InputError
from fptlib.models import CNN, MLP, Network, ResNet, ResNet18
from fptlib.perturbations import (
    CATALOGUE,
    Context,
    Dash,
    DormantReset,
    FullReset,
    LastLayerReset,
    PartialReset,
    Perturbation,
    RateBump,
    RestartFromBest,
    ShrinkPerturb,
    State,
    WarmRestart,
    WeightNoise,
)
from known import same

RUNS = 2
CLASSES = 3
NETWORKS: dict[str, Network] = {
    "mlp": MLP(n_features=64, widths=(7, 5), n_classes=CLASSES),
    "mlp with BatchNorm": MLP(n_features=64, widths=(7, 5), n_classes=CLASSES, normalisation="batch"),
    "mlp with LayerNorm": MLP(n_features=64, widths=(7, 5), n_classes=CLASSES, normalisation="layer"),
    "cnn": CNN(shape=(1, 8, 8), channels=(4, 6), kernel=3, widths=(5,), n_classes=CLASSES, normalisation="batch"),
    "resnet": ResNet(n_channels=1, n_classes=CLASSES, depth=8, width=2, normalisation="none"),
    "resnet with BatchNorm": ResNet(n_channels=1, n_classes=CLASSES, depth=8, width=2),
    "resnet18": ResNet18(n_channels=1, n_classes=CLASSES, width=2, scale_buffers=True),
}
# One of each, with values at which it does something.
VALUES: dict[str, Perturbation] = {
    "shrink_perturb": ShrinkPerturb(0.4, 0.1),
    "weight_noise": WeightNoise(0.3),
    "dash": Dash(0.3),
    "full_reset": FullReset(),
    "partial_reset": PartialReset(0.5),
    "last_layer_reset": LastLayerReset(),
    "dormant_reset": DormantReset(0.8),
    "restart_from_best": RestartFromBest(),
    "warm_restart": WarmRestart(5, 0.1),
    "rate_bump": RateBump(0.4, 3),
}
Tensors = Mapping[str, Tensor]


def draw(network: Network, epoch: int, dtype: torch.dtype, runs: range) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generators = [np.random.default_rng([epoch, run]) for run in runs]
    return network.initialise(generators, dtype=dtype, device=torch.device("cpu"))


def batch(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(3)
    x = torch.rand(20, 64, dtype=dtype, generator=random)
    return x, torch.arange(20) % CLASSES


def gradient_of(network: Network, *, eps: float = 1e-5) -> Callable[[State], Tensors]:
    """Gradient of the loss of a training step, run by run; ``eps`` is what BatchNorm adds to the variance."""

    def gradient(state: State) -> Tensors:
        module, rows = network.template().train(), []
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eps = eps
        x, y = batch(next(iter(state.parameters.values())).dtype)
        for run in range(len(next(iter(state.parameters.values())))):
            with torch.enable_grad():
                parameters = {n: v[run].clone().requires_grad_() for n, v in state.parameters.items()}
                buffers = {n: v[run].clone() for n, v in state.buffers.items()}
                loss = functional.cross_entropy(functional_call(module, {**parameters, **buffers}, (x,)), y)
                rows.append(torch.autograd.grad(loss, list(parameters.values())))
        return {name: torch.stack(parts) for name, parts in zip(state.parameters, zip(*rows, strict=True), strict=True)}

    return gradient


def stack(network: Network, dtype: torch.dtype = torch.float64, runs: range = range(RUNS)) -> tuple[State, Context]:
    """A stack of networks as training has it, and what a perturbation may draw on."""
    x, y = batch(dtype)
    best = State(*draw(network, 7, dtype, runs), {}, 0.1)
    context = Context(
        fresh=lambda: draw(network, 2, dtype, runs),
        generators=[np.random.default_rng([4, run]) for run in runs],
        best=best,
        probe=(x, y),
        network=network,
        gradient=gradient_of(network),
    )
    return State(*draw(network, 1, dtype, runs), {}, 0.1), context


def outputs(network: Network, state: State, run: int, x: Tensor) -> Tensor:
    values = {n: v[run] for n, v in {**state.parameters, **state.buffers}.items()}
    result: Tensor = functional_call(network.template().eval(), values, (x,))
    return result


def some(values: Tensors, run: int) -> Tensors:
    return {name: value[run : run + 1] for name, value in values.items()}


every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
small_network = pytest.mark.parametrize("network", list(NETWORKS.values())[:5], ids=list(NETWORKS)[:5])
every_value = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


# -- closed forms


@given(length=st.integers(1, 60), floor=st.floats(0, 1), since=st.integers(1, 200))
def test_a_warm_restart_is_half_a_cosine(length: int, floor: float, since: int) -> None:
    restart = WarmRestart(length, floor)
    assert restart.rate(1) == 1
    assert restart.rate(length + 1) == pytest.approx(floor)
    assert floor <= restart.rate(since + 1) <= restart.rate(since) <= 1 or restart.rate(since) == pytest.approx(floor)
    if since <= length:
        # Half way down the cosine the rate is half way between its ends.
        mirrored = restart.rate(length + 2 - since)
        assert restart.rate(since) + mirrored == pytest.approx(1 + floor)


@pytest.mark.parametrize("period", [1, 4])
def test_a_warm_restart_is_pytorch_s(period: int) -> None:
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=period, eta_min=0.1)
    restart = WarmRestart(period, 0.1)
    for epoch in range(3 * period):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(restart.rate(epoch % period + 1))
        optimiser.step()
        schedule.step()


@given(shrink=st.floats(0.05, 3), length=st.integers(1, 20), since=st.integers(1, 40))
def test_a_bump_is_its_formula(shrink: float, length: int, since: int) -> None:
    assert RateBump(shrink, length).rate(since) == pytest.approx(shrink**-2 if since <= length else 1)


def test_noise_is_gaussian_of_the_size_asked_for() -> None:
    weight = torch.full((2, 300, 200), 3.0, dtype=torch.float64)
    old = State({"a.weight": weight, "a.bias": torch.zeros(2, 300, dtype=torch.float64)}, {}, {}, 0.1)
    context = Context(fresh=lambda: ({}, {}), generators=[np.random.default_rng(k) for k in range(2)])
    for scale, size in (("relative", 0.6), ("absolute", 0.2)):
        new = WeightNoise(0.2, scale).apply(old, context).parameters  # type: ignore[arg-type]
        noise = (new["a.weight"] - weight) / size
        # 120 000 numbers: mean and variance within five standard errors.
        assert abs(float(noise.mean())) < 5 / math.sqrt(noise.numel())
        assert abs(float(noise.var()) - 1) < 5 * math.sqrt(2 / noise.numel())
    assert not WeightNoise(0.2).apply(old, context).parameters["a.bias"].any()


def test_shrinking_by_direction_counted_by_hand() -> None:
    weight = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]], dtype=torch.float64)
    descent = torch.tensor([[[3.0, 4.0], [-1.0, 0.0]]], dtype=torch.float64)
    kernels = torch.tensor(
        [[[[[1.0, 1.0]], [[1.0, 0.0]]]]], dtype=torch.float64
    )  # (run, output, inputs, height, width)
    turned = torch.tensor([[[[[1.0, 0.0]], [[1.0, 0.0]]]]], dtype=torch.float64)
    parameters = {"a.weight": weight, "a.bias": weight[:, 0], "c.weight": kernels, "n.weight": weight[:, 0]}
    gradient = {"a.weight": -descent, "a.bias": weight[:, 0], "c.weight": -turned, "n.weight": weight[:, 0]}
    context = Context(fresh=lambda: ({}, {}), generators=[np.random.default_rng(0)], gradient=lambda _: gradient)
    new = Dash(0.3).apply(State(parameters, {}, {}, 0.1), context).parameters
    assert torch.allclose(new["a.weight"], torch.tensor([[[3.0, 4.0], [0.3, 0.0]]], dtype=torch.float64))
    assert torch.allclose(new["a.bias"], 0.3 * weight[:, 0])  # against the descent, all together
    assert torch.allclose(new["c.weight"][0, 0, 0], kernels[0, 0, 0] / math.sqrt(2))
    assert torch.allclose(new["c.weight"][0, 0, 1], kernels[0, 0, 1])
    assert torch.equal(new["n.weight"], parameters["n.weight"])  # a gain of a normalisation


# -- laws


@small_network
@every_value
def test_a_run_is_perturbed_alike_whatever_stands_beside_it(network: Network, value: Perturbation) -> None:
    for dtype in (torch.float32, torch.float64):
        state, context = stack(network, dtype)
        whole = value.apply(state, context)
        assert all(v.dtype == state.parameters[n].dtype for n, v in whole.parameters.items())
        for run in range(RUNS):
            one = value.apply(*stack(network, dtype, range(run, run + 1)))
            assert same(one.parameters, some(whole.parameters, run))
            assert same(one.buffers, some(whole.buffers, run))


@small_network
@every_value
def test_the_given_state_is_left_alone(network: Network, value: Perturbation) -> None:
    state, context = stack(network)
    new = value.apply(state, context)
    again, _ = stack(network)
    for part in ("parameters", "buffers"):
        assert same(getattr(state, part), getattr(again, part))
        assert same(getattr(new, part), getattr(value.apply(state, stack(network)[1]), part))


@pytest.mark.parametrize("kind", ["mlp with BatchNorm", "cnn", "resnet with BatchNorm"])
@pytest.mark.parametrize("shrink", [0.4, 0.9, 2.0])
def test_before_batch_norm_shrinking_is_a_bump_of_the_rate(kind: str, shrink: float) -> None:
    network, rate = NETWORKS[kind], 0.05
    state, _ = stack(network)
    layers = {layer.incoming for layer in network.hidden_layers() if layer.norm is not None}
    scaled = {n for n in state.parameters if n.rpartition(".")[0] in layers}
    # The small number that BatchNorm adds to the variance is the one thing that knows the weights' length.
    gradient = gradient_of(network, eps=1e-30)

    shrunk = replace(state, parameters={n: shrink * v if n in scaled else v for n, v in state.parameters.items()})
    at, at_shrunk = gradient(state), gradient(shrunk)
    factor = RateBump(shrink, 1).rate(1)
    for name in scaled:
        bumped = state.parameters[name] - rate * factor * at[name]
        stepped = shrunk.parameters[name] - rate * at_shrunk[name]
        assert torch.allclose(stepped, shrink * bumped, rtol=1e-9, atol=1e-12)
    for name in set(state.parameters) - scaled:
        assert torch.allclose(at[name], at_shrunk[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("floor", [0.0, 0.3, 0.9])
def test_before_batch_norm_directions_say_nothing(floor: float) -> None:
    network = NETWORKS["mlp with BatchNorm"]
    state, context = stack(network)
    gradient = gradient_of(network, eps=1e-30)

    new = Dash(floor).apply(state, replace(context, gradient=gradient)).parameters
    for layer in ("layers.0", "layers.3"):
        assert torch.allclose(new[f"{layer}.weight"], floor * state.parameters[f"{layer}.weight"], atol=1e-12)
    last = network.output_layer
    factors = new[f"{last}.weight"] / state.parameters[f"{last}.weight"]
    assert factors.flatten(2).std(2).max() < 1e-12  # one factor for each unit
    assert floor == 0.9 or factors.max() > floor + 1e-3


@given(seed=st.integers(0, 10**6), floor=st.floats(0, 1))
def test_directions_only_shrink_and_never_below_the_floor(seed: int, floor: float) -> None:
    random = torch.Generator().manual_seed(seed)
    parameters = {
        "a.weight": torch.randn(2, 4, 3, dtype=torch.float64, generator=random),
        "c.weight": torch.randn(2, 4, 3, 2, 2, dtype=torch.float64, generator=random),
    }
    gradient = {n: torch.randn(v.shape, dtype=torch.float64, generator=random) for n, v in parameters.items()}
    context = Context(fresh=lambda: ({}, {}), generators=[], gradient=lambda _: gradient)
    state = State(parameters, {}, {}, 0.1)
    new = Dash(floor).apply(state, context).parameters
    for name, value in parameters.items():
        ratio = new[name] / value
        assert ratio.min() >= floor - 1e-12
        assert ratio.max() <= 1 + 1e-12
    # The length of the gradient does not count.
    longer = replace(context, gradient=lambda _: {n: 7 * v for n, v in gradient.items()})
    again = Dash(floor).apply(state, longer).parameters
    assert all(torch.allclose(again[n], new[n]) for n in new)


@pytest.mark.parametrize("kind", ["mlp", "mlp with BatchNorm", "cnn", "resnet", "resnet18"])
def test_recycling_dead_units_leaves_the_function_alone(kind: str) -> None:
    network = NETWORKS[kind]
    state, context = stack(network)
    x, _ = batch()
    parameters = {name: value.clone() for name, value in state.parameters.items()}
    layers = network.hidden_layers()
    for layer in layers:
        # Unit 0 of every layer dies: whatever comes in, nothing goes out.
        if layer.norm is not None:
            parameters[f"{layer.norm}.weight"][:, 0] = 0
            parameters[f"{layer.norm}.bias"][:, 0] = -1
        else:
            parameters[f"{layer.incoming}.weight"][:, 0] = 0
            parameters[f"{layer.incoming}.bias"][:, 0] = -1
    dead = replace(state, parameters=parameters)
    rule = DormantReset(0.0)
    found = rule.dormant(dead, context)
    assert [layer for layer, _ in found] == list(layers)
    assert all(units[:, 0].all() for _, units in found)
    new = rule.apply(dead, context)
    fresh, fresh_buffers = context.fresh()
    for run in range(RUNS):
        assert torch.allclose(outputs(network, dead, run, x), outputs(network, new, run, x), rtol=1e-10, atol=1e-12)
    feeds = {other.outgoing for other in layers}
    for layer, units in found:
        names = [n for n in new.parameters if n.rpartition(".")[0] in (layer.incoming, layer.norm)]
        for name in names:
            old, value = dead.parameters[name], new.parameters[name]
            if layer.incoming not in feeds or name.rpartition(".")[0] != layer.incoming:
                assert torch.equal(value[units], fresh[name][units])
                assert torch.equal(value[~units], old[~units])
        for name in (n for n in new.buffers if n.rpartition(".")[0] == layer.norm and not n.endswith("tracked")):
            assert torch.equal(new.buffers[name][units], fresh_buffers[name][units])


def test_a_unit_is_dormant_by_its_share_of_its_layer() -> None:
    network = MLP(n_features=2, widths=(4,), n_classes=2)
    state, context = stack(network, runs=range(1))
    # On inputs of ones, units with activations 0, 1, 2 and 5: their mean is 2.
    weight = torch.tensor([[[-1.0, 0.0], [0.5, 0.5], [1.0, 1.0], [2.0, 3.0]]], dtype=torch.float64)
    shift = torch.zeros(1, 4, dtype=torch.float64)
    state = replace(state, parameters={**state.parameters, "layers.0.weight": weight, "layers.0.bias": shift})
    context = replace(context, probe=(torch.ones(3, 2, dtype=torch.float64), torch.zeros(3)))
    for tau, expected in ((0.0, [True, False, False, False]), (0.5, [True, True, False, False]), (2.5, [True] * 4)):
        ((layer, units),) = DormantReset(tau).dormant(state, context)
        assert layer.outgoing == "layers.2"
        assert units[0].tolist() == expected


def test_images_become_vectors_channel_by_channel() -> None:
    network = NETWORKS["cnn"]
    state, context = stack(network)
    new = DormantReset(0.8).apply(state, context)
    for layer, units in DormantReset(0.8).dormant(state, context):
        silent = (
            (new.parameters[f"{layer.outgoing}.weight"] == 0).flatten(3).all(3)
            if layer.outgoing[0] == "f"
            else (new.parameters[f"{layer.outgoing}.weight"] == 0)
        )
        columns = silent.all(1)  # (runs, inputs)
        pixels = columns.shape[1] // units.shape[1]
        assert torch.equal(columns, units.repeat_interleave(pixels, 1))
        assert units.any()
        assert not units.all()


@every_network
def test_the_last_layer_alone_is_drawn_afresh(network: Network) -> None:
    state, context = stack(network)
    new = LastLayerReset().apply(state, context)
    fresh, _ = context.fresh()
    own = {f"{network.output_layer}.{part}" for part in ("weight", "bias")}
    assert own < set(state.parameters)
    for name, value in new.parameters.items():
        assert torch.equal(value, fresh[name] if name in own else state.parameters[name])
    assert same(new.buffers, state.buffers)
    assert new.parameters[f"{network.output_layer}.weight"].shape[1] == CLASSES


def test_the_last_layer_of_a_network_of_ones_own() -> None:
    class Own(Network):
        def single(self) -> nn.Module:
            return nn.Sequential(nn.Linear(64, 6), nn.Tanh(), nn.Linear(6, CLASSES))

    state, context = stack(Own())
    new = LastLayerReset().apply(state, context).parameters
    assert [name for name in new if not torch.equal(new[name], state.parameters[name])] == ["2.weight", "2.bias"]
    with pytest.raises(InputError, match="dormant_reset needs hidden units, and Own names none; its class needs"):
        DormantReset(0.1).apply(state, context)

    class Bare(Network):
        def single(self) -> nn.Module:
            return nn.LayerNorm(64)

    with pytest.raises(InputError, match="Bare has no linear layer or convolution; its class needs a property"):
        LastLayerReset().apply(*stack(Bare()))


@every_network
def test_the_best_epoch_comes_back(network: Network) -> None:
    state, context = stack(network)
    new = RestartFromBest().apply(state, context)
    assert context.best is not None
    assert same(new.parameters, context.best.parameters)
    assert same(new.buffers, context.best.buffers)
    # Training changes its tensors in place: the snapshot must not change with them.
    assert not any(new.parameters[n].data_ptr() == v.data_ptr() for n, v in context.best.parameters.items())


# -- limits


@small_network
@pytest.mark.parametrize(
    "value",
    [WeightNoise(0.0), Dash(1.0), DormantReset(0.0), PartialReset(0.0), WarmRestart(3), RateBump(0.4, 3)],
    ids=lambda value: type(value).__name__,
)
def test_nothing_happens_in_the_limit(network: Network, value: Perturbation) -> None:
    state, context = stack(network)
    if isinstance(value, DormantReset):
        # Units of small networks may be dead at birth: with positive weights and large shifts, none of these is.
        lifted = {n: v.abs() + 30 * n.endswith("bias") for n, v in state.parameters.items()}
        state = replace(state, parameters=lifted)
    new = value.apply(state, context)
    assert all(torch.allclose(new.parameters[n], v, rtol=1e-15, atol=0) for n, v in state.parameters.items())
    assert same(new.buffers, state.buffers)


def test_a_network_all_of_whose_units_are_dormant_is_new_below_its_last_layer() -> None:
    network = NETWORKS["mlp with BatchNorm"]
    state, context = stack(network)
    new = DormantReset(1e9).apply(state, context)
    fresh, fresh_buffers = context.fresh()
    assert torch.equal(new.parameters["layers.0.weight"], fresh["layers.0.weight"])
    assert not new.parameters["layers.3.weight"].any()
    assert not new.parameters["layers.6.weight"].any()
    assert all(torch.equal(v, fresh_buffers[n]) for n, v in new.buffers.items() if not n.endswith("tracked"))


# -- the table


def test_the_catalogue_is_what_the_parameters_know() -> None:
    names = {kind.model_fields["name"].default for kind in spec.perturbations.PERTURBATIONS}
    assert set(CATALOGUE) == names == set(VALUES)
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert isinstance(VALUES[name], entry.value)
        assert ("best" in entry.value.needs) == entry.spec.VALIDATED


def given_section(name: str, **more: Any) -> spec.PerturbationSpec:
    return spec.perturbation_section(
        {"name": name, "period": 3, **({"quantile": 0.5} if name == "partial_reset" else {}), **more}
    )


@pytest.mark.parametrize("name", CATALOGUE)
def test_sections_become_values(name: str) -> None:
    section = given_section(name)
    schedule = perturbations.build(section)
    assert schedule is not None
    assert type(schedule.perturbation) is CATALOGUE[name].value
    # Values and sections agree on the optimiser, and on every parameter that both have.
    assert schedule.perturbation.fresh_optimiser == section.fresh_optimiser
    for key in CATALOGUE[name].parameters:
        if key != "length":
            assert getattr(schedule.perturbation, key) == getattr(section, key)


def test_the_cosine_takes_the_period() -> None:
    built = [perturbations.build(given_section("warm_restart", **more)) for more in ({}, {"length": 2, "floor": 0.1})]
    assert [b.perturbation for b in built if b is not None] == [WarmRestart(3, 0.0), WarmRestart(2, 0.1)]


def test_every_row_has_a_formula_and_sources_that_exist() -> None:
    known = set(re.findall(r"@\w+\{(\w+),", (Path(__file__).parents[1] / "book" / "references.bib").read_text()))
    rows = perturbations.page().splitlines()[2:]
    assert len(rows) == len(CATALOGUE)
    for entry, row in zip(CATALOGUE.values(), rows, strict=True):
        assert set(entry.sources) <= known
        assert row.count("|") == 6
        formulas = re.findall(r"\$([^$]*)\$", row)
        assert len(formulas) == 1 + entry.rule.count(r"\quad")
        for formula in formulas:
            assert formula.count("{") == formula.count("}")
            assert formula == formula.strip()
        assert entry.value.__doc__ is not None
        assert "References\n" in entry.value.__doc__
        assert "Notes\n" in entry.value.__doc__


# -- what is refused


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"name": "warm_restart", "repeat": "once"}, "floor: 0 can leave training without a learning rate for good"),
        ({"name": "warm_restart", "length": 2}, "floor: 0 can leave training without a learning rate for good"),
        ({"name": "warm_restart", "floor": 2}, r"perturbation\.floor: 2 is not possible; allowed: at most 1"),
        ({"name": "rate_bump", "shrink": 0}, r"perturbation\.shrink: 0 is not possible; allowed: above 0"),
        ({"name": "rate_bump", "length": 0}, r"perturbation\.length: 0 is not possible; allowed: at least 1"),
        ({"name": "weight_noise", "sigma": -1}, r"perturbation\.sigma: -1 is not possible; allowed: at least 0"),
        ({"name": "weight_noise", "scale": "own"}, r"perturbation\.scale: 'own' is not possible; allowed: 'relative'"),
        ({"name": "dormant_reset", "tau": -0.1}, r"perturbation\.tau: -0.1 is not possible; allowed: at least 0"),
        ({"name": "dash", "floor": 1.5}, r"perturbation\.floor: 1.5 is not possible; allowed: at most 1"),
    ],
)
def test_impossible_parameters_are_refused_in_one_line(section: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        given_section(**section)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [v for v in VALUES.values() if v.needs], ids=lambda v: type(v).__name__)
def test_what_a_training_cannot_give_is_named(value: Perturbation) -> None:
    state, context = stack(NETWORKS["mlp"])
    bare = Context(fresh=context.fresh, generators=context.generators)
    with pytest.raises(
        InputError, match=f"perturbation: {type(value).__name__} needs .*, and this training gives none"
    ):
        value.apply(state, bare)
