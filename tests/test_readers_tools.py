"""Logs as the real tools wrote them, kept in ``logs`` with the script that wrote them; Weights & Biases needs its site.

The files of Weights & Biases are fixtures, written by hand after the layout of its exports: ``Step``, then ``RUN - METRIC`` with
``__MIN`` and ``__MAX`` for each run, every cell quoted.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.readers import read
from fptlib.trajectories import Target

LOGS = Path(__file__).parent / "logs"
TRUTH = json.loads((LOGS / "truth.json").read_text())
BATCHES = 4  # in an epoch of Lightning's runs


def copied(name: str, tmp_path: Path) -> Path:
    """Copy logs, to change them."""
    return shutil.copytree(LOGS / name, tmp_path / name)


@pytest.mark.parametrize("logger", ["csv", "tb"])
class TestLightning:
    """Both of Lightning's loggers, from one training run."""

    def test_what_was_logged_is_read(self, logger: str) -> None:
        runs = read(LOGS / "lightning" / logger)
        assert runs.meta["format"] == {"csv": "Lightning's CSVLogger", "tb": "TensorBoard event files"}[logger]
        assert (runs.run.tolist(), runs.lengths.tolist()) == ([0, 1], [4, 3])
        for metric in ("val_loss", "train_loss_epoch"):
            for row, truth in enumerate(TRUTH["lightning"]):
                read_ = runs.metric(metric)[row, : len(truth[metric])]
                np.testing.assert_array_equal(read_.astype(np.float32), np.array(truth[metric], dtype=np.float32))
        assert any(
            note.startswith("epochs that the log counts from 0 are counted from 1") for note in runs.meta["notes"]
        )
        falling = runs.metric("val_loss")
        times = first_passage(runs, Target(falling[0, 2], direction="below", metric="val_loss"))
        assert (times.time[0], times.observed[0]) == (3, True)
        again = r"train_loss_step is logged more than once at epoch 0, .*axis='step' counts"
        with pytest.raises(InputError, match=again):
            runs.metric("train_loss_step")

    def test_steps_give_the_same_epochs(self, logger: str) -> None:
        by_epoch, by_step = (read(LOGS / "lightning" / logger, axis=axis) for axis in ("epoch", "step"))
        np.testing.assert_array_equal(by_step.metric("val_loss"), by_epoch.metric("val_loss"))
        assert by_step.meta["every"] == BATCHES
        finer = read(LOGS / "lightning" / logger, axis="step", every=2)
        assert finer.metric("train_loss_step").shape == (2, 2 * 4)

    def test_any_level_of_its_folders_will_do(self, logger: str) -> None:
        logs = LOGS / "lightning" / logger / "lightning_logs"
        np.testing.assert_array_equal(read(logs).metric("val_loss"), read(logs.parent).metric("val_loss"))
        (file,) = (logs / "version_1").iterdir()
        for one in (logs / "version_1", file):
            np.testing.assert_allclose(read(one).metric("val_loss"), [TRUTH["lightning"][1]["val_loss"]], rtol=1e-6)

    def test_validation_every_second_epoch_is_an_epoch_when_that_is_said(self, logger: str) -> None:
        folder = LOGS / "lightning_every_2" / logger
        with pytest.raises(InputError, match=r"val_loss goes from epoch 1 to 3, .* every=2 makes them one epoch"):
            read(folder).metric("val_loss")
        truth = TRUTH["lightning_every_2"][0]["val_loss"]
        np.testing.assert_allclose(read(folder, every=2).metric("val_loss"), [truth], rtol=1e-6)


@pytest.mark.parametrize("logger", ["csv", "tb"])
def test_the_versions_in_the_folder_of_a_run_are_one_run(logger: str) -> None:
    runs = read(LOGS / "lightning_again" / logger)
    assert runs.meta["names"] == {"0": "seed_0/version_1", "1": "seed_1/version_1"}
    assert runs.lengths.tolist() == [4, 4]
    truth = [run["val_loss"] for run in TRUTH["lightning_again"]]
    np.testing.assert_allclose(runs.metric("val_loss"), truth, rtol=1e-6)
    notes = " ".join(runs.meta["notes"])
    assert "versions in one folder are starts of one run; seed_0/version_1 and 1 more came later" in notes
    assert re.search(r"a start that ends early is left out for the next one \(\S*seed_1/version_0", notes)


