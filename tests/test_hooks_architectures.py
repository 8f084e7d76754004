"""Perturbing networks as people have them: what is to change does, nothing else, and training goes on."""

from __future__ import annotations

import copy
import itertools
import json
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional, init
from torch.nn.utils import parametrizations

from fptlib.errors import InputError
from fptlib.hooks import Perturber
from fptlib.models.initial import otherwise
from fptlib.perturbations import FullReset, Schedule, ShrinkPerturb
from fptlib.perturbations.weights import WeightNoise
from known import same

IMAGE = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.arange(12).view(2, 6) % 7


class Net(nn.Module):
    """A part, what it is given, and perhaps a mask."""

    def __init__(self, part: nn.Module, x: Tensor, head: int = 0) -> None:
        super().__init__()
        self.part, self.x, self.head = part, x, nn.Linear(head, 2) if head else nn.Identity()
        self.register_buffer("mask", torch.ones(2, dtype=torch.bool))
        self.register_buffer("saved", torch.linspace(0, 1, 5))
        self.register_buffer("table", torch.linspace(0, 1, 5), persistent=False)
        self.register_buffer("positions", torch.arange(5))

    def forward(self) -> Tensor:
        out = self.part(self.x)
        result: Tensor = self.head(out[0] if isinstance(out, tuple) else getattr(out, "logits", out))
        return result


def resnet() -> nn.Module:
    return Net(pytest.importorskip("torchvision").models.resnet18(num_classes=5), IMAGE)


def vision_transformer() -> nn.Module:
    vit = pytest.importorskip("torchvision").models.VisionTransformer
    return Net(
        vit(image_size=32, patch_size=16, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16, num_classes=4), IMAGE
    )


def gpt2() -> nn.Module:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(vocab_size=7, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    return Net(transformers.GPT2LMHeadModel(config), TOKENS)


class Adapted(nn.Module):
    """A frozen layer with a low-rank adapter."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(6, 6).requires_grad_(False)
        self.down, self.up = nn.Parameter(torch.randn(2, 6)), nn.Parameter(torch.zeros(6, 2))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.base(x) + x @ self.down.T @ self.up.T
        return out


def frozen() -> nn.Module:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4), nn.Flatten())
    return Net(backbone.requires_grad_(False), IMAGE, 4 * 30 * 30)


def flat_frozen() -> nn.Module:
    part = [nn.BatchNorm2d(3, affine=False), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False), nn.Flatten()]
    return nn.Sequential(Net(nn.Sequential(*part).requires_grad_(False), IMAGE, 3600))[0]


class Averaged(nn.Module):
    """A network beside a running mean of its weights, which nobody froze."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
        self.mean = copy.deepcopy(self.net)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.net(x)
        return out


ROWS = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
KINDS: dict[str, tuple[Callable[[], nn.Module], str]] = {  # and what stays of each
    "ResNet-18": (resnet, ""),
    "vision transformer": (vision_transformer, ""),
    "GPT-2, tied": (gpt2, ""),
    "weight norm": (lambda: Net(parametrizations.weight_norm(nn.Linear(6, 4)), ROWS), ""),
    "spectral norm": (lambda: Net(parametrizations.spectral_norm(nn.Linear(6, 4)), ROWS), ""),
    "frozen backbone": (frozen, "part."),
    "frozen, in a row": (flat_frozen, "part."),
    "adapter": (lambda: Net(Adapted(), ROWS), "part.base"),
    "running mean": (lambda: Net(Averaged(), ROWS), "part.mean"),
    "attention": (lambda: Net(nn.TransformerEncoderLayer(6, 2, 8, dropout=0), ROWS), ""),
    "recurrent": (lambda: Net(nn.LSTM(6, 4), ROWS), ""),
    "one module twice": (lambda: Net(nn.Sequential(*[nn.Linear(6, 6)] * 2), ROWS), ""),
}


def values(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in (*model.named_parameters(), *model.named_buffers())}


def trained(
    model: nn.Module, *, half: bool = False, compiled: bool = False
) -> tuple[torch.optim.Optimizer, Callable[[], None]]:
    """Train by a step, and return the optimiser and what takes another."""
    mine = [value for name, value in model.named_parameters() if value.requires_grad and ".mean." not in name]
    optimizer = torch.optim.Adam(mine, lr=0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=half)
    forward = torch.compile(model, backend="eager") if compiled else model

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = (forward().float() - 1).square().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert loss.isfinite()

    step()
    step()  # where a layer is zero to begin with, the others move only now
    return optimizer, step


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "way"),
    # PyTorch has no recurrent layers in half precision on all CPUs.
    [each for each in itertools.product(KINDS, ["plain", "compiled", "half"]) if each != ("recurrent", "half")],
)
def test_what_is_to_change_does_and_nothing_else(kind: str, way: str) -> None:
    build, stays = KINDS[kind]
    for rule in (FullReset(), ShrinkPerturb(0.4, 0.1, "state"), WeightNoise(0.1))[: 3 if way == "plain" else 1]:
        model = build()
        optimizer, step = trained(model, half=way == "half", compiled=way == "compiled")
        before, objects = values(model), {id(value) for value in model.parameters()}
        wrapped: Any = torch.compile(model, backend="eager") if way == "compiled" else model
        assert Perturber(rule, period=1, seed=3, fresh=build).step(1, wrapped, optimizer)
        after = values(model)
        unmoved = {name for name, value in after.items() if value.equal(before[name])}
        kept = {n for n in before if (stays and n.startswith(stays)) or n in ("mask", "saved", "table", "positions")}
        assert kept <= unmoved
        # Noise in proportion to its size leaves a tensor of zeros as it is.
        still = set(dict(model.named_parameters())) & unmoved - kept
        assert not any(before[name].any() for name in still)
        assert {id(value) for value in model.parameters()} == objects
        step()
        assert not same(values(model), after)


