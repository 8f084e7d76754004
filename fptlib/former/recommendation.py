"""Ranking of perturbations and periods by the mean first-passage time that is predicted for them.

Each perturbation was measured at one period or several. A full reset needs no measurement: form 4 gives it from the unperturbed runs
alone, and so does doing nothing. All replicates draw the same seeds, so that what is said of differences holds for runs that share them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Estimate
from fptlib.former.advice import Option, advise
from fptlib.former.common import draw_ensembles
from fptlib.former.forms import restart_restricted_mean
from fptlib.former.prediction import DEFAULT_PERIODS, Prediction, predict_all
from fptlib.former.sample import Plain, estimate
from fptlib.former.verdicts import ERROR_TOLERANCE, Cause, Status, Verdict, doubted
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.study import Study
from fptlib.trajectories import Direction, Target, Trajectories
from fptlib.trajectories.origin import FULL_RESET, Origin, is_full_reset

Answer = TypeVar("Answer")
MIN_PASSED = 10  # runs that pass within a period, below which a full reset is not vouched for: 1 / (1 - S) is then known to a third
_Candidate = tuple[
    str, int | None, Prediction, NDArray[np.float64]
]  # name, measured period, prediction, data and replicates
_ORDER = {Status.VALID: 0, Status.UNVERIFIED: 1, Status.NOT_VALID: 2}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """Perturbations and periods ranked, with what to do in words.

    Parameters
    ----------
    threshold, horizon, level
        The threshold, the last epoch used, and the confidence level of all intervals.
    unperturbed
        Restricted mean without perturbation.
    quasi_steady_state
        Verdict on the unperturbed ensemble.
    ranking
        Valid options by their mean, then the unverified ones, then those that are not valid.
    sentences
        The advice: what to do, how sure that is, what to measure next.
    """

    threshold: float
    horizon: int
    level: float
    unperturbed: Estimate
    quasi_steady_state: QuasiSteadyState
    ranking: tuple[Option, ...]
    sentences: tuple[str, ...]

    @property
    def best(self) -> Option | None:
        """The valid option with the smallest mean; ``None`` if none is valid."""
        return self.ranking[0] if self.ranking and self.ranking[0].valid else None

    @property
    def speedup_at_least(self) -> float | None:
        """Lower end of the speed-up of the best option, a lower bound too where unperturbed runs are censored."""
        return None if self.best is None else self.best.speedup.low

    @property
    def advice(self) -> str:
        """The advice as one paragraph."""
        return " ".join(self.sentences)


def recommend(
    unperturbed: Trajectories,
    candidates: Mapping[tuple[str, int], Trajectories],
    *,
    threshold: float,
    periods: Sequence[int] | None = None,
    direction: Direction = "above",
    metric: str | None = None,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Recommendation:
    """Rank perturbations and periods by the mean first-passage time that they lead to.

    Parameters
    ----------
    unperturbed
        Runs without perturbation.
    candidates
        ``(name, period)`` to the runs that were perturbed so; may be empty: a full reset needs no runs. The same name with several
        periods is one perturbation, whose predictions are held against each other.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    periods
        Periods to rank, shorter than the horizon; a spread of them, and those that were measured, by default.
    level, tolerance, n_boot, seed
        As in `predict`.

    Raises
    ------
    InputError
        As `predict`.

    Examples
    --------
    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=10, hazard=0.01, silent_after=2, hazard_after=0.2)
    >>> plain, kicked = (process.sample(np.random.default_rng(i), n_runs=300, horizon=120, period=p) for i, p in enumerate([None, 20]))
    >>> answer = recommend(plain, {("kick", 20): kicked}, threshold=0.5, periods=[15, 20, 40], n_boot=200)
    >>> str(answer.best), answer.best.source
    ('kick every 20 epochs', 20)
    """
    drawn = draw_ensembles(
        unperturbed,
        [(f"{name} every {period}", period, runs) for (name, period), runs in candidates.items()],
        threshold=threshold,
        periods=periods,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    plain, samples, horizon = drawn.plain, drawn.samples, drawn.horizon
    chosen = sorted({*DEFAULT_PERIODS, *(p for _, p in candidates)} if periods is None else set(periods))
    chosen = [p for p in chosen if p < horizon]  # at the horizon a perturbation changes nothing that is counted
    predicted: list[_Candidate] = []
    for name in dict.fromkeys(name for name, _ in candidates):
        own = [sample for (label, _), sample in zip(candidates, samples, strict=True) if label == name]
        sources = [predict_all([own[i], *own[:i], *own[i + 1 :]], chosen, tolerance=tolerance) for i in range(len(own))]
        for row in zip(*sources, strict=True):
            i = min(range(len(row)), key=lambda i: _preference(row[i][0], own[i].period))
            prediction, means = row[i]
            at = prediction.period if prediction.period in {s.period for s in own} else own[i].period
            predicted.append((name, at, prediction, means))
    if not any(
        name == FULL_RESET or is_full_reset(Origin.of(runs).perturbation) for (name, _), runs in candidates.items()
    ):
        # where no run passes within a period, starting over for ever passes none
        first = int(plain.times.time[plain.times.observed].min(initial=horizon))
        predicted += [_full_reset(plain, period) for period in chosen if period >= first]
    state = assess_qss(Study(drawn.unperturbed, {}, Target(threshold, direction, metric), seed=seed))
    ranking = _ranked(predicted, plain)
    return Recommendation(
        threshold=threshold,
        horizon=horizon,
        level=level,
        unperturbed=plain.mean,
        quasi_steady_state=state,
        ranking=ranking,
        sentences=advise(
            ranking,
            unperturbed=plain.mean,
            horizon=horizon,
            state=state,
            survivors={(name, period): s.n_survivors for (name, period), s in zip(candidates, samples, strict=True)},
            suspicious=drawn.notes,
        ),
    )


def at_each(thresholds: Sequence[float], ask: Callable[[float], Answer]) -> dict[float, Answer | str]:
    """Answer at several thresholds: each the answer, or in one line why there is none.

    Parameters
    ----------
    thresholds
        Metric values to reach.
    ask
        Called with each, as ``lambda x: recommend(plain, candidates, threshold=x)``.

    Raises
    ------
    InputError
        If no threshold has an answer: the reason of the first.
    """
    answers: dict[float, Answer | str] = {}
    for threshold in thresholds:
        try:
            answers[threshold] = ask(threshold)
        except InputError as error:
            answers[threshold] = str(error)
    if answers and all(isinstance(answer, str) for answer in answers.values()):
        raise InputError(str(next(iter(answers.values()))))
    return answers


def _preference(prediction: Prediction, source: int) -> tuple[int, bool, float]:
    """Return a key for predictions of one period: the better status, then what was measured, then the narrower interval."""
    return _ORDER[prediction.verdict.status], prediction.period != source, prediction.high - prediction.low


def _full_reset(plain: Plain, period: int) -> _Candidate:
    """Predict a full reset every ``period`` epochs from unperturbed runs alone."""
    mean = restart_restricted_mean(plain.survival, period=period)
    passed = int(np.sum(plain.times.observed & (plain.times.time <= period)))
    result = estimate(mean, plain.times.n_runs, plain.times.n_censored, plain.level)
    status, cause = (Status.VALID, Cause.EXACT) if passed >= MIN_PASSED else (Status.UNVERIFIED, Cause.FEW_PASSAGES)
    words = {"n": passed, "of": plain.times.n_runs, "period": period, "least": MIN_PASSED}
    n_periods, rest = divmod(plain.survival.length, period)
    running = float(plain.survival.value(period)[0] ** n_periods * plain.survival.value(rest)[0])
    moving = plain.records.moving(0)
    doubt = moving and f"{moving}: a network drawn afresh at epoch {period} is not trained as the first was"
    verdict = doubted(Verdict.because(status, cause, **words), doubt)
    prediction = Prediction(
        period=period, form=4, mean=result.mean, low=result.low, high=result.high, verdict=verdict, running=running
    )
    return FULL_RESET, None, prediction, mean


def _ranked(predicted: list[_Candidate], plain: Plain) -> tuple[Option, ...]:
    """Return options in the order of their status and mean, each with the share of replicates in which it is the best valid one."""
    shares = dict.fromkeys(range(len(predicted)), 0.0)
    valid = [i for i, (_, _, prediction, _) in enumerate(predicted) if prediction.valid]
    if valid:
        means = np.stack([predicted[i][3][1:] for i in valid])  # (options, replicates)
        winners = np.bincount(np.nan_to_num(means, nan=np.inf).argmin(axis=0), minlength=len(valid))
        shares |= {i: float(n) / means.shape[1] for i, n in zip(valid, winners, strict=True)}
    unperturbed = plain.survival.mean(plain.survival.length)
    options = []
    for i, (name, source, prediction, means) in enumerate(predicted):
        speedup = estimate(unperturbed / means, plain.times.n_runs, plain.times.n_censored, plain.level)
        options.append(Option(name, prediction.period, source, prediction, speedup, best_in=shares[i]))
    return tuple(sorted(options, key=lambda o: (_ORDER[o.prediction.verdict.status], o.mean, o.perturbation, o.period)))
