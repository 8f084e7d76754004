"""Estimates as tidy tables (pandas), one row for each epoch or period: what charts draw and what files keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from fptlib.errors import InputError
from fptlib.firstpassage import Direction, Hazard, Survival, first_passage, residual_times, restricted_mean
from fptlib.qss import QuasiSteadyState
from fptlib.response import Distribution, Outcome, RandomPrediction, Recommendation, Response
from fptlib.trajectories import Trajectories

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def survival_table(curve: Survival) -> pd.DataFrame:
    """Columns ``epoch, survival, low, high``."""
    return pd.DataFrame({"epoch": curve.epoch, "survival": curve.survival, "low": curve.low, "high": curve.high})


def hazard_table(bins: Hazard) -> pd.DataFrame:
    """Columns ``first, last, hazard, low, high, n_passed``."""
    return pd.DataFrame(
        {
            "first": bins.first,
            "last": bins.last,
            "hazard": bins.hazard,
            "low": bins.low,
            "high": bins.high,
            "n_passed": bins.n_passed,
        }
    )


def quantile_table(trajectories: Trajectories, *, metric: str | None = None) -> pd.DataFrame:
    """Spread of a metric over runs: columns ``epoch, q05, q25, q50, q75, q95, mean``; at each epoch of the runs followed to it.

    Raises
    ------
    InputError
        If runs were retired: those that are left are not the ensemble.
    """
    values = trajectories.metric(metric)
    if trajectories.retired.any():
        raise InputError(
            f"{trajectories.meta.get('source', 'trajectories')}: the spread over all runs needs runs followed to the end, and these were "
            f"retired at {trajectories.retirement}; train them without retirement"
        )
    values = values[:, : trajectories.lengths.max()]
    columns = {f"q{round(100 * q):02d}": np.nanquantile(values, q, axis=0) for q in QUANTILES}
    return pd.DataFrame({"epoch": np.arange(1, values.shape[1] + 1), **columns, "mean": np.nanmean(values, axis=0)})


def mean_table(
    trajectories: Trajectories, *, metric: str | None = None, minus: Trajectories | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Mean of a metric over runs with its interval (Student's t): columns ``epoch, mean, low, high``, at each epoch of all runs.

    Parameters
    ----------
    trajectories
        Two runs or more.
    metric
        Which; by default the one that is there, or `test_metric`.
    minus
        The same runs, trained otherwise: the mean is that of the difference from them, run by run, which leaves out what both
        owe to their seeds.
    level
        Of the interval, between 0 and 1.

    Raises
    ------
    InputError
        If there is a single run, or ``minus`` has not the same runs.
    """
    values = trajectories.metric(metric)[:, : trajectories.lengths.min()]
    if minus is not None:
        if not np.array_equal(trajectories.run, minus.run):
            raise InputError("minus: not the same runs; a difference run by run needs two trainings of each")
        other = minus.metric(metric)[:, : min(values.shape[1], minus.lengths.min())]
        values = values[:, : other.shape[1]] - other
    if len(values) < 2:
        raise InputError("trajectories: 1 run has no spread; 2 or more are needed for an interval")
    mean = values.mean(axis=0)
    half = stats.t.ppf(0.5 + level / 2, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return pd.DataFrame(
        {"epoch": np.arange(1, values.shape[1] + 1), "mean": mean, "low": mean - half, "high": mean + half}
    )


def state_table(state: QuasiSteadyState) -> pd.DataFrame:
    """Columns ``epoch, n_survivors, distance, at, p_value, distance_to_end, effect, effect_low, effect_high``."""
    names = (
        "epoch",
        "n_survivors",
        "distance",
        "at",
        "p_value",
        "distance_to_end",
        "effect",
        "effect_low",
        "effect_high",
    )
    return pd.DataFrame({name: getattr(state, name) for name in names})


def response_table(response: Response) -> pd.DataFrame:
    """Columns ``period, form, mean, low, high, status, reason``."""
    rows = [(p.period, p.form, p.mean, p.low, p.high, p.verdict.status.value, p.reason) for p in response.predictions]
    return pd.DataFrame(rows, columns=["period", "form", "mean", "low", "high", "status", "reason"])


def ranking_table(recommendation: Recommendation) -> pd.DataFrame:
    """Columns ``perturbation, period, source, form, mean, low, high, speedup, speedup_low, speedup_high, best_in, status, reason``."""
    rows = [
        {
            "perturbation": o.perturbation,
            "period": o.period,
            "source": o.source,
            "form": o.prediction.form,
            "mean": o.mean,
            "low": o.low,
            "high": o.high,
            "speedup": o.speedup.mean,
            "speedup_low": o.speedup.low,
            "speedup_high": o.speedup.high,
            "best_in": o.best_in,
            "status": o.prediction.verdict.status.value,
            "reason": o.prediction.reason,
        }
        for o in recommendation.ranking
    ]
    return pd.DataFrame(rows).astype({"source": float})  # NaN where no perturbed run is needed


def speedup_table(answers: Mapping[float, Recommendation | str]) -> pd.DataFrame:
    """The best valid option of each perturbation at each threshold that has an answer.

    Columns ``threshold, perturbation, period, mean, low, high, speedup, speedup_low, speedup_high, n_runs, n_censored``, the last two of
    the unperturbed runs.
    """
    parts = []
    for threshold, answer in answers.items():
        if isinstance(answer, str):
            continue
        table = ranking_table(answer)
        best = table[table["status"] == "valid"].drop_duplicates("perturbation")  # the ranking has the best first
        plain = answer.unperturbed
        parts.append(best.assign(threshold=threshold, n_runs=plain.n_runs, n_censored=plain.n_censored))
    columns = ["threshold", "perturbation", "period", "mean", "low", "high", "speedup", "speedup_low", "speedup_high"]
    return pd.concat(parts, ignore_index=True)[[*columns, "n_runs", "n_censored"]]


def response_speedups(responses: Mapping[float, Response]) -> pd.DataFrame:
    """The same of predictions from one perturbed ensemble; the ends of a speed-up are those of the two means, a cautious interval."""
    rows = []
    for threshold, answer in responses.items():
        best, plain = answer.best, answer.unperturbed
        if best is not None:
            rows.append(
                {
                    "threshold": threshold,
                    "perturbation": "perturbed",
                    "period": best.period,
                    "mean": best.mean,
                    "low": best.low,
                    "high": best.high,
                    "speedup": plain.mean / best.mean,
                    "speedup_low": plain.low / best.high,
                    "speedup_high": plain.high / best.low,
                    "n_runs": plain.n_runs,
                    "n_censored": plain.n_censored,
                }
            )
    if not rows:
        raise InputError("no prediction is valid at any of the thresholds: there is no speed-up to draw")
    return pd.DataFrame(rows)


def outcome_table(outcomes: Mapping[str, Outcome | str]) -> pd.DataFrame:
    """Of those that are known, in the unit of the metric.

    Columns ``runs, n_runs, horizon, final, final_low, final_high, best, best_low, best_high``.
    """
    rows = []
    for name, found in outcomes.items():
        if isinstance(found, str):
            continue
        row: dict[str, object] = {"runs": name, "n_runs": found.final.n_runs, "horizon": found.horizon}
        for part in ("final", "best"):
            estimate = getattr(found, part)
            row |= {part: estimate.mean, f"{part}_low": estimate.low, f"{part}_high": estimate.high}
        rows.append(row)
    return pd.DataFrame(rows)


def random_table(predictions: Sequence[RandomPrediction]) -> pd.DataFrame:
    """Columns ``probability, form, mean, low, high, again, status, reason``."""
    rows = [
        (p.probability, p.form, p.mean, p.low, p.high, p.again, p.verdict.status.value, p.verdict.reason)
        for p in predictions
    ]
    return pd.DataFrame(rows, columns=["probability", "form", "mean", "low", "high", "again", "status", "reason"])


def distribution_table(found: Distribution) -> pd.DataFrame:
    """Columns ``epoch, survival, low, high``, as `survival_table` has them."""
    return pd.DataFrame({name: getattr(found, name) for name in ("epoch", "survival", "low", "high")})


def measured_row(
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
) -> dict[str, float | int]:
    """Measured restricted mean and mean residual time of one perturbed ensemble, each with its interval and numbers of runs."""
    times = first_passage(perturbed, threshold=threshold, direction=direction, metric=metric)
    mean = restricted_mean(times)
    row: dict[str, float | int] = {
        "period": period,
        "n_runs": mean.n_runs,
        "n_censored": mean.n_censored,
        "mean": mean.mean,
        "low": mean.low,
        "high": mean.high,
        "n_survivors": int(times.running(period).sum()),
        "residual": float("nan"),
        "residual_low": float("nan"),
        "residual_high": float("nan"),
    }
    if (times.time > period).any():
        residual = restricted_mean(residual_times(times, period=period))
        row |= {"residual": residual.mean, "residual_low": residual.low, "residual_high": residual.high}
    return row


def comparison_table(predicted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Predictions beside measurements at the periods that have both, in words for a page.

    Parameters
    ----------
    predicted, measured
        Tables of `response_table` and rows of `measured_row`.

    Returns
    -------
    DataFrame
        Columns ``period, form, predicted, measured, runs, censored, off, status``; means with their intervals, ``off`` relative to
        the measurement.
    """
    both = predicted.merge(measured, on="period", suffixes=("", "_measured"))

    def spelled(suffix: str) -> list[str]:
        columns = (both[f"{name}{suffix}"] for name in ("mean", "low", "high"))
        return [f"{mean:.1f} ({low:.1f} to {high:.1f})" for mean, low, high in zip(*columns, strict=True)]

    return pd.DataFrame(
        {
            "period": both["period"],
            "form": both["form"],
            "predicted": spelled(""),
            "measured": spelled("_measured"),
            "runs": both["n_runs"],
            "censored": both["n_censored"],
            "off": [f"{100 * ratio:+.0f} %" for ratio in both["mean"] / both["mean_measured"] - 1],
            "status": both["status"],
        }
    )


def error_table(predicted: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """How far predictions are from what was measured, or is known, at the periods that have both.

    Parameters
    ----------
    predicted
        Table of `response_table`.
    truth
        Columns ``period, mean``, and ``low, high`` where it was measured: rows of `measured_row`.

    Returns
    -------
    DataFrame
        Columns ``period, off, off_low, off_high, status``, errors relative to the truth. The ends put the ends of both intervals
        against each other, which is cautious: an error whose interval leaves out 0 is no chance.
    """
    if "low" not in truth:
        truth = truth.assign(low=truth["mean"], high=truth["mean"])
    both = predicted.merge(truth[["period", "mean", "low", "high"]], on="period", suffixes=("", "_true"))
    return pd.DataFrame(
        {
            "period": both["period"],
            "off": both["mean"] / both["mean_true"] - 1,
            "off_low": both["low"] / both["high_true"] - 1,
            "off_high": both["high"] / both["low_true"] - 1,
            "status": both["status"],
        }
    )


def measured_table(
    perturbed: Mapping[int, Trajectories],
    *,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
) -> pd.DataFrame:
    """One `measured_row` for each period and the runs perturbed with it."""
    options = {"threshold": threshold, "direction": direction, "metric": metric}
    return pd.DataFrame([measured_row(runs, period=p, **options) for p, runs in perturbed.items()])  # type: ignore[arg-type]
