"""Estimates as tidy tables (pandas), one row for each epoch or period: what charts draw and what files keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from fptlib.firstpassage import Hazard, Survival, first_passage, residual_times, restricted_mean
from fptlib.former import Outcome, Recommendation, Response
from fptlib.qss import QuasiSteadyState
from fptlib.trajectories import Direction, Target, Trajectories


def spelled(estimate: Any, number: str = "{:.2f}") -> str:
    """Return a mean with its interval in words.

    Examples
    --------
    >>> from fptlib.firstpassage import Estimate
    >>> spelled(Estimate(mean=2.0, low=1.5, high=3.0, n_runs=9, n_censored=0, level=0.95), "{:.1f}")
    '2.0 (1.5 to 3.0)'
    """
    mean, low, high = (number.format(end) for end in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def survival_table(curve: Survival) -> pd.DataFrame:
    """Return columns ``epoch, survival, low, high``."""
    return _columns(curve, "epoch", "survival", "low", "high")


def hazard_table(bins: Hazard) -> pd.DataFrame:
    """Return columns ``first, last, hazard, low, high, n_passed``."""
    return _columns(bins, "first", "last", "hazard", "low", "high", "n_passed")


def state_table(state: QuasiSteadyState) -> pd.DataFrame:
    """Return columns ``epoch, n_survivors, distance, at, p_value, distance_to_end, effect, effect_low, effect_high``."""
    distances = ("epoch", "n_survivors", "distance", "at", "p_value", "distance_to_end")
    return _columns(state, *distances, "effect", "effect_low", "effect_high")


def state_words(state: QuasiSteadyState) -> str:
    """Return the verdict on the quasi-steady state in words."""
    return f"reached at epoch {state.relaxation_epoch}" if state.reached else "not reached"


def response_table(response: Response) -> pd.DataFrame:
    """Return columns ``period, form, mean, low, high, status, reason``."""
    rows = [(p.period, p.form, p.mean, p.low, p.high, p.verdict.status.value, p.reason) for p in response.predictions]
    return pd.DataFrame(rows, columns=["period", "form", "mean", "low", "high", "status", "reason"])


def ranking_table(recommendation: Recommendation) -> pd.DataFrame:
    """Return one row for each option of a ranking, in its order.

    Columns ``perturbation, period, source, form, mean, low, high, speedup, speedup_low, speedup_high, best_in, status, reason``.
    """
    rows = [
        {
            **{name: getattr(o, name) for name in ("perturbation", "period", "source")},
            "form": o.prediction.form,
            **_interval("mean", o),
            **_interval("speedup", o.speedup),
            "best_in": o.best_in,
            "status": o.prediction.verdict.status.value,
            "reason": o.prediction.reason,
        }
        for o in recommendation.ranking
    ]
    return pd.DataFrame(rows).astype({"source": float})  # NaN where no perturbed run is needed


def ranking_words(recommendation: Recommendation) -> list[dict[str, object]]:
    """Return the rows of a ranking in words, in its order; ``None`` stands for what an option does not have."""
    return [
        {
            "perturbation": o.perturbation,
            "period": o.period,
            "mean (epochs)": spelled(o),
            "speed-up": spelled(o.speedup),
            "measured at": o.source,
            "form": o.prediction.form,
            "best in": f"{o.best_in:.0%}" if o.valid else None,
            "status": o.reason,
        }
        for o in recommendation.ranking
    ]


def speedup_table(answers: Mapping[float, Recommendation | Response | str]) -> pd.DataFrame:
    """Return the best valid option of each perturbation at each threshold that has an answer.

    Returns
    -------
    DataFrame
        Columns ``threshold, perturbation, period, mean, low, high, speedup, speedup_low, speedup_high, n_runs, n_censored``, the last two
        of the unperturbed runs. The ends of the speed-up of a `Response` are those of the two means, a cautious interval.
    """
    columns = ["threshold", "perturbation", "period", "mean", "low", "high", "speedup", "speedup_low", "speedup_high"]
    parts = []
    for threshold, answer in answers.items():
        if isinstance(answer, str):
            continue
        plain = answer.unperturbed
        if isinstance(answer, Response):
            table = response_table(answer).sort_values("mean", kind="stable").assign(perturbation="perturbed")
            ratios = plain.mean / table["mean"], plain.low / table["high"], plain.high / table["low"]
            table = table.assign(**dict(zip(columns[-3:], ratios, strict=True)))
        else:
            table = ranking_table(answer)  # the best first
        best = table[table["status"] == "valid"].drop_duplicates("perturbation")
        parts.append(best.assign(threshold=threshold, n_runs=plain.n_runs, n_censored=plain.n_censored))
    return pd.concat(parts, ignore_index=True)[[*columns, "n_runs", "n_censored"]]


def outcome_table(outcomes: Mapping[str, Outcome | str]) -> pd.DataFrame:
    """Return the final and best metrics that are known, in the unit of the metric.

    Columns ``runs, n_runs, horizon, final, final_low, final_high, best, best_low, best_high``.
    """
    rows = [
        {
            "runs": name,
            "n_runs": end.final.n_runs,
            "horizon": end.horizon,
            **_interval("final", end.final),
            **_interval("best", end.best),
        }
        for name, end in outcomes.items()
        if not isinstance(end, str)
    ]
    return pd.DataFrame(rows)


def outcome_words(outcomes: Mapping[str, Outcome | str]) -> list[dict[str, object]]:
    """Return the rows of the final and best metrics that are known in words."""
    return [
        {
            "runs": name,
            "number": end.final.n_runs,
            "final": spelled(end.final, "{:.5g}"),
            "best": spelled(end.best, "{:.5g}"),
        }
        for name, end in outcomes.items()
        if not isinstance(end, str)
    ]


def measured_row(
    perturbed: Trajectories,
    *,
    period: int,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
) -> dict[str, float | int]:
    """Return the measured restricted mean and mean residual time of one perturbed ensemble, with intervals and numbers of runs."""
    times = first_passage(perturbed, Target(threshold, direction, metric))
    mean = restricted_mean(times)
    row: dict[str, float | int] = {
        "period": period,
        "n_runs": mean.n_runs,
        "n_censored": mean.n_censored,
        **_interval("mean", mean),
        "n_survivors": int(times.running(period).sum()),
        **dict.fromkeys(("residual", "residual_low", "residual_high"), float("nan")),
    }
    if (times.time > period).any():
        row |= _interval("residual", restricted_mean(residual_times(times, period=period)))
    return row


def measured_table(
    perturbed: Mapping[int, Trajectories],
    *,
    threshold: float,
    direction: Direction = "above",
    metric: str | None = None,
) -> pd.DataFrame:
    """Return one `measured_row` for each period and the runs perturbed with it."""
    options = {"threshold": threshold, "direction": direction, "metric": metric}
    return pd.DataFrame([measured_row(runs, period=p, **options) for p, runs in perturbed.items()])  # type: ignore[arg-type]


def comparison_table(predicted: pd.DataFrame, measured: pd.DataFrame) -> pd.DataFrame:
    """Return predictions beside measurements at the periods that have both, in words for a page.

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
    ends = {f"{name}_measured": name for name in ("mean", "low", "high")}
    measurements = both[list(ends)].rename(columns=ends)
    return pd.DataFrame(
        {
            **both[["period", "form"]],
            "predicted": [spelled(row, "{:.1f}") for row in both.itertuples()],
            "measured": [spelled(row, "{:.1f}") for row in measurements.itertuples()],
            "runs": both["n_runs"],
            "censored": both["n_censored"],
            "off": [f"{100 * ratio:+.0f} %" for ratio in both["mean"] / both["mean_measured"] - 1],
            "status": both["status"],
        }
    )


def error_table(predicted: pd.DataFrame, truth: pd.DataFrame) -> pd.DataFrame:
    """Return how far predictions are from what was measured, or is known, at the periods that have both.

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


def _columns(record: object, *names: str) -> pd.DataFrame:
    return pd.DataFrame({name: getattr(record, name) for name in names})


def _interval(name: str, estimate: Any) -> dict[str, float]:
    """Return an estimate as three columns, those of a ``mean`` being ``mean, low, high``."""
    before = "" if name == "mean" else f"{name}_"
    return {name: estimate.mean, f"{before}low": estimate.low, f"{before}high": estimate.high}
