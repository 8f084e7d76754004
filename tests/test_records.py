"""What records of the training say against a prediction: schedules, perturbations tied to their period, labels that disagree."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fptlib.errors import InputError
from fptlib.former import linear_response, plan, predict, recommend
from fptlib.former.records import Records
from fptlib.former.verdicts import Status
from fptlib.optimise.candidates import Candidate
from fptlib.processes import Annealed, OrnsteinUhlenbeck, Process
from fptlib.qss import judge
from fptlib.trajectories import Trajectories
from fptlib.trajectories.origin import Origin, is_full_reset
from known import DELAYED, KICK, RESET

ANNEALED = Annealed(hazard=0.005, hazard_after=0.15, epochs=100)
SETTLES = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=3.0, start=-3.0)
COSINE = {"name": "cosine", "epochs": 200}
CONSTANT = {"name": "constant"}
FEW = {"n_boot": 200}


def scheduled(schedule: dict[str, Any] | None, **rule: Any) -> dict[str, Any]:
    """Return what a store records of runs with this schedule and this perturbation."""
    spec: dict[str, Any] = {"optimiser": {"name": "sgd", "lr": 0.1}, "perturbation": rule or None}
    if schedule is not None:
        spec["optimiser"]["schedule"] = schedule
    return {"spec": spec}


def sampled(
    process: Process, meta: dict[str, Any], *, period: int | None = None, n_runs: int = 400, horizon: int = 100
) -> Trajectories:
    """Return a sample of the process with a record, runs of no two periods sharing a label."""
    runs = process.sample(np.random.default_rng([3, period or 0]), n_runs=n_runs, horizon=horizon, period=period)
    return dataclasses.replace(runs, run=runs.run + 10**6 * (period or 0), meta=meta)


def both(process: Process, schedule: dict[str, Any] | None, *, period: int = 20, **rule: Any) -> list[Trajectories]:
    """Return an unperturbed and a perturbed ensemble of one schedule."""
    given = {"name": "shrink_perturb", "period": period} | rule
    return [sampled(process, scheduled(schedule)), sampled(process, scheduled(schedule, **given), period=period)]


# Closed forms


@pytest.mark.parametrize(
    ("schedule", "horizon", "steady"),
    [
        (CONSTANT, 100, 1),
        ({"name": "step", "every": 30}, 100, 91),
        ({"name": "step", "every": 30}, 91, None),  # it falls in the very last epoch
        ({"name": "step", "every": 30}, 92, 91),
        ({"name": "step", "every": 100}, 100, 1),
        ({"name": "step", "every": 5, "factor": 1.0}, 100, 1),
        ({"name": "cosine", "epochs": 50}, 100, 51),
        ({"name": "cosine", "epochs": 50}, 51, None),
        ({"name": "cosine", "epochs": 50, "floor": 1.0}, 100, 1),
        ({"name": "of my own", "every": 3}, 100, None),
    ],
)
def test_the_learning_rate_is_steady_from_its_last_change_on(
    schedule: dict[str, Any], horizon: int, steady: int | None
) -> None:
    assert Origin({"optimiser": {"schedule": schedule}}).steady_from(horizon) == steady


def test_the_annealed_process_passes_by_the_product_of_its_hazards() -> None:
    process = Annealed(hazard=0.02, hazard_after=0.3, epochs=40, floor=0.1)
    for period in (1, 7, 39, 60):
        factor = [
            0.1 + 0.9 * (1 + math.cos(math.pi * min((t - 1) / 40, 1))) / 2 for t in range(period + 1, period + 4000)
        ]
        left = np.cumprod([1.0, *(1 - (0.02 + 0.28 * c) for c in factor)])
        assert process.residual_mean(period) == pytest.approx(left.sum(), rel=1e-9)
    assert process.mfpt() == pytest.approx(50)


# Laws


schedules = st.one_of(
    st.fixed_dictionaries({"name": st.just("step"), "every": st.integers(1, 80), "factor": st.floats(0.1, 1)}),
    st.fixed_dictionaries({"name": st.just("cosine"), "epochs": st.integers(1, 80), "floor": st.floats(0, 1)}),
)


@given(schedule=schedules, horizon=st.integers(2, 100), period=st.integers(1, 100), measured=st.integers(1, 100))
def test_doubt_is_symmetric_fades_with_later_periods_and_never_falls_on_a_measurement(
    schedule: dict[str, Any], horizon: int, period: int, measured: int
) -> None:
    records = Records(horizon, (Origin({"optimiser": {"schedule": schedule}}),))
    assert (records.doubt(period, measured) is None) == (records.doubt(measured, period) is None)
    assert records.doubt(period, period) is None
    if records.doubt(period, measured) is None and period != measured:
        assert records.doubt(period + 1, measured + 1) is None


# Limits


@pytest.mark.parametrize("schedule", [None, CONSTANT, {"name": "step", "every": 100}])
def test_a_schedule_that_changes_nothing_changes_no_verdict(schedule: dict[str, Any] | None) -> None:
    asked: dict[str, Any] = {"period": 20, "threshold": 0.5, "periods": [10, 15, 20, 40], **FEW}
    without = predict(*(dataclasses.replace(runs, meta={}) for runs in both(DELAYED, None)), **asked)
    told = predict(*both(DELAYED, schedule), **asked)
    assert told.predictions == without.predictions
    assert told.quasi_steady_state.reasons == without.quasi_steady_state.reasons
    assert told.notes == without.notes


def test_a_schedule_that_ends_before_both_perturbations_leaves_no_doubt() -> None:
    asked: dict[str, Any] = {"period": 20, "threshold": 0.5, "periods": [15, 25, 30], **FEW}
    without = predict(*both(DELAYED, None), **asked).predictions
    ended = predict(*both(DELAYED, {"name": "cosine", "epochs": 19, "floor": 0.1}), **asked).predictions
    assert ["cosine" in p.reason for p in ended] == [True, False, False]
    assert ended[1:] == without[1:]
    assert all(p.valid for p in ended[1:])


# Noticed: what the trajectories cannot show


def test_a_falling_learning_rate_is_noticed_by_the_record_and_by_nothing_else() -> None:
    asked: dict[str, Any] = {"period": 20, "threshold": 0.5, "periods": [10, 20, 50, 70], "form": "2", **FEW}
    runs = both(ANNEALED, COSINE)
    blind = predict(*(dataclasses.replace(r, meta={}) for r in runs), **asked)
    told = predict(*runs, **asked)
    off = blind.predictions[2].mean / ANNEALED.restricted_mean(horizon=100, period=50) - 1
    assert off < -0.1
    assert blind.predictions[2].valid  # wrong, and the metric has nothing to say
    assert blind.quasi_steady_state.reached
    assert not told.quasi_steady_state.reached
    assert "'cosine'" in told.quasi_steady_state.reasons[0]
    statuses = [p.verdict.status for p in told.predictions]
    assert statuses == [Status.UNVERIFIED, Status.VALID, Status.UNVERIFIED, Status.UNVERIFIED]
    assert all("'cosine'" in p.reason for p in told.predictions if not p.valid)
    assert [p.mean for p in told.predictions] == [p.mean for p in blind.predictions]


def test_two_measured_periods_speak_for_and_against_what_the_record_doubts() -> None:
    plain, at_20 = both(ANNEALED, COSINE)
    at_60 = sampled(ANNEALED, scheduled(COSINE, name="shrink_perturb", period=60), period=60)
    found = predict(plain, at_20, period=20, threshold=0.5, periods=[60, 70], form="2", others={60: at_60}, **FEW)
    assert found.predictions[0].reason.startswith("measured")
    assert found.predictions[1].verdict.status is Status.NOT_VALID
    plain, at_20 = both(DELAYED, COSINE)  # whatever the rate does, this process does not care
    at_60 = sampled(DELAYED, scheduled(COSINE, name="shrink_perturb", period=60), period=60)
    alone = predict(plain, at_20, period=20, threshold=0.5, periods=[40], **FEW).predictions[0]
    held = predict(plain, at_20, period=20, threshold=0.5, periods=[40], others={60: at_60}, **FEW).predictions[0]
    assert (alone.verdict.status, held.verdict.status) == (Status.UNVERIFIED, Status.VALID)


def test_a_mean_that_has_no_choice_is_valid_under_any_schedule() -> None:
    runs = both(DELAYED, COSINE)
    (last,) = predict(*runs, period=20, threshold=0.5, periods=[99], **FEW).predictions
    assert last.valid
    assert last.reason.startswith("whatever")


def test_the_state_is_none_while_the_learning_rate_changes() -> None:
    plain = sampled(SETTLES, {}, horizon=200)
    free = judge(plain, threshold=3.0)
    assert free.relaxation_epoch is not None
    assert free.relaxation_epoch < 20
    falling = judge(dataclasses.replace(plain, meta=scheduled({"name": "cosine", "epochs": 400})), threshold=3.0)
    assert not falling.reached
    assert falling.relaxation_epoch is None
    assert f"although the metric looks settled from epoch {free.relaxation_epoch} on" in falling.reasons[0]
    ended = judge(
        dataclasses.replace(plain, meta=scheduled({"name": "step", "every": 25, "factor": 0.1})), threshold=3.0
    )
    assert not ended.reached  # it steps at epoch 176
    ended = judge(dataclasses.replace(plain, meta=scheduled({"name": "cosine", "epochs": 30})), threshold=3.0)
    assert ended.reached
    assert ended.relaxation_epoch is not None
    assert ended.relaxation_epoch >= 31
    assert "'cosine'" in ended.reasons[0]
    never = judge(
        dataclasses.replace(sampled(ANNEALED, scheduled(COSINE)), metrics={"m": np.arange(100.0) * np.ones((400, 1))}),
        threshold=1e9,
    )
    assert "'cosine'" in never.reasons[0]
    assert any("still changes" in reason for reason in never.reasons)


def test_a_full_reset_under_a_schedule_is_no_restart() -> None:
    asked: dict[str, Any] = {"period": 30, "threshold": 1.5, "periods": [20, 30], **FEW}
    rule = {"name": "full_reset", "fresh_optimiser": True}
    still = predict(*both(RESET, None, period=30, **rule), **asked).predictions
    falls = predict(*both(RESET, COSINE, period=30, **rule), **asked).predictions
    assert [p.form for p in still] == [4, 4]
    assert [p.form for p in falls] != [4, 4]
    assert [p.verdict.status for p in falls] == [Status.UNVERIFIED, Status.VALID]
    forced = predict(*both(RESET, COSINE, period=30, **rule), form="4", **asked).predictions
    assert forced[0].verdict.status is Status.UNVERIFIED
    alone = recommend(sampled(RESET, scheduled(COSINE)), {}, threshold=1.5, periods=[20, 40], **FEW)
    assert {o.prediction.verdict.status for o in alone.ranking} == {Status.UNVERIFIED}
    assert all("'cosine'" in o.reason for o in alone.ranking)
    assert "'cosine'" in alone.advice
    assert recommend(sampled(RESET, scheduled(None)), {}, threshold=1.5, periods=[20, 40], **FEW).best is not None


def test_a_schedule_is_noticed_by_all_that_predicts() -> None:
    plain, kicked = both(KICK, COSINE)
    for verdict in (
        recommend(plain, {("kick", 20): kicked}, threshold=0.5, periods=[10, 20], **FEW).ranking[1].prediction.verdict,
        linear_response(plain, kicked, period=20, threshold=0.5, **FEW).verdict,
    ):
        assert verdict.status is Status.UNVERIFIED
        assert "'cosine'" in verdict.reason


@pytest.mark.parametrize(
    ("rule", "restarts"),
    [
        ({"name": "full_reset"}, True),
        ({"name": "full_reset", "fresh_optimiser": True}, True),
        ({"name": "full_reset", "fresh_optimiser": False}, False),
        ({"name": "partial_reset", "fresh_optimiser": True}, False),
    ],
)
def test_a_full_restart_is_one_thing_for_records_candidates_and_rankings(rule: dict[str, Any], restarts: bool) -> None:
    assert is_full_reset(rule) is Origin({"perturbation": rule}).full_reset is restarts
    assert Candidate("reset", rule).restarts is restarts
    plain, kicked = both(RESET, None, period=30, **rule)
    ranking = recommend(plain, {("again", 30): kicked}, threshold=1.5, periods=[20, 40], **FEW).ranking
    assert {o.perturbation for o in ranking} == ({"again"} if restarts else {"again", "full_reset"})
    assert ({o.prediction.form for o in ranking if o.perturbation == "again"} == {4}) is restarts


@pytest.mark.parametrize(("length", "status"), [(None, Status.UNVERIFIED), (10, Status.VALID)])
def test_a_warm_restart_over_its_period_is_another_one_at_another_period(length: int | None, status: Status) -> None:
    runs = both(DELAYED, None, name="warm_restart", length=length, floor=0.1)
    found = predict(*runs, period=20, threshold=0.5, periods=[25, 20, 30], **FEW).predictions
    assert [p.verdict.status for p in found] == [status, Status.VALID, status]
    if length is None:
        assert "warm_restart anneals the learning rate over its period" in found[0].reason
        assert "warm_restart" in linear_response(*runs, period=20, threshold=0.5, **FEW).verdict.reason


def test_what_was_trained_otherwise_is_said() -> None:
    plain, kicked = both(DELAYED, None)
    other = scheduled(None, name="shrink_perturb", period=20)
    other["spec"]["optimiser"] |= {"lr": 0.3, "nesterov": True}
    asked: dict[str, Any] = {"threshold": 0.5, "periods": [20], **FEW}
    assert predict(plain, kicked, period=20, **asked).notes == ()
    (note,) = predict(plain, dataclasses.replace(kicked, meta=other), period=20, **asked).notes
    assert "optimiser.lr (0.1 and 0.3), optimiser.nesterov (the default and True)" in note
    ranked = recommend(plain, {("kick", 20): dataclasses.replace(kicked, meta=other)}, **asked)
    assert "kick every 20 were not trained alike" in ranked.advice


# Refused


RULE = {"name": "shrink_perturb", "repeat": "periodic", "period": 20}


@pytest.mark.parametrize(
    ("unperturbed", "perturbed", "said"),
    [
        (None, RULE | {"repeat": "once"}, "at epoch 20 only"),
        (None, RULE | {"period": 30}, "given as perturbed at epoch 20 have shrink_perturb every 30 epochs"),
        (None, None, "trained without perturbation"),
        (RULE, RULE, "swapped"),
    ],
)
def test_runs_that_their_record_calls_something_else_are_refused(
    unperturbed: dict[str, Any] | None, perturbed: dict[str, Any] | None, said: str
) -> None:
    plain = sampled(DELAYED, scheduled(None, **(unperturbed or {})))
    kicked = sampled(DELAYED, scheduled(None, **(perturbed or {})), period=20)
    with pytest.raises(InputError, match=said):
        predict(plain, kicked, period=20, threshold=0.5, **FEW)
    with pytest.raises(InputError, match=said):
        recommend(plain, {("kick", 20): kicked}, threshold=0.5, **FEW)
    with pytest.raises(InputError, match=said):
        plan(plain, kicked, period=20, threshold=0.5, periods=[20])
