"""One perturbed ensemble predicts the mean first-passage time at many periods, and says where the prediction can be relied on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import N_BOOT, Direction, Estimate, first_passage
from fptlib.qss import QuasiSteadyState, judge
from fptlib.response.advice import suspicions
from fptlib.response.coverage import interval_flag
from fptlib.response.forms import cycle_mean, cycle_residual, full_restart, restart_restricted_mean, splice, splice_mean
from fptlib.response.records import check_labels, oddities
from fptlib.response.sample import Sample, draw
from fptlib.response.validity import checked, drift_error, verdict
from fptlib.response.verdicts import ERROR_TOLERANCE, Status, Verdict
from fptlib.trajectories import Trajectories

Form = Literal["auto", "2", "4", "7"]
SECOND_PERTURBATION = 0.05  # form 7 is used where more of the perturbed runs than this meet a second perturbation
DEFAULT_PERIODS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)


@dataclass(frozen=True, slots=True)
class Prediction:
    """Predicted restricted mean ``E min(T_P, horizon)`` at one period, in epochs, with its interval and its validity.

    Parameters
    ----------
    period, form
        Perturbation period in epochs, and the form of the theory that was used (see `fptlib.response.forms`).
    mean, low, high
        Prediction and its bootstrap interval.
    verdict
        Whether the prediction can be relied on, why, and the expected relative error with its interval.
    running
        Predicted share of runs still below the threshold at the horizon.
    flag
        One sentence if the interval cannot be trusted to cover, whatever the verdict on the mean; see `fptlib.response.interval_flag`.
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
        """What decided the status, and what is wrong with the interval, if anything."""
        said = self.verdict.reason
        told = self.flag is None or said.startswith("only ")  # too few survivors, and the status says so already
        return said if told else f"{said}; {self.flag}"


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
        What is odd about the runs, in sentences: a period that they do not show, records cut short.
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
    others = {p: runs for p, runs in (others or {}).items() if p != period}
    measured = [(period, perturbed), *others.items()]
    check_labels(unperturbed, measured, repeat="periodic")
    check_periods(unperturbed, measured, periods)
    check_options(form, level)
    shortest = min(runs.n_epochs for runs in (unperturbed, *(runs for _, runs in measured)))
    horizon = common_horizon(unperturbed, measured, threshold=threshold, direction=direction, metric=metric)
    chosen = [p for p in (DEFAULT_PERIODS if periods is None else periods) if p <= horizon]
    unperturbed = unperturbed.head(epochs=horizon)
    _, samples = draw(
        unperturbed,
        [(p, runs.head(epochs=horizon)) for p, runs in measured],
        threshold=threshold,
        direction=direction,
        metric=metric,
        level=level,
        n_boot=n_boot,
        seed=seed,
    )
    state = judge(unperturbed, threshold=threshold, direction=direction, metric=metric, seed=seed)
    return Response(
        period=period,
        horizon=horizon,
        threshold=threshold,
        level=level,
        unperturbed=samples[0].unperturbed_mean,
        residual=samples[0].residual_mean,
        quasi_steady_state=weigh(state, samples[0], tolerance),
        predictions=tuple(p for p, _ in predict_all(samples, chosen, form=form, tolerance=tolerance)),
        notes=tuple(
            dict.fromkeys(
                sentence
                for s, (p, runs) in zip(samples, measured, strict=True)
                for name in (f"the ensemble at {p}",)
                for sentence in (*suspicions(name, s, shortest), *oddities(unperturbed, runs, name))
            )
        ),
    )


def check_periods(
    unperturbed: Trajectories, measured: Sequence[tuple[int, Trajectories]], periods: Sequence[int] | None
) -> int:
    """The common horizon, after a look at the measured periods and those to predict for.

    Raises
    ------
    InputError
        If one of them is not possible.
    """
    horizon = min(runs.n_epochs for runs in (unperturbed, *(runs for _, runs in measured)))
    for period, _ in measured:
        if not 1 <= period < horizon:
            raise InputError(
                f"period {period} of the perturbed runs is not between 1 and {horizon - 1} (their horizon is {horizon})"
            )
    for p in periods or ():
        if not 1 <= p <= horizon:
            raise InputError(f"period {p} is not between 1 and the horizon {horizon}")
    return horizon


