"""Studies: ensembles checked, on one horizon, runs of one seed drawn together, and what their records give to think about."""

from __future__ import annotations

import cProfile
import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.firstpassage.resampling import bootstrap_weights, generator
from fptlib.processes import Annealed, OrnsteinUhlenbeck, Process
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.response import compare, linear_response, predict, recommend
from fptlib.study import Cause, Study
from fptlib.study.records import doubts
from fptlib.study.seeds import Ensemble, joint_weights, seeds_of
from fptlib.trajectories import Target, Trajectories, retire
from fptlib.trajectories.origin import Origin, is_full_reset
from known import CHAIN, DELAYED, KICK, RESET, SHRINK, sampled

PROCESS = OrnsteinUhlenbeck(shrink=0.4)
KEY = ("kick", 20)
ANNEALED = Annealed(hazard=0.005, hazard_after=0.15, epochs=100)
COSINE = {"name": "cosine", "epochs": 200}
CONSTANT = {"name": "constant"}


def ensemble(values: Any, *, run: Any = None, period: int | None = None) -> Ensemble:
    labels = np.arange(len(values)) if run is None else np.asarray(run)
    runs = Trajectories(metrics={"m": np.asarray(values, dtype=float)}, run=labels)
    return Ensemble(first_passage(runs, 1.5), runs.metric(), period)


def forked(plain: Any, period: int, *, seed: int) -> Any:
    """Return the values with everything after the period drawn anew: runs that share their beginning."""
    values = np.array(plain)
    values[:, period:] = np.random.default_rng(seed).normal(size=values[:, period:].shape)
    return values


@pytest.fixture
def plain() -> Any:
    return PROCESS.sample(np.random.default_rng(0), n_runs=40, horizon=30).metric()


def test_forks_of_one_parent_are_one_seed_in_all_ensembles(plain: Any) -> None:
    first, second = ensemble(forked(plain, 10, seed=1), period=10), ensemble(forked(plain, 5, seed=2), period=5)
    for place in seeds_of([ensemble(plain), first, second]):
        np.testing.assert_array_equal(place, np.arange(40))
    weights = joint_weights([ensemble(plain), first, second], n_boot=20, seed=0)
    np.testing.assert_array_equal(weights[0], weights[1])
    np.testing.assert_array_equal(weights[0], weights[2])


def test_perturbed_runs_without_a_parent_still_share_their_seeds_with_each_other(plain: Any) -> None:
    labels = np.arange(100, 140)
    first = ensemble(forked(plain, 10, seed=1), run=labels, period=10)
    second = ensemble(forked(plain, 5, seed=2), run=labels, period=5)
    places = seeds_of([ensemble(plain), first, second])
    np.testing.assert_array_equal(places[1], places[2])
    assert not set(places[0]) & set(places[1])


def test_labels_of_runs_that_disagree_mean_nothing(plain: Any) -> None:
    other = forked(plain, 10, seed=1)
    other[3, 0] -= 1.0  # one run began otherwise
    places = seeds_of([ensemble(plain), ensemble(other, period=10)])
    assert not set(places[0]) & set(places[1])


def test_one_ensemble_alone_is_the_plain_bootstrap(plain: Any) -> None:
    (weights,) = joint_weights([ensemble(plain)], n_boot=10, seed=3)
    np.testing.assert_array_equal(weights, bootstrap_weights([np.arange(40)], n_boot=10, rng=generator(3)))


@given(kept=st.lists(st.integers(0, 39), min_size=1, max_size=39, unique=True), seed=st.integers(0, 5))
def test_every_replicate_has_as_many_runs_of_each_ensemble_as_the_data(kept: list[int], seed: int) -> None:
    plain = PROCESS.sample(np.random.default_rng(0), n_runs=40, horizon=30).metric()
    part = ensemble(forked(plain, 10, seed=1)[kept], run=kept, period=10)
    weights = joint_weights([ensemble(plain), part], n_boot=15, seed=seed)
    np.testing.assert_array_equal(weights[0].sum(axis=1), 40)
    np.testing.assert_array_equal(weights[1].sum(axis=1), len(kept))
    np.testing.assert_array_equal(weights[1], weights[0][:, kept])


