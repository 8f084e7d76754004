"""Learning rates that change with the epoch: PyTorch's schedulers on a plain loop, and factors after a perturbation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain import plain_run

import known
from fptlib import ensemble, spec
from fptlib.ensemble import compute
from fptlib.errors import InputError
from fptlib.perturbations import Context, Perturbation, State, rule
from fptlib.spec.schedules import ConstantSpec, CosineSpec, StepSpec
from known import same

STEP = {"name": "step", "every": 2, "factor": 0.3}
COSINE = {"name": "cosine", "epochs": 8, "floor": 0.1}


def small(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(known.small(**{"model.widths": [9, 8], "training.dtype": "float64"}), changes)


# -- a perturbation of the rate alone


@rule("slow")
@dataclass(frozen=True, slots=True)
class Slow(Perturbation):
    """Nothing but a rate that starts low and comes back."""

    fresh_optimiser: ClassVar[bool] = False

    def rate(self, since: int) -> float:
        return min(1.0, 0.25 * since)

    def apply(self, state: State, context: Context) -> State:
        return state


class Dropped:
    """The learning rate of an optimiser of PyTorch times a factor, and another momentum, after some epochs."""

    def __init__(self, optimiser: torch.optim.Optimizer, epochs: tuple[int, ...], factor: float, momentum: Any) -> None:
        self._group, self._epochs, self._epoch = optimiser.param_groups[0], epochs, 0
        self._change = factor, momentum

    def step(self) -> None:
        self._epoch += 1
        if self._epoch in self._epochs:
            self._group["lr"] *= self._change[0]
            self._group["momentum"] = self._group.get("momentum") if self._change[1] is None else self._change[1]


MOMENTUM = {"name": "sgd", "lr": 0.2, "momentum": 0.6, "weight_decay": 0.01}
ADAM = {"name": "adam", "lr": 0.01}
CNN = {"name": "cnn", "channels": [2, 3]}
KINDS: dict[str, dict[str, Any]] = {
    "compiled": {"optimiser": MOMENTUM},
    "fused": {"optimiser": MOMENTUM},
    "stacked": {"optimiser": ADAM},
    "one by one": {"optimiser": ADAM, "model": CNN, "data": {"name": "mnist5k", "train_size": 45}},
}
SCHEDULES: dict[str, tuple[dict[str, Any], Any]] = {
    "step": (STEP, lambda o: torch.optim.lr_scheduler.StepLR(o, step_size=2, gamma=0.3)),
    "cosine": (
        COSINE,
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=8, eta_min=0.1 * o.param_groups[0]["lr"]),
    ),
}


# -- closed forms


@given(epochs=st.integers(1, 200), floor=st.floats(0, 1), epoch=st.integers(1, 300))
def test_a_cosine_never_rises_and_keeps_to_its_bounds(epochs: int, floor: float, epoch: int) -> None:
    schedule = CosineSpec(epochs=epochs, floor=floor)
    assert floor - 1e-12 <= schedule.at(epoch + 1) <= schedule.at(epoch) <= 1


def test_what_schedules_are() -> None:
    assert {ConstantSpec().at(epoch) for epoch in range(1, 50)} == {1.0}
    assert [StepSpec(every=3, factor=0.5).at(epoch) for epoch in range(1, 8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    cosine = CosineSpec(epochs=10, floor=0.2)
    assert [cosine.at(epoch) for epoch in (1, 6, 11, 12, 500)] == pytest.approx([1, 0.6, 0.2, 0.2, 0.2])


# -- limits


@pytest.mark.parametrize("schedule", [{"name": "step", "every": 100}, {"name": "cosine", "epochs": 5, "floor": 1}])
def test_a_schedule_that_never_changes_the_rate_changes_nothing(tmp_path: Path, schedule: Any) -> None:
    plain = ensemble.train(small(), out=tmp_path)
    assert same(ensemble.train(small(**{"optimiser.schedule": schedule}), out=tmp_path), plain)


def test_without_a_learning_rate_nothing_moves(tmp_path: Path) -> None:
    stopped = small(**{"optimiser.schedule": {"name": "cosine", "epochs": 2}, "model.normalisation": "none"})
    losses = ensemble.train(stopped, out=tmp_path).metrics["test_loss"]
    assert (losses[:, 2:] == losses[:, 1:2]).all()
    assert (losses[:, 1] != losses[:, 0]).all()


# -- oracles: PyTorch


def use(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Let the way that GPUs train be used here."""
    if kind == "fused":
        monkeypatch.setattr(compute, "kind", lambda *_: "fused")


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_schedules_are_those_of_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, schedule: str
) -> None:
    use(monkeypatch, kind)
    section, schedule_of = SCHEDULES[schedule]
    requested = small(**KINDS[kind], **{"optimiser.schedule": section})
    trained = ensemble.train(requested, out=tmp_path, workers=1)
    for run in (0, 11):
        for name, values in plain_run(requested, run, schedule_of).items():
            np.testing.assert_allclose(trained.metrics[name][run], values, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rate_after_a_perturbation_multiplies_that_of_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # Perturbed after epochs 2 and 4: epochs 3 and 5 have a quarter of the rate, 4 and 6 half of it.
    factors = [StepSpec.model_validate(STEP).at(e) * f for e, f in enumerate([1, 1, 0.25, 0.5, 0.25, 0.5], start=1)]
    use(monkeypatch, kind)
    requested = small(**KINDS[kind], **{"optimiser.schedule": STEP, "perturbation": {"name": "slow", "period": 2}})
    trained = ensemble.train(requested, out=tmp_path, workers=1)
    expected = plain_run(requested, 5, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: [*factors, 1][e]))
    for name, values in expected.items():
        np.testing.assert_allclose(trained.metrics[name][5], values, rtol=1e-9, err_msg=name)


