"""Renewal against exact answers: where it holds, where it is off by a known amount, and whether it knows."""

from __future__ import annotations

import dataclasses
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion import published
from fptlib import sources
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, restricted_mean
from fptlib.processes import (
    DelayedGeometric,
    FiniteChain,
    FrozenMixture,
    GeometricWithKick,
    Heterogeneous,
    OrnsteinUhlenbeck,
)
from fptlib.response import Renewal, cycles, geometric_close, renewal
from fptlib.response.verdicts import Status
from fptlib.trajectories import Trajectories

ARCHIVE = Path(os.environ.get("FPTLIB_DATA") or "nowhere") / sources.PUBLISHED.archive
KICK = GeometricWithKick(hazard=0.02, kick=0.3)
MIXTURE = FrozenMixture(silent=10, good=0.4, good_after=0.6, hazard=0.1)
DELAYED = DelayedGeometric(silent=12, hazard=0.01, silent_after=3, hazard_after=0.25)
CHAIN = FiniteChain.birth_death(n_states=6, up=0.3, down=0.2, kick=2)
RESET = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=1.5, start=-2.0)
SHRINK = dataclasses.replace(RESET, shrink=0.4)
TYPES = Heterogeneous(hazard=0.01, hazards_after=(0.3, 0.03), window=5)
PROCESSES = {"kick": KICK, "mixture": MIXTURE, "chain": CHAIN, "reset": RESET, "shrink": SHRINK, "types": TYPES}
MANY = 10**9  # runs behind an exact curve


@cache
def sampled(process: Any, seed: int, n_runs: int, horizon: int, period: int | None = None) -> Trajectories:
    runs: Trajectories = process.sample(
        np.random.default_rng([seed, period or 0]), n_runs=n_runs, horizon=horizon, period=period
    )
    return dataclasses.replace(runs, run=runs.run + (10**6 if period else 0))


def renewed(
    process: Any, periods: list[int], *, period: int = 20, seed: int = 1, n_runs: int = 1000, **more: Any
) -> tuple[Renewal, ...]:
    horizon = more.pop("horizon", 300)
    return renewal(
        sampled(process, seed, n_runs, horizon),
        sampled(process, seed, n_runs, horizon, period),
        period=period,
        threshold=process.threshold,
        periods=periods,
        **{"n_boot": 200, **more},
    )


# Closed forms


@pytest.mark.parametrize("period", [1, 5, 13, 20])
@pytest.mark.parametrize("process", [KICK, MIXTURE])
def test_it_is_exact_where_every_cycle_starts_alike(process: Any, period: int) -> None:
    first = cycles(process.survival(60, period=20)[None], period=20, n_runs=MANY)[:1]
    assert geometric_close(first, period=period)[0] == pytest.approx(process.residual_mean(period))


def test_it_is_off_by_the_known_amount_where_differences_between_runs_survive() -> None:
    first = cycles(TYPES.survival(100, period=20)[None], period=20, n_runs=MANY)[:1]
    assert f"{geometric_close(first, period=20)[0]:.2f}" == "19.56"
    assert f"{TYPES.residual_mean(20):.2f}" == "34.98"


# Laws


@settings(deadline=None, max_examples=50)
@given(h=st.floats(0.01, 0.99), period=st.integers(1, 30))
def test_a_memoryless_cycle_has_the_same_mean_at_every_period(h: float, period: int) -> None:
    cycle: Any = ((1 - h) ** np.arange(31))[None]
    assert geometric_close([cycle], period=period)[0] == pytest.approx(1 / h)


# Samples


def test_the_interval_holds_the_truth_where_it_is_exact() -> None:
    found = renewed(KICK, [5, 10, 20], seed=3, n_runs=2000, level=0.99)
    for one in found:
        assert one.mean.low < KICK.mfpt(one.period) < one.mean.high
        assert one.residual.low < KICK.residual_mean(one.period) < one.residual.high
        assert one.verdict.status is not Status.NOT_VALID
    assert found[-1].verdict.status is Status.VALID
    again = 0.7 * 0.98**19
    assert found[-1].again.low < again < found[-1].again.high