def test_times_alone_share_seeds_where_the_same_runs_pass_at_the_same_epochs(plain: Any) -> None:
    values = ensemble(plain), ensemble(forked(plain, 10, seed=1), period=10)
    times = [dataclasses.replace(e, values=None) for e in values]
    assert (values[0].times.time <= 10).any()
    np.testing.assert_array_equal(seeds_of(times)[1], seeds_of(values)[1])
    other = dataclasses.replace(times[1], times=ensemble(forked(plain, 3, seed=5)).times)
    assert not set(seeds_of([times[0], other])[0]) & set(seeds_of([times[0], other])[1])


# One horizon, one question


def study(process: Process, *, period: int = 20, seed: int = 0, n_runs: int = 200, **options: Any) -> Study:
    plain, kicked = (sampled(process, seed, n_runs=n_runs, period=p) for p in (None, period))
    return Study(plain, {("kick", period): kicked}, process.threshold, **{"n_boot": 100, **options})


def test_the_shorter_record_sets_the_horizon_and_early_ends_are_noted() -> None:
    plain, kicked = sampled(KICK, horizon=150), sampled(KICK, horizon=200, period=20)
    cut = Study(plain, {KEY: kicked}, 0.5, n_boot=100)
    same = Study(plain, {KEY: kicked.head(epochs=150)}, 0.5, n_boot=100)
    assert (cut.horizon, cut.notes) == (150, ())
    assert predict(cut, [5, 40]).predictions == predict(same, [5, 40]).predictions
    values = np.array(sampled(PROCESS, 0, horizon=60).metric())
    ends = np.where(np.arange(len(values)) % 3 > 0, 40, 60)
    values[np.arange(60) >= ends[:, None]] = np.nan
    short = Trajectories(metrics={"test_metric": values}, run=np.arange(len(values)), followed=ends)
    early = Study(short, {("kick", 10): sampled(PROCESS, 1, horizon=60, period=10)}, 1.5, n_boot=20)
    assert early.horizon == 40
    assert str(early.notes[0]) == "many runs end early, so means are counted up to epoch 40 of 60"


def test_first_passage_times_alone_give_all_but_what_needs_the_metric() -> None:
    whole = study(SHRINK)
    times = [
        first_passage(runs, 1.5) for runs in (whole.unperturbed, whole.perturbed[KEY]) if isinstance(runs, Trajectories)
    ]
    bare = Study(times[0], {KEY: times[1]}, 1.5, n_boot=100)
    one, other = predict(whole, [10, 20, 40]), predict(bare, [10, 20, 40])
    assert [p.interval for p in one.predictions] == [p.interval for p in other.predictions]
    assert (one.unperturbed, one.residual) == (other.unperturbed, other.residual)
    assert other.qss is None
    assert Cause.NO_METRIC in {note.cause for note in other.notes}
    with pytest.raises(InputError, match="another threshold needs trajectories"):
        bare.at(1.0)
    over = FirstPassageTimes(np.array([3, 5, 9]), np.ones(3, dtype=bool), np.arange(3))
    assert Study(over, {}, 1.0).horizon == 9  # nobody is left to be followed


def test_parts_and_other_thresholds_of_a_study() -> None:
    plain = sampled(SHRINK)
    kicked = {("kick", p): sampled(SHRINK, period=p) for p in (10, 20)}
    whole = Study(plain, kicked, Target(1.5), n_boot=50, level=0.9, seed=3)
    part = whole.only(KEY).at(1.2)
    assert (set(part.perturbed), part.target.threshold, part.level, part.n_boot, part.seed) == ({KEY}, 1.2, 0.9, 50, 3)
    assert whole.means().keys() == kicked.keys()
    assert whole.mean(KEY, horizon=60).mean < whole.mean(KEY).mean


