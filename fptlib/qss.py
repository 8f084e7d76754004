"""Test whether unperturbed training reaches a quasi-steady state, and from which epoch on.

The metric of the runs still below the threshold is compared with the metric of the survivors of later epochs by the
Kolmogorov-Smirnov distance. An epoch ``t`` counts as relaxed when, while the age of the training run doubles, two things stay within a
tolerance: that distance, and what the shift of the mean metric means for the time that is left. The second is first order, the slope
of the remaining time on the metric among the survivors at ``t`` times the shift; perturbed runs forget faster than unperturbed ones, so
it overstates what the drift does to a prediction.

The answer rests on these sizes, not on a p-value: with many runs a test rejects differences too small to matter. A p-value is given
beside it. It comes from the centred bootstrap over runs, because survivors at a later epoch are survivors at an earlier one too, and
a two-sample test (`plain_ks`) would take them for independent.

While a schedule changes the learning rate, runs with the same accuracy at two epochs are not in the same state, however still the accuracy
stands. So where the record of the ensemble names a schedule, no epoch before its last change is relaxed, and none at all where it changes
to the end. (Of foreign logs no schedule is known.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import FirstPassageTimes
from fptlib.firstpassage.estimates import contributions, survival_curves
from fptlib.firstpassage.resampling import bootstrap_weights, generator, percentile_interval, weighted_slope
from fptlib.record import Record, plain
from fptlib.study import Cause, Study
from fptlib.trajectories import Trajectories

TOLERANCE = 0.2  # on published trajectories predictions hold within 7 % across distances of 0.12 to 0.17
EFFECT = 0.1  # of the restricted mean: the error that a prediction may have
MIN_SURVIVORS = 30  # below this a distribution function is known to about 0.2 only
LEAST_EPOCHS = 8  # three doublings from epoch 1 are the least that can show a plateau
N_EPOCHS = 40  # epochs tested, spaced evenly in log(epoch): the question is about doublings
N_GRID = 200  # metric values at which distribution functions are compared
N_BOOT = 500
REST = 0.5  # spreads that the mean may move by while the epoch doubles: two normal laws so far apart have a KS distance of 0.2
LEAST_PAIRS = 8  # runs that a shift is estimated from
_EFFECTS = ("effect", "effect_low", "effect_high")
Epochs = NDArray[np.int64]
Reals = NDArray[np.float64]
Weights = NDArray[np.float32]
Profile = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class QuasiSteadyState(Record):
    """The answer whether an unperturbed ensemble has settled, with the profile behind it; arrays have shape ``(tested epochs,)``.

    Parameters
    ----------
    reached, relaxation_epoch, reasons
        Whether a quasi-steady state was reached, its first epoch ``t*`` (``None`` if it was not), and reasons in sentences.
    epoch, n_survivors
        Tested epochs (those whose doubling was observed) and the number of runs still below the threshold there.
    distance, at, distance_to_end
        Largest Kolmogorov-Smirnov distance to the survivors of an epoch in ``(t, 2t]``, that epoch, and the distance to the survivors of
        the last tested epoch.
    p_value
        For the hypothesis that the distribution does not change between ``t`` and ``2t``: the probability, under the centred
        bootstrap over runs, that the largest distance over *all* pairs of epochs compared reaches the one seen at ``t`` (single-step
        maximum, Westfall and Young 1993), so that the family-wise error over all epochs is controlled.
    effect, effect_low, effect_high
        Change of the expected remaining time that goes with the largest shift of the mean metric in ``(t, 2t]``, times ``S(t)`` and
        relative to the restricted mean, with its 95 % bootstrap interval.
    tolerance, n_runs
        Largest distance taken as no change, and runs tested.
    variance_between
        Share of the metric's variance after ``t*``, in all runs followed to the end, that lies between runs: 1 if every run keeps its own
        level, near 0 if each run visits the whole distribution. NaN if there is no ``t*``, or if runs were retired; all else here looks
        at survivors only, and is the same whether runs were retired at the threshold or not.
    """

    reached: bool
    relaxation_epoch: int | None
    reasons: tuple[str, ...]
    epoch: Epochs
    n_survivors: Epochs
    distance: Reals
    at: Epochs
    p_value: Reals
    distance_to_end: Reals
    effect: Reals
    effect_low: Reals
    effect_high: Reals
    tolerance: float
    variance_between: float
    n_runs: int

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON types: reached, relaxation_epoch and reasons."""
        return {name: plain(getattr(self, name)) for name in ("reached", "relaxation_epoch", "reasons")}


