"""Who takes part: a name, a sentence, and the trainer that a worker process makes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from cases import Case

# Large enough that a product runs at the speed of the machine, small enough for the cache of most.
SGEMM_SIZE = 2048


class Trainer(Protocol):
    """Trains ``runs`` runs in one call."""

    runs: int

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Return accuracies after the last epoch, one for each run, of runs ``first_run``, ``first_run + 1``, ..."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work; ``trainer`` is a class of one of these modules, which only its worker imports."""

    name: str
    sentence: str
    trainer: str
    way: str | None = None

    @property
    def is_jax(self) -> bool:
        """Whether JAX does the work."""
        return self.trainer.startswith("jax")

    def make(self, case: Case, threads: int) -> Trainer:
        """Return the trainer of a case with 1 or 2 threads."""
        module, name = self.trainer.split(".")
        options = {} if self.way is None else {"way": self.way}
        trainer: Any = getattr(import_module(module), name)(case, threads, **options)
        return trainer  # type: ignore[no-any-return]


SGEMM = Contender("sgemm", f"torch.mm of {SGEMM_SIZE} x {SGEMM_SIZE} float32", "torch_runs.SgemmTrainer")

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender(
            "torch-loader", "PyTorch as usual: DataLoader, loss.item(), optimizer.step()", "torch_runs.LoaderTrainer"
        ),
        Contender("torch-loop", "PyTorch, a tight loop over tensors in memory", "torch_runs.LoopTrainer"),
        Contender("jax-single", "JAX, a whole run as one program", "jax_runs.JaxTrainer", "single"),
        Contender("jax-vmap", "JAX, vmap over a stack of runs", "jax_runs.JaxTrainer", "vmap"),
        Contender("jax-map", "JAX, lax.map over a stack of runs", "jax_runs.JaxTrainer", "map"),
        Contender("fptlib", "this library", "ours.OurTrainer"),
    )
}

# XLA has no fast gradients for convolutions inside loops or with weights that differ between runs: 13 or more and about
# 2.3 seconds per run-epoch instead of 0.5. They take part only when they are asked for by name.
SLOW = {("jax-map", "cnn"), ("jax-vmap", "cnn")}
