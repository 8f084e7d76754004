"""Counting epochs from what logs hold: every way of writing the same training gives the same record, and nothing is made up."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.readers import Log, Series, assemble
from fptlib.readers.logs import decimals
from fptlib.trajectories import Target, Trajectories

Places = list[float]


def log(
    name: str = "run_1", *, faults: dict[str, str] | None = None, notes: tuple[str, ...] = (), **metrics: dict[str, Any]
) -> Log:
    """Return what one run logged; a metric is a dictionary of ``value`` and ``epoch`` or ``step``, with lines from 2 on."""
    series = {}
    for metric, given_ in metrics.items():
        arrays: dict[str, Any] = {key: np.array(column, dtype=float) for key, column in given_.items()}
        series[metric] = Series(**arrays, line=np.arange(2, 2 + len(arrays["value"])))
    return Log(Path(f"{name}.csv"), name=name, metrics=series, faults=faults or {}, notes=notes)


def read(*logs: Log, **options: Any) -> Trajectories:
    """Put logs together."""
    return assemble(logs, source="logs", **options)


def of(values: list[float], **places: Places) -> dict[str, Any]:
    """Return the content of a metric."""
    return {"value": values, **places}


# Closed forms


def test_epochs_from_one_need_no_word() -> None:
    runs = read(log(acc=of([0.1, 0.4], epoch=[1, 2])), kind="mine")
    assert runs.metric().tolist() == [[0.1, 0.4]]
    assert runs.meta == {
        "source": "logs",
        "axis": "epoch",
        "every": 1,
        "names": {"1": "run_1"},
        "notes": (),
        "left_out": {},
        "format": "mine",
    }


def test_epochs_from_zero_are_counted_from_one() -> None:
    runs = read(log(acc=of([0.1, 0.4], epoch=[0, 1])), log("run_2", acc=of([0.2], epoch=[0])))
    np.testing.assert_array_equal(runs.metric(), [[0.1, 0.4], [0.2, np.nan]])
    zero, early = runs.meta["notes"]
    assert zero == (
        "epochs that the log counts from 0 are counted from 1; if 0 is an evaluation before training, epoch_zero='before' leaves it out"
    )
    assert "1 of 2 runs end before epoch 2 (run_2 at epoch 1): each is censored at its own end" in early


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ([500, 1000, 1500], "one epoch is 500 steps of the log, from one evaluation to the next"),
        ([499, 999, 1499], "steps that the log counts from 0 are counted from 1"),
        ([0, 500, 1000, 1500], "what was logged at step 0, before the first 500 steps were over, is left out"),
        ([1, 501, 1001, 1501], "what was logged at step 1, before the first 500 steps were over, is left out"),
        ([1, 2, 3], "one epoch is 1 step of the log, from one evaluation to the next"),
        (
            [0, 1, 2],
            "steps that the log counts from 0 are counted from 1; if 0 is an evaluation before training, epoch_zero=",
        ),
        ([0, 499, 999, 1499], "what was logged at step 0, before the first 500 steps were over, is left out"),
    ],
)
def test_evaluations_equally_spaced_in_steps_are_epochs(step: Places, message: str) -> None:
    values = [9.0, 1.0, 2.0, 3.0][-len(step) :]
    runs = read(log(acc=of(values, step=step)))
    assert runs.metric().tolist() == [[1, 2, 3]]
    assert runs.meta["axis"] == "step"
    assert runs.meta["every"] == step[-1] - step[-2]
    assert message in "; ".join(runs.meta["notes"])


@pytest.mark.parametrize("epoch", [[5, 10, 15], [4, 9, 14], [0, 5, 10, 15]])
def test_evaluations_every_few_epochs_are_epochs_when_that_is_said(epoch: Places) -> None:
    one = log(acc=of([9.0, 1.0, 2.0, 3.0][-len(epoch) :], epoch=epoch))
    runs = read(one, every=5)
    assert runs.metric().tolist() == [[1, 2, 3]]
    assert "one epoch is 5 epochs of the log, from one evaluation to the next" in runs.meta["notes"]
    with pytest.raises(
        InputError, match=r"acc goes from epoch .* and is needed each epoch; where it is logged every 5 epochs, every=5"
    ):
        read(one)


def test_the_rarest_metric_gives_the_unit_of_steps_and_every_another() -> None:
    step = [10.0, 20, 30, 40, 50, 60]
    one = log(loss=of([6, 5, 4, 3, 2, 1], step=step), acc=of([0.1, 0.2, 0.3], step=step[1::2]), end=of([1], step=[60]))
    runs = read(one)
    assert runs.metric("acc").tolist() == [[0.1, 0.2, 0.3]]
    with pytest.raises(
        InputError, match=r"loss is logged every 10 steps, others every 20; every=10, or metric='loss', counts"
    ):
        runs.metric("loss")
    with pytest.raises(InputError, match=r"end is logged once, which does not tell how many steps make an epoch"):
        runs.metric("end")
    finer = read(one, every=10)
    assert finer.metric("loss").tolist() == [[6, 5, 4, 3, 2, 1]]
    with pytest.raises(
        InputError, match=r"run_1\.csv, line 3: acc goes from step 20 to 40, and is needed 10 steps apart"
    ):
        finer.metric("acc")
    assert read(one, every=60).metric("end").tolist() == [[1]]


@pytest.mark.parametrize(
    ("name", "beside"),
    [
        ("hp_metric", of([-1, -1, -1], step=[0, 300, 600])),
        ("test_acc", of([0.9, 0.8], step=[300, 600])),
        ("lr-SGD", of([0.1, 0.2, 0.3], step=[200, 400, 600])),
        ("wall_time", of([1, 2, 3], step=[700, 800, 900])),
    ],
)
def test_marks_rates_and_clocks_decide_nothing(name: str, beside: dict[str, Any]) -> None:
    runs = read(log(acc=of([1, 2, 3, 4, 5, 6], step=[100, 200, 300, 400, 500, 600]), **{name: beside}))
    assert runs.metric("acc").tolist() == [[1, 2, 3, 4, 5, 6]]
    assert (runs.meta["every"], set(runs.meta["left_out"])) == (100, {name})


def test_the_metric_asked_for_decides() -> None:
    fid = of([9, 8, 7], step=[200, 400, 600])
    one = log(
        acc=of([1, 2, 3, 4, 5, 6], step=[100, 200, 300, 400, 500, 600]), fid=fid, bad=of([1, 2, 3], step=[1, 5, 6])
    )
    assert set(read(one).metrics) == {"fid"}
    runs = read(one, metric="acc")
    assert (runs.metric().tolist(), runs.meta["every"], runs.meta["left_out"]) == ([[1, 2, 3, 4, 5, 6]], 100, {})
    with pytest.raises(InputError, match=r"line 3: bad goes from step 1 to 5"):
        read(one, metric="bad")
    with pytest.raises(InputError, match="logs: no metric 'loss'; there is acc, bad, fid"):
        read(one, metric="loss")
    marked = log(acc=of([0.1, 0.2, 0.4], epoch=[1, 2, 3]), wall_time=of([1, 2, 3], epoch=[1, 2, 3]))
    assert read(marked).metric("acc").tolist() == [[0.1, 0.2, 0.4]]
    diverged = log(acc=of([0.1, 0.2, np.nan], epoch=[1, 2, 3]), wall_time=of([1, 2, 3], epoch=[1, 2, 3]))
    with pytest.raises(InputError, match="acc is nan at epoch 3"):  # and not a record of seconds
        read(diverged)
    # Validation that stops while training goes on has a reason, which may be divergence.
    stopped = log(acc=of([1, 2], epoch=[1, 2]), loss=of([4, 3, 2, 1], epoch=[1, 2, 3, 4]))
    with pytest.raises(InputError, match="acc ends at epoch 2, while others go on to epoch 4"):
        read(stopped, metric="acc")


def test_a_multiple_of_the_distance_passes_over_what_is_between() -> None:
    step = [100.0, 200, 300, 400, 500]
    for first in (step, [p - 1 for p in step], [0.0, *step]):
        runs = read(log(acc=of([9.0, 1, 2, 3, 4, 5][-len(first) :], step=first)), every=200)
        assert runs.metric().tolist() == [[2, 4]]
        assert "values in between, logged every 100 steps, are passed over" in runs.meta["notes"]
    both = log(acc=of([1, 2, 3, 4], epoch=[0, 1, 2, 3]), val_acc=of([5, 6], epoch=[1, 3]))
    runs = read(both, every=2)
    assert (runs.metric("acc").tolist(), runs.metric("val_acc").tolist()) == ([[2, 4]], [[5, 6]])
    with pytest.raises(InputError, match="acc ends at step 500, before the first 600 steps are over"):
        read(log(acc=of([1, 2, 3, 4, 5], step=step)), every=600)


def test_an_evaluation_before_training_is_left_out_where_that_is_said_or_shown() -> None:
    acc, epoch = of([0.1, 1, 2, 3], epoch=[0, 1, 2, 3]), [1.0, 2, 3]
    assert read(log(acc=acc)).metric().tolist() == [[0.1, 1, 2, 3]]
    assert read(log(acc=acc), epoch_zero="before").metric().tolist() == [[1, 2, 3]]
    assert read(log(acc=of([1, 2, 3], epoch=epoch)), epoch_zero="before").metric().tolist() == [[1, 2, 3]]
    first = read(log(acc=acc), epoch_zero="first")
    assert first.meta["notes"] == ("epochs that the log counts from 0 are counted from 1",)
    for shown, why in (
        (log(val_acc=acc, train_loss=of([6, 5, 4], epoch=epoch)), "train_loss starts at epoch 1"),
        (log(val_acc=acc, acc=of([6, 5, 4], epoch=epoch)), "acc starts at epoch 1"),
        (log(val_acc=acc | {"step": [0, 50, 100, 150]}), "val_acc has step 0 there"),
    ):
        runs = read(shown)
        assert runs.metric("val_acc").tolist() == [[1, 2, 3]]
        assert read(shown, metric="val_acc").metric("val_acc").tolist() == [[1, 2, 3]]
        message = f"epoch 0 is an evaluation before training, as {why}; epoch_zero='first' counts it"
        assert message in runs.meta["notes"]
    assert read(shown, epoch_zero="first").metric().tolist() == [[0.1, 1, 2, 3]]
    # Two metrics are never counted from different places.
    with pytest.raises(InputError, match="val_loss starts at epoch 1, but val_acc at 0; if 0 is an evaluation before"):
        read(log(val_acc=acc, val_loss=of([6, 5, 4], epoch=epoch)), metric="val_loss")


def test_a_gap_is_no_value_and_divergence_no_gap() -> None:
    nan = np.nan
    fifth = of([nan, 1, nan, 2, nan, 3, nan], epoch=[0, 1, 2, 3, 4, 5, 6])
    assert read(log(acc=fifth), every=2).metric().tolist() == [[1, 2, 3]]
    with pytest.raises(InputError, match=r"line 5: acc goes from epoch 1 to 3, .* every=2 makes them one epoch"):
        read(log(acc=fifth))
    for values in ([0.1, nan, nan], [nan, nan, nan]):
        with pytest.raises(InputError, match=r"acc is nan at epoch \d, a finite number is needed; if the run diverged"):
            read(log(acc=of(values, epoch=[1, 2, 3])))
    with pytest.raises(
        InputError, match="line 6: acc is nan at epoch 5, a finite number is needed; if the run diverged"
    ):
        read(log(acc=of([1, nan, 3, nan, nan], epoch=[1, 2, 3, 4, 5])), every=2)


def test_of_what_a_resumed_run_logs_twice_the_last_counts() -> None:
    resumed = log(acc=of([1, 2, 3, 4, 33, 44, 5], epoch=[1, 2, 3, 4, 3, 4, 5]))
    twice = log("run_2", acc=of([1, 2, 3, 20, 30, 333, 4, 5], epoch=[1, 2, 3, 2, 3, 3 - 1, 3, 4]))
    runs = read(resumed, twice)
    np.testing.assert_array_equal(runs.metric(), [[1, 2, 33, 44, 5], [1, 333, 4, 5, np.nan]])
    assert runs.meta["notes"][0] == "2 runs were resumed (run_1.csv, line 6); of what is logged twice the last counts"
    once = read(log(acc=of([1, 2, 22, 3, 4], epoch=[1, 2, 2, 3, 4])))
    assert once.metric().tolist() == [[1, 22, 3, 4]]
    assert once.meta["notes"] == ("1 run was resumed (run_1.csv, line 4); of what is logged twice the last counts",)


def test_what_is_logged_twice_alike_is_logged_once() -> None:
    runs = read(log(acc=of([1, 2, 2], epoch=[1, 2, 2], step=[8, 16, 16])))
    assert runs.metric().tolist() == [[1, 2]]
    assert runs.meta["notes"] == ()


RISING = [0.1, 0.4, 0.3, 0.5, 0.7, 0.6]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            [RISING, RISING, RISING[::-1]],
            "runs run_0 and run_1 are equal over all their 6 common epochs (acc): if they",
        ),
        ([RISING, RISING[::-1], RISING[:5]], "runs run_0 and run_2 are equal over all their 5 common epochs (acc)"),
        ([RISING] * 8, "runs run_0 and run_1 and 6 more pairs are equal over all their 6 common epochs (acc)"),
        ([RISING, [*RISING[:5], 0.61]], None),
        ([[0.1] * 6] * 3, None),  # none of them has learned anything
        ([[0.1, 0.2, 0.1, 0.2, 0.3, 0.2]] * 2, None),  # on ten images
        ([[1, 2, 3, 4, 5, 6]] * 3, None),  # a counter
    ],
)
def test_the_same_training_twice_is_said(runs: list[list[float]], message: str | None) -> None:
    logs = [
        log(f"run_{k}", acc=of(v, epoch=[*range(1, len(v) + 1)]), lr=of(v, epoch=[*range(1, len(v) + 1)]))
        for k, v in enumerate(runs)
    ]
    notes = "; ".join(read(*logs).meta["notes"])
    assert (message or "") in notes
    assert ("twice, leave one out" in notes) == (message is not None)


def test_a_schedule_is_alike_in_all_runs_and_a_clock_in_none() -> None:
    def one(k: int, acc: list[float]) -> Log:
        epoch = [*range(1, 7)]
        time = of([k + v for v in RISING], epoch=epoch)
        return log(f"run_{k}", beta=of(RISING, epoch=epoch), time=time, acc=of(acc, epoch=epoch))

    differing = read(*(one(k, [v + 0.01 * k for v in RISING]) for k in range(3)))
    assert not any("twice, leave one out" in note for note in differing.meta["notes"])
    alike = read(*(one(k, RISING) for k in range(3)))
    assert sum("runs run_0 and run_1 and 1 more pair are equal" in note for note in alike.meta["notes"]) == 1


def test_per_cent_among_fractions_is_refused_and_losses_are_not() -> None:
    rng, epoch = np.random.default_rng(0), [*range(1, 31)]
    rise = 0.1 + 0.8 * (1 - np.exp(-np.arange(30) / 8)) + 0.01 * rng.standard_normal((12, 30))
    scale = np.where(np.arange(12) < 4, 100.0, 1.0)[:, None]

    def logs(values: np.ndarray[Any, Any]) -> list[Log]:
        return [log(f"run_{k}", m=of([*row], epoch=[*epoch])) for k, row in enumerate(values)]

    for mixed in (rise * scale, (1 - rise) * scale, rise / scale * 100):
        with pytest.raises(InputError, match="4 of 12 runs differ from the others by a factor of a hundred"):
            read(*logs(mixed))
    one_run = np.vstack([rise[:11], 100 * rise[11:]])
    with pytest.raises(
        InputError, match=r"m in run_11\.csv: 1 of 12 runs differs .*; write all in per cent, or all as"
    ):
        read(*logs(one_run))
    diverged = np.where(np.arange(12) < 4, 30.0, 0.01)[:, None] ** (np.arange(30) / 29) * rng.uniform(0.5, 1, (12, 30))
    for fine in (
        rise,
        100 * rise,
        diverged,
        np.exp(rng.normal(0, 3, (12, 1)) - np.arange(30) / 5),
        rise * [[0], *[[1]] * 11],
    ):
        assert read(*logs(fine)).n_runs == 12


def test_a_run_ends_with_the_last_epoch_that_has_all_metrics() -> None:
    cut = log(loss=of([3, 2, 1], epoch=[1, 2, 3]), acc=of([0.1, 0.2], epoch=[1, 2]))
    whole = log("run_2", loss=of([3, 2, 1], epoch=[1, 2, 3]), acc=of([0.1, 0.2, 0.3], epoch=[1, 2, 3]))
    runs = read(cut, whole)
    np.testing.assert_array_equal(runs.metric("loss"), [[3, 2, np.nan], [3, 2, 1]])
    assert runs.lengths.tolist() == [2, 3]
    assert "1 run lack" not in runs.meta["notes"][0]
    assert (
        "in the last epoch of 1 run a metric is missing (run_1.csv, epoch 3): it does not count" in runs.meta["notes"]
    )


def test_runs_that_all_end_at_their_best_may_have_been_stopped() -> None:
    def stopped(k: int, last: float) -> Log:
        return log(f"run_{k}", lr=of([0.1] * 4, epoch=[1, 2, 3, 4]), acc=of([0.3, 0.2, 0.4, last], epoch=[1, 2, 3, 4]))

    whole = log(
        "run_9", lr=of([0.1] * 5, epoch=[1, 2, 3, 4, 5]), acc=of([0.3, 0.2, 0.4, 0.3, 0.4], epoch=[1, 2, 3, 4, 5])
    )
    message = (
        "all of these end at their best acc: if they were stopped on reaching a target, ask for no harder threshold"
    )
    assert message in read(*[stopped(k, 0.9) for k in range(5)], whole).meta["notes"][-1]
    assert message not in read(*[stopped(k, 0.9) for k in range(4)], whole).meta["notes"][-1]
    assert message not in read(*[stopped(k, 0.9 if k else 0.35) for k in range(5)], whole).meta["notes"][-1]


@pytest.mark.parametrize("name", ["lr", "learning_rate", "lr-SGD", "train/learning_rate", "optim/lr/group0"])
def test_a_learning_rate_that_changes_is_said(name: str) -> None:
    acc = of([0.1, 0.2], epoch=[1, 2])
    falling = log(acc=acc, **{name: of([0.1, 0.05, 0.01], epoch=[0.5, 1, 1.5])})
    message = f"{name} goes from 0.1 to 0.01 (run_1.csv): predictions hold where training is the same at every epoch"
    assert message in read(falling).meta["notes"]
    steady = log(acc=acc, **{name: of([0.1, 0.1], epoch=[1, 2])})
    assert read(steady).meta["notes"] == ()
    other = log(acc=acc, blur=of([0.1, 0.01], epoch=[1, 2]))
    assert read(other).meta["notes"] == ()


def test_numbers_of_32_bits_are_the_decimals_they_stand_for() -> None:
    narrow = np.array([0.9, 0.1, 1 / 3, np.nan, np.inf], dtype=np.float32)
    back = decimals(narrow.astype(float))
    assert back[:2].tolist() == [0.9, 0.1]
    np.testing.assert_array_equal(back.astype(np.float32), narrow)
    wide = np.array([0.9, 0.1, 1e300])
    np.testing.assert_array_equal(decimals(wide), wide)


# Laws


@given(
    data=st.data(), lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), way=st.sampled_from(["epoch", "step"])
)
def test_however_it_is_logged_the_record_is_the_same(
    data: st.DataObject, lengths: list[int], way: Literal["epoch", "step"]
) -> None:
    every, from_zero = data.draw(st.integers(1, 6)), data.draw(st.booleans())
    lengths = [max(lengths[0], 2), *lengths[1:]]
    truth = [np.random.default_rng(row).random(n) for row, n in enumerate(lengths)]
    logs = []
    for row, values in enumerate(truth):
        place, written = list[float](), list[float]()
        if every > 1 and not from_zero and data.draw(st.booleans()):  # an evaluation before training
            place.append(0)
            written.append(-1)
        start, k = len(place), 0
        backs = data.draw(st.integers(0, 2))
        while k < len(values):
            place.append((k + 1) * every - from_zero)
            written.append(float(values[k]))
            k += 1
            if backs and k > 2 and data.draw(st.booleans()):
                to = data.draw(st.integers(1, k - 2))  # one epoch back is no resumption for certain if nothing follows
                # what the resumed run overwrites is nonsense
                written[start:] = [
                    -2 if (p + from_zero) / every > to else w
                    for p, w in zip(place[start:], written[start:], strict=True)
                ]
                k, backs = to, backs - 1
        logs.append(log(f"run_{row}", acc=of(written, **{way: place})))
    runs = read(*logs, every=every if way == "epoch" else None)
    assert runs.lengths.tolist() == lengths
    for row, values in enumerate(truth):
        np.testing.assert_array_equal(runs.metric()[row, : len(values)], values)
    assert runs.ended_early.tolist() == [n < max(lengths) for n in lengths]


@given(
    values=st.lists(st.floats(0, 1, width=16), min_size=2, max_size=12),
    end=st.integers(1, 12),
    threshold=st.floats(0, 1),
)
def test_a_metric_to_minimise_passes_when_its_negative_does(values: list[float], end: int, threshold: float) -> None:
    epoch = [float(k) for k in range(1, len(values) + 1)]
    cut = min(end, len(values))
    both = [
        read(
            log(loss=of([sign * v for v in values], epoch=epoch)),
            log("run_2", loss=of([sign * v for v in values[:cut]], epoch=epoch[:cut])),
        )
        for sign in (1, -1)
    ]
    below = first_passage(both[0], Target(threshold, direction="below"))
    above = first_passage(both[1], -threshold)
    np.testing.assert_array_equal(below.time, above.time)
    np.testing.assert_array_equal(below.observed, above.observed)
    assert below.time[1] == min(below.time[0], cut)


# What is refused


def one(value: list[float], **places: Places) -> list[Log]:
    """Return a run that logged one metric."""
    return [log(acc=of(value, **places))]


@pytest.mark.parametrize(
    ("logs", "options", "message"),
    [
        ([], {}, "logs: no run"),
        ([log()], {}, "logs: no metric; at least one is needed"),
        (one([], epoch=[]), {}, "logs: no metric; at least one is needed"),
        (one([1], epoch=[1]), {"axis": "time"}, "axis 'time' is not known; choose auto, epoch or step"),
        (one([1], epoch=[1]), {"epoch_zero": "last"}, "epoch_zero 'last' is not known; choose first or before"),
        (one([1], epoch=[1]), {"every": 0}, "every is 0; an evaluation every 1 or more"),
        (one([1], epoch=[1]), {"axis": "step"}, "run_1.csv: acc is logged without a step"),
        (one([1, 2], step=[1, 2]), {"axis": "epoch"}, "run_1.csv: acc is logged without an epoch"),
        (one([1, 2, 3], step=[10, 20, 35]), {}, "line 4: acc goes from step 20 to 35, and is needed 10 steps"),
        (one([1, 2, 3, 4], step=[10, 20, 40, 50]), {}, "line 4: acc goes from step 20 to 40, and is needed 10"),
        (one([1, 2], step=[30, 40]), {}, "line 2: acc starts at step 30, what came before is missing"),
        (one([1, 2], epoch=[-1, 0]), {}, "run_1.csv, line 2: acc starts at epoch -1"),
        ([*one([1], step=[0]), log("b", acc=of([1, 2], step=[0, 9]))], {}, "line 2: acc is logged at step 0 and not"),
        (one([1, 2], epoch=[1, np.nan]), {}, "run_1.csv, line 3: acc is logged at no epoch"),
        (one([1, 2], epoch=[1, 1.5]), {}, "line 3: acc is logged at epoch 1.5, no whole number"),
        (one([1, np.inf], epoch=[1, 2]), {}, "line 3: acc is inf at epoch 2, a finite number is needed"),
        (one([1, 2, 7], epoch=[1, 2, 2]), {}, "line 4: acc is logged more than once at epoch 2, 2 and 7; keep the"),
        (one([1, 2, 7], epoch=[1, 2, 2], step=[1, 2, 2]), {"axis": "epoch"}, "2 and 7; axis='step' counts evaluations"),
        (one([1, 2, 1, 2], epoch=[1, 2, 1, 2]), {}, "line 4: acc starts again at epoch 1; keep one run in a file"),
        ([log(faults={"acc": "f.csv, line 3: odd"})], {}, "f.csv, line 3: odd"),
        (
            [*one([1], epoch=[1]), log("run_2", loss=of([1], epoch=[1]))],
            {},
            "run_2.csv: never logs acc, which run_1.csv",
        ),
        (
            [*one([1, 2], epoch=[0, 1]), log("run_2", acc=of([1], epoch=[1]))],
            {},
            "starts at epoch 1, but in run_1.csv at",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(logs: list[Log], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as refused:
        read(*logs, **options)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_runs_that_differ_in_one_metric_are_not_equal() -> None:
    epoch = [*range(1, 7)]
    pair = [
        log(f"run_{k}", jump=of([1, 2, 3, 4, 5, 9], epoch=epoch), acc=of(v, epoch=epoch))
        for k, v in enumerate((RISING, RISING[::-1]))
    ]
    assert read(*pair).meta["notes"] == ()


@pytest.mark.parametrize("factor", [100, 0.01])
def test_a_change_of_scale_within_a_run_is_refused_and_a_loss_that_diverges_is_not(factor: float) -> None:
    values = 0.1 + 0.8 * (1 - np.exp(-np.arange(30) / 8)) * np.ones((12, 1)) * (1 if factor > 1 else 100)
    values[:, 0] += np.arange(12) / 100
    values[3, 20:] *= factor

    def logs(name: str) -> list[Log]:
        return [log(f"run_{k}", **{name: of([*row], epoch=[*range(1, 31)])}) for k, row in enumerate(values)]

    with pytest.raises(InputError, match=r"top1 in run_3\.csv: goes from .* at epoch 20 to .* at epoch 21"):
        read(*logs("top1"))
    read(*logs("val_loss"))
