"""One perturbation of one training at one threshold: what one period predicts, beside what was measured at the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd

from companion.published import cifar10, supplement
from companion.published.agreement import beside, deciding
from companion.published.summary import available
from fptlib.errors import InputError
from fptlib.firstpassage import Direction, first_passage, survival
from fptlib.response import predict
from fptlib.tables import measured_row, response_table, state_table, survival_table
from fptlib.trajectories import Trajectories

NETWORK = "ResNet-18, CIFAR-10, SGD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What claims are made of.

    Parameters
    ----------
    title, perturbation
        The training in words, and the name of the perturbation.
    threshold, unit, source
        Metric value to reach and its unit (empty for a fraction), and the period ``P0`` of the ensemble that predicts, in epochs.
    predicted, measured, curve
        Tables of `fptlib.tables.response_table`, `fptlib.tables.measured_row` and, of the unperturbed runs,
        `fptlib.tables.survival_table`.
    unperturbed
        ``mean, low, high, n_runs, n_censored`` of the unperturbed runs.
    state
        ``reached, relaxation_epoch, reasons`` of the verdict on the quasi-steady state, and what `companion.published.deciding` returns.
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
        """Predictions beside measurements at all periods but the source, see `companion.published.beside`."""
        return beside(self.predicted, self.measured, source=self.source, curve=self.curve)

    @property
    def words(self) -> str:
        """All of it in words."""
        threshold = f"{self.threshold:g} {self.unit}".rstrip()
        return f"{self.title}; {self.perturbation.replace('_', ' ')}; to {threshold}, P0 = {self.source}"


def cifar10_case(perturbation: cifar10.Perturbation, *, threshold: float = 72.0, period: int = 50) -> Case:
    """The main text's network with one of its perturbations."""
    return _cifar10_case(perturbation, threshold, period, available())


@lru_cache(maxsize=16)  # several tables of a page rest on the same case
def _cifar10_case(perturbation: cifar10.Perturbation, threshold: float, period: int, at_hand: bool) -> Case:
    verdict = cifar10.state_verdict(threshold=threshold).iloc[0]
    start = verdict["relaxation_epoch"]
    found = deciding(cifar10.state(threshold=threshold), relaxation_epoch=start)
    return Case(
        title=NETWORK,
        perturbation=perturbation,
        threshold=threshold,
        unit="%",
        source=period,
        predicted=cifar10.predicted(perturbation, period=period, threshold=threshold),
        measured=cifar10.measured(perturbation, threshold=threshold),
        curve=cifar10.survival_curve(threshold=threshold),
        unperturbed=_numbers(cifar10.unperturbed_mean(threshold=threshold)),
        state={"reached": bool(verdict["reached"]), "relaxation_epoch": start, "reasons": verdict["reasons"], **found},
    )


def supplementary_case(name: str, *, threshold: float | None = None, period: int | None = None) -> Case:
    """One of `companion.published.supplementary`; by default at the middle threshold and from the period of the rule."""
    known = supplement.setup(name)
    asked = known.thresholds[1] if threshold is None else threshold
    source = known.source_periods[0] if period is None else period
    return _supplementary_case(name, asked, source, available())


@lru_cache(maxsize=16)
def _supplementary_case(name: str, asked: float, source: int, at_hand: bool) -> Case:
    known = supplement.setup(name)
    line = supplement.row_unperturbed(name, threshold=asked)
    return Case(
        title=known.title,
        perturbation=supplement.PERTURBATION,
        threshold=asked,
        unit="%" if known.unit == "per cent" else "",
        source=source,
        predicted=supplement.row_predicted(name, threshold=asked, period=source),
        measured=supplement.row_measured(name, threshold=asked),
        curve=supplement.row_survival(name, threshold=asked),
        unperturbed=_numbers(line),
        state={str(k): v for k, v in line.iloc[0].items()} | {"reached": bool(line["reached"].item())},
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
    unit: str = "",
) -> Case:
    """Trainings of one's own.

    Parameters
    ----------
    title, perturbation, unit
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
    options = {"threshold": threshold, "direction": direction, "metric": metric}
    found = predict(unperturbed, perturbed[period], period=period, periods=sorted(perturbed), **options)  # type: ignore[arg-type]
    state, mean = found.quasi_steady_state, found.unperturbed
    rows = [measured_row(runs, period=p, **options) for p, runs in sorted(perturbed.items())]  # type: ignore[arg-type]
    horizon = unperturbed.n_epochs
    left = horizon - max((p for p in perturbed if p < horizon), default=horizon)
    alike = [measured_row(runs.head(epochs=p + left), period=p, **options) for p, runs in sorted(perturbed.items())]  # type: ignore[arg-type]
    start = state.relaxation_epoch
    profile = deciding(state_table(state), relaxation_epoch=start)
    return Case(
        title=title,
        perturbation=perturbation,
        threshold=threshold,
        unit=unit,
        source=period,
        predicted=response_table(found),
        measured=pd.DataFrame(rows),
        curve=survival_table(survival(first_passage(unperturbed, **options))),  # type: ignore[arg-type]
        unperturbed={n: getattr(mean, n) for n in ("mean", "low", "high", "n_runs", "n_censored")},
        state={"reached": state.reached, "relaxation_epoch": start, "reasons": "; ".join(state.reasons), **profile},
        residuals=pd.DataFrame(alike),
    )


def _numbers(line: pd.DataFrame) -> dict[str, float]:
    """The unperturbed mean of a table of one line."""
    return {name: float(line[name].item()) for name in ("mean", "low", "high", "n_runs", "n_censored")}
