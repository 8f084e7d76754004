"""Tables as people have them: progress columns, cells that only look like numbers, separators, faults of a killed job, folders."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fptlib.errors import InputError
from fptlib.readers import read
from fptlib.readers.tables import meaning

VALUES = [0.5, 0.6, 0.7, 0.8]
RESUMED = [1, 2, 3, 2, 3, 4]  # epochs; of what is logged twice the last counts
EPOCHS = (
    "epoch,Epoch,EPOCH,# epoch,#epoch,Epochs,ep,epoch_num,n_epoch,current_epoch,Epoch #,epoch (from 1),round,server_round,"
    "training_iteration,generation"
)
STEPS = "step,Step,_step,global_step,globalStep,iteration,Iter,it,n_iter,num_updates,batch,total_timesteps,samples_seen"
CELL = {1: "0.5", 2: "0.6", 3: "0.7", 4: "0.8"}


def run(path: Path, text: str) -> Path:
    """Write one file, ``/`` for line ends, in a folder of its own, which is returned."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "run_0.csv").write_text(text.replace("/", "\n"), encoding="utf-8")
    return path


def resumed(header: str, row: Callable[[int], str]) -> str:
    return "/".join([header, *map(row, RESUMED)]) + "/"


# Which columns count


@pytest.mark.parametrize("name", EPOCHS.split(","))
def test_epochs_are_known_by_many_names(tmp_path: Path, name: str) -> None:
    runs = read(run(tmp_path, resumed(f"{name},acc", lambda k: f"{k},{CELL[k]}")))
    assert runs.metric().tolist() == [VALUES]
    assert "resumed" in runs.meta["notes"][0]
    gaps = f"{name},acc/" + "/".join(f"{5 * k},{CELL[k]}" for k in CELL)
    with pytest.raises(InputError, match=r"goes from epoch 5 to 10, and is needed each epoch; .* every=5 makes"):
        read(run(tmp_path, gaps))
    assert read(run(tmp_path, gaps), every=5).metric().tolist() == [VALUES]


@pytest.mark.parametrize("name", STEPS.split(","))
def test_steps_are_known_by_many_names_and_find_their_unit(tmp_path: Path, name: str) -> None:
    runs = read(run(tmp_path, resumed(f"acc,{name}", lambda k: f"{CELL[k]},{100 * k}")))
    assert runs.metric().tolist() == [VALUES]
    assert (runs.meta["axis"], runs.meta["every"]) == ("step", 100)


@pytest.mark.parametrize("name", ["epoch_time", "steps_per_second", "val_acc", "batch_size", "it/s", "epoch_loss"])
def test_names_of_other_things_do_not_count(name: str) -> None:
    assert meaning(name) is None


@pytest.mark.parametrize(
    "cell", ["{}/60", "[{}/60]", "Epoch {}", "Epoch [00{}/060]:", "{} of 60", "{}.0", '"epoch {}"'], ids=str
)
def test_an_epoch_may_be_written_as_on_a_console(tmp_path: Path, cell: str) -> None:
    text = "\n".join(["epoch,acc", *(f"{cell.format(k)},{CELL[k]}" for k in RESUMED)])
    (tmp_path / "run_0.csv").write_text(text)
    assert read(tmp_path).metric().tolist() == [VALUES]


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "n"])
def test_whole_numbers_at_equal_distances_are_taken_for_epochs_where_no_name_tells(tmp_path: Path, name: str) -> None:
    runs = read(run(tmp_path, resumed(f"{name},acc", lambda k: f"{k},{CELL[k]}")))
    assert runs.metric().tolist() == [VALUES]
    assert any(note.endswith(f"to count epochs ({tmp_path / 'run_0.csv'})") for note in runs.meta["notes"])
    with pytest.raises(InputError, match="goes from epoch 5 to 10"):
        read(run(tmp_path, f"{name},acc/5,.5/10,.6/15,.7/"))
    beside = read(run(tmp_path, f"{name},epoch,acc/0,1,.5/1,2,.6/2,3,.7/"))  # the index of the rows
    assert beside.metric("acc").tolist() == [VALUES[:3]]


