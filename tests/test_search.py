"""The closed loop: its accounts and rules by closed forms and laws, then whole searches on processes with a known optimum, and live."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion import ROOT, book
from fptlib import spec
from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.processes import FiniteChain, FrozenMixture, GeometricWithKick, OrnsteinUhlenbeck, Process
from fptlib.qss import relaxation
from fptlib.response import recommend
from fptlib.search import Candidate, Ledger, Live, Recorded, Search, Settings, Trial, optimise, parse
from fptlib.search.evidence import gather
from fptlib.search.planning import fork_period
from fptlib.search.result import SearchResult
from fptlib.study import Study
from fptlib.trajectories import Target, Trajectories
from known import CHAIN, DELAYED, recorded

KICK = Candidate("kick", {"name": "shrink_perturb"})
OTHER = Candidate("other", {"name": "partial_reset"})
RESET = Candidate("reset", {"name": "full_reset"})
PERIODS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100)
HORIZON = 200
# A kick silences a run for four epochs and raises its hazard from then on: nobody passes if it comes every four epochs.
STEPS = np.eye(6, k=1)
STEPS[0], STEPS[5] = 0.99 * np.eye(6)[0], 0.8 * np.eye(6)[5]
INTERIOR = FiniteChain(transition=STEPS, perturbation=np.tile(np.eye(6)[1], (6, 1)), start=np.eye(6)[0])
# A run that is kicked passes at once with 1/4: the shortest period is the best one.
EDGE = GeometricWithKick(hazard=0.01, kick=0.25)
AT = Target(0.5, metric="test_metric")
KEPT = ROOT / "book" / "results" / "closed_loop"


def exact(process: Process, period: int | None = None, *, horizon: int = HORIZON) -> float:
    return process.restricted_mean(horizon=horizon, period=period)


def searched(process: Process, *, seed: int = 0, threshold: float | None = None, **options: Any) -> SearchResult:
    """A search over one known process."""
    at = threshold if threshold is not None else 5.5 if process is INTERIOR else 0.5
    source = recorded({"kick": process}, PERIODS, horizon=HORIZON, threshold=at, seed=seed)
    return optimise(source, [KICK], settings=Settings(**{"periods": PERIODS, "n_boot": 200, **options}))


@cache
def searches(name: str) -> tuple[SearchResult, ...]:
    """Three searches with each process, other runs in each."""
    process = {"interior": INTERIOR, "edge": EDGE}[name]
    return tuple(searched(process, seed=seed, budget=20_000) for seed in range(3))


# -- closed forms


def test_the_ledger_pays_prefixes_once_and_passed_runs_no_more() -> None:
    ledger = Ledger()
    passed, time = np.array([True, True, False]), np.array([4, 12, 30])
    assert ledger.charge(None, period=None, followed=np.array([4, 10, 10]), passed=np.array([True, False, False])) == 24
    assert ledger.charge("kick", period=10, followed=time, passed=passed) == 2 + 20
    assert ledger.charge("kick", period=10, followed=time, passed=passed) == 0
    assert (
        ledger.charge("other", period=20, followed=time, passed=passed) == 2 + 10 + 10
    )  # epochs 11 and 12 are not perturbed here
    assert (ledger.spent, ledger.unperturbed, ledger.perturbed("kick")) == (68, 36, 22)
    assert ledger.at_most("kick", period=10, n_runs=3, epochs=50) == 20  # of the run that has not passed
    assert ledger.at_most("kick", period=10, n_runs=4, epochs=50) == 20 + 50


def test_without_sharing_every_run_is_paid_from_its_first_epoch() -> None:
    ledger = Ledger(shared=False)
    time, passed = np.array([4, 12]), np.array([True, True])
    assert ledger.charge("kick", period=10, followed=time, passed=passed) == 16
    assert ledger.charge("kick", period=5, followed=time, passed=passed) == 16
    assert ledger.at_most("kick", period=5, n_runs=3, epochs=7) == 7


def test_rest_is_found_where_the_mean_stops_to_move() -> None:
    epoch, run = np.arange(1.0, 65.0), np.linspace(-1, 1, 10)[:, None]
    rising = Trajectories({"m": np.minimum(epoch, 9) + run}, np.arange(10))
    times = FirstPassageTimes(np.full(10, 64), np.zeros(10, bool), np.arange(10))
    start = relaxation(rising, times, metric="m")
    assert start == 9  # the spread is 0.64: a shift of 1, from 8, is too much
    assert fork_period(times, (2, 5, 10, 20, 30, 50), start=start, epochs=64) == 30  # its double was followed
    assert fork_period(times, (2, 5), start=start, epochs=64) == 5  # none is long enough: the longest
    falling = Trajectories({"m": epoch + run}, np.arange(10))
    assert relaxation(falling, times, metric="m") is None


def test_arms_have_the_intervals_and_centres_of_predictions() -> None:
    """With all runs followed to the horizon the arms are what `recommend` says of the same runs."""
    source = recorded({"kick": DELAYED}, (20, 50), horizon=HORIZON, threshold=0.5)
    plain = source.runs(n_runs=100, epochs=HORIZON)
    cells: dict[Any, Trajectories] = {
        (KICK, p): source.runs(KICK, period=p, n_runs=80, epochs=HORIZON) for p in (20, 50)
    }
    how: dict[str, Any] = {"source": source, "start": 13, "settings": Settings(n_boot=100)}
    seen = gather({(None, None): plain, **cells}, candidates=[KICK, RESET], periods=PERIODS, **how)
    study = Study(plain, {("kick", p): runs for (_, p), runs in cells.items()}, AT, n_boot=100)
    ranking = recommend(study, PERIODS)
    for p in ranking.predictions:
        candidate = None if p.period is None else KICK if p.perturbation == "kick" else RESET
        arm = seen.arm(candidate, p.period)
        assert arm.prediction.centre == pytest.approx(p.centre)
        assert arm.prediction.method == p.method
        assert arm.mean[0] == pytest.approx(p.centre)
        assert (arm.optimistic <= arm.mean + 1e-9).all()
        if p.perturbation == "kick":
            assert (arm.prediction.low, arm.prediction.high) == pytest.approx((p.low, p.high))


def test_runs_cut_short_leave_open_what_comes_after_them() -> None:
    """Followed to the second perturbation only: at best all pass right after it, at worst none does, and the truth lies between."""
    source = recorded({"kick": DELAYED}, (10,), horizon=HORIZON, threshold=0.5)
    plain = source.runs(n_runs=400, epochs=40)
    how: dict[str, Any] = {"candidates": [KICK, RESET], "periods": (10, 20, 100), "source": source}
    how |= {"start": 13, "settings": Settings(n_boot=100)}
    short, whole = (
        gather({(None, None): plain, (KICK, 10): source.runs(KICK, period=10, n_runs=400, epochs=n)}, **how).arm(
            KICK, 10
        )
        for n in (20, HORIZON)
    )
    assert (short.known, whole.known) == (False, True)
    assert short.prediction.low < exact(DELAYED, 10) < short.prediction.high
    assert short.prediction.factor > whole.prediction.factor
    seen = gather({(None, None): plain}, **how)
    assert seen.arm(None, None).bound
    assert seen.arm(RESET, 20).known
    assert seen.arm(RESET, 100).bound  # unperturbed runs were not followed so far
    assert seen.arm(KICK, 100).mean[0] == pytest.approx(seen.floor[0])


# -- laws


@given(st.data())
def test_what_is_paid_depends_on_what_was_asked_for_and_not_on_the_order(data: st.DataObject) -> None:
    """Run k has one passage for each cell, at its unperturbed epoch if that lies before the period."""
    unperturbed = np.array(data.draw(st.lists(st.integers(1, 40), min_size=3, max_size=3)))
    cells = {("a", 5): 7, ("b", 12): 20, ("a", 12): 3}
    lengths = {key: np.where(unperturbed <= key[1], unperturbed, key[1] + tau) for key, tau in cells.items()}
    chosen = data.draw(st.lists(st.sampled_from([None, *cells]), min_size=1, max_size=6))

    def spent(order: list[Any]) -> int:
        ledger, before = Ledger(), 0
        for key in order:
            label, period = key or (None, None)
            followed = unperturbed if key is None else lengths[key]
            ledger.charge(label, period=period, followed=followed, passed=np.ones(3, bool))
            assert ledger.spent >= before
            before = ledger.spent
        return ledger.spent

    assert spent(chosen) == spent(data.draw(st.permutations(chosen)))
    apart = sum(int((unperturbed if key is None else lengths[key]).sum()) for key in set(chosen))
    assert spent(chosen) <= apart  # without sharing


def test_more_runs_leave_those_that_were_drawn_as_they_are() -> None:
    source = recorded({"kick": EDGE}, (5,), horizon=50, threshold=0.5)
    few = source.runs(KICK, period=5, n_runs=8, epochs=50)
    more = source.runs(KICK, period=5, n_runs=50, epochs=50)
    np.testing.assert_array_equal(few.metric(), more.metric()[:8])


def test_common_seeds_are_drawn_with_all_their_runs() -> None:
    values = np.arange(20.0)[:, None] + np.zeros((20, 6))
    record = Trajectories({"test_metric": values}, np.arange(20))
    source = Recorded(
        record, {("kick", 2): record}, retirement=dataclasses.replace(AT, threshold=100.0), common_seeds=True
    )
    plain, kicked = source.runs(n_runs=9, epochs=6), source.runs(KICK, period=2, n_runs=9, epochs=6)
    np.testing.assert_array_equal(plain.metric(), kicked.metric())


# -- whole searches


@pytest.mark.slow
def test_an_optimum_inside_is_found() -> None:
    best = min(exact(INTERIOR, p) for p in PERIODS)
    for outcome in searches("interior"):
        assert outcome.choice is not None
        assert outcome.choice.perturbation == "kick"
        assert exact(INTERIOR, outcome.choice.period) <= 1.12 * best
        assert outcome.inside
        assert outcome.spent <= 20_000


@pytest.mark.slow
def test_an_optimum_at_the_edge_is_followed_to_shorter_periods() -> None:
    for outcome in searches("edge"):
        assert outcome.choice is not None
        assert outcome.choice.period == 1
        assert not outcome.inside  # nothing is shorter than an epoch
        tried = [step.what for step in outcome.steps if step.purpose == "bracket"]
        assert tried, "shorter periods than P0 were measured"
        assert outcome.fork_period is not None
        assert outcome.fork_period > 1
        assert outcome.candidates[0].measured[:2] == (1, 2)  # its neighbour was measured too


def test_the_interval_comes_from_runs_that_had_no_part_in_the_choice() -> None:
    covered = 0
    for name, process in (("interior", INTERIOR), ("edge", EDGE)):
        for outcome in searches(name):
            assert outcome.choice is not None
            assert outcome.fresh
            assert outcome.choice.n_runs == 32
            covered += outcome.choice.low <= exact(process, outcome.choice.period) <= outcome.choice.high
    assert covered >= 4  # of 6 intervals at 95 %: fewer has a chance of 0.2 %


@pytest.mark.slow
def test_a_perturbation_that_does_harm_is_dropped_and_not_to_perturb_is_chosen() -> None:
    outcome = searched(CHAIN, threshold=5.5, budget=30_000, seed=1, precision=0.1)
    assert outcome.choice is not None
    assert outcome.choice.perturbation is None
    assert outcome.choice.period is None
    assert not outcome.fresh
    assert outcome.candidates[0].status == "dropped"
    assert outcome.advice[0].startswith("Train without perturbation, which takes")


@pytest.mark.slow
def test_of_two_perturbations_the_worse_one_costs_little() -> None:
    """Both act on the same silent process; one kick is ten times weaker than the other."""
    weak = dataclasses.replace(DELAYED, hazard_after=0.025)
    source = recorded({"kick": DELAYED, "other": weak}, PERIODS, horizon=HORIZON, threshold=0.5, seed=1)
    outcome = optimise(source, [KICK, OTHER], settings=Settings(periods=PERIODS, n_boot=200, budget=20_000))
    assert outcome.choice is not None
    assert outcome.choice.perturbation == "kick"
    kick, other = outcome.candidates
    assert (kick.status, other.status) == ("chosen", "dropped")
    assert other.spent < kick.spent / 3
    assert len(kick.measured) > len(other.measured)


def test_a_full_reset_is_judged_without_perturbed_runs() -> None:
    reset = OrnsteinUhlenbeck(decay=0.8, noise=0.6, threshold=1.5, start=1.0)  # it starts near the threshold
    source = recorded({"reset": reset}, (), horizon=HORIZON, threshold=1.5, seed=2)
    outcome = optimise(source, [RESET], settings=Settings(periods=PERIODS, n_boot=200, budget=30_000))
    assert outcome.choice is not None
    assert outcome.candidates[0].measured == ()
    assert outcome.spent == outcome.spent_unperturbed
    assert outcome.choice.perturbation == "reset"
    assert exact(reset, outcome.choice.period) <= 1.3 * min(exact(reset, p) for p in PERIODS)


def test_without_rest_the_search_says_so_and_goes_on_by_measuring() -> None:
    """A metric that rises for the whole horizon; every kick passes a tenth of the runs."""

    class Climbing(GeometricWithKick):
        __slots__ = ()

        def sample(self, rng: np.random.Generator, **how: Any) -> Trajectories:
            runs = super(GeometricWithKick, self).sample(rng, **how)
            climb = np.arange(how["horizon"]) * 0.002 + rng.normal(0, 0.001, (how["n_runs"], 1))
            return Trajectories({"test_metric": np.where(runs.metric() > 0.5, 1.0, climb)}, runs.run)

    process = Climbing(hazard=0.01, kick=0.1)
    outcome = searched(process, budget=20_000)
    assert outcome.relaxation_epoch is None
    assert outcome.choice is not None
    assert exact(process, outcome.choice.period) <= 1.15 * exact(process, 1)
    assert outcome.choice.measured


def test_runs_that_never_pass_leave_nothing_to_recommend() -> None:
    outcome = searched(FrozenMixture(silent=0, good=0.0, good_after=0.0, hazard=0.5), budget=5_000)
    assert outcome.choice is None
    assert "no run reached" in outcome.advice[0]


@pytest.mark.slow
@pytest.mark.parametrize("budget", [300, 700, 1500, 4000])
def test_a_budget_is_never_exceeded(budget: int) -> None:
    for seed in range(2):
        outcome = searched(INTERIOR, budget=budget, seed=seed)
        assert outcome.spent <= budget
        spent = [step.spent for step in outcome.steps]
        assert spent == sorted(spent)


def test_a_search_that_ends_early_says_what_the_next_step_needs_and_what_was_left() -> None:
    outcome = searched(INTERIOR, budget=5000, confirm=0, seed=1)
    assert outcome.spent < 0.95 * 5000
    need, left, budget = map(
        int, re.findall(r"take (\d+) run-epochs, and (\d+) of the budget of (\d+)", outcome.stopped)[0]
    )
    assert (left, budget) == (5000 - outcome.spent, 5000)
    assert need > left
    assert f"(a budget of {outcome.spent + need} would pay for it, though" in outcome.stopped
    kept = searched(INTERIOR, budget=1500)
    left, reserved, took = map(
        int,
        re.findall(r"and (\d+) of .* left, (\d+) of them reserved.*; measuring the choice \D+ (\d+)", kept.stopped)[0],
    )
    assert reserved <= left == 1500 - kept.spent + took


def toy(trial: Trial, seed: int) -> list[float]:
    """Train towards a level that is drawn anew at each perturbation, up to the passage of 0.7."""
    rng = np.random.default_rng([trial.seed, seed])
    level, age, values = rng.random(), 0, list[float]()
    while len(values) < trial.epochs and max(values, default=0) < 0.7:
        age += 1
        values.append(level * (1 - 0.4**age))
        if trial.period and len(values) % trial.period == 0:
            level, age = rng.random(), 0
    return values


@pytest.mark.parametrize(("seed", "budget"), [(14, 1280), (0, 500), (0, 900), (1, 700)])
def test_a_step_that_cannot_be_finished_ends_no_search_and_is_not_tried_for_ever(seed: int, budget: int) -> None:
    search = Search("kick", 0.7, horizon=40, budget=budget, n_boot=50)
    for _ in range(budget):
        if (trial := search.ask()) is None:
            break
        search.tell(trial, toy(trial, seed))
    assert search.finished
    assert search.result().spent <= budget
    reserved = re.search(r"(\d+) of the budget of \d+ were left, (\d+) of them reserved", search.result().stopped)
    assert reserved is None or int(reserved[2]) <= int(reserved[1])
    if (choice := search.result().choice) is None or choice.perturbation is None:
        assert reserved is None


def test_a_coarser_precision_is_reached_with_fewer_epochs() -> None:
    coarse, fine = (searched(INTERIOR, precision=x, budget=60_000, seed=1) for x in (0.3, 0.08))
    assert coarse.decided
    assert coarse.spent < fine.spent
    assert "nothing else can be better by more than 30 %" in coarse.advice[1]


@pytest.mark.slow
def test_the_same_seed_makes_the_same_decisions() -> None:
    assert searched(INTERIOR, budget=3000).steps == searched(INTERIOR, budget=3000).steps
    assert searched(INTERIOR, budget=3000).steps != searched(INTERIOR, budget=3000, seed=5).steps


def test_a_larger_budget_goes_on_where_a_smaller_one_ended() -> None:
    small, large = (searched(INTERIOR, budget=budget, confirm=0).steps for budget in (800, 3000))
    assert len(small) < len(large)
    assert large[: len(small)] == small


def test_a_table_of_a_search_has_a_row_for_each_candidate() -> None:
    assert searches("edge")[0].to_frame()["status"].tolist() == ["chosen"]


@pytest.mark.parametrize("study", ["published", "digits", "masses", "mnist", "live"])
def test_what_is_kept_with_the_book_compares_the_loop_with_every_rival(study: str) -> None:
    table = pd.read_csv(KEPT / f"{study}.csv")
    assert "shared" in set(table["accounts"])
    assert table["repeats"].min() >= 20
    assert (table["low"] <= table["regret"] + 1e-3).all()
    rivals = {"full grid", "random search", "successive halving", "TPE with pruner"}
    rivals |= {"SMAC3 with Hyperband"} if study != "live" else set()
    assert set(table["method"].str.split(",").str[0]) == {"closed loop", *rivals}
    assert not table.duplicated(["threshold", "accounts", "method", "budget"]).any()


def test_the_summary_kept_follows_from_the_curves_kept() -> None:
    summary, profile = (pd.read_csv(KEPT / f"{name}.csv") for name in ("summary", "profile"))
    assert not summary.duplicated(["study", "threshold", "budget"]).any()
    for row in summary.itertuples():
        table = pd.read_csv(KEPT / f"{row.study}.csv").set_index(["threshold", "budget", "method"]).sort_index()
        at = table.loc[row.threshold, row.budget]["regret"]
        assert row.regret == at.drop("closed loop").min() == at[row.rival]
        assert row.ratio == pytest.approx(row.loop / row.budget, abs=1e-4)
        assert (row.ratio <= 1) == (at["closed loop"] <= row.regret)
    spent = profile.drop(columns=["study", "threshold", "budget"]).sum(axis=1)
    assert (spent <= profile["budget"]).all()


# -- ask and tell


def trained(trial: Trial, *, noise: int = 0) -> list[float]:
    """Train as `EDGE` says, up to the passage: from the seed alone, or with ``noise``, that does not repeat itself."""
    chance = np.random.default_rng([trial.seed, noise]).random(trial.epochs)
    after = np.arange(trial.epochs) % (trial.period or HORIZON) == 0  # the first epoch after a perturbation
    after[0] = False
    passed = chance < np.where(after, EDGE.kick, EDGE.hazard)
    return passed[: passed.argmax() + 1 if passed.any() else None].astype(float).tolist()


def asking(**how: Any) -> Search:
    return Search("kick", AT, **{"horizon": HORIZON, "periods": PERIODS, "n_boot": 100, "budget": 9000, **how})


def work(search: Search, *, most: int | None = None) -> list[Trial]:
    """Run what is wanted, or so many of it."""
    done: list[Trial] = []
    while (most is None or len(done) < most) and (trial := search.ask()) is not None:
        search.tell(trial, trained(trial)[trial.resume_from :], start=trial.resume_from)
        done.append(trial)
    return done


def test_whoever_trains_is_asked_for_what_leads_to_the_optimum() -> None:
    search = asking()
    done = work(search)
    result = search.result()
    assert search.finished
    assert search.ask() is None
    assert result.choice is not None
    assert (result.choice.perturbation, result.choice.period) == ("kick", 1)
    assert result.choice.low <= exact(EDGE, 1) <= result.choice.high
    assert result.notes == ()
    assert result.spent == sum(len(trained(trial)) - trial.resume_from for trial in done) <= 9000
    plain = {trial.seed: trained(trial) for trial in done if trial.period is None}
    for trial in done:  # no run is asked for whose first epochs are known to pass
        before = plain.get(trial.seed, [0.0])
        assert trial.period is None or before[-1] < 0.5 or len(before) > trial.period or trial.seed >= len(plain)


def test_asked_and_told_it_takes_the_steps_of_a_search_over_the_same_runs() -> None:
    """Where they cost the same: nobody passes before it is perturbed, and a run is resumed."""
    periods = (3, 5, 10)
    source = recorded({"kick": DELAYED}, periods, horizon=60, threshold=0.5, ledger=Ledger(shared=False))
    how: dict[str, Any] = {"periods": periods, "budget": 4000, "n_boot": 100}
    search = Search("kick", AT, horizon=60, resumes=True, **how)
    kick = parse("kick")[0]
    while (trial := search.ask()) is not None:
        runs = source._runs(trial.period and kick, trial.period, trial.seed + 1, trial.epochs)
        values = runs.metric()[-1, : runs.lengths[-1]]
        search.tell(trial, values[trial.resume_from :], start=trial.resume_from)
    expected = optimise(source, [kick], settings=Settings(**how))
    assert search.result().steps == expected.steps
    assert search.result().choice == expected.choice


def test_a_search_goes_on_from_its_file_and_its_workers_agree(tmp_path: Any) -> None:
    alone = asking(budget=4000)
    work(alone)
    path = tmp_path / "search.json"
    first = asking(budget=4000, state=path)
    work(first, most=5)
    lost = first.ask()  # by a worker that dies
    assert lost is not None
    others = [asking(budget=4000, state=path) for _ in range(2)]
    assert others[0].result().spent == first.result().spent > 0
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [*others, *others]))
    assert not others[0].finished
    others[1].release()
    work(others[0])
    assert others[0].finished
    for search in (first, *others, asking(budget=4000, state=path)):
        assert search.result() == alone.result()
    with pytest.raises(InputError, match=r"the state of another search \(its settings differ\)"):
        asking(budget=4000, precision=0.2, state=path)
    work(asking(budget=700, state=tmp_path / "small.json"))
    larger = asking(budget=1400, state=tmp_path / "small.json")
    before = larger.result().spent
    assert work(larger)
    assert before <= 700 < larger.result().spent <= 1400
    path.write_text("{")
    with pytest.raises(InputError, match=r"search\.json: not the state of a search"):
        asking(budget=4000, state=path)


WORKER = """
import numpy as np, fptlib as fpt
search, count = fpt.Search("kick", 0.98, horizon=60, budget=2000, n_boot=50, state=STATE), 0
while (trial := search.ask()) is not None:
    values = np.random.default_rng(trial.seed).random(trial.epochs)
    search.tell(trial, values if trial.period is None else np.r_[values[: trial.period], 1 - values[trial.period :]])
    count += 1
