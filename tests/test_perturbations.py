"""Perturbations as values acting on stacked tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fptlib import perturbations, spec
from fptlib.errors import InputError
from fptlib.perturbations import Context, FullReset, PartialReset, Schedule, ShrinkPerturb, State
from known import same

RUNS = 3


def tensors(seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    torch.manual_seed(seed)
    parameters = {
        "a.weight": torch.randn(RUNS, 5, 4, dtype=torch.float64),
        "a.bias": torch.randn(RUNS, 5, dtype=torch.float64),
        "b.weight": torch.ones(RUNS, 5, dtype=torch.float64),
        "c.weight": torch.randn(RUNS, 6, 2, 3, 3, dtype=torch.float64),
    }
    buffers = {
        "b.running_var": torch.rand(RUNS, 5, dtype=torch.float64),
        "b.num_batches_tracked": torch.full((RUNS,), seed),
    }
    return parameters, buffers


def state() -> State:
    parameters, buffers = tensors(1)
    return State(parameters, buffers, {0: {"momentum_buffer": torch.ones(RUNS, 5, 4)}}, 0.1)


def context() -> Context:
    return Context(fresh=lambda: tensors(2), generators=[np.random.default_rng(k) for k in range(RUNS)])


# -- closed forms


@given(shrink=st.floats(-2, 2), perturb=st.floats(-2, 2))
def test_shrink_perturb_is_its_formula(shrink: float, perturb: float) -> None:
    old, fresh = state(), tensors(2)
    parameters = ShrinkPerturb(shrink, perturb).apply(old, context())
    assert same(parameters.buffers, old.buffers)
    whole = ShrinkPerturb(shrink, perturb, scope="state").apply(old, context())
    for name, value in old.parameters.items():
        assert torch.equal(parameters.parameters[name], shrink * value + perturb * fresh[0][name])
        assert torch.equal(whole.parameters[name], parameters.parameters[name])
    name = "b.running_var"
    assert torch.equal(whole.buffers[name], shrink * old.buffers[name] + perturb * fresh[1][name])
    assert torch.equal(whole.buffers["b.num_batches_tracked"], old.buffers["b.num_batches_tracked"])


@pytest.mark.parametrize(("fan_in", "bound"), [("published", 2**-0.5), ("true", 18**-0.5)])
def test_partial_reset_of_a_convolution_counts_inputs_as_asked(fan_in: str, bound: float) -> None:
    weight = torch.full((RUNS, 600, 2, 3, 3), 1e-9, dtype=torch.float64)
    old = State({"c.weight": weight}, {}, {}, 0.1)
    new = PartialReset(quantile=1, fan_in=fan_in).apply(old, context()).parameters["c.weight"]  # type: ignore[arg-type]
    # The largest of 10800 uniform magnitudes falls short of the bound by 1e-3 of it with probability e**-10.8.
    assert bound * 0.999 < new.abs().max() <= bound


def test_partial_reset_of_a_vector_counts_its_length() -> None:
    old = State({"b.weight": torch.zeros(RUNS, 10_000, dtype=torch.float64)}, {}, {}, 0.1)
    new = PartialReset(quantile=1).apply(old, context()).parameters["b.weight"]
    assert 0.00999 < new.abs().max() <= 0.01


# -- laws


@given(quantile=st.floats(0, 1))
def test_partial_reset_redraws_the_smallest_weights_of_each_run(quantile: float) -> None:
    old = state()
    new = PartialReset(quantile).apply(old, context()).parameters
    assert torch.equal(new["a.bias"], old.parameters["a.bias"])
    names = [name for name in new if name.endswith("weight")]
    before = torch.cat([old.parameters[name].flatten(1) for name in names], 1).abs()
    changed = torch.cat([(old.parameters[name] != new[name]).flatten(1) for name in names], 1)
    for magnitude, redrawn in zip(before, changed, strict=True):
        if redrawn.any() and not redrawn.all():
            assert magnitude[redrawn].max() < magnitude[~redrawn].min()
        # The gains of one are ties: the quantile falls short of its share by them at most.
        assert quantile * redrawn.numel() - 6 <= redrawn.sum() <= quantile * redrawn.numel() + 1


def test_a_run_is_perturbed_alike_whatever_stands_beside_it() -> None:
    old = state()
    for perturbation in (ShrinkPerturb(0.4, 0.1, "state"), FullReset(), PartialReset(0.5)):
        whole = perturbation.apply(old, context())
        alone = State(*({n: v[1:2] for n, v in part.items()} for part in (old.parameters, old.buffers)), {}, 0.1)
        fresh = [{n: v[1:2] for n, v in part.items()} for part in tensors(2)]
        of_one = Context(fresh=lambda fresh=fresh: (fresh[0], fresh[1]), generators=[np.random.default_rng(1)])
        one = perturbation.apply(alone, of_one)
        assert same(one.parameters, {name: value[1:2] for name, value in whole.parameters.items()})
        assert same(one.buffers, {name: value[1:2] for name, value in whole.buffers.items()})


def test_the_given_state_is_left_alone() -> None:
    old = state()
    for perturbation in (ShrinkPerturb(0.4, 0.1, "state"), FullReset(), PartialReset(0.5)):
        perturbation.apply(old, context())
        assert same(old.parameters, state().parameters)
        assert same(old.buffers, state().buffers)


# -- limits


def test_limits_of_shrink_perturb() -> None:
    old = state()
    for scope in ("parameters", "state"):
        nothing = ShrinkPerturb(1, 0, scope).apply(old, context())  # type: ignore[arg-type]
        assert same(nothing.parameters, old.parameters)
        assert same(nothing.buffers, old.buffers)
    assert same(ShrinkPerturb(0, 1).apply(old, context()).parameters, FullReset().apply(old, context()).parameters)


def test_limits_of_partial_reset() -> None:
    old = state()
    assert same(PartialReset(0).apply(old, context()).parameters, old.parameters)
    new = PartialReset(1).apply(old, context()).parameters
    assert all((new[name] != old.parameters[name]).all() for name in new if name.endswith("weight"))


def test_full_reset_draws_everything_afresh() -> None:
    new = FullReset().apply(state(), context())
    assert same(new.parameters, tensors(2)[0])
    assert same(new.buffers, tensors(2)[1])


# -- schedule


@given(period=st.integers(1, 50), epoch=st.integers(1, 500))
def test_schedule(period: int, epoch: int) -> None:
    section = {"name": "full_reset", "period": period}
    for repeat, due in (("periodic", epoch % period == 0), ("once", epoch == period)):
        schedule = perturbations.build(spec.FullResetSpec(**section, repeat=repeat))
        assert schedule is not None
        assert schedule.due(epoch) == due
        assert schedule.last(epoch) == max((e for e in range(1, epoch + 1) if schedule.due(e)), default=0)


def test_a_fresh_optimiser_is_asked_for_by_the_schedule() -> None:
    for fresh in (True, False):
        schedule = Schedule(perturbation=FullReset(), period=1, repeat="once", fresh_optimiser=fresh)
        assert bool(schedule.apply(state(), context()).optimiser) == (not fresh)


def test_specifications_become_values() -> None:
    build = perturbations.build
    assert build(None) is None
    kick = build(spec.ShrinkPerturbSpec(period=3, shrink=0.5, perturb=0.2, scope="state"))
    assert kick == Schedule(ShrinkPerturb(0.5, 0.2, "state"), period=3, repeat="periodic", fresh_optimiser=True)
    part = build(spec.PartialResetSpec(period=3, quantile=0.3, fan_in="true", repeat="once"))
    assert part == Schedule(PartialReset(0.3, "true"), period=3, repeat="once", fresh_optimiser=False)
    with pytest.raises(InputError, match="no builder for 'kick'"):
        build(spec.FullResetSpec.model_construct(name="kick", period=1))


def test_values_and_specifications_agree_on_the_optimiser() -> None:
    sections = [
        spec.ShrinkPerturbSpec(period=1),
        spec.FullResetSpec(period=1),
        spec.PartialResetSpec(period=1, quantile=0),
    ]
    for section in sections:
        schedule = perturbations.build(section)
        assert schedule is not None
        assert schedule.perturbation.fresh_optimiser == section.fresh_optimiser


def test_a_section_by_itself_is_checked_as_in_a_file() -> None:
    assert spec.perturbation_section({"name": "full_reset", "period": 3}) == spec.FullResetSpec(period=3)
    wrong: list[tuple[object, str]] = [
        ({"name": "kick", "period": 3}, "perturbation.name: unknown perturbation 'kick'"),
        ({"name": "full_reset"}, "perturbation.period: missing"),
        ({"name": "full_reset", "period": 0}, "perturbation.period: 0 is not possible; allowed: at least 1"),
        ("full_reset", "perturbation: 'full_reset' is not a mapping"),
    ]
    for section, message in wrong:
        with pytest.raises(InputError, match=message):
            spec.perturbation_section(section)  # type: ignore[arg-type]
