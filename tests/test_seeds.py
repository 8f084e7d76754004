"""Runs of one seed are drawn together, in as many ensembles as it has runs in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib.firstpassage import first_passage
from fptlib.firstpassage.resampling import bootstrap_weights, generator
from fptlib.former.seeds import Ensemble, joint_weights, seeds_of
from fptlib.processes import OrnsteinUhlenbeck
from fptlib.trajectories import Trajectories

PROCESS = OrnsteinUhlenbeck(shrink=0.4)


def ensemble(values: Any, *, run: Any = None, period: int | None = None) -> Ensemble:
    labels = np.arange(len(values)) if run is None else np.asarray(run)
    runs = Trajectories(metrics={"m": np.asarray(values, dtype=float)}, run=labels)
    return Ensemble(runs.metric(), first_passage(runs, 1.5), period)


def forked(plain: Any, period: int, *, seed: int) -> Any:
    """Return the values with everything after the period drawn anew: runs that share their beginning."""
    values = np.array(plain)
    values[:, period:] = np.random.default_rng(seed).normal(size=values[:, period:].shape)
    return values


@pytest.fixture
def plain() -> Any:
    return PROCESS.sample(np.random.default_rng(0), n_runs=40, horizon=30).metric()


def test_forks_of_one_parent_are_one_seed_in_all_ensembles(plain: Any) -> None:
    first, second = ensemble(forked(plain, 10, seed=1), period=10), ensemble(forked(plain, 5, seed=2), period=5)
    for place in seeds_of([ensemble(plain), first, second]):
        np.testing.assert_array_equal(place, np.arange(40))
    weights = joint_weights([ensemble(plain), first, second], n_boot=20, seed=0)
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


def test_perturbed_runs_without_a_parent_still_share_their_seeds_with_each_other(plain: Any) -> None:
    labels = np.arange(100, 140)
    first = ensemble(forked(plain, 10, seed=1), run=labels, period=10)
    second = ensemble(forked(plain, 5, seed=2), run=labels, period=5)
    places = seeds_of([ensemble(plain), first, second])
    np.testing.assert_array_equal(places[1], places[2])
    assert not set(places[0]) & set(places[1])


def test_labels_of_runs_that_disagree_mean_nothing(plain: Any) -> None:
    other = forked(plain, 10, seed=1)
    other[3, 0] -= 1.0  # one run began otherwise
    places = seeds_of([ensemble(plain), ensemble(other, period=10)])
    assert not set(places[0]) & set(places[1])


def test_the_order_of_runs_does_not_matter(plain: Any) -> None:
    back = np.arange(40)[::-1]
    weights = joint_weights(
        [ensemble(plain), ensemble(forked(plain, 10, seed=1)[back], run=back, period=10)], n_boot=10, seed=0
    )
    np.testing.assert_array_equal(weights[1], weights[0][:, back])


def test_one_ensemble_alone_is_the_plain_bootstrap(plain: Any) -> None:
    (weights,) = joint_weights([ensemble(plain)], n_boot=10, seed=3)
    np.testing.assert_array_equal(weights, bootstrap_weights([np.arange(40)], n_boot=10, rng=generator(3)))


@given(kept=st.lists(st.integers(0, 39), min_size=1, max_size=39, unique=True), seed=st.integers(0, 5))
def test_every_replicate_has_as_many_runs_of_each_ensemble_as_the_data(kept: list[int], seed: int) -> None:
    plain = PROCESS.sample(np.random.default_rng(0), n_runs=40, horizon=30).metric()
    part = ensemble(forked(plain, 10, seed=1)[kept], run=kept, period=10)
    weights = joint_weights([ensemble(plain), part], n_boot=15, seed=seed)
    np.testing.assert_array_equal(weights[0].sum(axis=1), 40)
    np.testing.assert_array_equal(weights[1].sum(axis=1), len(kept))
    np.testing.assert_array_equal(weights[1], weights[0][:, kept])