def test_replicates_are_computed_together_and_the_same_seed_gives_the_same_answer() -> None:
    calls = []
    for n_boot in (100, 2000):
        with cProfile.Profile() as profile:
            predict(study(SHRINK, n_boot=n_boot), [5, 40])
        calls.append(sum(entry.callcount for entry in profile.getstats()))
    assert calls[1] < 1.5 * calls[0]
    assert predict(study(SHRINK), [5, 40]).predictions == predict(study(SHRINK), [5, 40]).predictions


def test_the_order_of_runs_does_not_break_the_pairing() -> None:
    plain = sampled(CHAIN, 1, n_runs=60)
    back = Trajectories(metrics={"test_metric": plain.metric()[::-1].copy()}, run=plain.run[::-1].copy())
    one, other = (
        predict(Study(plain, {("kick", 10): side}, 6.0, n_boot=100), [10, 30]).predictions for side in (plain, back)
    )
    for a, b in zip(one, other, strict=True):
        assert (a.centre, a.low, a.high) == pytest.approx((b.centre, b.low, b.high), rel=1e-12)


def test_below_a_loss_is_above_its_negative() -> None:
    up = study(SHRINK)
    loss = [dataclasses.replace(r, metrics={"loss": -r.metric()}) for r in (up.unperturbed, up.perturbed[KEY])]  # type: ignore[union-attr]
    down = Study(loss[0], {KEY: loss[1]}, Target(-1.5, "below", "loss"), n_boot=100)
    assert [p.interval for p in predict(up).predictions] == [p.interval for p in predict(down).predictions]


@pytest.mark.parametrize("paired", [False, True])
def test_retired_runs_give_the_same_answer(paired: bool) -> None:
    at = Target(1.5, metric="test_metric")
    plain, kicked = sampled(SHRINK, 1, n_runs=400), sampled(SHRINK, 2, n_runs=400, period=20)
    if paired:
        values = np.where(np.arange(150) < 20, plain.metric(), kicked.metric())
        passed = plain.metric()[:, :20].max(axis=1) >= 1.5
        values[passed] = plain.metric()[passed]
        kicked = Trajectories(metrics={"test_metric": values}, run=plain.run)
    whole = predict(Study(plain, {KEY: kicked}, 1.5, n_boot=100))
    for one, other in (
        (plain, retire(kicked, at)),
        (retire(plain, at), kicked),
        (retire(plain, at), retire(kicked, at)),
    ):
        cut = predict(Study(one, {KEY: other}, 1.5, n_boot=100))
        assert (cut.predictions, cut.unperturbed, cut.residual) == (
            whole.predictions,
            whole.unperturbed,
            whole.residual,
        )
    with pytest.raises(InputError, match=r"runs were retired at test_metric above 1\.5, which says nothing of .* 1\.6"):
        Study(plain, {KEY: retire(kicked, at)}, 1.6)


# What runs and records give to think about


def recorded(schedule: dict[str, Any] | None, **rule: Any) -> dict[str, Any]:
    """Return what a store records of runs with this schedule and this perturbation."""
    spec: dict[str, Any] = {"optimiser": {"name": "sgd", "lr": 0.1}, "perturbation": rule or None}
    if schedule is not None:
        spec["optimiser"]["schedule"] = schedule
    return {"spec": spec}


def with_records(process: Process, schedule: dict[str, Any] | None, *, period: int = 20, **rule: Any) -> Study:
    """Return a study whose ensembles carry records of one schedule."""
    given_rule = {"name": "shrink_perturb", "period": period} | rule
    plain, kicked = (sampled(process, 3, n_runs=300, horizon=100, period=p) for p in (None, period))
    plain = dataclasses.replace(plain, meta=recorded(schedule))
    kicked = dataclasses.replace(kicked, meta=recorded(schedule, **given_rule))
    return Study(plain, {("kick", period): kicked}, process.threshold, n_boot=100)


def causes(study: Study, periods: list[int]) -> list[set[Cause]]:
    return [{note.cause for note in p.notes} for p in predict(study, periods).predictions]


