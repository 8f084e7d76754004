"""The best state so far, which perturbations may go back to: the same however a run is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest

import known
from fptlib import data, ensemble, spec
from fptlib.ensemble import training
from fptlib.ensemble.states import Best
from fptlib.ensemble.store import Store
from fptlib.errors import InputError
from fptlib.perturbations import Context, Perturbation, State, rule
from fptlib.trajectories import Target, retire
from known import same

SMALL: dict[str, Any] = known.SMALL | {
    "data": {"name": "digits", "train_size": 45, "validation_size": 60},
    "model": {"name": "mlp", "widths": [16], "normalisation": "batch"},
    "optimiser": {"name": "sgd", "lr": 0.4, "momentum": 0.8},
    "epochs": 8,
}
KINDS: dict[str, dict[str, Any]] = {
    "movable": {},
    "fixed": {"model.widths": [9, 7]},
    "adam": {"optimiser": {"name": "adam", "lr": 0.05}},
    "convolutions": {
        "model": {"name": "cnn", "channels": [2, 3], "normalisation": "batch"},
        "data": {"name": "digits", "train_size": 25, "validation_size": 60, "test_size": 50},
        "epochs": 6,
    },
}


@rule("back")
@dataclass(frozen=True, slots=True)
class Back(Perturbation):
    """Back to the best state, with its momenta or without."""

    fresh_optimiser: ClassVar[bool] = False
    needs: ClassVar[frozenset[Literal["best", "output_layer"]]] = frozenset({"best"})
    momenta: bool = False

    def apply(self, state: State, context: Context) -> State:
        best = context.best
        assert best is not None
        assert best.learning_rate == state.learning_rate
        return best if self.momenta else replace(state, parameters=best.parameters, buffers=best.buffers)


def small(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(SMALL, changes)


# -- the best state


def test_best_is_the_first_of_the_highest_values() -> None:
    values = np.array([np.nan, 0.2, 0.5, 0.5, np.nan, 0.4, 0.6])
    best = [epoch for epoch in range(1, 8) if Best.improved(values[:epoch])]
    assert best == [1, 2, 3, 7]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_holds_the_state_after_the_best_epoch(kind: str) -> None:
    # Perturbed after the last epoch only, so that the same training without perturbation shows every epoch's state.
    requested = small(**KINDS[kind])
    source = data.load(requested.data)
    plain = training.Training(training.Task(requested, tuple(range(16)), requested.epochs, "cpu"), source)
    kept = spec.override(requested, {"perturbation": {"name": "back", "period": requested.epochs}})
    trained = training.Training(training.Task(kept, tuple(range(16)), requested.epochs, "cpu"), source)
    states = []
    while plain.active:
        plain.step_epoch()
        trained.step_epoch()
        states.append(plain.snapshots()[0])
    best = trained.snapshots()[0].best
    assert best is not None
    assert states[-1].best is None
    epochs = trained.metrics["valid_metric"].argmax(axis=1)
    assert len(set(epochs.tolist())) > 1
    for run, epoch in enumerate(epochs.tolist()):
        for part in ("parameters", "buffers"):
            assert same(
                {n: v[run] for n, v in best[part].items()}, {n: v[run] for n, v in getattr(states[epoch], part).items()}
            )
        for key, entries in states[epoch].optimiser.items():
            assert same({n: v[run] for n, v in best["optimiser"][key].items()}, {n: v[run] for n, v in entries.items()})


def test_what_is_restored_is_the_best_state(tmp_path: Path) -> None:
    # Nothing is trained after the second perturbation: the rate is zero from there on.
    stopped = {"name": "step", "every": 4, "factor": 1e-300}
    back = small(perturbation={"name": "back", "period": 4}, epochs=5, **{"optimiser.schedule": stopped})
    trained = ensemble.train(back, out=tmp_path)
    best = trained.metrics["valid_metric"][:, :4].argmax(axis=1)
    after = Store(ensemble.store_path(back, tmp_path), back.digest()).snapshot(0)
    assert after is not None
    assert after.best is not None
    assert same(after.parameters, after.best["parameters"])
    counts = next(value for name, value in after.buffers.items() if name.endswith("num_batches_tracked"))
    # Batches seen: five in each epoch up to the best one, and five more in the last.
    assert counts.tolist() == [5 * (int(epoch) + 1) + 5 for epoch in best]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "momenta"),
    [("movable", True), ("movable", False), ("fixed", True), ("adam", True), ("adam", False), ("convolutions", True)],
)
def test_going_back_is_the_same_however_a_run_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, momenta: bool
) -> None:
    kick = {"name": "back", "period": 2, "momenta": momenta}
    requested = small(**KINDS[kind], perturbation=kick, **{"execution.snapshot_s": 0})
    whole = ensemble.train(requested, out=tmp_path / "whole", workers=1)
    half = spec.override(requested, {"epochs": 3, "execution.stack": 5})
    ensemble.train(half, out=tmp_path / "grown", workers=1)
    assert same(ensemble.train(requested, out=tmp_path / "grown", workers=1), whole)
    at = Target(float(np.median(whole.metric()[:, :4].max(axis=1))), "above", "test_metric")
    assert same(ensemble.train(requested, out=tmp_path / "retired", retirement=at, workers=1), retire(whole, at))
    assert same(ensemble.train(requested, out=tmp_path / "retired", workers=1), whole)
    save, written = Store.save, 0

    def stop(self: Store, snapshots: Any) -> None:
        nonlocal written
        save(self, snapshots)
        written += 1
        if written == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Store, "save", stop)
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(requested, out=tmp_path / "again", workers=1)
    assert same(ensemble.train(requested, out=tmp_path / "again", workers=1), whole)


def test_a_fork_is_the_perturbed_training(tmp_path: Path) -> None:
    forked = ensemble.fork(small(), at=3, perturbation={"name": "back"}, out=tmp_path / "fork").trajectories
    assert same(forked, ensemble.train(small(perturbation={"name": "back", "period": 3}), out=tmp_path / "whole"))
    # Unperturbed training keeps no best states: there is nothing to branch off from.
    assert forked.meta["trained"] == 16 * 8


# -- what is refused


def test_without_validation_there_is_no_best_epoch() -> None:
    with pytest.raises(InputError, match=r"data\.validation_size: 0 leaves back nothing to choose the best epoch by"):
        small(**{"data.validation_size": 0}, perturbation={"name": "back", "period": 3})