def test_rows_are_counted_only_where_nothing_else_can_be(tmp_path: Path) -> None:
    runs = read(run(tmp_path, "time,acc/30,.5/60,.6/90,.7/"))
    assert runs.metric("acc").tolist() == [VALUES[:3]]
    assert runs.meta["notes"][0].startswith("no column counts epochs, so rows are counted as epochs (")
    with pytest.raises(InputError, match="acc goes from epoch 2 to 5, and is needed each epoch"):
        read(run(tmp_path, "n,acc/1,.5/2,.6/5,.7/10,.8/"))


@pytest.mark.parametrize(
    "text",
    [
        "epoch,batch,acc/1,0,/1,1,.5/2,0,/2,1,.6/3,0,/3,1,.7/",  # batches start again in each epoch
        "round,epoch,acc/1,5,.5/2,5,.6/3,5,.7/",  # five epochs in each round
        "epoch,total_epochs,acc/1,3,.5/2,3,.6/3,3,.7/",
        "step,global_step,acc/0,0,/1,1,.5/0,2,/1,3,.6/0,4,/1,5,.7/",
    ],
)
def test_of_several_columns_the_one_that_goes_on_counts(tmp_path: Path, text: str) -> None:
    assert read(run(tmp_path, text)).metric("acc").tolist() == [VALUES[:3]]


# Cells


@pytest.mark.parametrize(
    ("header", "cell"),
    [
        ("epoch,acc", "{point}%"),
        ("epoch,acc", "{point} %"),
        ("epoch,acc", '"0,{digits}"'),
        ("epoch;acc", "0,{digits}"),
        ("epoch\tacc", "0,{digits}"),
        ("epoch,acc", "[0.{digits}]"),
    ],
)
def test_numbers_are_read_from_text_and_a_note_says_so(tmp_path: Path, header: str, cell: str) -> None:
    rows = [f"{k}{header[5]}{cell.format(point=f'9{k}.14', digits=f'9{k}14')}" for k in (1, 2)]
    (tmp_path / "a.csv").write_text("\n".join([header, *rows]))
    runs = read(tmp_path)
    assert runs.metric("acc").tolist() == [[0.9114, 0.9214]]
    assert any(re.match(r"acc is read from text \(.* as 0.9114, .*a\.csv, line 2\)", n) for n in runs.meta["notes"])


@pytest.mark.parametrize(
    "cell",
    [
        "tensor(0.9114)",
        "tensor(0.9114, device='cuda:0')",
        "\"tensor([0.9114], device='cuda:0', grad_fn=<NllLossBackward0>)\"",
        "np.float64(0.9114)",
        '"array([0.9114], dtype=float32)"',
        "tf.Tensor(0.9114, shape=(), dtype=float32)",
    ],
)
def test_numbers_are_read_from_tensors(tmp_path: Path, cell: str) -> None:
    runs = read(run(tmp_path, f"epoch,acc,lr/1,{cell},.1/2,{cell},.1/"))
    assert runs.metric("acc").tolist() == [[0.9114, 0.9114]]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("0.9±0.02", "acc is '0.9±0.02', a number is needed"),
        ("9/10", "acc is '9/10', a number is needed"),
        ('"1,234"', "acc is '1,234', a number is needed, with a point for its decimals"),
        ("90%", "line 2: acc is '0.5', a number is needed, with % as in other cells"),
    ],
)
def test_a_cell_that_may_be_meant_as_a_number_is_named(tmp_path: Path, cell: str, message: str) -> None:
    (tmp_path / "a.csv").write_text(f"epoch,loss,acc\n1,2,0.5\n2,1,{cell}\n")
    with pytest.raises(InputError, match=re.escape(message)):
        read(tmp_path).metric("acc")
    (tmp_path / "a.csv").write_text("epoch,loss,when\n1,2,2024-01-01\n2,1,2024-01-02\n")
    runs = read(tmp_path)
    assert runs.metric().tolist() == [[2, 1]]
    assert f"columns of text are left out: when ({tmp_path / 'a.csv'})" in runs.meta["notes"]


@pytest.mark.parametrize("blank", ["", "NA", "nan", "None", "-"])
def test_what_was_not_evaluated_is_a_gap(tmp_path: Path, blank: str) -> None:
    cells = [f"{k},{CELL[k // 2] if k % 2 == 0 else blank},{k}.5" for k in range(1, 10)]  # and none is due at 9
    runs = read(run(tmp_path, "/".join(["epoch,acc,loss", *cells])), every=2, metric="acc")
    assert runs.metric().tolist() == [VALUES]
    before = read(run(tmp_path, f"epoch,train_loss,acc/0,{blank},.1/1,.9,.5/2,.8,.6/3,.7,.7/"))  # untrained at 0
    assert before.metric("acc").tolist() == [VALUES[:3]]


