"""Predict the mean first-passage time at many periods from perturbed ensembles at a few, and choose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, ratio
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.response.advice import advise
from fptlib.response.interval import OPEN, Interval, Source, carried, reach, restart, source
from fptlib.response.results import Method, Prediction, Ranking
from fptlib.study import Cause, Key, Note, Study
from fptlib.study.records import doubts, moving
from fptlib.trajectories.origin import FULL_RESET

_EXPECTED = 5  # passages: where so many are expected, none at all is no chance (1 %)
DEFAULT_PERIODS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)
Answer = TypeVar("Answer")


def predict(study: Study, periods: Sequence[int] | None = None) -> Ranking:
    """Predict the restricted mean first-passage time of one perturbation at many periods, and choose the best.

    An InputError says that there are no perturbed runs or several perturbations, or a period is not below the horizon.

    Parameters
    ----------
    study
        Unperturbed runs and those of one perturbation, at one period or several. Each prediction rests on the measured period that is
        nearest on the log scale; at a measured period it is the measurement.
    periods
        Periods to predict for, in epochs, below the horizon; a spread of them and those that were measured by default.

    Examples
    --------
    >>> import numpy as np
    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=10, hazard=0.01, silent_after=2, hazard_after=0.2)
    >>> plain, kicked = (process.sample(np.random.default_rng(i), n_runs=300, horizon=120, period=p) for i, p in enumerate([None, 20]))
    >>> answer = predict(Study(plain, {("kick", 20): kicked}, 0.5), [15, 40])
    >>> [(p.period, p.method, p.grade) for p in answer.predictions]
    [(15, 'cycles', 'to 10 %'), (40, 'cycles', 'to 10 %')]
    """
    names = list(dict.fromkeys(name for name, _ in study.perturbed))
    if len(names) != 1:
        several = (
            f"several perturbations ({', '.join(names)}); recommend compares them" if names else "no perturbed runs"
        )
        raise InputError(f"predict needs the runs of one perturbation, and the study holds {several}")
    requested = _periods(study, periods)
    qss = _assessed(study)
    predictions = tuple(_of_one(study, names[0], requested, qss))
    measured = predictions if periods is None else tuple(_of_one(study, names[0], [p for _, p in study.perturbed], qss))
    residual = None
    if len(study.perturbed) == 1:
        (key,) = study.perturbed
        residual = key[1], study.residual(key)
    return _ranked(study, predictions, [*predictions, *(p for p in measured if p not in predictions)], qss, residual)


def recommend(study: Study, periods: Sequence[int] | None = None) -> Ranking:
    """Rank perturbations and periods by their mean first-passage time, doing nothing and a full reset included, and choose.

    Predictions are in the order of their means, those that are open included, as they may be the best.

    Parameters
    ----------
    study
        Unperturbed runs and perturbed ones, if any: a full reset needs none.
    periods
        As in `predict`.

    Notes
    -----
    The choice is the smallest mean if the upper end of its interval is below the best measured mean, doing nothing included; else it is
    the best measured one, and ``next`` the smallest mean, which one more perturbed ensemble would settle. A decided choice at the shortest
    period that was looked at names half of that period.

    Examples
    --------
    >>> import numpy as np
    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=10, hazard=0.01, silent_after=2, hazard_after=0.2)
    >>> plain, kicked = (process.sample(np.random.default_rng(i), n_runs=300, horizon=120, period=p) for i, p in enumerate([None, 20]))
    >>> answer = recommend(Study(plain, {("kick", 20): kicked}, 0.5), [15, 20, 40])
    >>> str(answer.choice), answer.choice.method
    ('kick every 15 epochs', 'cycles')
    """
    study.require_passage()
    requested, qss = _periods(study, periods), _assessed(study)
    predictions = [_nothing(study)]
    for name in dict.fromkeys(name for name, _ in study.perturbed):
        predictions += _of_one(study, name, requested, qss)
    if not any(_full_reset(study, key) for key in study.perturbed):
        # Where no run passes within a period, starting over for ever passes none.
        times = study.ensembles[None].times
        first = int(times.time[times.observed].min(initial=study.horizon))
        predictions += [_restarted(study, FULL_RESET, period) for period in requested if period >= first]
    ordered = sorted(predictions, key=lambda p: (math.inf if math.isnan(p.centre) else p.centre, p.period or 0))
    return _ranked(study, tuple(ordered), ordered, qss)


def at_each(thresholds: Sequence[float], ask: Callable[[float], Answer]) -> dict[float, Answer | str]:
    """Answer at several thresholds; where there is no answer, one line explains why.

    ``ask`` is called with each, as ``lambda x: recommend(study.at(x))``. If none has an answer, an InputError has the
    reason of the first.
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


