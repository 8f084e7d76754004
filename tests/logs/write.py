"""Write the small logs in this folder with the tools themselves: python tests/logs/write.py.

Needs Lightning, TensorBoard and transformers. `truth.json` has what each tool reported as it happened; events and states are kept as
written, but for wall-clock times and the names of machines.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

os.environ["HF_HUB_OFFLINE"] = "1"
HERE = Path(__file__).resolve().parent
BATCHES = 4  # in an epoch of Lightning's runs


def lightning(folder: Path, *, epochs: int, **options: Any) -> dict[str, list[float]]:
    """Train one run with both of Lightning's loggers, and return what it reported."""
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
        logger=[CSVLogger(folder / "csv"), TensorBoardLogger(folder / "tb")],
        callbacks=[truth],
        log_every_n_steps=2,
        **silent,
        **options,
    )
    trainer.fit(Net(), data, data)
    return truth.seen


def hugging_face(folder: Path, *, n_data: int = 18, last: bool = True, **options: Any) -> list[float]:
    """Train one run with Hugging Face's trainer, and return the accuracies that it computed."""
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


def main() -> None:
    """Write everything anew."""
    import tensorboard.summary

    truth: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        truth["lightning"] = [lightning(out / "lightning", epochs=epochs) for epochs in (4, 3)]
        truth["lightning_every_2"] = [lightning(out / "lightning_every_2", epochs=6, check_val_every_n_epoch=2)]
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
        for path in [path for path in out.rglob("*") if "hparams" in path.name]:
            path.unlink()
        for path in sorted(out.rglob("*tfevents*")):  # without the name of the machine
            start, number = path.name.split(".")[:4], path.name.split(".")[-1]
            path.rename(path.with_name(".".join([*start, "host", number])))
        for name in (*truth, "tb_two", "tb_steps", "tb_resumed", "tb_tensors"):
            shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(out, HERE, dirs_exist_ok=True)
    (HERE / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    main()
