"""Optimisers on stacked parameters: every kind against a plain loop, resumed, and with runs that have come apart."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fptlib import models, spec
from fptlib.data import Dataset, load
from fptlib.ensemble import compute, optimisers, updates
from fptlib.ensemble.resources import numerics
from fptlib.ensemble.streams import streams
from fptlib.errors import InputError
from fptlib.parameters import kinds_of
from fptlib.perturbations import State
from fptlib.spec import OptimiserSpec
from fptlib.spec.optimisers import OPTIMISERS, REFUSED

# Every kind, with its defaults and with what changes its arithmetic.
CASES: list[dict[str, Any]] = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "sgd", "momentum": 0.9, "dampening": 0.3},
    {"name": "adam", "lr": 0.01},
    {"name": "adam", "lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "betas": [0.8, 0.99], "eps": 1e-4},
    {"name": "adamw", "lr": 0.01},
    {"name": "adamw", "lr": 0.01, "amsgrad": True},
    {"name": "rmsprop"},
    {"name": "rmsprop", "centered": True, "momentum": 0.5, "alpha": 0.9, "weight_decay": 0.01},
    {"name": "adadelta"},
    {"name": "adadelta", "rho": 0.5, "weight_decay": 0.01},
    {"name": "adagrad", "lr": 0.1},
    {"name": "adagrad", "lr": 0.1, "initial_accumulator_value": 0.3, "lr_decay": 0.1},
    {"name": "adamax"},
    {"name": "adamax", "weight_decay": 0.01},
    {"name": "nadam"},
    {"name": "nadam", "decoupled_weight_decay": True, "weight_decay": 0.1, "momentum_decay": 0.1},
    {"name": "radam"},
    {"name": "radam", "decoupled_weight_decay": True, "weight_decay": 0.1},
    {"name": "asgd"},
    {"name": "asgd", "t0": 2, "lambd": 0.1},
    {"name": "rprop"},
    {"name": "rprop", "etas": [0.3, 1.5], "step_sizes": [0.001, 0.02]},
]
PLAIN = {"data": {"name": "digits"}, "model": {"name": "mlp"}}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with numerics():
        yield


def titled(case: dict[str, Any]) -> str:
    return " ".join(str(value) if key == "name" else f"{key}={value}" for key, value in case.items())


every = pytest.mark.parametrize("case", CASES, ids=titled)


def section(case: dict[str, Any]) -> OptimiserSpec:
    return spec.override(PLAIN, {"optimiser": case}).optimiser


def like_pytorch(kind: OptimiserSpec, parameters: Iterator[nn.Parameter] | Sequence[Tensor]) -> torch.optim.Optimizer:
    """PyTorch's class as anybody would make it."""
    made = getattr(torch.optim, kind.TORCH)
    takes = inspect.signature(made).parameters
    fields = {name: value for name, value in kind.model_dump().items() if name in takes}
    # PyTorch's two ways of ASGD differ by 1e-8: both keep the rate in single precision, but not the same one.
    return made(parameters, **fields, foreach=True if kind.TORCH == "ASGD" else None)  # type: ignore[no-any-return]


def gradients(shape: tuple[int, ...], dtype: torch.dtype, steps: int) -> Tensor:
    """Random gradients ``(steps, ...)`` of very different size, some of them zero."""
    random = torch.Generator().manual_seed(3)
    values = torch.randn(steps, *shape, dtype=torch.float64, generator=random)
    sizes = 10 ** torch.randint(-3, 2, values.shape, generator=random).to(torch.float64)
    return (values * sizes * (torch.rand(values.shape, generator=random) > 0.1)).to(dtype)


def walk(kind: OptimiserSpec, start: Sequence[Tensor], steps: Sequence[Sequence[Tensor]], state: Any = None) -> Any:
    """Parameters and state after steps with the given gradients."""
    parameters = [value.clone() for value in start]
    stack = updates.Stack(kind, parameters, State({}, {}, state or {}, kind.lr))
    for each in steps:
        stack.zero_grad()
        for parameter, gradient in zip(parameters, each, strict=True):
            parameter.grad = gradient.clone()
        stack.step()
    return parameters, stack.state()


def rows(state: Any, which: Sequence[int]) -> Any:
    return {i: {name: value[list(which)] for name, value in entries.items()} for i, entries in state.items()}


def assert_same(found: Any, expected: Any) -> None:
    (parameters, state), (other, kept) = found, expected
    assert all(torch.equal(a, b) for a, b in zip(parameters, other, strict=True))
    assert state.keys() == kept.keys()
    for i, entries in kept.items():
        for name, value in entries.items():
            assert torch.equal(state[i][name], value), name