class TestTensorBoard:
    """Event files of PyTorch's ``SummaryWriter``."""

    def test_each_folder_is_a_run_and_nine_tenths_reach_nine_tenths(self) -> None:
        runs = read(LOGS / "tb_two")
        assert runs.run.tolist() == [12, 3]
        np.testing.assert_array_equal(runs.metric(), [[0.5, 0.6, np.nan], [0.7, 0.9, 0.1]])
        times = first_passage(runs, 0.9)  # kept in 32 bits it is less
        assert (times.time.tolist(), times.observed.tolist()) == ([2, 2], [False, True])

    def test_scalars_only_are_read_by_steps_and_one_file_is_one_run(self) -> None:
        (file,) = (LOGS / "tb_steps").iterdir()
        runs = read(file)
        assert (set(runs.metrics), runs.meta["every"]) == ({"val/acc"}, 100)
        assert runs.metric("val/acc").tolist() == [[0.2, 0.4, 0.6]]
        assert read(file, every=50).metric("train/loss").tolist() == [[1, 0.5, 0.33333334, 0.25, 0.2, 0.16666667]]

    def test_scalars_kept_as_tensors_are_read_too(self) -> None:
        assert read(LOGS / "tb_tensors").metric().tolist() == [[0.1, 0.2, 0.3]]

    def test_a_resumed_run_goes_on_in_a_second_file(self) -> None:
        runs = read(LOGS / "tb_resumed")
        assert runs.metric().tolist() == [[0.1, 0.2, 0.33, 0.44, 0.55]]
        assert any("1 run was resumed" in note for note in runs.meta["notes"])

    def test_two_runs_in_one_folder_are_refused(self, tmp_path: Path) -> None:
        folder = copied("tb_two", tmp_path)
        for file in (folder / "seed_12").iterdir():
            file.rename(folder / "seed_3" / file.name)
        with pytest.raises(InputError, match=r"host\.4: starts where .*host\.3 did; leave out the one that"):
            read(folder)

    def test_the_record_of_a_run_that_was_killed_ends_with_its_last_whole_value(self, tmp_path: Path) -> None:
        (file,) = (copied("tb_two", tmp_path) / "seed_3").iterdir()
        content = file.read_bytes()
        file.write_bytes(content[:-7])
        assert read(file.parent).lengths.tolist() == [2]
        file.write_bytes(content[:90] + bytes(len(content) - 90))  # damaged from its first value on
        with pytest.raises(InputError, match="no metric; at least one is needed"):
            read(file.parent)

    def test_the_curves_of_add_scalars_are_metrics_of_one_run(self) -> None:
        runs = read(LOGS / "tb_curves")
        assert set(runs.metrics) == {"acc/top1/train", "acc/top1/val", "loss"}
        assert runs.metric("acc/top1/val").tolist() == [[0.09, 0.19, 0.29], [0.08, 0.18, 0.28]]
        notes = " ".join(runs.meta["notes"])
        assert re.search("folders without metrics by steps are left out: .*seed_1/1795857961.267074", notes)
        assert re.search(r"\d folders hold metrics \*/train and \*/val of 2 runs around them", notes)

    def test_folders_of_keras_are_metrics_of_one_run(self, tmp_path: Path) -> None:
        folder = copied("keras", tmp_path)
        runs = read(folder)
        assert (len(runs.run), runs.meta["axis"]) == (2, "epoch")
        for metric, key in (("train/epoch_accuracy", "accuracy"), ("validation/epoch_loss", "val_loss")):
            np.testing.assert_allclose(runs.metric(metric), [truth[key] for truth in TRUTH["keras"]], rtol=1e-6)
        assert "4 folders hold metrics train/* and validation/* of 2 runs around them" in runs.meta["notes"]
        assert read(folder / "seed_2").meta["names"] == {"2": "seed_2"}
        # The same with the part before the run, and in its name.
        for name in ("{part}/{run}", "{run}_{part}"):
            other = tmp_path / str(len(name))
            for file in folder.rglob("*tfevents*"):
                new = other / name.format(part=file.parent.name, run=file.parents[1].name) / file.name
                new.parent.mkdir(parents=True)
                shutil.copy(file, new)
            turned = read(other).metric("validation/epoch_loss")
            np.testing.assert_array_equal(turned, runs.metric("validation/epoch_loss"))

    def test_runs_at_all_depths_are_read_once(self, tmp_path: Path) -> None:
        folder = copied("tb_two", tmp_path)
        deeper = folder / "a" / "b" / "c" / "d" / "seed_5"
        shutil.copytree(folder / "seed_3", deeper)
        shutil.copytree(folder / "seed_3", folder / ".ipynb_checkpoints" / "seed_3")
        (folder / "best").symlink_to(deeper)
        (deeper / "up").symlink_to(folder)
        assert read(folder).run.tolist() == [5, 12, 3]

    def test_without_its_package_the_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(InputError, match=r"need its package; pip install 'fptlib\[tensorboard\]'"):
            read(LOGS / "tb_two")


