"""The work of `gpu.py`, one case in a process of its own: lines of JSON, before and after each of its items.

``python gpu_work.py CASE FILE`` does what the results in ``FILE`` lack.
"""

from __future__ import annotations

import gc
import hashlib
import json
import shutil
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from cases import CASES, Case, Data, images
from torch import nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).resolve().parents[1]
sys.path[1:1] = [str(ROOT), str(ROOT / "tests")]

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
# Seconds of one measurement, pieces that it is taken in, and calls beforehand, which compile and capture graphs.
SECONDS, PIECES, BEFORE = (1.0, 5, 3) if ON_GPU else (0.02, 2, 1)
# Side of the matrices whose product shows what the card can do.
MATRIX = 8192 if ON_GPU else 64
STACKS = (2, 4, 8, 16) if ON_GPU else (2,)
LARGE = 128 if ON_GPU else 4
IMAGES, BATCH, RATE = (10_000, 5000), 125, 0.01
# Width of each ResNet-18, and the share of an epoch that is timed.
RESNETS = {"resnet16": (16, 0.5), "resnet64": (64, 0.125)}

Result = dict[str, Any]
Epoch = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Work:
    """A network and its data, of which an epoch has ``1 / share`` times as many images."""

    case: Case | None
    width: int
    data: Data
    batch: int
    share: float

    @property
    def convolutional(self) -> bool:
        """Whether the network has convolutions."""
        return self.case is None or self.case.is_convolutional

    def spec(self, **changes: Any) -> Any:
        """Return the parameters for fptlib."""
        import ours

        from fptlib import spec

        model = {"model": {"name": "resnet18", "width": self.width}, "optimiser.lr": RATE}
        changes |= {"training.batch_size": self.batch} | (model if self.case is None else {})
        return spec.override(ours.spec_of(self.case or CASES["cnn"]), changes)

    def module(self) -> nn.Module:
        """Return one network as an ordinary module."""
        if self.case is not None:
            from torch_runs import initialised

            return initialised(self.case, 0)
        from fptlib import models

        return models.build(self.spec().model, shape=(3, 32, 32), n_classes=10).single()

    def flop(self) -> float:
        """Return the operations of the products of a run-epoch, training and evaluation, two for a multiply-add."""
        model, two = self.module(), torch.from_numpy(self.data.x_train[:2])
        with FlopCounterMode(display=False) as counter:
            outputs = model(two.permute(0, 3, 1, 2).contiguous() if self.convolutional else two)
            forwards = counter.get_total_flops() / 2
            functional.cross_entropy(outputs, torch.zeros(2, dtype=torch.int64)).backward()
        each = counter.get_total_flops() / 2
        return float(each * len(self.data.y_train) + forwards * len(self.data.y_test)) / self.share


def work_of(name: str) -> Work:
    """Return the work of a case; without a GPU a few images of it."""
    if name in RESNETS:
        width, share = RESNETS[name] if ON_GPU else (8, 0.001)
        return Work(None, width, images(*(int(n * share) for n in IMAGES)), BATCH if ON_GPU else 10, share)
    case = CASES[name]
    data, n, m = case.load(), *((None, None) if ON_GPU else (40, 20))
    few = Data(data.x_train[:n], data.y_train[:n], data.x_test[:m], data.y_test[:m], data.origin)
    return Work(case, 0, few, case.batch if ON_GPU else 20, len(few.y_train) / len(data.y_train))


# -- who takes part: each yields a function that trains an epoch of all its runs


@contextmanager
def engine(work: Work, runs: int, way: str | None = None, device: str = DEVICE, **changes: Any) -> Iterator[Epoch]:
    """Train in one stack of fptlib."""
    import ours

    from fptlib.ensemble import compute
    from fptlib.ensemble.resources import numerics
    from fptlib.ensemble.training import Task, Training

    spec, stack = work.spec(device=device, **changes), patch("fptlib.ensemble.stacks.stack_size", lambda *_: runs)
    chosen = nullcontext() if way is None else patch.object(compute, "kind", lambda *_: way)
    with numerics(), stack, chosen:
        yield Training(Task(spec, tuple(range(runs)), 10_000, device), ours.dataset(work.data)).step_epoch


