"""Test whether unperturbed training reaches a quasi-steady state, and from which epoch on.

The metric of the runs still below the threshold is compared with the metric of the survivors of later epochs by the
Kolmogorov-Smirnov distance. An epoch ``t`` counts as relaxed when, while the age of the training doubles, two things stay within a
tolerance: that distance, and what the shift of the mean metric means for the time that is left. The second is first order, the slope
of the remaining time on the metric among the survivors at ``t`` times the shift; perturbed runs forget faster than unperturbed ones, so
it overstates what the drift does to a prediction.

The verdict rests on these sizes, not on a p-value: with many runs a test rejects differences too small to matter. A p-value is given
beside it. It comes from the centred bootstrap over runs, because survivors at a later epoch are survivors at an earlier one too, and
a two-sample test would take them for independent.

The state is one of the training, and the metric only shows it. While a schedule changes the learning rate, runs with the same accuracy at
two epochs are not in the same state, however still the accuracy stands: what comes next differs. So where the record of the ensemble
names a schedule, no epoch before its last change is relaxed, and none at all where it changes to the end. (Of foreign logs no schedule is
known.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes, first_passage
from fptlib.firstpassage.estimates import contributions, survival_curves
from fptlib.firstpassage.resampling import bootstrap_weights, generator, percentile_interval, weighted_slope
from fptlib.record import Record, plain
from fptlib.study import Study
from fptlib.trajectories import Direction, Target, Trajectories
from fptlib.trajectories.origin import Origin

TOLERANCE = 0.2  # on published trajectories predictions hold within 7 % across distances of 0.12 to 0.17
EFFECT = 0.1  # of the restricted mean: the error that a prediction may have
MIN_SURVIVORS = 30  # below this a distribution function is known to about 0.2 only
N_EPOCHS = 40  # epochs tested, spaced evenly in log(epoch): the question is about doublings
N_GRID = 200  # metric values at which distribution functions are compared
N_BOOT = 500


@dataclass(frozen=True, slots=True)
class QuasiSteadyState(Record):
    """Verdict on an unperturbed ensemble, with the profile it rests on; arrays have shape ``(tested epochs,)``.

    Parameters
    ----------
    reached, relaxation_epoch
        Whether a quasi-steady state was reached, and its first epoch ``t*`` (``None`` if it was not).
    reasons
        Reasons in sentences.
    epoch, n_survivors
        Tested epochs (those whose doubling was observed) and the number of runs still below the threshold there.
    distance, at
        Largest Kolmogorov-Smirnov distance to the survivors of an epoch in ``(t, 2t]``, and that epoch.
    p_value
        For the hypothesis that the distribution does not change between ``t`` and ``2t``: the probability, under the centred
        bootstrap over runs, that the largest distance over *all* pairs of epochs compared reaches the one seen at ``t`` (single-step
        maximum, Westfall and Young 1993), so that the family-wise error over all epochs is controlled.
    distance_to_end
        Distance to the survivors of the last tested epoch.
    effect, effect_low, effect_high
        Change of the expected remaining time that goes with the largest shift of the mean metric in ``(t, 2t]``, times ``S(t)`` and
        relative to the restricted mean, with its 95 % bootstrap interval.
    tolerance
        Largest distance taken as no change.
    variance_between
        Share of the metric's variance after ``t*``, in all runs and whether they have passed or not, that lies between runs: 1 if
        every run keeps its own level, near 0 if each run visits the whole distribution. Of the runs followed to the end where some
        ended early. NaN if there is no ``t*``, or if runs were retired; all else here looks at survivors only, and is the same whether
        runs were retired at the threshold or not.
    n_runs
        Runs tested.
    """

    reached: bool
    relaxation_epoch: int | None
    reasons: tuple[str, ...]
    epoch: NDArray[np.int64]
    n_survivors: NDArray[np.int64]
    distance: NDArray[np.float64]
    at: NDArray[np.int64]
    p_value: NDArray[np.float64]
    distance_to_end: NDArray[np.float64]
    effect: NDArray[np.float64]
    effect_low: NDArray[np.float64]
    effect_high: NDArray[np.float64]
    tolerance: float
    variance_between: float
    n_runs: int

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as JSON types: reached, relaxation_epoch and reasons."""
        return {name: plain(getattr(self, name)) for name in ("reached", "relaxation_epoch", "reasons")}


