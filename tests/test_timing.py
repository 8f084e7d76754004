"""Random times of perturbations: their law, and the same times however and how long a run is trained."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fptlib import ensemble, spec
from fptlib.ensemble import store
from fptlib.ensemble.streams import stream
from fptlib.ensemble.timing import Timing
from fptlib.errors import InputError
from fptlib.perturbations import FullReset, Schedule
from fptlib.trajectories import Retirement, Trajectories, retire

SMALL: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 45},
    "model": {"name": "mlp", "widths": [16]},
    "optimiser": {"name": "sgd", "lr": 0.2, "momentum": 0.5},
    "training": {"batch_size": 10},
    "runs": 16,
    "epochs": 8,
    "device": "cpu",
}
KICK = {"name": "shrink_perturb", "shrink": 0.5, "perturb": 0.2}
RANDOM = KICK | {"repeat": "random", "probability": 0.3}
KINDS: dict[str, dict[str, Any]] = {
    "movable": {},
    "fixed": {"model.widths": [9, 7]},
    "adam": {"optimiser": {"name": "adam", "lr": 0.01}},
    "convolutions": {
        "model": {"name": "cnn", "channels": [2, 3]},
        "data": {"name": "digits", "train_size": 25, "test_size": 50},
        "epochs": 4,
    },
}


def small(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(SMALL, {"perturbation": RANDOM} | changes)


def same(a: Trajectories, b: Trajectories) -> bool:
    return a.metrics.keys() == b.metrics.keys() and all(
        np.array_equal(values, b.metrics[name], equal_nan=True) for name, values in a.metrics.items()
    )


def timing(probability: float = 0.3, seed: int = 0) -> Timing:
    schedule = Schedule(FullReset(), period=None, repeat="random", fresh_optimiser=True, probability=probability)
    return Timing(schedule, seed)


def times(timing: Timing, run: int, epochs: Iterable[int]) -> list[int]:
    return [epoch for epoch in epochs if timing.due(run, epoch)]


# -- laws


@pytest.mark.parametrize("probability", [0.04, 0.3, 0.8])
def test_gaps_are_geometric(probability: float) -> None:
    # Gaps that begin in the first 100 of 400 epochs: those cut off at the end are too few to matter.
    gaps = []
    for run in range(200):
        at = np.array([0, *times(timing(probability), run, range(1, 301))])
        gaps += np.diff(at)[at[:-1] < 100].tolist()
    law = stats.geom(probability)
    longest = int(law.ppf(0.98))
    expected = np.array([*law.pmf(np.arange(1, longest)), law.sf(longest - 1)]) * len(gaps)
    found = np.bincount(np.minimum(gaps, longest), minlength=longest + 1)[1:]
    assert stats.chisquare(found, expected).pvalue > 1e-3


def test_runs_and_epochs_are_independent() -> None:
    due = np.array([[timing().due(run, epoch) for epoch in range(1, 101)] for run in range(100)], dtype=float)
    for neighbours in ((due[:, 1:], due[:, :-1]), (due[1:], due[:-1])):
        table = np.histogram2d(neighbours[0].ravel(), neighbours[1].ravel(), bins=2)[0]
        assert stats.chi2_contingency(table).pvalue > 1e-3
    assert times(timing(seed=1), 0, range(1, 101)) != times(timing(seed=0), 0, range(1, 101))


def test_a_higher_probability_keeps_all_times() -> None:
    # Common random numbers: ensembles at several probabilities can be compared run by run.
    for run in range(20):
        assert set(times(timing(0.1), run, range(1, 60))) <= set(times(timing(0.5), run, range(1, 60)))


def test_the_last_time() -> None:
    at = times(timing(), 3, range(1, 50))
    assert timing().last(3, at[0] - 1) == 0
    assert [timing().last(3, epoch) for epoch in (at[0], at[1] - 1, at[1], 49)] == [at[0], at[0], at[1], at[-1]]


def test_the_stream_is_of_its_own() -> None:
    numbers = {float(stream(0, 5, purpose, 2).random()) for purpose in ("order", "fresh", "perturb", "timing")}
    assert len(numbers) == 4


def test_a_run_is_unperturbed_until_its_own_first_time(tmp_path: Path) -> None:
    plain = ensemble.train(small(perturbation=None), out=tmp_path).metrics["train_loss"]
    kicked = ensemble.train(small(), out=tmp_path).metrics["train_loss"]
    for run in range(16):
        first = next(iter(times(timing(), run, range(1, 9))), 8)
        assert np.array_equal(plain[run, :first], kicked[run, :first])
        assert first == 8 or plain[run, first] != kicked[run, first]


def test_a_longer_horizon_keeps_what_was(tmp_path: Path) -> None:
    short = ensemble.train(small(epochs=4), out=tmp_path)
    long = ensemble.train(small(), out=tmp_path)
    assert same(long.head(epochs=4), short)
    assert long.meta["trained"] == 16 * 4


# -- parity


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_the_same_however_it_is_trained(tmp_path: Path, kind: str) -> None:
    asked = small(**KINDS[kind], runs=32)
    together = ensemble.train(asked, out=tmp_path / "together", workers=1)
    ensemble.train(spec.override(asked, {"runs": 16, "epochs": 3}), out=tmp_path / "grown", workers=1)
    assert same(ensemble.train(asked, out=tmp_path / "grown", workers=1), together)
    five = spec.override(asked, {"execution.stack": 5})
    assert same(ensemble.train(five, out=tmp_path / "five", workers=1), together)


def test_workers_change_nothing(tmp_path: Path) -> None:
    asked = small(runs=32)
    assert same(
        ensemble.train(asked, out=tmp_path / "two", workers=2), ensemble.train(asked, out=tmp_path / "one", workers=1)
    )


@pytest.mark.parametrize("kind", ["movable", "adam"])
def test_an_interrupted_training_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    asked = small(**KINDS[kind], **{"execution.snapshot_s": 0})
    whole = ensemble.train(asked, out=tmp_path / "whole")
    written = 0
    save = store.save_snapshots

    def stop(folder: Path, snapshots: Any) -> None:
        nonlocal written
        save(folder, snapshots)
        written += 1
        if written in (3, 5):
            raise KeyboardInterrupt

    monkeypatch.setattr(store, "save_snapshots", stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            ensemble.train(asked, out=tmp_path / "again", workers=1)
    again = ensemble.train(asked, out=tmp_path / "again", workers=1)
    assert same(again, whole)
    assert again.meta["trained"] == 16 * (8 - 5)


@pytest.mark.parametrize("kind", ["movable", "fixed", "adam"])
def test_retired_runs_are_the_whole_runs_cut(tmp_path: Path, kind: str) -> None:
    asked = small(**KINDS[kind])
    whole = ensemble.train(asked, out=tmp_path / "whole")
    at = Retirement(float(np.median(whole.metric()[:, :5].max(axis=1))), "above", "test_metric")
    retired = ensemble.train(asked, out=tmp_path / "retired", retirement=at)
    assert same(retired, retire(whole, at))
    # Runs that passed before they were ever perturbed are taken from unperturbed training where there is one.
    ensemble.train(small(**KINDS[kind], perturbation=None), out=tmp_path / "beside", retirement=at)
    beside = ensemble.train(asked, out=tmp_path / "beside", retirement=at)
    assert same(beside, retired)
    spared = [run for run in range(16) if 0 < (t := retired.lengths[run]) < 8 and not timing().last(run, t - 1)]
    assert beside.meta["trained"] <= retired.n_trained - sum(retired.lengths[spared])


# -- once


@pytest.mark.parametrize("kind", ["movable", "fixed", "adam"])
def test_a_fork_perturbed_once_is_the_training_perturbed_once(tmp_path: Path, kind: str) -> None:
    plain = small(**KINDS[kind], perturbation=None)
    forked = ensemble.fork(plain, at=3, perturbation=KICK | {"repeat": "once"}, out=tmp_path / "fork")
    whole = ensemble.train(
        small(**KINDS[kind], perturbation=KICK | {"repeat": "once", "period": 3}), out=tmp_path / "whole"
    )
    assert same(forked.trajectories, whole)
    assert forked.trajectories.meta["trained"] == 16 * 5
    periodic = ensemble.fork(plain, at=3, perturbation=KICK, out=tmp_path / "fork").trajectories
    assert same(periodic.head(epochs=6), whole.head(epochs=6))
    assert not same(periodic, whole)


# -- digests


def test_stores_know_times_apart() -> None:
    sections: list[dict[str, Any]] = [RANDOM, RANDOM | {"probability": 0.2}, KICK | {"period": 3}]
    sections += [KICK | {"period": 3, "repeat": "once"}]
    assert len({small(perturbation=section).digest() for section in sections}) == 4


# -- what is refused


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (KICK, "perturbation.period: missing; allowed: epochs between perturbations, or repeat: random"),
        (KICK | {"repeat": "once"}, "perturbation.period: missing"),
        (KICK | {"repeat": "random"}, "perturbation.probability: missing; repeat: random needs it"),
        (RANDOM | {"period": 3}, "perturbation.period: 3 has no meaning with repeat: random"),
        (
            KICK | {"period": 3, "probability": 0.2},
            "perturbation.probability: 0.2 has no meaning with repeat: periodic",
        ),
        (RANDOM | {"probability": 0}, "perturbation.probability: 0 is not possible; allowed: above 0"),
        (RANDOM | {"probability": 1}, "perturbation.probability: 1 is not possible; allowed: below 1"),
        (KICK | {"period": 9}, "perturbation.period: 9 is beyond the horizon; allowed: 1 to epochs = 8"),
    ],
)
def test_impossible_times_are_named(section: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        small(perturbation=section)


def test_a_schedule_has_a_period_or_a_probability() -> None:
    for wrong in ({"period": 2}, {"probability": None}, {"repeat": "once"}):
        with pytest.raises(ValueError, match="allowed: a probability alone where repeat is random"):
            replace(timing().schedule, **wrong)


def test_random_times_have_no_epoch_to_fork_at(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="fork: repeat: random has no epoch to fork at"):
        ensemble.fork(small(perturbation=None), at=3, perturbation=RANDOM, out=tmp_path)
