"""The response to a rare perturbation, against exact slopes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from companion import published
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.processes import DelayedGeometric, GeometricWithKick
from fptlib.response import LinearResponse, linear_response
from fptlib.study import Study
from known import DELAYED, KICK, sampled


def responding(process: Any, seed: int, *, period: int = 20, **size: Any) -> LinearResponse:
    plain, kicked = (first_passage(sampled(process, seed, period=p, **size), process.threshold) for p in (None, period))
    return linear_response(Study(plain, {("kick", period): kicked}, process.threshold, once=["kick"], n_boot=200))


def test_the_slope_is_that_of_the_process() -> None:
    # The first perturbation of this process is the only one that counts.
    result = responding(DELAYED, 0, n_runs=1000, horizon=300)
    assert result.helps is True
    tau = DELAYED.survival(600, period=20)[20:] / DELAYED.survival(20)[20]
    survival = DELAYED.survival(300)
    moment, mass = (np.arange(300) * survival[:300]).sum(), survival[1:300].sum()
    after = sum(survival[t] * tau[: 300 - t].sum() for t in range(1, 300))
    assert result.slope.low < after - moment < result.slope.high
    assert result.after.mean == pytest.approx(after / mass, rel=0.1)
    assert result.without.low < moment / mass < result.without.high
    assert result.to_dict()["slope"]["mean"] == result.slope.mean


def test_a_perturbation_that_does_nothing_and_one_that_does_harm() -> None:
    assert responding(GeometricWithKick(hazard=0.02, kick=0.02), 3).helps is None
    assert responding(DelayedGeometric(silent=0, hazard=0.05, silent_after=30, hazard_after=0.05), 3).helps is False


def test_a_slope_is_the_change_of_the_exact_mean() -> None:
    # With probability p after each epoch, exactly: a chain of which every move is perturbed with p.
    chain, p = KICK.chain(), 1e-5
    change = (rarely(chain.transition, chain.perturbation, p) - rarely(chain.transition, chain.perturbation, 0)) / p
    result = responding(KICK, 5, period=100, n_runs=3000, horizon=400)
    assert result.slope.low < change < result.slope.high


def rarely(transition: np.ndarray, perturbation: np.ndarray, p: float) -> float:
    """Return the restricted mean at 400 epochs."""
    law, total = np.array([1.0, 0.0]), 0.0
    for _ in range(400):
        total += float(law.sum())
        law = law @ transition @ ((1 - p) * np.eye(2) + p * perturbation)
    return total


@pytest.mark.published
@pytest.mark.parametrize("name", ["shrink_perturb", "partial_reset"])
def test_a_rare_perturbation_helps_resnet_18(name: Any) -> None:
    study = Study(published.unperturbed(), {(name, 50): published.perturbed(name, 50)}, 72, n_boot=200)
    result = linear_response(study)
    assert result.helps is True
    assert result.after.high < 7
    assert result.without.low > 80
    with pytest.raises(InputError, match="0 perturbed ensembles; take one"):
        linear_response(study.only())
