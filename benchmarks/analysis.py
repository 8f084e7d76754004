# ruff: noqa: T201
"""How long ``fpt recommend`` takes on the published ensembles, the start of the process included.

Run with ``python benchmarks/analysis.py``; ``--help`` lists the options. Below the whole command are its parts: the start of Python with
the modules that the answer needs, reading 1556 files, and the answer. The processor time is about the same on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import machine

from fptlib import sources

PERTURBED = {"shrink_perturb": "testacc_list_s_and_p_reset50", "partial_reset": "testacc_list_partial_reset50"}
PARTS = """
import sys, time
from fptlib.readers import read
from fptlib.response import recommend
from fptlib.study import Study
started = time.perf_counter()
plain, *perturbed = map(read, sys.argv[1:])
read_at = time.perf_counter()
recommend(Study(plain, {(str(i), 50): runs for i, runs in enumerate(perturbed)}, 72)).advice
print(read_at - started, time.perf_counter() - read_at)
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="measurements of each, in turn")
    repeats = parser.parse_args(arguments).repeats
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as `fpt` does
    folder = Path(sources.fetch("published"))
    plain, paths = folder / "testacc_list_reg_training", [folder / name for name in PERTURBED.values()]
    options = [f"--perturbed={name}:50={path}" for name, path in zip(PERTURBED, paths, strict=True)]
    command = ["-m", "fptlib", "recommend", f"--unperturbed={plain}", *options, "--threshold=72"]
    machine.head("fptlib", "numpy", "scipy")
    times: dict[str, list[float]] = {"fpt recommend": [], "start": [], "read": [], "answer": []}
    processor: list[float] = []
    for repeat in range(-1, repeats):  # the first fills the cache of the file system
        whole, spent, _ = _run(*command)
        total, _, output = _run("-c", PARTS, str(plain), *map(str, paths))
        read, answer = map(float, output.split())
        if repeat >= 0:
            processor.append(spent)
            for name, seconds in zip(times, (whole, total - read - answer, read, answer), strict=True):
                times[name].append(seconds)
    for name, own in {**times, "processor": processor}.items():
        print(f"{name:>13}: median {statistics.median(own):.2f} s (from {min(own):.2f} to {max(own):.2f} s)")


def _run(*arguments: str) -> tuple[float, float, str]:
    """Run Python, and return the seconds that it took, those of a processor, and what it printed."""
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - started, spent, done.stdout


if __name__ == "__main__":
    main()
