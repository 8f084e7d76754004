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
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.trajectories import Target, Trajectories, concatenate, read_shard, read_store, retire, write_shard
from fptlib.trajectories.record import holds, passages
from fptlib.trajectories.store import read_store_file, to_table, write_store_file

SMALL = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])


def record(
    values: Any = SMALL, *, run: Any = None, meta: dict[str, Any] | None = None, followed: Any = None, **more: Any
) -> Trajectories:
    """Return trajectories with the metric ``test_metric`` and whatever else is named."""
    values = np.asarray(values, dtype=float)
    labels = np.arange(len(values)) if run is None else np.asarray(run)
    metrics = {"test_metric": values, **{name: np.asarray(column) for name, column in more.items()}}
    length = None if followed is None else np.asarray(followed)
    return Trajectories(metrics=metrics, run=labels, meta=meta or {}, followed=length)


def at(threshold: float, *, metric: str = "test_metric") -> Target:
    """Return a retirement of a metric that grows."""
    return Target(threshold, metric=metric)


def store(
    folder: Path,
    *,
    shards: dict[int, int],
    epochs: int,
    runs: int,
    digest: str = "d",
    retired: dict[int, float] | None = None,
    **more: Any,
) -> Path:
    """Write a store with shards of two runs each, first run to number of epochs; values are ``10 * run + epoch``.

    Shards named in ``retired``, first run to threshold, are retired there.
    """
    for first, length in shards.items():
        run = np.arange(first, first + 2)
        shard = record(10 * run[:, None] + np.arange(1, length + 1), run=run, meta={"digest": "d"})
        if first in (retired or {}):
            shard = retire(shard, at((retired or {})[first]))
        write_shard(folder / f"runs-{first:05d}-{first + 1:05d}.parquet", shard)
    write_store_file(folder, {"spec": {}, "digest": digest, "runs": runs, "epochs": epochs, **more})
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
    with pytest.raises(InputError, match=r"which metric\? name one of b, c, as metric='b'"):
        Trajectories(metrics={"a": 0 * SMALL, "b": SMALL, "c": SMALL}, run=np.arange(2)).metric()
    with pytest.raises(InputError, match="there is test_loss, test_metric; did you mean 'test_loss'"):
        both.metric("tes_loss")


def test_a_store_shows_the_runs_and_epochs_asked_for_and_no_more(tmp_path: Path) -> None:
    whole = read_store(store(tmp_path, shards={0: 5, 2: 4}, runs=3, epochs=4))
    np.testing.assert_array_equal(whole.run, [0, 1, 2])
    np.testing.assert_array_equal(whole.metric(), [[1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23, 24]])
    assert whole.meta["source"] == str(tmp_path)


def test_a_retired_run_ends_with_its_passage() -> None:
    whole = record([[1, 3, 2, 0], [0, 1, 1, 2], [3, 0, 0, 0]], test_loss=np.arange(12.0).reshape(3, 4))
    cut = retire(whole, at(3))
    assert cut.lengths.tolist() == [2, 4, 1]
    assert (cut.n_epochs, cut.n_trained, cut.complete, cut.retirement) == (4, 7, False, at(3))
    np.testing.assert_array_equal(cut.metric(), [[1, 3, np.nan, np.nan], [0, 1, 1, 2], [3, np.nan, np.nan, np.nan]])
    columns = to_table(cut).to_pydict()
    assert columns["run"] == [0, 0, 1, 1, 1, 1, 2]
    assert columns["epoch"] == [1, 2, 1, 2, 3, 4, 1]
    assert columns["test_loss"] == [0, 1, 4, 5, 6, 7, 8]
    falling = retire(whole, Target(5, direction="below", metric="test_loss"))
    assert falling.lengths.tolist() == [1, 1, 4]
    assert whole.complete
    # Where training stopped somewhat later than it might have, the record of the passage is whole.
    later = record([[1, 3, 2, np.nan]], followed=[3], meta={"retirement": at(3).to_dict()})
    assert retire(later, at(3)).lengths.tolist() == [2]


