"""Tables of a published data set: what was measured, and what one period predicts for the others.

Accuracies of the main text are percentages, as published. Every function takes the name of a data set, of the main text by default, and
reads the summary where the trajectories are not at hand (`companion.published.summary.tabulate`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from itertools import product

import pandas as pd

from companion.published.agreement import beside, deciding
from companion.published.archive import perturbed, unperturbed
from companion.published.datasets import DATASETS, MAIN, dataset
from companion.published.summary import tabulate
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, hazard, restricted_mean, survival
from fptlib.former import Recommendation, outcomes, predict, recommend
from fptlib.former.prediction import Form
from fptlib.former.verdicts import ERROR_TOLERANCE
from fptlib.qss import QuasiSteadyState, assess_qss
from fptlib.study import Study
from fptlib.tables import (
    hazard_table,
    measured_table,
    outcome_table,
    quantile_table,
    ranking_table,
    response_table,
    speedup_table,
    state_table,
    survival_table,
)
from fptlib.trajectories import Target

THRESHOLDS_BEYOND = (75.0, 76.0, 78.0, 80.0, 82.0)  # the best accuracy of any unperturbed run is 74.08 %
RANKED = (71.0, 72.0, 73.0, 74.0, 75.0, 76.0)
RANKED_PERIOD = 50
FORMS: dict[Form, str] = {"auto": "by default", "2": "form 2 forced"}


def _table(name: str, data: str, compute: Callable[[], pd.DataFrame], **keys: object) -> pd.DataFrame:
    """Find a table of a data set; those of the supplementary sets have files and a key of their own."""
    if data == MAIN:
        return tabulate(name, keys, compute)
    return tabulate(
        f"supplement_{name}", {"row": data} | {k: v for k, v in keys.items() if k != "perturbation"}, compute
    )


def quantiles() -> pd.DataFrame:
    """Tabulate the spread of the unperturbed accuracy, see `fptlib.tables.quantile_table`."""
    return _table("quantiles", MAIN, lambda: quantile_table(unperturbed()))


def survival_curve(*, threshold: float, data: str = MAIN) -> pd.DataFrame:
    """Tabulate the survival of the unperturbed runs, see `fptlib.tables.survival_table`."""
    metric = dataset(data).metric

    def compute() -> pd.DataFrame:
        return survival_table(survival(first_passage(unperturbed(data), Target(threshold, metric=metric))))

    return _table("survival", data, compute, threshold=threshold)


def hazard_bins(*, threshold: float) -> pd.DataFrame:
    """Tabulate the hazard of the unperturbed runs in bins of ten epochs, see `fptlib.tables.hazard_table`."""
    return _table(
        "hazard",
        MAIN,
        lambda: hazard_table(hazard(first_passage(unperturbed(), threshold))),
        threshold=threshold,
    )


def unperturbed_mean(*, threshold: float, data: str = MAIN) -> pd.DataFrame:
    """Tabulate the unperturbed runs in one line.

    Columns ``mean, low, high, n_runs, n_censored`` of the restricted mean; for a supplementary set also ``horizon``, and of the verdict on
    the quasi-steady state ``reached, relaxation_epoch``, what `companion.published.agreement.deciding` returns, and ``reasons``, joined.
    """
    metric = dataset(data).metric

    def compute() -> pd.DataFrame:
        runs = unperturbed(data)
        mean = restricted_mean(first_passage(runs, Target(threshold, metric=metric)))
        line = {name: getattr(mean, name) for name in ("mean", "low", "high", "n_runs", "n_censored")}
        if data != MAIN:
            verdict = _judged(data, threshold)
            start = float("nan") if verdict.relaxation_epoch is None else float(verdict.relaxation_epoch)
            line |= {"horizon": runs.n_epochs, "reached": verdict.reached, "relaxation_epoch": start}
            line |= deciding(state_table(verdict), relaxation_epoch=verdict.relaxation_epoch)
            line["reasons"] = "; ".join(verdict.reasons)
        return pd.DataFrame([line])

    return _table("unperturbed", data, compute, threshold=threshold)


def state(*, threshold: float) -> pd.DataFrame:
    """Tabulate the profile of the quasi-steady-state verdict, see `fptlib.tables.state_table`."""
    return _table("state", MAIN, lambda: state_table(_judged(MAIN, threshold)), threshold=threshold)


def state_verdict(*, threshold: float) -> pd.DataFrame:
    """Tabulate the verdict in one line: ``reached, relaxation_epoch, tolerance, variance_between, reasons`` (joined by semicolons)."""

    def compute() -> pd.DataFrame:
        verdict = _judged(MAIN, threshold)
        columns = ("reached", "relaxation_epoch", "tolerance", "variance_between")
        line = {name: getattr(verdict, name) for name in columns}
        return pd.DataFrame([{**line, "reasons": "; ".join(verdict.reasons)}])

    return _table("verdict", MAIN, compute, threshold=threshold)


def measured(perturbation: str = "shrink_perturb", *, threshold: float, data: str = MAIN) -> pd.DataFrame:
    """Tabulate measured means and residual times at every published period, see `fptlib.tables.measured_row`."""
    known = dataset(data)
    known.check(perturbation)

    def compute() -> pd.DataFrame:
        runs = {p: perturbed(perturbation, p, data) for p in known.periods[perturbation]}
        return measured_table(runs, threshold=threshold, metric=known.metric)

    return _table("measured", data, compute, perturbation=perturbation, threshold=threshold)


def predicted(
    perturbation: str = "shrink_perturb",
    *,
    threshold: float,
    period: int | None = None,
    form: Form = "auto",
    data: str = MAIN,
) -> pd.DataFrame:
    """Tabulate predictions for every published period from the runs perturbed with one, see `fptlib.tables.response_table`.

    Parameters
    ----------
    perturbation
        One that was published.
    threshold
        Metric value to reach.
    period
        Period ``P0`` of the ensemble that predicts; by default the data set's ``source``.
    form
        As in `fptlib.former.predict`.
    data
        Name of the data set.
    """
    known = dataset(data)
    known.check(perturbation, period)
    source = known.source if period is None else period

    def compute() -> pd.DataFrame:
        plain, kicked = unperturbed(data), perturbed(perturbation, source, data)
        periods = known.periods[perturbation]
        options = {"period": source, "threshold": threshold, "metric": known.metric}
        return response_table(predict(plain, kicked, periods=periods, form=form, **options))  # type: ignore[arg-type]

    keys = {"perturbation": perturbation, "threshold": threshold, "from_period": source, "asked": form}
    return _table("predicted", data, compute, **keys)


def beyond(perturbation: str, *, period: int) -> pd.DataFrame:
    """Tabulate predictions from one period at thresholds that no unperturbed run reaches, beside what was measured.

    Columns ``threshold, period, form, mean, low, high, status, mean_measured, low_measured, high_measured, n_runs, n_censored``.
    """
    dataset(MAIN).check(perturbation, period)

    def compute() -> pd.DataFrame:
        parts = []
        for threshold in THRESHOLDS_BEYOND:
            try:
                guess = predicted(perturbation, period=period, threshold=threshold)
            except InputError:  # no run of this ensemble reaches it
                continue
            table = beside(guess, measured(perturbation, threshold=threshold), source=period)
            parts.append(table.assign(threshold=threshold))
        columns = ["threshold", "period", "form", "mean", "low", "high", "status"]
        columns += ["mean_measured", "low_measured", "high_measured", "n_runs", "n_censored"]
        return pd.concat(parts, ignore_index=True)[columns]

    return _table("beyond", MAIN, compute, perturbation=perturbation, from_period=period)


def ranking(*, threshold: float) -> pd.DataFrame:
    """Rank both perturbations, measured with one period, and full reset; see `fptlib.tables.ranking_table`."""
    return _table("ranking", MAIN, lambda: ranking_table(_recommendation(threshold)), threshold=threshold)


def advice(*, threshold: float) -> list[str]:
    """Return what `fptlib.former.recommend` says of these ensembles, sentence by sentence."""
    table = _table(
        "advice", MAIN, lambda: pd.DataFrame({"said": _recommendation(threshold).sentences}), threshold=threshold
    )
    return list(table["said"])


def speedups() -> pd.DataFrame:
    """Tabulate the speed-up of the best valid period of each perturbation, see `fptlib.tables.speedup_table`."""
    return _table("speedups", MAIN, lambda: speedup_table({x: _recommendation(x) for x in RANKED}))


def final_metrics(data: str = MAIN) -> pd.DataFrame:
    """Tabulate the metric at the end, and the best of each run, without perturbation and with each published period."""
    known = dataset(data)

    def compute() -> pd.DataFrame:
        named = {"without perturbation": unperturbed(data)}
        for name, periods in known.periods.items():
            named |= {f"{name} every {p}": perturbed(name, p, data) for p in periods}
        return outcome_table(outcomes(named, metric=known.metric))

    return _table("final_metrics" if data == MAIN else "outcomes", data, compute)


@lru_cache(maxsize=8)
def _judged(data: str, threshold: float) -> QuasiSteadyState:
    return assess_qss(Study(unperturbed(data), {}, Target(threshold, metric=dataset(data).metric)))


@lru_cache(maxsize=8)
def _recommendation(threshold: float) -> Recommendation:
    candidates = {(name, RANKED_PERIOD): perturbed(name, RANKED_PERIOD) for name in DATASETS[MAIN].periods}
    return recommend(unperturbed(), candidates, threshold=threshold)


def scores() -> pd.DataFrame:
    """Count how many predictions of the main text lie within 10 % of the measurement, by form and status.

    Over both perturbations, the thresholds and source periods of the summary, and all measured periods but the source itself.
    """
    known, parts = DATASETS[MAIN], []
    for name, threshold in product(known.periods, (72.0, 73.0, 74.0)):
        truth = measured(name, threshold=threshold)
        for period, form in product((20, 50), FORMS):
            guess = predicted(name, period=period, threshold=threshold, form=form)
            parts.append(beside(guess, truth, source=period).assign(form=FORMS[form]))
    every = pd.concat(parts)
    every["right"] = (every["mean"] / every["mean_measured"] - 1).abs() <= ERROR_TOLERANCE
    counted = every.groupby(["form", "status"])["right"].agg(predictions="size", within="sum").reset_index()
    return counted.rename(columns={"within": f"within {100 * ERROR_TOLERANCE:.0f} % of the measurement"})
