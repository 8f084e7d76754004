"""A process that trains when it is told to: requests arrive as lines of JSON, and so do the answers leave.

``python worker.py CONTENDER CORES THREADS`` with cores separated by commas. Nothing large is imported before the process
is pinned to its cores.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any]


def pin(cores: str) -> None:
    """Stay on these cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {int(core) for core in cores.split(",")})


class Worker:
    """One contender on one or two threads."""

    def __init__(self, contender: str, threads: int) -> None:
        from contenders import CONTENDERS, SGEMM

        self.contender = {**CONTENDERS, SGEMM.name: SGEMM}[contender]
        self.threads = threads
        if not self.contender.is_jax:
            import torch

            torch.set_num_threads(threads)

    def prepare(self, *, case: str) -> Answer:
        """Build the trainer of a case and let it work once, which compiles what there is to compile."""
        from cases import CASES

        self.case = CASES[case]
        self.trainer = self.contender.make(self.case, self.threads)
        self.trainer.train(0, self.case.epochs)
        return {"runs": self.trainer.runs}

    def work(self, *, calls: int) -> Answer:
        """Train ``calls`` times."""
        start = time.perf_counter()
        for _ in range(calls):
            self.trainer.train(0, self.case.epochs)
        return {"seconds": time.perf_counter() - start}

    def check(self, *, first_run: int, runs: int) -> Answer:
        """Accuracies of at least this many runs."""
        accuracies: list[float] = []
        while len(accuracies) < runs:
            accuracies += self.trainer.train(first_run + len(accuracies), self.case.check_epochs)
        return {"accuracies": accuracies}


def _answer(method: Callable[..., Answer], arguments: Answer) -> Answer:
    try:
        return method(**arguments)
    except (NotImplementedError, ImportError) as error:
        return {"missing": str(error)}


def main() -> None:
    """Answer until there are no more requests."""
    contender, cores, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    pin(cores)
    # Whatever a library prints must not end up among the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker(contender, threads)
    methods = {"prepare": worker.prepare, "work": worker.work, "check": worker.check}
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_answer(methods[request.pop("do")], request)), file=answers)


if __name__ == "__main__":
    main()
