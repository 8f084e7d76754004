"""The labelled array and its store: hand-checkable records, round trips, and what happens to damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from fptlib.errors import InputError
from fptlib.trajectories import (
    Trajectories,
    concatenate,
    read_shard,
    read_store,
    read_store_file,
    to_table,
    write_atomically,
    write_shard,
    write_store_file,
)

SMALL = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])
laws = settings(deadline=None, max_examples=40)


def record(values: Any = SMALL, *, run: Any = None, meta: dict[str, Any] | None = None, **more: Any) -> Trajectories:
    """Return trajectories with the metric ``test_metric`` and whatever else is named."""
    values = np.asarray(values, dtype=float)
    labels = np.arange(len(values)) if run is None else np.asarray(run)
    metrics = {"test_metric": values, **{name: np.asarray(column) for name, column in more.items()}}
    return Trajectories(metrics=metrics, run=labels, meta=meta or {})


def store(folder: Path, *, shards: dict[int, int], epochs: int, runs: int, digest: str = "d") -> Path:
    """Write a store with shards of two runs each, first run to number of epochs; values are ``10 * run + epoch``."""
    for first, length in shards.items():
        run = np.arange(first, first + 2)
        values = 10 * run[:, None] + np.arange(1, length + 1)
        write_shard(folder / f"runs-{first:05d}-{first + 1:05d}.parquet", record(values, run=run, meta={"digest": "d"}))
    write_store_file(folder, {"spec": {}, "digest": digest, "runs": runs, "epochs": epochs})
    return folder


# Closed forms


def test_a_record_counts_its_runs_and_epochs_and_shows_a_table_in_the_order_of_runs_and_epochs() -> None:
    two = record(run=[7, 3], test_loss=1 - SMALL)
    assert (two.n_runs, two.n_epochs) == (2, 3)
    columns = to_table(two).to_pydict()
    assert columns["run"] == [7, 7, 7, 3, 3, 3]
    assert columns["epoch"] == [1, 2, 3, 1, 2, 3]
    assert columns["test_metric"] == SMALL.ravel().tolist()


def test_the_metric_is_the_one_named_else_test_metric_else_the_only_one() -> None:
    both = record(test_loss=1 - SMALL)
    np.testing.assert_array_equal(both.metric(), SMALL)
    np.testing.assert_array_equal(both.metric("test_loss"), 1 - SMALL)
    np.testing.assert_array_equal(Trajectories(metrics={"acc": SMALL}, run=np.arange(2)).metric(), SMALL)
    with pytest.raises(InputError, match=r"which metric\? name one of acc, loss"):
        Trajectories(metrics={"acc": SMALL, "loss": SMALL}, run=np.arange(2)).metric()
    with pytest.raises(InputError, match="no metric 'f1'; there is test_loss, test_metric"):
        both.metric("f1")


def test_a_store_shows_the_runs_and_epochs_asked_for_and_no_more(tmp_path: Path) -> None:
    whole = read_store(store(tmp_path, shards={0: 5, 2: 4}, runs=3, epochs=4))
    np.testing.assert_array_equal(whole.run, [0, 1, 2])
    np.testing.assert_array_equal(whole.metric(), [[1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23, 24]])
    assert whole.meta["source"] == str(tmp_path)


# Laws

finite = st.floats(allow_nan=False, allow_infinity=False)
metas = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none() | st.booleans(), max_size=3
)


@laws
@given(
    values=nps.arrays(np.float64, nps.array_shapes(min_dims=2, max_dims=2, max_side=5), elements=finite),
    data=st.data(),
    meta=metas,
)
def test_a_shard_keeps_every_bit_every_label_and_the_metadata(
    tmp_path_factory: pytest.TempPathFactory, values: Any, data: st.DataObject, meta: dict[str, Any]
) -> None:
    labels = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=len(values), max_size=len(values), unique=True)
    before = record(values, run=np.array(data.draw(labels), dtype=np.int64), meta=meta, test_loss=values[::-1])
    path = tmp_path_factory.mktemp("shard") / "runs.parquet"
    write_shard(path, before)
    after = read_shard(path)
    assert after.meta == meta
    assert set(after.metrics) == set(before.metrics)
    np.testing.assert_array_equal(after.run, before.run)
    for name, column in before.metrics.items():
        assert after.metrics[name].dtype == np.float64
        assert after.metrics[name].tobytes() == np.ascontiguousarray(column).tobytes()


@laws
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 5))
def test_cutting_and_putting_together_changes_nothing(n_runs: int, n_epochs: int, cut: int) -> None:
    whole = record(np.arange(n_runs * n_epochs).reshape(n_runs, n_epochs), run=np.arange(n_runs) + 5)
    parts = [
        Trajectories(metrics={"test_metric": whole.metric()[part]}, run=whole.run[part])
        for part in (slice(None, cut), slice(cut, None))
        if len(whole.run[part])
    ]
    again = concatenate(parts)
    np.testing.assert_array_equal(again.metric(), whole.metric())
    np.testing.assert_array_equal(again.run, whole.run)
    head = whole.head(runs=cut, epochs=cut)
    np.testing.assert_array_equal(head.metric(), whole.metric()[:cut, :cut])


# Limits


def test_nothing_and_everything_of_a_head() -> None:
    np.testing.assert_array_equal(record().head().metric(), SMALL)
    with pytest.raises(InputError, match="empty"):
        record().head(epochs=0)


def test_a_folder_named_like_a_partition_is_a_folder(tmp_path: Path) -> None:
    # Parquet readers like to make columns of folders called key=value.
    whole = read_store(store(tmp_path / "lr=0.1", shards={0: 3}, runs=2, epochs=3))
    assert set(whole.metrics) == {"test_metric"}


# Atomic writing


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, lambda file: file.write(b"old"))

    def fail(file: BinaryIO) -> None:
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, lambda file: file.write(b"old"))
    seen = []

    def write(file: BinaryIO) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_files_get_the_permissions_of_a_plain_open(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "atomic", lambda file: file.write(b""))
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


# What is refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Trajectories(metrics={}, run=np.arange(2)), "no metric; at least one is needed"),
        (lambda: record(run=[0, 1, 2]), r"shape \(2, 3\), expected \(3 runs, epochs\)"),
        (lambda: record(np.empty((2, 0))), "is empty; at least one run and one epoch"),
        (lambda: record(np.empty((0, 4))), "is empty; at least one run and one epoch"),
        (lambda: record(test_loss=SMALL[:, :2]), "'test_loss' has 2 epochs, the others have 3"),
        (lambda: record(run=[4, 4]), "run 4 occurs more than once"),
        (lambda: record([[0.1, np.nan]], run=[9]).metric(), "of run 9 at epoch 2 is nan; finite numbers are needed"),
        (lambda: record([[np.inf]], meta={"source": "logs"}).metric(), "^logs: .* at epoch 1 is inf"),
        (lambda: concatenate([record(), record(SMALL[:, :2], run=[5, 6])]), "different metrics or numbers of epochs"),
        (lambda: concatenate([record(), record(run=[5, 6], test_loss=SMALL)]), "different metrics"),
        (lambda: concatenate([record(), record(run=[1, 2])]), "run 1 occurs more than once"),
    ],
)
def test_a_record_is_checked_when_it_is_made(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_damaged_and_foreign_shards_are_named(tmp_path: Path) -> None:
    sound = tmp_path / "sound.parquet"
    write_shard(sound, record())
    content = sound.read_bytes()
    for name, damaged in (("cut", content[: len(content) // 2]), ("empty", b""), ("text", b"run,epoch\n1,1\n")):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=rf"{name}\.parquet: not a readable Parquet file"):
            read_shard(path)
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_shard(tmp_path / "missing.parquet")
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pa.table({"run": [0], "epoch": [1], "acc": [0.5]}), foreign)
    with pytest.raises(InputError, match=r"foreign\.parquet: a Parquet file without the metadata of a shard"):
        read_shard(foreign)


@pytest.mark.parametrize(
    "columns",
    [
        {"step": [1], "acc": [0.5]},
        {"run": [0, 0, 1], "epoch": [1, 2, 1], "acc": [0.1, 0.2, 0.3]},
        {"run": [0], "epoch": [0], "acc": [0.5]},
        {"run": pa.array([], pa.int64()), "epoch": pa.array([], pa.int32()), "acc": pa.array([], pa.float64())},
        {"run": [0], "epoch": [1], "acc": ["high"]},
    ],
)
def test_a_shard_with_other_content_is_damaged(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata({b"fptlib": b"{}"}), path)
    with pytest.raises(InputError, match=r"odd\.parquet: damaged"):
        read_shard(path)


def test_an_interrupted_store_says_how_to_resume(tmp_path: Path) -> None:
    store(tmp_path, shards={0: 4, 2: 3}, runs=4, epochs=4)
    with pytest.raises(InputError, match="2 of 4 runs are trained to epoch 4; train again with the same parameters"):
        read_store(tmp_path)


def test_shards_of_another_ensemble_and_missing_ones_are_refused(tmp_path: Path) -> None:
    store(tmp_path / "other", shards={0: 3}, runs=2, epochs=3, digest="e")
    with pytest.raises(InputError, match=r"runs-00000-00001\.parquet: belongs to another ensemble \(digest d\)"):
        read_store(tmp_path / "other")
    store(tmp_path / "repeated", shards={0: 3, 1: 3}, runs=3, epochs=3)
    with pytest.raises(InputError, match="run 1 occurs more than once"):
        read_store(tmp_path / "repeated")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory; a store has this file"),
        ("{", "damaged"),
        (json.dumps([1]), "not a store of format 1"),
        (json.dumps({"format": 2}), "not a store of format 1"),
        (json.dumps({"format": 1, "digest": "d"}), "damaged"),
        (json.dumps({"format": 1, "digest": "d", "runs": "many", "epochs": 3}), "damaged"),
    ],
)
def test_a_damaged_store_file_is_named(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=rf"store\.json: .*{said}"):
        read_store_file(tmp_path)
