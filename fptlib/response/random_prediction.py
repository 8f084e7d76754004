"""Predictions for perturbations at random times from runs perturbed with one period, and whether a rare perturbation helps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Direction
from fptlib.response.common import Repeat, samples, unlike
from fptlib.response.forms import Beyond, Curves, Summed, restricted
from fptlib.response.interpolation import Epochs, Interpolated
from fptlib.response.prediction import SECOND_PERTURBATION
from fptlib.response.random_times import Later, first_weights, random_residual, random_survival
from fptlib.response.records import check_probability
from fptlib.response.sample import Sample
from fptlib.response.validity import verdict
from fptlib.response.verdicts import ERROR_TOLERANCE, Replicates, Status, Verdict, flag_few, percent, weigh_error
from fptlib.trajectories import Trajectories

RandomForm = Literal["auto", "2", "4", "7"]
_BOUNDS: tuple[Beyond, Beyond] = ("drop", "hold")


@dataclass(frozen=True, slots=True)
class RandomPrediction:
    """Predicted restricted mean under perturbation with a probability after each epoch, in epochs.

    Parameters
    ----------
    probability, form
        Of a perturbation after an epoch that does not pass; and what was assumed of later perturbations, see `predict_random`.
    mean, low, high
        Predicted ``E min(T_p, horizon)`` and its bootstrap interval.
    n_runs, n_censored
        Perturbed survivors behind it, and how many of them were censored.
    again
        Predicted share of the runs perturbed once that are perturbed again; NaN where that is not known.
    running
        Predicted share of runs still below the threshold at the horizon.
    verdict
        Whether the prediction can be relied on, why, and the expected relative error with its interval.
    """

    probability: float
    form: int
    mean: float
    low: float
    high: float
    n_runs: int
    n_censored: int
    again: float
    running: float
    verdict: Verdict

    @property
    def valid(self) -> bool:
        """True only if the status is `Status.VALID`."""
        return self.verdict.status is Status.VALID


def predict_random(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int | None = None,
    probability: float | None = None,
    threshold: float,
    probabilities: Sequence[float],
    direction: Direction = "above",
    metric: str | None = None,
    form: RandomForm = "auto",
    others: Mapping[int, Trajectories] | None = None,
    repeat: Repeat | None = None,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> tuple[RandomPrediction, ...]:
    """Predict the restricted mean under perturbation with a probability after each epoch (form 5).

    Parameters
    ----------
    unperturbed, perturbed
        The two ensembles, as in `fptlib.response.predict`.
    period, probability
        How the perturbed runs were perturbed: with this period ``P0``, or with this probability after each epoch. Either, not both.
    probabilities
        To predict for, each above 0 and at most 1.
    form
        What is assumed of the perturbations after the first: ``"2"``, that they change nothing (the residual time is that of the
        perturbed runs); ``"7"``, that they act as those of the cycles seen did; ``"4"``, that each restarts from scratch. ``"auto"``
        takes 4 if the store says so, 7 where more than 5 % of the runs perturbed once would be perturbed again and most of those within
        the length of a cycle, 2 elsewhere.
    others
        Period to runs perturbed with it: what a first perturbation leaves is then interpolated between the periods measured, which are
        best spread over the epochs at which it may come. Short periods that go on say little of what follows one perturbation: perturb
        ``"once"`` there.
    repeat
        Whether the runs were perturbed with ``period`` again and again or ``"once"``; what their store says, by default ``"periodic"``.
    level, tolerance, n_boot, seed, threshold, direction, metric
        As in `fptlib.response.predict`.

    Raises
    ------
    InputError
        If a probability is not possible, not one of ``period`` and ``probability`` is given, or as `fptlib.response.predict`.

    Notes
    -----
    Events of a Poisson process of rate ``r`` per epoch that act at the end of their epoch are the case ``p = 1 - exp(-r)``.

    The validity is that of `fptlib.response.validity`, averaged over the epoch ``s`` of the first perturbation with its weights
    ``p q^(s-1) S(s)``: the drift of the metric between ``P0`` and ``s``, and what the cycles seen say of later perturbations. From runs
    perturbed with a probability only that one is verified, as the epochs of their perturbations are not known.
    """
    for p in (*probabilities, *(() if probability is None else (probability,))):
        if not 0 < p <= 1:
            raise InputError(f"probability {p} is not above 0 and at most 1")
    if (period is None) == (probability is None):
        raise InputError("give either the period or the probability with which the perturbed runs were perturbed")
    if form not in ("auto", "2", "4", "7"):
        raise InputError(f"form {form!r} is not known; choose auto, 2, 4 or 7")
    if probability is not None and (others or form not in ("auto", "2")):
        raise InputError(
            "form 7, form 4 and others need the period of the perturbed runs; a probability allows form 2 alone"
        )
    if probability is not None:
        check_probability(perturbed, probability)
    drawn = samples(
        unperturbed,
        perturbed,
        period=period or 1,  # under a probability no epoch before the first is perturbed either
        threshold=threshold,
        direction=direction,
        metric=metric,
        others=others,
        repeat=repeat,
        random=probability is not None,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    source = Interpolated.of(drawn)
    if probability is not None:
        return tuple(_from_random(source, probability, p, tolerance) for p in probabilities)
    return tuple(_from_periodic(source, p, form, tolerance) for p in probabilities)


def _from_periodic(source: Interpolated, probability: float, form: RandomForm, tolerance: float) -> RandomPrediction:
    sample = source.samples[0]
    survival, horizon = sample.survival.curve, sample.horizon
    weights = first_weights(survival, probability)[:, 1:-1]
    alone = ((1 - probability) ** np.arange(horizon) * survival[:, :-1]).sum(axis=1)
    firsts = [first_weights(_extended(s.cycles[0], horizon)[:1], probability)[0] for s in source.samples]
    again, within_cycle = source.shares(weights) @ [
        (first.sum(), first[: s.cycles[0].length + 1].sum()) for first, s in zip(firsts, source.samples, strict=True)
    ]
    used = int(form) if form != "auto" else _choose(sample, again, within_cycle)
    after = [_after(s, probability, used) for s in source.samples]
    mean = alone + source.total(weights, [_left(curve) for curve in after])
    if used == 4 and sample.full_restart:
        nothing = np.zeros_like(mean)
        judged = verdict(sample, period=sample.period, form=4, mean=mean, drift=nothing, tolerance=tolerance)
    else:
        judged = _judge(source, probability, used, mean, alone, weights, tolerance)
    running = (1 - probability) ** horizon * float(survival[0, -1])
    for share, curve in zip(source.near, after, strict=True):
        running += float((weights[0] * share) @ curve[0, -2:0:-1])
    running += probability * (1 - probability) ** (horizon - 1) * float(survival[0, -1])
    return _prediction(source, probability, used, mean, running, float(again), judged)


def _judge(
    source: Interpolated,
    probability: float,
    form: int,
    mean: Replicates,
    alone: Replicates,
    weights: Epochs,
    tolerance: float,
) -> Verdict:
    horizon = source.samples[0].horizon
    epoch = np.arange(1, horizon)
    low, high = (
        (alone + source.total(weights, bound)) / mean - 1
        for bound in zip(*(_bracket(sample, probability) for sample in source.samples), strict=True)
    )
    if form == 2:  # residual curves end before the horizon and were held at their last value
        missing = [np.maximum(s.period - epoch, 0) * s.residual.curve[:, [-1]] for s in source.samples]
        low = low - source.total(weights, missing) / mean
    change, outside, shift = source.drift(weights)
    least, most = (float(alone[0] + weights[0] @ left) for left in (np.ones(horizon - 1), horizon - epoch))
    return weigh_error(
        source.weakest(weights),
        below=low,
        above=high,
        drift=change / mean,
        possible=(least / float(mean[0]) - 1, most / float(mean[0]) - 1),
        outside=outside,
        shift=shift,
        who="the runs at their first perturbation",
        seen=source.where,
        tolerance=tolerance,
        doubt=source.samples[0].records.doubt_at_random(),
    )


def _choose(sample: Sample, again: float, within_cycle: float) -> int:
    if sample.full_restart:
        return 4
    return 7 if again > SECOND_PERTURBATION and within_cycle > again / 2 else 2


def _after(sample: Sample, probability: float, form: int) -> Curves:
    """Survival after the first perturbation, later ones included, ``(replicates, horizon + 1)``."""
    if form == 4:
        return random_survival([sample.survival.curve], probability=probability)
    if form == 7:
        return _by_cycles(sample, probability, "hold", "repeat")
    return _extended(sample.residual, sample.horizon)


def _bracket(sample: Sample, probability: float) -> tuple[Epochs, Epochs]:
    """What a first perturbation at each epoch leaves within the horizon: between these the cycles seen leave the truth open."""
    low, high = (_left(_by_cycles(sample, probability, bound)) for bound in _BOUNDS)
    if unlike(sample, min(sample.period, sample.cycles[0].length)) is not None:
        return low, high
    # cycles that are alike may be repeated, with all that this adds as its uncertainty
    least, most = (_left(_by_cycles(sample, probability, bound, "repeat")) for bound in _BOUNDS)
    closure = most - _left(_by_cycles(sample, probability, "hold", "drop"))
    return np.maximum(low, least - closure), np.minimum(high, most + closure)


def _by_cycles(sample: Sample, probability: float, beyond: Beyond, later: Later | None = None) -> Curves:
    """Survival after the first perturbation by form 7, cycles extended to the horizon one way or the other."""
    stages = [_extended(cycle, sample.horizon, beyond) for cycle in sample.cycles]
    return random_survival(stages, probability=probability, later=beyond if later is None else later)


def _left(curve: Curves) -> Epochs:
    """Restricted means of a survival curve within what is left of the horizon after epochs ``1 .. H - 1``."""
    return np.cumsum(curve[:, :-2], axis=1)[:, ::-1]


def _extended(curve: Summed, horizon: int, beyond: Beyond = "hold") -> Curves:
    missing = max(horizon - curve.length, 0)
    last = curve.curve[:, -1:] if beyond == "hold" else np.zeros((len(curve.curve), 1))
    return np.concatenate([curve.curve[:, : horizon + 1], np.repeat(last, missing, axis=1)], axis=1)


def _from_random(source: Interpolated, measured: float, probability: float, tolerance: float) -> RandomPrediction:
    sample = source.samples[0]
    survival = sample.survival.curve
    perturbed = np.concatenate([survival[:, :1], survival[:, 1:2] * sample.residual.curve], axis=1)
    if probability == measured:
        judged = flag_few(sample, Verdict(Status.VALID, "measured at this probability", 0.0, 0.0, 0.0))
        running = float(perturbed[0, -1])
        return _prediction(source, probability, 2, restricted(perturbed), running, float("nan"), judged)
    left = random_residual(survival, perturbed, probability=measured)  # (replicates, horizon + 1)
    weights = first_weights(survival, probability)[:, 1:-1]
    alone = ((1 - probability) ** np.arange(sample.horizon) * survival[:, :-1]).sum(axis=1)
    mean = alone + (weights * left[:, -2:0:-1]).sum(axis=1)
    later = np.diff(left[:1], axis=1, append=left[:1, -1:])  # what lies beyond the horizon is not needed
    curve = random_survival([survival[:1]], probability=probability, later=later)
    least, most = (alone + (weights * n).sum(axis=1) for n in (1, sample.horizon - np.arange(1, sample.horizon)))
    bounds = (float(least[0] / mean[0] - 1), float(most[0] / mean[0] - 1))
    if -tolerance <= bounds[0] and bounds[1] <= tolerance:
        limit = percent(tolerance, sign=False)
        said = f"whatever the perturbation does, the mean cannot be {limit} from the prediction"
        judged = flag_few(sample, Verdict(Status.VALID, said, 0.0, *bounds))
    else:
        said = (
            f"measured at probability {measured:g} only: perturbations come at other epochs and in other numbers at {probability:g}, "
            "and when they came was not recorded"
        )
        judged = Verdict(Status.UNVERIFIED, said, 0.0, *bounds)
    return _prediction(source, probability, 2, mean, float(curve[0, -1]), float("nan"), judged)


def _prediction(
    source: Interpolated,
    probability: float,
    form: int,
    mean: Replicates,
    running: float,
    again: float,
    judged: Verdict,
) -> RandomPrediction:
    found = source.samples[0].estimate(mean, source.n_survivors, source.n_residual_censored)
    return RandomPrediction(
        probability=probability,
        form=form,
        mean=found.mean,
        low=found.low,
        high=found.high,
        n_runs=found.n_runs,
        n_censored=found.n_censored,
        again=again,
        running=running,
        verdict=judged,
    )
