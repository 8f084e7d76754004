"""Training on a GPU, and everything of it that can be tried without one."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import on_device
import pytest
import torch

from fptlib import models
from fptlib.ensemble import compute, graphs, resources, training
from fptlib.ensemble.streams import streams
from fptlib.perturbations import State

CUDA = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
# On a CPU that others use too, networks of convolutions take their time.
CHECKS = [pytest.param(name, marks=[] if name.startswith("mlp") else pytest.mark.slow) for name in on_device.CHECKS]
WAYS = {"fused": "mlp with BatchNorm", "stacked": "resnet", "one by one": "resnet"}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
@pytest.mark.parametrize("check", CHECKS)
def test_training_on(check: str, device: str) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"execution\.cuda_graphs: there is no GPU here")
        on_device.CHECKS[check](device)


@pytest.mark.parametrize(("way", "work"), WAYS.items())
def test_a_step_leaves_no_tensor_on_the_cpu(way: str, work: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without memory stand for those of a GPU: what meets one of the CPU fails."""
    monkeypatch.setattr(compute, "kind", lambda *_: way)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _: False)  # not known of such tensors
    requested, source, meta = on_device.spec_of(work), on_device.source(work), torch.device("meta")
    network = models.build(requested.model, shape=source.shape, n_classes=10)
    drawn = network.initialise([np.random.default_rng(0)] * 2, dtype=torch.float32, device=torch.device("cpu"))
    moved = [{name: value.to(meta) for name, value in part.items()} for part in drawn]
    stack = compute.build(requested, network, "cuda", State(*moved, {}, 0.1))
    x, y = (torch.from_numpy(part).to(meta) for part in (source.x_train, source.y_train))
    losses = [stack.train(x, y, torch.zeros(2, 45, dtype=torch.int64, device=meta), 10), *stack.evaluate(x, y)]
    assert all(value.device == meta for value in losses)


# -- what goes there and comes back, as if the CPU computed by itself


@pytest.mark.parametrize("perturbed", [False, True])
def test_what_is_drawn_ahead_and_gathered_late_is_the_same(perturbed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"perturbation": on_device.KICK} if perturbed else {}
    plain = on_device.trained("mlp under Adam", "cpu", range(4), 11, keep=(3,), **how)
    drawn = Counter[tuple[int, int]]()

    def counted(seed: int, runs: Any, purpose: Any, epochs: Any) -> Any:
        if purpose == "order":
            drawn.update(zip(runs.tolist(), epochs.tolist(), strict=True))
        return streams(seed, runs, purpose, epochs)

    monkeypatch.setattr(training, "streams", counted)
    monkeypatch.setattr(training, "_ASYNCHRONOUS", ("cpu",))
    late = on_device.trained("mlp under Adam", "cpu", range(4), 11, keep=(3,), **how)
    on_device.agree(late.metrics, plain.metrics, 0)
    on_device.agree(late.take_kept()[0].metrics, plain.take_kept()[0].metrics, 0)
    assert drawn == {(run, epoch): 1 for run in range(4) for epoch in range(1, 13)}, "ahead by one epoch, and not twice"


def test_metrics_wait_where_nothing_retires_and_a_record_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_ASYNCHRONOUS", ("cpu",))
    task = training.Task(on_device.spec_of("mlp"), (0,), 20, "cpu")
    work = training.Training(task, on_device.source("mlp"))
    for _ in range(3):
        work.step_epoch()
    assert np.isnan(work.metrics["train_loss"]).all()
    assert np.isfinite(work.record(0)[0]["train_loss"][:3]).all()
    for _ in range(training._WAITING):
        work.step_epoch()
    assert np.isfinite(work.metrics["train_loss"][0, : 3 + training._WAITING]).all()


def test_a_stack_on_a_gpu_is_what_its_memory_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    requested, source = on_device.spec_of("resnet", **{"execution.memory_gb": 0.1}), on_device.source("resnet")
    network = models.build(requested.model, shape=source.shape, n_classes=10)
    for name, value in {"memory_allocated": 5, "reset_peak_memory_stats": None, "max_memory_allocated": 12}.items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    assert resources._peak(requested, network, source, 2, "cpu") == 7
    monkeypatch.setattr(resources, "_peak", lambda *few: 10**6 + few[-1] * 5 * 2**20)
    assert resources.runs_within(requested, network, source, "cuda") == 20
    assert resources.stack_size(requested, network, source, "cuda") == 16


# -- graphs, where capturing leaves a function to be called


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Let graphs be possible here; returns what is captured."""
    functions: list[Callable[[], None]] = []

    def graph(function: Callable[[], None]) -> Callable[[], None]:
        functions.append(function)
        return function

    for name, value in {"_DEVICES": ("cpu",), "_aside": nullcontext, "_graph": graph, "_BATCHES": 2}.items():
        monkeypatch.setattr(graphs, name, value)
    return functions


@pytest.mark.parametrize(("way", "work"), WAYS.items())
def test_batches_that_are_launched_together_are_the_same(way: str, work: str, captured: list[Any]) -> None:
    how: dict[str, Any] = {"kind": lambda *_: way, "perturbation": on_device.KICK}
    plain = on_device.trained(work, "cpu", range(2), **how)
    assert not captured
    launched = on_device.trained(work, "cpu", range(2), **how, **on_device.GRAPHS)
    assert captured
    on_device.agree(launched.metrics, plain.metrics, 1e-12)
    on_device.agree(*(done.snapshots()[0].parameters for done in (launched, plain)), 0)


def test_learning_rates_that_change_are_not_captured_for_ever(captured: list[Any]) -> None:
    falling = {"optimiser.schedule": {"name": "step", "every": 1, "factor": 0.9}, "training.batch_size": 5}
    plain = on_device.trained("mlp under Adam", "cpu", range(2), 10, **falling)
    launched = on_device.trained("mlp under Adam", "cpu", range(2), 10, **falling, **on_device.GRAPHS)
    assert len(captured) == graphs._MOST
    on_device.agree(launched.metrics, plain.metrics, 1e-12)


def test_what_cannot_be_captured_is_done_as_it_is(captured: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_function: Any) -> Any:
        raise RuntimeError("not while capturing")

    monkeypatch.setattr(graphs, "_graph", broken)
    plain = on_device.trained("mlp under Adam", "cpu")
    with pytest.warns(UserWarning, match=r"execution\.cuda_graphs: failed \(not while capturing\); going on without"):
        launched = on_device.trained("mlp under Adam", "cpu", **on_device.GRAPHS)
    on_device.agree(launched.metrics, plain.metrics, 1e-12)
