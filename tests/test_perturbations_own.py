"""Perturbations of one's own: a decorated class becomes a kind that the parameters know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from fptlib import ensemble, perturbations, spec
from fptlib.errors import InputError
from fptlib.perturbations import Context, Perturbation, Schedule, State, rule
from fptlib.spec import kinds

SIGN_FLIP = '''
from dataclasses import dataclass, replace

import numpy as np
import torch

from fptlib.perturbations import Perturbation, rule


@rule("sign_flip")
@dataclass(frozen=True)
class SignFlip(Perturbation):
    """Weights change their sign, each with a probability."""

    chance: float = 0.1

    def apply(self, state, context):
        flipped = {}
        for name, value in state.parameters.items():
            drawn = np.stack([rng.random(value.shape[1:]) for rng in context.generators])
            flipped[name] = torch.where(torch.from_numpy(drawn < self.chance).to(value.device), -value, value)
        return replace(state, parameters=flipped)
'''
PLAIN: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 50},
    "model": {"name": "mlp", "widths": [4]},
    "optimiser": {"name": "sgd", "lr": 0.1},
    "runs": 3,
    "epochs": 4,
    "device": "cpu",
}


@pytest.fixture(autouse=True)
def _known_here_only() -> Iterator[None]:
    with kinds.collected():
        yield


@dataclass(frozen=True, slots=True)
class Several(Perturbation):
    """Something with fields of every type that the parameters have."""

    fresh_optimiser: ClassVar[bool] = False
    needs: ClassVar[frozenset[Literal["best", "probe", "network", "gradient"]]] = frozenset({"best"})
    amount: float
    count: int = 3
    on: bool = True
    where: Literal["here", "there"] = "here"
    layers: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"amount: {self.amount:g} is not possible; allowed: 0 or more")

    def apply(self, state: State, context: Context) -> State:
        """Nothing."""
        return state


def section(own: type[Perturbation], name: str = "own") -> type[spec.PerturbationSpec]:
    with kinds.collected() as found:
        assert rule(name)(own) is own
    ((_, kind),) = found.items()
    assert issubclass(kind, spec.PerturbationSpec)
    return kind


# -- what it becomes


def test_fields_become_parameters() -> None:
    kind = section(Several)
    made = kind(period=5, amount="1e-3", layers=[4])
    schedule = perturbations.build(made)
    assert schedule == Schedule(Several(1e-3, layers=(4,)), period=5, repeat="periodic", fresh_optimiser=False)
    assert kind.VALIDATED
    assert kind.__doc__ == Several.__doc__
    assert set(kind.model_fields) - set(spec.PerturbationSpec.model_fields) == {
        "amount",
        "count",
        "on",
        "where",
        "layers",
        "bounds",
    }
    assert kind(period=1, amount=0).model_dump() == kind(period=1, amount=0.0, count=3.0).model_dump()


def test_it_has_all_timings() -> None:
    kind = section(Several)
    for repeat in ("once", "periodic"):
        schedule = perturbations.build(kind(amount=1, period=4, repeat=repeat))
        assert schedule is not None
        assert schedule.repeat == repeat


def test_two_files_may_use_one_name() -> None:
    @dataclass(frozen=True)
    class Other(Perturbation):
        def apply(self, state: State, context: Context) -> State:
            return replace(state, learning_rate=0.0)

    first, second = section(Several, "same"), section(Other, "same")
    built = [perturbations.build(kind(period=1, **more)) for kind, more in ((first, {"amount": 1}), (second, {}))]
    assert [type(schedule.perturbation) for schedule in built if schedule is not None] == [Several, Other]


# -- the real thing


def test_a_file_trains(tmp_path: Path) -> None:
    (tmp_path / "flip.py").write_text(SIGN_FLIP)
    uses = {"uses": [str(tmp_path / "flip.py")]}
    plain = spec.EnsembleSpec(**PLAIN)

    def asked(**more: Any) -> spec.EnsembleSpec:
        return spec.override({**PLAIN, **uses}, {"perturbation": {"name": "sign_flip", "period": 2, **more}})

    unperturbed = ensemble.train(plain)
    flipped, never = ensemble.train(asked(chance=0.5)), ensemble.train(asked(chance=0))
    assert asked().perturbation.chance == 0.1  # type: ignore[union-attr]
    assert asked().digest() != asked(chance=0.5).digest()
    before, after = slice(0, 2), slice(2, 4)
    metric = flipped.metric("test_loss")
    assert (metric[:, before] == unperturbed.metric("test_loss")[:, before]).all()
    assert (metric[:, after] != unperturbed.metric("test_loss")[:, after]).all()
    assert (never.metric("test_loss") == unperturbed.metric("test_loss")).all()


# -- what is refused


def test_values_are_checked_where_they_are_written() -> None:
    rule("several")(Several)
    kind = section(Several, "several")
    with pytest.raises(ValueError, match="amount: -1 is not possible; allowed: 0 or more"):
        kind(period=1, amount=-1)
    for wrong in ({"amount": float("nan")}, {"amount": 1, "count": 1.5}, {"amount": 1, "where": "nowhere"}, {}):
        with pytest.raises(ValueError, match="validation error"):
            kind(period=1, **wrong)


def test_classes_that_cannot_be_used_are_refused_in_one_line() -> None:
    @dataclass
    class Thawed(Perturbation):
        def apply(self, state: State, context: Context) -> State:
            return state

    class Undecorated(Several):
        extra: int = 1

    @dataclass(frozen=True)
    class Idle(Perturbation):
        pass

    @dataclass(frozen=True)
    class Clash(Perturbation):
        period: int = 3

        def apply(self, state: State, context: Context) -> State:
            return state

    @dataclass(frozen=True)
    class Odd(Perturbation):
        weights: torch.Tensor

        def apply(self, state: State, context: Context) -> State:
            return state

    @dataclass(frozen=True)
    class Greedy(Perturbation):
        needs: ClassVar[Any] = frozenset({"luck"})

        def apply(self, state: State, context: Context) -> State:
            return state

    wrong: list[tuple[Any, str]] = [
        (dict, "perturbation 'own': .* is not a class derived from fptlib.perturbations.Perturbation"),
        (Thawed, "Thawed is no frozen dataclass; write @dataclass"),
        (Undecorated, "Undecorated is no frozen dataclass"),
        (Idle, "Idle has no method apply"),
        (Clash, "no field of its own can be called 'period'"),
        (Odd, "weights has the type .*Tensor.*, which the parameters do not have; allowed: float, int"),
        (Greedy, "needs 'luck', which no training gives; allowed: best, probe, network, gradient"),
    ]
    for own, message in wrong:
        with pytest.raises(InputError, match=message) as caught:
            rule("own")(own)
        assert "\n" not in str(caught.value)
    with pytest.raises(
        InputError, match="perturbation 'full_reset' is built in; a kind of one's own needs another name"
    ):
        rule("full_reset")(Several)
    with pytest.raises(InputError, match="is no name"):
        rule("")(Several)
