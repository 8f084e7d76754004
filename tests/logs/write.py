"""Write the small logs in this folder with the tools themselves: python tests/logs/write.py [TOOL ...].

The tools are torch (its TensorBoard writer), lightning, transformers, keras, mlflow and ray; they need not be in one environment.
`truth.json` has what each tool reported as it happened; files are kept as written, but for wall-clock times, paths and names of machines.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).resolve().parent
BATCHES = 4  # in an epoch of Lightning's runs


def lightning(
    folder: Path,
    *,
    epochs: int,
    name: str = "lightning_logs",
    save: Path | None = None,
    ckpt_path: Path | None = None,
    **options: Any,
) -> dict[str, list[float]]:
    """Train one run with both of Lightning's loggers, and return what it reported."""
    import lightning
    import torch
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

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
            self.seen: dict[str, list[float]] = {"val_loss": [], "train_loss_epoch": []}

        def on_validation_end(self, trainer: Any, _: Any) -> None:
            if not trainer.sanity_checking:
                self.seen["val_loss"].append(trainer.callback_metrics["val_loss"].item())

        def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
            self.seen["train_loss_epoch"].append(trainer.callback_metrics["train_loss_epoch"].item())

    truth = Truth()
    silent = {"enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    data = DataLoader(TensorDataset(torch.linspace(-1, 1, 32).reshape(16, 2)), batch_size=16 // BATCHES)
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=[CSVLogger(folder / "csv", name), TensorBoardLogger(folder / "tb", name)],
        callbacks=[truth],
        log_every_n_steps=2,
        **silent,
        **options,
    )
    trainer.fit(Net(), data, data, ckpt_path=ckpt_path)
    if save:
        trainer.save_checkpoint(save)
    return truth.seen


def hugging_face(
    folder: Path, *, n_data: int = 18, last: bool = True, evaluate: bool = False, **options: Any
) -> list[float]:
    """Train one run with Hugging Face's trainer, and return the accuracies that it computed."""
    import torch
    from transformers import Trainer, TrainingArguments

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            logits = self.layer(x)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

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
    if evaluate:
        trainer.evaluate()
    if last:
        trainer.save_state()
    for path in list(folder.rglob("*")):  # the states only
        if path.is_file() and path.name != "trainer_state.json":
            path.unlink()
    return seen


def events(folder: Path, values: dict[str, list[tuple[int, float]]], **extra: Any) -> None:
    """Write one event file with PyTorch's writer."""
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        if extra:
            writer.add_text("note", "a text")
            writer.add_histogram("weights", np.arange(5.0), 0)
        for tag, rows in values.items():
            for step, value in rows:
                writer.add_scalar(tag, value, step)


def with_torch(out: Path) -> dict[str, Any]:
    """Write event files of `SummaryWriter`."""
    import tensorboard.summary
    from torch.utils.tensorboard import SummaryWriter

    events(out / "tb_two" / "seed_3", {"val/acc": [(0, 0.7), (1, 0.9), (2, 0.1)]})
    events(out / "tb_two" / "seed_12", {"val/acc": [(0, 0.5), (1, 0.6)]})
    loss, acc = [(50 * k, 1 / k) for k in range(1, 7)], [(50 * k, k / 10) for k in (2, 4, 6)]
    events(out / "tb_steps", {"train/loss": loss, "val/acc": acc}, text=True)
    events(out / "tb_resumed" / "run", {"val/acc": [(k, k / 10) for k in (1, 2, 3, 4)]})
    events(out / "tb_resumed" / "run", {"val/acc": [(3, 0.33), (4, 0.44), (5, 0.55)]})
    writer = tensorboard.summary.Writer(str(out / "tb_tensors" / "run"))
    for step in (1, 2, 3):
        writer.add_scalar("val/acc", step / 10, step)
    writer.close()
    for seed in (1, 2):
        with SummaryWriter(str(out / "tb_curves" / f"seed_{seed}")) as writer:
            for step in (1, 2, 3):
                writer.add_scalars("acc/top1", {"train": step / 10, "val": step / 10 - seed / 100}, step)
                writer.add_scalar("loss", 1 / step, step)
            writer.add_hparams({"lr": 0.1}, {"best": 0.3})
    return {}


def with_lightning(out: Path) -> dict[str, Any]:
    """Write runs of both loggers: at once, with fewer validations, resumed, and started again after a crash."""
    truth: dict[str, Any] = {"lightning": [lightning(out / "lightning", epochs=epochs) for epochs in (4, 3)]}
    truth["lightning_every_2"] = [lightning(out / "lightning_every_2", epochs=6, check_val_every_n_epoch=2)]
    again = out / "lightning_again"
    with tempfile.TemporaryDirectory() as scratch:
        state = Path(scratch) / "last.ckpt"
        start = lightning(again, epochs=2, name="seed_0", save=state)
        rest = lightning(again, epochs=4, name="seed_0", ckpt_path=state)
    lightning(again, epochs=1, name="seed_1")
    truth["lightning_again"] = [
        {name: values + rest[name] for name, values in start.items()},
        lightning(again, epochs=4, name="seed_1"),
    ]
    return truth


