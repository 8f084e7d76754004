"""Predictions of the mean first-passage time at many periods from one perturbed ensemble, each with its verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Estimate
from fptlib.former.common import draw_ensembles
from fptlib.former.coverage import interval_flag
from fptlib.former.forms import (
    Curves,
    cycle_mean,
    cycle_residual,
    full_restart,
    restart_restricted_mean,
    splice,
    splice_mean,
)
from fptlib.former.sample import Sample
from fptlib.former.validity import checked, drift_error, verdict
from fptlib.former.verdicts import ERROR_TOLERANCE, Cause, Status, Verdict
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.study import Study
from fptlib.trajectories import Direction, Target, Trajectories

Form = Literal["auto", "2", "4", "7"]
SECOND_PERTURBATION = 0.05  # form 7 is used where more of the perturbed runs than this meet a second perturbation
DEFAULT_PERIODS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted restricted mean ``E min(T_P, horizon)`` at one period, in epochs, with its interval and its validity.

    Parameters
    ----------
    period, form
        Perturbation period in epochs, and the form of the theory that was used (see `fptlib.former.forms`).
    mean, low, high
        Prediction and its bootstrap interval.
    verdict
        Status of the prediction, its cause and reason, and the expected relative error with its interval.
    running
        Predicted share of runs still below the threshold at the horizon.
    flag
        One sentence if the interval cannot be trusted to cover, whatever the verdict on the mean; see
        `fptlib.former.coverage.interval_flag`.
    """

    period: int
    form: int
    mean: float
    low: float
    high: float
    verdict: Verdict
    running: float
    flag: str | None = None

    @property
    def valid(self) -> bool:
        """True only if the status is `Status.VALID`: not where it could not be verified."""
        return self.verdict.status is Status.VALID

    @property
    def reason(self) -> str:
        """Reason of the status, and what is wrong with the interval, if anything."""
        if self.flag is None or self.verdict.cause is Cause.FEW_SURVIVORS:  # which the flag would say once more
            return self.verdict.reason
        return f"{self.verdict.reason}; {self.flag}"


@dataclass(frozen=True, slots=True)
class Response:
    """Predictions at several periods from one perturbed ensemble.

    Parameters
    ----------
    period, horizon, threshold, level
        Period ``P0`` of the perturbed ensemble, last epoch used, the threshold, and the confidence level of all intervals.
    unperturbed, residual
        Restricted mean without perturbation, and mean residual time after ``P0`` (its ``n_runs`` are the survivors at ``P0``).
    quasi_steady_state
        Verdict on the unperturbed ensemble, with what its drift does to the predictions.
    predictions
        One for each period, in the order asked for.
    notes
        Sentences on oddities of the runs: a period that they do not show, records cut short.
    samples
        Curves behind the predictions, those of ``P0`` first: what `fptlib.former.distribution` is made from.
    """

    period: int
    horizon: int
    threshold: float
    level: float
    unperturbed: Estimate
    residual: Estimate
    quasi_steady_state: QuasiSteadyState
    predictions: tuple[Prediction, ...]
    notes: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = field(default=(), repr=False, compare=False)

    @property
    def best(self) -> Prediction | None:
        """The valid prediction with the smallest mean; ``None`` if none is valid."""
        return min((p for p in self.predictions if p.valid), key=lambda p: p.mean, default=None)

    @property
    def speedup_at_least(self) -> float | None:
        """Lower end of the unperturbed restricted mean over the upper end of the best prediction."""
        return None if self.best is None else self.unperturbed.low / self.best.high