# -- oracle: PyTorch's own signatures


def test_every_class_of_pytorch_is_a_kind_or_refused_with_the_reason() -> None:
    classes = {
        name
        for name, value in vars(torch.optim).items()
        if isinstance(value, type) and issubclass(value, torch.optim.Optimizer) and value is not torch.optim.Optimizer
    }
    assert {kind.TORCH for kind in OPTIMISERS} | set(REFUSED) == classes
    assert {kind.TORCH for kind in OPTIMISERS} == {section(case).TORCH for case in CASES}


@pytest.mark.parametrize("kind", OPTIMISERS, ids=lambda kind: kind.TORCH)
def test_fields_and_defaults_are_pytorchs(kind: type[OptimiserSpec]) -> None:
    takes = inspect.signature(getattr(torch.optim, kind.TORCH)).parameters
    keywords = {name: value.default for name, value in takes.items() if name not in {"params", *optimisers.HOW}}
    # Adam with decoupled weight decay is AdamW, which has a name of its own.
    own = keywords if kind.TORCH != "Adam" else {k: v for k, v in keywords.items() if k != "decoupled_weight_decay"}
    fields = {name: field.default for name, field in kind.model_fields.items() if name not in {"name", "schedule"}}
    assert set(own) | {"weight_decay"} == set(fields)
    assert {name: value for name, value in fields.items() if name in own and name != "lr"} == {
        name: tuple(value) if isinstance(value, list) else value for name, value in own.items() if name != "lr"
    }
    # The learning rate of SGD has no default worth the name in PyTorch; here it is that of the chapters.
    assert kind.TORCH == "SGD" or fields["lr"] == own["lr"]


@pytest.mark.parametrize("kind", OPTIMISERS, ids=lambda kind: kind.TORCH)
def test_a_kind_is_known_by_pytorchs_spelling_as_well(kind: type[OptimiserSpec]) -> None:
    assert section({"name": kind.TORCH}) == section({"name": kind.model_fields["name"].default})


# -- parity: stacked as one by one


@every
def test_a_stack_steps_as_each_run_alone_in_pytorch(case: dict[str, Any]) -> None:
    kind, runs = section(case), 3
    shapes = [(5, 4), (4,)]
    start = [gradients((runs, *shape), torch.float64, 1)[0] + 0.5 for shape in shapes]
    steps = [gradients((runs, *shape), torch.float64, 12) for shape in shapes]
    found, _ = walk(kind, start, list(zip(*steps, strict=True)))
    for run in range(runs):
        alone = [value[run].clone() for value in start]
        optimiser = like_pytorch(kind, alone)
        for each in zip(*steps, strict=True):
            for parameter, gradient in zip(alone, each, strict=True):
                parameter.grad = gradient[run].clone()
            optimiser.step()
        for stacked, single in zip(found, alone, strict=True):
            torch.testing.assert_close(stacked[run], single, rtol=1e-9, atol=1e-12)


def task(case: dict[str, Any], **changes: Any) -> tuple[spec.EnsembleSpec, models.Network, Dataset, State]:
    asked = spec.override(
        {
            "data": {"name": "digits", "train_size": 60, "test_size": 50},
            "model": {"name": "mlp", "widths": [12, 7], "normalisation": "batch"},
            "optimiser": case,
            "training": {"batch_size": 20, "dtype": "float64"},
        },
        changes,
    )
    source = load(asked.data)
    network = models.build(asked.model, shape=source.shape, n_classes=source.n_classes)
    drawn = network.initialise(
        streams(0, range(3), "initial", [0] * 3), dtype=compute.dtype_of(asked), device=torch.device("cpu")
    )
    return asked, network, source, State(*drawn, {}, asked.optimiser.lr)


# Convolutions train one run after another: the optimisers differ there only in what they keep.
NETWORKS = [pytest.param(case, {}, id=f"mlp {titled(case)}") for case in CASES]
NETWORKS += [
    pytest.param(case, {"model": {"name": "cnn", "channels": [4], "widths": [5]}}, id=f"cnn {titled(case)}")
    for case in CASES
    if set(case) <= {"name", "lr"}
]