"""


@pytest.mark.slow
def test_processes_that_share_a_file_share_the_work(tmp_path: Any, root: Any) -> None:
    code = WORKER.replace("STATE", repr(str(tmp_path / "search.json")))
    workers = [subprocess.Popen([sys.executable, "-c", code], cwd=root) for _ in range(3)]
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    last: dict[str, Any] = {}
    exec(f"{code}\nsearch.release()\n{code}", last)  # what nobody was left to run when the others found nothing to do
    alone: dict[str, Any] = {}
    exec(WORKER.replace("STATE", "None"), alone)
    assert last["search"].finished
    assert last["search"].result() == alone["search"].result()
    assert len(last["search"]._state["told"]) == alone["count"]  # nothing was run twice


def test_a_run_that_was_killed_is_asked_for_again_from_where_it_ended() -> None:
    search, whole = asking(), asking()
    first = search.ask()
    assert first is not None
    values = [0.0] * 16
    search.tell(first, values[:5])
    again = search.ask()
    assert again is not None
    assert (again.seed, again.resume_from) == (0, 5)
    search.tell(again, values[5:], start=5)
    other = whole.ask()
    assert other is not None
    whole.tell(other, values)
    assert search.result() == whole.result()
    assert search.result().advice[0].startswith("Nothing can be recommended yet: runs are to be told of unperturbed: 8")


def test_what_comes_after_the_passage_is_spent_and_not_looked_at() -> None:
    one, other = asking(), asking()
    for search, values in ((one, [0.0, 1.0]), (other, [0.0, 1.0, 0.0, 0.2])):
        while (trial := search.ask()) is not None and trial.period is None:
            search.tell(trial, values)
    assert (one.result().spent, other.result().spent) == (16, 32)
    assert one.result().unperturbed == other.result().unperturbed


@pytest.mark.parametrize("resumes", [False, True])
def test_the_budget_holds_for_runs_that_never_stop_and_for_workers_that_die(resumes: bool) -> None:
    for budget in (300, 1500, 4000):
        search, rng = asking(budget=budget, resumes=resumes), np.random.default_rng(0)
        while (trial := search.ask()) is not None:
            values = np.zeros(trial.epochs)
            start = trial.resume_from if resumes else 0
            ends = trial.epochs if trial.resume_from else int(rng.integers(1, trial.epochs + 1))
            search.tell(trial, values[start:ends], start=start)
        assert search.finished
        assert search.result().spent <= budget


def test_training_that_does_not_repeat_itself_is_noticed_and_run_by_itself() -> None:
    search = asking()
    done = []
    while (trial := search.ask()) is not None:
        search.tell(trial, trained(trial, noise=1 + len(done)))
        done.append(trial)
    result = search.result()
    assert len(result.notes) == 1
    assert re.search(r"runs of seed \d+ differ before any perturbation \(\S+ and \S+ at epoch \d+\)", result.advice[-1])
    assert "use_deterministic_algorithms" in result.advice[-1]
    assert result.choice is not None
    assert exact(EDGE, result.choice.period) <= 1.5 * exact(EDGE, 1)
    cell = [trial.seed for trial in done if trial.period == result.choice.period]
    assert sorted(set(cell)) == [*range(max(cell) + 1)]  # none is taken from the unperturbed run of its seed
    plain = [trial for trial in done if trial.period is None]
    for epochs in {trial.epochs for trial in plain}:  # passed or not, all are run anew for more epochs
        assert len({trial.seed for trial in plain if trial.epochs == epochs}) >= 8


@pytest.mark.parametrize(
    ("threshold", "seeds", "message"),
    [
        (0.99, 99, "the runs of kick every 7 epochs equal unperturbed ones to their end"),
        (0.99, 1, "all 8 unperturbed runs are equal over their 16 epochs"),
        (99, 99, "they are fractions: is 0.99 meant?"),
    ],
)
def test_runs_that_are_not_what_was_asked_for_end_the_search(threshold: float, seeds: int, message: str) -> None:
    search = Search("kick", threshold, horizon=40, n_boot=50)
    while (trial := search.ask()) is not None:
        search.tell(trial, np.random.default_rng(trial.seed % seeds).random(trial.epochs))
    assert search.finished
    assert message in search.result().advice[0]


def test_a_schedule_that_depends_on_the_epochs_asked_for_is_noticed_and_ends() -> None:
    search = asking(budget=None, precision=0.3)
    while (trial := search.ask()) is not None:
        search.tell(trial, [0.9] if trial.epochs > 100 else np.zeros(trial.epochs))
    assert "nothing depends on the number of epochs asked for" in search.result().notes[0]


# -- the real thing


@pytest.mark.slow
def test_live_it_trains_resumes_and_repeats_itself(tmp_path: Any, root: Any) -> None:
    small = {"model.widths": [32], "epochs": 40, "device": "cpu", "seed": 7}
    requested = spec.override(spec.load(root / "params" / "ensembles" / "digits_bn.yml"), small)
    at = Target(0.90, metric="test_metric")
    candidates = parse(["shrink_perturb:shrink=0.4,perturb=0.1", "full_reset"])

    def search(budget: int) -> tuple[SearchResult, int]:
        live = Live(requested, retirement=at, periods=(3, 5, 10, 20), out=tmp_path, workers=1)
        how = Settings(periods=(3, 5, 10, 20), budget=budget, confirm=0, n_boot=100)
        return optimise(live, candidates, settings=how), live.trained

    first, trained = search(900)
    assert 0 < first.spent <= 900
    assert trained == first.spent  # what is charged is what the engine trained
    more, further = search(1800)  # an interrupted search, called again
    assert more.steps[: len(first.steps)] == first.steps
    assert further == more.spent - first.spent
    again, nothing = search(1800)
    assert nothing == 0
    assert again.steps == more.steps


# -- what is refused


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: parse([]), "no candidate"),
        (lambda: parse(["shrink_perturb:shrink"]), "key=value"),
        (lambda: parse(["full_reset", "full_reset"]), "twice"),
        (lambda: parse(["None"]), "none is the name of unperturbed runs"),
        (lambda: parse(["full_reset:period=3"]), "leave out the period"),
        (lambda: parse(["full_reset:repeat=once"]), "repeated periodically"),
        (lambda: Settings(batch=2), "batch"),
        (lambda: Settings(budget=0), "budget"),
        (lambda: Settings(precision=1.5), "precision"),
        (lambda: Settings(periods=(0, 3)), "periods"),
        (lambda: searched(INTERIOR, periods=(500,)), "horizon of 200"),
        (lambda: searched(INTERIOR, budget=10), "too small"),
        (
            lambda: optimise(recorded({"x": EDGE}, (5,), horizon=50, threshold=0.5), [KICK]),
            "kick was not recorded at period 7; there is nothing",
        ),
    ],
)
def test_it_refuses(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize(
    ("values", "start", "message"),
    [
        ([], 0, "no value was told; a run has one number for each epoch"),
        ([0.1] * 17, 0, "epochs up to 17 were told, 16 were asked for"),
        (["a"], 0, "one number for each epoch is needed"),
        ([None, 0.3], 0, "one number for each epoch is needed"),
        (0.3, 0, "one number for each epoch is needed"),
        ({1: 0.3}, 0, "one number for each epoch is needed"),
        ([[0.1, 0.2]], 0, "unperturbed, seed 0: one number for each epoch is needed"),
        ([0.5], 3, "0 epochs are known, and 1 from epoch 4 on"),
        ([0.2, np.nan], 0, r"unperturbed, seed 0: the value at epoch 2 is nan.* no threshold takes for a passage"),
        ([np.inf], 0, "the value at epoch 1 is inf"),
    ],
)
def test_it_refuses_to_be_told(values: Any, start: int, message: str) -> None:
    search = asking()
    trial = search.ask()
    assert trial is not None
    with pytest.raises(InputError, match=message):
        search.tell(trial, values, start=start)
    search.tell(trial, [0.0] * 5)  # and goes on
    with pytest.raises(InputError, match="it ended at epoch 5 again; epoch 16 or the threshold"):
        search.tell(trial, [0.0] * 5)
    assert search.result().spent == 5


def test_a_note_of_several_sentences_is_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr("companion.book._display", shown.append)
    book.note(["Use <this>.", "It was measured."], title="Do")
    book.note("One sentence.")
    assert "<p><strong>Use &lt;this&gt;.</strong></p><p>It was measured.</p>" in shown[0]["text/html"]
    assert shown[0]["text/plain"] == "Do: Use <this>. It was measured."
    assert "<strong>" not in shown[1]["text/html"]
