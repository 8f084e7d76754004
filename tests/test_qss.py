"""The quasi-steady state of processes that have one and of such that have none, and the error rate of its test."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fptlib.cli.answers import print_qss
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage
from fptlib.processes import GeometricWithKick, OrnsteinUhlenbeck
from fptlib.qss import MIN_SURVIVORS, QuasiSteadyState, assess_qss, plain_ks
from fptlib.study import Study
from fptlib.tables import drop, verdict
from fptlib.trajectories import Target, Trajectories, retire

NEVER = 1e9  # a threshold that keeps every run


def record(values: Any) -> Trajectories:
    """Return trajectories with one metric."""
    return Trajectories(metrics={"metric": np.asarray(values, dtype=float)}, run=np.arange(len(values)))


def assessed(
    runs: Trajectories, *, threshold: float, direction: Any = "above", seed: int = 0, **options: Any
) -> QuasiSteadyState:
    """Assess the runs of a study that has no others."""
    return assess_qss(Study(runs, {}, Target(threshold, direction), seed=seed), **options)


def relaxing(decay: float, start: float, *, seed: int = 0, threshold: float = 20.0) -> Trajectories:
    """Return 500 runs of 200 epochs that relax from ``start`` to the standard normal law."""
    process = OrnsteinUhlenbeck(decay=decay, noise=np.sqrt(1 - decay**2), threshold=threshold, start=start)
    return process.sample(np.random.default_rng(seed), n_runs=500, horizon=200)


def stationary(rng: np.random.Generator, *, n_runs: int, persistent: float, hazard: float) -> Trajectories:
    """Return runs that differ for ever, fluctuate with a memory of some epochs and pass whatever their metric is.

    The survivors are nested and correlated, and their law is the standard normal one at each of the 30 epochs.
    """
    level, y, decay = rng.standard_normal(n_runs), rng.standard_normal(n_runs), 0.8
    values = np.empty((n_runs, 30))
    for epoch in range(30):
        y = decay * y + np.sqrt(1 - decay**2) * rng.standard_normal(n_runs)
        values[:, epoch] = np.sqrt(persistent) * level + np.sqrt(1 - persistent) * y
    values[np.arange(30) >= rng.geometric(hazard, (n_runs, 1)) - 1] = 9
    return record(values)


# Closed forms


@pytest.mark.parametrize(("decay", "start"), [(0.8, -3.0), (0.9, -3.0), (0.95, -3.0)])
def test_relaxation_epoch_is_that_of_the_exact_law(decay: float, start: float) -> None:
    # Without a threshold the law at epoch t is normal with mean start * decay**t and variance 1 - decay**(2 t).
    epoch = np.arange(1, 101)
    x = np.linspace(-5, 5, 2001)
    cdf = stats.norm.cdf((x - start * decay ** epoch[:, None]) / np.sqrt(1 - decay ** (2 * epoch[:, None])))
    exact = np.array([np.abs(cdf[t - 1] - cdf[t : 2 * t]).max() for t in range(1, 51)])
    # Distances of 500 runs are known to about 0.05.
    latest, earliest = (int(np.flatnonzero(exact > at)[-1]) + 2 for at in (0.14, 0.26))
    state = assessed(relaxing(decay, start), threshold=20.0)
    assert state.reached
    assert state.relaxation_epoch is not None
    assert earliest <= state.relaxation_epoch <= latest + 1


@pytest.mark.parametrize(
    ("persistent", "expected"), [(1.0, 1.0), (0.5, 0.5), (0.0, 0.0)], ids=["frozen", "half", "white"]
)
def test_share_of_variance_between_runs_is_that_of_the_levels(persistent: float, expected: float) -> None:
    rng = np.random.default_rng(0)
    levels, noise = rng.standard_normal((400, 1)), rng.standard_normal((400, 60))
    state = assessed(record(np.sqrt(persistent) * levels + np.sqrt(1 - persistent) * noise), threshold=NEVER)
    assert state.reached
    assert state.relaxation_epoch == 1
    assert state.variance_between == pytest.approx(expected, abs=0.04)
    reason = "one of the ensemble" if persistent == 1 else "each run explores most of it"
    assert persistent == 0.5 or reason in state.reasons[-1]


def test_the_effect_is_what_the_drift_means_for_the_time_left() -> None:
    # Ranks are frozen and each run rises by 4 per epoch: the time left falls by a quarter per unit of the metric, and
    # the mean rises by 4 t while t doubles. At epoch 2 nobody has passed nor will before epoch 4.
    runs = record(np.linspace(-400, -100, 301)[:, None] + 4 * np.arange(1, 121))
    state, times = assessed(runs, threshold=0.0), first_passage(runs, 0.0)
    two = int(np.flatnonzero(state.epoch == 2)[0])
    assert state.effect[two] == pytest.approx(-(4 * 2) / 4 / times.time.mean(), rel=0.02)
    assert state.effect_low[two] < state.effect[two] < state.effect_high[two]
    # Where nobody ever passes the time left is the same for all, and no drift changes it.
    np.testing.assert_allclose(assessed(runs, threshold=NEVER).effect, 0, atol=1e-12)


# Laws


def test_the_answer_does_not_depend_on_the_unit_of_the_metric_and_mirrors_its_direction() -> None:
    runs = relaxing(0.9, -3.0, threshold=1.5)
    plain = assessed(runs, threshold=1.5, n_boot=50)
    scaled = assessed(record(100 + 5 * runs.metric()), threshold=107.5, n_boot=50)
    mirrored = assessed(record(-runs.metric()), threshold=-1.5, direction="below", n_boot=50)
    for other in (scaled, mirrored):
        assert (other.reached, other.relaxation_epoch) == (plain.reached, plain.relaxation_epoch)
        np.testing.assert_allclose(other.distance, plain.distance, atol=0.02)
        np.testing.assert_allclose(other.effect, plain.effect, atol=1e-5)
        np.testing.assert_array_equal(other.n_survivors, plain.n_survivors)


def test_the_same_seed_gives_the_same_answer_and_the_order_of_runs_does_not_matter() -> None:
    runs = relaxing(0.9, -3.0, threshold=1.5)
    first, again, other = (assessed(runs, threshold=1.5, n_boot=50, seed=seed) for seed in (1, 1, 2))
    for name in ("distance", "p_value", "effect", "effect_low", "effect_high"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.reasons == again.reasons
    assert (first.effect_low != other.effect_low).any()
    shuffled = assessed(record(runs.metric()[::-1]), threshold=1.5, n_boot=50, seed=1)
    np.testing.assert_allclose(shuffled.distance, first.distance, atol=1e-12)
    assert shuffled.relaxation_epoch == first.relaxation_epoch


def test_a_wider_tolerance_never_relaxes_later() -> None:
    runs = relaxing(0.9, -3.0)
    epochs = [assessed(runs, threshold=20.0, tolerance=at, n_boot=2).relaxation_epoch for at in (0.2, 0.3, 0.6)]
    assert None not in epochs
    assert sorted(epochs, key=lambda e: -(e or 0)) == epochs
    assert epochs[0] != epochs[-1]


@pytest.mark.parametrize("threshold", [1.5, 1.2], ids=["at the retirement", "easier"])
def test_retired_runs_give_the_same_answer(threshold: float) -> None:
    runs = relaxing(0.9, -3.0, threshold=1.5)
    retired = retire(runs, Target(1.5, metric="test_metric"))
    assert not retired.complete
    whole, cut = (assessed(record, threshold=threshold, n_boot=50) for record in (runs, retired))
    assert whole.reached
    for field in dataclasses.fields(whole):
        if field.name not in ("variance_between", "reasons"):
            np.testing.assert_array_equal(getattr(cut, field.name), getattr(whole, field.name))
    # The one statistic of all runs, whether they have passed or not, is not made up.
    assert cut.reasons[:-1] == whole.reasons[:-1]
    assert np.isnan(cut.variance_between)
    assert "known of runs followed to the end only, and these were retired at test_metric above 1.5" in cut.reasons[-1]


@pytest.mark.parametrize("threshold", [1.5, 20.0], ids=["some pass", "none passes"])
def test_runs_that_end_early_are_used_up_to_their_end(threshold: float) -> None:
    # 600 runs, of which a third end somewhere: the answer is that of all 600, within what 500 runs can tell.
    process = OrnsteinUhlenbeck(decay=0.9, noise=np.sqrt(1 - 0.9**2), threshold=threshold, start=-3.0)
    whole = process.sample(np.random.default_rng(0), n_runs=600, horizon=120)
    ends = np.where(np.arange(600) < 200, np.random.default_rng(1).integers(1, 120, 600), 120)
    values = np.where(np.arange(120) < ends[:, None], whole.metric(), np.nan)
    cut = assessed(Trajectories(metrics={"m": values}, run=whole.run, followed=ends), threshold=threshold, n_boot=50)
    full = assessed(whole, threshold=threshold, n_boot=50)
    assert cut.reached
    assert cut.relaxation_epoch is not None
    assert full.relaxation_epoch is not None
    assert 0.6 < cut.relaxation_epoch / full.relaxation_epoch < 1.7
    both = np.intersect1d(cut.epoch, full.epoch)
    at, at_full = np.searchsorted(cut.epoch, both), np.searchsorted(full.epoch, both)
    np.testing.assert_allclose(cut.distance[at], full.distance[at_full], atol=0.08)
    np.testing.assert_allclose(cut.effect[at], full.effect[at_full], atol=0.05)
    assert (cut.n_survivors[at] <= full.n_survivors[at_full]).all()
    assert "(of 400 of the runs, the others ended early)" in cut.reasons[-1]
    assert cut.variance_between == pytest.approx(full.variance_between, abs=0.03)


def test_epochs_to_which_few_runs_are_followed_are_not_looked_at() -> None:
    values = np.random.default_rng(0).standard_normal((300, 64))
    ends = np.where(np.arange(300) < 200, 40, 64)
    cut = np.where(np.arange(64) < ends[:, None], values, np.nan)
    state = assessed(Trajectories(metrics={"m": cut}, run=np.arange(300), followed=ends), threshold=NEVER, n_boot=20)
    alike = assessed(record(values[:, :40]), threshold=NEVER, n_boot=20)
    np.testing.assert_array_equal(state.epoch, alike.epoch)
    assert state.epoch.max() <= 20
    np.testing.assert_array_equal(state.distance, alike.distance)
    np.testing.assert_allclose(state.effect, alike.effect, atol=1e-12)
    assert state.variance_between == alike.variance_between


def test_profile_is_consistent() -> None:
    runs = relaxing(0.9, -3.0, threshold=1.5)
    state, times = assessed(runs, threshold=1.5, n_boot=99), first_passage(runs, 1.5)
    assert state.n_survivors.tolist() == [times.running(t).sum() for t in state.epoch]
    assert (state.at > state.epoch).all()
    assert (state.at <= 2 * state.epoch).all()
    assert ((state.distance >= 0) & (state.distance <= 1)).all()
    assert ((state.p_value >= 1 / 100) & (state.p_value <= 1)).all()
    # The larger the distance the smaller the p-value: all are held against one maximum.
    order = np.argsort(state.distance)
    assert (np.diff(state.p_value[order]) <= 0).all()


# Limits


@pytest.mark.parametrize("kind", ["drift", "decay", "spread"])
def test_what_never_settles_is_not_reached(kind: str) -> None:
    noise, epoch = np.random.default_rng(0).standard_normal((300, 100)), np.arange(1, 101)
    moving = {"drift": noise - 0.02 * epoch, "decay": noise - np.log(epoch), "spread": noise * epoch**2}[kind]
    state = assessed(record(moving), threshold=NEVER)
    assert not state.reached
    assert state.relaxation_epoch is None
    assert np.isnan(state.variance_between)
    assert "still changes: its distributions at epochs" in state.reasons[0]
    assert state.p_value.min() == 1 / 501  # the smallest that 500 replicates can give


def test_a_plateau_shorter_than_two_doublings_is_too_short() -> None:
    whole = assessed(relaxing(0.95, -3.0), threshold=20.0)
    assert whole.relaxation_epoch is not None
    early = assessed(relaxing(0.95, -3.0).head(epochs=3 * whole.relaxation_epoch), threshold=20.0)
    assert not early.reached
    assert early.relaxation_epoch is None
    (reason,) = early.reasons
    assert f"ends at epoch {3 * whole.relaxation_epoch}: too short to tell a plateau" in reason


def test_an_epoch_that_a_reason_names_has_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    state = assessed(relaxing(0.9, -3.0), threshold=20.0)
    print_qss(dataclasses.replace(state, reasons=tuple(f"between epochs {t} and 2" for t in state.epoch[::3])))
    rows = {int(line.split()[0]) for line in capsys.readouterr().out.splitlines() if line[0].isdigit()}
    assert {2, *state.epoch[::3].tolist()} < rows < {*state.epoch.tolist()}


def test_few_survivors_are_a_reason() -> None:
    few = assessed(record(np.random.default_rng(0).standard_normal((MIN_SURVIVORS - 1, 50))), threshold=NEVER)
    assert not few.reached
    assert len(few.epoch) == 0
    assert few.reasons[0].startswith(
        "29 of 29 runs are below the threshold at epoch 8, too few to compare distributions"
    )
    assert few.reasons[0].endswith("which takes 30: about 30 runs would leave as many")
    assert (verdict(few), "No advice" in drop(few)) == ("cannot be told from these runs", True)
    fast = GeometricWithKick(hazard=0.5, kick=0.5).sample(np.random.default_rng(0), n_runs=500, horizon=50)
    assert assessed(fast, threshold=0.5).reasons[0].endswith("about 5000 runs would leave as many")
    assert "end at epoch 7" in assessed(fast.head(epochs=7), threshold=0.5).reasons[0]
    enough = assessed(record(np.random.default_rng(0).standard_normal((MIN_SURVIVORS, 50))), threshold=NEVER)
    assert len(enough.epoch) > 0


def test_nothing_that_moves_is_a_steady_state_from_the_first_epoch() -> None:
    memoryless = GeometricWithKick(hazard=0.02, kick=0.02).sample(np.random.default_rng(0), n_runs=300, horizon=60)
    state = assessed(memoryless, threshold=0.5)
    assert state.reached
    assert state.relaxation_epoch == 1
    np.testing.assert_array_equal(state.distance, 0)
    np.testing.assert_array_equal(state.effect, 0)
    np.testing.assert_array_equal(state.p_value, 1)


# Oracles


def test_distance_is_the_two_sample_statistic_of_the_survivors() -> None:
    runs = relaxing(0.9, -3.0, threshold=1.5)
    values, times = runs.metric(), first_passage(runs, 1.5)
    state = assessed(runs, threshold=1.5, n_boot=2)
    for epoch, at, distance in zip(state.epoch, state.at, state.distance, strict=True):
        two = [values[times.running(t), t - 1] for t in (epoch, at)]
        assert distance == pytest.approx(stats.ks_2samp(*two).statistic, abs=0.015)


@pytest.mark.parametrize(("persistent", "n_runs"), [(0.8, 100), (0.0, 100)])
def test_the_family_of_tests_rejects_a_stationary_ensemble_as_rarely_as_it_says(persistent: float, n_runs: int) -> None:
    repeats = 60
    rng = np.random.default_rng(1)
    smallest = np.array(
        [
            assessed(
                stationary(rng, n_runs=n_runs, persistent=persistent, hazard=0.02), threshold=8, n_boot=59, seed=seed
            ).p_value.min()
            for seed in range(repeats)
        ]
    )
    assert (smallest <= 0.05).sum() <= stats.binom.ppf(0.99, repeats, 0.05)
    # Exact p-values are uniform: neither is the test so cautious that it could never reject.
    assert 0.3 < np.median(smallest) < 0.75


def test_the_plain_test_of_survivors_rejects_far_too_rarely_where_nothing_changes() -> None:
    # Of one run the metric at two epochs is correlated by 0.7, as in the published runs, or not at all.
    rng, lag = np.random.default_rng(0), 20
    rejected = {}
    for persistent in (0.7, 0.0):
        ensembles = (stationary(rng, n_runs=100, persistent=persistent, hazard=0.01) for _ in range(200))
        tests = [plain_ks(Study(runs, {}, 8.0), [5, 8], lag) for runs in ensembles]
        rejected[persistent] = np.mean([test.p_value <= 0.05 for test in tests])
        assert all(((t.distance > t.critical) == (t.p_value < t.level)).all() for t in tests)
    assert rejected[0.7] <= 0.02
    assert 0.02 < rejected[0.0] < 0.08


def test_the_plain_test_of_all_runs_sees_those_that_pass() -> None:
    study = Study(stationary(np.random.default_rng(0), n_runs=300, persistent=0.7, hazard=0.04), {}, 8.0)
    survivors, everybody = (plain_ks(study, [5, 10], 15, survivors=which) for which in (True, False))
    assert (survivors.p_value > 0.05).all()
    assert (everybody.p_value < 0.001).all()
    assert everybody.n_first.tolist() == [300, 300]
    assert survivors.to_frame()["n_second"].tolist() == [study.ensembles[None].times.running(t).sum() for t in (20, 25)]
    with pytest.raises(InputError, match="epochs 20 and 35 do not follow each other within 30 epochs"):
        plain_ks(study, [20], 15)


def test_many_runs_reject_a_difference_too_small_to_matter_and_the_answer_does_not() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3000, 1)) + 0.02 * rng.standard_normal((3000, 64)) + 0.1 * (np.arange(64) >= 40)
    state = assessed(record(values), threshold=NEVER, n_boot=199)
    assert state.reached
    assert state.p_value.min() == 1 / 200
    assert state.distance.max() < 0.1


def test_a_drift_that_matters_for_the_time_left_is_not_steady_whatever_the_distance() -> None:
    # Levels far apart hide a small common drift from the distance, yet a run passes once it has drifted far enough.
    level = np.random.default_rng(0).uniform(-3.0, -0.2, (1000, 1))
    state = assessed(record(level + 1.5 * np.log2(np.arange(1, 129)) / 7), threshold=0.0, n_boot=50)
    assert state.distance.max() <= 0.12
    moving = np.flatnonzero(np.abs(state.effect) > 0.1)
    assert len(moving) > 0
    assert state.relaxation_epoch == state.epoch[moving[-1] + 1] > 1
    assert "the drift of its mean changes the expected remaining time by at most" in state.reasons[1]


# What is refused


def test_what_is_refused() -> None:
    runs = relaxing(0.8, -2.0)
    for tolerance in (0.0, 1.0, -0.1):
        with pytest.raises(InputError, match="is not between 0 and 1"):
            assessed(runs, threshold=1.0, tolerance=tolerance)
    with pytest.raises(InputError, match="no metric 'loss'"):
        assess_qss(Study(runs, {}, Target(1.0, metric="loss")))
    with pytest.raises(InputError, match="only first-passage times were given"):
        assess_qss(Study(first_passage(runs, 1.0), {}, 1.0))
