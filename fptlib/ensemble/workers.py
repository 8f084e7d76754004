"""Blocks trained by several processes, with progress and a clean stop."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fptlib import progress
from fptlib.ensemble import store
from fptlib.ensemble.training import Block, Training, numerics

_SNAPSHOT_INTERVAL_S: Final = 10.0

# Below this many run-epochs, starting processes (seconds, for importing torch) costs more than it saves.
_WORTH_PROCESSES: Final = 4000


def train_block(folder: Path, block: Block, report: Callable[[int], object], stopped: Callable[[], bool]) -> None:
    """Train a block from its snapshots to its horizon and write its shards.

    Parameters
    ----------
    folder
        The store.
    block
        What to train.
    report
        Told of the run-epochs done.
    stopped
        Whether to leave off after the present epoch, keeping a snapshot.
    """
    with numerics():
        training = Training(block)
        snapshots = store.common_snapshots(folder, block)
        if snapshots:
            training.resume(snapshots)
            report(block.size * min(training.epoch, block.epochs))
        saved, saved_at = time.monotonic(), training.epoch
        while training.epoch < block.epochs and not stopped():
            training.step_epoch()
            report(block.size)
            if time.monotonic() - saved > _SNAPSHOT_INTERVAL_S:
                store.save_snapshots(folder, training)
                saved, saved_at = time.monotonic(), training.epoch
        # Before the shard: whenever the process ends, what is missing can be made from what is there.
        if training.epoch > saved_at:
            store.save_snapshots(folder, training)
    if training.epoch >= block.epochs:
        store.save_shards(folder, training)


def train_blocks(folder: Path, blocks: Sequence[Block], workers: int | None) -> None:
    """Train blocks in ``workers`` processes (``None``: as many as are worth it).

    Raises
    ------
    RuntimeError
        If a process ends unexpectedly.
    """
    work = sum(block.size * block.epochs for block in blocks)
    if workers is None:
        small = work < _WORTH_PROCESSES or blocks[0].device != "cpu"
        workers = 1 if small or _defined_in_main(blocks[0]) else len(os.sched_getaffinity(0))
    workers = min(workers, len(blocks))
    with progress.bar(total=work, desc="training, run-epochs") as bar:
        if workers == 1:
            for block in blocks:
                train_block(folder, block, bar.update, lambda: False)
        else:
            _in_processes(folder, blocks, workers, bar.update)


def _defined_in_main(block: Block) -> bool:
    """Whether a kind is defined in the script or notebook itself, which worker processes do not see."""
    spec = block.spec
    return any(
        type(part).__module__ == "__main__" for part in (spec.data, spec.model, spec.optimiser, spec.perturbation)
    )


def _in_processes(folder: Path, blocks: Sequence[Block], workers: int, report: Callable[[int], object]) -> None:
    # Forking this process could hang, for torch's threads have run in it. The fork server is a clean process that has
    # imported what workers need and is kept: the first call pays some seconds for it, further ones do not.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["fptlib.ensemble.workers", "torch._dynamo"])
    with _main_hidden():
        reports = context.Queue()
        stop = context.RawValue("b", 0)  # no lock: a worker that is killed could hold it for ever
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(reports, stop))
    try:
        with _main_hidden():
            pending = {pool.submit(_work, folder, block) for block in blocks}
        while pending:
            done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
            _drain(reports, report)
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "a training process ended unexpectedly (killed, or out of memory); the same call resumes"
        ) from error
    finally:
        # Reached with work left only after an interruption: workers then finish their epoch and keep a snapshot.
        stop.value = 1
        pool.shutdown(wait=True, cancel_futures=True)
        _drain(reports, report)
        reports.close()


def _drain(reports: Any, report: Callable[[int], object]) -> None:
    while True:
        try:
            report(reports.get_nowait())
        except queue.Empty:
            return


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep new processes from importing the script that calls.

    They need nothing of it, and importing a script without ``if __name__ == "__main__"`` would run it again in each.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    try:
        if "__file__" in kept:
            del main.__file__
        main.__spec__ = None
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


# What a worker process was given when it started: (reports, stop).
_channels: tuple[Any, Any] | None = None


def _start(reports: Any, stop: Any) -> None:
    """Prepare a worker process."""
    global _channels
    _channels = (reports, stop)
    # Ctrl-C reaches every process of a terminal; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that was killed says nothing: without this its workers would wait for work for ever.
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(folder: Path, block: Block) -> None:
    """Train a block in a worker process."""
    assert _channels is not None
    reports, stop = _channels
    if not stop.value:
        train_block(folder, block, reports.put, lambda: bool(stop.value))
