"""Logs as the real tools write them: Lightning, TensorBoard and Hugging Face run here; Weights & Biases needs its site.

The files of Weights & Biases are fixtures, written by hand after the layout of its exports: ``Step``, then ``RUN - METRIC`` with
``__MIN`` and ``__MAX`` for each run, every cell quoted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.readers import read

BATCHES = 4  # in an epoch
Values = dict[str, list[float]]


# Lightning

quiet_lightning = [
    pytest.mark.filterwarnings("ignore:.isinstance.treespec, LeafSpec.*:FutureWarning:lightning"),
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
]


def fit_lightning(folder: Path, *, lengths: list[int], **options: Any) -> list[Values]:
    """Train runs with Lightning, logging to CSV and event files; what each run logged as it happened, epoch by epoch."""
    import lightning
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    class Net(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            loss = self.layer(batch[0]).pow(2).mean()
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", self.layer(batch[0]).pow(2).mean())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    class Truth(Callback):
        def __init__(self) -> None:
            self.seen: Values = {"val_loss": [], "train_loss_epoch": []}

        def on_validation_end(self, trainer: Any, _: Any) -> None:
            if not trainer.sanity_checking:
                self.seen["val_loss"].append(trainer.callback_metrics["val_loss"].item())

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            self.seen["train_loss_epoch"].append(trainer.callback_metrics["train_loss_epoch"].item())

    truths = []
    data = DataLoader(TensorDataset(torch.linspace(-1, 1, 32).reshape(16, 2)), batch_size=16 // BATCHES)
    for length in lengths:
        truth = Truth()
        loggers = [CSVLogger(folder / "csv"), TensorBoardLogger(folder / "tb")]
        silent = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
        trainer = lightning.Trainer(
            max_epochs=length,
            accelerator="cpu",
            logger=loggers,
            callbacks=[truth],
            log_every_n_steps=2,
            **silent,
            **options,
        )
        trainer.fit(Net(), data, data)
        truths.append(truth.seen)
    return truths


@pytest.fixture(scope="module")
def lightning_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Values]]:
    """Return the folder of two runs, of 4 and of 3 epochs, and what they logged."""
    folder = tmp_path_factory.mktemp("lightning")
    return folder, fit_lightning(folder, lengths=[4, 3])


class TestLightning:
    """Both of Lightning's loggers, from one training."""

    pytestmark = quiet_lightning

    @pytest.mark.parametrize("logger", ["csv", "tb"])
    def test_what_was_logged_is_read(self, lightning_runs: tuple[Path, list[Values]], logger: str) -> None:
        folder, truths = lightning_runs
        runs = read(folder / logger)
        assert runs.meta["format"] == {"csv": "Lightning's CSVLogger", "tb": "TensorBoard event files"}[logger]
        assert runs.run.tolist() == [0, 1]
        assert runs.lengths.tolist() == [4, 3]
        for metric in ("val_loss", "train_loss_epoch"):
            for row, truth in enumerate(truths):
                read_ = runs.metric(metric)[row, : len(truth[metric])]
                np.testing.assert_array_equal(read_.astype(np.float32), np.array(truth[metric], dtype=np.float32))
        assert "epochs that the log counts from 0 are counted from 1" in runs.meta["notes"]
        falling = runs.metric("val_loss")
        times = first_passage(runs, threshold=falling[0, 2], direction="below", metric="val_loss")
        assert (times.time[0], times.observed[0]) == (3, True)
        with pytest.raises(
            InputError, match=r"train_loss_step is logged more than once at epoch 0, .*axis='step' counts"
        ):
            runs.metric("train_loss_step")

    @pytest.mark.parametrize("logger", ["csv", "tb"])
    def test_steps_give_the_same_epochs(self, lightning_runs: tuple[Path, list[Values]], logger: str) -> None:
        folder, _ = lightning_runs
        by_epoch, by_step = read(folder / logger, axis="epoch"), read(folder / logger, axis="step")
        np.testing.assert_array_equal(by_step.metric("val_loss"), by_epoch.metric("val_loss"))
        assert by_step.meta["every"] == BATCHES
        finer = read(folder / logger, axis="step", every=2)
        assert finer.metric("train_loss_step").shape == (2, 2 * 4)

    def test_any_level_of_its_folders_will_do(self, lightning_runs: tuple[Path, list[Values]]) -> None:
        folder, truths = lightning_runs
        logs = folder / "csv" / "lightning_logs"
        np.testing.assert_array_equal(read(logs).metric("val_loss"), read(folder / "csv").metric("val_loss"))
        for one in (logs / "version_1", logs / "version_1" / "metrics.csv"):
            assert read(one).meta["names"] == {"1": "version_1"}
            np.testing.assert_allclose(read(one).metric("val_loss"), [truths[1]["val_loss"]], rtol=1e-6)

    def test_validation_every_second_epoch_is_an_epoch_when_that_is_said(self, tmp_path: Path) -> None:
        (truth,) = fit_lightning(tmp_path, lengths=[6], check_val_every_n_epoch=2)
        for logger in ("csv", "tb"):
            with pytest.raises(InputError, match=r"val_loss goes from epoch 1 to 3, .* every=2 makes them one epoch"):
                read(tmp_path / logger).metric("val_loss")
            runs = read(tmp_path / logger, every=2)
            np.testing.assert_allclose(runs.metric("val_loss"), [truth["val_loss"]], rtol=1e-6)