def test_a_measured_mean_that_is_open_says_why() -> None:
    kicked = sampled(DELAYED, 1, period=20)
    never = dataclasses.replace(
        kicked, metrics={"test_metric": np.where(np.arange(kicked.n_epochs) < 20, kicked.metric(), 0)}
    )
    assert [Cause.FEW_PASSED in c for c in causes(Study(sampled(DELAYED, 0), {KEY: never}, 0.5), [20, 40])] == [
        True,
        False,
    ]


def test_a_full_reset_that_is_not_what_unperturbed_runs_predict_is_said() -> None:
    kicked, plain = (sampled(DELAYED, seed, period=period) for seed, period in ((1, 20), (0, None)))
    soon = np.where(np.arange(kicked.n_epochs) < 20, kicked.metric(), 1)
    runs = dataclasses.replace(kicked, metrics={"test_metric": soon})
    for name, said in (("full_reset", True), ("reset", False)):
        advice = recommend(Study(plain, {(name, 20): runs}, 0.5)).advice
        assert any(line.startswith("But with full_reset every 20 epochs training takes") for line in advice) is said


@pytest.mark.parametrize(
    ("schedule", "horizon", "steady"),
    [
        (CONSTANT, 100, 1),
        ({"name": "step", "every": 30}, 100, 91),
        ({"name": "step", "every": 30}, 91, None),  # it falls in the very last epoch
        ({"name": "step", "every": 5, "factor": 1.0}, 100, 1),
        ({"name": "cosine", "epochs": 50}, 100, 51),
        ({"name": "cosine", "epochs": 50, "floor": 1.0}, 100, 1),
        ({"name": "of my own", "every": 3}, 100, None),
    ],
)
def test_the_learning_rate_is_steady_from_its_last_change_on(
    schedule: dict[str, Any], horizon: int, steady: int | None
) -> None:
    assert Origin({"optimiser": {"schedule": schedule}}).steady_from(horizon) == steady


schedules = st.one_of(
    st.fixed_dictionaries({"name": st.just("step"), "every": st.integers(1, 80), "factor": st.floats(0.1, 1)}),
    st.fixed_dictionaries({"name": st.just("cosine"), "epochs": st.integers(1, 80), "floor": st.floats(0, 1)}),
)


@given(schedule=schedules, horizon=st.integers(2, 100), period=st.integers(1, 100), at=st.integers(1, 100))
def test_doubt_is_symmetric_fades_with_later_periods_and_never_falls_on_a_measurement(
    schedule: dict[str, Any], horizon: int, period: int, at: int
) -> None:
    origins = (Origin({"optimiser": {"schedule": schedule}}),)

    def doubted(period: int, at: int) -> bool:
        return bool(list(doubts(origins, horizon=horizon, period=period, source=at)))

    assert doubted(period, at) == doubted(at, period)
    assert not doubted(period, period)
    assert doubted(period, at) or period == at or not doubted(period + 1, at + 1)


def test_a_falling_learning_rate_is_noted_by_the_record_and_by_nothing_else() -> None:
    known = with_records(ANNEALED, COSINE)
    assert [Cause.SCHEDULE in c for c in causes(known, [10, 20, 50])] == [True, False, True]
    assert not [c for c in causes(with_records(ANNEALED, None), [30, 50]) if Cause.SCHEDULE in c]
    ended = with_records(DELAYED, {"name": "cosine", "epochs": 19, "floor": 0.1})
    assert [Cause.SCHEDULE in c for c in causes(ended, [15, 25])] == [True, False]


def test_a_warm_restart_over_its_period_is_another_one_at_another_period() -> None:
    for length, noted in ((None, True), (10, False)):
        known = with_records(DELAYED, None, name="warm_restart", length=length, floor=0.1)
        assert [Cause.TIED in c for c in causes(known, [20, 25])] == [False, noted]


def test_what_was_trained_otherwise_is_noted() -> None:
    known = with_records(DELAYED, None)
    other = recorded(None, name="shrink_perturb", period=20)
    other["spec"]["optimiser"] |= {"lr": 0.3, "nesterov": True}
    kicked = dataclasses.replace(known.perturbed[KEY], meta=other)  # type: ignore[type-var]
    (note,) = Study(known.unperturbed, {KEY: kicked}, 0.5).notes
    assert "optimiser.lr (0.1 and 0.3), optimiser.nesterov (the default and True)" in str(note)


