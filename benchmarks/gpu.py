# ruff: noqa: T201
"""Training on a GPU: what must hold there, how fast it is, and what the paper's ensembles would cost.

``python3 benchmarks/gpu.py`` needs PyTorch and this project's tree, no installation and no network, and ends within eight minutes. It
names what else is missing and does without. A result is in the file as soon as it is known, and the same command goes on from there.
Without a GPU everything is done on the CPU at a toy size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# In the order of what is worth most where time runs out.
CASES = ("checks", "digits", "digits_bn", "resnet64", "cost", "resnet16", "mnist5k", "cnn")
# What there is use for, beside PyTorch; without the last four, less is measured or on random numbers.
PACKAGES = "numpy pydantic yaml scipy pandas pyarrow filelock platformdirs threadpoolctl tqdm numba jax sklearn mlxtend"
# Seconds for one item of a case.
PATIENCE = 100.0


class Report:
    """The file of results: a head, and items by case; what failed or was missing is left out, to be tried again."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.content: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {"head": None, "cases": {}}
        for items in self.content["cases"].values():
            for item in [item for item, result in items.items() if {"failed", "missing"} & result.keys()]:
                del items[item]

    def keep(self, case: str, item: str, result: dict[str, Any]) -> None:
        """Add a result and write the file, in one step."""
        if case != "head":
            self.content["cases"].setdefault(case, {})[item] = result
        elif self.content["head"] in (None, result):
            self.content["head"] = result
        else:
            raise SystemExit(f"{self.file}: made on another machine or with other versions; name another --out")
        self.file.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        temporary.write_text(json.dumps(self.content, indent=1) + "\n")
        temporary.replace(self.file)


def run(case: str, report: Report, deadline: float, patience: float) -> None:
    """Do a case in processes of its own, until it is complete or time is up; an item that ends its process is left behind."""
    command = [sys.executable, str(HERE / "gpu_work.py"), case, str(report.file)]
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    while (left := deadline - time.monotonic()) > 0:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        watch = _killing(process, min(patience, left))
        answer, items = {"begin": ""}, 0
        for line in process.stdout or ():
            watch.cancel()
            watch = _killing(process, min(patience, deadline - time.monotonic()))
            answer = json.loads(line)
            if "item" in answer:
                items += 1
                _note(case, answer["item"], answer["result"], report)
        process.wait()
        watch.cancel()
        if "end" in answer:
            return
        if time.monotonic() >= deadline:
            break
        if answer.get("begin"):
            _note(case, answer["begin"], {"failed": f"its process ended, or it took {patience:.0f} s"}, report)
        elif not items:
            print(f"{case:<10} left out: its process ended before it began", flush=True)
            return
    print(f"{case:<10} time is up; the same command goes on", flush=True)


def _killing(process: subprocess.Popen[str], seconds: float) -> threading.Timer:
    timer = threading.Timer(max(0.0, seconds), process.kill)
    timer.start()
    return timer


def _note(case: str, item: str, result: dict[str, Any], report: Report) -> None:
    report.keep(case, item, result)
    if "median_per_second" in result:
        text = f"{result['median_per_second']:10.4g} run-epochs/s, {result['share_of_peak']:.1%} of the peak"
    elif "hours" in result:
        text = f"{result['hours']:.4g} hours for {result['runs']} runs of {result['epochs_trained']} epochs"
    else:
        text = ", ".join(f"{name} {value}" for name, value in result.items() if not isinstance(value, dict))
    print(f"{case:<10} {item:<42} {text}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the options ask for; returns 1 if a check failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--out", type=Path, default=HERE.parent / "_build" / "gpu.json", metavar="FILE")
    parser.add_argument("--minutes", type=float, default=7.5, help="end after so long")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds for one item")
    options = parser.parse_args(arguments)
    deadline = time.monotonic() + 60 * options.minutes
    if find_spec("torch") is None:
        raise SystemExit("PyTorch is missing: nothing can be done without")
    if missing := [name for name in PACKAGES.split() if find_spec(name) is None]:
        print(f"missing: {', '.join(missing)}")
    report = Report(options.out)
    for case in ("head", *options.cases):
        run(case, report, deadline, options.patience)
    checks = report.content["cases"].get("checks", {})
    failed = [name for name, result in checks.items() if "failed" in result]
    print(f"{len(checks) - len(failed)} of {len(checks)} checks passed; {options.out}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