class TestHuggingFace:
    """States that the real trainer saved."""

    def test_evaluations_by_epoch(self) -> None:
        runs = read(LOGS / "hf_epochs")
        assert runs.meta["format"] == "Hugging Face trainer states"
        assert (runs.run.tolist(), runs.lengths.tolist()) == ([7, 8], [3, 2])
        for row, truth in enumerate(TRUTH["hf_epochs"]):
            assert runs.metric("eval_accuracy")[row, : len(truth)].tolist() == truth
        assert runs.metric("loss").shape == (2, 3)
        assert set(runs.metrics) == {"eval_accuracy", "eval_loss", "loss", "grad_norm", "learning_rate"}
        assert not any("learning_rate goes" in note for note in runs.meta["notes"])

    def test_evaluations_by_step_and_before_training(self) -> None:
        runs = read(LOGS / "hf_steps")
        assert (runs.meta["axis"], runs.meta["every"]) == ("step", 2)
        assert runs.metric("eval_accuracy").tolist() == [TRUTH["hf_steps"][0][1:]]
        notes = " ".join(runs.meta["notes"])
        assert "evaluations before training, at step 0, are left out" in notes
        assert "learning_rate goes from 0.5 to" in notes
        assert read(LOGS / "hf_steps", every=1).metric("loss").shape == (1, 8)

    def test_the_last_checkpoint_stands_in_for_a_state_that_was_not_saved(self, tmp_path: Path) -> None:
        folder = copied("hf_checkpoints", tmp_path)
        # Checkpoints 10, 11 and 12: the last by number, not by name.
        (folder / "run_1" / "checkpoint-12").rename(folder / "run_1" / "checkpoint-100")
        for path in (folder, folder / "run_1"):
            runs = read(path)
            assert runs.metric("eval_accuracy").tolist() == TRUTH["hf_checkpoints"]
            assert runs.meta["names"] == {"1": "run_1"}

    def test_an_evaluation_after_training_that_agrees_counts_once(self, tmp_path: Path) -> None:
        entries = [{"epoch": k, "step": 5 * k, "eval_f1": k / 10, "eval_runtime": k + 0.1} for k in (1.0, 2.0)]
        state = {"log_history": [*entries, {**entries[-1], "eval_runtime": 9.0}]}
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        assert read(tmp_path).metric().tolist() == [[0.1, 0.2]]
        state["log_history"][-1]["eval_f1"] = 0.7
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        assert read(tmp_path).metric().tolist() == [[0.1, 0.2]]

    def test_an_evaluation_of_the_best_model_is_left_out(self) -> None:
        runs = read(LOGS / "hf_best")
        (truth,) = TRUTH["hf_best"]
        assert truth[-1] != truth[-2]
        assert runs.metric("eval_accuracy").tolist() == [truth[:-1]]
        assert "evaluations after training, which log its last step again, are left out" in runs.meta["notes"]

    def test_epochs_that_end_a_little_off_are_rounded(self, tmp_path: Path) -> None:
        entries = [{"epoch": 0.98 * k, "step": 49 * k, "eval_f1": k / 10} for k in (1, 2)]
        (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
        runs = read(tmp_path)
        assert runs.metric().tolist() == [[0.1, 0.2]]
        assert "epochs that end up to 0.04 off a whole number are rounded" in runs.meta["notes"]

    @pytest.mark.parametrize(
        "content", ["{", "[]", '{"log_history": []}', '{"log_history": 3}', '{"log_history": [1]}']
    )
    def test_other_files_of_this_name_are_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "trainer_state.json").write_text(content)
        with pytest.raises(InputError, match=r"trainer_state\.json: not a state of a trainer"):
            read(tmp_path)