def assess_qss(study: Study, *, tolerance: float = TOLERANCE, n_boot: int = N_BOOT) -> QuasiSteadyState:
    """Test whether the unperturbed runs of a study reach a quasi-steady state within its horizon.

    ``tolerance`` is the largest Kolmogorov-Smirnov distance taken as no change; p-values and the interval of the effect come from
    ``n_boot`` bootstrap replicates. An InputError is raised if only first-passage times are known or the tolerance is not in (0, 1).
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance {tolerance} is not between 0 and 1 (a Kolmogorov-Smirnov distance)")
    runs, values, times = _metric(study)
    left = np.array([times.running(t).sum() for t in range(1, study.horizon + 1)])
    last = int(np.max(np.flatnonzero(left >= MIN_SURVIVORS) + 1, initial=0))
    if last < LEAST_EPOCHS:
        reason = _untested(left, times.n_runs)
        empty: Profile = dict.fromkeys(("epoch", "n_survivors", "at"), np.empty(0, dtype=np.int64))
        empty |= dict.fromkeys(("distance", "p_value", "distance_to_end", *_EFFECTS), np.empty(0))
        return QuasiSteadyState(
            False, None, (reason,), tolerance=tolerance, variance_between=np.nan, n_runs=times.n_runs, **empty
        )
    tested = np.unique(np.round(np.geomspace(1, last, N_EPOCHS)).astype(np.int64))
    weights = bootstrap_weights([np.arange(times.n_runs)], n_boot=n_boot, rng=generator(study.seed))
    epoch = tested[2 * tested <= last]  # epochs whose whole doubling was observed
    profile = _distances(epoch, tested, values, times, weights)
    profile |= _effects(epoch, tested, values, times, weights, study.horizon)
    origin = study.origin(None)
    steady = origin.steady_from(study.horizon)
    still = (profile["distance"] <= tolerance) & (np.abs(profile["effect"]) <= EFFECT)
    settled = _start(epoch, still)  # as far as the metric shows
    relaxation = _start(epoch, still & (epoch >= (study.horizon + 1 if steady is None else steady)))
    reasons: tuple[str, ...] = ()
    if settled != relaxation or (settled is None and steady != 1):
        reasons = (_scheduled(origin.schedule_in_words(study.horizon), steady, settled),)
    if settled is None or relaxation is not None:
        reasons += tuple(_reasons(epoch, profile, relaxation, tolerance, last))
    variance = float("nan")
    if relaxation is not None and 4 * relaxation > last:
        relaxation = None
    if relaxation is not None:
        followed = runs.lengths >= study.horizon
        if not runs.retired.any() and followed.sum() > 1:
            variance = _variance_between(values[followed, relaxation - 1 :])
        reasons += (_ergodicity(runs, relaxation, variance, n_followed=int(followed.sum())),)
    return QuasiSteadyState(
        relaxation is not None,
        relaxation,
        reasons,
        epoch=epoch,
        n_survivors=left[epoch - 1],
        tolerance=tolerance,
        variance_between=variance,
        n_runs=times.n_runs,
        **profile,
    )


def relaxation(plain: Trajectories, times: FirstPassageTimes, *, metric: str) -> int | None:
    """Return the first epoch from which the metric of the survivors appears settled from a few runs; ``None`` if it has not settled yet.

    The same runs are compared at ``t`` and ``2t``, those that have not passed by then: the shift of their mean, less its standard error, in
    units of their spread at ``t``. A search can begin with so few runs; a comparison of distributions (`assess_qss`) needs many.

    >>> values = np.minimum(np.arange(1.0, 17.0), 4.0) + np.linspace(-1, 1, 8)[:, None]  # rises until epoch 4
    >>> plain = Trajectories({"m": values}, np.arange(8))
    >>> relaxation(plain, FirstPassageTimes(np.full(8, 16), np.zeros(8, bool), np.arange(8)), metric="m")
    4
    """
    values, start = plain.metric(metric), None
    for t in range(plain.n_epochs // 2, 0, -1):
        both = times.running(2 * t)
        if both.sum() < LEAST_PAIRS:
            continue
        earlier, later = values[both, t - 1], values[both, 2 * t - 1]
        moved, spread = later - earlier, float(np.std(earlier))
        noise = float(np.std(moved, ddof=1) / np.sqrt(len(moved)))
        if abs(float(np.mean(moved))) - noise > REST * spread:
            break
        start = t
    return start


@dataclass(frozen=True, slots=True)
class PlainKS(Record):
    """Two-sample Kolmogorov-Smirnov tests between epochs ``epoch`` and ``later``; arrays of shape ``(epochs,)``.

    ``n_first`` and ``n_second`` runs were compared; ``distance`` is the statistic, ``critical`` the value above which the test rejects at
    ``level``, its error rate if the samples were independent.
    """

    level: float
    epoch: Epochs
    later: Epochs
    n_first: Epochs
    n_second: Epochs
    distance: Reals
    critical: Reals
    p_value: Reals


def plain_ks(study: Study, at: Sequence[int], lag: int, *, survivors: bool = True, level: float = 0.05) -> PlainKS:
    """Compare the metric at epochs ``at`` and ``at + lag`` by the two-sample Kolmogorov-Smirnov test, as if runs were independent.

    It is here because it is in use; `assess_qss` does not rest on it. Survivors at the later epoch are survivors at the earlier one too,
    and a run remembers its metric. The test takes such nested, correlated samples for independent ones and is wrong: where nothing
    changes, and correlations are as in the published runs, it rejects 0.7 % at a nominal 5 %, so that what it accepts may well be
    moving. The centred bootstrap over runs (`QuasiSteadyState.p_value`) is the honest version: it keeps its error rate.

    Compared are the runs still below the threshold at each epoch or, without ``survivors``, all that are followed there. An InputError is
    raised if only first-passage times are known, an epoch is not within the horizon, or nobody is left there.
    """
    from scipy import stats

    _, values, times = _metric(study)
    rows = []
    for epoch in at:
        if not 1 <= epoch < epoch + lag <= study.horizon:
            raise InputError(f"epochs {epoch} and {epoch + lag} do not follow each other within {study.horizon} epochs")
        members = [times.running(t) if survivors else np.isfinite(values[:, t - 1]) for t in (epoch, epoch + lag)]
        n, m = (int(each.sum()) for each in members)
        if not m:
            raise InputError(f"no run is left below the threshold at epoch {epoch + lag}")
        test = stats.ks_2samp(values[members[0], epoch - 1], values[members[1], epoch + lag - 1], method="asymp")
        critical = stats.kstwo.isf(level, np.round(n * m / (n + m)))
        rows.append((epoch, epoch + lag, n, m, test.statistic, critical, test.pvalue))
    columns: list[Any] = [np.array(column) for column in zip(*rows, strict=True)]
    return PlainKS(level, *columns)


def _untested(left: Epochs, n_runs: int) -> str:
    """Return why distributions cannot be compared up to the least epoch, and what would help."""
    if len(left) < LEAST_EPOCHS:
        return f"epochs are compared with later ones, up to epoch {LEAST_EPOCHS} at least, and these runs end at epoch {len(left)}"
    n = int(left[LEAST_EPOCHS - 1])
    more = f"about {-(-MIN_SURVIVORS * n_runs // n)} runs would leave as many" if n else "set a harder threshold"
    return (
        f"{n} of {n_runs} runs are below the threshold at epoch {LEAST_EPOCHS}, too few to compare distributions, which takes "
        f"{MIN_SURVIVORS}: {more}"
    )


def _metric(study: Study) -> tuple[Trajectories, Reals, FirstPassageTimes]:
    """Return the unperturbed runs of a study, their metric and their first-passage times, all up to its horizon."""
    alone = study.ensembles[None]
    if alone.values is None or not isinstance(study.unperturbed, Trajectories):
        raise InputError(Cause.NO_METRIC.value)
    return study.unperturbed.head(epochs=study.horizon), alone.values, alone.times


def _start(epoch: Epochs, still: NDArray[np.bool_]) -> int | None:
    """Return the epoch from which all are still, ``None`` if the last one is not."""
    moving = np.flatnonzero(~still)
    first = int(moving[-1]) + 1 if len(moving) else 0
    return int(epoch[first]) if first < len(epoch) else None


def _distances(epoch: Epochs, tested: Epochs, values: Reals, times: FirstPassageTimes, weights: Weights) -> Profile:
    """Return the distances of the data (replicate 0), and p-values from the other replicates."""
    alive = np.stack([times.running(int(t)) for t in tested], axis=1)  # (runs, tested)
    at_tested = values[:, tested - 1]  # (runs, tested)
    grid = np.unique(np.quantile(at_tested[alive], np.linspace(0, 1, N_GRID)))
    below = ((at_tested[:, :, None] <= grid) & alive[:, :, None]).astype(np.float32)  # (runs, tested, grid)
    counts = weights @ alive.astype(np.float32)  # (1 + n_boot, tested)
    cdf = np.tensordot(weights, below, axes=1) / np.maximum(counts, 1)[:, :, None]  # (1 + n_boot, tested, grid)
    distance, at = np.zeros(len(epoch)), np.zeros(len(epoch), dtype=np.int64)
    centred_max = np.zeros(len(cdf) - 1)
    for i, t in enumerate(epoch):
        later = np.flatnonzero((tested > t) & (tested <= 2 * t))
        difference = cdf[:, [i]] - cdf[:, later]  # (1 + n_boot, later, grid)
        each = np.abs(difference[0]).max(axis=1)
        distance[i], at[i] = each.max(), tested[later[each.argmax()]]
        centred_max = np.maximum(centred_max, np.abs(difference[1:] - difference[0]).max(axis=(1, 2)))
    p_value = (1 + (centred_max >= distance[:, None]).sum(axis=1)) / (1 + len(centred_max))
    to_end = np.abs(cdf[0, : len(epoch)] - cdf[0, -1]).max(axis=1)
    return {"distance": distance, "at": at, "p_value": p_value, "distance_to_end": to_end}


def _effects(
    epoch: Epochs, tested: Epochs, values: Reals, times: FirstPassageTimes, weights: Weights, horizon: int
) -> Profile:
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
    return dict(zip(_EFFECTS, effects.T, strict=True))


def _variance_between(values: Reals) -> float:
    """Share of the variance between runs (one-way random-effects estimate), for values ``(runs, epochs)``."""
    within = float(values.var(axis=1, ddof=1).mean())
    between = max(float(values.mean(axis=1).var(ddof=1)) - within / values.shape[1], 0.0)
    return between / (between + within) if between + within > 0 else float("nan")


def _scheduled(words: str, steady: int | None, settled: int | None) -> str:
    until = "to the end" if steady is None else f"until epoch {steady}"
    reason = f"{words} and changes {until}: before that training is not the same at every epoch"
    return reason if settled is None else f"{reason}, although the metric looks settled from epoch {settled} on"


def _reasons(epoch: Epochs, profile: Profile, relaxation: int | None, tolerance: float, last: int) -> Iterator[str]:
    distance, p_value = profile["distance"], profile["p_value"]

    def furthest(name: str, first: int) -> int:
        return first + int(np.abs(profile[name][first:]).argmax())

    def effect(i: int) -> str:
        mean, low, high = (100 * profile[name][i] for name in _EFFECTS)
        return f"{mean:+.1f} % (interval {low:+.1f} to {high:+.1f} %)"

    if relaxation is None:
        far, moving = (furthest(name, len(epoch) // 2) for name in ("distance", "effect"))
        if distance[far] > tolerance:
            chance = ": few enough survivors for this to be chance; more runs would tell" if p_value[far] > 0.05 else ""
            yield (
                f"the metric of the surviving runs still changes: its distributions at epochs {epoch[far]} and {profile['at'][far]} "
                f"lie {distance[far]:.2f} apart (tolerance {tolerance:g}, p = {p_value[far]:.2g}){chance}"
            )
        if abs(profile["effect"][moving]) > EFFECT:
            yield (
                f"its mean drifts so far while epoch {epoch[moving]} doubles that the expected remaining time changes by "
                f"{effect(moving)} of the restricted mean (tolerance {100 * EFFECT:.0f} %)"
            )
    elif 4 * relaxation > last:
        yield (
            f"the distribution is within the tolerances only from epoch {relaxation} on, and the record of enough survivors "
            f"ends at epoch {last}: too short to tell a plateau (two doublings are needed)"
        )
    else:
        start = int(np.searchsorted(epoch, relaxation))
        far, moving, drift = furthest("distance", start), furthest("effect", start), profile["distance_to_end"][start]
        yield (
            f"from epoch {relaxation} on the metric of the surviving runs changes by a distance of at most {distance[far]:.2f} while the "
            f"epoch doubles (tolerance {tolerance:g}, p = {p_value[far]:.2g} at epoch {epoch[far]})"
        )
        yield f"the drift of its mean changes the expected remaining time by at most {effect(moving)} of the restricted mean"
        if drift > tolerance:
            yield f"a slow drift adds up to a distance of {drift:.2f} between epochs {relaxation} and {last}"


def _ergodicity(runs: Trajectories, relaxation: int, variance: float, *, n_followed: int) -> str:
    """Say in words whether each run visits the state."""
    if runs.retired.any() or n_followed < 2:
        why = f"these were retired at {runs.retirement}" if runs.retired.any() else f"there are {n_followed}"
        return f"how much of the variance after epoch {relaxation} lies between runs is known of runs followed to the end only, and {why}"
    if np.isnan(variance):
        return f"the metric does not vary after epoch {relaxation}"
    among = "" if n_followed == runs.n_runs else f" (of {n_followed} of the runs, the others ended early)"
    state = "the state is one of the ensemble, not of each run" if variance > 0.5 else "each run explores most of it"
    return f"{100 * variance:.0f} % of the variance after epoch {relaxation} lies between runs{among}: {state}"