def common_horizon(
    unperturbed: Trajectories,
    measured: Sequence[tuple[int, Trajectories]],
    *,
    threshold: float,
    direction: Direction,
    metric: str | None,
) -> int:
    """The last epoch that enough runs of every ensemble were followed to, see `fptlib.firstpassage.FirstPassageTimes.supported`.

    Raises
    ------
    InputError
        If a measured period is not before it.
    """
    horizon = min(runs.n_epochs for runs in (unperturbed, *(runs for _, runs in measured)))
    for runs in (unperturbed, *(runs for _, runs in measured)):
        times = first_passage(runs.head(epochs=horizon), threshold=threshold, direction=direction, metric=metric)
        horizon = times.supported(horizon)
    for period, _ in measured:
        if period >= horizon:
            raise InputError(
                f"period {period} is not before epoch {horizon}, the last that enough runs were followed to"
            )
    return horizon


def check_options(form: str, level: float) -> None:
    """Raise an InputError for a form that is not known or a level that is none."""
    if form not in ("auto", "2", "4", "7"):
        raise InputError(f"form {form!r} is not known; choose auto, 2, 4 or 7")
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1")


def predict_all(
    samples: Sequence[Sample], periods: Sequence[int], *, form: Form = "auto", tolerance: float = ERROR_TOLERANCE
) -> list[tuple[Prediction, NDArray[np.float64]]]:
    """Predictions from the first sample, each with its mean in the data and all replicates, ``(replicates,)``.

    The other samples are the same perturbation at other periods: measurements there, and checks of what lies in between.
    """
    first, others = samples[0], samples[1:]
    at = {sample.period: sample for sample in others}
    found = []
    for period, drift in zip(periods, first.drift(periods), strict=True):
        if period in at:
            found.append(_predict_one(at[period], period, "2", np.zeros_like(drift), tolerance, ()))
        else:
            found.append(_predict_one(first, period, form, drift, tolerance, others))
    return found


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
    data = survival.curve[:1]
    if used == 4:
        mean = restart_restricted_mean(survival, period=period)
        curve = full_restart(data, period=period)
    elif used == 7:
        residual_mean, _ = cycle_mean(sample.cycles, period=period, n_epochs=n_after)
        mean = splice_mean(survival, residual_mean, period=period)
        seen = [cycle.curve[:1] for cycle in sample.cycles]
        curve = splice(data, cycle_residual(seen, period=period, n_epochs=n_after), period=period)
    else:
        mean = splice_mean(survival, sample.residual.mean(n_after), period=period)
        curve = splice(data, sample.residual.curve[:1], period=period)
    judged = verdict(sample, period=period, form=used, mean=mean, drift=drift, tolerance=tolerance)
    for other in others:
        judged = checked(judged, sample, other, period=period, form=used, mean=mean, tolerance=tolerance)
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
        verdict=judged,
        running=float(curve[0, -1]),
        flag=None if used == 4 else interval_flag(sample.residual_at_p0(sample.horizon - sample.period)),
    )
    return prediction, mean


def _choose(sample: Sample, period: int) -> int:
    if sample.full_restart:
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
    """Relative errors of form 2 that the drift of the metric between ``P0`` and each epoch causes, ``(epochs, replicates)``."""
    errors = []
    for epoch, drift in zip(epochs, sample.drift(epochs), strict=True):
        mean = splice_mean(sample.survival, sample.residual.mean(sample.horizon - epoch), period=epoch)
        errors.append(drift_error(sample, epoch=epoch, drift=drift, mean=mean))
    return np.stack(errors)
