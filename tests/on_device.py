"""What must hold wherever runs are trained, as functions of a device: `test_gpu.py` and `benchmarks/gpu.py` call them.

They need neither pytest nor data, and the CPU runs them too, so that no line of theirs meets a GPU untried.
"""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from fptlib import data, ensemble, spec
from fptlib.checkpoints import Snapshot
from fptlib.data import Dataset
from fptlib.ensemble import compute, resources
from fptlib.ensemble import work as tasks
from fptlib.ensemble.training import Task, Training
from fptlib.models import Network
from fptlib.trajectories import Target

Metrics = Mapping[str, Any]
KICK = {"name": "shrink_perturb", "period": 2, "shrink": 0.5, "perturb": 0.2}
STACK = 2  # runs in a stack
GRAPHS = {"execution.cuda_graphs": True}
SGD = {"name": "sgd", "lr": 0.2}
HEAVY = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
# Sections of the parameters by name; 45 examples in batches of 10 leave a last batch of 5.
WORK: dict[str, dict[str, Any]] = {
    "mlp": {"model": {"name": "mlp", "widths": [16]}, "optimiser": SGD},
    "mlp with BatchNorm": {"model": {"name": "mlp", "widths": [16, 8], "normalisation": "batch"}, "optimiser": HEAVY},
    "mlp under Adam": {
        "model": {"name": "mlp", "widths": [16], "normalisation": "layer"},
        "optimiser": {"name": "adam", "lr": 0.01},
    },
    "regression": {"model": {"name": "mlp", "widths": [16]}, "optimiser": {"name": "sgd", "lr": 0.02}},
    "cnn": {"model": {"name": "cnn", "channels": [4, 6]}, "optimiser": SGD},
    "resnet18": {"model": {"name": "resnet18", "width": 4}, "optimiser": HEAVY},
    "resnet": {"model": {"name": "resnet", "width": 8}, "optimiser": SGD},
}
OWN = compute.kind
FUSED = ("mlp", "mlp with BatchNorm", "regression")


def spec_of(work: str, **changes: Any) -> spec.EnsembleSpec:
    """Return the parameters of some work; its section ``data`` is only a name."""
    plain = {"data": {"name": "digits"}, "training": {"batch_size": 10}, **WORK[work]}
    return spec.override(plain, changes)


