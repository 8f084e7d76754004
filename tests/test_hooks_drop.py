"""Dropping the learning rate of one run once its loss has settled, in real loops."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fptlib.errors import InputError
from fptlib.hooks import DropWhenSettled
from fptlib.settling import settled

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] + 0.5 * X[:, 1] > 0).long()
DATA = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
EPOCHS, WINDOW, RATE = 9, 3, 0.2


class Classifier(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        out = self.net(x)
        return {"loss": functional.cross_entropy(out, labels), "logits": out}


class Loop:
    """A loop in plain PyTorch over batches in fixed order; ``by_hand`` is the epoch after which somebody turns the rate down."""

    def __init__(self, by_hand: int | None = None, **options: Any) -> None:
        self.model, self.by_hand, self.losses = Classifier(), by_hand, list[float]()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=RATE, momentum=0.5)
        self.drop = DropWhenSettled(self.optimizer, **{"window": WINDOW, **options}) if by_hand is None else None

    def train(self, epochs: int) -> list[float]:
        for _ in range(epochs):
            total = 0.0
            for batch in torch.arange(24).split(8):
                self.optimizer.zero_grad()
                loss = self.model(X[batch], Y[batch])["loss"]
                loss.backward()
                self.optimizer.step()
                total += loss.item() / 3
            self.losses.append(total)
            if self.drop:
                self.drop.step(total)
            elif len(self.losses) == self.by_hand:
                self.optimizer.param_groups[0].update(lr=0.1 * RATE, momentum=0.0)
        return self.losses


def at(losses: list[float]) -> int:
    """Return the epoch at which these losses settle."""
    return int(settled(losses, window=WINDOW).argmax()) + 1


def test_a_loop_that_drops_by_itself_is_one_whose_rate_is_turned_down_by_hand() -> None:
    loop = Loop(momentum=0.0)
    losses = loop.train(EPOCHS)
    assert loop.drop
    assert loop.drop.epoch == at(losses) < EPOCHS - 2
    assert loop.drop.losses == losses
    assert loop.optimizer.param_groups[0]["lr"] == RATE  # schedulers and checkpoints see the rate without the factor
    assert losses == pytest.approx(Loop(by_hand=loop.drop.epoch).train(EPOCHS), rel=1e-6)
    constant = Loop(factor=1.0)
    assert constant.train(EPOCHS)[: at(losses)] == losses[: at(losses)]
    assert abs(constant.losses[-1] - losses[-1]) > 1e-3


@pytest.mark.parametrize("epochs", [2, 7])
def test_a_loop_resumes_to_the_same_training(epochs: int) -> None:
    whole, first, second = Loop(momentum=0.9), Loop(momentum=0.9), Loop(momentum=0.9)
    first.train(epochs)
    assert first.drop
    assert second.drop
    second.model.load_state_dict(first.model.state_dict())
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.drop.load_state_dict(first.drop.state_dict())
    assert first.losses + second.train(EPOCHS - epochs) == whole.train(EPOCHS)


def test_composes_with_a_scheduler() -> None:
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    drop = DropWhenSettled(optimizer, factor=0.25, window=3)
    used: list[float] = []
    optimizer.register_step_pre_hook(lambda one, *_: used.append(one.param_groups[0]["lr"]))
    for _ in range(5):
        model(X, Y)["loss"].backward()
        optimizer.step()
        scheduler.step()
        drop.step(1.0)
    assert used == [1.0, 0.5, 0.25, 0.25 * 0.125, 0.25 * 0.0625]


def test_what_is_refused() -> None:
    optimizer = torch.optim.SGD(Classifier().parameters(), lr=0.1)
    for options, message in (
        ({"factor": 0}, "factor: 0 is not possible; allowed: above 0"),
        ({"momentum": 1.0}, "momentum: 1.0 is not possible; allowed: below 1"),
        ({"window": 2}, "window: 2 is not possible"),
    ):
        with pytest.raises(InputError, match=message):
            DropWhenSettled(optimizer, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="optimizer: none is given; pass it to DropWhenSettled or to attach"):
        DropWhenSettled().step(1.0)
    with pytest.raises(InputError, match="optimizer: only SGD's momentum can be changed"):
        DropWhenSettled(torch.optim.Adagrad(Classifier().parameters()), momentum=0.5)
    with pytest.raises(InputError, match=r"state: has a; what DropWhenSettled\.state_dict gave"):
        DropWhenSettled(optimizer).load_state_dict({"a": 1})
    with pytest.raises(InputError, match="optimizer: another hook changes its learning rate"):
        DropWhenSettled(DropWhenSettled(optimizer) and optimizer)


# -- Lightning

lightning = pytest.importorskip("lightning.pytorch")


class Lit(lightning.LightningModule):  # type: ignore[misc]
    """The same training."""

    def __init__(self) -> None:
        super().__init__()
        self.model, self.losses = Classifier(), list[float]()

    def training_step(self, batch: list[Tensor], index: int) -> Tensor:
        loss: Tensor = self.model(*batch)["loss"]
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.losses.append(float(self.trainer.callback_metrics["train_loss"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=RATE, momentum=0.5)


def lit(epochs: int, *callbacks: Any, resume: Path | None = None) -> list[float]:
    model, loader = Lit(), torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8)
    quiet: dict[str, Any] = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Lightning says of any small training
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=list(callbacks),
            enable_checkpointing=len(callbacks) > 1,
            **quiet,
        )
        trainer.fit(model, loader, **({"ckpt_path": resume, "weights_only": True} if resume else {}))
    return model.losses


def dropping(monitor: str = "train_loss") -> Any:
    from fptlib.hooks import DropCallback

    return DropCallback(DropWhenSettled(momentum=0.0, window=WINDOW), monitor=monitor)


def test_lightning_is_the_plain_loop_and_resumes(tmp_path: Path) -> None:
    loop = Loop(momentum=0.0)
    loop.train(EPOCHS)
    one = dropping()
    record = lit(EPOCHS, one, lightning.callbacks.ModelCheckpoint(dirpath=tmp_path, save_top_k=-1))
    assert record == pytest.approx(loop.losses, rel=1e-5)
    assert loop.drop
    assert one.drop.epoch == loop.drop.epoch
    for epoch in (2, 7):
        assert lit(EPOCHS, dropping(), resume=tmp_path / f"epoch={epoch - 1}-step={3 * epoch}.ckpt") == record[epoch:]
    with pytest.raises(InputError, match="drop: has not seen epoch 0 of this training last; make one for each"):
        lit(1, one)
    with pytest.raises(InputError, match="monitor: no 'loss' is logged at the end of epoch 1; there is train_loss"):
        lit(1, dropping("loss"))


# -- Hugging Face


def fit(folder: Path, *callbacks: Any, resume: Path | None = None, **options: Any) -> list[float]:
    transformers = pytest.importorskip("transformers")
    options = {"num_train_epochs": EPOCHS, "logging_strategy": "epoch", "save_strategy": "epoch", **options}
    arguments = transformers.TrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=8, learning_rate=RATE, report_to=[], use_cpu=True, disable_tqdm=True,
        optim="sgd", lr_scheduler_type="constant", max_grad_norm=0.0, dataloader_pin_memory=False, **options,
    )  # fmt: skip
    trainer = transformers.Trainer(
        Classifier(), arguments, train_dataset=DATA, eval_dataset=DATA, callbacks=list(callbacks)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def dropping_there(**options: Any) -> Any:
    from fptlib.hooks import DropTrainerCallback

    return DropTrainerCallback(DropWhenSettled(window=WINDOW), **options)


@pytest.mark.slow
def test_hugging_face_drops_and_resumes(tmp_path: Path) -> None:
    plain, one = fit(tmp_path / "plain"), dropping_there()
    whole = fit(tmp_path / "whole", one)
    epoch = at(plain)
    assert one.drop.epoch == epoch < EPOCHS - 2
    assert whole[:epoch] == plain[:epoch]
    assert whole[epoch:] != plain[epoch:]
    for checkpoint in sorted((tmp_path / "whole").iterdir())[:EPOCHS:3]:
        assert fit(tmp_path / "again", dropping_there(), resume=checkpoint) == whole
    evaluated = dropping_there(monitor="eval_loss")
    fit(tmp_path / "evaluated", evaluated, eval_strategy="epoch", logging_strategy="no")
    assert len(evaluated.drop.losses) == EPOCHS


@pytest.mark.slow
def test_what_hugging_face_s_callback_refuses(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="monitor: 'loss' is logged within epochs; logging_strategy=\"epoch\" is needed"
    ):
        fit(tmp_path, dropping_there(), logging_strategy="steps")
    with pytest.raises(InputError, match="monitor: no 'eval_f1' is logged at the end of epoch 1; there is epoch"):
        fit(tmp_path, dropping_there(monitor="eval_f1"), eval_strategy="epoch")
