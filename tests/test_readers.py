"""Foreign logs: what is read is what was written, and every fault is one line with file and line number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib import readers
from fptlib.errors import InputError
from fptlib.readers import Format, Log, Series, read, register
from fptlib.trajectories import Target, Trajectories, retire, write_shard
from fptlib.trajectories.store import write_store_file


def folder(path: Path, **files: str) -> Path:
    """Write CSV files: name without ending, content with semicolons for line ends."""
    path.mkdir(exist_ok=True)
    for name, text in files.items():
        (path / f"{name}.csv").write_text(text.replace(";", "\n"))
    return path


def table(path: Path, text: str) -> Path:
    """Write one file, semicolons for line ends."""
    path.write_text(text.replace(";", "\n"))
    return path


def write_small_store(path: Path) -> Path:
    """Write a store of one run and two epochs."""
    one = Trajectories(metrics={"test_metric": np.array([[0.1, 0.2]])}, run=np.array([0]), meta={"digest": "d"})
    write_shard(path / "runs-00000-00000.parquet", one)
    write_store_file(path, {"spec": {}, "digest": "d", "runs": 1, "epochs": 2})
    return path


# Closed forms


def test_a_folder_of_csv_files_is_one_run_a_file(tmp_path: Path) -> None:
    runs = read(folder(tmp_path, b="acc,loss;0.1,2;0.2,1;", a="acc,loss;0.3,4;0.4,3"))
    assert set(runs.metrics) == {"acc", "loss"}
    assert runs.meta["source"] == str(tmp_path)
    np.testing.assert_array_equal(runs.metric("acc"), [[0.3, 0.4], [0.1, 0.2]])
    np.testing.assert_array_equal(runs.metric("loss"), [[4, 3], [2, 1]])


def test_labels_are_the_last_numbers_of_the_names_where_these_differ(tmp_path: Path) -> None:
    named = folder(tmp_path / "named", test_acc_10="a;1", test_acc_9="a;2", v2_seed3="a;3")
    np.testing.assert_array_equal(read(named).run, [10, 9, 3])
    np.testing.assert_array_equal(read(named).metric()[:, 0], [1, 2, 3])
    same = folder(tmp_path / "same", a_lr1="a;1", b_lr1="a;2")
    np.testing.assert_array_equal(read(same).run, [0, 1])
    without = folder(tmp_path / "without", x="a;1", run_7="a;2")
    np.testing.assert_array_equal(read(without).run, [0, 1])
    huge = folder(tmp_path / "huge", run_20241122053300123456="a;1", run_20241122053300123457="a;2")
    np.testing.assert_array_equal(read(huge).run, [0, 1])  # beyond 64 bits


def test_csv_files_may_have_marks_blank_lines_spaces_and_an_epoch_column(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes("\ufeffepoch, acc\r\n1,0.5\r\n\r\n2, 0.6 \r\n".encode())
    runs = read(tmp_path)
    assert set(runs.metrics) == {"acc"}
    np.testing.assert_array_equal(runs.metric(), [[0.5, 0.6]])


def test_runs_of_different_lengths_end_where_they_end(tmp_path: Path) -> None:
    for path in (
        folder(tmp_path / "logs", run_2="acc;1;2;3", run_5="acc;4", run_9="acc;5;6;7"),
        table(tmp_path / "t.csv", "run,epoch,acc;2,1,1;2,2,2;2,3,3;5,1,4;9,1,5;9,2,6;9,3,7;"),
    ):
        runs = read(path)
        np.testing.assert_array_equal(runs.run, [2, 5, 9])
        np.testing.assert_array_equal(runs.metric(), [[1, 2, 3], [4, np.nan, np.nan], [5, 6, 7]])
        assert runs.ended_early.tolist() == [False, True, False]
        note = runs.meta["notes"][-1]
        assert note.startswith("1 of 3 runs end before epoch 3 (")
        assert "at epoch 1): each is censored at its own end" in note


def test_sub_folders_with_a_file_each_are_runs(tmp_path: Path) -> None:
    for seed in (11, 12):
        (tmp_path / f"seed_{seed}").mkdir()
        (tmp_path / f"seed_{seed}" / "log.csv").write_text(f"acc\n{seed}\n")
    runs = read(tmp_path)
    np.testing.assert_array_equal(runs.run, [11, 12])
    assert runs.meta["names"] == {"11": "seed_11", "12": "seed_12"}
    (note,) = runs.meta["notes"]
    assert note == (
        f"no column counts epochs, so rows are counted as epochs ({tmp_path / 'seed_11' / 'log.csv'}; 2 of 2 files)"
    )


def test_columns_of_tools_and_of_text_are_no_metrics(tmp_path: Path) -> None:
    text = ",_runtime,_step,epoch,note,acc;0,3.1,7,1,warm,0.5;1,4.2,15,2,,0.6;"
    runs = read(folder(tmp_path, a=text))
    assert set(runs.metrics) == {"acc"}
    assert runs.metric().tolist() == [[0.5, 0.6]]


def test_a_tidy_table_may_name_its_runs_and_carry_other_columns(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "run,epoch,acc,note;mary,2,0.2,x;adam,1,0.3,y;mary,1,0.1,x;adam,2,0.4,y;")
    runs = read(path)
    np.testing.assert_array_equal(runs.run, [0, 1])  # in the order of the names
    np.testing.assert_array_equal(runs.metric(), [[0.3, 0.4], [0.1, 0.2]])


def test_a_parquet_table_may_keep_run_and_epoch_in_its_index(tmp_path: Path) -> None:
    frame = pd.DataFrame({"run": [4, 4], "epoch": [1, 2], "acc": [0.1, 0.2]}).set_index(["run", "epoch"])
    frame.to_parquet(tmp_path / "indexed")
    runs = read(tmp_path / "indexed")
    assert runs.run == [4]
    assert runs.metric().tolist() == [[0.1, 0.2]]


def test_a_folder_that_holds_one_store_stands_for_it(tmp_path: Path) -> None:
    write_small_store(tmp_path / "abc")
    np.testing.assert_array_equal(read(tmp_path).metric(), [[0.1, 0.2]])
    np.testing.assert_array_equal(read(tmp_path / "abc").metric(), [[0.1, 0.2]])
    write_small_store(tmp_path / "def")
    with pytest.raises(InputError, match="holds 2 stores; name one of abc, def"):
        read(tmp_path)


# Laws


@given(data=st.data(), n_runs=st.integers(1, 4), n_epochs=st.integers(1, 4), parquet=st.booleans())
def test_the_order_of_rows_does_not_matter_and_no_digit_is_lost(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, n_runs: int, n_epochs: int, parquet: bool
) -> None:
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    size = n_runs * n_epochs
    values = np.array(data.draw(st.lists(numbers, min_size=size, max_size=size))).reshape(n_runs, n_epochs)
    labels = sorted(data.draw(st.sets(st.integers(0, 10**9), min_size=n_runs, max_size=n_runs)))
    frame = pd.DataFrame(
        {
            "run": np.repeat(labels, n_epochs),
            "epoch": np.tile(np.arange(1, n_epochs + 1), n_runs),
            "acc": values.ravel(),
        }
    )
    frame = frame.iloc[data.draw(st.permutations(range(size)))]
    path = tmp_path_factory.mktemp("tidy") / "table"  # the kind is told from the content, not from the name
    frame.to_parquet(path) if parquet else frame.to_csv(path, index=False)
    runs = read(path)
    np.testing.assert_array_equal(runs.run, labels)
    np.testing.assert_array_equal(runs.metric(), values)


# Parity


def test_folder_csv_table_parquet_table_and_store_give_the_same_numbers(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 4))
    whole = Trajectories(metrics={"test_metric": values}, run=np.arange(3), meta={"digest": "d"})
    write_shard(tmp_path / "store" / "runs-00000-00002.parquet", whole)
    write_store_file(tmp_path / "store", {"spec": {}, "digest": "d", "runs": 3, "epochs": 4})
    tidy = pd.DataFrame(
        {"run": np.repeat(np.arange(3), 4), "epoch": np.tile(np.arange(1, 5), 3), "test_metric": values.ravel()}
    )
    tidy.to_csv(tmp_path / "tidy.csv", index=False)
    tidy.to_csv(tmp_path / "packed.csv.gz", index=False)
    tidy.to_parquet(tmp_path / "tidy.parquet")
    (tmp_path / "folder").mkdir()
    for run, series in enumerate(values):
        pd.DataFrame({"test_metric": series}).to_csv(tmp_path / "folder" / f"run_{run}.csv", index=False)
    for name in ("store", "tidy.csv", "packed.csv.gz", "tidy.parquet", "folder", "store/runs-00000-00002.parquet"):
        np.testing.assert_array_equal(read(tmp_path / name).metric(), values)
        np.testing.assert_array_equal(read(tmp_path / name).run, [0, 1, 2])


def test_a_store_of_retired_runs_is_read_as_it_was_written(tmp_path: Path) -> None:
    at = Target(0.6, metric="test_metric")
    whole = Trajectories(
        metrics={"test_metric": np.random.default_rng(0).random((5, 7))}, run=np.arange(5), meta={"digest": "d"}
    )
    cut = retire(whole, at)
    write_shard(tmp_path / "runs-00000-00004.parquet", cut)
    write_store_file(tmp_path, {"spec": {}, "digest": "d", "runs": 5, "epochs": 7, "retirement": at.to_dict()})
    runs = read(tmp_path)
    np.testing.assert_array_equal(runs.metric(), cut.metric())
    assert (runs.n_trained, runs.retirement) == (cut.n_trained, at)
    assert runs.n_trained < whole.n_trained


# What is refused


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "nothing in this folder that can be read"),
        ({"a": "acc;1;2,3;"}, "a.csv, line 3: 2 values, but the header names 1 columns"),
        ({"a": "acc,loss;1,2;;3;4,5;"}, "a.csv, line 4: 1 values, but the header names 2 columns"),
        ({"a": "acc;0.5;high;"}, "a.csv, line 3: acc is 'high', a number is needed"),
        (
            {"a": "acc;0.5;", "b": 'acc;;"";'},
            "b.csv, line 3: acc is nan at epoch 1, a finite number is needed; if the run",
        ),
        ({"a": "acc,loss;1,2;,;"}, "a.csv, line 3: acc is nan at epoch 2, a finite number is needed; if the run"),
        ({"a": "acc,acc;1,2;"}, "a.csv, line 1: two columns are named 'acc'"),
        ({"a": ""}, "a.csv: empty; expected a header line"),
        ({"a": "acc;"}, "a.csv: no rows below the header line"),
        ({"a": "0.1;0.2;"}, "a.csv, line 1: a number where the names of the columns are expected"),
        ({"a": "acc;1;", "b": "loss;1;"}, "b.csv: never logs acc, which"),
        ({"a": "epoch,acc;1,1;,2;"}, "a.csv, line 3: acc is logged at no epoch"),
        ({"a": "epoch,acc;1,1;x,2;"}, "a.csv, line 3: epoch is 'x', a number is needed"),
        ({"a": "epoch;1;"}, "a.csv: no column of numbers that could be a metric"),
        ("", "empty; expected a header line"),
        ("run,epoch,acc;", "no rows below the header line"),
        ("epoch,acc;1,2;1,3;", "acc is logged more than once at epoch 1, 2 and 3; keep the value that counts"),
        ("acc,loss;1,2;", "no column 'epoch'; there is acc, loss"),
        ("run,acc;1,2;", "no column 'epoch'; there is run, acc"),
        ("run,step,acc;1,2,3;", "acc is logged once, which does not tell how many steps make an epoch; say so by"),
        ("run,epoch,acc;0,1,0.5;0,x,0.5;", "line 3: epoch is 'x', a number is needed"),
        ("run,epoch,acc;0,1,0.5;,1,0.5;", "line 3: no run given"),
        ("run,epoch,acc;0,1,1;0,3,1;", "line 3: acc goes from epoch 1 to 3, and is needed each epoch; where it is"),
        ("run,epoch,acc;0,1,1;0,1,2;", "line 3: acc is logged more than once at epoch 1, 1 and 2; keep the value"),
        ("run,epoch,acc;4,1,0.5;4,2;4,3,0.6", "line 3: 2 values, but the header names 3 columns"),
        (
            "run,epoch,acc;4,1,0.5;4,2,;",
            "line 3: acc is nan at epoch 2, a finite number is needed; if the run diverged",
        ),
        ("run,epoch;0,1;", "no column of numbers that could be a metric"),
        ("run,epoch,acc;1,1,high;0,1,low;", "t.csv, line 2: acc is 'high'"),
        ("run,epoch,acc;0,1,0.5;0,2,O.6;", "line 3: acc is 'O.6', a number is needed"),
        ("run,epoch,acc;0,1,0.5;0,2,0.5,9;", "line 3: 4 values, but the header names 3 columns"),
        ("run,epoch,acc;0,1,0.5,;0,2,0.5,;", "line 2: 4 values, but the header names 3 columns"),
    ],
)
def test_faults_of_a_folder_or_table_name_file_and_line(
    tmp_path: Path, files: dict[str, str] | str, message: str
) -> None:
    path = table(tmp_path / "t.csv", files) if isinstance(files, str) else folder(tmp_path / "logs", **files)
    with pytest.raises(InputError) as refused:
        read(path)
    assert message in str(refused.value)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_files_that_are_no_tables_are_refused(tmp_path: Path) -> None:
    for content, message in ((b"PAR1 and no more", "readable table"), (b"\xff\x00run", "text file in UTF-8")):
        (tmp_path / "odd").write_bytes(content)
        with pytest.raises(InputError, match=f"odd: not a {message}"):
            read(tmp_path / "odd")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "odd.csv").write_bytes(b"\xff\x00acc\n1\n")
    with pytest.raises(InputError, match=r"odd\.csv: not a text file in UTF-8"):
        read(tmp_path / "logs")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"r1": "acc,loss;1,2;nan,3;"}, "r1.csv, line 3: acc is nan at epoch 2, a finite number is needed"),
        ({"r1": "acc,loss;1,2;high,3;"}, "r1.csv, line 3: acc is 'high', a number is needed"),
        ({"r1": "acc,loss;1,2;,3;2,4;"}, "r1.csv, line 4: acc goes from epoch 1 to 3, and is needed each epoch"),
        ({"r1": "acc,loss;1,2;", "r2": "loss;4;5;"}, "r2.csv: never logs acc, which"),
        ({"r1": "acc,loss;1,2;,3;,4;"}, "r1.csv: acc ends at epoch 1, while others go on to epoch 3"),
    ],
    ids=["not finite", "a text", "a gap", "never", "ends before the others"],
)
def test_a_metric_with_a_fault_is_refused_when_it_is_asked_for(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    runs = read(folder(tmp_path, **files))
    assert runs.metric("loss")[0, 0] == 2
    with pytest.raises(InputError) as refused:
        runs.metric("acc")
    assert str(refused.value).startswith(f"{tmp_path}/")
    assert message in str(refused.value)
    assert runs.meta["left_out"] == {"acc": str(refused.value)}
    assert f"acc is left out: {refused.value}" in runs.meta["notes"]
    # Nor is the other taken for it.
    with pytest.raises(InputError, match=r"which metric\? name one of loss \(acc left out\)"):
        runs.metric()


def test_nothing_and_a_folder_of_nothing_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(InputError, match=r"nothing in this folder that can be read \(store, MLflow"):
        read(tmp_path)
    with pytest.raises(InputError, match="nowhere: no such file or folder"):
        read(tmp_path / "nowhere")


def test_a_store_counts_epochs_itself(tmp_path: Path) -> None:
    write_small_store(tmp_path)
    for options in ({"axis": "step"}, {"every": 2}):
        with pytest.raises(InputError, match="a store counts epochs itself; leave out axis, every, epoch_zero"):
            read(tmp_path, **options)


# Formats of your own


def test_a_format_of_ones_own_is_tried_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_FORMATS", list(readers._FORMATS))

    def runs_of(_: Path, files: Sequence[Path]) -> list[Log]:
        logs = []
        for file in files:
            values = np.array([float(word) for word in file.read_text().split()])
            metrics = {"acc": Series(values, epoch=np.arange(len(values)), line=np.arange(1, len(values) + 1))}
            logs.append(Log(file, name=file.stem, metrics=metrics))
        return logs

    bare = Format(
        "bare numbers", find=lambda path: sorted(path.glob("*.csv")) if path.name == "bare" else [], read=runs_of
    )
    register(bare)
    assert readers._FORMATS[0] == bare
    runs = read(folder(tmp_path / "bare", run_3="0.1;0.2;0.3", run_7="0.4;0.5"))
    np.testing.assert_array_equal(runs.metric(), [[0.1, 0.2, 0.3], [0.4, 0.5, np.nan]])
    assert (runs.run.tolist(), runs.meta["format"]) == ([3, 7], "bare numbers")
    assert read(folder(tmp_path / "other", a="acc;1")).meta["format"] == "tables"
    with pytest.raises(InputError, match=r"bare/a\.csv, line 2: acc is inf at epoch 1"):
        read(folder(tmp_path / "bare", a="1;inf"))
    with pytest.raises(InputError, match="a format named 'bare numbers' is there"):
        register(bare)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"value": np.ones(2)}, "needs the epoch or the step"),
        ({"value": np.ones(2), "epoch": np.ones(3)}, r"has 2 values, but epoch has shape \(3,\)"),
        ({"value": np.ones(2), "step": np.ones(2), "line": np.ones(1, dtype=int)}, r"but line has shape \(1,\)"),
    ],
)
def test_a_series_is_checked_when_it_is_made(arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Series(**arrays)


def test_the_format_that_covers_most_runs_is_read_and_of_equals_the_one_that_counts(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"run_{k}").mkdir()
        (tmp_path / f"run_{k}" / "metrics.csv").write_text("epoch,acc\n1,0.5\n2,0.6\n")
    beside = tmp_path / "run_1" / "debug.jsonl"
    beside.write_text('{"step": 0, "loss": 1}\n{"step": 1, "loss": 0.5}\n')
    runs = read(tmp_path)
    assert (runs.n_runs, [*runs.metrics]) == (3, ["acc"])
    assert "left out, as no part of what is read as tables: run_1/debug.jsonl" in runs.meta["notes"]
    for k in range(3):
        (tmp_path / f"run_{k}" / "history.json").write_text('{"lr": [0.1, 0.1]}')
    assert [*read(tmp_path).metrics] == ["acc"]
    for k in range(3):
        (tmp_path / f"run_{k}" / "log.jsonl").write_text('{"epoch": 1, "top1": 0.5}\n{"epoch": 2, "top1": 0.6}\n')
        (tmp_path / f"run_{k}" / "metrics.csv").write_text("image,label\n7,1\n8,0\n")
        (tmp_path / f"run_{k}" / "history.json").unlink()
    beside.unlink()
    assert [*read(tmp_path).metrics] == ["top1"]
