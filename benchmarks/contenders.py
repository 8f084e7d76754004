"""Who takes part: a name, a sentence, and how to build the trainer in a worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cases import Case

# Large enough that a product runs at the speed of the machine, small enough for the cache of most.
SGEMM_SIZE = 2048


class Trainer(Protocol):
    """Trains ``runs`` runs in one call."""

    runs: int

    def train(self, first_run: int, epochs: int) -> list[float]:
        """Accuracies after the last epoch, one for each run, of runs ``first_run``, ``first_run + 1``, ..."""


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the work; ``make(case, threads)`` builds its trainer, where ``threads`` is 2 or 1."""

    name: str
    sentence: str
    make: Callable[[Case, int], Trainer]
    is_jax: bool = False


class _Sgemm:
    """One product of large float32 matrices, which is what the cores can do at most."""

    runs = 1

    def __init__(self) -> None:
        import torch

        self.a, self.b = (torch.rand(SGEMM_SIZE, SGEMM_SIZE) for _ in range(2))
        self.out = torch.empty(SGEMM_SIZE, SGEMM_SIZE)

    def train(self, first_run: int, epochs: int) -> list[float]:
        import torch

        torch.mm(self.a, self.b, out=self.out)
        return []


class _Ours:
    """`fptlib` through its adapter."""

    def __init__(self, case: Case, threads: int) -> None:
        import ours

        self.case, self.workers = case, threads
        self.runs = ours.RUNS.get(case.name, 48) * threads

    def train(self, first_run: int, epochs: int) -> list[float]:
        import ours

        return [float(value) for value in ours.train(self.case, self.runs, epochs, self.workers, seed=first_run)]


def _loader(case: Case, threads: int) -> Trainer:
    from torch_runs import LoaderTrainer

    return LoaderTrainer(case)


def _loop(case: Case, threads: int) -> Trainer:
    from torch_runs import LoopTrainer

    return LoopTrainer(case)


def _jax(way: str) -> Callable[[Case, int], Trainer]:
    def make(case: Case, threads: int) -> Trainer:
        from jax_runs import JaxTrainer

        return JaxTrainer(case, way=way, threads=threads)

    return make


SGEMM = Contender("sgemm", f"torch.mm of {SGEMM_SIZE} x {SGEMM_SIZE} float32", lambda case, threads: _Sgemm())

CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("torch-loader", "PyTorch as usual: DataLoader, loss.item(), optimizer.step()", _loader),
        Contender("torch-loop", "PyTorch, a tight loop over tensors in memory", _loop),
        Contender("jax-single", "JAX, a whole run as one program", _jax("single"), is_jax=True),
        Contender("jax-vmap", "JAX, vmap over a stack of runs", _jax("vmap"), is_jax=True),
        Contender("jax-map", "JAX, lax.map over a stack of runs", _jax("map"), is_jax=True),
        Contender("fptlib", "this library", _Ours),
    )
}

# XLA has no fast gradients for convolutions inside loops or with weights that differ between runs: 13 or more and about
# 2.3 seconds per run-epoch instead of 0.5. They take part only when they are asked for by name.
SLOW = {("jax-map", "cnn"), ("jax-vmap", "cnn")}
