"""The published trajectories: ResNet-18 on CIFAR-10, with and without perturbation (arXiv:2502.04121).

Where the trajectories are at hand every table is computed from them. Where they are not, the same tables are read from the summary in
``book/results/published``, which this module writes from the trajectories::

    FPTLIB_DATA=FOLDER python -m fptlib.published

Accuracies are percentages, as published; each run was followed for 200 epochs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from itertools import product
from pathlib import Path
from typing import BinaryIO, Literal

import pandas as pd

from fptlib.errors import InputError
from fptlib.firstpassage import first_passage, hazard, restricted_mean, survival
from fptlib.qss import judge
from fptlib.readers import read_csv_folder
from fptlib.response import Recommendation, outcomes, predict, recommend
from fptlib.response.prediction import Form
from fptlib.response.verdicts import ERROR_TOLERANCE
from fptlib.sources import PUBLISHED, find
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
from fptlib.trajectories import Trajectories, write_atomically

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
SUMMARY = Path(__file__).resolve().parents[1] / "book" / "results" / "published"
_DIGITS = 6


def available() -> bool:
    """Whether the trajectories themselves are at hand."""
    return find("published") is not None


def origin() -> str:
    """Where the tables come from, in words."""
    if available():
        return f"published trajectories ({PUBLISHED.name}, digest {PUBLISHED.digest[:16]})"
    return "summary table of the published trajectories (book/results/published)"


@lru_cache(maxsize=4)
def _read(folder: str) -> Trajectories:
    root = find("published")
    if root is None:
        raise InputError("the published trajectories are not here; fetch them with: fpt data fetch published")
    return read_csv_folder(root / folder)


def unperturbed() -> Trajectories:
    """The 1000 unperturbed runs.

    Raises
    ------
    InputError
        If the trajectories are not at hand.
    """
    return _read("testacc_list_reg_training")


def perturbed(perturbation: Perturbation, period: int) -> Trajectories:
    """Runs perturbed with one of the published periods.

    Raises
    ------
    InputError
        If the trajectories are not at hand, or this perturbation or period was not published.
    """
    _check(perturbation, period)
    return _read(f"{FOLDERS[perturbation]}{period}")


def quantiles() -> pd.DataFrame:
    """Spread of the unperturbed accuracy, see `fptlib.tables.quantile_table`."""
    return _table("quantiles", {}, lambda: quantile_table(unperturbed()))


def survival_curve(*, threshold: float) -> pd.DataFrame:
    """Survival of the unperturbed runs, see `fptlib.tables.survival_table`."""
    return _table(
        "survival",
        {"threshold": threshold},
        lambda: survival_table(survival(first_passage(unperturbed(), threshold=threshold))),
    )


def hazard_bins(*, threshold: float) -> pd.DataFrame:
    """Hazard of the unperturbed runs in bins of ten epochs, see `fptlib.tables.hazard_table`."""
    return _table(
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

    return _table("unperturbed", {"threshold": threshold}, compute)


def state(*, threshold: float) -> pd.DataFrame:
    """Profile of the quasi-steady-state verdict, see `fptlib.tables.state_table`."""
    return _table("state", {"threshold": threshold}, lambda: state_table(judge(unperturbed(), threshold=threshold)))


def state_verdict(*, threshold: float) -> pd.DataFrame:
    """One row: ``reached, relaxation_epoch, tolerance, variance_between, reasons`` (joined by semicolons)."""

    def compute() -> pd.DataFrame:
        verdict = judge(unperturbed(), threshold=threshold)
        columns = ("reached", "relaxation_epoch", "tolerance", "variance_between")
        row = {name: getattr(verdict, name) for name in columns}
        return pd.DataFrame([{**row, "reasons": "; ".join(verdict.reasons)}])

    return _table("verdict", {"threshold": threshold}, compute)


def measured(perturbation: Perturbation, *, threshold: float) -> pd.DataFrame:
    """Measured means and residual times at every published period, see `fptlib.tables.measured_row`."""

    def compute() -> pd.DataFrame:
        return pd.DataFrame(
            [measured_row(perturbed(perturbation, p), period=p, threshold=threshold) for p in PERIODS[perturbation]]
        )

    _check(perturbation)
    return _table("measured", {"perturbation": perturbation, "threshold": threshold}, compute)


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
    return _table("predicted", keys, compute)


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
    return _table("beyond", {"perturbation": perturbation, "from_period": period}, compute)


def ranking(*, threshold: float) -> pd.DataFrame:
    """Both perturbations, measured with one period, and full reset ranked; see `fptlib.tables.ranking_table`."""
    return _table("ranking", {"threshold": threshold}, lambda: ranking_table(_recommendation(threshold)))


def advice(*, threshold: float) -> list[str]:
    """What `fptlib.response.recommend` says of these ensembles, sentence by sentence."""
    table = _table(
        "advice", {"threshold": threshold}, lambda: pd.DataFrame({"said": _recommendation(threshold).sentences})
    )
    return list(table["said"])


def speedups() -> pd.DataFrame:
    """Speed-up of the best valid period of each perturbation at several thresholds, see `fptlib.tables.speedup_table`."""
    return _table("speedups", {}, lambda: speedup_table({x: _recommendation(x) for x in RANKED}))


def final_metrics() -> pd.DataFrame:
    """Accuracy at the end, and the best of each run, without perturbation and with each published period; in per cent."""

    def compute() -> pd.DataFrame:
        named = {"without perturbation": unperturbed()}
        for name, periods in PERIODS.items():
            named |= {f"{name} every {p}": perturbed(name, p) for p in periods}  # type: ignore[arg-type]
        return outcome_table(outcomes(named))

    return _table("final_metrics", {}, compute)


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


def write_summary(folder: Path = SUMMARY) -> None:
    """Write every table of the summary, and what it was made from, as CSV and JSON."""
    tables: dict[str, list[pd.DataFrame]] = {}

    def keep(name: str, frame: pd.DataFrame, **keys: object) -> None:
        tables.setdefault(name, []).append(pd.DataFrame({**{k: [v] * len(frame) for k, v in keys.items()}, **frame}))

    keep("quantiles", quantiles())
    for threshold in THRESHOLDS:
        keep("survival", survival_curve(threshold=threshold), threshold=threshold)
        keep("hazard", hazard_bins(threshold=threshold), threshold=threshold)
        keep("unperturbed", unperturbed_mean(threshold=threshold), threshold=threshold)
        keep("state", state(threshold=threshold), threshold=threshold)
        keep("verdict", state_verdict(threshold=threshold), threshold=threshold)
        for name in FOLDERS:
            keys = {"perturbation": name, "threshold": threshold}
            keep("measured", measured(name, threshold=threshold), **keys)  # type: ignore[arg-type]
            for form in FORMS:
                for period in SOURCE_PERIODS:
                    frame = predicted(name, period=period, threshold=threshold, form=form)  # type: ignore[arg-type]
                    keep("predicted", frame, **keys, from_period=period, asked=form)
    for name in FOLDERS:
        for period in SOURCE_PERIODS:
            frame = beyond(name, period=period)  # type: ignore[arg-type]
            keep("beyond", frame, perturbation=name, from_period=period)
    for threshold in RANKED:
        keep("ranking", ranking(threshold=threshold), threshold=threshold)
        keep("advice", pd.DataFrame({"said": advice(threshold=threshold)}), threshold=threshold)
    keep("speedups", speedups())
    keep("final_metrics", final_metrics())
    for name, parts in tables.items():
        text = pd.concat(parts).round(_DIGITS).to_csv(index=False)
        write_atomically(folder / f"{name}.csv", partial(_write_text, text))
    about = {
        "command": "FPTLIB_DATA=FOLDER python -m fptlib.published",
        "data": {"url": PUBLISHED.url, "digest": PUBLISHED.digest},
        "tables": sorted(tables),
    }
    write_atomically(folder / "about.json", partial(_write_text, json.dumps(about, indent=1) + "\n"))


def _write_text(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


def _table(name: str, keys: Mapping[str, object], compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table computed from the trajectories where they are at hand, else the rows of the summary that carry these keys."""
    if available():
        return compute()
    return stored(name, **keys)


