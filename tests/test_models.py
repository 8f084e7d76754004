"""Stacked networks against single ones."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torchvision.models.resnet import BasicBlock
from torchvision.models.resnet import ResNet as TheirResNet

from fptlib import models, perturbations, spec
from fptlib.errors import InputError
from fptlib.models import MLP, Network, Tensors, run_state
from fptlib.models.cnn import CNN
from fptlib.models.resnet import ResNet, ResNet18
from fptlib.models.stacking import forward

RUNS = 3
CPU = torch.device("cpu")
SUBSET = Path(os.environ.get("FPTLIB_DATA") or "nowhere") / "cifar10-subset.npz"

# Network and shape of its inputs.
KINDS: dict[str, tuple[Network, tuple[int, ...]]] = {
    "mlp": (MLP(n_features=5, widths=(7, 6), n_classes=3, normalisation="none"), (5,)),
    "mlp-bn": (MLP(n_features=12, widths=(7, 6), n_classes=3, normalisation="batch"), (3, 2, 2)),
    "cnn": (CNN(shape=(1, 9, 8), channels=(4, 5), kernel=3, widths=(6,), n_classes=3, normalisation="none"), (1, 9, 8)),
    "cnn-bn": (
        CNN(shape=(3, 8, 8), channels=(4, 5), kernel=5, widths=(), n_classes=3, normalisation="batch"),
        (3, 8, 8),
    ),
    "mlp-ln": (MLP(n_features=5, widths=(7, 6), n_classes=3, normalisation="layer"), (5,)),
    "cnn-ln": (CNN(shape=(1, 8, 8), channels=(4, 5), kernel=3, widths=(6,), n_classes=3, normalisation="layer"), (64,)),
    "resnet18": (ResNet18(n_channels=3, n_classes=10, width=6, scale_buffers=True), (3, 32, 32)),
    "resnet": (ResNet(n_channels=3, n_classes=3, depth=14, width=3), (3, 12, 12)),
    "resnet-ln": (ResNet(n_channels=1, n_classes=3, depth=8, width=3, normalisation="layer"), (64,)),
    "resnet-none": (ResNet(n_channels=1, n_classes=3, depth=8, width=3, normalisation="none"), (64,)),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def generators(runs: int = RUNS, first: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(first + k) for k in range(runs)]


def drawn(kind: str, runs: int = RUNS, first: int = 0) -> tuple[Tensors, Tensors]:
    return KINDS[kind][0].initialise(generators(runs, first), dtype=torch.float64, device=CPU)


def inputs(kind: str, batch: int = 4) -> Tensor:
    return torch.from_numpy(np.random.default_rng(99).normal(size=(RUNS, batch, *KINDS[kind][1])))


def singles(network: Network, parameters: Tensors, buffers: Tensors, training: bool) -> list[nn.Module]:
    """Plain modules with the same values."""
    result = [network.single().double().train(training) for _ in range(RUNS)]
    for run, module in enumerate(result):
        module.load_state_dict(run_state(parameters, buffers, run))
    return result


# -- limits


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    network = MLP(n_features=5, widths=(), n_classes=3, normalisation="batch")
    parameters, buffers = network.initialise(generators(), dtype=torch.float64, device=CPU)
    assert list(parameters) == ["layers.0.weight", "layers.0.bias"]
    assert not buffers
    x = inputs("mlp")
    expected = x @ parameters["layers.0.weight"].mT + parameters["layers.0.bias"][:, None]
    torch.testing.assert_close(forward(network.template(), parameters, buffers, x, training=True), expected)


# -- laws


@every_kind
def test_a_network_is_drawn_alike_whatever_is_drawn_beside_it(kind: str) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for many, one in zip(drawn(kind), drawn(kind, runs=1, first=2), strict=True):
        assert all(torch.equal(many[name][2:], one[name]) for name in many)
    assert torch.equal(torch.get_rng_state(), before)


def test_precisions_draw_the_same_numbers() -> None:
    double, _ = drawn("cnn")
    single, _ = KINDS["cnn"][0].initialise(generators(), dtype=torch.float32, device=CPU)
    assert all(torch.equal(double[name], single[name].double()) for name in double)


def test_runs_are_drawn_differently() -> None:
    parameters, _ = drawn("resnet18")
    assert not torch.equal(parameters["conv1.weight"][0], parameters["conv1.weight"][1])


@every_kind
def test_the_same_inputs_for_every_run_need_not_be_repeated(kind: str) -> None:
    module, x = KINDS[kind][0].template(), inputs(kind)[0]
    both = []
    for given in (x, x.expand(RUNS, *x.shape)):
        parameters, buffers = drawn(kind)
        both.append((forward(module, parameters, buffers, given, training=True), buffers))
    torch.testing.assert_close(both[0], both[1], rtol=1e-12, atol=1e-12)


def test_inputs_that_are_neither_vectors_nor_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"x: shape \(5,\) is neither"):
        forward(KINDS["mlp"][0].template(), *drawn("mlp"), torch.zeros(5), training=False)


def test_a_network_knows_whether_it_has_convolutions() -> None:
    assert {kind: network.has_convolutions for kind, (network, _) in KINDS.items()} == {
        kind: not kind.startswith("mlp") for kind in KINDS
    }


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("kind", ["cnn-bn", "resnet18"])
def test_mixed_precision_reaches_every_layer(kind: str, training: bool) -> None:
    network, _ = KINDS[kind]
    parameters, buffers = network.initialise(generators(), dtype=torch.float32, device=CPU)
    seen: set[torch.dtype] = set()
    module = network.template()
    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(lambda _module, _inputs, output: seen.add(output.dtype))
    parameters = {name: value.requires_grad_() for name, value in parameters.items()}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = forward(module, parameters, buffers, inputs(kind).float(), training=training)
        plain = functional_call(
            network.single().train(training), run_state(parameters, buffers, 0), (inputs(kind)[0].float(),)
        )
    assert seen == {torch.bfloat16}
    # Eight bits of a number are left, and errors add up over the layers.
    torch.testing.assert_close(logits[0], plain, rtol=0.1, atol=0.1)
    logits.float().square().sum().backward()
    assert all(value.grad is not None and value.grad.dtype == torch.float32 for value in parameters.values())


# -- oracle: PyTorch


@every_kind
def test_names_and_shapes_are_those_of_the_single_network(kind: str) -> None:
    network, _ = KINDS[kind]
    parameters, buffers = drawn(kind)
    stacked = {name: tuple(value.shape[1:]) for name, value in {**parameters, **buffers}.items()}
    assert stacked == {name: tuple(value.shape) for name, value in network.single().state_dict().items()}
    assert list(parameters) == [name for name, _ in network.single().named_parameters()]
    assert all(value.is_contiguous() for value in (*parameters.values(), *buffers.values()))


def test_initialisation_has_the_distribution_of_pytorchs_layers() -> None:
    network = CNN(shape=(3, 8, 8), channels=(20, 40), kernel=5, widths=(30,), n_classes=10, normalisation="none")
    parameters, _ = network.initialise(generators(20), dtype=torch.float64, device=CPU)
    fan_in = {"features.0": 75, "features.3": 500, "layers.0": 160, "layers.2": 30}
    for name, value in parameters.items():
        bound = 1 / math.sqrt(fan_in[name.rpartition(".")[0]])
        assert value.abs().max() <= bound
        # The mean square of a uniform law is bound**2 / 3 and has relative variance 4 / 5 for each value.
        error = float(value.square().mean() / (bound**2 / 3) - 1)
        assert abs(error) < 5 * math.sqrt(0.8 / value.numel()), name


@every_kind
@pytest.mark.parametrize("training", [False, True])
def test_outputs_gradients_and_buffers_are_those_of_single_networks(kind: str, training: bool) -> None:
    network, _ = KINDS[kind]
    parameters, buffers = drawn(kind)
    # Away from the identity, where an exchange of gain and shift or of mean and variance would not be seen.
    torch.manual_seed(1)
    for name, value in {**parameters, **buffers}.items():
        if value.is_floating_point() and value.ndim <= 2:
            value.add_(torch.rand_like(value) if "var" in name or "scale" in name else 0.3 * torch.randn_like(value))
    plain = singles(network, parameters, buffers, training)
    parameters = {name: value.requires_grad_() for name, value in parameters.items()}
    before = {name: value.clone() for name, value in buffers.items()}
    x = inputs(kind)
    logits = forward(network.template(), parameters, buffers, x, training=training)
    labels = (torch.arange(logits.shape[0] * logits.shape[1]) % 3).view(logits.shape[:2])
    functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for run, module in enumerate(plain):
        theirs = module(x[run])
        torch.testing.assert_close(logits[run], theirs, rtol=1e-9, atol=1e-12)
        functional.cross_entropy(theirs, labels[run], reduction="sum").backward()
        for name, parameter in module.named_parameters():
            gradient = parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[run], parameter.grad, rtol=1e-9, atol=1e-10)
        for name, buffer in module.named_buffers():
            torch.testing.assert_close(buffers[name][run], buffer, rtol=1e-9, atol=1e-12)
    changed = {name for name, value in buffers.items() if not torch.equal(value, before[name])}
    assert changed == ({name for name in buffers if "scale" not in name} if training else set())


# -- ResNet-18 as torchvision and the published implementation have it


def test_resnet18_is_torchvisions_with_another_stem() -> None:
    theirs = TheirResNet(BasicBlock, [2, 2, 2, 2], num_classes=10).double()
    theirs.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False).double()
    theirs.maxpool = nn.Identity()  # type: ignore[assignment]
    ours = ResNet18(n_channels=3, n_classes=10, width=64, scale_buffers=False).single().double()
    theirs.load_state_dict(ours.state_dict())
    assert sum(parameter.numel() for parameter in ours.parameters()) == 11_173_962
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 32, 32)))
    for module in (ours, theirs):
        functional.cross_entropy(module(x), torch.tensor([3, 7])).backward()
    for (name, mine), (_, other) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(
            mine.grad, other.grad, rtol=1e-9, atol=1e-12, msg=lambda text, n=name: f"{n}: {text}"
        )
    torch.testing.assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-9, atol=1e-12)


def test_resnet18_is_drawn_as_torchvision_draws_it() -> None:
    value = drawn("resnet18", runs=20)[0]["layer3.0.conv1.weight"]
    # Twice the inverse of output channels times the kernel's area; a squared normal number has relative variance 2.
    error = float(value.square().mean() / (2 / (24 * 9)) - 1)
    assert abs(error) < 5 * math.sqrt(2 / value.numel())
    assert value.abs().max() > 1 / math.sqrt(12 * 9)  # outside PyTorch's default


def test_shrinking_the_whole_state_enlarges_the_features() -> None:
    network = ResNet18(n_channels=3, n_classes=10, width=2, scale_buffers=True)
    fresh = network.initialise(generators(), dtype=torch.float64, device=CPU)
    state = perturbations.State(*fresh, optimiser={}, learning_rate=0.1)
    kick = perturbations.ShrinkPerturb(shrink=0.4, perturb=0.1, scope="state")
    context = perturbations.Context(fresh=lambda: fresh, generators=generators())
    expected = [0.5, 0.3, 0.22]
    for scale in expected:
        state = kick.apply(state, context)
        for stage in range(1, 5):
            torch.testing.assert_close(state.buffers[f"scale_{stage}"], torch.full((RUNS,), scale, dtype=torch.float64))
    halved = {name: torch.full_like(value, 0.5) if name == "scale_4" else value for name, value in fresh[1].items()}
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 3, 32, 32)))
    module = network.template()
    plain, enlarged = (forward(module, fresh[0], buffers, x, training=False) for buffers in (fresh[1], halved))
    shift = fresh[0]["fc.bias"][:, None]
    torch.testing.assert_close(enlarged - shift, 2 * (plain - shift))


# -- residual networks of three stages


@pytest.mark.parametrize(("depth", "million"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_parameters_are_as_many_as_he_et_al_state(depth: int, million: float) -> None:
    network = ResNet(n_channels=3, n_classes=10, depth=depth, width=16)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in network.template().modules())
    assert convolutions + 1 == depth
    # Table 6 of the paper, two digits.
    assert float(f"{sum(p.numel() for p in network.template().parameters()) / 1e6:.2g}") == million


@pytest.mark.parametrize("normalisation", ["none", "batch", "layer"])
def test_without_its_branches_a_residual_network_passes_on_pixels_and_zeros(normalisation: Any) -> None:
    module = ResNet(n_channels=1, n_classes=2, depth=14, width=3, normalisation=normalisation).single().double().eval()
    for name, value in module.named_parameters():
        if "conv2" in name:
            value.detach().zero_()
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 8, 8)))
    features = functional.relu(module.get_submodule("norm1")(module.get_submodule("conv1")(x)))
    expected = functional.pad(features[:, :, ::4, ::4].mean(dim=(2, 3)), (0, 9))
    torch.testing.assert_close(module(x), module.get_submodule("fc")(expected))


def test_without_normalisation_features_stay_of_one_size_at_any_depth() -> None:
    # Each of B blocks adds 1/B of the variance that it is given: together less than e - 1 times the first.
    torch.manual_seed(0)
    x = torch.randn(20, 1, 16, 16)
    for depth in (8, 20, 56, 110):
        module = ResNet(n_channels=1, n_classes=2, depth=depth, width=32, normalisation="none").single()
        sizes: list[float] = []
        for name in ("conv1", "layer1"):
            module.get_submodule(name).register_forward_hook(
                lambda _module, _x, y, kept=sizes: kept.append(float(functional.relu(y).square().mean()))
            )
        with torch.no_grad():
            module(x)
        assert 1 < sizes[1] / sizes[0] < 2.5, depth


def test_layer_normalisation_takes_every_image_by_itself() -> None:
    for kind in ("mlp-ln", "cnn-ln", "resnet-ln"):
        network, shape = KINDS[kind]
        module = network.single().double().train()
        x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, *shape)))
        torch.testing.assert_close(module(x)[:1], module(x[:1]))
        assert not list(module.buffers())


def test_vectors_are_square_images() -> None:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 64)))
    networks: list[Network] = [
        CNN((1, 8, 8), (4, 5), 3, (6,), 3),
        ResNet(1, 3, 8, 4),
        ResNet18(1, 3, 2, scale_buffers=False),
    ]
    for network in networks:
        module = network.single().double()
        torch.testing.assert_close(module(x), module(x.view(5, 1, 8, 8)), rtol=0, atol=0)


# -- names


@pytest.mark.parametrize(
    ("section", "shape", "expected"),
    [
        (spec.networks.MlpSpec(widths=(8,)), (1, 2, 3), MLP(6, (8,), 2, normalisation="none")),
        (
            spec.networks.CnnSpec(channels=(4,), kernel=3, widths=(5,), normalisation="batch"),
            (1, 6, 6),
            CNN((1, 6, 6), (4,), 3, (5,), 2, normalisation="batch"),
        ),
        (spec.networks.CnnSpec(channels=(4,)), (64,), CNN((1, 8, 8), (4,), 5, (64,), 2)),
        (spec.networks.MlpSpec(widths=(8,), normalisation="layer"), (4,), MLP(4, (8,), 2, normalisation="layer")),
        (spec.networks.ResNetSpec(depth=14, width=4), (196,), ResNet(1, 2, 14, 4)),
        (spec.networks.ResNet18Spec(width=6, scale_buffers=True), (3, 32, 32), ResNet18(3, 2, 6, scale_buffers=True)),
    ],
)
def test_specifications_become_networks(section: spec.ModelSpec, shape: tuple[int, ...], expected: Network) -> None:
    assert models.build(section, shape=shape, n_classes=2) == expected


@pytest.mark.parametrize(
    ("section", "shape", "message"),
    [
        (
            spec.networks.MlpSpec.model_construct(name="vgg"),
            (4,),
            "no builder for 'vgg'; known: cnn, mlp, resnet, resnet18",
        ),
        (
            spec.networks.CnnSpec(),
            (63,),
            r"model\.name: cnn takes images, .* a vector of 63 numbers; allowed here: mlp",
        ),
        (spec.networks.ResNet18Spec(), (9,), r"model\.name: resnet18 takes images"),
        (
            spec.networks.CnnSpec(channels=(4, 4, 4, 4, 4)),
            (1, 28, 31),
            r"model\.channels: 5 halvings leave nothing of an image of 28 x 31 pixels; allowed: 1 to 4 entries",
        ),
    ],
)
def test_what_cannot_be_built_is_one_line(section: spec.ModelSpec, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        models.build(section, shape=shape, n_classes=2)
    assert "\n" not in str(caught.value)


def test_fully_connected_networks_are_drawn_as_their_modules_are() -> None:
    network = models.MLP(n_features=30, widths=(40, 50), n_classes=10, normalisation="batch")
    generators = [np.random.default_rng(run) for run in range(200)]
    parameters, buffers = network.initialise(generators, dtype=torch.float64, device=torch.device("cpu"))
    assert list(buffers) == [name for name, _ in network.single().named_buffers()]
    by_module, _ = models.Network.initialise(network, generators, dtype=torch.float64, device=torch.device("cpu"))
    for name, value in parameters.items():
        assert value.shape == by_module[name].shape
        np.testing.assert_allclose(value.std(), by_module[name].std(), rtol=0.02, err_msg=name)
        np.testing.assert_allclose(value.abs().max(), by_module[name].abs().max(), rtol=0.01, err_msg=name)
        assert abs(value.mean() - by_module[name].mean()) <= 0.08 * value.abs().max()


@pytest.mark.parametrize("depth", [2, 7, 9, 10, 18])
def test_a_residual_network_of_three_stages_has_six_n_plus_two_layers(depth: int) -> None:
    with pytest.raises(InputError, match=rf"model: depth: {depth} is not 6 n \+ 2; allowed: 8, 14, 20"):
        spec.EnsembleSpec(data={"name": "digits"}, model={"name": "resnet", "depth": depth}, optimiser={"name": "sgd"})