# Files


@pytest.mark.parametrize(
    "text",
    [
        "epoch\tacc/1\t.5/2\t.6/",
        "epoch|acc/1|.5/2|.6/",
        "epoch|acc|note/1|.5|/2|.6|/",
        "epoch   acc/    1    .5/    2    .6/",
        "# made by hand/epoch,acc/1,.5/# resumed/2,.6/",
        "# epoch acc/1.0e+00 5.0e-01/2.0e+00 6.0e-01/",
        "\ufeffepoch,acc/1,.5//2,.6/",
        "epoch,acc,/1,.5,/2,.6,/",
        "epoch,acc/1,.5/epoch,acc/2,.6/",
        "epoch,acc/1,.5/2,.6/3",
    ],
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_one_table_has_many_dresses(tmp_path: Path, text: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / "a.csv").write_bytes(pack(text.replace("/", "\n").encode()))
    assert read(tmp_path).metric().tolist() == [VALUES[:2]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch,acc/1,.5/epoch,acc/2,.6/", "a header line stands again; what follows belongs to the same run"),
        ("epoch,acc/1,.5/2", "the last line was cut, and is left out"),
    ],
)
def test_what_was_left_out_of_a_file_is_noted(tmp_path: Path, text: str, message: str) -> None:
    notes = read(run(tmp_path, text)).meta["notes"]
    assert any(note.startswith(f"{message} ({tmp_path / 'run_0.csv'}, line 3") for note in notes)


# Folders


def test_hidden_files_are_none_and_other_logs_are_named(tmp_path: Path) -> None:
    for name in ("a/log.tsv", "b/log.csv.gz", "a/.ipynb_checkpoints/log.csv", "a/._log.csv", "a/old/config.csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = b"name\tvalue\nrate\t1\n" if "config" in name else b"epoch\tacc\n1\t.5\n"
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    pd.DataFrame({"acc": [0.5, 0.6]}, index=[1, 2]).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "c").mkdir()
    (tmp_path / "c.parquet").rename(tmp_path / "c" / "log.parquet")
    runs = read(tmp_path)
    assert [*runs.meta["names"].values()] == ["a", "b", "c"]
    assert "left out, as no part of what is read as tables: a/old/config.csv" in runs.meta["notes"]


def test_the_files_of_a_run_are_joined_where_it_is_clear_what_they_are(tmp_path: Path) -> None:
    texts = {
        "parts": {"train": "epoch,acc/1,.9/", "val": "epoch,acc/1,.5/"},
        "levels": {"epochs": "epoch,acc/1,.5/", "batches": "epoch,batch,loss/1,0,2/1,1,1/"},
    }
    for case, files in texts.items():
        for k in range(2):
            (tmp_path / case / f"run_{k}").mkdir(parents=True)
            for name, text in files.items():
                (tmp_path / case / f"run_{k}" / f"{name}.csv").write_text(text.replace("/", "\n"))
    assert read(tmp_path / "parts").metric("val/acc").tolist() == [[0.5], [0.5]]
    runs = read(tmp_path / "levels")
    assert runs.metric("acc").tolist() == [[0.5], [0.5]]
    assert any("batches.csv" in note for note in runs.meta["notes"])
    for k in range(2):
        (tmp_path / "levels" / f"run_{k}" / "old.csv").write_text("epoch,acc\n1,.4\n")
    with pytest.raises(
        InputError, match=r"old\.csv: has the metrics of run run_0 that .*epochs\.csv has; keep the file"
    ):
        read(tmp_path / "levels")


def test_runs_at_different_depths_are_read_and_a_note_says_so(tmp_path: Path) -> None:
    for name in ("a", "more/b"):
        run(tmp_path / name, "epoch,acc/1,.5/")
    runs = read(tmp_path)
    assert [*runs.meta["names"].values()] == ["a", "more/b"]
    assert f"read together, {tmp_path}/a/run_0.csv and {tmp_path}/more/b/run_0.csv" in runs.meta["notes"][0]