def _periods(study: Study, periods: Sequence[int] | None) -> list[int]:
    if periods is None:
        return sorted(p for p in {*DEFAULT_PERIODS, *(p for _, p in study.perturbed)} if p < study.horizon)
    for period in periods:
        if int(period) != period or not 1 <= period < study.horizon:
            raise InputError(
                f"period {period} is not between 1 and {study.horizon - 1}, below the horizon {study.horizon}"
            )
    return sorted({int(period) for period in periods})


def _assessed(study: Study) -> QuasiSteadyState | None:
    return None if study.ensembles[None].values is None else assess_qss(study)


def _nothing(study: Study) -> Prediction:
    mean = study.plain
    interval = Interval(mean.mean, mean.low, mean.high, (mean.low, mean.high))
    return Prediction(None, None, interval, "measured", None, mean.n_runs, mean.n_censored, study.level)


def _of_one(study: Study, name: str, periods: Sequence[int], qss: QuasiSteadyState | None) -> Iterator[Prediction]:
    """Yield the predictions of one perturbation, one for each period."""
    sources = [source(study, key) for key in study.perturbed if key[0] == name]
    full = any(_full_reset(study, s.key) for s in sources)
    for period in periods:
        at = min(sources, key=lambda s: (s.n_survivors < 2, reach(period, s.period), -s.n_survivors))
        if full and at.period != period:
            yield _restarted(study, name, period)
            continue
        prediction = _carried(study, at, period, qss)
        if full and prediction.mean is not None:
            prediction = replace(prediction, notes=(*prediction.notes, *_unexpected(study, at, prediction)))
        others = (_disjoint(study, s, period, prediction) for s in sources if s is not at and s.n_survivors > 1)
        yield replace(prediction, notes=(*prediction.notes, *(note for note in others if note is not None)))


def _unexpected(study: Study, at: Source, measured: Prediction) -> Iterator[Note]:
    """Yield a note if a measured full reset and what unperturbed runs predict of it differ by more than the uncertainty of both."""
    expected, _ = restart(study, at.period)
    off = ratio(measured.estimate, Estimate(expected.centre, expected.low, expected.high, 0, 0, study.level))
    if off.low > 1 or off.high < 1:
        yield Cause.RESET.note(name=study.name(at.key), mean=measured.centre, low=expected.low, high=expected.high)


def _carried(study: Study, at: Source, period: int, qss: QuasiSteadyState | None) -> Prediction:
    interval, _ = carried(at, period, level=study.level)
    method: Method = "measured" if period == at.period else "single" if at.once else "cycles"
    return Prediction(
        perturbation=at.key[0],
        period=period,
        interval=interval,
        method=method,
        source=at.period,
        n_runs=at.n_survivors,
        n_censored=at.n_survivors - at.n_passed,
        level=study.level,
        notes=tuple(_doubts(study, at, period, qss, is_open=interval.grade == OPEN)),
        once=at.once,
    )


