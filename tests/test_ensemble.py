"""Training: the same as one network at a time in plain PyTorch, and the same run however it came about."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from plain import plain_run

from fptlib import ensemble, spec, trajectories
from fptlib.ensemble import training
from fptlib.ensemble.streams import order, stream
from fptlib.errors import InputError
from fptlib.trajectories import Trajectories
from known import same, small, wait_for

KICK = {"name": "shrink_perturb", "period": 2, "shrink": 0.5, "perturb": 0.2}


# -- limits


@pytest.mark.parametrize("scope", ["parameters", "state"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_perturbation_that_changes_nothing_changes_nothing(tmp_path: Path, scope: str, momentum: float) -> None:
    changes = {"optimiser.momentum": momentum, "model.normalisation": "batch"}
    nothing = KICK | {"shrink": 1, "perturb": 0, "fresh_optimiser": False, "scope": scope}
    plain = ensemble.train(small(**changes), out=tmp_path)
    assert same(ensemble.train(small(**changes, perturbation=nothing), out=tmp_path), plain)


def test_to_shrink_to_nothing_and_perturb_by_all_is_a_full_reset(tmp_path: Path) -> None:
    # Without BatchNorm, whose running averages a full reset takes back as well.
    changes = {"optimiser.momentum": 0.9}
    whole = ensemble.train(small(**changes, perturbation=KICK | {"shrink": 0, "perturb": 1}), out=tmp_path)
    reset = ensemble.train(small(**changes, perturbation={"name": "full_reset", "period": 2}), out=tmp_path)
    assert same(whole, reset)


def test_once_is_the_first_of_the_periodic_perturbations(tmp_path: Path) -> None:
    periodic = ensemble.train(small(perturbation=KICK), out=tmp_path).metric()
    once = ensemble.train(small(perturbation=KICK | {"repeat": "once"}), out=tmp_path).metric()
    assert np.array_equal(once[:, :4], periodic[:, :4])
    assert not np.array_equal(once[:, 4:], periodic[:, 4:])


# -- laws


@pytest.mark.parametrize("name", ["shrink_perturb", "full_reset", "partial_reset"])
def test_a_perturbed_run_is_the_unperturbed_one_up_to_its_first_perturbation(tmp_path: Path, name: str) -> None:
    section = {"name": name, "period": 3} | ({"quantile": 0.9} if name == "partial_reset" else {})
    plain = ensemble.train(small(), out=tmp_path)
    perturbed = ensemble.train(small(perturbation=section), out=tmp_path)
    for metric, values in plain.metrics.items():
        assert np.array_equal(values[:, :3], perturbed.metrics[metric][:, :3])
    assert (plain.metrics["train_loss"][:, 3] != perturbed.metrics["train_loss"][:, 3]).all()


def test_runs_differ_and_depend_on_the_seed(tmp_path: Path) -> None:
    first = ensemble.train(small(), out=tmp_path).metrics["train_loss"]
    second = ensemble.train(small(seed=1), out=tmp_path).metrics["train_loss"]
    assert len(np.unique(np.concatenate([first[:, 0], second[:, 0]]))) == 32


def test_streams_are_told_apart() -> None:
    keys: list[Any] = [(0, 0, "initial", 0), (1, 0, "initial", 0), (0, 1, "initial", 0), (0, 0, "order", 0)]
    keys += [(0, 0, "initial", 1), (2**32, 0, "initial", 0), (0, 0, "fresh", 1), (0, 0, "perturb", 1)]
    assert len({float(stream(*key).random()) for key in keys}) == len(keys)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("images", [45, 40, 7])
def test_batches_are_drawn_as_asked(images: int, drop_last: bool) -> None:
    shown: dict[str, Any] = {}
    for sampling in ("reshuffle", "replace"):
        training = spec.TrainingSpec(batch_size=7, sampling=sampling, drop_last=drop_last)
        shown[sampling] = np.stack([order(stream(0, run, "order"), images, training) for run in range(2000)])
        width = images - images % 7 if drop_last else images
        assert shown[sampling].shape == (2000, width)
        for batch in range(0, width, 7):
            values = np.sort(shown[sampling][:, batch : batch + 7], axis=1)
            assert (np.diff(values, axis=1) > 0).all()
            # Each image is as frequent in each batch as the others, within five standard errors.
            share = values.shape[1] / images
            counts = np.bincount(values.ravel(), minlength=images)
            assert (abs(counts - 2000 * share) <= 5 * np.sqrt(2000 * share * (1 - share)) + 1e-9).all()
    assert (np.diff(np.sort(shown["reshuffle"], axis=1), axis=1) > 0).all()
    if images > 14:  # images of the first batch that the second shows again: those of an independent draw
        again = [np.isin(row[7:14], row[:7]).sum() for row in shown["replace"]]
        assert abs(np.mean(again) - 49 / images) < 5 * np.std(again) / np.sqrt(2000)


def test_what_is_recorded(tmp_path: Path) -> None:
    trained = ensemble.train(small(**{"data.validation_size": 30}), out=tmp_path)
    assert list(trained.run) == list(range(16))
    assert set(trained.metrics) == {"train_loss", "test_loss", "test_metric", "valid_metric"}
    assert all(values.shape == (16, 6) for values in trained.metrics.values())
    for name, images in (("test_metric", 797), ("valid_metric", 30)):
        counts = trained.metrics[name] * images
        assert np.allclose(counts, counts.round())
    assert (trained.meta["n_evaluated"], trained.meta["n_validated"]) == (797, 30)
    assert trained.meta["digest"] == small(**{"data.validation_size": 30}).digest()
    assert (trained.metrics["train_loss"][:, -1] < trained.metrics["train_loss"][:, 0]).all()


# -- parity with plain PyTorch


@pytest.mark.parametrize("normalisation", ["none", "batch"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimiser.momentum": 0.9, "optimiser.weight_decay": 0.01},
        {"perturbation": KICK},
        {"optimiser.momentum": 0.9, "perturbation": KICK},
        {"optimiser.momentum": 0.9, "perturbation": KICK | {"fresh_optimiser": False}},
        {"training.sampling": "replace"},
        {"training.sampling": "replace", "training.drop_last": True, "perturbation": KICK},
    ],
)
def test_stacked_training_is_one_network_at_a_time(tmp_path: Path, normalisation: str, changes: dict[str, Any]) -> None:
    requested = small(**changes, **{"training.dtype": "float64", "model.normalisation": normalisation, "epochs": 3})
    trained = ensemble.train(requested, out=tmp_path)
    for run in (0, 5, 15):
        for name, values in plain_run(requested, run).items():
            np.testing.assert_allclose(trained.metrics[name][run], values, rtol=1e-9, err_msg=f"{name} of run {run}")


# -- parity with itself: the same run however it came about


@pytest.fixture(scope="module", params=["none", "batch"])
def forty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[spec.EnsembleSpec, Any]:
    """A perturbed ensemble of 40 runs with widths that no vector register divides, as one process trained it."""
    changes = {"model.widths": [13, 7], "model.normalisation": request.param, "optimiser.momentum": 0.9}
    changes["execution.snapshot_s"] = 0  # after each epoch
    requested = small(**changes, perturbation=KICK | {"period": 4, "fresh_optimiser": False}, runs=40, epochs=6)
    return requested, ensemble.train(requested, out=tmp_path_factory.mktemp("forty"), workers=1)


@pytest.mark.parametrize("runs", [1, 5, 16, 17])
def test_a_run_is_the_same_whatever_number_is_trained(forty: Any, tmp_path: Path, runs: int) -> None:
    requested, whole = forty
    assert same(ensemble.train(spec.override(requested, {"runs": runs}), out=tmp_path), whole.head(runs=runs))


def test_a_store_grows_by_what_is_missing(forty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested, whole = forty
    done: list[int] = []
    plain = training.Training.step_epoch
    monkeypatch.setattr(training.Training, "step_epoch", lambda self: (done.append(self.active), plain(self))[1])
    for runs, epochs, work in [(3, 4, 64), (16, 4, 0), (16, 6, 32), (40, 6, 192), (40, 6, 0), (7, 5, 0)]:
        done.clear()
        grown = ensemble.train(spec.override(requested, {"runs": runs, "epochs": epochs}), out=tmp_path)
        assert same(grown, whole.head(runs=runs, epochs=epochs))
        assert sum(done) == grown.meta["trained"] == work
    # A smaller request does not make the store smaller.
    assert same(trajectories.read_store(ensemble.store_path(requested, tmp_path)), whole)


def _stop_after(monkeypatch: pytest.MonkeyPatch, epochs: int) -> None:
    """Interrupt training after some epochs."""
    plain = training.Training.step_epoch
    left = [epochs]

    def step(self: training.Training) -> int:
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return plain(self)

    monkeypatch.setattr(training.Training, "step_epoch", step)


@pytest.mark.parametrize("stop", [1, 4, 5])
def test_an_interrupted_training_goes_on_as_if_nothing_had_been(
    forty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    requested, whole = forty
    with monkeypatch.context() as patch:
        _stop_after(patch, stop)
        with pytest.raises(KeyboardInterrupt):
            ensemble.train(requested, out=tmp_path, workers=1)
    with pytest.raises(InputError, match="of 40 runs are trained to epoch 6"):
        trajectories.read_store(ensemble.store_path(requested, tmp_path))
    assert same(ensemble.train(requested, out=tmp_path), whole)


def test_a_shorter_horizon_after_an_interruption_needs_no_training(
    forty: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    requested, whole = forty
    requested = spec.override(requested, {"runs": 16})
    _stop_after(monkeypatch, 5)
    with pytest.raises(KeyboardInterrupt):
        ensemble.train(requested, out=tmp_path, workers=1)
    assert same(ensemble.train(spec.override(requested, {"epochs": 4}), out=tmp_path), whole.head(runs=16, epochs=4))


# No guard of the main module, as people write scripts: processes must start from it all the same.
_SCRIPT = """
from fptlib import ensemble, spec
trained = ensemble.train(spec.load("requested.yml"), out="stores", workers=2).meta["trained"]
print("done", trained)
"""


def _script(folder: Path, *, epochs: int) -> tuple[spec.EnsembleSpec, Path]:
    """Parameters of 32 runs, their file and the script that trains them; and where the store will be."""
    requested = small(**{"model.normalisation": "batch", "perturbation": KICK, "runs": 32, "epochs": epochs})
    requested = spec.override(requested, {"execution.snapshot_s": 0.1})
    (folder / "requested.yml").write_text(requested.model_dump_json())
    (folder / "script.py").write_text(_SCRIPT)
    return requested, folder / "stores" / requested.digest()


def _alive(group: int) -> list[str]:
    """Processes of a group that have not ended (dead ones that nobody has waited for have)."""
    names = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            name, _, rest = path.read_text().rpartition(")")
            state, _, process_group = rest.split()[:3]
            if int(process_group) == group and state != "Z":
                names.append(name)
    return names


@pytest.mark.slow
def test_killed_in_the_middle_the_same_command_gives_the_same_result(tmp_path: Path, root: Path) -> None:
    requested, store = _script(tmp_path, epochs=60)
    options: dict[str, Any] = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(root)}}
    process = subprocess.Popen([sys.executable, "script.py"], start_new_session=True, **options)
    wait_for(lambda: list(store.glob("*.ckpt")), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert len(list(store.glob("*.parquet"))) < 2
    again = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, check=False, **options)
    assert again.stderr == ""
    assert 0 < int(again.stdout.removeprefix("done ")) < requested.runs * requested.epochs
    assert same(trajectories.read_store(store), ensemble.train(requested, out=tmp_path / "uninterrupted", workers=1))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_asked(tmp_path: Path, root: Path, how: signal.Signals) -> None:
    _, store = _script(tmp_path, epochs=100_000)
    with (tmp_path / "script.py").open() as script:
        process = subprocess.Popen(
            [sys.executable, "-"],
            stdin=script,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(root)},
            start_new_session=True,
            # A shell that runs the tests in the background has it ignored, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
    wait_for(lambda: list(store.glob("*.ckpt")), process)
    if how == signal.SIGINT:
        # As a terminal does: to every process of the group.
        os.killpg(process.pid, how)
    else:
        process.kill()
    _, errors = process.communicate(timeout=300)
    assert process.returncode != 0
    if how == signal.SIGINT:
        assert errors.count(b"Traceback") == 1, errors.decode()
        assert errors.endswith(b"KeyboardInterrupt\n")
    wait_for(lambda: not _alive(process.pid))


# -- damage


@pytest.fixture
def stored(tmp_path: Path) -> tuple[spec.EnsembleSpec, Path, Trajectories]:
    requested = small(runs=32)
    return requested, ensemble.store_path(requested, tmp_path), ensemble.train(requested, out=tmp_path)


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [_flip, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"PAR1")])
def test_a_damaged_shard_is_made_again(stored: Any, tmp_path: Path, damage: Any) -> None:
    requested, store, whole = stored
    damage(store / "runs-00016-00031.parquet")
    with pytest.warns(UserWarning, match=r"runs-00016-00031\.parquet: .*trained again"):
        again = ensemble.train(requested, out=tmp_path)
    assert same(again, whole)


def test_altered_numbers_are_found(stored: Any, tmp_path: Path) -> None:
    requested, store, whole = stored
    path = store / "runs-00000-00015.parquet"
    table = pq.ParquetFile(path).read()
    values = table["test_metric"].to_numpy() + np.eye(1, table.num_rows, 20)[0] / 100
    pq.write_table(table.set_column(table.column_names.index("test_metric"), "test_metric", pa.array(values)), path)
    with pytest.warns(UserWarning, match="its checksum differs"):
        assert same(ensemble.train(requested, out=tmp_path), whole)


def test_shards_and_snapshots_of_another_ensemble_are_not_taken(stored: Any, tmp_path: Path) -> None:
    requested, store, whole = stored
    other = ensemble.store_path(small(seed=5), tmp_path)
    ensemble.train(small(seed=5), out=tmp_path)
    for name in ("runs-00000-00015.parquet", "runs-00000-00015.ckpt"):
        shutil.copy(other / name, store / name)
    with pytest.warns(UserWarning, match="belongs to") as warned:
        again = ensemble.train(requested, out=tmp_path)
    assert len(warned) == 2
    assert same(again, whole)


def test_a_snapshot_that_is_damaged_or_of_another_format_costs_time_only(stored: Any, tmp_path: Path) -> None:
    requested, store, _ = stored
    path, other = store / "runs-00000-00015.ckpt", store / "runs-00016-00031.ckpt"
    start, _, rest = other.read_bytes().partition(b"\n")
    _flip(path)
    other.write_bytes(b"fptlib snapshot 1\n" + rest)
    longer = spec.override(requested, {"epochs": 9})
    with pytest.warns(UserWarning, match=r"runs-00000-00015\.ckpt: damaged snapshot") as warned:
        again = ensemble.train(longer, out=tmp_path)
    assert len(warned) == 1
    assert same(again, ensemble.train(longer, out=tmp_path / "elsewhere"))
    assert other.read_bytes().startswith(start)


def test_a_damaged_note_of_what_was_asked_for_is_written_again(stored: Any, tmp_path: Path) -> None:
    requested, store, whole = stored
    (store / "store.json").write_text("{")
    assert same(ensemble.train(requested, out=tmp_path), whole)
    assert same(trajectories.read_store(store), whole)


# -- faults


def test_impossible_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="workers: 0 is not possible"):
        ensemble.train(small(), out=tmp_path, workers=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="a folder that can be written is needed"):
        ensemble.train(small(), out=tmp_path / "file")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="device: cuda is asked for, but torch sees no GPU"):
        ensemble.train(small(device="cuda"), out=tmp_path)


# -- the real thing


def test_golden_trajectory(tmp_path: Path) -> None:
    """The numbers that `ENGINE_VERSION` stands for: where they move, it has to be raised, so that old stores are left.

    Images counted right by run 3 of a short training in double precision; another machine may round one the other way.
    """
    requested = small(
        **{
            "data": {"name": "digits", "train_size": 200, "label_noise": 0.1},
            "model": {"name": "mlp", "widths": [32], "normalisation": "batch"},
            "optimiser.momentum": 0.5,
            "training.dtype": "float64",
            "perturbation": KICK | {"scope": "state"},
            "epochs": 5,
        }
    )
    assert spec.ENGINE_VERSION == 2
    trained = ensemble.train(requested, out=tmp_path)
    counts = np.round(trained.metrics["test_metric"][3] * 797)
    assert np.abs(counts - GOLDEN_COUNTS).max() <= 2, counts
    np.testing.assert_allclose(trained.metrics["train_loss"][3], GOLDEN_LOSSES, rtol=1e-4)


GOLDEN_COUNTS = (649, 661, 598, 675, 688)
GOLDEN_LOSSES = (1.69458, 0.992748, 1.24318, 0.90112, 1.08499)
