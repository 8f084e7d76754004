"""Tasks on the processes of a Dask cluster: this machine's cores, or a scheduler somewhere else."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from fptlib.ensemble.store import Store
from fptlib.ensemble.training import Task
from fptlib.ensemble.work import perform
from fptlib.errors import InputError

if TYPE_CHECKING:
    from distributed import Client

# A worker that is lost takes its task with it; the task goes on elsewhere from its snapshots, this many times.
_RETRIES: Final = 5
_TOPIC: Final = "fptlib-progress"
_CONNECT_S: Final = 20
_REPORT_S: Final = 0.5
# Of this process: started when first needed and kept, since starting takes seconds.
_local: dict[int, Client] = {}


@contextmanager
def performer(
    store: Store, report: Callable[[int], object], *, workers: int, scheduler: str | None
) -> Iterator[Callable[[Sequence[Task], bool], list[int | None]]]:
    """Give a function that performs tasks on a cluster, and waits for other processes at them or not.

    All workers must see the folder of the store under its name. ``report`` is called with run-epochs done. Without the address of a
    running ``scheduler``, as ``tcp://10.0.0.1:8786``, there are ``workers`` processes on this machine. An InputError says that the
    scheduler does not answer or has no workers, a RuntimeError that a task was lost with its worker too often.
    """
    from distributed import KilledWorker

    with client(workers, scheduler) as connected:

        def results(tasks: Sequence[Task], wait: bool) -> list[int | None]:
            options: dict[str, Any] = {"wait": wait, "pure": False, "retries": _RETRIES}
            futures = [connected.submit(_remote, store, task, priority=-i, **options) for i, task in enumerate(tasks)]
            # Waited for here and not in Dask's event loop, so that Ctrl-C interrupts nothing but the waiting.
            finished: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for future in futures:
                future.add_done_callback(finished.put)
            for _ in futures:
                finished.get().result()
            return [future.result() for future in futures]

        connected.subscribe_topic(_TOPIC, lambda event: report(int(event[1])))
        try:
            yield results
        except KilledWorker as error:
            raise RuntimeError(
                "training processes ended unexpectedly, again and again (killed, or out of memory); the same call resumes"
            ) from error
        finally:
            connected.unsubscribe_topic(_TOPIC)


def _remote(store: Store, task: Task, *, wait: bool) -> int | None:
    """Perform one task in a worker process; reports are summed up, so that not every epoch sends a message."""
    from distributed import get_worker

    worker, waiting, sent = get_worker(), 0, time.monotonic()

    def report(n: int) -> None:
        nonlocal waiting, sent
        waiting += n
        if time.monotonic() - sent > _REPORT_S:
            worker.log_event(_TOPIC, waiting)
            waiting, sent = 0, time.monotonic()

    return perform(store, task, report, wait=wait)


@contextmanager
def client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """Connect to a running scheduler, or to ``workers`` processes on this machine; see `performer` for what is refused."""
    from distributed import Client

    if scheduler is not None:
        try:
            remote = Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(
                f"scheduler {scheduler}: no answer ({error}); tcp://HOST:PORT of a running one is needed"
            ) from None
        with remote:
            if not remote.scheduler_info()["workers"]:
                raise InputError(f"scheduler {scheduler}: it has no workers; start some with: dask worker {scheduler}")
            yield remote
        return
    with _main_hidden():
        if workers not in _local:
            _local[workers] = _start(workers)
        try:
            yield _local[workers]
        except BaseException:
            # Ctrl-C above all: processes are stopped where they are, and resume from their snapshots.
            stop()
            raise


def stop() -> None:
    """End the processes on this machine that wait for further work."""
    while _local:
        _, client = _local.popitem()
        local = client.cluster
        client.close()
        if local is not None:
            with suppress(TimeoutError):  # on a machine that is too busy; what trains ends with this process
                local.close(timeout=5)


def _start(workers: int) -> Client:
    """A cluster of single-threaded processes on this machine, reachable from it only."""
    import logging

    import dask
    from distributed import Client, LocalCluster

    settings = {
        "distributed.worker.multiprocessing-method": "spawn",
        # A task that lost its worker several times is not to blame: machines take workers away.
        "distributed.scheduler.allowed-failures": _RETRIES,
        "distributed.worker.daemon": True,
        "distributed.scheduler.worker-ttl": None,
    }
    with dask.config.set(settings):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
            memory_limit=0,
        )
        return Client(cluster, set_as_default=False)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Keep new processes from importing the script that calls.

    They need nothing of it, and importing a script without ``if __name__ == "__main__"`` would run it again in each.
    """
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.pop("__file__", None)
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)