def _doubts(study: Study, at: Source, period: int, qss: QuasiSteadyState | None, *, is_open: bool) -> Iterator[Note]:
    if at.n_survivors < 2:
        yield Cause.FEW_SURVIVORS.note(n=at.n_survivors, source=at.period)
    elif at.measures(period) and is_open:
        yield Cause.FEW_PASSED.note(n=at.n_passed or "none", left=at.n_survivors, source=at.period)
    if period == at.period:
        return
    origins = study.origin(None), study.origin(at.key)
    yield from doubts(origins, horizon=study.horizon, period=period, source=at.period)
    if qss is not None and not qss.reached:
        yield Cause.UNSETTLED.note(source=at.period)
    elif qss is not None and min(period, at.period) < (qss.relaxation_epoch or 0):
        yield Cause.RELAXATION.note(start=qss.relaxation_epoch)
    if _too_early(study, *sorted((period, at.period))):
        times = study.ensembles[None].times
        first = int(times.time[times.observed].min())
        where = f", as those at epoch {at.period} were," if at.period < first else ""
        yield Cause.NONE_PASSED.note(epoch=first, where=where)


def _too_early(study: Study, lower: int, upper: int) -> bool:
    """Test whether no unperturbed run passes up to an epoch although, by the hazard up to a later one, `_EXPECTED` should have."""
    times, survival = study.ensembles[None].times, float(study.survival[upper, 0])
    passed = bool((times.observed & (times.time <= lower)).any())
    return not passed and times.n_runs * (1 - survival ** (lower / upper)) >= _EXPECTED


def _disjoint(study: Study, other: Source, period: int, prediction: Prediction) -> Note | None:
    interval, _ = carried(other, period, level=study.level)
    if interval.low <= prediction.high and prediction.low <= interval.high:
        return None
    return Cause.DISJOINT.note(source=other.period)


def _full_reset(study: Study, key: Key) -> bool:
    """Test whether an ensemble was restarted sharply, by its record or, where there is none, by its name."""
    origin = study.origin(key)
    return key[0] not in study.once and (origin.full_reset or (not origin.perturbation and key[0] == FULL_RESET))


def _restarted(study: Study, name: str, period: int) -> Prediction:
    interval, _ = restart(study, period)
    times = study.ensembles[None].times
    schedule = moving((study.origin(None),), horizon=study.horizon, after=0)
    notes = () if schedule is None else (Cause.SCHEDULE_RESTART.note(schedule=schedule),)
    return Prediction(name, period, interval, "restart", None, times.n_runs, times.n_censored, study.level, notes)


def _ranked(
    study: Study,
    predictions: tuple[Prediction, ...],
    candidates: Sequence[Prediction],
    qss: QuasiSteadyState | None,
    residual: tuple[int, Estimate] | None = None,
) -> Ranking:
    choice, following = choose(candidates)
    notes = study.notes if qss is not None else (*study.notes, Cause.NO_METRIC.note())
    ranking = Ranking(
        target=study.target,
        horizon=study.horizon,
        level=study.level,
        unperturbed=study.plain,
        predictions=predictions,
        choice=choice,
        next=following,
        qss=qss,
        notes=notes,
        residual=residual,
    )
    return replace(ranking, advice=advise(ranking))


def choose(candidates: Sequence[Prediction]) -> tuple[Prediction, Key | None]:
    """Return the choice among candidates, and where to measure next, if anywhere; see `recommend`."""
    known = [p for p in candidates if not math.isnan(p.centre)]
    if not known:  # one survivor at most: only the range is known
        return next(p for p in candidates if p.measured), None
    best = min((p for p in known if p.measured), key=lambda p: p.centre)
    smallest = min(known, key=lambda p: (p.centre, not p.measured))
    if smallest.measured or smallest.high < best.centre:
        return smallest, _half(smallest, candidates)
    return best, (smallest.perturbation or "", smallest.period or 0)


def _half(choice: Prediction, candidates: Sequence[Prediction]) -> Key | None:
    """Return half of the period of a choice that sits at the shortest one that was looked at: below, nothing is known.

    Of a full reset it is known that no run passes within a shorter one.
    """
    own = [p.period for p in candidates if p.perturbation == choice.perturbation and p.period is not None]
    if choice.method == "restart" or choice.perturbation is None or choice.period is None:
        return None
    if choice.period > min(own) or choice.period == 1:
        return None
    return choice.perturbation, choice.period // 2
