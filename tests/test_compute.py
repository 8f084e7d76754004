"""The arithmetic of a stack: every implementation is the same training, and runs may move where it is said so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import known
from fptlib import data, models, spec
from fptlib.ensemble import compute, resources
from fptlib.ensemble.fused import FusedMLP
from fptlib.ensemble.graphs import Launcher
from fptlib.ensemble.streams import streams
from fptlib.perturbations import State


def small(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(known.small(**{"model.widths": [9, 8], "training.dtype": "float64"}), changes)


def start(requested: spec.EnsembleSpec, runs: int = 3) -> tuple[models.Network, data.Dataset, State]:
    source = data.load(requested.data)
    network = models.build(requested.model, shape=source.shape, n_classes=source.n_classes)
    generators = streams(0, range(runs), "initial", [0] * runs)
    drawn = network.initialise(generators, dtype=compute.dtype_of(requested), device=torch.device("cpu"))
    return network, source, State(*drawn, {}, requested.optimiser.lr)


def fused(requested: spec.EnsembleSpec, network: models.Network, state: State) -> FusedMLP:
    assert isinstance(network, models.MLP)
    assert isinstance(requested.optimiser, spec.optimisers.SgdSpec)
    return FusedMLP(network, requested.optimiser, state, Launcher(requested, "cpu"))


def trained(
    work: compute.Compute, requested: spec.EnsembleSpec, source: data.Dataset, runs: int = 3
) -> dict[str, Tensor]:
    """Everything that two epochs and an evaluation leave behind."""
    x, y = compute.tensors(source.x_train, source.y_train, requested, "cpu")
    results: dict[str, Tensor] = {}
    for epoch in (1, 2):
        order = np.stack([g.permutation(len(y)) for g in streams(0, range(runs), "order", [epoch] * runs)])
        results[f"train_loss {epoch}"] = work.train(x, y, torch.from_numpy(order), requested.training.batch_size)
    results["loss"], results["accuracy"] = work.evaluate(
        *compute.tensors(source.x_test[:99], source.y_test[:99], requested, "cpu")
    )
    state = work.state()
    optimiser = {f"{i} {name}": value for i, part in state.optimiser.items() for name, value in part.items()}
    return results | dict(state.parameters) | dict(state.buffers) | optimiser


@pytest.mark.parametrize("name", ["digits", "nuclear-masses"])
@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize("widths", [[], [9], [9, 8, 7]])
@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.9, 0.0), (0.0, 0.01), (0.9, 0.01)])
def test_the_written_out_gradient_is_the_one_that_autograd_finds(
    name: str, normalisation: str, widths: list[int], momentum: float, weight_decay: float
) -> None:
    changes = {"optimiser.momentum": momentum, "optimiser.weight_decay": weight_decay, "optimiser.lr": 0.02}
    changes |= {"data.name": name}
    requested = small(**changes, **{"model.widths": widths, "model.normalisation": normalisation})
    network, source, state = start(requested)
    assert compute.kind(requested, network, "cpu") == "compiled"
    compiled = trained(compute.build(requested, network, "cpu", state), requested, source)
    general = (kind(requested, network, "cpu", state) for kind in (compute.Stacked, compute.OneByOne))
    for other in (fused(requested, network, state), *general):
        same = trained(other, requested, source)
        assert compiled.keys() == same.keys()
        for name, value in compiled.items():
            np.testing.assert_allclose(value, same[name], rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("work", ["compiled", "fused"])
def test_training_goes_on_from_a_state_as_if_it_had_not_stopped(work: str) -> None:
    requested = small(**{"optimiser.momentum": 0.9, "model.normalisation": "batch"})
    network, source, state = start(requested)

    def build(state: State) -> compute.Compute:
        return (
            compute.build(requested, network, "cpu", state) if work == "compiled" else fused(requested, network, state)
        )

    whole = build(state)
    trained(whole, requested, source)
    halves = trained(build(whole.state()), requested, source)
    expected = trained(whole, requested, source)
    assert all(torch.equal(value, expected[name]) for name, value in halves.items())


def test_single_precision_is_near_double_precision() -> None:
    exact = small(**{"model.widths": [64, 200], "model.normalisation": "batch"})  # 64 x 200 x 80 images: in pieces
    rough = small(**{"model.widths": [64, 200], "model.normalisation": "batch", "training.dtype": "float32"})
    network, source, state = start(exact)
    half = State(
        {name: value.float() for name, value in state.parameters.items()},
        {name: value.float() if value.is_floating_point() else value for name, value in state.buffers.items()},
        {},
        state.learning_rate,
    )
    double = trained(compute.build(exact, network, "cpu", state), exact, source)
    single = trained(compute.build(rough, network, "cpu", half), rough, source)
    for name in ("train_loss 1", "train_loss 2", "loss"):
        np.testing.assert_allclose(single[name], double[name], rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("optimiser", [{"name": "adam", "lr": 0.01}, {"name": "adamw", "lr": 0.01}])
def test_elementwise_optimisers_act_on_a_stack_as_on_each_run_and_go_on_from_a_state(optimiser: Any) -> None:
    requested = small(optimiser=optimiser)
    network, source, state = start(requested)
    stacked = compute.build(requested, network, "cpu", state)
    assert isinstance(stacked, compute.Stacked)
    single = compute.OneByOne(requested, network, "cpu", state)
    first, second = trained(stacked, requested, source), trained(single, requested, source)
    again = trained(compute.build(requested, network, "cpu", stacked.state()), requested, source)
    crossed = trained(compute.build(requested, network, "cpu", single.state()), requested, source)
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=1e-9, atol=1e-12, err_msg=name)
        np.testing.assert_allclose(again[name], crossed[name], rtol=1e-7, atol=1e-12, err_msg=name)
    assert (again["0 step"] == 20).all()


def test_which_implementation_is_used() -> None:
    network = start(small())[0]
    assert compute.kind(small(), network, "cuda") == "fused"
    wide = start(small(**{"model.widths": [1024, 1024]}), runs=1)[0]
    assert compute.kind(small(), wide, "cpu") == "one by one"
    assert compute.kind(small(), wide, "cuda") == "fused"
    assert compute.kind(small(training={"dtype": "float32", "autocast": "bfloat16"}), network, "cpu") == "stacked"
    assert compute.kind(small(optimiser={"name": "adam"}), network, "cpu") == "stacked"
    images = models.build(spec.networks.CnnSpec(channels=(4,)), shape=(3, 8, 8), n_classes=10)
    assert compute.kind(small(), images, "cpu") == "one by one"
    assert compute.kind(small(), images, "cuda") == "stacked"


def test_ties_and_overflow_are_judged_as_pytorch_does() -> None:
    # All logits equal: the first class is chosen, so accuracy is the share of images of that class, and not all of them.
    requested = small(**{"model.widths": []})
    network, source, state = start(requested)
    zero = State({name: value * 0 for name, value in state.parameters.items()}, {}, {}, 0.1)
    x, y = compute.tensors(source.x_test, source.y_test, requested, "cpu")
    large = State({name: value * 1e4 for name, value in state.parameters.items()}, {}, {}, 0.1)
    expected, share = compute.Stacked(requested, network, "cpu", large).evaluate(x, y)
    for build in (lambda s: compute.build(requested, network, "cpu", s), lambda s: fused(requested, network, s)):
        loss, accuracy = build(zero).evaluate(x, y)
        assert torch.allclose(accuracy, (y == 0).double().mean())
        assert torch.allclose(loss, torch.tensor(np.log(10)))
        loss, accuracy = build(large).evaluate(x, y)
        assert torch.isfinite(loss).all()
        np.testing.assert_allclose(loss, expected, rtol=1e-9)
        assert torch.equal(accuracy, share)


def test_a_training_that_diverges_says_so() -> None:
    requested = small(**{"optimiser.lr": 1e30, "training.dtype": "float32"})
    network, source, state = start(requested)
    results = trained(compute.build(requested, network, "cpu", state), requested, source)
    assert not torch.isfinite(results["loss"]).any()
    assert not torch.isfinite(results["train_loss 2"]).any()


# -- runs that move


@pytest.mark.parametrize("widths", [[16], [64, 32], [9, 8]])
@pytest.mark.parametrize("normalisation", ["none", "batch"])
def test_a_run_that_may_move_is_the_same_wherever_it_sits(widths: list[int], normalisation: str) -> None:
    requested = small(**{"training.dtype": "float32", "model.widths": widths, "model.normalisation": normalisation})
    network, source, state = start(requested, runs=11)
    assert compute.movable(requested, network, "cpu")
    x, y = compute.tensors(source.x_train, source.y_train, requested, "cpu")
    order = torch.stack([torch.from_numpy(g.permutation(45)) for g in streams(0, range(11), "order", [1] * 11)])

    def after(rows: list[int]) -> Tensor:
        some = {name: value[rows] for name, value in state.parameters.items()}
        buffers = {name: value[rows] for name, value in state.buffers.items()}
        work = compute.build(requested, network, "cpu", State(some, buffers, {}, 0.2))
        work.train(x, y, order[rows], 10)
        return torch.cat([value.flatten(1) for value in work.state().parameters.values()], dim=1)

    whole = after(list(range(11)))
    for rows in ([10, 3, 0], [7], [1, 2, 3, 4, 5, 6, 7, 8]):
        assert torch.equal(after(rows), whole[rows])


def test_the_stack_is_chosen_from_a_stated_budget() -> None:
    requested = small(**{"model.widths": [512, 512]})
    network, source, _ = start(requested)
    per_run = resources.bytes_per_run(requested, network, source)
    assert per_run > 4 * 4 * (64 * 512 + 512 * 512)
    for gigabytes, runs in ((per_run * 3.5 / 2**30, 3), (per_run * 0.1 / 2**30, 1)):
        tight = spec.override(requested, {"execution.memory_gb": gigabytes})
        assert resources.stack_size(tight, network, source, "cpu") == runs
    assert resources.stack_size(spec.override(requested, {"execution.stack": 5}), network, source, "cpu") == 5


# -- options of the general path


def test_mixed_precision_learns_and_stays_near() -> None:
    requested = small(**{"training.dtype": "float32"})
    network, source, state = start(requested)
    exact = trained(compute.build(requested, network, "cpu", state), requested, source)
    mixed = small(**{"training.dtype": "float32", "training.autocast": "bfloat16"})
    rough = trained(compute.build(mixed, network, "cpu", state), mixed, source)
    np.testing.assert_allclose(rough["train_loss 2"], exact["train_loss 2"], rtol=0.02)
    assert not torch.equal(rough["train_loss 2"], exact["train_loss 2"])
    assert rough["layers.0.weight"].dtype == torch.float32


def test_an_option_that_cannot_be_had_is_left_out_with_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(function: Any, **_options: Any) -> Any:
        def call(*_arguments: Any, **_named: Any) -> Any:
            raise RuntimeError("no compiler here")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    requested = small(optimiser={"name": "adam"}, execution={"compile": True})
    network, source, state = start(requested)
    plain = trained(
        compute.build(spec.override(requested, {"execution.compile": False}), network, "cpu", state), requested, source
    )
    with pytest.warns(UserWarning, match=r"execution\.compile: failed \(no compiler here\); going on without"):
        same = trained(compute.build(requested, network, "cpu", state), requested, source)
    assert all(torch.equal(value, same[name]) for name, value in plain.items())
    graphs = spec.override(requested, {"execution": {"compile": False, "cuda_graphs": True}})
    with pytest.warns(UserWarning, match=r"execution\.cuda_graphs: there is no GPU here; going on without"):
        compute.build(graphs, network, "cpu", state)


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_with_channels_last_are_the_same_images(channels_last: bool) -> None:
    network = models.build(spec.networks.CnnSpec(channels=(4, 6), normalisation="batch"), shape=(3, 8, 8), n_classes=10)
    requested = small(**{"execution.channels_last": channels_last})
    rng = np.random.default_rng(0)
    images = data.Dataset(
        x_train=rng.standard_normal((45, 3, 8, 8)).astype(np.float32),
        y_train=rng.integers(0, 10, 45),
        x_valid=None,
        y_valid=None,
        x_test=rng.standard_normal((99, 3, 8, 8)).astype(np.float32),
        y_test=rng.integers(0, 10, 99),
        n_classes=10,
    )
    drawn = network.initialise(streams(0, range(2), "initial", [0, 0]), dtype=torch.float64, device=torch.device("cpu"))
    state = State(*drawn, {}, 0.2)
    stacked = trained(compute.Stacked(requested, network, "cpu", state), requested, images, runs=2)
    single = trained(compute.OneByOne(requested, network, "cpu", state), requested, images, runs=2)
    for name, value in stacked.items():
        np.testing.assert_allclose(value, single[name], rtol=1e-8, atol=1e-11, err_msg=name)


def test_channels_come_last_by_default_where_no_convolution_has_few() -> None:
    for width, last in ((4, False), (7, False), (8, True), (16, True)):
        for name in ("resnet", "resnet18"):
            requested = small(model={"name": name, "width": width})
            assert compute.channels_last(requested, "cpu") == last
            assert not compute.channels_last(requested, "cuda")
    assert not compute.channels_last(small(model={"name": "cnn", "channels": [4, 16]}), "cpu")


@pytest.mark.parametrize("width", [4, 8])
def test_residual_networks_train_on_vectors_that_hold_images(width: int) -> None:
    requested = small(model={"name": "resnet", "width": width})
    network, source, state = start(requested)
    assert source.shape == (64,)
    with resources.numerics():
        single = trained(compute.build(requested, network, "cpu", state), requested, source)
        stacked = trained(compute.Stacked(requested, network, "cpu", state), requested, source)
    for name, value in single.items():
        np.testing.assert_allclose(value, stacked[name], rtol=1e-7, atol=1e-10, err_msg=name)