@pytest.mark.parametrize(("case", "model"), NETWORKS)
def test_training_in_a_stack_is_a_plain_loop_of_pytorch(case: dict[str, Any], model: dict[str, Any]) -> None:
    asked, network, source, state = task(case, **model)
    x, y = compute.tensors(source.x_train, source.y_train, asked, "cpu")
    order = torch.stack([torch.randperm(len(y), generator=torch.Generator().manual_seed(run)) for run in range(3)])
    work = compute.build(asked, network, "cpu", state)
    for _ in range(2):
        work.train(x, y, order, 20)
    done = work.state()
    for run in range(3):
        module = network.template().to(torch.float64).to_empty(device="cpu")
        module.load_state_dict(models.run_state(state.parameters, state.buffers, run))
        optimiser = like_pytorch(asked.optimiser, module.parameters())
        for _ in range(2):
            for batch in torch.split(order[run], 20):
                optimiser.zero_grad()
                nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
        for name, parameter in module.named_parameters():
            if "bias" in name and f"{name.removesuffix('bias')}weight" in done.parameters and _before_norm(asked, name):
                continue  # a bias before BatchNorm has the gradient zero up to rounding, which signs and roots blow up
            torch.testing.assert_close(
                done.parameters[name][run],
                parameter.detach(),
                rtol=1e-8,
                atol=1e-10,
                msg=lambda text, name=name: f"{name}: {text}",
            )


def _before_norm(asked: spec.EnsembleSpec, name: str) -> bool:
    return asked.model.has_batch_norm and asked.optimiser.TORCH not in {"SGD", "ASGD"}


# -- resuming


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_going_on_from_a_state_is_bit_identical(case: dict[str, Any], dtype: torch.dtype) -> None:
    kind = section(case)
    start = [gradients((3, *shape), dtype, 1)[0] for shape in ((5, 4), (7,))]
    steps = list(zip(*(gradients(value.shape, dtype, 9) for value in start), strict=True))
    half, state = walk(kind, start, steps[:4])
    assert_same(walk(kind, half, steps[4:], state), walk(kind, start, steps))


@every
def test_an_optimiser_can_be_resumed_before_its_first_step(case: dict[str, Any]) -> None:
    kind = section(case)
    start = [gradients((3, 5), torch.float32, 1)[0]]
    steps = list(zip(gradients((3, 5), torch.float32, 4), strict=True))
    same, state = walk(kind, start, [])
    assert_same(walk(kind, same, steps, state), walk(kind, start, steps))


# -- runs at different steps


@settings(max_examples=4)
@given(
    shape=st.lists(st.integers(1, 19), min_size=1, max_size=2).map(tuple), behind=st.integers(1, 4), seen=st.booleans()
)
@every
def test_runs_that_came_apart_go_on_as_each_would_alone(
    case: dict[str, Any], shape: tuple[int, ...], behind: int, seen: bool
) -> None:
    """Runs 0 and 2 have done some steps; run 1 fewer, or none at all."""
    kind = section(case)
    start = [gradients((3, *shape), torch.float32, 1)[0]]
    steps = list(zip(gradients((3, *shape), torch.float32, 10), strict=True))
    ahead, kept = walk(kind, [start[0][[0, 2]]], [[g[0][[0, 2]]] for g in steps[:behind]])
    late, fewer = walk(kind, [start[0][[1]]], [[g[0][[1]]] for g in steps[:1]] if seen else [])
    both = updates.joined([kept, fewer], [2, 1])
    found, state = walk(kind, [torch.cat([ahead[0], late[0]])], [[g[0][[0, 2, 1]]] for g in steps[behind:]], both)
    first = walk(kind, ahead, [[g[0][[0, 2]]] for g in steps[behind:]], kept)
    second = walk(kind, late, [[g[0][[1]]] for g in steps[behind:]], fewer)
    assert_same(([found[0][:2]], rows(state, [0, 1])), first)
    assert_same(([found[0][2:]], rows(state, [2])), second)


def test_a_fresh_optimiser_beside_others_is_marked_and_stays_fresh() -> None:
    kind = section({"name": "nadam"})
    start = [gradients((2, 3), torch.float32, 1)[0]]
    _, kept = walk(kind, start, list(zip(gradients((2, 3), torch.float32, 2), strict=True)))
    both = updates.joined([kept, {}], [2, 1])
    assert both[0][updates.FRESH].tolist() == [False, False, True]
    assert updates.joined([{}, {}], [2, 1]) == {}
    assert updates.joined([both, {}], [3, 1])[0][updates.FRESH].tolist() == [False, False, True, True]
    steps = list(zip(gradients((1, 3), torch.float32, 2), strict=True))
    assert_same(walk(kind, [start[0][:1]], steps, rows(both, [2])), walk(kind, [start[0][:1]], steps))