def test_persistent_differences_are_not_called_valid() -> None:
    for n_runs in (300, 2000):
        (found,) = renewed(TYPES, [20], n_runs=n_runs, level=0.99, seed=2)
        assert found.residual.low < 19.56 < found.residual.high
        assert found.verdict.status is Status.NOT_VALID
        assert "repeated perturbation alone" in found.verdict.reason
    # with many runs, what the cycles say is where the truth is
    error = TYPES.mfpt(20) / found.mean.mean - 1
    assert found.verdict.error_low < error < found.verdict.error_high


def test_neither_is_a_period_shorter_than_the_relaxation() -> None:
    # After a step back by 2 of 6 states, five epochs bring few runs where 20 would have.
    (found,) = renewed(CHAIN, [5], n_runs=2000)
    assert CHAIN.mfpt(5) > 5 * found.mean.mean
    assert found.verdict.status is Status.NOT_VALID
    (found,) = renewed(CHAIN, [20], n_runs=2000)
    assert found.verdict.status is Status.VALID
    assert found.mean.mean == pytest.approx(CHAIN.mfpt(20), rel=0.1)


@pytest.mark.parametrize("seed", [5, 6])
@pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
def test_what_is_called_valid_is_within_the_tolerance(process: Any, seed: int) -> None:
    for found in renewed(process, [1, 2, 5, 10, 15, 20], seed=seed):
        sampling = (found.mean.high - found.mean.low) / 2 / found.mean.mean
        error = process.mfpt(found.period) / found.mean.mean - 1
        assert found.verdict.status is not Status.VALID or abs(error) < 0.1 + sampling


def test_a_second_cycle_that_nobody_saw_decides_nothing() -> None:
    # At period 5 two in five would meet a second perturbation, at 20 none did.
    found = renewed(DELAYED, [5, 20], n_runs=400, horizon=60)
    assert found[0].verdict.status is Status.UNVERIFIED
    assert "after a second perturbation" in found[0].verdict.reason
    assert found[1].verdict.status is Status.VALID


def test_a_cycle_that_passes_nobody_has_no_mean() -> None:
    (found,) = renewed(DELAYED, [2], n_runs=400)
    assert (found.mean.mean, found.residual.high, found.again.mean) == (np.inf, np.inf, 1)
    assert found.verdict.status is Status.UNVERIFIED
    assert "no run passed within 2 epochs" in found.verdict.reason


def test_an_infinite_time_that_nobody_meets_counts_for_nothing() -> None:
    # All unperturbed runs pass by epoch 10, none within an epoch of the perturbation that others met.
    plain = np.tile(np.arange(40) >= 9, (40, 1)).astype(float)
    perturbed = np.tile(np.arange(40) >= 25, (40, 1)).astype(float)
    runs = [
        Trajectories(metrics={"m": values}, run=np.arange(40) + 100 * i) for i, values in enumerate((plain, perturbed))
    ]
    (found,) = renewal(*runs, period=10, threshold=1, periods=[10], n_boot=20)
    assert (found.mean.mean, found.residual.mean) == (10, np.inf)
    assert found.verdict.reason == "no run is left to be perturbed at epoch 10"


def test_few_survivors_are_flagged() -> None:
    (found,) = renewed(KICK, [20], n_runs=35)
    assert found.mean.n_runs < 30
    assert found.verdict.status is Status.UNVERIFIED


# The real thing


@pytest.mark.published
@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"no {ARCHIVE.name} in $FPTLIB_DATA")
def test_the_published_runs_at_74_percent_are_not_renewed() -> None:
    plain, at_50 = published.unperturbed(), published.perturbed("partial_reset", 50)
    found = renewal(plain, at_50, period=50, threshold=74, periods=[5, 20, 50], n_boot=200)
    for one in found:
        measured = first_passage(published.perturbed("partial_reset", one.period), threshold=74)
        truth = restricted_mean(measured, n_boot=2).mean
        assert one.verdict.status is not Status.VALID or abs(truth / one.mean.mean - 1) < 0.1


# What is refused


def test_what_is_refused() -> None:
    with pytest.raises(InputError, match="period 21 is not between 1 and 20"):
        renewed(KICK, [21], n_runs=50)
    with pytest.raises(InputError, match="first cycle needs 40 epochs, and the horizon is 39"):
        renewed(KICK, [5], n_runs=50, horizon=39)