def with_transformers(out: Path) -> dict[str, Any]:
    """Write states of the trainer."""
    truth: dict[str, Any] = {}
    by_epoch = {"eval_strategy": "epoch", "logging_strategy": "epoch", "save_strategy": "no"}
    truth["hf_epochs"] = [
        hugging_face(
            out / "hf_epochs" / f"seed_{k}", num_train_epochs=n, seed=k, lr_scheduler_type="constant", **by_epoch
        )
        for k, n in ((7, 3), (8, 2))
    ]
    by_step = {"eval_strategy": "steps", "eval_steps": 2, "logging_steps": 1, "save_strategy": "no"}
    truth["hf_steps"] = [hugging_face(out / "hf_steps" / "run_1", max_steps=8, eval_on_start=True, **by_step)]
    saved = {"eval_strategy": "epoch", "save_strategy": "epoch", "num_train_epochs": 12, "save_total_limit": 3}
    truth["hf_checkpoints"] = [hugging_face(out / "hf_checkpoints" / "run_1", n_data=4, last=False, **saved)]
    best = {**saved, "num_train_epochs": 3, "save_total_limit": 1, "load_best_model_at_end": True}
    truth["hf_best"] = [
        hugging_face(
            out / "hf_best" / "run_1", evaluate=True, metric_for_best_model="loss", greater_is_better=True, **best
        )
    ]
    return truth


def with_keras(out: Path) -> dict[str, Any]:
    """Write folders of the TensorBoard callback, and the history."""
    import keras

    truth = []
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile("sgd", "binary_crossentropy", metrics=["accuracy"])
        x = np.random.default_rng(seed).normal(size=(64, 2))
        callback = keras.callbacks.TensorBoard(str(out / "keras" / f"seed_{seed}"), write_graph=False)
        fit = model.fit(x, x[:, 0] > 0, validation_data=(x, x[:, 0] > 0), epochs=4, verbose=0, callbacks=[callback])
        truth.append(fit.history)
    return {"keras": truth}


def with_mlflow(out: Path) -> dict[str, Any]:
    """Write one experiment to a folder and to a database, of which the tables that hold runs are kept as text."""
    import sqlite3

    import mlflow

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    base = out / "mlflow" / "mlflow.db"
    for store in (f"file://{out}/mlflow/mlruns", f"sqlite:///{base}"):
        mlflow.set_tracking_uri(store)
        mlflow.set_experiment("digits")
        for name in ("seed_1", "seed_2", "seed_2"):
            with mlflow.start_run(run_name=name) as run:
                for epoch in range(4):
                    mlflow.log_metrics({"val/acc": 0.2 * epoch, "loss": 1 / (1 + epoch)}, step=epoch)
                    mlflow.log_metric("stepless", epoch)
        with mlflow.start_run(run_id=run.info.run_id):
            for epoch in (3, 4):
                mlflow.log_metrics({"val/acc": 0.2 * epoch + 0.01, "loss": 1 / (1 + epoch)}, step=epoch)
                mlflow.log_metric("stepless", epoch)
        with mlflow.start_run(run_name="outer"):
            mlflow.log_metric("best", 0.8)
            with mlflow.start_run(run_name="seed_3", nested=True) as run:
                mlflow.log_metrics({"val/acc": float("inf"), "loss": 1.0}, step=0)
        with mlflow.start_run(run_name="empty"):
            pass
        mlflow.delete_run(run.info.run_id)
    with sqlite3.connect(base) as tables:
        kept = [line for line in tables.iterdump() if re.search(r'"(experiments|runs|metrics|tags)"', line[:40])]
    (out / "mlflow" / "mlflow.sql").write_text("\n".join(kept) + "\n")
    base.unlink()
    for path in (out / "mlflow").rglob("*"):
        if path.is_file() and ("tags" not in path.parts or path.name in ("mlflow.runName", "mlflow.parentRunId")):
            path.write_text(
                path.read_text()
                .replace(str(out), "")
                .replace(os.getcwd(), "")
                .replace(os.environ.get("USER", "root"), "somebody")
            )
        elif path.is_file():
            path.unlink()
    return {}


def with_ray(out: Path) -> dict[str, Any]:
    """Write an experiment of Ray Tune."""
    import ray
    from ray import tune

    def train(config: dict[str, Any]) -> None:
        for k in (1, 2, 3):
            tune.report({"val_acc": k * config["lr"], "inside": {"loss": 1 / k}, **({"late": 0.5} if k > 1 else {})})

    with tempfile.TemporaryDirectory() as scratch:
        ray.init(num_cpus=1, include_dashboard=False, configure_logging=False, log_to_driver=False)
        config = tune.RunConfig(name="ray", storage_path=scratch, verbose=0)
        tune.Tuner(train, param_space={"lr": tune.grid_search([0.1, 0.2])}, run_config=config).fit()
        for file in [
            file for kind in ("*/result.json", "*/progress.csv") for file in (Path(scratch) / "ray").glob(kind)
        ]:
            kept = out / "ray" / file.parent.name.split("_20")[0] / file.name
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(
                re.sub(r"\d+\.\d+\.\d+\.\d+", "10.0.0.1", file.read_text().replace(os.uname().nodename, "host"))
            )
    return {}


def main(tools: list[str]) -> None:
    """Write the logs of some tools anew."""
    truth = json.loads((HERE / "truth.json").read_text())
    for tool in tools or [name[5:] for name in globals() if name.startswith("with_")]:
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch)
            truth.update(globals()[f"with_{tool}"](out))
            for path in [path for path in out.rglob("*") if path.name == "hparams.yaml"]:
                path.unlink()
            for path in sorted(out.rglob("*tfevents*")):  # without the name of the machine
                start, number = path.name.split(".")[:4], path.name.split(".")[-1]
                path.rename(path.with_name(".".join([*start, "host", number])))
            for folder in out.iterdir():
                shutil.rmtree(HERE / folder.name, ignore_errors=True)
                shutil.copytree(folder, HERE / folder.name)
    (HERE / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
