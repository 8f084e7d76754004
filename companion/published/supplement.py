"""The authors' supplementary trajectories: other data, another optimiser, another network and task, all with shrink-and-perturb.

Two numbers are not in the archive, and follow from rules (`quartile_thresholds`, `source_rule`). The thresholds are those that three
quarters, half and one quarter of the unperturbed runs reach: 72 % of the main text is of the first kind. Predictions are made from the
period nearest to a quarter of the horizon (as 50 of 200 epochs is) that leaves enough survivors, and, for comparison, from another one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from companion.published.agreement import beside, deciding
from companion.published.summary import read, tabulate
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, restricted_mean, survival
from fptlib.qss import judge
from fptlib.response import outcomes, predict
from fptlib.response.prediction import Form
from fptlib.response.verdicts import MIN_SURVIVORS
from fptlib.tables import measured_row, outcome_table, response_table, state_table, survival_table
from fptlib.trajectories import Trajectories

PERTURBATION = "shrink_perturb"
SHARES = (0.75, 0.5, 0.25)  # shares of the unperturbed runs that reach the thresholds within the horizon


@dataclass(frozen=True, slots=True)
class Setup:
    """One set of supplementary trajectories.

    Parameters
    ----------
    title
        Network, data and optimiser, as far as the archive says.
    folder, prefix
        Folder of the archive, and how the names of the perturbed runs' folders in it start.
    metric, unit, digits
        Column of the metric, to be maximised; its unit; the decimals that a threshold has.
    horizon
        Epochs that every run was followed for.
    periods
        Published perturbation periods, in epochs.
    thresholds
        Those of `quartile_thresholds`.
    source_periods
        Periods that predictions are made from: that of `source_rule` first.
    """

    title: str
    folder: str
    prefix: str
    metric: str
    unit: str
    digits: int
    horizon: int
    periods: tuple[int, ...]
    thresholds: tuple[float, float, float]
    source_periods: tuple[int, ...]


SETUPS = {
    "cifar100": Setup(
        title="ResNet-18, CIFAR-100, SGD",
        folder="SI_figs/cifar100/ResNet18_No_Momentum",
        prefix="testacc_list_s_and_p_reset",
        metric="test_ACC",
        unit="per cent",
        digits=1,
        horizon=100,
        periods=(1, 2, 3, 5, 10, 20, 30, 40, 60, 80),
        thresholds=(40.4, 40.7, 41.2),
        source_periods=(20, 30),
    ),
    "cifar100_momentum": Setup(
        title="ResNet-18, CIFAR-100, SGD with momentum",
        folder="SI_figs/cifar100/ResNet18Momentum",
        prefix="testacc_list_s_and_p_reset",
        metric="test_ACC",
        unit="per cent",
        digits=1,
        horizon=100,
        periods=(4, 6, 7, 8, 10, 20, 30, 40, 50, 80),
        thresholds=(54.4, 54.6, 54.9),
        source_periods=(30, 50),
    ),
    "fc_adam": Setup(
        title="fully connected network, Adam, SSIM",
        folder="SI_figs/fc_with_adam",
        prefix="s_and_p_reset",
        metric="test_ssim",
        unit="SSIM",
        digits=3,
        horizon=150,
        periods=(10, 15, 20, 40, 60, 80, 100, 120),
        thresholds=(0.358, 0.362, 0.369),
        source_periods=(15, 40),
    ),
}


def supplementary() -> tuple[str, ...]:
    """Names of the supplementary rows."""
    return tuple(SETUPS)


def setup(row: str) -> Setup:
    """What is known of a row.

    Raises
    ------
    InputError
        If there is no such row.
    """
    if row not in SETUPS:
        raise InputError(f"supplementary data {row!r} were not published; there is {', '.join(SETUPS)}")
    return SETUPS[row]


def row_trajectories(row: str, period: int | None = None) -> Trajectories:
    """The unperturbed runs of a row, or those perturbed with one of its periods.

    Raises
    ------
    InputError
        If the archive is not at hand, or this row or period was not published.
    """
    known = setup(row)
    if period is None:
        return read(f"{known.folder}/reg_training")
    if period not in known.periods:
        raise InputError(f"period {period} of {row} was not published; there is {', '.join(map(str, known.periods))}")
    return read(f"{known.folder}/{known.prefix}{period}")


def quartile_thresholds(row: str) -> tuple[float, ...]:
    """Thresholds that shares `SHARES` of the unperturbed runs reach, rounded to the decimals of the row."""
    known = setup(row)
    best = row_trajectories(row).metric(known.metric).max(axis=1)
    return tuple(round(float(np.quantile(best, 1 - share)), known.digits) for share in SHARES)


def source_rule(row: str) -> int:
    """The published period nearest to a quarter of the horizon, as a ratio, that leaves enough survivors at the middle threshold.

    Raises
    ------
    InputError
        If no period leaves enough.
    """
    known = setup(row)
    left = {
        p: int(
            first_passage(row_trajectories(row, p), threshold=known.thresholds[1], metric=known.metric).running(p).sum()
        )
        for p in known.periods
    }
    enough = [p for p, n in left.items() if n >= MIN_SURVIVORS]
    if not enough:
        raise InputError(f"no period of {row} leaves {MIN_SURVIVORS} survivors at {known.thresholds[1]:g}")
    return min(enough, key=lambda p: abs(np.log(4 * p / known.horizon)))


def row_unperturbed(row: str, *, threshold: float) -> pd.DataFrame:
    """One line on the unperturbed runs of a row and their state.

    Columns ``mean, low, high, n_runs, n_censored, horizon``, then of the verdict on the quasi-steady state ``reached, relaxation_epoch,
    distance, p_value`` (the largest that decides, and its p-value), ``effect, effect_low, effect_high`` (the same of the expected remaining
    time, see `fptlib.qss.QuasiSteadyState`) and ``reasons``, joined by semicolons.
    """

    def compute() -> pd.DataFrame:
        known, runs = setup(row), row_trajectories(row)
        mean = restricted_mean(first_passage(runs, threshold=threshold, metric=known.metric))
        state = judge(runs, threshold=threshold, metric=known.metric)
        line = {name: getattr(mean, name) for name in ("mean", "low", "high", "n_runs", "n_censored")}
        from_epoch = float("nan") if state.relaxation_epoch is None else float(state.relaxation_epoch)
        line |= {"horizon": runs.n_epochs, "reached": state.reached, "relaxation_epoch": from_epoch}
        line |= deciding(state_table(state), relaxation_epoch=state.relaxation_epoch)
        return pd.DataFrame([line | {"reasons": "; ".join(state.reasons)}])

    setup(row)
    return tabulate("supplement_unperturbed", {"row": row, "threshold": threshold}, compute)


def row_survival(row: str, *, threshold: float) -> pd.DataFrame:
    """Survival of the unperturbed runs of a row, see `fptlib.tables.survival_table`."""

    def compute() -> pd.DataFrame:
        times = first_passage(row_trajectories(row), threshold=threshold, metric=setup(row).metric)
        return survival_table(survival(times))

    setup(row)
    return tabulate("supplement_survival", {"row": row, "threshold": threshold}, compute)


def row_measured(row: str, *, threshold: float) -> pd.DataFrame:
    """Measured means and residual times at every published period, see `fptlib.tables.measured_row`."""

    def compute() -> pd.DataFrame:
        options = {"threshold": threshold, "metric": setup(row).metric}
        return pd.DataFrame(
            [measured_row(row_trajectories(row, p), period=p, **options) for p in setup(row).periods]  # type: ignore[arg-type]
        )

    setup(row)
    return tabulate("supplement_measured", {"row": row, "threshold": threshold}, compute)


def row_predicted(row: str, *, threshold: float, period: int | None = None, form: Form = "auto") -> pd.DataFrame:
    """Predictions for every published period from the runs perturbed with one, see `fptlib.tables.response_table`.

    Parameters
    ----------
    row
        One of `supplementary`.
    threshold
        Metric value to reach.
    period
        Period ``P0`` of the ensemble that predicts; that of `source_rule` by default.
    form
        As in `fptlib.response.predict`.
    """
    known = setup(row)
    source = known.source_periods[0] if period is None else period

    def compute() -> pd.DataFrame:
        found = predict(
            row_trajectories(row),
            row_trajectories(row, source),
            period=source,
            threshold=threshold,
            periods=known.periods,
            metric=known.metric,
            form=form,
        )
        return response_table(found)

    keys = {"row": row, "threshold": threshold, "from_period": source, "asked": form}
    return tabulate("supplement_predicted", keys, compute)


def row(name: str, *, threshold: float | None = None, period: int | None = None, form: Form = "auto") -> pd.DataFrame:
    """One supplementary row: what one period predicts for the others, beside what was measured there.

    Parameters
    ----------
    name
        One of `supplementary`.
    threshold
        Metric value to reach; by default the one that half of the unperturbed runs reach.
    period, form
        As in `row_predicted`.

    Returns
    -------
    DataFrame
        Columns ``row, perturbation, threshold, from_period`` and those of `companion.published.beside`, one line for each period but
        the source.
    """
    known = setup(name)
    asked = known.thresholds[1] if threshold is None else threshold
    source = known.source_periods[0] if period is None else period
    predicted = row_predicted(name, threshold=asked, period=source, form=form)
    curve = row_survival(name, threshold=asked)
    table = beside(predicted, row_measured(name, threshold=asked), source=source, curve=curve)
    keys = {"row": name, "perturbation": PERTURBATION, "threshold": asked, "from_period": source}
    return pd.DataFrame({**{k: [v] * len(table) for k, v in keys.items()}, **table})


def row_outcomes(row: str) -> pd.DataFrame:
    """Metric at the end, and the best of each run, without perturbation and with each published period, in the unit of the row."""

    def compute() -> pd.DataFrame:
        known = setup(row)
        named = {"without perturbation": row_trajectories(row)}
        named |= {f"{PERTURBATION} every {p}": row_trajectories(row, p) for p in known.periods}
        return outcome_table(outcomes(named, metric=known.metric))

    setup(row)
    return tabulate("supplement_outcomes", {"row": row}, compute)