@functools.cache
def source(work: str) -> Dataset:
    """Return random examples: vectors, or images for networks of convolutions."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((99, 12) if "mlp" in work or work == "regression" else (99, 3, 8, 8)).astype(np.float32)
    if work == "regression":
        y = (x[:, 0] - x[:, 1]).astype(np.float32)
        return Dataset(x[:45], y[:45], None, None, x[45:], y[45:], 1, task="regression")
    classes = rng.integers(0, 10, 99)
    return Dataset(x[:45], classes[:45], None, None, x[45:], classes[45:], 10)


def on_a_gpu(request: spec.EnsembleSpec, network: Network, _device: str) -> str:
    """Return the way in which a GPU trains, whatever the device."""
    return OWN(request, network, "cuda")


def trained(
    work: str,
    device: str,
    runs: Sequence[int] = range(3),
    epochs: int = 3,
    *,
    start: Sequence[Snapshot] = (),
    branches: Sequence[Snapshot] = (),
    retirement: Target | None = None,
    keep: tuple[int, ...] = (),
    stack: int = STACK,
    kind: Callable[..., str] = on_a_gpu,
    **changes: Any,
) -> Training:
    """Return runs after their training, in stacks of so many."""
    task = Task(spec_of(work, **changes), tuple(runs), epochs, device, retirement, keep)
    size = patch("fptlib.ensemble.stacks.stack_size", lambda *_: stack)
    with resources.numerics(), size, patch.object(compute, "kind", kind):
        training = Training(task, source(work), start, branches)
        while training.active:
            training.step_epoch()
    return training


def agree(a: Metrics, b: Metrics, tolerance: float) -> None:
    """Fail where metrics differ by more than a relative tolerance; by a single bit if it is 0."""
    assert a.keys() == b.keys()
    for name in a:
        value, other = np.asarray(a[name]), np.asarray(b[name])
        assert not np.isnan(value).all(), name
        np.testing.assert_allclose(value, other, rtol=tolerance, atol=tolerance, equal_nan=True, err_msg=name)


DOUBLE = {"training.dtype": "float64"}


def trains_as_the_cpu_does(device: str, *, work: str, way: str) -> None:
    """Perturbed training in double precision by one way of computing, beside what the CPU does."""
    expected = trained(work, "cpu", kind=OWN, perturbation=KICK, **DOUBLE)
    result = trained(work, device, kind=lambda *_: way, perturbation=KICK, **DOUBLE)
    agree(result.metrics, expected.metrics, 1e-6)
    whole, other = (training.snapshots()[0] for training in (result, expected))
    agree(whole.parameters, other.parameters, 1e-6)


def is_the_same_however_it_is_trained(device: str, *, work: str, **how: Any) -> None:
    """Chunking, resuming, forking and retiring change no bit."""
    all_runs = range(2 * STACK)
    whole = trained(work, device, all_runs, 4, **how)
    apart = trained(work, device, all_runs[STACK:], 4, **how)
    agree(apart.metrics, {name: values[STACK:] for name, values in whole.metrics.items()}, 0)
    half = trained(work, device, all_runs, 2, **how)
    agree(trained(work, device, all_runs, 4, start=half.snapshots(), **how).metrics, whole.metrics, 0)
    kept = trained(work, device, all_runs, 2, keep=(2,), **how).take_kept()
    kicked = trained(work, device, all_runs, 4, perturbation=KICK, **how)
    agree(trained(work, device, all_runs, 4, branches=kept, perturbation=KICK, **how).metrics, kicked.metrics, 0)
    losses = whole.metrics["train_loss"]
    at = Target(float(np.median(losses[:, 1])), metric="train_loss", direction="below")
    retired = trained(work, device, all_runs, 4, retirement=at, **how)
    assert len(all_runs) < retired.epoch.sum() < 4 * len(all_runs)
    for run, n in enumerate(retired.epoch):
        agree({"loss": retired.metrics["train_loss"][run, :n]}, {"loss": losses[run, :n]}, 0)


def is_the_same_in_a_store(device: str) -> None:
    """What a store is grown to, and forked from, is what training at once gives."""
    some = {"device": device, "runs": 16, "execution.stack": 16}
    with (
        patch.object(data, "load", lambda _: source("mlp with BatchNorm")),
        patch.dict(tasks._LAST, clear=True),
        patch.object(compute, "kind", on_a_gpu),
        tempfile.TemporaryDirectory() as folder,
    ):
        request = spec_of("mlp with BatchNorm", **some, epochs=2)
        ensemble.train(request, out=folder, workers=1)
        longer = spec.override(request, {"epochs": 4})
        grown = ensemble.train(longer, out=folder, workers=1)
        kick = {name: value for name, value in KICK.items() if name != "period"}
        forked = ensemble.fork(longer, at=2, perturbation=kick, out=folder, workers=1)
    whole = trained("mlp with BatchNorm", device, range(16), 4, stack=16)
    agree(grown.metrics, whole.metrics, 0)
    agree(
        forked.trajectories.metrics,
        trained("mlp with BatchNorm", device, range(16), 4, stack=16, perturbation=KICK).metrics,
        0,
    )


def stays_within_its_memory(device: str) -> None:
    """A stack takes no more than the budget, and more than a tenth of it."""
    budget = 0.25
    section = {"execution.memory_gb": budget, "model.width": 16}
    request = spec_of("resnet18", **section)
    training = Training(Task(request, (0,), 1, "cpu"), source("resnet18"))
    size = resources.stack_size(request, training.network, source("resnet18"), device)
    assert 1 < size < 1000
    if device == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        trained("resnet18", device, range(size), 2, stack=size, **section)
        used = (torch.cuda.max_memory_allocated() - before) / 2**30
        assert 0.1 * budget < used < budget, f"a stack of {size} took {used:.3f} GB of {budget}"


def learns_in_half_precision(device: str, *, autocast: str) -> None:
    """Training under autocast lowers the loss, and begins as in single precision."""
    short = trained("resnet", device, epochs=5, **{"training.autocast": autocast}).metrics["train_loss"]
    single = trained("resnet", device, epochs=1).metrics["train_loss"]
    assert (short[:, -1] < short[:, 0]).all()
    np.testing.assert_allclose(short[:, 0], single[:, 0], rtol=0.1)


def gives_the_same_with(device: str, *, work: str, option: str) -> None:
    """An option of carrying training out changes nothing beyond rounding, whether it can be had or not."""
    plain = trained(work, device, **DOUBLE)
    # Without a GPU the compiler's own tests are not ours: what it traces is called as it is.
    traced = functools.partial(torch.compile, backend="eager")
    with warnings.catch_warnings(), patch("torch.compile", traced if device == "cpu" else torch.compile):
        # A compiler may be missing; graphs may not, where there is a GPU.
        warnings.filterwarnings("error" if device == "cuda" and option != "compile" else "ignore", message="execution")
        result = trained(work, device, **DOUBLE, **{f"execution.{option}": True})
    agree(result.metrics, plain.metrics, 1e-9)


def goes_on_without(device: str, *, option: str) -> None:
    """An option that fails is left out with a message, and training is what it was."""

    def broken(*_arguments: Any, **_options: Any) -> Any:
        raise RuntimeError("not here")

    plain = trained("resnet", device)
    name = "torch.compile" if option == "compile" else "torch.cuda.CUDAGraph"
    with patch(name, broken), warnings.catch_warnings(record=True) as messages:
        warnings.simplefilter("always")
        result = trained("resnet", device, **{f"execution.{option}": True})
    assert any(f"execution.{option}" in str(message.message) for message in messages)
    agree(result.metrics, plain.metrics, 0)


Check = Callable[[str], None]
CHECKS: dict[str, Check] = {
    **{
        f"{work}, {way}": functools.partial(trains_as_the_cpu_does, work=work, way=way)
        for work, way in product(WORK, ("fused", "stacked", "one by one"))
        if way != "fused" or work in FUSED
    },
    **{
        f"bits of {work}{', CUDA graphs' if graphs else ''}": functools.partial(
            is_the_same_however_it_is_trained, work=work, **graphs
        )
        for work, graphs in product(("mlp with BatchNorm", "mlp under Adam", "resnet"), ({}, GRAPHS))
        if not (graphs and work == "mlp under Adam")
    },
    "bits of a store": is_the_same_in_a_store,
    "memory": stays_within_its_memory,
    **{kind: functools.partial(learns_in_half_precision, autocast=kind) for kind in ("bfloat16", "float16")},
    **{
        f"{option} of {work}": functools.partial(gives_the_same_with, work=work, option=option)
        for work, option in (
            ("resnet", "channels_last"),
            ("resnet", "cuda_graphs"),
            ("mlp with BatchNorm", "cuda_graphs"),
            ("cnn", "compile"),
            ("mlp under Adam", "compile"),
        )
    },
    **{
        f"{option} that fails": functools.partial(goes_on_without, option=option)
        for option in ("compile", "cuda_graphs")
    },
}