@contextmanager
def loop(work: Work, *, tuned: bool) -> Iterator[Epoch]:
    """Train one run in an ordinary loop, with its data on the device; tuned: channels last, bfloat16 and a CUDA graph of a step."""
    layout = torch.channels_last if tuned and work.convolutional else torch.contiguous_format
    short = tuned and work.convolutional
    precision = torch.autocast(DEVICE, torch.bfloat16, cache_enabled=False) if short else nullcontext()
    module = work.module().to(DEVICE, memory_format=layout).train()
    parts = (work.data.x_train, work.data.x_test, work.data.y_train, work.data.y_test)
    x, x_test, y, y_test = (torch.from_numpy(part).to(DEVICE) for part in parts)
    if work.convolutional:
        x, x_test = (part.permute(0, 3, 1, 2).contiguous(memory_format=layout) for part in (x, x_test))
    optimiser = torch.optim.SGD(module.parameters(), lr=RATE)
    rows = torch.zeros(work.batch, dtype=torch.int64, device=DEVICE)

    def step() -> None:
        optimiser.zero_grad()
        with precision:
            logits = module(x[rows])
        functional.cross_entropy(logits.float(), y[rows]).backward()
        optimiser.step()

    stepped = _graph(step) if tuned and ON_GPU else step

    def epoch() -> float:
        module.train()
        for batch in torch.randperm(len(y), device=DEVICE).split(work.batch):
            rows.copy_(batch)
            stepped()
        module.eval()
        with torch.no_grad(), precision:
            logits = torch.cat([module(part) for part in x_test.split(500)]).float()
        functional.cross_entropy(logits, y_test).item()
        return (logits.argmax(1) == y_test).float().mean().item()

    yield epoch


def _graph(step: Callable[[], None]) -> Callable[[], object]:
    from fptlib.ensemble import graphs

    with graphs._aside():
        for _ in range(3):
            step()
    return graphs._graph(step)


@contextmanager
def jax(work: Work, way: str, runs: int) -> Iterator[Epoch]:
    """Train by JAX, whole epochs as one program; it does ``case.epochs`` of them in a call."""
    from jax_runs import JaxTrainer

    assert work.case is not None
    trainer = JaxTrainer(work.case, 1, way=way, stack=runs)
    yield partial(trainer.train, 0, work.case.epochs)


def contenders(work: Work) -> dict[str, tuple[AbstractContextManager[Epoch], int, str]]:
    """Return who takes part by name, with run-epochs in a call and the precision of its products."""
    graphs: dict[str, Any] = {"execution.cuda_graphs": True}
    short, rough, plain = graphs, "float32", "float32"
    if work.convolutional:
        short = graphs | {"training.autocast": "bfloat16", "execution.channels_last": True}
        rough, plain = "bfloat16", "tf32"
    own = None if ON_GPU else "stacked" if work.convolutional else "fused"  # the CPU tries what a GPU would choose
    most = STACKS[-1] if work.convolutional else LARGE

    def ours(runs: int, precision: str, way: str | None = own, **changes: Any) -> Any:
        return engine(work, runs, way, **changes), runs, precision

    arrangements = {
        "loop": (loop(work, tuned=False), 1, plain),
        "tuned loop": (loop(work, tuned=True), 1, rough),
        "1 run": ours(1, plain),
        "1 run, graph": ours(1, rough, **short),
        **{f"stack of {runs}, graph": ours(runs, rough, **short) for runs in sorted({*STACKS, most})},
        f"stack of {most}": ours(most, plain),
    }
    if work.convolutional:
        arrangements["1 run, one by one, graph"] = ours(1, rough, "one by one", **short)
    else:
        arrangements[f"general path, stack of {most}, graph"] = ours(most, rough, "stacked", **short)
        arrangements["one core of the CPU"] = ours(16, plain, None, device="cpu")
    if work.case is not None:
        for way, runs in (("single", 1), ("vmap", STACKS[-1])):
            arrangements[f"JAX, {runs} run{'s' * (runs > 1)}"] = jax(work, way, runs), runs * work.case.epochs, plain
    return arrangements


