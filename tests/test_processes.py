"""Processes with known answers: closed forms, laws, limits, oracles, simulation, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from fptlib.errors import InputError
from fptlib.processes import (
    Annealed,
    DelayedGeometric,
    DriftDiffusion,
    FiniteChain,
    FrozenMixture,
    GeometricWithKick,
    Heterogeneous,
    OrnsteinUhlenbeck,
    Process,
)
from known import CHAIN, DELAYED, KICK, MIXTURE, PROCESSES, RESET, SHRINK, TYPES

DRIFT = DriftDiffusion(distance=20, drift=0.5, noise=1)
every_process = pytest.mark.parametrize("process", [*PROCESSES.values(), DRIFT], ids=[*PROCESSES, "drift"])
hazards = st.floats(0.01, 1.0)
periods = st.integers(1, 60)
ODD: Any = 2.5
WORD: Any = "loud"


def truncated(process: Process, period: int | None = None, horizon: int = 4000) -> float:
    """Return the mean first-passage time by summing the survival epoch by epoch, a route without any linear solve."""
    return process.restricted_mean(horizon=horizon, period=period)


def finite(transition: Any, perturbation: Any, start: Any) -> FiniteChain:
    """Return the chain of whatever a user may write."""
    return FiniteChain(transition=transition, perturbation=perturbation, start=start)


# Closed forms


@pytest.mark.parametrize(
    ("process", "period", "mean"),
    [
        (KICK, 5, "14.286"),
        (KICK, None, "50"),
        (MIXTURE, 20, "37.224"),
        (MIXTURE, 50, "64.302"),
        (DELAYED, 8, "19"),
        (DELAYED, 20, "26.1847"),
        (DELAYED, 60, "54.5920"),
        (CHAIN, 10, "156.674"),
        (CHAIN, 20, "65.517"),
        (CHAIN, 40, "47.590"),
        (CHAIN, None, "41.756"),
        (RESET, 10, "99.749"),
        (RESET, 30, "52.764"),
        (SHRINK, 10, "46.484"),
        (DRIFT, None, "41.4"),
    ],
)
def test_means_to_their_printed_digits(process: Process, period: int | None, mean: str) -> None:
    digits = len(mean.partition(".")[2])
    assert f"{process.mfpt(period):.{digits}f}" == mean


@given(h=hazards, a=hazards, period=periods)
def test_geometric_with_kick_against_its_closed_form(h: float, a: float, period: int) -> None:
    q = 1 - h
    tau = (1 + (1 - a) * (1 - q ** (period - 1)) / h) / (1 - (1 - a) * q ** (period - 1))
    assert GeometricWithKick(hazard=h, kick=a).mfpt(period) == pytest.approx((1 - q**period) / h + q**period * tau)


@given(silent=st.integers(0, 15), w=st.floats(0, 1), w2=hazards, h=hazards, period=periods)
def test_frozen_mixture_against_its_closed_form(silent: int, w: float, w2: float, h: float, period: int) -> None:
    q, heard = 1 - h, max(period - silent, 0)
    tau = 1 / h + period * (1 - w2) / (w2 * (1 - q**period))
    reached = min(silent, period) + w * (1 - q**heard) / h + (1 - w) * heard
    process = FrozenMixture(silent=silent, good=w, good_after=w2, hazard=h)
    assert process.mfpt(period) == pytest.approx(reached + (w * q**heard + 1 - w) * tau)


@given(silent=st.integers(0, 15), more=st.integers(0, 5), h=st.floats(0.01, 0.9), b=hazards, period=periods)
def test_delayed_geometric_against_its_closed_form(silent: int, more: int, h: float, b: float, period: int) -> None:
    process = DelayedGeometric(silent=silent, hazard=h, silent_after=more, hazard_after=b)
    assert process.residual_mean(period) == pytest.approx(max(silent - period, 0) + more + 1 / b)
    assert process.mfpt() == pytest.approx(silent + 1 / h)


@given(h=st.floats(0.01, 0.9), after=st.lists(hazards, min_size=1, max_size=3), window=st.integers(0, 6), more=periods)
def test_each_type_renews_by_itself(h: float, after: list[float], window: int, more: int) -> None:
    def alone(a: float) -> float:
        survive = (1 - a) ** window
        cycle = (1 - survive) / a + survive * (1 - (1 - h) ** more) / h
        return cycle / (1 - survive * (1 - h) ** more)

    process = Heterogeneous(hazard=h, hazards_after=tuple(after), window=window)
    assert process.residual_mean(window + more) == pytest.approx(np.mean([alone(a) for a in after]))


@given(up=st.floats(0.1, 0.5), down=st.floats(0.0, 0.5), n=st.integers(1, 12))
def test_birth_death_chain_against_its_ladder_sum(up: float, down: float, n: int) -> None:
    # From k the next state up takes (1 + down * (time from k - 1 to k)) / up epochs.
    steps = [1 / up]
    for _ in range(n - 1):
        steps.append((1 + down * steps[-1]) / up)
    chain = FiniteChain.birth_death(n_states=n, up=up, down=down, kick=0)
    assert chain.mfpt() == pytest.approx(sum(steps))


# Laws


@every_process
@pytest.mark.parametrize("period", [None, 1, 7])
def test_survival_starts_at_one_and_never_rises(process: Process, period: int | None) -> None:
    survival = process.survival(100, period=period)
    assert survival.shape == (101,)
    assert survival[0] == 1
    assert (np.diff(survival) <= 0).all()
    assert (survival >= 0).all()


@every_process
@pytest.mark.parametrize("period", [3, 20])
def test_mean_is_the_restricted_mean_plus_the_survivors_residual_time(process: Process, period: int) -> None:
    before, survival = process.restricted_mean(horizon=period), process.survival(period)[-1]
    assert process.mfpt(period) == pytest.approx(before + survival * process.residual_mean(period))
    np.testing.assert_allclose(process.survival(period, period=period), process.survival(period))


@pytest.mark.parametrize(
    ("process", "period"),
    [(KICK, 5), (MIXTURE, 20), (DELAYED, 9), (CHAIN, 20), (SHRINK, 10), (TYPES, 20), (DRIFT, None), (RESET, 30)],
)
def test_elimination_agrees_with_the_sum_of_the_survival(process: Process, period: int | None) -> None:
    assert process.mfpt(period) == pytest.approx(truncated(process, period), rel=1e-9)


@given(n=st.integers(1, 6), up=st.floats(0.2, 0.5), down=st.floats(0.0, 0.3), period=st.integers(6, 60))
def test_full_restart_needs_no_perturbed_run(n: int, up: float, down: float, period: int) -> None:
    chain = FiniteChain.birth_death(n_states=n, up=up, down=down, kick=n)
    sharp = chain.restricted_mean(horizon=period) / (1 - chain.survival(period)[-1])
    assert chain.mfpt(period) == pytest.approx(sharp)


@given(scale=st.floats(0.1, 10))
@settings(max_examples=10)
def test_mean_does_not_depend_on_the_unit_of_the_state(scale: float) -> None:
    scaled = OrnsteinUhlenbeck(decay=0.8, noise=0.6 * scale, threshold=1.5 * scale, start=-2 * scale, shrink=0.4)
    assert scaled.mfpt(10) == pytest.approx(SHRINK.mfpt(10), rel=1e-9)


@pytest.mark.parametrize("period", [None, 1, 12])
def test_a_higher_threshold_is_never_reached_earlier(period: int | None) -> None:
    low, high = (dataclasses.replace(SHRINK, threshold=at).survival(60, period=period) for at in (1.0, 1.5))
    assert (low <= high + 1e-12).all()


# Limits


@pytest.mark.parametrize("process", [KICK, DELAYED, CHAIN, RESET, SHRINK, TYPES, DRIFT])
def test_rare_perturbations_change_nothing(process: Process) -> None:
    assert process.mfpt(6000) == pytest.approx(process.mfpt(), rel=1e-6)


def test_no_shrinking_changes_nothing_and_full_shrinking_to_the_start_is_a_reset() -> None:
    assert dataclasses.replace(RESET, shrink=1.0).mfpt(7) == pytest.approx(RESET.mfpt(), rel=1e-9)
    middle = dataclasses.replace(RESET, start=0.0)
    assert dataclasses.replace(middle, shrink=0.0).mfpt(7) == pytest.approx(middle.mfpt(7), rel=1e-12)


def test_means_diverge_exactly_where_some_run_never_passes() -> None:
    steps = FiniteChain.birth_death(n_states=3, up=1.0, down=0.0, kick=3)
    assert steps.mfpt() == steps.mfpt(3) == steps.mfpt(4) == 3  # an epoch that passes is not perturbed
    assert steps.mfpt(2) == steps.residual_mean(2) == np.inf
    assert MIXTURE.mfpt() == np.inf
    assert dataclasses.replace(MIXTURE, good_after=0.0).mfpt(30) == np.inf
    assert dataclasses.replace(MIXTURE, good=1.0).mfpt() == pytest.approx(20)
    assert GeometricWithKick(hazard=0.0, kick=0.5).mfpt() == np.inf
    assert GeometricWithKick(hazard=0.0, kick=0.5).mfpt(4) == pytest.approx(4 + 1 + 4)  # one wasted kick on average


def test_enormous_means_keep_their_digits() -> None:
    # A reset at every P-th epoch leaves one way to pass, P = n steps up in a row.
    chain = FiniteChain.birth_death(n_states=12, up=0.01, down=0.5, kick=12)
    assert chain.mfpt(12) == pytest.approx(12 / 0.01**12, rel=1e-9)


# Oracles


def test_inverse_gaussian_law() -> None:
    t = np.linspace(0.5, 200, 50)
    density = DRIFT.distance / np.sqrt(2 * np.pi * t**3) * np.exp(-((DRIFT.distance - DRIFT.drift * t) ** 2) / (2 * t))
    np.testing.assert_allclose((DRIFT.sf(t - 1e-4) - DRIFT.sf(t + 1e-4)) / 2e-4, density, rtol=1e-5, atol=1e-9)
    assert integrate.quad(DRIFT.sf, 0, np.inf)[0] == pytest.approx(DRIFT.mean)
    assert DRIFT.mean == 40
    assert stats.kstest(DRIFT.sample_times(np.random.default_rng(1), 5000), lambda x: 1 - DRIFT.sf(x)).pvalue > 0.01


def test_watching_once_per_epoch_is_late_by_the_overshoot() -> None:
    # Far from the start the mean overshoot of a walk with steps X is E X^2 / (2 E X) - sum of E max(-S_n, 0) / n
    # (Siegmund 1985, chapter 8).
    n = np.arange(1, 5000)
    mean, spread = DRIFT.drift * n, DRIFT.noise * np.sqrt(n)
    below = spread * stats.norm.pdf(mean / spread) - mean * stats.norm.sf(mean / spread)
    overshoot = (DRIFT.noise**2 + DRIFT.drift**2) / (2 * DRIFT.drift) - (below / n).sum()
    assert DRIFT.mfpt() == pytest.approx((DRIFT.distance + overshoot) / DRIFT.drift, rel=1e-9)
    assert overshoot == pytest.approx(0.5826 + DRIFT.drift / 4, abs=0.02)
    assert (DRIFT.survival(200) >= DRIFT.sf(np.arange(201))).all()


# Simulation


@every_process
@pytest.mark.parametrize("period", [None, 20])
def test_simulation_agrees_with_the_exact_restricted_mean(process: Any, period: int | None) -> None:
    runs, horizon = 3000, 150
    rng = np.random.default_rng(7)
    passed = (
        process.sample(rng, n_runs=runs, horizon=horizon, period=period).metrics["test_metric"] >= process.threshold
    )
    assert passed.shape == (runs, horizon)
    time = np.where(passed.any(axis=1), passed.argmax(axis=1) + 1, horizon)
    survival = process.survival(horizon, period=period)
    mean, square = survival[:-1].sum(), (2 * np.arange(horizon) + 1) @ survival[:-1]
    assert mean == process.restricted_mean(horizon=horizon, period=period)
    assert abs(time.mean() - mean) < 4 * np.sqrt((square - mean**2) / runs)
    for k in (5, 15, 40):
        error = np.sqrt(max(survival[k] * (1 - survival[k]), 0) / runs)
        assert (~passed[:, :k]).all(axis=1).mean() == pytest.approx(survival[k], abs=4 * error + 1e-12)


@every_process
def test_the_generator_decides_everything_and_a_longer_horizon_continues_the_runs(process: Process) -> None:
    short, again, longer = (
        process.sample(np.random.default_rng(3), n_runs=20, horizon=horizon, period=4).metrics["test_metric"]
        for horizon in (12, 12, 30)
    )
    np.testing.assert_array_equal(short, again)
    np.testing.assert_array_equal(short, longer[:, :12])


def test_a_passing_epoch_is_not_perturbed_and_hazard_processes_stay_passed() -> None:
    steps = FiniteChain.birth_death(n_states=3, up=1.0, down=0.0, kick=3)
    shown = steps.sample(np.random.default_rng(0), n_runs=2, horizon=5, period=3).metrics["test_metric"]
    np.testing.assert_array_equal(shown, [[1, 2, 3, 3, 3]] * 2)
    shown = KICK.sample(np.random.default_rng(0), n_runs=50, horizon=80, period=5).metrics["test_metric"]
    assert set(np.unique(shown)) == {0.0, 1.0}
    assert (np.diff(shown, axis=1) >= 0).all()


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GeometricWithKick(hazard=1.2, kick=0.3), "hazard is 1.2; it must be a finite number at least 0 and"),
        (lambda: GeometricWithKick(hazard=0.1, kick=float("nan")), "kick is nan; it must be"),
        (lambda: FrozenMixture(silent=-1, good=0.4, good_after=0.6, hazard=0.1), "silent is -1; it must be a whole"),
        (lambda: DelayedGeometric(silent=ODD, hazard=0.1, silent_after=0, hazard_after=0.1), "silent is 2.5; it must"),
        (lambda: Heterogeneous(hazard=0.1, hazards_after=(), window=5), "hazards_after is (); it must be a tuple"),
        (lambda: OrnsteinUhlenbeck(decay=1.0), "decay is 1.0; it must be at least 0 and below 1"),
        (lambda: OrnsteinUhlenbeck(start=2.0), "start is 2.0; it must be below the threshold 1.5"),
        (lambda: OrnsteinUhlenbeck(shrink=1.5), "shrink is 1.5; it must be"),
        (lambda: DriftDiffusion(drift=0), "drift is 0; it must be a finite number above 0"),
        (lambda: DriftDiffusion(noise=WORD), "noise is 'loud'; it must be a finite number above 0"),
        (lambda: DriftDiffusion(drift=1e-4).mfpt(), "at most 3000 are allowed, so sample this process instead"),
        (lambda: finite([[0.7, 0.4]], [[1]], [1]), "transition has shape (1, 2); with 1 entries"),
        (lambda: finite([[1.1]], [[1]], [1]), "a row of transition sums to 1.1; it must be at most 1"),
        (lambda: finite([[0.1]], [[0.9]], [1]), "row of perturbation sums to 0.9; it must be 1"),
        (lambda: finite([[-0.1]], [[1]], [1]), "transition has the entry -0.1; its entries"),
        (lambda: finite([["x"]], [[1]], [1]), "transition is no array of numbers"),
        (lambda: finite(np.zeros((0, 0)), np.zeros((0, 0)), []), "not empty"),
        (lambda: FiniteChain.birth_death(n_states=3, up=0.7, down=0.4, kick=1), "up + down is 1.1; it must be at"),
        (lambda: FiniteChain.birth_death(n_states=3, up=0.7, down=0.1, kick=1, start=3), "start is 3; it must be a"),
        (lambda: KICK.mfpt(0), "period is 0; it must be a whole number of at least 1"),
        (lambda: KICK.mfpt(True), "period is True; it must be a whole number of at least 1"),
        (lambda: KICK.survival(-1), "horizon is -1; it must be a whole number of at least 0"),
        (lambda: GeometricWithKick(hazard=1.0, kick=1.0).residual_mean(5), "period is 5; it must be one that some"),
        (lambda: KICK.sample(np.random.default_rng(0), n_runs=0, horizon=5), "n_runs is 0; it must be a whole number"),
        (lambda: DRIFT.sample(np.random.default_rng(0), n_runs=1, horizon=5, period=-2), "period is -2; it must be a"),
        (lambda: DRIFT.sample_times(np.random.default_rng(0), 0), "n is 0; it must be a whole number of at least 1"),
    ],
)
def test_bad_input_is_one_clear_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_processes_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        KICK.hazard = 0.5  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        CHAIN.start[0] = 0.5


def test_the_annealed_process_passes_by_the_product_of_its_hazards() -> None:
    process = Annealed(hazard=0.02, hazard_after=0.3, epochs=40, floor=0.1)
    for period in (1, 7, 39, 60):
        factor = [
            0.1 + 0.9 * (1 + math.cos(math.pi * min((t - 1) / 40, 1))) / 2 for t in range(period + 1, period + 4000)
        ]
        left = np.cumprod([1.0, *(1 - (0.02 + 0.28 * c) for c in factor)])
        assert process.residual_mean(period) == pytest.approx(left.sum(), rel=1e-9)
    assert process.mfpt() == pytest.approx(50)