def stored(name: str, **keys: object) -> pd.DataFrame:
    """Rows of a table of the summary that carry these keys.

    Raises
    ------
    InputError
        If the summary has no such table or rows.
    """
    path = SUMMARY / f"{name}.csv"
    if not path.exists():
        raise InputError(f"{path}: no such table; fetch the trajectories with: fpt data fetch published")
    frame = pd.read_csv(path, dtype={"asked": str})
    for key, value in keys.items():
        known = frame[key].unique()
        frame = frame[frame[key] == value]
        if frame.empty:
            raise InputError(
                f"{path.name}: nothing for {key} = {value}; the summary has {', '.join(map(str, known))}, "
                "anything else needs the trajectories: fpt data fetch published"
            )
    return frame.drop(columns=list(keys)).reset_index(drop=True)


def _check(perturbation: str, period: int | None = None) -> None:
    if perturbation not in FOLDERS:
        raise InputError(f"perturbation {perturbation!r} was not published; there is {', '.join(FOLDERS)}")
    if period is not None and period not in PERIODS[perturbation]:
        raise InputError(
            f"period {period} of {perturbation} was not published; there is {', '.join(map(str, PERIODS[perturbation]))}"
        )


if __name__ == "__main__":
    if not available():
        raise SystemExit(
            f"the published trajectories are not here; name their folder in {os.environ.get('FPTLIB_DATA') or '$FPTLIB_DATA'}"
        )
    write_summary()
    print(f"wrote {SUMMARY}")