def test_a_run_that_ended_early_is_told_from_one_that_was_retired() -> None:
    short = [[1, 3, np.nan, np.nan], [0, 1, np.nan, np.nan], [0, 0, 0, 1]]
    unmarked = record(short, followed=[2, 2, 4])
    assert unmarked.ended_early.tolist() == [True, True, False]
    assert not unmarked.retired.any()
    marked = record(short, followed=[2, 2, 4], meta={"retirement": at(3).to_dict()})
    assert marked.ended_early.tolist() == [False, True, False]
    assert marked.retired.tolist() == [True, False, False]
    assert (unmarked.complete, unmarked.n_trained, unmarked.n_epochs) == (False, 8, 4)
    for runs in (unmarked, marked):
        np.testing.assert_array_equal(runs.head(epochs=3).lengths, [2, 2, 3])
        assert runs.head(epochs=2).complete
        assert not runs.head(epochs=2).ended_early.any()
        assert not holds(runs, epochs=4, retirement=at(3))  # for a store that is a training to resume
        assert holds(runs, epochs=2, retirement=None)
    # Runs that ended early do not hinder a retirement, whatever it is, and no one is followed further than it was.
    cut = retire(unmarked, at(1))
    assert cut.lengths.tolist() == [1, 2, 4]
    assert retire(unmarked, at(5)).lengths.tolist() == [2, 2, 4]
    assert retire(unmarked, at(5)).ended_early.tolist() == [True, True, False]
    with pytest.raises(
        InputError, match=r"retired at test_metric above 3, and not all runs followed to test_metric above 5"
    ):
        retire(marked, at(5))
    both = concatenate([unmarked, record(np.ones((1, 4)), run=[9], meta={"retirement": at(7).to_dict()})])
    assert both.lengths.tolist() == [2, 2, 4, 4]
    assert both.retirement is None


def test_what_a_record_holds() -> None:
    whole = record([[1, 3, 2, 0], [0, 1, 1, 2]])
    hard = retire(whole, at(3))
    assert hard.lengths.tolist() == [2, 4]
    assert holds(whole, epochs=4, retirement=None)
    assert not holds(whole, epochs=5, retirement=None)
    assert not holds(hard, epochs=4, retirement=None)
    assert holds(hard, epochs=2, retirement=None)
    for easier, enough in ((1, True), (3, True), (3.5, False)):
        assert holds(hard, epochs=4, retirement=at(easier)) == enough
    assert not holds(hard, epochs=4, retirement=at(3, metric="f1"))
    assert not holds(hard, epochs=5, retirement=at(1))
    with pytest.raises(
        InputError, match=r"retired at test_metric above 3, and not all runs followed to test_metric above 3\.5"
    ):
        retire(hard, at(3.5))


def test_a_store_shows_all_runs_as_if_retired_where_it_was_asked_for(tmp_path: Path) -> None:
    # Runs 0 and 1 were trained to the end, 2 and 3 to a harder threshold, and longer than asked for.
    target = at(12).to_dict()
    folder = store(tmp_path, shards={0: 4, 2: 6}, runs=4, epochs=4, retired={2: 24}, retirement=target)
    whole = read_store(folder)
    expected = [[1, 2, 3, 4], [11, 12, np.nan, np.nan], [21, np.nan, np.nan, np.nan], [31, np.nan, np.nan, np.nan]]
    np.testing.assert_array_equal(whole.metric(), expected)
    assert whole.retirement == at(12)


@pytest.mark.parametrize(
    ("epochs", "threshold", "n_held"),
    [(4, None, 2), (4, 24, 4), (5, 25, 2), (3, None, 2), (2, 11, 4), (7, 1, 0)],
    ids=["not retired", "as hard", "harder", "fewer epochs, not retired", "easier", "more epochs"],
)
def test_a_store_whose_runs_were_retired_too_early_is_not_trained(
    tmp_path: Path, epochs: int, threshold: float | None, n_held: int
) -> None:
    # Run 2 leaves after epoch 4, run 3 after epoch 1.
    more = {} if threshold is None else {"retirement": at(threshold).to_dict()}
    folder = store(tmp_path, shards={0: 6, 2: 6}, runs=4, epochs=epochs, retired={2: 24}, **more)
    if n_held == 4:
        assert read_store(folder).n_runs == 4
    else:
        with pytest.raises(InputError, match=f"{n_held} of 4 runs are trained to epoch {epochs}"):
            read_store(folder)


def test_shards_nobody_left_early_belong_together_whatever_they_were_asked_for(tmp_path: Path) -> None:
    whole = read_store(store(tmp_path, shards={0: 3, 2: 3}, runs=4, epochs=3, retired={2: 99}))
    assert whole.n_trained == 12
    assert whole.retirement is None


