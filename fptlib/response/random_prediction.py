"""Predictions for perturbations at random times from runs perturbed with one period, and whether a rare perturbation helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Direction
from fptlib.response.forms import Beyond, Curves, Summed, restricted
from fptlib.response.random_times import Later, first_weights, random_residual, random_survival
from fptlib.response.sample import Sample
from fptlib.response.validity import ERROR_TOLERANCE, Status, Verdict, verdict
from fptlib.response.weighing import Repeat, flag_few, percent, samples, unlike, weigh_error
from fptlib.trajectories import Trajectories

RandomForm = Literal["auto", "2", "4", "7"]
SECOND_PERTURBATION = 0.05  # form 7 is used where more of the perturbed runs than this meet a second perturbation
_BOUNDS: tuple[Beyond, Beyond] = ("drop", "hold")
_N_EPOCHS = 40  # epochs at which the drift is looked at, evenly in log(epoch), and interpolated between


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
    (sample,) = samples(
        unperturbed,
        perturbed,
        period=period or 1,  # under a probability no epoch before the first is perturbed either
        threshold=threshold,
        direction=direction,
        metric=metric,
        repeat=repeat,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    if probability is not None:
        if form not in ("auto", "2"):
            raise InputError(f"form {form} needs the period of the perturbed runs; a probability allows form 2")
        return tuple(_from_random(sample, probability, p, tolerance) for p in probabilities)
    drift = Drift(sample)
    return tuple(_from_periodic(sample, p, form, drift, tolerance) for p in probabilities)


class Drift:
    """What the drift between ``P0`` and each epoch ``1 .. H - 1`` does, see `Sample.drift`, looked at on a grid."""

    def __init__(self, sample: Sample) -> None:
        last = sample.horizon - 1
        self.grid = np.unique(np.round(np.geomspace(1, last, min(_N_EPOCHS, last))).astype(np.int64))
        epoch = np.arange(1, last + 1)
        # (grid, epochs): each epoch is shared out between its two neighbours on the grid
        self.share = np.stack([np.interp(epoch, self.grid, row) for row in np.eye(len(self.grid))])
        self.change = sample.drift(self.grid.tolist()).T  # (replicates, grid)
        self.outside = np.array([sample.outside(t) for t in self.grid.tolist()])
        self.shift = np.array([sample.shift(t) for t in self.grid.tolist()])

    def mean(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
        """Sum of the changes with weights ``(replicates, H - 1)``, and weighted means of the share outside and of the shift."""
        at = weights @ self.share.T
        of_data = at[0] / max(float(at[0].sum()), 1e-300)
        shift = float(of_data[of_data > 0] @ self.shift[of_data > 0])
        return (at * self.change).sum(axis=1), float(of_data @ self.outside), shift


def _from_periodic(
    sample: Sample, probability: float, form: RandomForm, drift: Drift, tolerance: float
) -> RandomPrediction:
    survival, horizon = sample.survival.curve, sample.horizon
    first = first_weights(_extended(sample.cycles[0], horizon), probability)
    again = float(first[0].sum())
    used = int(form) if form != "auto" else _choose(sample, again, float(first[0, : sample.cycles[0].length + 1].sum()))
    if used == 4:
        curve = random_survival([survival], probability=probability)
    elif used == 7:
        curve = _by_cycles(sample, probability, "hold", "repeat")
    else:
        curve = random_survival([survival], probability=probability, later=_extended(sample.residual, horizon))
    mean = restricted(curve)
    if used == 4 and sample.full_restart:
        judged = verdict(
            sample, period=sample.period, form=4, mean=mean, drift=np.zeros_like(mean), tolerance=tolerance
        )
        return _prediction(sample, probability, used, mean, curve, again, judged)
    low, high = (bound / mean - 1 for bound in _bracket(sample, probability))
    weights = first_weights(survival, probability)[:, 1:-1]
    epoch = np.arange(1, horizon)
    if used == 2:  # the residual curve ends P0 epochs before the horizon and was held at its last value
        missing = np.maximum(sample.period - epoch, 0)
        low = low - (weights * missing).sum(axis=1) * sample.residual.curve[:, -1] / mean
    change, outside, shift = drift.mean(weights)
    alone = float(((1 - probability) ** np.arange(horizon) * survival[0, :-1]).sum())
    judged = weigh_error(
        sample,
        below=low,
        above=high,
        drift=change / mean,
        possible=(
            (alone + float(weights[0].sum())) / float(mean[0]) - 1,
            (alone + float(weights[0] @ (horizon - epoch))) / float(mean[0]) - 1,
        ),
        outside=outside,
        shift=shift,
        where="at their first perturbation",
        tolerance=tolerance,
    )
    return _prediction(sample, probability, used, mean, curve, again, judged)


def _choose(sample: Sample, again: float, within_cycle: float) -> int:
    if sample.full_restart:
        return 4
    return 7 if again > SECOND_PERTURBATION and within_cycle > again / 2 else 2


def _bracket(sample: Sample, probability: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Restricted means between which the cycles seen leave the truth open."""
    low, high = (restricted(_by_cycles(sample, probability, bound)) for bound in _BOUNDS)
    if unlike(sample, min(sample.period, sample.cycles[0].length)) is not None:
        return low, high
    # cycles that are alike may be repeated, with all that this adds as its uncertainty
    least, most = (restricted(_by_cycles(sample, probability, bound, "repeat")) for bound in _BOUNDS)
    closure = most - restricted(_by_cycles(sample, probability, "hold", "drop"))
    return np.maximum(low, least - closure), np.minimum(high, most + closure)


def _by_cycles(sample: Sample, probability: float, beyond: Beyond, later: Later | None = None) -> Curves:
    """Survival by form 7, cycles extended to the horizon one way or the other."""
    stages = [sample.survival.curve, *(_extended(cycle, sample.horizon, beyond) for cycle in sample.cycles)]
    return random_survival(stages, probability=probability, later=beyond if later is None else later)


def _extended(curve: Summed, horizon: int, beyond: Beyond = "hold") -> Curves:
    missing = max(horizon - curve.length, 0)
    last = curve.curve[:, -1:] if beyond == "hold" else np.zeros((len(curve.curve), 1))
    return np.concatenate([curve.curve[:, : horizon + 1], np.repeat(last, missing, axis=1)], axis=1)


def _from_random(sample: Sample, measured: float, probability: float, tolerance: float) -> RandomPrediction:
    survival = sample.survival.curve
    perturbed = np.concatenate([survival[:, :1], survival[:, 1:2] * sample.residual.curve], axis=1)
    if probability == measured:
        judged = flag_few(sample, Verdict(Status.VALID, "measured at this probability", 0.0, 0.0, 0.0))
        return _prediction(sample, probability, 2, restricted(perturbed), perturbed, float("nan"), judged)
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
    return _prediction(sample, probability, 2, mean, curve, float("nan"), judged)


def _prediction(
    sample: Sample,
    probability: float,
    form: int,
    mean: NDArray[np.float64],
    curve: Curves,
    again: float,
    judged: Verdict,
) -> RandomPrediction:
    found = sample.estimate(mean, sample.n_survivors, sample.n_residual_censored)
    return RandomPrediction(
        probability=probability,
        form=form,
        mean=found.mean,
        low=found.low,
        high=found.high,
        n_runs=found.n_runs,
        n_censored=found.n_censored,
        again=again,
        running=float(curve[0, -1]),
        verdict=judged,
    )
