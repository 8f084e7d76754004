"""Optimisers on stacked parameters: every kind against a plain loop, resumed, and with runs that have come apart."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fptlib import ensemble, spec
from fptlib.ensemble import optimisers, updates
from fptlib.ensemble.estimate import estimate
from fptlib.ensemble.resources import numerics
from fptlib.errors import InputError
from fptlib.parameters import kinds_of
from fptlib.perturbations import State
from fptlib.spec import OptimiserSpec
from fptlib.spec.optimisers import AdamSpec, AdamWSpec, SgdSpec
from known import small

# The kinds of the library, and every elementwise class of PyTorch, with what changes its arithmetic.
CASES: list[dict[str, Any]] = [
    {"name": "sgd"},
    {"name": "sgd", "momentum": 0.9, "weight_decay": 0.01},
    {"name": "sgd", "momentum": 0.9, "nesterov": True},
    {"name": "sgd", "momentum": 0.9, "dampening": 0.3},
    {"name": "adam", "lr": 0.01},
    {"name": "adam", "lr": 0.01, "amsgrad": True, "weight_decay": 0.1, "betas": [0.8, 0.99], "eps": 1e-4},
    {"name": "adamw", "lr": 0.01},
    {"name": "adamw", "lr": 0.01, "amsgrad": True},
    {"name": "RMSprop", "lr": 0.01, "centered": True, "momentum": 0.5, "alpha": 0.9, "weight_decay": 0.01},
    {"name": "Adadelta", "lr": 1.0, "rho": 0.5, "weight_decay": 0.01},
    {"name": "Adagrad", "lr": 0.1, "initial_accumulator_value": 0.3, "lr_decay": 0.1},
    {"name": "Adamax", "lr": 2e-3, "weight_decay": 0.01},
    {"name": "NAdam", "lr": 2e-3, "decoupled_weight_decay": True, "weight_decay": 0.1, "momentum_decay": 0.1},
    {"name": "RAdam", "lr": 1e-3, "decoupled_weight_decay": True, "weight_decay": 0.1},
    {"name": "ASGD", "lr": 1e-2, "t0": 2, "lambd": 0.1},
    {"name": "Rprop", "lr": 1e-2, "etas": [0.3, 1.5], "step_sizes": [0.001, 0.02]},
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


def class_of(kind: OptimiserSpec) -> str:
    return kind.TORCH or kind.name


def like_pytorch(kind: OptimiserSpec, parameters: Iterator[nn.Parameter] | Sequence[Tensor]) -> torch.optim.Optimizer:
    """PyTorch's class as anybody would make it."""
    made = getattr(torch.optim, class_of(kind))
    takes = inspect.signature(made).parameters
    fields = {name: value for name, value in kind.model_dump().items() if name in takes}
    # PyTorch's two ways of ASGD differ by 1e-8: both keep the rate in single precision, but not the same one.
    return made(parameters, **fields, foreach=True if kind.name == "ASGD" else None)  # type: ignore[no-any-return]


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


def assert_same(result: Any, expected: Any) -> None:
    (parameters, state), (other, kept) = result, expected
    assert all(torch.equal(a, b) for a, b in zip(parameters, other, strict=True))
    assert state.keys() == kept.keys()
    for i, entries in kept.items():
        for name, value in entries.items():
            assert torch.equal(state[i][name], value), name


# -- oracle: PyTorch's own signatures


@pytest.mark.parametrize("kind", [SgdSpec, AdamSpec, AdamWSpec])
def test_fields_and_defaults_are_pytorchs(kind: type[OptimiserSpec]) -> None:
    takes = inspect.signature(getattr(torch.optim, kind.TORCH)).parameters
    how = {"params", "foreach", "maximize", "capturable", "differentiable", "fused", "decoupled_weight_decay"}
    keywords = {name: value.default for name, value in takes.items() if name not in how}
    fields = {name: field.default for name, field in kind.model_fields.items() if name not in {"name", "schedule"}}
    # The learning rate of SGD has no default worth the name in PyTorch; here it is that of the chapters.
    assert fields == keywords | ({"lr": 0.1} if kind is SgdSpec else {})
    assert section({"name": kind.TORCH}) == section({"name": kind.model_fields["name"].default})


