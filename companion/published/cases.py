"""One perturbation of one training set-up at one threshold: what one period predicts, beside what was measured at the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from companion.published import tables
from companion.published.agreement import beside, deciding
from companion.published.datasets import MAIN, dataset
from companion.published.summary import available
from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, survival
from fptlib.former import predict
from fptlib.tables import measured_table, response_table, state_table, survival_table
from fptlib.trajectories import Direction, Target, Trajectories

_MEAN = ("mean", "low", "high", "n_runs", "n_censored")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The material of claims.

    Parameters
    ----------
    title, perturbation
        The training set-up in words, and the name of the perturbation.
    threshold, unit, source
        Metric value to reach and its unit (empty for a fraction), and the period ``P0`` of the ensemble that predicts, in epochs.
    predicted, measured, curve
        Tables of `fptlib.tables.response_table`, `fptlib.tables.measured_row` and, of the unperturbed runs,
        `fptlib.tables.survival_table`.
    unperturbed
        ``mean, low, high, n_runs, n_censored`` of the unperturbed runs.
    state
        ``reached, relaxation_epoch, reasons`` of the verdict on the quasi-steady state, and what
        `companion.published.agreement.deciding` returns.
    residuals
        Rows of `fptlib.tables.measured_row` whose residual times are over equally many epochs at all periods, where such were measured:
        only those are to be compared with each other. By default ``measured``, where a longer period leaves fewer epochs to the horizon.
    """

    title: str
    perturbation: str
    threshold: float
    unit: str
    source: int
    predicted: pd.DataFrame
    measured: pd.DataFrame
    curve: pd.DataFrame
    unperturbed: Mapping[str, float]
    state: Mapping[str, Any]
    residuals: pd.DataFrame | None = None

    @property
    def table(self) -> pd.DataFrame:
        """Predictions beside measurements at all periods but the source, see `companion.published.agreement.beside`."""
        return beside(self.predicted, self.measured, source=self.source, curve=self.curve)

    @property
    def words(self) -> str:
        """All of it in words, without the title."""
        threshold = f"{self.threshold:g} {self.unit}".rstrip()
        return f"{self.perturbation.replace('_', ' ')}; to {threshold}, P0 = {self.source}"


def published_case(
    perturbation: str = "shrink_perturb", *, data: str = MAIN, threshold: float | None = None, period: int | None = None
) -> Case:
    """Collect a case of a published data set; by default at its usual threshold and from its usual period."""
    known = dataset(data)
    threshold = known.threshold if threshold is None else threshold
    return _published_case(perturbation, data, threshold, known.source if period is None else period, available())


@lru_cache(maxsize=32)  # several tables of a page rest on the same case
def _published_case(perturbation: str, data: str, threshold: float, period: int, at_hand: bool) -> Case:
    known, options = dataset(data), {"threshold": threshold, "data": data}
    line = tables.unperturbed_mean(threshold=threshold, data=data).iloc[0]
    if data == MAIN:
        line = pd.concat([line, tables.state_verdict(threshold=threshold).iloc[0]])
        profile = deciding(tables.state(threshold=threshold), relaxation_epoch=line["relaxation_epoch"])
        line = pd.concat([line, pd.Series(profile)])
    return Case(
        title=known.title,
        perturbation=perturbation,
        threshold=threshold,
        unit=known.sign,
        source=period,
        predicted=tables.predicted(perturbation, period=period, **options),  # type: ignore[arg-type]
        measured=tables.measured(perturbation, **options),  # type: ignore[arg-type]
        curve=tables.survival_curve(**options),  # type: ignore[arg-type]
        unperturbed={name: float(line[name]) for name in _MEAN},
        state={str(name): value for name, value in line.items()} | {"reached": bool(line["reached"])},
    )


def own_case(
    title: str,
    unperturbed: Trajectories,
    perturbed: Mapping[int, Trajectories],
    *,
    perturbation: str,
    period: int,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
) -> Case:
    """Collect a case of your own training runs.

    Parameters
    ----------
    title, perturbation
        As in `Case`.
    unperturbed, perturbed
        The runs without perturbation, and those perturbed with each period, in epochs.
    period
        The period of ``perturbed`` that predicts the others.
    threshold, direction, metric
        As in `fptlib.firstpassage.first_passage`.

    Raises
    ------
    InputError
        If there are no runs perturbed with ``period``, or the ensembles were followed for different numbers of epochs: their restricted
        means are not the same quantity.

    Notes
    -----
    A mean restricted to fewer epochs is smaller by itself, and after a perturbation at ``P`` only ``H - P`` epochs are seen. So the
    residual times of ``Case.residuals`` are restricted to the epochs that the longest period below the horizon ``H`` leaves; all means,
    and the residual times of ``Case.measured``, which belong to these means, are over the whole horizon.
    """
    if period not in perturbed:
        raise InputError(
            f"no runs perturbed every {period} epochs; there is {', '.join(map(str, perturbed)) or 'none'}"
        )
    horizons = {runs.n_epochs for runs in (unperturbed, *perturbed.values())}
    if len(horizons) > 1:
        raise InputError(
            f"ensembles of {title} were followed for {', '.join(map(str, sorted(horizons)))} epochs; cut them to one horizon"
        )
    options: dict[str, Any] = {"threshold": threshold, "direction": direction, "metric": metric}
    runs, horizon = dict(sorted(perturbed.items())), unperturbed.n_epochs
    left = horizon - max((p for p in runs if p < horizon), default=horizon)
    response = predict(unperturbed, runs[period], period=period, periods=list(runs), **options)
    state, start = response.quasi_steady_state, response.quasi_steady_state.relaxation_epoch
    return Case(
        title=title,
        perturbation=perturbation,
        threshold=threshold,
        unit="",
        source=period,
        predicted=response_table(response),
        measured=measured_table(runs, **options),
        curve=survival_table(survival(first_passage(unperturbed, Target(**options)))),
        unperturbed={name: getattr(response.unperturbed, name) for name in _MEAN},
        state={"reached": state.reached, "relaxation_epoch": start, "reasons": "; ".join(state.reasons)}
        | deciding(state_table(state), relaxation_epoch=start),
        residuals=measured_table({p: part.head(epochs=p + left) for p, part in runs.items()}, **options),
    )