def test_a_learning_rate_can_be_changed_between_steps() -> None:
    kind = section({"name": "adam"})
    both = {0: {"step": torch.tensor([1.0, 2.0]), "exp_avg": torch.ones(2, 3), "exp_avg_sq": torch.ones(2, 3)}}
    for state in ({}, both):
        parameter = torch.zeros(2, 3)
        stack = updates.Stack(kind, [parameter], State({}, {}, state, 0.1))
        stack.set_rate(0.0)
        parameter.grad = torch.ones(2, 3)
        stack.step()
        assert torch.equal(parameter, torch.zeros(2, 3))
        stack.set_rate(0.1)
        stack.step()
        assert (parameter < -0.01).all()


# -- optimisers of one's own


class Descent(torch.optim.Optimizer):
    """Steepest descent that says what it was given."""

    def __init__(self, params: Any, lr: float = 0.5, *, power: float = 1, steps: int = 3, on: bool = True, two=(1, 2)):  # type: ignore[no-untyped-def]
        super().__init__(params, {"lr": lr, "power": power})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                self.change(p, group["lr"])

    def change(self, p: Tensor, lr: float) -> None:
        p -= lr * p.grad


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kinds that a test makes known are forgotten after it."""
    kinds = kinds_of("optimiser")
    for name in ("mine", "other"):
        monkeypatch.setitem(kinds, name, OptimiserSpec)
        monkeypatch.delitem(kinds, name)


@pytest.mark.usefixtures("known")
def test_keywords_become_fields() -> None:
    optimisers.rule("mine")(Descent)
    made = section({"name": "mine", "power": "2e0", "two": [3, 4]})
    assert made.model_dump() == {
        "name": "mine",
        "lr": 0.5,
        "weight_decay": 0.0,
        "power": 2.0,
        "steps": 3,
        "on": True,
        "two": (3.0, 4.0),
    }
    for change, message in [
        ({"pow": 1}, r"optimiser\.pow: unknown key; did you mean 'power'\?"),
        ({"steps": 1.5}, r"optimiser\.steps: 1\.5 is not a whole number"),
        ({"on": 3}, r"optimiser\.on: 3 is not true or false"),
        ({"weight_decay": 0.1}, r"optimiser\.weight_decay: 0\.1 is not possible; allowed: at most 0"),
    ]:
        with pytest.raises(InputError, match=message):
            section({"name": "mine", **change})


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda self, p, lr: p.sub_(lr * p.grad / p.grad.norm()), "does not treat every entry by itself"),
        (lambda self, p, lr: p.sub_(lr * p.grad if p.ndim > 1 else p), "does not treat every entry by itself"),
        (
            lambda self, p, lr: p.sub_(setattr(self, "n", getattr(self, "n", 0) + 1) or self.n * lr * p.grad),
            "keeps something outside its state",
        ),
        (
            lambda self, p, lr: self.state[p].setdefault("path", []).append(1),
            "keeps 'path', a list, which cannot be stored",
        ),
        (
            lambda self, p, lr: self.state[p].update(mean=p.grad.sum(0)),
            "keeps 'mean', of shape",
        ),
    ],
)
def test_a_rule_that_cannot_train_stacked_runs_is_refused(change: Any, message: str) -> None:
    optimisers.rule("mine")(type("Mine", (Descent,), {"change": change, "__module__": __name__}))
    with pytest.raises(InputError, match=f"optimiser.name: mine {message}") as caught:
        updates.Stack(section({"name": "mine"}), [torch.zeros(2, 3)], State({}, {}, {}, 0.1))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("constructor", "message"),
    [
        (lambda self, params: None, "takes no lr; a learning rate is needed"),
        (lambda self, params, lr=1.0, **more: None, r"takes \*\*more; allowed: keywords by name"),
        (lambda self, params, lr=1.0, name="x": None, "no field can be called 'name'"),
        (lambda self, params, lr=1.0, table=None: None, "table = None says no type"),
    ],
)
def test_keywords_that_cannot_become_fields_are_refused(constructor: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"optimiser 'mine': .*{message}"):
        optimisers.rule("mine")(type("Mine", (Descent,), {"__init__": constructor, "__module__": __name__}))


def test_names_of_built_in_kinds_and_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="optimiser 'adam' is built in; a kind of one's own needs another name"):
        optimisers.rule("adam")(Descent)
    with pytest.raises(InputError, match=r"optimiser 'mine': .* is not a subclass of torch.optim.Optimizer"):
        optimisers.rule("mine")(nn.Linear)  # type: ignore[type-var]