def test_every_class_of_pytorch_trains_or_is_refused_in_one_line() -> None:
    reasons = {
        "LBFGS": "LBFGS cannot train stacked runs: .*closure",
        "Adafactor": "Adafactor keeps 'row_var', of shape .*, which cannot be stored",
        "Muon": "Muon only supports 2D parameters",
        "SparseAdam": "SparseAdam cannot train stacked runs: .*dense gradients",
        "Optimizer": "Optimizer.__init__.* unexpected keyword argument 'lr'",
    }
    classes = {name for name, value in vars(torch.optim).items() if isinstance(value, type)}
    assert classes == {class_of(section(case)) for case in CASES} | set(reasons)
    for name, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as caught:
            optimisers.shared(section({"name": name, "lr": 0.1}))
        assert "\n" not in str(caught.value)
    for case in CASES:  # what the built-in kinds need no trial for is what a trial finds
        kept = optimisers._tried(section(case), (4, 3))
        alike = {name for name, value in kept.items() if isinstance(value, Tensor) and value.ndim == 0}
        assert set(optimisers.shared(section(case))) == alike


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alhpa": 0.9}, r"optimiser\.alhpa: unknown key of RMSprop; did you mean 'alpha'\? known: alpha, eps"),
        ({"foreach": True}, r"optimiser\.foreach: unknown key of RMSprop"),
        ({"alpha": -3}, "optimiser: RMSprop: Invalid alpha value: -3; its options: alpha, eps"),
        ({"alpha": "much"}, "optimiser: RMSprop: '<=' not supported"),
        ({"name": "RMSprp"}, r"optimiser\.name: unknown optimiser 'RMSprp'; did you mean 'RMSprop'\? known: .*NAdam"),
        ({"name": "Rprop", "weight_decay": 0.1}, r"optimiser\.weight_decay: unknown key of Rprop; known: etas"),
    ],
)
def test_options_are_checked_before_training(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    requested = small(optimiser={"name": "RMSprop", "lr": 0.01} | change)
    for begin in (ensemble.train, estimate):
        with pytest.raises(InputError, match=message) as caught:
            begin(requested, out=tmp_path)
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_how_options_are_written_does_not_matter() -> None:
    case = {"name": "RMSprop", "lr": 0.01, "alpha": "9e-1", "eps": 1}
    made = section(case)
    assert made == section(case | {"alpha": 0.9})
    assert (made.model_extra, spec.override(PLAIN, {"optimiser": case}).digest()) == (
        {"alpha": 0.9, "eps": 1},
        spec.override(PLAIN, {"optimiser": case | {"alpha": 0.9}}).digest(),
    )
    for wrong in (math.nan, {"a": 1}, [math.inf]):
        with pytest.raises(InputError, match=r"optimiser\.alpha: .* is not a finite number, a text, true, false"):
            section(case | {"alpha": wrong})


# -- parity: stacked as one by one


@every
def test_a_stack_steps_as_each_run_alone_in_pytorch(case: dict[str, Any]) -> None:
    kind, runs = section(case), 3
    shapes = [(5, 4), (4,)]
    start = [gradients((runs, *shape), torch.float64, 1)[0] + 0.5 for shape in shapes]
    steps = [gradients((runs, *shape), torch.float64, 12) for shape in shapes]
    result, _ = walk(kind, start, list(zip(*steps, strict=True)))
    for run in range(runs):
        alone = [value[run].clone() for value in start]
        optimiser = like_pytorch(kind, alone)
        for each in zip(*steps, strict=True):
            for parameter, gradient in zip(alone, each, strict=True):
                parameter.grad = gradient[run].clone()
            optimiser.step()
        for stacked, single in zip(result, alone, strict=True):
            torch.testing.assert_close(stacked[run], single, rtol=1e-9, atol=1e-12)


# -- resuming


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_going_on_from_a_state_is_bit_identical(case: dict[str, Any], dtype: torch.dtype) -> None:
    kind = section(case)
    start = [gradients((3, *shape), dtype, 1)[0] for shape in ((5, 4), (7,))]
    steps = list(zip(*(gradients(value.shape, dtype, 9) for value in start), strict=True))
    for done in (0, 4):
        half, state = walk(kind, start, steps[:done])
        assert_same(walk(kind, half, steps[done:], state), walk(kind, start, steps))


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
    result, state = walk(kind, [torch.cat([ahead[0], late[0]])], [[g[0][[0, 2, 1]]] for g in steps[behind:]], both)
    first = walk(kind, ahead, [[g[0][[0, 2]]] for g in steps[behind:]], kept)
    second = walk(kind, late, [[g[0][[1]]] for g in steps[behind:]], fewer)
    assert_same(([result[0][:2]], rows(state, [0, 1])), first)
    assert_same(([result[0][2:]], rows(state, [2])), second)


def test_a_fresh_optimiser_beside_others_is_marked_and_stays_fresh() -> None:
    kind = section({"name": "NAdam", "lr": 2e-3})
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


# -- optimisers of your own


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
def test_keywords_become_options() -> None:
    optimisers.rule("mine")(Descent)
    made = section({"name": "mine", "power": "2e0", "two": [3, 4]})
    options = {"power": 2.0, "two": (3, 4)}
    assert made.model_dump() == {"name": "mine", "lr": 0.5, "weight_decay": 0.0, **options}
    for change, message in [
        ({"pow": 1}, r"optimiser\.pow: unknown key of mine; did you mean 'power'\?"),
        ({"lr": 0}, r"optimiser\.lr: 0 is not possible; allowed: above 0"),
        ({"weight_decay": 0.1}, r"optimiser\.weight_decay: unknown key of mine; known: power, steps, on, two"),
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
        (lambda self, p, lr: self.state[p].setdefault("path", []).append(1), "keeps 'path', a list, which cannot be"),
        (lambda self, p, lr: self.state[p].update(mean=p.grad.sum(0)), "keeps 'mean', of shape"),
    ],
)
def test_a_rule_that_cannot_train_stacked_runs_is_refused(change: Any, message: str) -> None:
    optimisers.rule("mine")(type("Mine", (Descent,), {"change": change, "__module__": __name__}))
    with pytest.raises(InputError, match=f"optimiser.name: mine {message}") as caught:
        updates.Stack(section({"name": "mine"}), [torch.zeros(2, 3)], State({}, {}, {}, 0.1))
    assert "\n" not in str(caught.value)


def test_names_of_built_in_kinds_and_other_classes_are_refused() -> None:
    with pytest.raises(InputError, match="optimiser 'adam' is built in; another name is needed"):
        optimisers.rule("adam")(Descent)
    with pytest.raises(InputError, match="optimiser 'mine': its constructor takes no lr; a learning rate is needed"):
        optimisers.rule("mine")(type("Mine", (Descent,), {"__init__": lambda self, params: None}))
    with pytest.raises(InputError, match=r"optimiser 'mine': .* is not a subclass of torch.optim.Optimizer"):
        optimisers.rule("mine")(nn.Linear)  # type: ignore[type-var]