# -- what is initial


def orthogonal(model: nn.Sequential) -> None:
    init.orthogonal_(model[0].weight, 0.25)


def like_bert(model: nn.Sequential) -> None:
    init.trunc_normal_(model[0].weight, std=0.102)


CHANGES: dict[str, Callable[[nn.Sequential], Any]] = {
    "orthogonal": orthogonal,
    "truncated normal": like_bert,
    "small head": lambda model: init.normal_(model[3].weight, std=0.01),
    "zeroed": lambda model: model[3].bias.data.zero_(),
    "filled": lambda model: model[0].bias.data.fill_(0.1),
    "one zero": lambda model: model[4].bias.data.zero_(),
    "gain": lambda model: model[1].weight.data.zero_(),
    "trained statistics": lambda model: model.train()(torch.randn(8, 32)),
    "one out of bounds": lambda model: model[4].bias.data.fill_(-4.6),
    "too narrow": lambda model: init.orthogonal_(model[4].weight, 0.01),
    "slightly too narrow": lambda model: model[3].weight.data.mul_(0.9),
    "mirrored": lambda model: model[3].weight.data[8:].copy_(-model[3].weight.data[:8]),
    "scaled": lambda model: model[0].weight.data.mul_(1.5),
    "shifted": lambda model: model[0].weight.data.add_(0.05),
    "copied": lambda model: model[3].weight.data.copy_(model[2].weight.data[:16]),
}


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 64), nn.BatchNorm1d(64), nn.Linear(64, 64), nn.Linear(64, 16), nn.Linear(16, 1))


