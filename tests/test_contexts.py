"""What perturbations draw on: the best state so far, the probe and the gradient, the same however a run is trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional

import known
from fptlib import checkpoints, data, ensemble, models, perturbations, spec
from fptlib.ensemble import store, training
from fptlib.ensemble.contexts import Best, Gradient, probe_of
from fptlib.errors import InputError
from fptlib.perturbations import Context, Perturbation, State
from fptlib.trajectories import Retirement, retire
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


class BackSpec(spec.PerturbationSpec):
    VALIDATED: ClassVar[bool] = True

    name: Literal["back"] = "back"
    momenta: bool = False
    fresh_optimiser: bool = False


@dataclass(frozen=True, slots=True)
class Back(Perturbation):
    """Back to the best state, with its momenta or without."""

    needs: ClassVar[frozenset[Literal["best", "probe", "network", "gradient"]]] = frozenset({"best"})
    momenta: bool

    def apply(self, state: State, context: Context) -> State:
        best = context.best
        assert best is not None
        assert best.learning_rate == state.learning_rate
        return best if self.momenta else replace(state, parameters=best.parameters, buffers=best.buffers)


class AgainstSpec(spec.PerturbationSpec):
    name: Literal["against"] = "against"


@dataclass(frozen=True, slots=True)
class Against(Perturbation):
    """A step up the gradient on the probe."""

    needs: ClassVar[frozenset[Literal["best", "probe", "network", "gradient"]]] = frozenset({"gradient"})

    def apply(self, state: State, context: Context) -> State:
        assert context.gradient is not None
        assert (context.best, context.probe, context.network) == (None, None, None)
        slope = context.gradient(state)
        return replace(state, parameters={name: value + slope[name] for name, value in state.parameters.items()})


spec.register("perturbation", BackSpec)
spec.register("perturbation", AgainstSpec)
perturbations.register("back", lambda section: Back(section.momenta))
perturbations.register("against", lambda _section: Against())


def small(**changes: Any) -> spec.EnsembleSpec:
    return spec.override(SMALL, changes)


# -- the best state


def test_best_is_the_first_of_the_highest_values() -> None:
    values = np.array([np.nan, 0.2, 0.5, 0.5, np.nan, 0.4, 0.6])
    best = [epoch for epoch in range(1, 8) if Best.improved(values[:epoch])]
    assert best == [1, 2, 3, 7]


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_holds_the_state_after_the_best_epoch(kind: str) -> None:
    # Perturbed after the last epoch only, so that the same training without perturbation shows every epoch's state.
    asked = small(**KINDS[kind])
    source = data.load(asked.data)
    plain = training.Training(training.Task(asked, tuple(range(16)), asked.epochs, "cpu"), source)
    kept = spec.override(asked, {"perturbation": {"name": "back", "period": asked.epochs}})
    trained = training.Training(training.Task(kept, tuple(range(16)), asked.epochs, "cpu"), source)
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
    after = store.snapshot_at(ensemble.store_path(back, tmp_path), 0, back.digest())
    assert after is not None
    assert after.best is not None
    assert same(after.parameters, after.best["parameters"])
    counts = next(value for name, value in after.buffers.items() if name.endswith("num_batches_tracked"))
    # Batches seen: five in each epoch up to the best one, and five more in the last.
    assert counts.tolist() == [5 * (int(epoch) + 1) + 5 for epoch in best]


@pytest.mark.parametrize(
    ("kind", "momenta"),
    [("movable", True), ("movable", False), ("fixed", True), ("adam", True), ("adam", False), ("convolutions", True)],
)
def test_going_back_is_the_same_however_a_run_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, momenta: bool
) -> None:
    kick = {"name": "back", "period": 2, "momenta": momenta}
    asked = small(**KINDS[kind], perturbation=kick, **{"execution.snapshot_s": 0})
    whole = ensemble.train(asked, out=tmp_path / "whole", workers=1)
    half = spec.override(asked, {"epochs": 3, "execution.stack": 5})
    ensemble.train(half, out=tmp_path / "grown", workers=1)
    assert same(ensemble.train(asked, out=tmp_path / "grown", workers=1), whole)
    at = Retirement(float(np.median(whole.metric()[:, :4].max(axis=1))), "above", "test_metric")
    assert same(ensemble.train(asked, out=tmp_path / "retired", retirement=at, workers=1), retire(whole, at))
    assert same(ensemble.train(asked, out=tmp_path / "retired", workers=1), whole)
    save, written = store.save_snapshots, 0

    def stop(folder: Path, snapshots: Any) -> None:
        nonlocal written
        save(folder, snapshots)
        written += 1
        if written == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(store, "save_snapshots", stop)
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(asked, out=tmp_path / "again", workers=1)
    assert same(ensemble.train(asked, out=tmp_path / "again", workers=1), whole)


@pytest.mark.parametrize("name", ["back", "against"])
def test_a_fork_is_the_perturbed_training(tmp_path: Path, name: str) -> None:
    forked = ensemble.fork(small(), at=3, perturbation={"name": name}, out=tmp_path / "fork").trajectories
    assert same(forked, ensemble.train(small(perturbation={"name": name, "period": 3}), out=tmp_path / "whole"))
    # Unperturbed training keeps no best states: there is nothing to branch off from.
    assert forked.meta["trained"] == 16 * (8 if name == "back" else 5)


def test_snapshots_keep_the_best_states(tmp_path: Path) -> None:
    values = {"a": torch.randn(2, 3)}
    best = {
        "parameters": {"a": torch.randn(2, 3)},
        "buffers": {},
        "optimiser": {0: {"momentum_buffer": torch.ones(2, 3)}},
    }
    number, rate = torch.tensor([0, 1]), torch.full((2,), 0.1, dtype=torch.float64)
    snapshot = checkpoints.Snapshot("0" * 16, number, number + 1, values, {}, {}, rate, {}, best)
    checkpoints.write(tmp_path / "a.ckpt", snapshot)
    read = checkpoints.read(tmp_path / "a.ckpt").best
    assert read is not None
    assert same(read["parameters"], best["parameters"])
    assert same(read["optimiser"][0], best["optimiser"][0])
    other = replace(snapshot, run=number + 1)
    merged = checkpoints.merge(snapshot, other).best
    assert merged is not None
    assert torch.equal(merged["parameters"]["a"], torch.cat([best["parameters"]["a"], best["parameters"]["a"][1:]]))
    assert checkpoints.merge(snapshot, replace(other, best=None)).best is None


# -- probe and gradient


def test_the_probe_is_the_beginning_of_the_data() -> None:
    source = data.load(small(**{"data.train_size": 600}).data)
    x, y = torch.from_numpy(source.x_train), torch.from_numpy(source.y_train)
    probe = probe_of(x, y)
    assert torch.equal(probe[0], x[:500])
    assert torch.equal(probe[1], y[:500])
    assert len(probe_of(x[:30], y[:30])[1]) == 30


def stacked(asked: spec.EnsembleSpec, runs: int) -> tuple[models.Network, State, torch.Tensor, torch.Tensor]:
    source = data.load(asked.data)
    network = models.build(asked.model, shape=source.shape, n_classes=source.n_classes)
    generators = [np.random.default_rng(k) for k in range(runs)]
    parameters, buffers = network.initialise(generators, dtype=torch.float64, device=torch.device("cpu"))
    x, y = torch.from_numpy(source.x_train).double(), torch.from_numpy(source.y_train)
    return network, State(parameters, buffers, {}, 0.1), x, y


@pytest.mark.parametrize("model", [KINDS["fixed"], KINDS["convolutions"]])
def test_the_gradient_is_that_of_each_network_alone_in_training(model: dict[str, Any]) -> None:
    network, state, x, y = stacked(small(**model), 4)
    before = {name: value.clone() for name, value in (*state.parameters.items(), *state.buffers.items())}
    with torch.no_grad():
        found = Gradient(network, x, y)(state)
    for run in range(4):
        module = network.single().double()
        module.load_state_dict(models.run_state(state.parameters, state.buffers, run))
        functional.cross_entropy(module.train()(x), y).backward()
        for name, value in module.named_parameters():
            torch.testing.assert_close(found[name][run], value.grad, rtol=1e-9, atol=1e-12)
    assert same(before, {**state.parameters, **state.buffers})
    assert not any(value.requires_grad for value in found.values())


def test_the_gradient_of_a_run_does_not_depend_on_others() -> None:
    network, state, x, y = stacked(small(), 5)
    whole = Gradient(network, x, y)(state)
    some = replace(
        state,
        parameters={n: v[[3, 1]] for n, v in state.parameters.items()},
        buffers={n: v[[3, 1]] for n, v in state.buffers.items()},
    )
    assert same(Gradient(network, x, y)(some), {name: value[[3, 1]] for name, value in whole.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_perturbed_by_its_gradient_a_run_is_the_same_however_it_is_trained(tmp_path: Path, kind: str) -> None:
    asked = small(**KINDS[kind], perturbation={"name": "against", "period": 2}, runs=32)
    whole = ensemble.train(asked, out=tmp_path / "whole", workers=1)
    first = spec.override(asked, {"runs": 16, "epochs": 3, "execution.stack": 5})
    ensemble.train(first, out=tmp_path / "grown", workers=1)
    assert same(ensemble.train(asked, out=tmp_path / "grown", workers=1), whole)


# -- what is refused


def test_without_validation_there_is_no_best_epoch(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.validation_size: 0 leaves back nothing to choose the best epoch by"):
        small(**{"data.validation_size": 0}, perturbation={"name": "back", "period": 3})
    # Also where a kind of one's own does not say so.
    quiet = spec.register(
        "perturbation",
        type(
            "Quiet", (BackSpec,), {"__annotations__": {"name": Literal["quiet"]}, "name": "quiet", "VALIDATED": False}
        ),
    )
    perturbations.register("quiet", lambda _section: Back(False))
    asked = small(**{"data.validation_size": 0}, perturbation=quiet(period=3))
    with pytest.raises(InputError, match=r"data\.validation_size: 0 leaves Back.* nothing to choose the best epoch by"):
        ensemble.train(asked, out=tmp_path)
