"""ResNet-18 on CIFAR-10, with and without perturbation: the data of the main text.

Accuracies are percentages, as published; each run was followed for 200 epochs.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Literal

import pandas as pd

from companion.published.summary import read, tabulate
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, hazard, restricted_mean, survival
from fptlib.qss import QuasiSteadyState, judge
from fptlib.response import Recommendation, outcomes, predict, recommend
from fptlib.response.prediction import Form
from fptlib.response.verdicts import ERROR_TOLERANCE
from fptlib.tables import (
    hazard_table,
    measured_row,
    outcome_table,
    quantile_table,
    ranking_table,
    response_table,
    speedup_table,
    state_table,
    survival_table,
)
from fptlib.trajectories import Trajectories

Perturbation = Literal["shrink_perturb", "partial_reset"]
FOLDERS = {"shrink_perturb": "testacc_list_s_and_p_reset", "partial_reset": "testacc_list_partial_reset"}
PERIODS = {
    "shrink_perturb": (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 100),
    "partial_reset": (1, 2, 3, 4, 5, 6, 7, 10, 12, 15, 20, 30, 50, 100),
}
THRESHOLDS = (72.0, 73.0, 74.0)
THRESHOLDS_BEYOND = (75.0, 76.0, 78.0, 80.0, 82.0)  # the best accuracy of any unperturbed run is 74.08 %
SOURCE_PERIODS = (20, 50)
RANKED = (71.0, 72.0, 73.0, 74.0, 75.0, 76.0)
RANKED_PERIOD = 50
FORMS = {"auto": "by default", "2": "form 2 forced"}


def unperturbed() -> Trajectories:
    """The 1000 unperturbed runs.

    Raises
    ------
    InputError
        If the trajectories are not at hand.
    """
    return read("testacc_list_reg_training")


def perturbed(perturbation: Perturbation, period: int) -> Trajectories:
    """Runs perturbed with one of the published periods.

    Raises
    ------
    InputError
        If the trajectories are not at hand, or this perturbation or period was not published.
    """
    _check(perturbation, period)
    return read(f"{FOLDERS[perturbation]}{period}")


def quantiles() -> pd.DataFrame:
    """Spread of the unperturbed accuracy, see `fptlib.tables.quantile_table`."""
    return tabulate("quantiles", {}, lambda: quantile_table(unperturbed()))


def survival_curve(*, threshold: float) -> pd.DataFrame:
    """Survival of the unperturbed runs, see `fptlib.tables.survival_table`."""
    return tabulate(
        "survival",
        {"threshold": threshold},
        lambda: survival_table(survival(first_passage(unperturbed(), threshold=threshold))),
    )


def hazard_bins(*, threshold: float) -> pd.DataFrame:
    """Hazard of the unperturbed runs in bins of ten epochs, see `fptlib.tables.hazard_table`."""
    return tabulate(
        "hazard",
        {"threshold": threshold},
        lambda: hazard_table(hazard(first_passage(unperturbed(), threshold=threshold))),
    )


def unperturbed_mean(*, threshold: float) -> pd.DataFrame:
    """One row: restricted mean of the unperturbed runs with interval, runs and censored runs."""

    def compute() -> pd.DataFrame:
        mean = restricted_mean(first_passage(unperturbed(), threshold=threshold))
        columns = ("mean", "low", "high", "n_runs", "n_censored")
        return pd.DataFrame([{name: getattr(mean, name) for name in columns}])

    return tabulate("unperturbed", {"threshold": threshold}, compute)


def state(*, threshold: float) -> pd.DataFrame:
    """Profile of the quasi-steady-state verdict, see `fptlib.tables.state_table`."""
    return tabulate("state", {"threshold": threshold}, lambda: state_table(_judged(threshold)))


def state_verdict(*, threshold: float) -> pd.DataFrame:
    """One row: ``reached, relaxation_epoch, tolerance, variance_between, reasons`` (joined by semicolons)."""

    def compute() -> pd.DataFrame:
        verdict = _judged(threshold)
        columns = ("reached", "relaxation_epoch", "tolerance", "variance_between")
        row = {name: getattr(verdict, name) for name in columns}
        return pd.DataFrame([{**row, "reasons": "; ".join(verdict.reasons)}])

    return tabulate("verdict", {"threshold": threshold}, compute)


def measured(perturbation: Perturbation, *, threshold: float) -> pd.DataFrame:
    """Measured means and residual times at every published period, see `fptlib.tables.measured_row`."""

    def compute() -> pd.DataFrame:
        return pd.DataFrame(
            [measured_row(perturbed(perturbation, p), period=p, threshold=threshold) for p in PERIODS[perturbation]]
        )

    _check(perturbation)
    return tabulate("measured", {"perturbation": perturbation, "threshold": threshold}, compute)


def predicted(perturbation: Perturbation, *, period: int, threshold: float, form: Form = "auto") -> pd.DataFrame:
    """Predictions for every published period from the runs perturbed with one, see `fptlib.tables.response_table`."""

    def compute() -> pd.DataFrame:
        response = predict(
            unperturbed(),
            perturbed(perturbation, period),
            period=period,
            threshold=threshold,
            periods=PERIODS[perturbation],
            form=form,
        )
        return response_table(response)

    _check(perturbation, period)
    keys = {"perturbation": perturbation, "threshold": threshold, "from_period": period, "asked": form}
    return tabulate("predicted", keys, compute)


def beyond(perturbation: Perturbation, *, period: int) -> pd.DataFrame:
    """Predictions from one period at thresholds that no unperturbed run reaches, beside what was measured.

    Columns ``threshold, period, form, mean, low, high, status, mean_measured, low_measured, high_measured, n_runs, n_censored``.
    """

    def compute() -> pd.DataFrame:
        parts = []
        for threshold in THRESHOLDS_BEYOND:
            try:
                guess = predicted(perturbation, period=period, threshold=threshold)
            except InputError:  # no run of this ensemble reaches it
                continue
            truth = measured(perturbation, threshold=threshold)
            both = guess.merge(truth, on="period", suffixes=("", "_measured"))
            parts.append(both.assign(threshold=threshold)[both["period"] != period])
        columns = ["threshold", "period", "form", "mean", "low", "high", "status"]
        columns += ["mean_measured", "low_measured", "high_measured", "n_runs", "n_censored"]
        return pd.concat(parts, ignore_index=True)[columns]

    _check(perturbation, period)
    return tabulate("beyond", {"perturbation": perturbation, "from_period": period}, compute)


def ranking(*, threshold: float) -> pd.DataFrame:
    """Both perturbations, measured with one period, and full reset ranked; see `fptlib.tables.ranking_table`."""
    return tabulate("ranking", {"threshold": threshold}, lambda: ranking_table(_recommendation(threshold)))


def advice(*, threshold: float) -> list[str]:
    """What `fptlib.response.recommend` says of these ensembles, sentence by sentence."""
    table = tabulate(
        "advice", {"threshold": threshold}, lambda: pd.DataFrame({"said": _recommendation(threshold).sentences})
    )
    return list(table["said"])


def speedups() -> pd.DataFrame:
    """Speed-up of the best valid period of each perturbation at several thresholds, see `fptlib.tables.speedup_table`."""
    return tabulate("speedups", {}, lambda: speedup_table({x: _recommendation(x) for x in RANKED}))


def final_metrics() -> pd.DataFrame:
    """Accuracy at the end, and the best of each run, without perturbation and with each published period; in per cent."""

    def compute() -> pd.DataFrame:
        named = {"without perturbation": unperturbed()}
        for name, periods in PERIODS.items():
            named |= {f"{name} every {p}": perturbed(name, p) for p in periods}  # type: ignore[arg-type]
        return outcome_table(outcomes(named))

    return tabulate("final_metrics", {}, compute)


@lru_cache(maxsize=8)
def _judged(threshold: float) -> QuasiSteadyState:
    return judge(unperturbed(), threshold=threshold)


@lru_cache(maxsize=8)
def _recommendation(threshold: float) -> Recommendation:
    candidates = {(name, RANKED_PERIOD): perturbed(name, RANKED_PERIOD) for name in FOLDERS}  # type: ignore[arg-type]
    return recommend(unperturbed(), candidates, threshold=threshold)


def scores() -> pd.DataFrame:
    """How often verdicts are right, by form and status: how many predictions lie within 10 % of the measurement.

    Over both perturbations, the thresholds and source periods of the summary, and all measured periods but the source itself.
    """
    parts = []
    for name in FOLDERS:
        for threshold in THRESHOLDS:
            truth = measured(name, threshold=threshold)  # type: ignore[arg-type]
            for period, form in product(SOURCE_PERIODS, FORMS):
                guess = predicted(name, period=period, threshold=threshold, form=form)  # type: ignore[arg-type]
                both = guess.merge(truth, on="period", suffixes=("", "_measured")).assign(form=FORMS[form])
                parts.append(both[both["period"] != period])
    every = pd.concat(parts)
    every["right"] = (every["mean"] / every["mean_measured"] - 1).abs() <= ERROR_TOLERANCE
    counted = every.groupby(["form", "status"])["right"].agg(predictions="size", within="sum").reset_index()
    return counted.rename(columns={"within": f"within {100 * ERROR_TOLERANCE:.0f} % of the measurement"})


def _check(perturbation: str, period: int | None = None) -> None:
    if perturbation not in FOLDERS:
        raise InputError(f"perturbation {perturbation!r} was not published; there is {', '.join(FOLDERS)}")
    if period is not None and period not in PERIODS[perturbation]:
        raise InputError(
            f"period {period} of {perturbation} was not published; there is {', '.join(map(str, PERIODS[perturbation]))}"
        )