@pytest.mark.parametrize("change", CHANGES)
def test_another_initialisation_is_never_guessed(change: str) -> None:
    torch.manual_seed(2)
    model = layers()
    with torch.no_grad():
        CHANGES[change](model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(
        InputError, match=r"fresh: missing; .*pass fresh=lambda: Sequential\(\.\.\.\).*call watch\(model, optimizer\)"
    ):
        Perturber("shrink_perturb", period=9).watch(model, optimizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_pytorch_s_own_initialisation_is_known(dtype: torch.dtype) -> None:
    def tensors(model: nn.Module) -> dict[str, Tensor]:
        return {**dict(model.named_parameters()), **dict(model.named_buffers())}

    others = [
        nn.Sequential(
            nn.GRU(3, 8), nn.Embedding(30, 8, padding_idx=0), nn.Bilinear(2, 3, 4), nn.PReLU(), nn.Conv2d(3, 8, 3)
        )
    ]
    for seed in range(10):
        torch.manual_seed(seed)
        for model in (layers(), nn.Sequential(*[nn.Linear(3, 1) for _ in range(20)]), *others):
            assert otherwise(model.to(dtype), tensors(model)) == ""


class Own(nn.Linear):
    """A layer whose initialisation may do more than the one it inherits."""


def test_layers_that_are_not_pytorch_s_are_refused() -> None:
    for part in (Own(2, 2), nn.MultiheadAttention(4, 2), parametrizations.weight_norm(nn.Linear(3, 2))):
        optimizer = torch.optim.SGD(part.parameters(), lr=0.1)
        with pytest.raises(InputError, match="does not belong to one layer of torch"):
            Perturber("full_reset", period=2).watch(nn.Sequential(part), optimizer)
    head = nn.Linear(4, 7, bias=False)
    model = nn.Sequential(nn.Embedding(7, 4), head)
    head.weight = model[0].weight  # type: ignore[assignment]
    with pytest.raises(InputError, match="does not belong to one layer"):
        Perturber("full_reset", period=2).watch(model, torch.optim.SGD(model.parameters(), lr=0.1))


def test_a_network_seen_before_training_is_drawn_by_its_layers_ever_after() -> None:
    model = layers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    perturber = Perturber("full_reset", period=2, seed=1)
    perturber.watch(model, optimizer)
    model(torch.randn(8, 32)).sum().backward()
    optimizer.step()
    with pytest.raises(InputError, match=r"fresh: missing; 1\.bias"):
        Perturber("full_reset", period=2).step(1, model, optimizer)
    resumed = Perturber("full_reset", period=2)
    resumed.load_state_dict(perturber.state_dict())
    resumed.watch(model, optimizer)
    assert resumed.step(2, model, optimizer)
    assert otherwise(model, dict(model.named_parameters())) == ""


def test_a_factory_that_repeats_itself_is_refused() -> None:
    model = layers()
    kept = copy.deepcopy(model)

    def seeded() -> nn.Module:
        torch.manual_seed(0)
        return layers()

    def loaded() -> nn.Module:
        new = layers()
        new.load_state_dict(model.state_dict())
        return new

    lazy = nn.Sequential(nn.LazyLinear(4))
    for fresh in (lambda: copy.deepcopy(model), lambda: kept, seeded, loaded):
        with pytest.raises(InputError, match="fresh: builds the same values under two seeds"):
            Perturber("shrink_perturb", period=2, fresh=fresh).watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match=r"fresh: 0\.weight is lazy and has no shape yet; run one batch"):
        Perturber("full_reset", period=2, fresh=lambda: lazy).watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match=r"model: 0\.weight is lazy"):
        Perturber("full_reset", period=2).watch(lazy, torch.optim.SGD(lazy.parameters(), lr=0.1))


# -- rows, complex numbers, optimisers


@pytest.mark.parametrize(
    "rule", [FullReset(), ShrinkPerturb(), WeightNoise(0.5), {"name": "partial_reset", "quantile": 1.0}]
)
def test_the_padding_row_of_an_embedding_stays(rule: Any) -> None:
    model = nn.Sequential(nn.Embedding(5, 3, padding_idx=2))
    model[0].weight.data[2] = 7.0
    before = model[0].weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Perturber(rule, period=1, fresh=lambda: nn.Sequential(nn.Embedding(5, 3, padding_idx=2))).step(1, model, optimizer)
    rows = (model[0].weight == before).all(dim=1)
    assert rows.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    "rule", [FullReset(), ShrinkPerturb(), WeightNoise(0.5), {"name": "partial_reset", "quantile": 1.0}]
)
def test_complex_numbers_are_pairs(rule: Any) -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 3, 2))

    class Complex(Pairs):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.view_as_complex(self.weight.detach()))

    torch.manual_seed(0)
    pairs = Pairs()
    single = Complex()
    single.weight.data.copy_(torch.view_as_complex(pairs.weight.detach()))
    before = pairs.weight.detach().clone()
    for model in (pairs, single):
        optimizer = torch.optim.Adam(model.parameters())
        model.weight.abs().sum().backward()
        optimizer.step()
        model.weight.data.copy_(before if model is pairs else torch.view_as_complex(before))
        Perturber(rule, period=1, seed=2, fresh=type(model)).step(1, model, optimizer)
    assert torch.view_as_real(single.weight).equal(pairs.weight)
    assert not pairs.weight.equal(before)


class Counting(torch.optim.SGD):
    """Fills its state when it is made."""

    def __init__(self, params: Any, lr: float = 0.1, start: int = 3) -> None:
        super().__init__(params, lr)
        self.defaults["start"] = start
        for group in self.param_groups:
            for value in group["params"]:
                self.state[value]["count"] = torch.tensor(start)

    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for value in group["params"]:
                self.state[value]["count"] += 1


class Closed(Counting):
    """Cannot be made from its defaults."""

    def __init__(self, params: Any, name: str) -> None:
        super().__init__(params)