def test_a_learning_rate_changed_for_good_goes_by_the_schedule_too(tmp_path: Path) -> None:
    drop = {"name": "rate_drop", "factor": 0.5, "period": 2, "repeat": "once"}
    factors = [1, 1, 0.15, 0.15, 0.045, 0.045, 1]
    halved = small(**{"optimiser.schedule": STEP, "perturbation": drop})
    expected = plain_run(halved, 3, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda e: factors[e]))["train_loss"]
    np.testing.assert_allclose(ensemble.train(halved, out=tmp_path).metrics["train_loss"][3], expected, rtol=1e-9)


@pytest.mark.parametrize(
    ("before", "after", "repeat", "sampling"),
    [
        (0.6, 0.9, "once", "reshuffle"),
        (0.0, 0.9, "periodic", "replace"),
        (0.6, 0.0, "once", "replace"),
        (0.6, None, "periodic", "reshuffle"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_drop_is_pytorch_s_in_every_way_of_computing_and_when_it_is_forked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, before: float, after: Any, repeat: str, sampling: str
) -> None:
    monkeypatch.setattr(compute, "kind", lambda *_: kind)
    requested = small(**{"optimiser": MOMENTUM | {"momentum": before}, "training.sampling": sampling})
    drop = {"name": "rate_drop", "factor": 0.3, "momentum": after, "repeat": repeat}
    forked = ensemble.fork(requested, at=3, perturbation=drop, out=tmp_path / "fork", workers=1)
    at = (3,) if repeat == "once" else (3, 6)
    for name, values in plain_run(forked.spec, 5, lambda o: Dropped(o, at, 0.3, after)).items():
        np.testing.assert_allclose(forked.trajectories.metrics[name][5], values, rtol=1e-9, err_msg=name)
    assert forked.trajectories.meta["trained"] == 3 * 16
    ensemble.train(spec.override(forked.spec, {"epochs": 4}), out=tmp_path / "grown", workers=1)
    assert same(ensemble.train(forked.spec, out=tmp_path / "grown", workers=1), forked.trajectories)


def test_a_momentum_of_its_own_is_sgd_s() -> None:
    drop = {"name": "rate_drop", "momentum": 0.0, "period": 2}
    for optimiser, message in (
        (ADAM, r"perturbation\.momentum: 0 with optimiser\.name: adam is not possible; allowed: optimiser\.name: sgd"),
        (MOMENTUM | {"nesterov": True}, "nesterov: true with momentum 0 .* allowed: momentum above 0"),
    ):
        with pytest.raises(InputError, match=message):
            small(optimiser=optimiser, perturbation=drop)


# -- parity


MIXED: dict[str, dict[str, Any]] = {
    "movable": {"model.widths": [16]},
    "fixed": {},
    "adam": {"optimiser": {"name": "adam", "lr": 0.01, "schedule": STEP}},
}


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("name", ["slow", "rate_drop"])
def test_runs_whose_rates_differ_are_the_same_however_they_are_trained(tmp_path: Path, kind: str, name: str) -> None:
    changes = {
        "optimiser.schedule": COSINE,
        "perturbation": {"name": name, "period": 2},
        "training.sampling": "replace",
        "training.dtype": "float32",
    } | MIXED[kind]
    requested = small(**changes, runs=32)
    together = ensemble.train(requested, out=tmp_path / "one", workers=1)
    assert same(ensemble.train(spec.override(requested, {"runs": 16}), out=tmp_path / "few"), together.head(runs=16))
    assert same(
        ensemble.train(spec.override(requested, {"execution.stack": 5}), out=tmp_path / "five", workers=1), together
    )
    first = ensemble.train(spec.override(requested, {"epochs": 3}), out=tmp_path / "grown")
    grown = ensemble.train(requested, out=tmp_path / "grown")
    assert same(first, together.head(epochs=3))
    assert same(grown, together)


# -- digests


def test_stores_know_schedules_apart() -> None:
    sections = [None, STEP, STEP | {"every": 3}, STEP | {"factor": 0.2}, COSINE, COSINE | {"floor": 0.0}]
    requested = [small() if section is None else small(**{"optimiser.schedule": section}) for section in sections]
    assert len({one.digest() for one in requested}) == len(sections)
    assert small(**{"optimiser.schedule": {"name": "constant"}}).digest() == small().digest()


# -- what is refused


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({"name": "stp"}, r"optimiser\.schedule\.name: unknown schedule 'stp'; did you mean 'step'\?"),
        ({"name": "step"}, r"optimiser\.schedule\.every: missing"),
        ({"name": "step", "every": 3, "factor": 0}, r"optimiser\.schedule\.factor: 0 is not possible"),
        ({"name": "cosine", "epochs": 3, "flor": 0}, r"optimiser\.schedule\.flor: unknown key; did you mean 'floor'"),
        ("cosine", r"optimiser\.schedule: 'cosine' is not a mapping; allowed: name: constant\|cosine\|step"),
    ],
)
def test_impossible_schedules_are_named(schedule: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**{"optimiser.schedule": schedule})