def test_a_wrong_period_is_noted() -> None:
    wrong = sampled(DELAYED, 1, n_runs=1000, period=15)  # said to be perturbed every 40 epochs
    (note,) = Study(sampled(DELAYED, 0, n_runs=1000), {("kick", 40): wrong}, 0.5).notes
    assert note.cause is Cause.UNLIKE
    plain = sampled(PROCESS, 0, horizon=60)
    later = np.array(plain.metric())
    later[:, 20:] += 0.1  # perturbed at 20, and said to be perturbed at 10
    for values, until in ((later, "until epoch 20"), (plain.metric(), "to their end")):
        runs = dataclasses.replace(plain, metrics={"test_metric": values})
        (note,) = Study(plain, {("kick", 10): runs}, 1.5).notes
        assert note.cause is Cause.PERIOD
        assert until in str(note)
    right = dataclasses.replace(plain, metrics={"test_metric": later})
    assert Study(plain, {KEY: right}, 1.5).notes == ()
    (note,) = Study(plain, {("kick", 30): right}, 1.5, once=["kick"]).notes
    assert str(note).endswith("already at epoch 21; check whether they were perturbed at epoch 20")
    one_by_one = np.where(np.arange(60) > np.arange(plain.n_runs)[:, None] % 29, plain.metric() + 1e-9, plain.metric())
    for values in (one_by_one, plain.metric() + 1e-9):  # training that is not deterministic
        runs = dataclasses.replace(plain, metrics={"test_metric": values})
        assert Study(plain, {("kick", 30): runs}, 1.5).notes == ()


@pytest.mark.parametrize(
    ("rule", "restarts"),
    [
        ({"name": "full_reset"}, True),
        ({"name": "full_reset", "fresh_optimiser": False}, False),
        ({"name": "partial_reset", "fresh_optimiser": True}, False),
    ],
)
def test_a_full_restart_is_one_thing_for_records_and_rankings(rule: dict[str, Any], restarts: bool) -> None:
    assert is_full_reset(rule) is Origin({"perturbation": rule}).full_reset is restarts
    ranking = recommend(with_records(RESET, None, period=30, **rule), [20, 30, 40]).predictions
    assert {p.perturbation for p in ranking} == {None, "kick"} | (set() if restarts else {"full_reset"})
    methods = {p.period: p.method for p in ranking if p.perturbation == "kick"}
    other = "restart" if restarts else "cycles"
    assert methods == {20: other, 30: "measured", 40: other}


def test_there_is_no_quasi_steady_state_while_the_learning_rate_changes() -> None:
    settles = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=3.0, start=-3.0)
    plain = sampled(settles, 3, n_runs=400, horizon=200)

    def state(schedule: dict[str, Any] | None) -> QuasiSteadyState:
        return assess_qss(Study(dataclasses.replace(plain, meta=recorded(schedule)), {}, 3.0))

    free, ended = state(None), state({"name": "cosine", "epochs": 30})
    assert free.reached
    assert (free.relaxation_epoch or 99) < 20
    for schedule in (
        {"name": "cosine", "epochs": 400},
        {"name": "step", "every": 25, "factor": 0.1},
    ):  # it steps at 176
        assert not state(schedule).reached
        assert f"although the metric looks settled from epoch {free.relaxation_epoch} on" in state(schedule).reasons[0]
    assert ended.reached
    assert (ended.relaxation_epoch or 0) >= 31
    assert "'cosine'" in ended.reasons[0]


# Refused


RULE = {"name": "shrink_perturb", "repeat": "periodic", "period": 20}


