"""Drift-diffusion perturbed at random times: closed forms, laws, limits, oracles, simulation, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, sparse, special, stats

from fptlib.errors import InputError
from fptlib.processes import DriftDiffusion, FeedbackReset, LogarithmicSwitch, PoissonPerturbed, PoissonReset

NEAR = DriftDiffusion(distance=3, drift=1, noise=1)  # mean 3, mean square 12
FAR = DriftDiffusion(distance=20, drift=0.5, noise=1)
PROCESSES: dict[str, PoissonPerturbed] = {
    "reset": PoissonReset(motion=NEAR),
    "feedback": FeedbackReset(motion=NEAR),
    "feedback from near": FeedbackReset(motion=NEAR, beyond=1.0),
    "feedback from far": FeedbackReset(motion=NEAR, beyond=4.5),
    "switch": LogarithmicSwitch(motion=NEAR, strength=3.0),
    "far reset": PoissonReset(motion=FAR),
    "far feedback": FeedbackReset(motion=FAR),
    "far switch": LogarithmicSwitch(motion=FAR),
}
every_process = pytest.mark.parametrize("process", PROCESSES.values(), ids=PROCESSES.keys())
motions = st.builds(DriftDiffusion, distance=st.floats(0.5, 10), drift=st.floats(0.1, 2), noise=st.floats(0.3, 2))
rates = st.floats(1e-3, 3)
laws = settings(deadline=None, max_examples=40)


# Closed forms


def test_moments_of_the_motion() -> None:
    assert (NEAR.mean, NEAR.second_moment) == (3, 12)
    assert NEAR.laplace(1.5) == pytest.approx(np.exp(-3))  # sqrt(1 + 2 * 1.5) - 1 = 1


def test_full_restart_at_a_rate() -> None:
    # L = exp(-3) at r = 3/2.
    assert PoissonReset(motion=NEAR).mean_time(1.5) == pytest.approx((1 - np.exp(-3)) / (1.5 * np.exp(-3)))
    assert PoissonReset(motion=NEAR).residual_time(1.5) == pytest.approx((np.e**3 - 1) / 1.5)


def test_slopes_of_the_response_by_hand() -> None:
    # <T> (tau - 2): resets wait 3 again, switches (3 + 3/2 + 1/2)/(2k - 1).
    for process, slope in (
        (PoissonReset(motion=NEAR), 3.0),
        (LogarithmicSwitch(motion=NEAR, strength=1.75), 0.0),
        (LogarithmicSwitch(motion=NEAR, strength=3.0), -3.0),
        (LogarithmicSwitch(motion=NEAR, strength=1.0), 9.0),
    ):
        assert process.linear_response(0.1) == pytest.approx(3 + 0.1 * slope)
    # The occupation density is 1 - exp(-2y) up to 3 and its value there times exp(-2(y - 3)) beyond, where 3 are to go.
    tau = (4.5 - 0.25 + 1.75 * np.exp(-6) + 1.5 * (1 - np.exp(-6))) / 3
    assert FeedbackReset(motion=NEAR).residual_time(0) == pytest.approx(tau)


@laws
@given(motion=motions, rate=rates, excess=st.floats(0.1, 5))
def test_mean_residual_time_after_a_switch(motion: DriftDiffusion, rate: float, excess: float) -> None:
    v, s2, d = motion.drift, motion.noise**2, motion.distance
    process = LogarithmicSwitch(motion=motion, strength=s2 / 2 + excess)
    met = 1 - motion.laplace(rate)
    square = d**2 - 2 * v * d / rate + (s2 + 2 * v**2 / rate) * met / rate
    assert process.residual_time(rate) * met == pytest.approx(square / (2 * excess), rel=1e-6, abs=1e-9 * d**2)
    assert process.residual_time(0) == pytest.approx(
        (d**2 / 3 + s2 * d / (2 * v) + s2**2 / (2 * v**2)) / (2 * excess), rel=1e-8
    )


# Laws


@laws
@given(motion=motions, rate=rates, share=st.floats(0.0, 3.0))
def test_first_perturbation_and_backward_equation_agree(motion: DriftDiffusion, rate: float, share: float) -> None:
    # mean_time averages over the first perturbation, mean_from solves for the whole motion.
    process = FeedbackReset(motion=motion, beyond=share * motion.distance)
    assert process.mean_time(rate) == pytest.approx(float(process.mean_from(motion.distance, rate)), rel=1e-7)


@laws
@given(motion=motions, rate=rates)
def test_found_somewhere(motion: DriftDiffusion, rate: float) -> None:
    class One(PoissonPerturbed):
        def __init__(self) -> None:
            self.motion = motion

        def mean_after(self, y: object, rate: float) -> np.ndarray:
            return np.ones_like(np.asarray(y, dtype=float))

        def sample_times(self, rng: np.random.Generator, n: int, *, rate: float) -> np.ndarray:
            raise NotImplementedError

    for r in (rate, 0.0):
        assert One().residual_time(r) == pytest.approx(1, rel=1e-9)


@laws
@given(motion=motions, rate=rates, length=st.floats(0.2, 5), time=st.floats(0.2, 5))
def test_means_scale_with_the_units(motion: DriftDiffusion, rate: float, length: float, time: float) -> None:
    scaled = DriftDiffusion(
        distance=motion.distance * length,
        drift=motion.drift * length / time,
        noise=motion.noise * length / time**0.5,
    )
    k = motion.noise**2 + 0.3
    for one, other in (
        (FeedbackReset(motion=motion), FeedbackReset(motion=scaled)),
        (
            LogarithmicSwitch(motion=motion, strength=k),
            LogarithmicSwitch(motion=scaled, strength=k * length**2 / time),
        ),
    ):
        assert other.mean_time(rate / time) == pytest.approx(one.mean_time(rate) * time, rel=1e-7)


@laws
@given(motion=motions, rate=rates, more=st.floats(0, 5))
def test_resets_with_feedback_never_set_back(motion: DriftDiffusion, rate: float, more: float) -> None:
    process = FeedbackReset(motion=motion, beyond=motion.distance + more)
    assert process.mean_time(rate) <= motion.mean * (1 + 1e-9)
    feedback, always = FeedbackReset(motion=motion), PoissonReset(motion=motion)
    assert feedback.mean_time(rate) <= always.mean_time(rate) * (1 + 1e-9)


@laws
@given(motion=motions)
def test_rare_resets_help_if_the_time_varies_more_than_its_mean(motion: DriftDiffusion) -> None:
    faster = PoissonReset(motion=motion).linear_response(0.01) < motion.mean
    assert faster == (motion.second_moment > 2 * motion.mean**2) == (motion.noise**2 > motion.drift * motion.distance)


# Limits


@every_process
def test_response_is_linear_where_perturbations_are_rare(process: PoissonPerturbed) -> None:
    mean = process.motion.mean
    assert process.mean_time(0) == process.linear_response(0) == mean
    assert process.residual_time(1e-9) == pytest.approx(process.residual_time(0), rel=1e-6)
    error = [process.mean_time(r) - process.linear_response(r) for r in (2e-3 / mean, 1e-3 / mean)]
    assert abs(error[1]) < 1e-4 * mean
    assert error[0] / error[1] == pytest.approx(4, rel=0.02)  # what is left is of second order


def test_feedback_from_nowhere_is_a_reset_and_from_infinity_nothing() -> None:
    for rate in (0.0, 0.1, 1.0):
        everywhere, far = FeedbackReset(motion=NEAR, beyond=0.0), FeedbackReset(motion=NEAR, beyond=60.0)
        assert everywhere.mean_time(rate) == pytest.approx(PoissonReset(motion=NEAR).mean_time(rate), rel=1e-9)
        assert far.mean_time(rate) == pytest.approx(3, rel=1e-9)
    watched = FeedbackReset(motion=FAR, beyond=0.0)
    assert watched.mfpt(30) == pytest.approx(FAR.mfpt(30), rel=1e-9)
    assert FeedbackReset(motion=FAR, beyond=70.0).mfpt(30) == pytest.approx(FAR.mfpt(), rel=1e-9)


def test_frequent_switches_start_in_the_new_potential() -> None:
    process = LogarithmicSwitch(motion=NEAR, strength=3.0)
    assert process.mean_time(1e6) == pytest.approx(float(process.mean_after(3.0, 0)), rel=1e-4)


# Oracles


@pytest.mark.parametrize("rate", [1e-3, 0.2, 3.0])
def test_transform_against_the_density(rate: float) -> None:
    transform = integrate.quad(lambda t: np.exp(-rate * t) * NEAR.pdf(t), 0, np.inf, epsabs=0)[0]
    assert NEAR.laplace(rate) == pytest.approx(transform, rel=1e-7)
    assert integrate.quad(lambda t: t**2 * NEAR.pdf(t), 0, np.inf)[0] == pytest.approx(NEAR.second_moment)


@pytest.mark.parametrize("rate", [0.05, 0.5])
def test_where_a_perturbation_finds_the_motion_against_its_law_in_time(rate: float) -> None:
    def alive(y: float, t: float) -> float:  # density at time t with the target absorbing
        image = np.exp(2 * NEAR.drift * NEAR.distance / NEAR.noise**2)
        spread = NEAR.noise * np.sqrt(t)
        here, there = NEAR.distance - NEAR.drift * t, -NEAR.distance - NEAR.drift * t
        return float(stats.norm.pdf(y, here, spread) - image * stats.norm.pdf(y, there, spread))

    process, met = PoissonReset(motion=NEAR), 1 - NEAR.laplace(rate)
    for y in (0.5, 2.0, 3.5, 6.0):
        found = integrate.quad(lambda t, y=y: rate * np.exp(-rate * t) * alive(y, t), 0, np.inf, limit=200)[0] / met
        assert float(process.found_at(y, rate)) == pytest.approx(found, rel=1e-6)


@pytest.mark.parametrize("beyond", [1.0, 3.0, 5.0])
@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_feedback_against_the_backward_equation(beyond: float, rate: float) -> None:
    # Central differences on a grid that holds the start and the limit; far away T is flat.
    h, far = 1 / 200, 40
    y = np.arange(h, far + h / 2, h)
    n, start = len(y), round(NEAR.distance / h) - 1
    reset = rate * ((y > beyond + h / 2) + 0.5 * (np.abs(y - beyond) < h / 2))
    matrix = sparse.lil_array(
        sparse.diags_array(
            [1 / (2 * h**2) + 1 / (2 * h), -1 / h**2, 1 / (2 * h**2) - 1 / (2 * h)], offsets=[-1, 0, 1], shape=(n, n)
        )
    )
    matrix -= sparse.diags_array(reset)
    matrix = sparse.lil_array(matrix)
    matrix[:, [start]] += reset[:, None]
    matrix[n - 1, n - 2] = 1 / h**2
    mean = sparse.linalg.spsolve(matrix.tocsc(), -np.ones(n))
    process = FeedbackReset(motion=NEAR, beyond=beyond)
    np.testing.assert_allclose(process.mean_from(y[:1600:100], rate), mean[:1600:100], rtol=1e-4)


def test_law_in_the_logarithmic_potential_solves_its_backward_equation() -> None:
    k, s = 2.2, 1.3

    def survival(y: float, t: float) -> float:  # P(y^2 / (2 s^2 Gamma) > t)
        return float(special.gammainc(0.5 + k / s**2, y**2 / (2 * s**2 * t)))

    for y, t in ((1.0, 0.5), (2.0, 1.0), (3.0, 4.0)):
        h = 1e-3
        u = {(i, j): survival(y + i * h, t + j * h) for i in (-1, 0, 1) for j in (-1, 0, 1)}
        in_time = (u[0, 1] - u[0, -1]) / (2 * h)
        slope, curvature = (u[1, 0] - u[-1, 0]) / (2 * h), (u[1, 0] - 2 * u[0, 0] + u[-1, 0]) / h**2
        assert in_time == pytest.approx(s**2 / 2 * curvature - k / y * slope, abs=1e-5)
    mean = integrate.quad(lambda t: survival(2.0, t), 0, np.inf, limit=200)[0]
    process = LogarithmicSwitch(motion=dataclasses.replace(NEAR, noise=s), strength=k)
    assert float(process.mean_after(2.0, 0)) == pytest.approx(mean, rel=1e-6)


# Simulation


@every_process
@pytest.mark.parametrize("rate", [0.0, 0.04, 0.3])
def test_simulation_agrees_with_the_exact_mean(process: PoissonPerturbed, rate: float) -> None:
    if process.mean_time(rate) > 500:
        rate = 0.01
    time = process.sample_times(np.random.default_rng(11), 20_000, rate=rate)
    assert abs(time.mean() - process.mean_time(rate)) < 4 * stats.sem(time)


def test_simulation_in_small_steps_agrees_with_the_law_after_a_switch() -> None:
    # z = y^2 has dz = (s^2 - 2k) dt + 2 s sqrt(z) dW, which does not blow up at the target.
    rng, k, s, step = np.random.default_rng(5), 3.0, 1.0, 2e-3
    z, time = np.full(4000, 9.0), np.zeros(4000)
    while (z > 0).any():
        running = z > 0
        noise = rng.standard_normal(running.sum()) * np.sqrt(step)
        z[running] += (s**2 - 2 * k) * step + 2 * s * np.sqrt(z[running]) * noise
        time[running] += step
    expected = LogarithmicSwitch(motion=NEAR, strength=k).mean_after(3.0, 0)
    assert time.mean() == pytest.approx(float(expected), abs=4 * stats.sem(time) + 0.01)
    exact = 9 / (2 * s**2 * stats.gamma.rvs(0.5 + k, size=4000, random_state=1))
    assert stats.ks_2samp(time, exact).pvalue > 1e-3


def test_the_generator_decides_everything() -> None:
    for process in PROCESSES.values():
        one, again = (process.sample_times(np.random.default_rng(2), 50, rate=0.02) for _ in range(2))
        np.testing.assert_array_equal(one, again)


# What is refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FeedbackReset(beyond=-1.0), "beyond is -1.0; it must be a finite number at least 0"),
        (lambda: LogarithmicSwitch(strength=0.5), "strength is 0.5; it must be a finite number above 0.5"),
        (lambda: PoissonReset().mean_time(-0.1), "rate is -0.1; it must be a finite number at least 0"),
        (lambda: PoissonReset().linear_response(np.nan), "rate is nan; it must be"),
        (lambda: PoissonReset().sample_times(np.random.default_rng(0), 0, rate=0.1), "n is 0; it must be a whole"),
        (lambda: FeedbackReset().sample_times(np.random.default_rng(0), 5, rate=-1), "rate is -1; it must be"),
    ],
)
def test_bad_input_is_one_clear_line(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