def test_an_optimiser_that_fills_its_state_starts_as_it_was_made() -> None:
    for make, name, initial in ((torch.optim.Adagrad, "sum", 0), (lambda p: Counting(p, start=5), "count", 5)):
        model = layers()
        optimizer = make(model.parameters())
        for value in model.parameters():
            value.grad = torch.ones_like(value)
        optimizer.step()
        Perturber(FullReset(), period=1, fresh=layers).step(1, model, optimizer)
        assert all((optimizer.state[value][name] == initial).all() for value in model.parameters())
        optimizer.step()
    closed = Closed(model.parameters(), "x")
    with pytest.raises(
        InputError, match=r"optimizer: Closed cannot be made anew .*keep it with fresh_optimiser: false"
    ):
        Perturber(FullReset(), period=3, fresh=layers).watch(model, closed)
    Perturber(Schedule(rule=FullReset(), period=1, fresh_optimiser=False), fresh=layers).step(1, model, closed)


# -- Hugging Face


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        out = self.net(x)
        return {"loss": functional.cross_entropy(out, labels), "logits": out}


POINTS = torch.randn(26, 4, generator=torch.Generator().manual_seed(1))
DATA = [{"x": x, "labels": (x[0] > 0).long()} for x in POINTS]


def fit(folder: Path, *callbacks: Any, resume: Path | None = None, **options: Any) -> list[float]:
    """Train by the Trainer, and return the losses of its evaluations."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    options = {"num_train_epochs": 6, "eval_strategy": "epoch", "save_strategy": "epoch", **options}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=4, gradient_accumulation_steps=2, learning_rate=0.05, **options,
        report_to=[], use_cpu=True, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = transformers.Trainer(
        Classifier(), arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=list(callbacks)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the Trainer says of small training
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        fitted = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
        trainer.evaluate()  # of no epoch
    return fitted


def callback(rule: Any = "shrink_perturb", *, monitor: str | None = None, **options: Any) -> Any:
    from fptlib.hooks import PerturbTrainerCallback

    return PerturbTrainerCallback(Perturber(rule, **{"period": 2, **options}), monitor=monitor)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["shrink_perturb", "rate_bump", "restart_from_best"])
def test_hugging_face_resumes_to_the_same_training(tmp_path: Path, rule: str) -> None:
    monitor = "eval_loss" if rule == "restart_from_best" else None
    plain, whole = fit(tmp_path / "plain"), fit(tmp_path / "whole", callback(rule, monitor=monitor))
    assert whole[:2] == plain[:2]  # perturbed when the third epoch begins, after the checkpoint of the second
    assert whole[2] != plain[2]
    for checkpoint in sorted((tmp_path / "whole").iterdir())[:4]:
        assert fit(tmp_path / "again", callback(rule, monitor=monitor), resume=checkpoint) == whole
    steps = fit(tmp_path / "steps", callback(rule, monitor=monitor), save_strategy="steps", save_steps=7)
    assert steps == whole
    within = tmp_path / "steps" / "checkpoint-14"
    assert 3 < json.loads((within / "trainer_state.json").read_text())["epoch"] < 4
    assert fit(tmp_path / "again", callback(rule, monitor=monitor), resume=within) == whole


@pytest.mark.slow
def test_hugging_face_leaves_a_network_that_passed_alone(tmp_path: Path) -> None:
    plain = fit(tmp_path / "plain")
    at_two = callback(monitor="eval_loss", threshold=plain[1], direction="below")
    assert fit(tmp_path / "passed", at_two, seed=42) == plain
    assert (at_two.perturber.passed, at_two.perturber.seed) == (2, 42)
    last = callback(monitor="eval_loss", period=9, threshold=plain[5], direction="below")
    fit(tmp_path / "last", last)
    assert last.perturber.passed == 1 + int(np.argmax(np.array(plain) <= plain[5]))
    with pytest.raises(InputError, match="perturber: has seen epoch 5 of another training"):
        fit(tmp_path / "twice", at_two)
    with pytest.raises(InputError, match=r"monitor: no 'eval_f1' is logged in validation; there is .*eval_loss"):
        fit(tmp_path / "f1", callback(monitor="eval_f1", threshold=1))
    with pytest.raises(InputError, match="epoch 2 is to be perturbed but was not validated"):
        fit(tmp_path / "late", callback(monitor="eval_loss", threshold=1), eval_strategy="steps", eval_steps=3)


class HeadFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.backbone = nn.Sequential(nn.BatchNorm1d(4, affine=False), nn.Linear(4, 4)).requires_grad_(False)


class FrozenNorm(nn.Module):
    """A normalisation whose gains and averages are buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Linear(4, 2), nn.Module()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.norm.register_buffer(name, torch.ones(4))


