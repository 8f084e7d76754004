"""Stacked networks against single ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fptlib import models, spec
from fptlib.errors import InputError
from fptlib.models import StackedMLP, run_state

RUNS = 4
CPU = torch.device("cpu")


def generators(runs: int = RUNS, first: int = 0) -> list[np.random.Generator]:
    return [np.random.default_rng(first + k) for k in range(runs)]


def make(batch_norm: bool, widths: tuple[int, ...] = (7, 6)) -> StackedMLP:
    return StackedMLP(n_features=5, widths=widths, n_classes=3, batch_norm=batch_norm)


def inputs(batch: int = 9) -> Tensor:
    return torch.from_numpy(np.random.default_rng(99).normal(size=(RUNS, batch, 5)))


# -- limits


def test_no_hidden_layer_is_a_linear_classifier() -> None:
    model = make(batch_norm=True, widths=())
    parameters, buffers = model.initialise(generators(), dtype=torch.float64, device=CPU)
    assert list(parameters) == ["layers.0.weight", "layers.0.bias"]
    assert not buffers
    x = inputs()
    expected = x @ parameters["layers.0.weight"].mT + parameters["layers.0.bias"][:, None]
    torch.testing.assert_close(model.forward(parameters, buffers, x, training=True), expected)


# -- laws


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_network_is_drawn_alike_whatever_is_drawn_beside_it(batch_norm: bool) -> None:
    whole = make(batch_norm).initialise(generators(), dtype=torch.float64, device=CPU)
    alone = make(batch_norm).initialise(generators(1, first=2), dtype=torch.float64, device=CPU)
    for many, one in zip(whole, alone, strict=True):
        assert all(torch.equal(many[name][2:3], one[name]) for name in many)


def test_precisions_draw_the_same_numbers() -> None:
    double, _ = make(False).initialise(generators(), dtype=torch.float64, device=CPU)
    single, _ = make(False).initialise(generators(), dtype=torch.float32, device=CPU)
    assert all(torch.equal(double[name].float(), single[name]) for name in double)


def test_the_same_inputs_for_every_run_need_not_be_repeated() -> None:
    model = make(True)
    parameters, buffers = model.initialise(generators(), dtype=torch.float64, device=CPU)
    x = inputs()[0]
    shared = model.forward(parameters, buffers, x, training=False)
    assert torch.equal(shared, model.forward(parameters, buffers, x.repeat(RUNS, 1, 1), training=False))


# -- oracle: PyTorch


@pytest.mark.parametrize("batch_norm", [False, True])
def test_names_and_shapes_are_those_of_the_single_network(batch_norm: bool) -> None:
    model = make(batch_norm)
    parameters, buffers = model.initialise(generators(), dtype=torch.float32, device=CPU)
    stacked = {name: tuple(value.shape[1:]) for name, value in {**parameters, **buffers}.items()}
    assert stacked == {name: tuple(value.shape) for name, value in model.single().state_dict().items()}
    assert list(parameters) == [name for name, _ in model.single().named_parameters()]


def test_initialisation_has_pytorchs_distribution() -> None:
    model = StackedMLP(n_features=100, widths=(200,), n_classes=10, batch_norm=True)
    parameters, buffers = model.initialise(generators(20), dtype=torch.float64, device=CPU)
    torch.manual_seed(0)
    singles = [model.single().state_dict() for _ in range(20)]
    for name, value in {**parameters, **buffers}.items():
        theirs = torch.stack([single[name] for single in singles]).double()
        if name.startswith("layers.1."):
            assert torch.equal(value.double(), theirs), name
            continue
        bound = 1 / math.sqrt(100 if name.startswith("layers.0") else 200)
        for sample in (value, theirs):
            assert sample.abs().max() <= bound
            # The mean square of a uniform law is bound**2 / 3 and has relative variance 4 / 5 for each value.
            error = float(sample.square().mean() / (bound**2 / 3) - 1)
            assert abs(error) < 5 * math.sqrt(0.8 / sample.numel()), name


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_outputs_gradients_and_buffers_are_those_of_single_networks(batch_norm: bool, training: bool) -> None:
    model = make(batch_norm)
    parameters, buffers = model.initialise(generators(), dtype=torch.float64, device=CPU)
    # Away from the identity, where an exchange of gain and shift or of mean and variance would not be seen.
    torch.manual_seed(1)
    for name, value in {**parameters, **buffers}.items():
        if value.is_floating_point():
            value.add_(torch.rand_like(value) if "var" in name else 0.3 * torch.randn_like(value))
    single = [model.single().double().train(training) for _ in range(RUNS)]
    for run, network in enumerate(single):
        network.load_state_dict(run_state(parameters, buffers, run))
    parameters = {name: value.requires_grad_() for name, value in parameters.items()}
    labels = torch.arange(RUNS * 9).view(RUNS, 9) % 3
    logits = model.forward(parameters, buffers, inputs(), training=training)
    functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
    for run, network in enumerate(single):
        theirs = network(inputs()[run])
        torch.testing.assert_close(logits[run], theirs, rtol=1e-12, atol=1e-12)
        functional.cross_entropy(theirs, labels[run], reduction="sum").backward()
        for name, parameter in network.named_parameters():
            gradient = parameters[name].grad
            assert gradient is not None
            torch.testing.assert_close(gradient[run], parameter.grad, rtol=1e-10, atol=1e-12)
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(buffers[name][run], buffer, rtol=1e-12, atol=1e-12)


# -- names


def test_specifications_become_models() -> None:
    section = spec.MlpSpec(widths=(8,), normalisation="batch")
    assert models.build(section, n_features=4, n_classes=2) == StackedMLP(4, (8,), 2, batch_norm=True)
    with pytest.raises(InputError, match="no builder for 'cnn'; known: mlp"):
        models.build(spec.MlpSpec.model_construct(name="cnn"), n_features=4, n_classes=2)
