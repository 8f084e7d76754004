"""Perturbations of your own: a decorated class becomes a kind that the parameters know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch

from fptlib import ensemble, parameters
from fptlib.errors import InputError
from fptlib.perturbations import Context, Perturbation, Schedule, State, rule, schedule
from known import same, small

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


@pytest.fixture(autouse=True)
def kinds() -> Iterator[dict[tuple[str, str], Any]]:
    with parameters.collected() as result:
        yield result


class Nothing(Perturbation):
    """What changes nothing."""

    __slots__ = ()

    def apply(self, state: State, context: Context) -> State:
        return state


@dataclass(frozen=True, slots=True)
class Several(Nothing):
    """Something with fields of every type that the parameters have."""

    fresh_optimiser: ClassVar[bool] = False
    needs: ClassVar[frozenset[Literal["best", "output_layer"]]] = frozenset({"best"})
    amount: float
    count: int = 3
    on: bool = True
    where: Literal["here", "there"] = "here"
    layers: tuple[int, ...] = field(default_factory=lambda: (1, 2))
    bounds: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.amount < 0:
            raise ValueError(f"amount: {self.amount:g} is not possible; allowed: 0 or more")


def test_fields_become_parameters(kinds: dict[tuple[str, str], Any]) -> None:
    assert rule("several")(Several) is Several
    more = {name: kind for (_, name), kind in kinds.items()}
    made = schedule({"name": "several", "period": 5, "amount": "1e-3", "layers": [4]}, more)
    assert made == Schedule(rule=Several(1e-3, layers=(4,)), period=5, repeat="periodic", fresh_optimiser=False)
    own = {"amount": 0.001, "count": 3, "on": True, "where": "here", "layers": (4,), "bounds": (0.0, 1.0)}
    timing = {"repeat": "periodic", "period": 5, "fresh_optimiser": False}
    assert made.model_dump(exclude={"rule"}) == {"name": "several", **timing, **own}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"amount": -1}, "perturbation: amount: -1 is not possible; allowed: 0 or more"),
        ({"amount": float("nan")}, "perturbation.amount: nan is not a finite number"),
        ({"amount": 1, "count": 1.5}, "perturbation.count: 1.5 is not a whole number"),
        ({"amount": 1, "where": "nowhere"}, "perturbation.where: 'nowhere' is not possible"),
        ({}, "perturbation.amount: missing"),
        ({"amount": 1, "aount": 2}, "perturbation.aount: unknown key; did you mean 'amount'"),
    ]
    for values, message in wrong:
        with pytest.raises(InputError, match=message):
            schedule({"name": "several", "period": 1, **values}, more)
    with pytest.raises(InputError, match="unknown perturbation 'several'"):
        schedule({"name": "several", "period": 1, "amount": 1})


def test_a_file_trains(tmp_path: Path) -> None:
    (tmp_path / "flip.py").write_text(SIGN_FLIP)

    def flipped(**more: Any) -> Any:
        kick = {"name": "sign_flip", "period": 2, **more}
        return small(epochs=4, uses=[str(tmp_path / "flip.py")], perturbation=kick)

    unperturbed = ensemble.train(small(epochs=4)).metric("test_loss")
    metric = ensemble.train(flipped(chance=0.5)).metric("test_loss")
    assert flipped().perturbation.rule.chance == 0.1
    assert flipped().digest() != flipped(chance=0.5).digest()
    assert (metric[:, :2] == unperturbed[:, :2]).all()
    assert (metric[:, 2:] != unperturbed[:, 2:]).all()
    assert same({"": ensemble.train(flipped(chance=0)).metric("test_loss")}, {"": unperturbed})


def test_classes_that_cannot_be_used_are_refused_in_one_line() -> None:
    @dataclass
    class Thawed(Nothing):
        pass

    class Undecorated(Several):
        extra: int = 1

    @dataclass(frozen=True)
    class Idle(Perturbation):
        pass

    @dataclass(frozen=True)
    class Clash(Nothing):
        period: int = 3

    @dataclass(frozen=True)
    class Odd(Nothing):
        weights: torch.Tensor

    @dataclass(frozen=True)
    class Greedy(Nothing):
        needs: ClassVar[Any] = frozenset({"luck"})

    wrong: list[tuple[str, Any, str]] = [
        ("own", dict, "perturbation 'own': .* is not a class derived from fptlib.perturbations.Perturbation"),
        ("own", Thawed, "Thawed is no frozen dataclass; write @dataclass"),
        ("own", Undecorated, "Undecorated is no frozen dataclass"),
        ("own", Idle, "Idle has no method apply"),
        ("own", Clash, "no field of its own can be called 'period'"),
        ("own", Odd, "a field has a type that the parameters do not have .*Tensor.*; allowed: float, int"),
        ("own", Greedy, "needs 'luck', which no training gives; allowed: best, output_layer"),
        ("full_reset", Several, "perturbation 'full_reset' is built in; another name is needed"),
    ]
    for name, own, message in wrong:
        with pytest.raises(InputError, match=message) as caught:
            rule(name)(own)
        assert "\n" not in str(caught.value)


def test_a_rule_may_say_with_which_timing_it_is_possible(kinds: dict[tuple[str, str], Any]) -> None:
    @rule("seldom")
    @dataclass(frozen=True)
    class Seldom(Nothing):
        least: int = 5

        def timed(self, period: int, repeat: Any) -> Seldom:
            if period < self.least:
                raise ValueError(f"least: {self.least} is beyond the period, {period}")
            return replace(self, least=0)

    more = {"seldom": Seldom}
    assert schedule({"name": "seldom", "period": 7}, more).rule == Seldom(5)
    with pytest.raises(InputError, match="perturbation: least: 5 is beyond the period, 4"):
        schedule({"name": "seldom", "period": 4}, more)


@pytest.mark.parametrize("change", [lambda v: v.double(), lambda v: v[0]])
def test_a_rule_that_changes_shapes_or_types_is_named(change: Any) -> None:
    @rule("careless")
    @dataclass(frozen=True)
    class Careless(Perturbation):
        def apply(self, state: State, context: Context) -> State:
            return replace(state, parameters={name: change(value) for name, value in state.parameters.items()})

    state = State({"weight": torch.ones(2, 3)}, {}, {}, 0.1)
    acting = Schedule(rule=Careless(), period=1)
    with pytest.raises(InputError, match="careless changes the shape or the type of weight"):
        acting.apply(state, Context(fresh=lambda: ({}, {}), generators=()))