# Weights & Biases: fixtures after the layout of its exports


def chart(
    axis: str, runs: dict[str, list[float | None]], *, metric: str = "val_acc", places: list[float] | None = None
) -> str:
    """Return the export of a chart, every cell quoted, empty where a run has no value."""
    names = [f"{run} - {metric}" for run in runs]
    header = [axis, *[name + end for name in names for end in ("", "__MIN", "__MAX")]]
    n = max(len(values) for values in runs.values())
    lines = [header]
    for k in range(n):
        cells = [values[k] if k < len(values) else None for values in runs.values()]
        spelled = ["" if cell is None else f"{cell}" for cell in cells for _ in range(3)]
        lines.append([f"{(places or list(range(n)))[k]:g}", *spelled])
    return "\n".join(",".join(f'"{cell}"' for cell in line) for line in lines) + "\n"


class TestWeightsAndBiases:
    """Fixtures written after the documented layout of its exports, not files of the real tool."""

    def test_a_chart_is_one_metric_of_many_runs(self, tmp_path: Path) -> None:
        text = chart("Step", {"calm-lake-4": [0.1, 0.2, 0.3], "wild - sea-5": [0.4, 0.5]})
        (tmp_path / "wandb_export_2026-11-24.csv").write_text(text)
        for path in (tmp_path, tmp_path / "wandb_export_2026-11-24.csv"):
            runs = read(path)
            assert runs.meta["format"] == "Weights & Biases chart export"
            assert runs.run.tolist() == [4, 5]
            assert runs.meta["names"] == {"4": "calm-lake-4", "5": "wild - sea-5"}
            np.testing.assert_array_equal(runs.metric("val_acc"), [[0.1, 0.2, 0.3], [0.4, 0.5, np.nan]])

    def test_values_between_those_of_another_run_are_not_gaps(self, tmp_path: Path) -> None:
        # One run evaluates after 100, 200, ... steps, the other, on another machine, was logged after 100, 200, ... plus its own rows.
        text = chart(
            "trainer/global_step",
            {"a-1": [0.1, None, 0.2, None], "b-2": [None, 0.3, None, 0.4]},
            places=[99, 100, 199, 200],
        )
        (tmp_path / "export.csv").write_text(text)
        with pytest.raises(
            InputError, match=r"run b-2: val_acc starts at step 100, but in .*run a-1 at 99; count alike"
        ):
            read(tmp_path)

    def test_a_folder_of_charts_has_a_metric_in_each(self, tmp_path: Path) -> None:
        for metric, sign in (("val_acc", 1), ("val_loss", -1)):
            runs: dict[str, list[float | None]] = {"a-1": [sign * 0.1, sign * 0.2], "b-2": [sign * 0.3, sign * 0.4]}
            (tmp_path / f"{metric}.csv").write_text(chart("epoch", runs, metric=metric))
        both = read(tmp_path)
        np.testing.assert_array_equal(both.metric("val_loss"), -both.metric("val_acc"))
        (tmp_path / "again.csv").write_text(chart("epoch", {"a-1": [0.1]}))
        with pytest.raises(InputError, match=r"val_acc of a-1 is also in again\.csv"):
            read(tmp_path)

    def test_steps_beside_epochs_are_understood(self, tmp_path: Path) -> None:
        lines = ["epoch,r-1 - _step,r-1 - _step__MIN,r-1 - _step__MAX,r-1 - acc,r-1 - acc__MIN,r-1 - acc__MAX"]
        lines += [f"{k},{8 * k + 7},{8 * k + 7},{8 * k + 7},0.{k},0.{k},0.{k}" for k in range(3)]
        (tmp_path / "e.csv").write_text("\n".join(lines) + "\n")
        assert read(tmp_path).metric().tolist() == [[0.0, 0.1, 0.2]]
        assert read(tmp_path, axis="step").meta["every"] == 8

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (
                lambda text: text.replace('"0.2","0.2"', '"0.2","0.15"'),
                "line 3: a-1 - val_acc is 0.2 but a-1 - val_acc__MIN is 0.15, the mean of",
            ),
            (
                lambda text: text.replace("Step", "Relative Time (Process)"),
                "no column Step or epoch; export a chart over steps",
            ),
            (lambda text: text.replace('"2","0.3"', '"two","0.3"'), "line 4: Step is 'two', a number is needed"),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, change: Callable[[str], str], message: str) -> None:
        (tmp_path / "e.csv").write_text(change(chart("Step", {"a-1": [0.1, 0.2, 0.3]})))
        with pytest.raises(InputError) as refused:
            read(tmp_path)
        assert f"{tmp_path / 'e.csv'}" in str(refused.value)
        assert message in str(refused.value)

    def test_runs_of_one_name_are_told_apart(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("Step,x - acc,x - acc\n1,0.1,0.3\n2,0.2,0.4\n")
        # As pandas writes the same.
        text = "Step,x - acc,x - acc__MIN,x - acc.1,x - acc__MIN.1\n1,0.1,0.1,0.3,0.3\n2,0.2,0.2,0.4,0.4\n"
        (tmp_path / "b.csv").write_text(text)
        for file in tmp_path.iterdir():
            runs = read(file)
            assert runs.metric().tolist() == [[0.1, 0.2], [0.3, 0.4]]
            assert runs.meta["names"] == {"0": "x", "1": "x (2)"}
            assert any("runs of one name" in note for note in runs.meta["notes"])

    @pytest.mark.parametrize("axis", ["Step", "epoch", "Epoch", "global_step", "trainer/global_step", "iteration"])
    def test_charts_over_anything_that_counts(self, tmp_path: Path, axis: str) -> None:
        (tmp_path / "a.csv").write_text(f"{axis},r-1 - acc,r-2 - acc\n1,0.1,0.3\n2,0.2,0.4\n")
        assert read(tmp_path).metric().tolist() == [[0.1, 0.2], [0.3, 0.4]]

    def test_a_history_is_a_csv_file_for_each_run(self, tmp_path: Path) -> None:
        for seed in (1, 2):
            lines = [",_runtime,_timestamp,_step,epoch,val_acc,gpu_name"]
            lines += [f"{k},{k * 1.5},{1.7e9 + k},{k},{k},0.{seed}{k},A100" for k in range(4)]
            (tmp_path / f"history_{seed}.csv").write_text("\n".join(lines) + "\n")
        runs = read(tmp_path)
        assert set(runs.metrics) == {"val_acc"}
        assert runs.metric().tolist() == [[0.1, 0.11, 0.12, 0.13], [0.2, 0.21, 0.22, 0.23]]


@pytest.fixture(params=["mlruns", "mlflow.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return what MLflow wrote, as folders or as a database."""
    folder = copied("mlflow", tmp_path)
    with closing(sqlite3.connect(folder / "mlflow.db")) as base:
        base.executescript((folder / "mlflow.sql").read_text())
    return folder / str(request.param)


class TestMLflow:
    """Runs that MLflow kept in folders and in its database."""

    def test_runs_are_read_and_numbered(self, store: Path) -> None:
        runs = read(store)
        assert sorted(runs.meta["names"].values()) == ["seed_1", "seed_2", "seed_2 (2)"]
        assert sorted(runs.lengths.tolist()) == [4, 4, 5]
        longest = runs.lengths.argmax()
        np.testing.assert_allclose(runs.metric("loss")[longest], 1 / np.arange(1.0, 6.0))
        notes = " ".join(runs.meta["notes"])
        for name in ("empty", "seed_3", "outer"):
            assert name in notes.split("around others are left out: ")[1]
        assert "stepless is logged without steps; give log_metric the epoch" in runs.meta["left_out"]["stepless"]

    def test_one_of_several_experiments_is_needed(self, store: Path) -> None:
        if store.is_dir():
            (home,) = (home for home in store.iterdir() if len(home.name) > 9)
            shutil.copytree(home, home.with_name("7"))
            assert len(read(home).run) == 3
        else:
            with closing(sqlite3.connect(store)) as base:
                base.execute("UPDATE runs SET experiment_id = 0 WHERE name = 'seed_1'")
                base.commit()
        with pytest.raises(InputError, match=r"runs of 2 experiments, where one is needed: (\w+, 7|Default, digits)$"):
            read(store)


class TestJSON:
    """Objects in lines, lists of objects and lists of values."""

    def test_ray_tune_writes_a_line_for_each_report(self, tmp_path: Path) -> None:
        folder = copied("ray", tmp_path)
        runs = read(folder)
        assert runs.meta["format"] == "JSON"
        np.testing.assert_allclose(runs.metric("val_acc"), [[0.1, 0.2, 0.3], [0.2, 0.4, 0.6]])
        assert runs.metric("inside/loss").tolist() == [[1, 1 / 2, 1 / 3]] * 2
        for file in folder.glob("*/result.json"):
            file.unlink()
        np.testing.assert_array_equal(read(folder).metric("val_acc"), runs.metric("val_acc"))

    @pytest.mark.parametrize("name", ["log.txt", "metrics.json", "log.jsonl", "log.jsonl.gz"])
    def test_lines_of_which_some_lack_a_metric(self, tmp_path: Path, name: str) -> None:
        for seed in (1, 2):
            rows = [{"iteration": 50 * k - 1, "loss": 1 / k, "lr": 0.1} for k in range(1, 5)]
            rows[1]["bbox/AP"] = rows[3]["bbox/AP"] = float(seed)
            (tmp_path / f"seed_{seed}").mkdir()
            text = ("".join(json.dumps(row) + "\n" for row in rows) + '{"itera').encode()
            (tmp_path / f"seed_{seed}" / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
            (tmp_path / f"seed_{seed}" / "config.json").write_text('{"layers": [64, 64], "epochs": 4}')
        runs = read(tmp_path)
        assert read(tmp_path, metric="bbox/AP").metric().tolist() == [[1, 1], [2, 2]]
        assert (runs.meta["axis"], runs.meta["every"]) == ("step", 50)
        assert any("a last line that was cut is left out" in note for note in runs.meta["notes"])

    def test_a_line_that_is_no_json_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "a.jsonl").write_text('{"epoch": 1, "acc": 0.1}\nWarning: late\n{"epoch": 2, "acc": 0.2}\n')
        with pytest.raises(InputError, match=r"a\.jsonl, line 2: no object of JSON"):
            read(tmp_path)

    @pytest.mark.parametrize(
        "content",
        [
            [{"epoch": k, "val": {"acc": k / 10}} for k in (1, 2, 3)],
            {"val/acc": [0.1, 0.2, 0.3], "loss": [3, 2, 1]},
            {"val": {"acc": [0.1, 0.2, 0.3]}, "train": {"acc": [0.1, 0.2, 0.3]}},
            {"epoch": [1, 2, 3], "val/acc": [0.1, 0.2, 0.3]},
        ],
    )
    @pytest.mark.parametrize("indent", [None, 1])
    def test_lists(self, tmp_path: Path, content: object, indent: int | None) -> None:
        (tmp_path / "history.json").write_text(json.dumps(content, indent=indent))
        for path in (tmp_path, tmp_path / "history.json"):
            assert read(path).metric("val/acc").tolist() == [[0.1, 0.2, 0.3]]

    def test_several_runs_in_one_file(self, tmp_path: Path) -> None:
        rows = [{"seed": k, "epoch": i, "acc": k * i / 10} for k in (1, 2) for i in (1, 2)]
        (tmp_path / "runs.json").write_text(json.dumps(rows))
        for path in (tmp_path, tmp_path / "runs.json"):
            runs = read(path)
            assert (runs.run.tolist(), runs.metric("acc").tolist()) == ([1, 2], [[0.1, 0.2], [0.2, 0.4]])

    def test_lists_of_different_lengths_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "history.json").write_text(json.dumps({"loss": [3, 2, 1, 0], "val_loss": [2, 1]}))
        with pytest.raises(InputError, match=r"history\.json.*: lists of different lengths; write the epoch"):
            read(tmp_path)
