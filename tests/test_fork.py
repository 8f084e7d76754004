"""Less training for the same answer: retired runs and forks are cut out of the whole training, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import known
from fptlib import ensemble, firstpassage, spec, trajectories
from fptlib.ensemble.store import Store
from fptlib.errors import InputError
from fptlib.response import predict
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories, retire
from known import same

SMALL = known.SMALL | {"optimiser": {"name": "sgd", "lr": 0.2, "momentum": 0.5}, "runs": 32, "epochs": 12}
KICK = {"name": "shrink_perturb", "shrink": 0.5, "perturb": 0.2}
# Runs that may move in their stack, with and without state beside the weights, and runs that may not.
KINDS: dict[str, dict[str, Any]] = {
    "movable": {},
    "batch norm": {"model.normalisation": "batch"},
    "adam": {"optimiser": {"name": "adam", "lr": 0.01}},
}


@pytest.fixture(params=KINDS)
def requested(request: pytest.FixtureRequest) -> spec.EnsembleSpec:
    return spec.override(SMALL, KINDS[request.param])


def middle(record: Trajectories, epoch: int = 6) -> Target:
    """A threshold that about half of the runs have reached by an epoch."""
    best = record.metrics["test_metric"][:, :epoch].max(axis=1)
    return Target(float(np.median(best)), metric="test_metric")


# -- retirement


@pytest.mark.slow
def test_retired_runs_are_the_whole_runs_cut_and_cost_no_more(requested: spec.EnsembleSpec, tmp_path: Path) -> None:
    whole = ensemble.train(requested, out=tmp_path / "whole")
    at = middle(whole)
    retired = ensemble.train(requested, out=tmp_path / "retired", retirement=at)
    assert same(retired, retire(whole, at))
    assert retired.meta["trained"] == retired.n_trained < whole.n_trained
    times = firstpassage.first_passage(retired, at.threshold)
    assert np.array_equal(times.time, firstpassage.first_passage(whole, at.threshold).time)
    assert same(trajectories.read_store(ensemble.store_path(requested, tmp_path / "retired")), retired)


def test_what_a_retired_run_did_not_show_is_trained_when_it_is_asked_for(
    requested: spec.EnsembleSpec, tmp_path: Path
) -> None:
    whole = ensemble.train(requested, out=tmp_path / "whole")
    at = middle(whole)
    first = ensemble.train(requested, out=tmp_path, retirement=at)
    with pytest.raises(InputError, match="retired"):
        firstpassage.first_passage(first, at.threshold + 0.05)
    harder = Target(at.threshold + 0.02, metric="test_metric")
    second = ensemble.train(requested, out=tmp_path, retirement=harder)
    assert same(second, retire(whole, harder))
    assert second.meta["trained"] == second.n_trained - first.n_trained
    third = ensemble.train(requested, out=tmp_path)
    assert same(third, whole)
    assert third.meta["trained"] == whole.n_trained - second.n_trained
    assert ensemble.train(requested, out=tmp_path, retirement=at).meta["trained"] == 0


def test_a_metric_that_is_not_recorded_cannot_retire(tmp_path: Path) -> None:
    at = Target(0.5, metric="valid_metric")
    with pytest.raises(
        InputError, match="no metric 'valid_metric' is recorded; there is train_loss, test_loss, test_metric"
    ):
        ensemble.train(spec.override(SMALL, {}), out=tmp_path, retirement=at)


# -- forks


@pytest.mark.slow
@pytest.mark.parametrize("repeat", ["once", "periodic"])
def test_a_fork_is_the_perturbed_training_without_its_prefix(
    requested: spec.EnsembleSpec, tmp_path: Path, repeat: str
) -> None:
    kick = KICK | {"repeat": repeat, "fresh_optimiser": False}
    from_start = ensemble.train(
        spec.override(requested, {"perturbation": kick | {"period": 4}}), out=tmp_path / "start"
    )
    plain = ensemble.train(requested, out=tmp_path, keep=[4])
    forked = ensemble.fork(requested, at=4, perturbation=kick, out=tmp_path)
    assert same(forked.trajectories, from_start)
    assert forked.trajectories.meta["trained"] == requested.runs * (requested.epochs - 4)
    assert (forked.n_parents, forked.n_survivors) == (32, 32)
    assert same(forked.trajectories.head(epochs=4), plain.head(epochs=4))


@pytest.mark.slow
def test_a_fork_costs_the_residual_epochs_of_the_survivors(requested: spec.EnsembleSpec, tmp_path: Path) -> None:
    whole = ensemble.train(requested, out=tmp_path / "whole")
    from_start = ensemble.train(
        spec.override(requested, {"perturbation": KICK | {"period": 5}}), out=tmp_path / "whole"
    )
    at = middle(whole)
    ensemble.train(requested, out=tmp_path, keep=[5], retirement=at)
    forked = ensemble.fork(requested, at=5, perturbation=KICK, retirement=at, out=tmp_path)
    expected = retire(from_start, at)
    assert same(forked.trajectories, expected)
    survivors = expected.lengths > 5
    passed_at_fork = expected.metrics["test_metric"][:, 4] >= at.threshold
    assert forked.n_survivors == int((survivors | ((expected.lengths == 5) & ~passed_at_fork)).sum()) < requested.runs
    assert forked.trajectories.meta["trained"] == int((expected.lengths[survivors] - 5).sum())
    # Their prediction is that of whole training runs.
    pairs = (retire(whole, at), forked.trajectories), (whole, from_start)
    studies = [Study(plain, {("kick", 5): kicked}, at.threshold, n_boot=200) for plain, kicked in pairs]
    short, long = (predict(study, [3, 5, 8]) for study in studies)
    assert [p.interval for p in short.predictions] == [p.interval for p in long.predictions]
    assert (short.unperturbed, short.residual) == (long.unperturbed, long.residual)


@pytest.mark.slow
def test_a_fork_makes_the_snapshots_that_are_missing(requested: spec.EnsembleSpec, tmp_path: Path) -> None:
    whole = ensemble.train(requested, out=tmp_path)  # without snapshots to fork from
    at = middle(whole)
    forked = ensemble.fork(requested, at=5, perturbation=KICK, retirement=at, out=tmp_path)
    from_start = ensemble.train(
        spec.override(requested, {"perturbation": KICK | {"period": 5}}), out=tmp_path / "start", retirement=at
    )
    assert same(forked.trajectories, from_start)
    store = Store(ensemble.store_path(requested, tmp_path), requested.digest())
    path, kept = store.path(0, ".epoch-00005.ckpt"), store.snapshot(0, 5)
    assert kept is not None
    assert 0 < len(kept.run) < 16
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.warns(UserWarning, match=r"epoch-00005\.ckpt: damaged snapshot"):
        ensemble.fork(requested, at=5, perturbation={"name": "full_reset"}, retirement=at, out=tmp_path)


def test_perturbed_training_branches_off_whatever_unperturbed_training_left(tmp_path: Path) -> None:
    requested = spec.override(SMALL, {})
    ensemble.train(requested, out=tmp_path, keep=[4])
    perturbed = spec.override(requested, {"perturbation": KICK | {"period": 4}})
    branched = ensemble.train(perturbed, out=tmp_path)
    assert branched.meta["trained"] == 32 * 8
    assert same(branched, ensemble.train(perturbed, out=tmp_path / "start"))


def test_impossible_forks_are_named(tmp_path: Path) -> None:
    requested = spec.override(SMALL, {})
    with pytest.raises(InputError, match="fork at epoch 12: not between 1 and 11"):
        ensemble.fork(requested, at=12, perturbation=KICK, out=tmp_path)
    with pytest.raises(InputError, match="the parent is perturbed already"):
        ensemble.fork(
            spec.override(requested, {"perturbation": KICK | {"period": 4}}), at=5, perturbation=KICK, out=tmp_path
        )
    with pytest.raises(InputError, match="snapshot at epoch 13: not between 1 and epochs = 12"):
        ensemble.train(requested, keep=[13], out=tmp_path)
    with pytest.raises(InputError, match="unknown perturbation 'kick'"):
        ensemble.fork(requested, at=5, perturbation={"name": "kick"}, out=tmp_path)
