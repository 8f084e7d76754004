"""Worker processes of one contender in one arrangement, and the time that they take together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import machine
from contenders import Contender

# One thread for each process that is pinned to one core.
_XLA_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
# Share of the time of a measurement that goes into finding out how much work fills it.
_TRIAL = 0.2
# Attempts at a measurement that other processes do not disturb.
_TRIES = 3
# Seconds to wait for a worker to end.
_PATIENCE = 5.0


class MissingError(Exception):
    """The contender cannot take part here."""


@dataclass(frozen=True, slots=True)
class Arrangement:
    """How the two cores are used: ``threads`` threads in each of ``processes`` processes."""

    processes: int
    threads: int

    @property
    def name(self) -> str:
        """As in the table."""
        many = "es" if self.processes > 1 else ""
        return f"{self.processes} process{many} x {self.threads} thread{'s' if self.threads > 1 else ''}"


TOGETHER, APART = Arrangement(1, 2), Arrangement(2, 1)


def _environment(contender: Contender, threads: int) -> dict[str, str]:
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if contender.is_jax:
        environment["JAX_PLATFORMS"] = "cpu"
        environment["XLA_FLAGS"] = _XLA_ONE_THREAD if threads == 1 else ""
    return environment


class _Process:
    """A worker, and the pipe to it."""

    def __init__(self, contender: Contender, cores: list[int], threads: int) -> None:
        self.name = contender.name
        self.popen = subprocess.Popen(
            [
                sys.executable,
                str(Path(__file__).with_name("worker.py")),
                contender.name,
                ",".join(map(str, cores)),
                str(threads),
            ],
            env=_environment(contender, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def send(self, request: dict[str, Any]) -> None:
        """Hand over a request."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(json.dumps(request) + "\n")
        self.popen.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait for the answer."""
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"a worker of {self.name} ended; its error is above")
        answer: dict[str, Any] = json.loads(line)
        if "missing" in answer:
            raise MissingError(f"{self.name}: {answer['missing']}")
        return answer


@dataclass
class Team:
    """One contender in one arrangement.

    Parameters
    ----------
    contender, arrangement
        Who works, and how.
    """

    contender: Contender
    arrangement: Arrangement
    seconds: list[float] = field(default_factory=list)
    others: list[float] = field(default_factory=list)
    calls: int = 1
    runs: int = 1

    def __post_init__(self) -> None:
        cores = machine.cores()
        per_process = self.arrangement.threads
        self.processes = [
            _Process(self.contender, cores[i * per_process : (i + 1) * per_process], per_process)
            for i in range(self.arrangement.processes)
        ]

    def end(self) -> None:
        """Let the workers go; one that does not hear it, because it is busy, is ended."""
        for process in self.processes:
            assert process.popen.stdin is not None
            process.popen.stdin.close()
        for process in self.processes:
            try:
                process.popen.wait(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                process.popen.terminate()
                process.popen.wait()

    def _ask(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """Ask all processes at once, each its own question or all the same."""
        if len(requests) == 1:
            requests *= len(self.processes)
        for process, request in zip(self.processes, requests, strict=True):
            process.send(request)
        return [process.receive() for process in self.processes]

    def prepare(self, case: str, seconds: float) -> None:
        """Make ready for a case, compile, and find how many calls take about ``seconds``."""
        self.runs = self._ask({"do": "prepare", "case": case})[0]["runs"]
        self.seconds, self.others = [], []
        trial = max(1, int(_TRIAL * seconds / self.time(1)))
        self.calls = max(1, round(seconds * trial / self.time(trial)))

    def time(self, calls: int) -> float:
        """Seconds until every process has trained ``calls`` times."""
        start = time.perf_counter()
        self._ask({"do": "work", "calls": calls})
        return time.perf_counter() - start

    def measure(self, patience: float) -> None:
        """Add one measurement, the least disturbed of a few if others are busy, and how many cores others used."""
        samples = []
        while len(samples) < _TRIES and all(others > machine.QUIET for others, _ in samples):
            machine.wait_until_quiet(patience)
            samples.append(self._sample())
        others, seconds = min(samples)
        self.seconds.append(seconds)
        self.others.append(others)

    def _sample(self) -> tuple[float, float]:
        before = machine.busy_seconds() - machine.own_seconds()
        seconds = self.time(self.calls)
        after = machine.busy_seconds() - machine.own_seconds()
        return max(0.0, after - before) / seconds, seconds

    def accuracies(self, runs: int) -> list[float]:
        """Accuracies of ``runs`` runs or a few more, shared out among the processes."""
        share = -(-runs // len(self.processes))
        answers = self._ask(
            # Far enough apart that no process trains the runs of another.
            *({"do": "check", "first_run": 1000 * (i + 1), "runs": share} for i in range(len(self.processes)))
        )
        return [value for answer in answers for value in answer["accuracies"]]

    @property
    def trained(self) -> int:
        """Runs of all processes in one measurement."""
        return len(self.processes) * self.calls * self.runs


@contextmanager
def together(contenders: list[Contender]) -> Iterator[list[Team]]:
    """Teams of all contenders in both arrangements, ended at the end."""
    teams: list[Team] = []
    try:
        for contender in contenders:
            teams += [Team(contender, arrangement) for arrangement in (TOGETHER, APART)]
        yield teams
    finally:
        for team in teams:
            team.end()