# TensorBoard


def write_events(folder: Path, *, tag: str = "val/acc", values: list[float], steps: list[int]) -> None:
    """Write one event file with PyTorch's writer."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for value, step in zip(values, steps, strict=True):
            writer.add_scalar(tag, value, step)


class TestTensorBoard:
    """Event files of PyTorch's ``SummaryWriter``."""

    def test_each_folder_is_a_run_and_nine_tenths_reach_nine_tenths(self, tmp_path: Path) -> None:
        write_events(tmp_path / "seed_3", values=[0.7, 0.9, 0.1], steps=[0, 1, 2])
        write_events(tmp_path / "seed_12", values=[0.5, 0.6], steps=[0, 1])
        runs = read(tmp_path)
        assert runs.run.tolist() == [12, 3]
        np.testing.assert_array_equal(runs.metric(), [[0.5, 0.6, np.nan], [0.7, 0.9, 0.1]])
        times = first_passage(runs, threshold=0.9)  # kept in 32 bits it is less
        assert times.time.tolist() == [2, 2]
        assert times.observed.tolist() == [False, True]

    def test_scalars_only_are_read_by_steps_and_one_file_is_one_run(self, tmp_path: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(str(tmp_path)) as writer:
            writer.add_text("note", "a text")
            writer.add_histogram("weights", np.arange(5.0), 0)
            for k in range(1, 7):
                writer.add_scalar("train/loss", 1 / k, 50 * k)
                if k % 2 == 0:
                    writer.add_scalar("val/acc", k / 10, 50 * k)
        (file,) = tmp_path.iterdir()
        file = file.rename(tmp_path / "renamed")  # told from the content
        runs = read(file)
        assert set(runs.metrics) == {"val/acc"}
        assert runs.metric("val/acc").tolist() == [[0.2, 0.4, 0.6]]
        assert runs.meta["every"] == 100
        assert read(file, every=50).metric("train/loss").tolist() == [[1, 0.5, 0.33333334, 0.25, 0.2, 0.16666667]]

    def test_scalars_kept_as_tensors_are_read_too(self, tmp_path: Path) -> None:
        from tensorboard.summary import Writer

        writer = Writer(str(tmp_path / "run"))
        for step in (1, 2, 3):
            writer.add_scalar("val/acc", step / 10, step)
        writer.close()
        assert read(tmp_path).metric().tolist() == [[0.1, 0.2, 0.3]]

    def test_a_resumed_run_goes_on_in_a_second_file(self, tmp_path: Path) -> None:
        write_events(tmp_path / "run", values=[0.1, 0.2, 0.3, 0.4], steps=[1, 2, 3, 4])
        write_events(tmp_path / "run", values=[0.33, 0.44, 0.55], steps=[3, 4, 5])
        runs = read(tmp_path)
        assert runs.metric().tolist() == [[0.1, 0.2, 0.33, 0.44, 0.55]]
        assert any("1 run was resumed" in note for note in runs.meta["notes"])

    def test_two_runs_in_one_folder_are_refused(self, tmp_path: Path) -> None:
        for _ in range(2):
            write_events(tmp_path / "run", values=[0.1, 0.2], steps=[1, 2])
        with pytest.raises(
            InputError, match=r"val/acc starts at step 1 again, as in .*; give each run a folder of its own"
        ):
            read(tmp_path)

    def test_the_record_of_a_run_that_was_killed_ends_with_its_last_whole_value(self, tmp_path: Path) -> None:
        write_events(tmp_path / "a", values=[0.1, 0.2, 0.3], steps=[1, 2, 3])
        write_events(tmp_path / "b", values=[0.1, 0.2, 0.3], steps=[1, 2, 3])
        (file,) = (tmp_path / "a").iterdir()
        file.write_bytes(file.read_bytes()[:-7])
        assert read(tmp_path).lengths.tolist() == [2, 3]

    def test_without_its_package_the_extra_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_events(tmp_path / "run", values=[0.1], steps=[1])
        for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        with pytest.raises(InputError, match=r"need its package; pip install 'fptlib\[tensorboard\]'"):
            read(tmp_path)

    def test_a_file_damaged_from_its_first_value_on_is_refused(self, tmp_path: Path) -> None:
        write_events(tmp_path / "run", values=[0.1, 0.2], steps=[1, 2])
        (file,) = (tmp_path / "run").iterdir()
        content = file.read_bytes()
        file.write_bytes(content[:90] + bytes(len(content) - 90))
        with pytest.raises(InputError, match="no metric; at least one is needed"):
            read(tmp_path)


# Hugging Face


class Classifier(torch.nn.Module):
    """The least that a trainer of Hugging Face trains."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and logits."""
        logits = self.layer(x)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def train_hugging_face(folder: Path, *, n_data: int = 18, last: bool = True, **options: Any) -> list[float]:
    """Train one run with the real trainer, and return the accuracies that it computed, in their order."""
    from transformers import Trainer, TrainingArguments

    seen = []

    def metrics(prediction: Any) -> dict[str, float]:
        seen.append(float((prediction.predictions.argmax(-1) == prediction.label_ids).mean()))
        return {"accuracy": seen[-1]}

    generator = torch.Generator().manual_seed(0)
    data = [{"x": x, "labels": torch.tensor(int(x[0] > 0))} for x in torch.randn(n_data, 2, generator=generator)]
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        learning_rate=0.5,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        optim="sgd",
        **options,
    )
    trainer: Any = Trainer(
        model=Classifier(), args=arguments, train_dataset=data, eval_dataset=data, compute_metrics=metrics
    )
    trainer.train()
    if last:
        trainer.save_state()
    return seen


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep Hugging Face from looking anything up."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("offline")
class TestHuggingFace:
    """States that the real trainer saved."""

    def test_evaluations_by_epoch(self, tmp_path: Path) -> None:
        by_epoch = {"eval_strategy": "epoch", "logging_strategy": "epoch", "save_strategy": "no"}
        truths = [
            train_hugging_face(
                tmp_path / f"seed_{k}", num_train_epochs=n, seed=k, lr_scheduler_type="constant", **by_epoch
            )
            for k, n in ((7, 3), (8, 2))
        ]
        runs = read(tmp_path)
        assert runs.meta["format"] == "Hugging Face trainer states"
        assert runs.run.tolist() == [7, 8]
        assert runs.lengths.tolist() == [3, 2]
        for row, truth in enumerate(truths):
            assert runs.metric("eval_accuracy")[row, : len(truth)].tolist() == truth
        assert runs.metric("loss").shape == (2, 3)
        assert set(runs.metrics) == {"eval_accuracy", "eval_loss", "loss", "grad_norm", "learning_rate"}
        assert not any("learning_rate goes" in note for note in runs.meta["notes"])

    def test_evaluations_by_step_and_before_training(self, tmp_path: Path) -> None:
        truth = train_hugging_face(
            tmp_path / "run_1",
            max_steps=8,
            eval_strategy="steps",
            eval_steps=2,
            logging_steps=1,
            eval_on_start=True,
            save_strategy="no",
        )
        runs = read(tmp_path)
        assert runs.meta["axis"] == "step"
        assert runs.meta["every"] == 2
        assert runs.metric("eval_accuracy").tolist() == [truth[1:]]
        notes = " ".join(runs.meta["notes"])
        assert "evaluations before training, at step 0, are left out" in notes
        assert "learning_rate goes from 0.5 to" in notes
        assert read(tmp_path, every=1).metric("loss").shape == (1, 8)

    def test_the_last_checkpoint_stands_in_for_a_state_that_was_not_saved(self, tmp_path: Path) -> None:
        by_epoch = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 12, "save_total_limit": 3}
        truth = train_hugging_face(tmp_path / "run_1", n_data=4, last=False, **by_epoch)
        assert not (tmp_path / "run_1" / "trainer_state.json").exists()
        # Checkpoints 10, 11 and 12: the last by number, not by name.
        (tmp_path / "run_1" / "checkpoint-12").rename(tmp_path / "run_1" / "checkpoint-100")
        for path in (tmp_path, tmp_path / "run_1"):
            runs = read(path)
            assert runs.metric("eval_accuracy").tolist() == [truth]
            assert runs.meta["names"] == {"1": "run_1"}

    def test_an_evaluation_after_training_that_agrees_counts_once(self, tmp_path: Path) -> None:
        entries = [{"epoch": k, "step": 5 * k, "eval_f1": k / 10, "eval_runtime": k + 0.1} for k in (1.0, 2.0)]
        state = {"log_history": [*entries, {**entries[-1], "eval_runtime": 9.0}]}
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        assert read(tmp_path).metric().tolist() == [[0.1, 0.2]]
        state["log_history"][-1]["eval_f1"] = 0.7
        (tmp_path / "trainer_state.json").write_text(json.dumps(state))
        with pytest.raises(
            InputError, match=r"trainer_state\.json, entry 3: eval_f1 is logged more than once at epoch 2"
        ):
            read(tmp_path)

    def test_epochs_that_end_a_little_off_are_rounded(self, tmp_path: Path) -> None:
        entries = [{"epoch": 0.98 * k, "step": 49 * k, "eval_f1": k / 10} for k in (1, 2)]
        (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
        runs = read(tmp_path)
        assert runs.metric().tolist() == [[0.1, 0.2]]
        assert "epochs that end up to 0.04 off a whole number are rounded" in runs.meta["notes"]

    @pytest.mark.parametrize("content", ["{", "[]", '{"log_history": 3}', '{"log_history": [1]}'])
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
        ("change", "said"),
        [
            (
                lambda text: text.replace('"0.2","0.2"', '"0.2","0.15"'),
                "line 3: a-1 - val_acc is 0.2 but MIN is 0.15, the mean of",
            ),
            (
                lambda text: text.replace("Step", "Relative Time (Process)"),
                "no column Step or epoch; export a chart over steps",
            ),
            (lambda text: text.replace('"2","0.3"', '"two","0.3"'), "line 4: Step is 'two', a number is needed"),
        ],
    )
    def test_what_is_refused(self, tmp_path: Path, change: Callable[[str], str], said: str) -> None:
        (tmp_path / "e.csv").write_text(change(chart("Step", {"a-1": [0.1, 0.2, 0.3]})))
        with pytest.raises(InputError) as refused:
            read(tmp_path)
        assert f"{tmp_path / 'e.csv'}" in str(refused.value)
        assert said in str(refused.value)

    def test_a_history_is_a_csv_file_for_each_run(self, tmp_path: Path) -> None:
        for seed in (1, 2):
            lines = [",_runtime,_timestamp,_step,epoch,val_acc,gpu_name"]
            lines += [f"{k},{k * 1.5},{1.7e9 + k},{k},{k},0.{seed}{k},A100" for k in range(4)]
            (tmp_path / f"history_{seed}.csv").write_text("\n".join(lines) + "\n")
        runs = read(tmp_path)
        assert set(runs.metrics) == {"val_acc"}
        assert runs.metric().tolist() == [[0.1, 0.11, 0.12, 0.13], [0.2, 0.21, 0.22, 0.23]]