@pytest.mark.parametrize("build", [HeadFirst, FrozenNorm])
def test_frozen_statistics_stay_wherever_they_are_registered(build: Callable[[], nn.Module]) -> None:
    model = build()
    for value in model.buffers():
        value.fill_(7)
    before = values(model)
    trains = torch.optim.SGD([value for value in model.parameters() if value.requires_grad], lr=0.1)
    Perturber("full_reset", period=1, seed=0, fresh=build).step(1, model, trains)
    assert {name for name, value in values(model).items() if not value.equal(before[name])} == {
        "head.weight",
        "head.bias",
    }


@pytest.mark.parametrize("kind", ["failed", "module", "own generator", "copied in part"])
def test_a_factory_is_a_function_of_the_seed_alone(kind: str) -> None:
    model, own = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), torch.Generator()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def drawn() -> nn.Module:
        built = copy.deepcopy(model)
        for value in built.parameters():
            init.normal_(value, generator=own)
        return built

    def copied() -> nn.Module:
        built = copy.deepcopy(model)
        built[1].reset_parameters()  # type: ignore[operator]
        return built

    factories: dict[str, tuple[Any, str]] = {
        "failed": (lambda: [][0], "the function failed, IndexError: list index"),
        "module": (copy.deepcopy(model), "is a network, not a function"),
        "own generator": (drawn, "0.weight is not the same twice under one seed"),
        "copied in part": (copied, "0.weight follows the training"),
    }
    fresh, message = factories[kind]
    perturber = Perturber("full_reset", period=1, seed=0, fresh=fresh)

    def trained_on() -> None:
        perturber.watch(model, optimizer)
        model(torch.ones(3, 4)).sum().backward()
        optimizer.step()
        perturber.step(1, model, optimizer)

    with pytest.raises(InputError, match=f"fresh: {message}"):
        trained_on()


def test_numpy_s_numbers_are_drawn_from_the_seed_and_left_alone() -> None:
    model = nn.Linear(3, 2)

    def built() -> nn.Module:
        new = nn.Linear(3, 2)
        new.weight.data.copy_(torch.from_numpy(np.random.randn(2, 3)) * random.random())  # noqa: NPY002
        return new

    np.random.seed(1)  # noqa: NPY002
    random.seed(1)
    before = np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index] # noqa: NPY002
    Perturber("full_reset", period=1, seed=0, fresh=built).watch(model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert before == (np.random.get_state()[1].tolist(), random.getstate())  # type: ignore[index] # noqa: NPY002


class Sharpness(torch.optim.Optimizer):
    """Takes its steps under another name, with an optimiser inside."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})
        self.base = torch.optim.SGD(self.param_groups, lr=lr, momentum=0.9)

    def second_step(self) -> None:
        self.base.step()


def test_an_optimiser_that_steps_by_another_name_is_named() -> None:
    model = nn.Linear(3, 2)
    optimizer = Sharpness(model.parameters(), 0.1)
    perturber = Perturber("rate_bump", period=1)
    perturber.step(1, model, optimizer)
    optimizer.second_step()
    with pytest.raises(InputError, match=r"optimizer: in epoch 2 Sharpness, .* took no step\(\); pass the optimiser"):
        perturber.step(2, model, optimizer)
    with pytest.raises(InputError, match="Sharpness wraps SGD, and their states"):
        Perturber("full_reset", period=1).watch(model, optimizer)


class Single(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))


@pytest.mark.parametrize(
    ("build", "message"),
    [(lambda: nn.LSTM(3, 4), "no trained parameter is called weight"), (Single, "weight is a single")],
)
def test_weights_without_inputs_are_named(build: Callable[[], nn.Module], message: str) -> None:
    model = build()
    with pytest.raises(InputError, match=f"partial_reset: {message}"):
        Perturber({"name": "partial_reset", "quantile": 0.5}, period=1).watch(
            model, torch.optim.SGD(model.parameters(), lr=0.1)
        )


def test_a_complex_number_is_one_input() -> None:
    model = nn.Linear(100, 50, bias=False, dtype=torch.cfloat)
    rule = {"name": "partial_reset", "quantile": 1.0, "fan_in": "true"}
    Perturber(rule, period=1, seed=0).step(1, model, torch.optim.SGD(model.parameters(), lr=0.1))
    assert 0.099 < torch.view_as_real(model.weight.detach()).abs().max() < 0.1