@pytest.mark.parametrize(
    ("unperturbed", "perturbed", "once", "message"),
    [
        (None, RULE, ["kick"], "perturbed shrink_perturb every 20 epochs, says their record, and not once only"),
        (None, RULE | {"period": 30}, [], "given as perturbed at epoch 20 have shrink_perturb every 30 epochs"),
        (None, None, [], "trained without perturbation"),
        (RULE, RULE, [], "swapped"),
    ],
)
def test_runs_that_their_record_calls_something_else_are_refused(
    unperturbed: dict[str, Any] | None, perturbed: dict[str, Any] | None, once: list[str], message: str
) -> None:
    plain, kicked = sampled(DELAYED), sampled(DELAYED, period=20)
    plain = dataclasses.replace(plain, meta=recorded(None, **(unperturbed or {})))
    kicked = dataclasses.replace(kicked, meta=recorded(None, **(perturbed or {})))
    with pytest.raises(InputError, match=message):
        Study(plain, {KEY: kicked}, 0.5, once=once)


def test_once_and_again_are_not_mixed() -> None:
    plain, first, second = sampled(DELAYED), sampled(DELAYED, period=20), sampled(DELAYED, period=30)
    once = dataclasses.replace(first, meta=recorded(None, **RULE | {"repeat": "once"}))
    assert Study(plain, {KEY: once}, 0.5).once == {"kick"}
    with pytest.raises(InputError, match="kick was applied once in one ensemble and periodically in another"):
        Study(plain, {KEY: once, ("kick", 30): second}, 0.5)
    with pytest.raises(InputError, match="once names other, of which no runs were given"):
        Study(plain, {KEY: first}, 0.5, once=["other"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"period": 0}, "period 0 of the runs of kick is not between 1 and 29"),
        ({"period": 30}, "period 30 of the runs of kick is not between 1 and 29"),
        ({"target": 7.5}, "no run reaches the threshold 7.5 (above); the best values are 6 (unperturbed), 6 (kick_20)"),
        ({"level": 95.0}, "level 95.0 is not between 0 and 1"),
        ({"target": Target(6.0, metric="loss")}, "no metric 'loss'"),
        ({"target": 0.0}, "all unperturbed runs reach 0 at epoch 1: is 0 on the scale of the metric"),
        ({"seed": -1}, "seed -1 is not possible"),
        ({"n_boot": 1}, "n_boot 1 is too small"),
    ],
)
def test_bad_input_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    plain, kicked = sampled(CHAIN, 0, n_runs=200, horizon=30), sampled(CHAIN, 0, n_runs=200, horizon=30, period=20)
    options = {"period": 20, "target": 6.0, "n_boot": 20, **change}
    with pytest.raises(InputError) as refused:
        predict(Study(plain, {("kick", options.pop("period")): kicked}, options.pop("target"), **options))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_percentages_and_fractions_are_not_mixed() -> None:
    plain, kicked = sampled(PROCESS, 0, horizon=60), sampled(PROCESS, 1, horizon=60, period=10)
    cent = dataclasses.replace(kicked, metrics={"test_metric": 100 * kicked.metric()})
    for one, other in ((plain, cent), (cent, kicked)):
        with pytest.raises(InputError, match="are both in the same unit"):
            Study(one, {("kick", 10): other}, 1.5)


@pytest.mark.parametrize(
    ("plain", "kicked", "message"),
    [
        (
            ("step", 100),
            ("step", 200),
            "one epoch is 100 steps of the log a for the unperturbed runs and 200 steps of the log b for those of",
        ),
        (("step", 100), ("step", 150), "every=300 for both"),
        (("epoch", 1), ("epoch", 5), "1 epoch of the log a for the unperturbed runs and 5 epochs of the log b for"),
        (("epoch", 1), ("step", 100), "axis='step' for both"),
        (("epoch", 5), ("step", 5), "axis='step' for both"),
        (("epoch", 1), ("step", 1), None),
        (("step", 100), ("step", 100), None),
        (("step", 100), None, None),
    ],
)
def test_one_epoch_is_the_same_in_all_ensembles(
    plain: tuple[str, int], kicked: tuple[str, int] | None, message: str | None
) -> None:
    ensembles = []
    for i, (source, unit) in enumerate((("a", plain), ("b", kicked))):
        runs = PROCESS.sample(np.random.default_rng(i), n_runs=60, horizon=40, period=20 * i or None)
        meta = {"source": source, **({} if unit is None else dict(zip(("axis", "every"), unit, strict=True)))}
        ensembles.append(dataclasses.replace(runs, meta=meta))
    if message is None:
        assert Study(ensembles[0], {KEY: ensembles[1]}, 1.5).horizon == 40
        return
    with pytest.raises(InputError) as refused:
        Study(ensembles[0], {KEY: ensembles[1]}, 1.5)
    assert message in str(refused.value)