def assess_qss(study: Study, *, tolerance: float = TOLERANCE, n_boot: int = N_BOOT) -> QuasiSteadyState:
    """Test whether the unperturbed runs of a study reach a quasi-steady state.

    Parameters
    ----------
    study
        Only its unperturbed runs up to its horizon count.
    tolerance
        Largest Kolmogorov-Smirnov distance taken as no change, between 0 and 1.
    n_boot
        Bootstrap replicates behind the p-values and the interval of the effect.

    Raises
    ------
    InputError
        If only first-passage times are known, or ``tolerance`` is not between 0 and 1.
    """
    if not isinstance(study.unperturbed, Trajectories):
        raise InputError("a quasi-steady state is a matter of the metric, and only first-passage times are known")
    runs, target = study.unperturbed.head(epochs=study.horizon), study.target
    return judge(
        runs,
        threshold=target.threshold,
        direction=target.direction,
        metric=target.metric,
        tolerance=tolerance,
        n_boot=n_boot,
        seed=study.seed,
    )


def judge(
    trajectories: Trajectories,
    *,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
    tolerance: float = TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> QuasiSteadyState:
    """Test an unperturbed ensemble for a quasi-steady state.

    Parameters
    ----------
    trajectories
        Unperturbed runs. Where some ended early, epochs to which fewer than half are followed are not looked at
        (`fptlib.firstpassage.FirstPassageTimes.supported`).
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    tolerance
        Largest Kolmogorov-Smirnov distance taken as no change, between 0 and 1.

    Raises
    ------
    InputError
        If the metric is missing, or ``tolerance`` is not between 0 and 1.
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance {tolerance} is not between 0 and 1 (a Kolmogorov-Smirnov distance)")
    values = trajectories.metric(metric)
    times = first_passage(trajectories, Target(threshold, direction, metric))
    horizon = times.supported(trajectories.n_epochs)
    n_survivors = np.array([times.running(t).sum() for t in range(1, horizon + 1)])
    testable = np.flatnonzero(n_survivors >= MIN_SURVIVORS) + 1
    last = int(testable[-1]) if len(testable) else 0
    if last < 8:  # three doublings from epoch 1 are the least that can show a plateau
        reason = (
            f"{n_survivors[0]} of {times.n_runs} runs are below the threshold after epoch 1 and fewer than "
            f"{MIN_SURVIVORS} from epoch {last + 1} on: too few to compare distributions"
        )
        return _untested(reason, tolerance=tolerance, n_runs=times.n_runs)
    tested = np.unique(np.round(np.geomspace(1, last, N_EPOCHS)).astype(np.int64))
    alive = np.stack([times.running(int(t)) for t in tested], axis=1)  # (runs, tested)
    at_tested = values[:, tested - 1]  # (runs, tested)
    grid = np.unique(np.quantile(at_tested[alive], np.linspace(0, 1, N_GRID)))
    below = ((at_tested[:, :, None] <= grid) & alive[:, :, None]).astype(np.float32)  # (runs, tested, grid)
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(seed))
    counts = weights @ alive.astype(np.float32)  # (1 + n_boot, tested)
    cdf = np.tensordot(weights, below, axes=1) / np.maximum(counts, 1)[:, :, None]  # (1 + n_boot, tested, grid)
    epoch = tested[2 * tested <= last]  # epochs whose whole doubling was observed
    profile = _profile(tested, cdf, len(epoch)) | _effects(epoch, tested, values, times, weights, horizon)
    origin = Origin.of(trajectories)
    steady = origin.steady_from(horizon)
    still = (profile["distance"] <= tolerance) & (np.abs(profile["effect"]) <= EFFECT)
    start = _first_of_last_true_block(still)
    settled = int(epoch[start]) if start is not None else None  # as far as the metric shows
    start = _first_of_last_true_block(still & (epoch >= (horizon + 1 if steady is None else steady)))
    relaxation = int(epoch[start]) if start is not None else None
    reached = relaxation is not None and 4 * relaxation <= last
    followed = trajectories.lengths >= horizon
    variance = float("nan")
    if relaxation is not None and not trajectories.retired.any() and followed.sum() > 1:
        variance = _variance_between(values[followed, relaxation - 1 : horizon])
    if settled != relaxation or (settled is None and steady != 1):
        reasons: tuple[str, ...] = (_scheduled(origin.schedule_in_words(horizon), steady, settled),)
    else:
        reasons = ()
    if settled is None or relaxation is not None:
        reasons += _reasons(epoch, profile, relaxation, reached, tolerance, last)
    if reached:
        reasons += (_ergodicity(trajectories, relaxation, variance, n_followed=int(followed.sum())),)
    return QuasiSteadyState(
        reached=reached,
        relaxation_epoch=relaxation if reached else None,
        reasons=reasons,
        epoch=epoch,
        n_survivors=alive.sum(axis=0)[: len(epoch)],
        tolerance=tolerance,
        variance_between=variance if reached else float("nan"),
        n_runs=times.n_runs,
        **profile,
    )


def _scheduled(words: str, steady: int | None, settled: int | None) -> str:
    """Say in words what a schedule of the learning rate does to the verdict."""
    until = "to the end" if steady is None else f"until epoch {steady}"
    reason = f"{words} and changes {until}: before that training is not the same at every epoch"
    return reason if settled is None else f"{reason}, although the metric looks settled from epoch {settled} on"


def _profile(tested: NDArray[np.int64], cdf: NDArray[np.floating], n_epochs: int) -> dict[str, NDArray[Any]]:
    """Return the distances of the data (replicate 0) for the first ``n_epochs`` tested epochs, and p-values from the other replicates."""
    distance, at = np.zeros(n_epochs), np.zeros(n_epochs, dtype=np.int64)
    centred_max = np.zeros(len(cdf) - 1)
    for i, t in enumerate(tested[:n_epochs]):
        later = np.flatnonzero((tested > t) & (tested <= 2 * t))
        difference = cdf[:, [i]] - cdf[:, later]  # (1 + n_boot, later, grid)
        each = np.abs(difference[0]).max(axis=1)
        distance[i], at[i] = each.max(), tested[later[each.argmax()]]
        centred_max = np.maximum(centred_max, np.abs(difference[1:] - difference[0]).max(axis=(1, 2)))
    p_value = (1 + (centred_max >= distance[:, None]).sum(axis=1)) / (1 + len(centred_max))
    to_end = np.abs(cdf[0, :n_epochs] - cdf[0, -1]).max(axis=1)
    return {"distance": distance, "at": at, "p_value": p_value, "distance_to_end": to_end}


def _effects(
    epoch: NDArray[np.int64],
    tested: NDArray[np.int64],
    values: NDArray[np.float64],
    times: FirstPassageTimes,
    weights: NDArray[np.float32],
    horizon: int,
) -> dict[str, NDArray[np.float64]]:
    """Return the effect of the shift of the survivors' mean metric on the time remaining to the horizon, see `QuasiSteadyState`."""
    mean = {}
    for t in tested:
        alive = times.running(int(t))
        mean[int(t)] = weights[:, alive] @ values[alive, t - 1] / np.maximum(weights[:, alive].sum(axis=1), 1)
    curves = survival_curves(times, weights, horizon=horizon)
    restricted = curves[:, :horizon].sum(axis=1)
    effects = np.zeros((len(epoch), 3))
    for i, t in enumerate(epoch):
        alive = times.running(int(t))
        left = FirstPassageTimes(time=times.time[alive], observed=times.observed[alive], run=times.run[alive])
        remaining = contributions(left, horizon=horizon) - t
        slope, _ = weighted_slope(values[alive, t - 1], remaining, weights[:, alive])
        shifts = [mean[int(later)] - mean[int(t)] for later in tested[(tested > t) & (tested <= 2 * t)]]
        shift = max(shifts, key=lambda s: abs(s[0]))
        effect = curves[:, t] * slope * shift / restricted
        effects[i] = effect[0], *percentile_interval(effect[1:], 0.95)
    return dict(zip(("effect", "effect_low", "effect_high"), effects.T, strict=True))


def _first_of_last_true_block(flags: NDArray[np.bool_]) -> int | None:
    """Return the index from which all flags are true, ``None`` if the last one is false."""
    if len(flags) == 0 or not flags[-1]:
        return None
    false = np.flatnonzero(~flags)
    return int(false[-1]) + 1 if len(false) else 0


def _variance_between(values: NDArray[np.float64]) -> float:
    """Share of the variance between runs (one-way random-effects estimate), for values ``(runs, epochs)``."""
    n_epochs = values.shape[1]
    within = float(values.var(axis=1, ddof=1).mean())
    between = max(float(values.mean(axis=1).var(ddof=1)) - within / n_epochs, 0.0)
    return between / (between + within) if between + within > 0 else float("nan")


def _reasons(
    epoch: NDArray[np.int64],
    profile: dict[str, NDArray[Any]],
    relaxation: int | None,
    reached: bool,
    tolerance: float,
    last: int,
) -> tuple[str, ...]:
    if not reached and relaxation is not None:
        return (
            f"the distribution is within the tolerances only from epoch {relaxation} on, and the record of enough survivors "
            f"ends at epoch {last}: too short to tell a plateau (two doublings are needed)",
        )
    if relaxation is None:
        half = len(epoch) // 2
        far, moving = (half + int(np.abs(profile[name][half:]).argmax()) for name in ("distance", "effect"))
        reasons = []
        chance = profile["p_value"][far] > 0.05
        if profile["distance"][far] > tolerance:
            reasons.append(
                f"the metric of the surviving runs still changes: its distributions at epochs {epoch[far]} and "
                f"{profile['at'][far]} lie {profile['distance'][far]:.2f} apart (tolerance {tolerance:g}, "
                f"p = {profile['p_value'][far]:.2g})"
                + (": few enough survivors for this to be chance; more runs would tell" if chance else "")
            )
        if abs(profile["effect"][moving]) > EFFECT:
            reasons.append(
                f"its mean drifts so far while epoch {epoch[moving]} doubles that the expected remaining time changes by "
                f"{_interval(profile, moving)} of the restricted mean (tolerance {100 * EFFECT:.0f} %)"
            )
        return tuple(reasons)
    start = int(np.searchsorted(epoch, relaxation))
    largest = start + int(profile["distance"][start:].argmax())
    sentence = (
        f"from epoch {relaxation} on the metric of the surviving runs changes by a distance of at most "
        f"{profile['distance'][largest]:.2f} while the epoch doubles (tolerance {tolerance:g}, "
        f"p = {profile['p_value'][largest]:.2g} at epoch {epoch[largest]})"
    )
    moving = start + int(np.abs(profile["effect"][start:]).argmax())
    reasons = [
        sentence,
        f"the drift of its mean changes the expected remaining time by at most {_interval(profile, moving)} of the restricted mean",
    ]
    drift = float(profile["distance_to_end"][start])
    if drift > tolerance:
        reasons.append(
            f"a slow drift adds up to a distance of {drift:.2f} between epochs {relaxation} and {last}: check what it does to the "
            "prediction before relying on periods far apart"
        )
    return tuple(reasons)


def _ergodicity(trajectories: Trajectories, relaxation: int | None, variance: float, *, n_followed: int) -> str:
    """Say in words whether each run visits the state."""
    if trajectories.retired.any():
        return (
            f"how much of the variance after epoch {relaxation} lies between runs is known of runs followed to the end only, and these "
            f"were retired at {trajectories.retirement}"
        )
    if n_followed < 2:
        return (
            f"how much of the variance after epoch {relaxation} lies between runs is known of runs followed on only, and there are "
            f"{n_followed}"
        )
    if np.isnan(variance):
        return f"the metric does not vary after epoch {relaxation}"
    among = "" if n_followed == trajectories.n_runs else f" (of {n_followed} of the runs, the others ended early)"
    return f"{100 * variance:.0f} % of the variance after epoch {relaxation} lies between runs{among}: " + (
        "the state is one of the ensemble, not of each run" if variance > 0.5 else "each run explores most of it"
    )


def _interval(profile: dict[str, NDArray[Any]], i: int) -> str:
    """Write the effect at the ``i``-th epoch in words."""
    effect, low, high = (100 * profile[name][i] for name in ("effect", "effect_low", "effect_high"))
    return f"{effect:+.1f} % (interval {low:+.1f} to {high:+.1f} %)"


def _untested(reason: str, *, tolerance: float, n_runs: int) -> QuasiSteadyState:
    """Return a verdict without a profile: there was nothing to compare."""
    reals = ("distance", "p_value", "distance_to_end", "effect", "effect_low", "effect_high")
    profile: dict[str, NDArray[Any]] = dict.fromkeys(("epoch", "n_survivors", "at"), np.empty(0, dtype=np.int64))
    return QuasiSteadyState(
        reached=False,
        relaxation_epoch=None,
        reasons=(reason,),
        tolerance=tolerance,
        variance_between=float("nan"),
        n_runs=n_runs,
        **profile | dict.fromkeys(reals, np.empty(0)),
    )