def peaks() -> Result:
    """Return 10^12 operations a second of a product of large matrices, by precision."""
    result: Result = {}
    for name, dtype in (("float32", torch.float32), ("tf32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(MATRIX, MATRIX, device=DEVICE, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
        result[name] = 2 * MATRIX**3 / 1e12 * statistics.median(_rates(lambda a=a, b=b: a @ b, 1))
    torch.backends.cuda.matmul.allow_tf32 = False
    return result


def _rates(call: Epoch, times: float) -> list[float]:
    """Return how often a second something is done that a call does ``times``, once for each piece of the measurement."""
    wait = torch.cuda.synchronize if ON_GPU else lambda: None

    def seconds(calls: int) -> float:
        wait()
        started = time.perf_counter()
        for _ in range(calls):
            call()
        wait()
        return time.perf_counter() - started

    seconds(BEFORE)
    calls = max(1, int(SECONDS / PIECES / seconds(1)))
    return [calls * times / seconds(calls) for _ in range(PIECES)]


def measured(work: Work, flop: float, peak: Result, who: Any, run_epochs: int, precision: str) -> Result:
    """Return the speed of a contender, and its share of the card's matrix peak."""
    gc.collect()  # of the one before
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with who as epoch:
        rates = _rates(epoch, run_epochs * work.share)
    rate = statistics.median(rates)
    return {
        "per_second": rates,
        "median_per_second": rate,
        "tflop_per_second": rate * flop / 1e12,
        "share_of_peak": rate * flop / 1e12 / peak[precision],
        "precision": precision,
        "memory_gb": torch.cuda.max_memory_allocated() / 2**30 if ON_GPU else None,
    }


def cost(file: str, speeds: dict[str, Any]) -> Result:
    """Return the hours of one of the paper's ensembles at the speed of the library's fastest arrangement of that network."""
    from fptlib import spec

    ours = {item: r for item, r in speeds.items() if "tflop_per_second" in r and "loop" not in item}
    fastest = max(ours, key=lambda item: ours[item]["tflop_per_second"])
    parameters = spec.load(ROOT / "params" / "paper" / file)
    # All images of CIFAR-10, 50 000 and 10 000, instead of the first: only their number counts.
    x, y = np.broadcast_to(np.float32(0), (60_000, 32, 32, 3)), np.broadcast_to(np.int64(0), 60_000)
    data = Data(x[:50_000], y[:50_000], x[50_000:], y[50_000:], "")
    flop = Work(None, parameters.model.width, data, BATCH, 1.0).flop()
    # A perturbed ensemble branches off at its first perturbation.
    trained = parameters.epochs - (parameters.perturbation.period if parameters.perturbation else 0)
    hours = parameters.runs * trained * flop / ours[fastest]["tflop_per_second"] / 1e12 / 3600
    return {"runs": parameters.runs, "epochs_trained": trained, "arrangement": fastest, "hours": hours}


def head() -> Result:
    """Return the card, its driver, the versions, and a digest of the library that is measured."""
    import machine

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    driver = subprocess.run(query, capture_output=True, text=True, check=False).stdout if shutil.which(query[0]) else ""
    library = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((ROOT / "fptlib").rglob("*.py"))))
    return {
        "toy": not ON_GPU,
        "card": torch.cuda.get_device_name() if ON_GPU else "none",
        "driver": driver.strip() or "unknown",
        "cuda": f"{torch.version.cuda}, cuDNN {torch.backends.cudnn.version() if ON_GPU else 'none'}",
        "fptlib": library.hexdigest()[:16],
        **machine.head("torch", "numpy", "jax", "pydantic"),
    }


def items(case: str, done: dict[str, Any]) -> dict[str, Callable[[], Result]]:
    """Return what belongs to a case, by name."""
    if case == "head":
        return {"head": head}
    if case == "cost":
        speeds = done.get("resnet64", {})
        return {file: partial(cost, file, speeds) for file in ("cifar10_plain.yml", "cifar10_shrink_perturb.yml")}
    if case == "checks":
        from on_device import CHECKS

        names = [name for name in CHECKS if ON_GPU or name.startswith("mlp,")]
        return {name: partial(_passed, CHECKS[name]) for name in names}
    work = work_of(case)
    flop = work.flop()
    peak = done.get(case, {}).get("peak") or peaks()
    speeds = {name: partial(measured, work, flop, peak, *entry) for name, entry in contenders(work).items()}
    return {"peak": lambda: {"origin": work.data.origin, "flop_per_run_epoch": flop, **peak}, **speeds}


def _passed(check: Callable[[str], None]) -> Result:
    started = time.perf_counter()
    check(DEVICE)
    return {"passed": True, "seconds": time.perf_counter() - started}


def main(case: str, file: str) -> None:
    """Do what is missing of a case."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # whatever a library prints must not end up among the answers
    done = json.loads(Path(file).read_text())["cases"] if Path(file).is_file() else {}
    warnings.simplefilter("default" if ON_GPU else "ignore")
    if not ON_GPU:
        torch.set_num_threads(1)
    for name, do in items(case, done).items():
        if name in done.get(case, {}):
            continue
        print(json.dumps({"begin": name}), file=answers, flush=True)
        try:
            result = do()
        except ImportError as error:
            result = {"missing": error.name or str(error)}
        except Exception as error:
            result = {"failed": f"{type(error).__name__}: {error}"[-2000:]}
        print(json.dumps({"item": name, "result": result}), file=answers, flush=True)
        if "CUDA error" in result.get("failed", ""):
            sys.exit("after an error of the card the process cannot go on")
    print(json.dumps({"end": case}), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