# Laws

finite = st.floats(allow_nan=False, allow_infinity=False)
metas = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=5) | st.none() | st.booleans(), max_size=3
)


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


grids = nps.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=st.integers(0, 4))


@given(values=grids, threshold=st.integers(0, 5), more=st.integers(0, 2), epochs=st.integers(1, 6))
def test_retiring_twice_or_of_a_shorter_record_is_retiring_once(
    values: Any, threshold: int, more: int, epochs: int
) -> None:
    whole, epochs = record(values), min(epochs, values.shape[1])
    once = retire(whole, at(threshold))
    again = retire(retire(whole, at(threshold + more)), at(threshold))
    np.testing.assert_array_equal(again.metric(), once.metric())
    np.testing.assert_array_equal(again.lengths, once.lengths)
    early, late = retire(whole.head(epochs=epochs), at(threshold)), once.head(epochs=epochs)
    np.testing.assert_array_equal(early.metric(), late.metric())
    np.testing.assert_array_equal(early.lengths, late.lengths)
    parts = [retire(record([row], run=[label]), at(threshold)) for label, row in enumerate(values)]
    np.testing.assert_array_equal(concatenate(parts).lengths, once.lengths)


@given(values=grids, data=st.data(), threshold=st.integers(0, 5))
def test_a_shard_keeps_the_end_of_every_run(
    tmp_path_factory: pytest.TempPathFactory, values: Any, data: st.DataObject, threshold: int
) -> None:
    n_epochs = values.shape[1]
    ends = np.array(data.draw(st.lists(st.integers(1, n_epochs), min_size=len(values), max_size=len(values))))
    before = record(np.where(np.arange(n_epochs) < ends[:, None], values, np.nan), followed=ends)
    retired = retire(before, at(threshold))
    assert ((retired.lengths <= ends) & (retired.lengths >= 1)).all()
    assert (retired.ended_early <= before.ended_early).all()
    for runs in (before, retired):
        path = tmp_path_factory.mktemp("shard") / "runs.parquet"
        write_shard(path, runs)
        after = read_shard(path)
        assert (after.n_epochs, after.meta) == (runs.n_epochs, runs.meta)
        np.testing.assert_array_equal(after.lengths, runs.lengths)
        np.testing.assert_array_equal(after.ended_early, runs.ended_early)
        np.testing.assert_array_equal(after.metric(), runs.metric())
        assert pq.read_metadata(path).num_rows == runs.n_trained


@given(values=grids, data=st.data(), threshold=st.integers(0, 5))
def test_passages_are_censored_at_the_last_epoch(values: Any, data: st.DataObject, threshold: int) -> None:
    n_epochs = values.shape[1]
    ends = np.array(data.draw(st.lists(st.integers(1, n_epochs), min_size=len(values), max_size=len(values))))
    cut = record(np.where(np.arange(n_epochs) < ends[:, None], values, np.nan), followed=ends)
    time, observed = passages(cut, at(threshold))
    for row, end, t, reached in zip(values, ends, time, observed, strict=True):
        first = [epoch for epoch in range(1, end + 1) if row[epoch - 1] >= threshold]
        assert (t, reached) == ((first[0], True) if first else (end, False))


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


# Targets