def test_the_same_run_twice_is_noted_in_each_ensemble() -> None:
    plain, kicked = (
        PROCESS.sample(np.random.default_rng(i), n_runs=60, horizon=40, period=p) for i, p in ((0, None), (1, 20))
    )
    assert not [note for note in Study(plain, {KEY: kicked}, 1.5).notes if note.cause is Cause.TWICE]
    twice = [
        Trajectories(metrics={name: np.concatenate([v, v[:2]]) for name, v in runs.metrics.items()}, run=np.arange(62))
        for runs in (plain, kicked)
    ]
    messages = [str(note) for note in Study(twice[0], {KEY: twice[1]}, 1.5).notes if note.cause is Cause.TWICE]
    equal = "runs 0 and 60 and 1 more pair are equal over all their 40 common epochs: if they are one training run"
    assert [
        note.startswith(f"{name}, {equal}")
        for name, note in zip(("unperturbed", "kick every 20 epochs"), messages, strict=True)
    ] == [True] * 2


def test_unlike_metrics_before_the_perturbation_are_noted() -> None:
    plain, kicked = sampled(SHRINK, 0, horizon=60), sampled(SHRINK, 1, horizon=60, period=20)
    assert Study(plain, {KEY: kicked}, 1.5).notes == ()
    lower = dataclasses.replace(kicked, metrics={"test_metric": kicked.metric() - 0.5})
    assert Cause.UNLIKE in {note.cause for note in Study(plain, {KEY: lower}, 1.5).notes}
    later = np.where(np.arange(60) < 19, kicked.metric(), kicked.metric() - 0.5)  # nobody passes otherwise up to there
    shifted = dataclasses.replace(kicked, metrics={"test_metric": later})
    assert Cause.UNLIKE_METRIC in {note.cause for note in Study(plain, {KEY: shifted}, 1.5).notes}


@pytest.mark.parametrize("key", ["k", ("kick",), ("kick", "20"), ("kick", 20.0), (20, "kick")])
def test_keys_that_are_no_perturbation_and_period_are_refused(key: Any) -> None:
    with pytest.raises(InputError, match="named by perturbation and period"):
        Study(sampled(DELAYED), {key: sampled(DELAYED, period=20)}, 0.5)


def test_every_result_is_a_row_and_json() -> None:
    known = study(DELAYED)
    answer = predict(known, [10, 20, 40])
    for record in (answer, answer.predictions[0], compare(answer, {("kick", 10): known.plain}), linear_response(known)):
        json.dumps(record.to_dict(), allow_nan=False)
        assert len(record.to_frame().columns) > 2
    assert {"mean", "low", "high", "grade"} <= set(answer.predictions[0].to_frame())


def test_runs_that_jump_where_others_are_perturbed_are_swapped() -> None:
    def runs(seed: int, period: int | None) -> Trajectories:
        values = 1 - 0.5 ** np.arange(1, 31) + 0.05 * np.random.default_rng(seed).standard_normal((20, 30))
        for epoch in range(period or 30, 30, period or 30):
            values[:, epoch : epoch + 2] -= 0.5
        return Trajectories({"m": values}, np.arange(20) + 100 * seed)

    for unperturbed, perturbed, swapped in ((None, 10, False), (10, None, True), (None, None, False), (10, 10, False)):
        study = Study(runs(0, unperturbed), {("kick", 10): runs(1, perturbed)}, 1.1)
        assert (Cause.SWAPPED in [note.cause for note in study.notes]) == swapped
        if swapped:
            first, *_ = recommend(study).advice
            assert first.startswith("Check this first: after epoch 10 the metric of the unperturbed runs jumps")
