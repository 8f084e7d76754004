"""The slope of the mean with the probability of a rare perturbation: exact processes, limits, the published runs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from companion import published
from fptlib.former import linear_response
from fptlib.former.verdicts import Status
from fptlib.processes import DelayedGeometric, GeometricWithKick
from known import DELAYED, KICK, sampled


def test_one_perturbation_and_then_none_predicts_rare_ones() -> None:
    # The delayed process ignores later perturbations, so that perturbing once or again is the same.
    plain, kicked = (sampled(DELAYED, 1, n_runs=2000, horizon=300, period=p) for p in (None, 20))
    once = dataclasses.replace(kicked, meta={"spec": {"perturbation": {"name": "any", "period": 20, "repeat": "once"}}})
    many, rare = (linear_response(plain, runs, period=20, threshold=0.5, n_boot=200) for runs in (kicked, once))
    assert (many.slope, many.after) == (rare.slope, rare.after)
    assert rare.helps is True
    assert rare.verdict.status is Status.VALID
    tau = DELAYED.survival(600, period=20)[20:] / DELAYED.survival(20)[20]
    survival = DELAYED.survival(300)
    moment, mass = (np.arange(300) * survival[:300]).sum(), survival[1:300].sum()
    after = sum(survival[t] * tau[: 300 - t].sum() for t in range(1, 300))
    assert rare.slope.low < after - moment < rare.slope.high
    assert rare.after.mean == pytest.approx(after / mass, rel=0.1)
    assert rare.without.low < moment / mass < rare.without.high


def test_a_perturbation_that_does_nothing_and_one_that_does_harm() -> None:
    nothing = GeometricWithKick(hazard=0.02, kick=0.02)
    same = linear_response(sampled(nothing, 3), sampled(nothing, 3, period=20), period=20, threshold=0.5, n_boot=200)
    assert same.helps is None
    assert same.verdict.status is Status.UNVERIFIED
    worse = DelayedGeometric(silent=0, hazard=0.05, silent_after=30, hazard_after=0.05)
    harm = linear_response(sampled(worse, 3), sampled(worse, 3, period=20), period=20, threshold=0.5, n_boot=200)
    assert harm.helps is False


def test_a_slope_is_the_change_of_the_exact_mean() -> None:
    # With probability p after each epoch, exactly: a chain of which every move is perturbed with p.
    chain, p = KICK.chain(), 1e-5
    change = (rarely(chain.transition, chain.perturbation, p) - rarely(chain.transition, chain.perturbation, 0)) / p
    found = linear_response(
        sampled(KICK, 5, n_runs=3000, horizon=400), sampled(KICK, 5, n_runs=3000, horizon=400, period=100),
        period=100, threshold=0.5, n_boot=200,
    )  # fmt: skip
    assert found.slope.low < change < found.slope.high


def rarely(transition: np.ndarray, perturbation: np.ndarray, p: float) -> float:
    """Return the restricted mean at 400 epochs."""
    law, total = np.array([1.0, 0.0]), 0.0
    for _ in range(400):
        total += float(law.sum())
        law = law @ transition @ ((1 - p) * np.eye(2) + p * perturbation)
    return total


@pytest.mark.published
@pytest.mark.parametrize("name", ["shrink_perturb", "partial_reset"])
def test_a_rare_perturbation_helps_resnet_18(name: str) -> None:
    runs = published.unperturbed(), published.perturbed(name, 50)  # type: ignore[arg-type]
    found = linear_response(*runs, period=50, threshold=72, n_boot=200)
    assert found.helps is True
    assert found.verdict.status is Status.VALID
    assert found.after.high < 7
    assert found.without.low > 80