def test_a_target_is_a_number_or_names_its_metric() -> None:
    runs = record(f1=SMALL)
    assert Target.of(np.float32(72)) == Target.of(72) == Target(72.0, "above", None)
    assert Target.of(at(0.3)) == at(0.3)
    assert Target(0.3).on(runs) == at(0.3)
    assert Target(0.3, metric="f1").on(runs).name == "f1"
    with pytest.raises(InputError, match="no metric 'loss'"):
        Target(0.3, metric="loss").on(runs)
    with pytest.raises(InputError, match=r"target metric above 0\.3: name the metric"):
        _ = Target(0.3).name
    assert retire(runs, Target(0.3)).retirement == at(0.3)  # the record names it
    assert passages(runs, Target(0.3))[0].tolist() == [3, 1]


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
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
        (lambda: record(followed=[3]), "followed must hold, for each of 2 runs, 1 to 3 epochs"),
        (lambda: record(followed=[3, 0]), "followed must hold"),
        (lambda: record(followed=[3, 4]), "followed must hold"),
        (lambda: record(followed=[3.0, 3.0]), "followed must hold"),
        (lambda: record(followed=[3, 2]), "'test_metric' has values after the last epoch that its run was followed to"),
        (
            lambda: record([[1, np.nan]], followed=[1], meta={"retirement": at(2, metric="f1").to_dict()}),
            "runs were retired at f1 above 2, and without this metric it cannot be told which; keep it in the record",
        ),
        (lambda: record([[np.nan, 5, np.nan]], followed=[2]).metric(), "of run 0 at epoch 1 is nan; finite numbers"),
        (
            lambda: record([[np.nan, 5, np.nan]], followed=[2], meta={"retirement": at(5).to_dict()}).metric(),
            "of run 0 at epoch 1 is nan; finite numbers are needed",
        ),
        (
            lambda: concatenate([retire(record(), at(0.2)), retire(record(run=[5, 6]), at(0.3))]),
            r"retired differently \(test_metric above 0\.2 and test_metric above 0\.3\) cannot be put together",
        ),
        (lambda: concatenate([record(), retire(record(run=[5, 6]), at(0.3))]), "retired differently"),
        (lambda: retire(record(), at(0.2, metric="f1")), "no metric 'f1'; there is test_metric"),
        (lambda: at(float("nan")), "threshold nan is not possible; a finite number is needed"),
        (lambda: Target.from_dict({"threshold": "high", "direction": "above", "metric": "m"}), "threshold 'high'"),
        (lambda: Target.from_dict({"threshold": 1, "direction": "up", "metric": "m"}), "choose above or below"),
        (lambda: Target.from_dict({"threshold": 1}), "threshold, direction and metric are needed"),
        (lambda: Target.from_dict({"threshold": 1, "direction": "above", "metric": None}), "name the metric"),
    ],
)
def test_a_record_is_checked_when_it_is_made(make: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
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
        {"run": [0, 0, 1], "epoch": [1, 2, 2], "acc": [0.1, 0.2, 0.3]},
        {"run": [0], "epoch": [0], "acc": [0.5]},
        {"run": [0, 0], "epoch": [1, 3], "acc": [0.5, 0.6]},
        {"run": [0, 1], "epoch": [1, 2], "acc": [0.5, 0.6]},
        {"run": pa.array([], pa.int64()), "epoch": pa.array([], pa.int32()), "acc": pa.array([], pa.float64())},
        {"run": [0], "epoch": [1], "acc": ["high"]},
    ],
)
def test_a_shard_with_other_content_is_damaged(tmp_path: Path, columns: dict[str, Any]) -> None:
    path = tmp_path / "odd.parquet"
    pq.write_table(pa.table(columns).replace_schema_metadata({b"fptlib": b"{}"}), path)
    with pytest.raises(InputError, match=r"odd\.parquet: damaged"):
        read_shard(path)


@pytest.mark.parametrize("name", ["test_metric", "run"])
def test_an_altered_number_is_found(tmp_path: Path, name: str) -> None:
    path = store(tmp_path, shards={0: 3, 2: 3}, runs=4, epochs=3) / "runs-00002-00003.parquet"
    table = pq.ParquetFile(path).read()
    values = table[name].to_numpy() + (name == "run")
    values[4] += name == "test_metric"
    pq.write_table(table.set_column(table.column_names.index(name), name, pa.array(values)), path)
    message = r"runs-00002-00003\.parquet: damaged \(its (checksum differs|runs are not 2 to 3)\)$"
    with pytest.raises(InputError, match=message):
        read_shard(path, first=2)
    with pytest.raises(InputError, match=message if name == "test_metric" else "runs are missing or repeated"):
        read_store(tmp_path)


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
    ("content", "message"),
    [
        (None, "No such file or directory; a store has this file"),
        ("{", "damaged"),
        (json.dumps([1]), "not a store of format 1"),
        (json.dumps({"format": 2}), "not a store of format 1"),
        (json.dumps({"format": 1, "digest": "d"}), "damaged"),
        (json.dumps({"format": 1, "digest": "d", "runs": "many", "epochs": 3}), "damaged"),
        (json.dumps({"format": 1, "digest": "d", "runs": 0, "epochs": 3}), "damaged"),
        (json.dumps({"format": 1, "digest": "d", "runs": 2, "epochs": 3, "retirement": {"threshold": 1}}), "damaged"),
    ],
)
def test_a_damaged_store_file_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=rf"store\.json: .*{message}"):
        read_store_file(tmp_path)
