"""The same ensemble on a real cluster: whatever is killed, whoever else is at it, and however full the disk is."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from fptlib import ensemble, spec, trajectories
from fptlib.ensemble import cluster, verbs
from fptlib.ensemble.resources import UNIT
from fptlib.ensemble.store import Store
from fptlib.errors import InputError
from fptlib.trajectories import Trajectories
from known import same, small, wait_for

ASKED = small(
    runs=64,
    epochs=200,
    training={"batch_size": 10, "sampling": "replace"},
    perturbation={"name": "shrink_perturb", "period": 7, "shrink": 0.5, "perturb": 0.2},
    execution={"snapshot_s": 0.05},
)


@pytest.fixture(scope="module")
def requested() -> spec.EnsembleSpec:
    return ASKED


@pytest.fixture(scope="module")
def alone(requested: spec.EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> Trajectories:
    """What one process gives."""
    return ensemble.train(requested, out=tmp_path_factory.mktemp("alone"), workers=1)


@pytest.fixture(autouse=True, scope="module")
def _stopped_at_the_end() -> Generator[None]:
    yield
    cluster.stop()


def children_of(pid: int) -> list[int]:
    """Processes below this one that train: those that hold a lock of a store."""
    children = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            links = [os.readlink(link) for link in (path.parent / "fd").iterdir()]
        except OSError:
            continue
        if parent == pid and any(link.endswith(".lock") for link in links):
            children.append(int(path.parent.name))
    return children


def script(text: str, folder: Path, root: Path, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", text],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


_TRAIN = """
import sys
from fptlib import ensemble, spec
from fptlib.errors import InputError
try:
    print(ensemble.train(spec.load("requested.yml"), out="stores", workers={workers}).meta["trained"])
except InputError as error:
    sys.exit(str(error))
"""


# -- workers


@pytest.mark.slow
def test_two_workers_of_which_one_is_killed_give_what_one_process_gives(
    requested: spec.EnsembleSpec, alone: Trajectories, tmp_path: Path, root: Path
) -> None:
    (tmp_path / "requested.yml").write_text(requested.model_dump_json())
    process = script(_TRAIN.format(workers=2), tmp_path, root)
    folder = tmp_path / "stores" / requested.digest()
    victims: list[int] = []
    wait_for(
        lambda: (
            process.poll() is not None
            or (list(folder.glob("*.ckpt")) and victims.extend(children_of(process.pid)))
            or victims
        )
    )
    assert victims, process.communicate()
    os.kill(victims[0], signal.SIGKILL)
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert 0 < int(out) <= 64 * 200
    assert same(trajectories.read_store(folder), alone)


@pytest.mark.slow
def test_a_scheduler_somewhere_else_trains_the_same(
    requested: spec.EnsembleSpec, alone: Trajectories, tmp_path: Path
) -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as somewhere:
        there = ensemble.train(requested, out=tmp_path, scheduler=somewhere.scheduler_address)
        assert same(there, alone)
        assert there.meta["trained"] == 64 * 200
        assert ensemble.train(requested, out=tmp_path, scheduler=somewhere.scheduler_address).meta["trained"] == 0


def test_a_scheduler_that_does_not_answer_or_has_no_workers_is_named(
    requested: spec.EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cluster, "_CONNECT_S", 1)
    with pytest.raises(InputError, match=r"scheduler tcp://127\.0\.0\.1:9: no answer"):
        ensemble.train(requested, out=tmp_path, scheduler="tcp://127.0.0.1:9")
    with (
        LocalCluster(n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0") as idle,
        pytest.raises(InputError, match="it has no workers; start some with: dask worker"),
    ):
        ensemble.train(requested, out=tmp_path, scheduler=idle.scheduler_address)
    with pytest.raises(InputError, match="workers and scheduler: name one of them"):
        ensemble.train(requested, out=tmp_path, scheduler="tcp://127.0.0.1:9", workers=2)


# -- several processes, a full disk


@pytest.mark.slow
def test_two_processes_on_one_store_share_the_work(
    requested: spec.EnsembleSpec, alone: Trajectories, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verbs, "LARGEST_TASK", 16)
    text = _TRAIN.format(workers=1).replace(
        "from fptlib import ensemble, spec\n",
        "from fptlib import ensemble, spec\nfrom fptlib.ensemble import verbs\nverbs.LARGEST_TASK = 16\n",
    )
    (tmp_path / "requested.yml").write_text(requested.model_dump_json())
    processes = [script(text, tmp_path, root) for _ in range(2)]
    results = [process.communicate(timeout=300) for process in processes]
    assert [errors for _, errors in results] == ["", ""]
    assert sum(int(out) for out, _ in results) == 64 * 200
    assert same(trajectories.read_store(tmp_path / "stores" / requested.digest()), alone)


@pytest.mark.slow
def test_a_full_disk_is_reported_and_nothing_is_lost(
    requested: spec.EnsembleSpec, alone: Trajectories, tmp_path: Path, root: Path
) -> None:
    (tmp_path / "requested.yml").write_text(requested.model_dump_json())
    folder = tmp_path / "stores" / requested.digest()
    first = ensemble.train(spec.override(requested, {"runs": 16, "epochs": 8}), out=tmp_path / "stores")
    before = {path.name: path.read_bytes() for path in folder.glob("runs-*.[pc]*")}
    longest = max(len(content) for content in before.values())

    def limit() -> None:
        # The system refuses what is longer, as a disk does that is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (longest + 10, longest + 10))

    process = script(_TRAIN.format(workers=1), tmp_path, root, preexec_fn=limit)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert re.search(r": no space is left; everything written so far is kept: make room and repeat", errors), errors
    assert errors.count("\n") == 1
    after = {path.name: path.read_bytes() for path in folder.glob("runs-*.[pc]*")}
    assert {name: after[name] for name in before} == before
    assert not list(folder.glob(".*.tmp"))
    again = ensemble.train(requested, out=tmp_path / "stores", workers=1)
    assert same(again, alone)
    assert same(again.head(runs=16, epochs=8), first)


def test_a_lock_is_given_back_by_a_process_that_is_gone(
    requested: spec.EnsembleSpec, tmp_path: Path, root: Path
) -> None:
    holder = script(
        "from pathlib import Path; from fptlib.ensemble.store import Store; import time\n"
        "with Store(Path('.'), 'd').locked([0], wait=True):\n    print('held', flush=True); time.sleep(600)",
        tmp_path,
        root,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    store = Store(tmp_path, "d")
    with store.locked([0, UNIT], wait=False) as free:
        assert not free
    holder.kill()
    holder.communicate()
    with store.locked([0], wait=False) as free:
        assert free