def predict(
    unperturbed: Trajectories,
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    periods: Sequence[int] | None = None,
    direction: Direction = "above",
    metric: str | None = None,
    form: Form = "auto",
    others: Mapping[int, Trajectories] | None = None,
    level: float = 0.95,
    tolerance: float = ERROR_TOLERANCE,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> Response:
    """Predict the restricted mean first-passage time at other periods from runs perturbed with one period.

    Parameters
    ----------
    unperturbed, perturbed
        The ensembles; the shortest horizon of all is used. Runs with the same label in both that agree exactly up to epoch
        ``period`` share their seed and are resampled together.
    period
        Perturbation period ``P0`` of the perturbed runs, in epochs.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.
    periods
        Periods to predict for, in epochs, each from 1 to the horizon. Where many runs end early the horizon is the last epoch that
        enough of them were followed to, and periods beyond it are left out.
    form
        ``"auto"``: form 7 for periods below ``P0`` where more than 5 % of the perturbed runs meet a second perturbation, form 2
        elsewhere, form 4 if the store says that the perturbation is a full reset with a fresh optimiser. Or one form for all.
    others
        Period to runs perturbed with it, in the same way: the predictions between it and ``P0`` are held against what was measured
        there. At these periods themselves the measurement is returned.
    level
        Confidence level of the intervals.
    tolerance
        Relative error of the mean up to which a prediction counts as valid.
    n_boot, seed
        Bootstrap replicates over seeds, and the seed of their random numbers.

    Raises
    ------
    InputError
        If no run of either ensemble reaches the threshold, a period is not between 1 and the horizon, no perturbed run is left at ``P0``,
        an option is not known, or the record of an ensemble says that it is something else.
    """
    if form not in get_args(Form):
        raise InputError(f"form {form!r} is not known; choose auto, 2, 4 or 7")
    measured = {period: perturbed} | {p: runs for p, runs in (others or {}).items() if p != period}
    drawn = draw_ensembles(
        unperturbed,
        [(f"the ensemble at {p}", p, runs) for p, runs in measured.items()],
        threshold=threshold,
        periods=periods,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    samples = drawn.samples
    chosen = [p for p in (DEFAULT_PERIODS if periods is None else periods) if p <= drawn.horizon]
    state = assess_qss(Study(drawn.unperturbed, {}, Target(threshold, direction, metric), seed=seed))
    return Response(
        period=period,
        horizon=drawn.horizon,
        threshold=threshold,
        level=level,
        unperturbed=drawn.plain.mean,
        residual=samples[0].residual_mean,
        quasi_steady_state=weigh(state, samples[0], tolerance),
        predictions=tuple(p for p, _ in predict_all(samples, chosen, form=form, tolerance=tolerance)),
        notes=drawn.notes,
        samples=tuple(samples),
    )


def predict_all(
    samples: Sequence[Sample], periods: Sequence[int], *, form: Form = "auto", tolerance: float = ERROR_TOLERANCE
) -> list[tuple[Prediction, NDArray[np.float64]]]:
    """Return predictions from the first sample, each with its mean in the data and all replicates, ``(replicates,)``.

    The other samples are the same perturbation at other periods: measurements there, and checks of what lies in between.
    """
    first, others = samples[0], samples[1:]
    at = {sample.period: sample for sample in others}
    predictions = []
    for period, drift in zip(periods, first.drift(periods), strict=True):
        if period in at:
            predictions.append(_predict_one(at[period], period, "2", np.zeros_like(drift), tolerance, ()))
        else:
            predictions.append(_predict_one(first, period, form, drift, tolerance, others))
    return predictions


def predicted_survival(sample: Sample, *, period: int, form: int) -> Curves:
    """Return the survival under perturbation with a period, of the data and all replicates, ``(replicates, horizon + 1)``."""
    if form == 4:
        return full_restart(sample.survival.curve, period=period)
    residual = sample.residual.curve
    if form == 7:
        seen = [cycle.curve for cycle in sample.cycles]
        residual = cycle_residual(seen, period=period, n_epochs=sample.horizon - period)
    return splice(sample.survival.curve, residual, period=period)


def _predict_one(
    sample: Sample,
    period: int,
    form: Form,
    drift: NDArray[np.float64],
    tolerance: float,
    others: Sequence[Sample],
) -> tuple[Prediction, NDArray[np.float64]]:
    used = _choose(sample, period) if form == "auto" else int(form)
    n_after, survival = sample.horizon - period, sample.survival
    if used == 4:
        mean = restart_restricted_mean(survival, period=period)
    else:
        after = sample.residual.mean(n_after)
        if used == 7:
            after, _ = cycle_mean(sample.cycles, period=period, n_epochs=n_after)
        mean = splice_mean(survival, after, period=period)
    result = verdict(sample, period=period, form=used, mean=mean, drift=drift, tolerance=tolerance)
    for other in others:
        result = checked(result, sample, other, period=period, form=used, mean=mean, tolerance=tolerance)
    if used == 4:  # rests on the unperturbed runs alone
        estimate = sample.estimate(mean, sample.times.n_runs, sample.times.n_censored)
    else:
        estimate = sample.estimate(mean, sample.n_survivors, sample.n_residual_censored)
    prediction = Prediction(
        period=period,
        form=used,
        mean=estimate.mean,
        low=estimate.low,
        high=estimate.high,
        verdict=result,
        running=float(predicted_survival(sample.data, period=period, form=used)[0, -1]),
        flag=None if used == 4 else interval_flag(sample.residual_at_p0(sample.horizon - sample.period)),
    )
    return prediction, mean


def _choose(sample: Sample, period: int) -> int:
    if sample.records.full_restart:
        return 4
    if period == sample.period:
        return 2  # there it is form 1, a measurement
    first = sample.cycles[0]
    if period <= min(first.length, sample.period) and first.curve[0, period] > SECOND_PERTURBATION:
        return 7
    return 2


def weigh(state: QuasiSteadyState, sample: Sample, tolerance: float) -> QuasiSteadyState:
    """Add what the drift within the state does to predictions of form 2; a drift that spoils them overrules the distance."""
    if not state.reached or state.relaxation_epoch is None:
        return state
    epochs = state.epoch[state.epoch >= state.relaxation_epoch].tolist()
    of_data = _form_2_errors(sample.data, epochs)[:, 0]
    at = epochs[int(np.abs(of_data).argmax())]
    worst = _form_2_errors(sample, [at])[0]
    effect = sample.estimate(worst, sample.n_survivors, sample.n_residual_censored)
    sentence = (
        f"with the residual times after epoch {sample.period}, the drift of the metric changes predictions by at most "
        f"{100 * effect.mean:+.1f} % (interval {100 * effect.low:+.1f} to {100 * effect.high:+.1f} %, at epoch {at})"
    )
    spoilt = effect.low > tolerance or effect.high < -tolerance
    return replace(
        state,
        reached=not spoilt,
        relaxation_epoch=None if spoilt else state.relaxation_epoch,
        reasons=(*state.reasons, sentence),
    )


def _form_2_errors(sample: Sample, epochs: list[int]) -> NDArray[np.float64]:
    """Return the relative errors of form 2 that the drift of the metric between ``P0`` and each epoch causes, ``(epochs, replicates)``."""
    errors = []
    for epoch, drift in zip(epochs, sample.drift(epochs), strict=True):
        mean = splice_mean(sample.survival, sample.residual.mean(sample.horizon - epoch), period=epoch)
        errors.append(drift_error(sample, epoch=epoch, drift=drift, mean=mean))
    return np.stack(errors)