def test_downloads_from_tensorboard_name_run_and_metric(tmp_path: Path) -> None:
    for part, value in (("train", 0.9), ("validation", 0.5)):
        for k in range(2):
            path = tmp_path / f"run-seed_{k}_{part}-tag-epoch_acc.csv"
            path.write_text(f"Wall time,Step,Value\n1700000000.0,0,{value}\n1700000001.0,1,{value + 0.01}\n")
    runs = read(tmp_path)
    assert {*runs.metrics} == {"train/epoch_acc", "validation/epoch_acc"}
    assert runs.metric("validation/epoch_acc").tolist() == [[0.5, 0.51]] * 2
    assert runs.run.tolist() == [0, 1]


# Tables of many runs


@pytest.mark.parametrize("name", ["run", "Run", "seed", "run_id", "Run Name", "trial_id", "experiment", "fold"])
def test_runs_are_named_by_a_column(tmp_path: Path, name: str) -> None:
    rows = [f"{k},{run},{k % 2 + 1},0.{run}{k % 2}" for k, run in enumerate([3, 3, 5, 5])]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([f",{name},epoch,acc", *rows]))
    runs = read(path)
    np.testing.assert_array_equal(runs.metric(), [[0.3, 0.31], [0.5, 0.51]])
    assert runs.run.tolist() == [3, 5]
    assert any(f"named by the column {name}" in note for note in runs.meta["notes"]) == (name.lower() != "run")


def test_a_run_that_may_be_named_in_two_ways_is_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{a},{b},{b * 10 + a},{e},0.{a}{b}" for a in (1, 2) for b in (1, 2) for e in (1, 2)]
    path.write_text("\n".join(["experiment,seed,run_id,epoch,acc", *rows]))
    assert read(path).metric("acc").shape == (4, 2)  # run_id tells all apart
    path.write_text("\n".join(["experiment,seed,other,epoch,acc", *rows]))
    with pytest.raises(InputError, match="does experiment or seed name the run"):
        read(path)


def test_a_resumed_run_of_a_table_keeps_its_last_values(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("run,epoch,acc\n0,1,.5\n0,2,.6\n0,3,.1\n0,2,.6\n0,3,.7\n0,4,.8\n1,2,.4\n1,1,.3\n")
    np.testing.assert_array_equal(read(path).metric(), [VALUES, [0.3, 0.4, np.nan, np.nan]])


@pytest.mark.parametrize("header", ["time/iterations", "time/total_timesteps", "train/samples_seen", "data/tokens"])
def test_the_last_part_of_a_name_tells_what_counts(tmp_path: Path, header: str) -> None:
    path = tmp_path / "run.csv"
    path.write_text(f"{header},eval/return\n" + "".join(f"{2048 * k},{k / 10}\n" for k in range(1, 5)))
    runs = read(path)
    assert ([*runs.metrics], runs.meta["axis"], runs.meta["every"]) == (["eval/return"], "step", 2048)


@pytest.mark.parametrize("place", ["{}/seed{}.csv", "{}/seed{}/log.csv", "deeper/{}/seed{}/log.csv"])
def test_folders_of_runs_are_named_and_one_alone_is_read(tmp_path: Path, place: str) -> None:
    for name in ("plain", "kick_20"):
        for k in range(3):
            (file := tmp_path / place.format(name, k)).parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"epoch,acc\n1,0.{k}\n2,0.5\n")
        if name == "plain":
            assert [each.split("/")[-1] for each in read(tmp_path).meta["names"].values()] == [
                "seed0",
                "seed1",
                "seed2",
            ]
    with pytest.raises(
        InputError,
        match=r"holds folders of runs \(\S*kick_20, \S*plain\); read one of them, such as \S*plain; to compare two: "
        r"fpt recommend --unperturbed \S*plain --perturbed NAME:PERIOD=\S*kick_20$",
    ):
        read(tmp_path)


def test_columns_that_differ_in_a_number_are_noted(tmp_path: Path) -> None:
    (tmp_path / "acc.csv").write_text("epoch,acc_0,acc_1,acc_2\n1,0.1,0.2,0.3\n2,0.5,0.4,0.6\n")
    message = "columns acc_0 to acc_2 look like one metric of 3 runs; if they are, write columns run, epoch and value"
    assert message in read(tmp_path / "acc.csv").meta["notes"]
