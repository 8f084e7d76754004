"""The agreement of two numbers, each with its interval: their ratio, and a verdict on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd

from fptlib.errors import InputError
from fptlib.former.verdicts import ERROR_TOLERANCE

Interval = tuple[float, float, float]
"""Estimate, lower end, upper end."""

TOLERATED = (1 - ERROR_TOLERANCE, 1 + ERROR_TOLERANCE)
FEWEST_RUNS = 10  # a bootstrap over fewer runs has no interval to speak of


class Reproduction(StrEnum):
    """Verdict of an interval on a range of accepted values."""

    REPRODUCES = "reproduces"
    WITHIN = "within the interval"
    DOES_NOT = "does not reproduce"
    UNTESTED = "cannot be tested here"


def interval(row: Any, names: Sequence[str] = ("mean", "low", "high"), suffix: str = "") -> Interval:
    """Read an estimate with its interval from the columns of a row, or from a mapping."""
    mean, low, high = (float(row[f"{name}{suffix}"]) for name in names)
    return mean, low, high


def spell(estimate: Interval, digits: int = 1) -> str:
    """Write an estimate with its interval, as far as they are known.

    Examples
    --------
    >>> spell((5.0, 2.0, 8.04)), spell((5.0, math.nan, math.nan), 2)
    ('5.0 (2.0 to 8.0)', '5.00')
    """
    mean, low, high = estimate
    if math.isnan(mean):
        return "-"
    return f"{mean:.{digits}f}" + ("" if math.isnan(low) else f" ({low:.{digits}f} to {high:.{digits}f})")


def compare(score: Interval, accepted: tuple[float, float]) -> Reproduction:
    """Hold an interval against the accepted values.

    Parameters
    ----------
    score
        Estimate and ends of its interval.
    accepted
        Smallest and largest accepted value; infinite for a one-sided claim.

    Returns
    -------
    Reproduction
        ``REPRODUCES`` if the whole interval is accepted, ``DOES_NOT`` if none of it is, ``WITHIN`` if some of it is, so that the data
        do not decide, and ``UNTESTED`` if there is no interval.

    Notes
    -----
    The interval form of an equivalence test (two one-sided tests): "reproduces" has to be earned by precision; wide intervals earn nothing.

    References
    ----------
    D. J. Schuirmann, J. Pharmacokinet. Biopharm. 15, 657 (1987).

    Examples
    --------
    >>> [str(compare((1.0, low, high), (0.9, 1.1))) for low, high in [(0.95, 1.05), (0.8, 1.05), (1.2, 1.3)]]
    ['reproduces', 'within the interval', 'does not reproduce']
    """
    _, low, high = score
    if math.isnan(low) or math.isnan(high):
        return Reproduction.UNTESTED
    if accepted[0] <= low and high <= accepted[1]:
        return Reproduction.REPRODUCES
    if high < accepted[0] or low > accepted[1]:
        return Reproduction.DOES_NOT
    return Reproduction.WITHIN


def ratio(first: Interval, second: Interval) -> Interval:
    """Divide two independent positive estimates and combine their intervals.

    Raises
    ------
    InputError
        If an estimate or the end of an interval is not positive.

    Notes
    -----
    The distances from the estimates to the ends of their intervals add in quadrature, on the logarithmic scale (method of variance
    estimates recovery). With ``l = log`` of estimate over lower end and ``u = log`` of upper end over estimate:
    ``log low = log r - sqrt(l_1^2 + u_2^2)`` and ``log high = log r + sqrt(u_1^2 + l_2^2)``. Estimates that share seeds vary together,
    and their ratio varies less than this says: the interval is cautious.

    References
    ----------
    G. Y. Zou and A. Donner, Stat. Med. 27, 1693 (2008).

    Examples
    --------
    >>> tuple(round(x, 3) for x in ratio((20.0, 18.0, 22.0), (10.0, 10.0, 10.0)))
    (2.0, 1.8, 2.2)
    """
    if min(*first, *second) <= 0:
        raise InputError(f"a ratio needs positive estimates and ends of intervals; got {first} and {second}")
    (m1, l1, h1), (m2, l2, h2) = (np.log(part) for part in (first, second))
    down, up = math.hypot(m1 - l1, h2 - m2), math.hypot(h1 - m1, m2 - l2)
    return math.exp(m1 - m2), math.exp(m1 - m2 - down), math.exp(m1 - m2 + up)


def difference(first: Interval, second: Interval) -> Interval:
    """Subtract two independent estimates and combine their intervals, by the method of `ratio`.

    Examples
    --------
    >>> tuple(round(x, 3) for x in difference((5.0, 2.0, 8.0), (1.0, -3.0, 5.0)))
    (4.0, -1.0, 9.0)
    """
    (m1, l1, h1), (m2, l2, h2) = first, second
    return m1 - m2, m1 - m2 - math.hypot(m1 - l1, h2 - m2), m1 - m2 + math.hypot(h1 - m1, m2 - l2)


def beside(
    predicted: pd.DataFrame, measured: pd.DataFrame, *, source: int | None = None, curve: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Put predictions beside measurements at the periods that have both, with their ratio and its verdict.

    Parameters
    ----------
    predicted, measured
        Tables of `fptlib.tables.response_table` and rows of `fptlib.tables.measured_row`.
    source
        Period of the ensemble that predicts, which is left out: there the prediction is the measurement.
    curve
        Survival of the unperturbed runs, see `fptlib.tables.survival_table`; needs ``source``.

    Returns
    -------
    DataFrame
        Columns ``period, form, mean, low, high, status, reason``, of the measurement ``mean_measured, low_measured, high_measured, n_runs,
        n_censored``, ``ratio, ratio_low, ratio_high`` of predicted to measured, and ``verdict``: whether it lies within 10 % of one, or
        that this cannot be said because the measurement rests on fewer than ten runs. With ``curve`` also ``n_survivors, residual,
        residual_low, residual_high`` of the measurement, and the same ratio with a common start: ``paired, paired_low, paired_high,
        paired_verdict``.

    Notes
    -----
    Up to their first perturbation perturbed runs are unperturbed ones, so that ``<T_P> = RM(P) + S(P) tau_P`` exactly. With few perturbed
    runs nearly all the noise of a plain measured mean is in how many of them happen to pass before ``P``. The paired ratio takes ``RM(P)``
    and ``S(P)`` of predicted and measured mean from the same unperturbed runs, ``(RM + S tau_predicted) / (RM + S tau_measured)``: their
    noise cancels to first order where the two residual times are near each other, and is left out of the interval.
    """
    columns = ["period", "n_runs", "n_censored", "mean", "low", "high"]
    if curve is not None:
        columns += ["n_survivors", "residual", "residual_low", "residual_high"]
    both = predicted.merge(measured[columns], on="period", suffixes=("", "_measured"))
    both = both[both["period"] != source].reset_index(drop=True)
    ratios = [ratio(interval(line), interval(line, suffix="_measured")) for _, line in both.iterrows()]
    _add_verdicts(both, ratios, both["n_runs"], name="ratio", verdict="verdict")
    if curve is not None:
        paired = _paired(both, measured.set_index("period").loc[source], curve)
        _add_verdicts(both, paired, both["n_survivors"], name="paired", verdict="paired_verdict")
    return both


def _add_verdicts(table: pd.DataFrame, ratios: list[Interval], n: pd.Series[int], *, name: str, verdict: str) -> None:
    """Add columns with ratios and their verdicts."""
    table[[name, f"{name}_low", f"{name}_high"]] = np.array(ratios).reshape(-1, 3)
    table[verdict] = [
        str(compare(r, TOLERATED) if runs >= FEWEST_RUNS else Reproduction.UNTESTED)
        for r, runs in zip(ratios, n, strict=True)
    ]


def _paired(both: pd.DataFrame, source: pd.Series[float], curve: pd.DataFrame) -> list[Interval]:
    """Divide predicted by measured means with a common start, see `beside`."""
    survival = curve.set_index("epoch")["survival"]
    ratios: list[Interval] = []
    for row in both.itertuples():
        start, left = float(survival.loc[: row.period - 1].sum()), float(survival.get(row.period, 0.0))
        if left == 0 or math.isnan(row.residual):
            ratios.append((math.nan,) * 3)
            continue
        expected = (row.mean - start) / left
        if row.form == 2:  # the interval of the residual time at P0; a shorter rest of the horizon cuts all of it alike
            low, high = (expected * source[end] / source["residual"] for end in ("residual_low", "residual_high"))
        else:
            low, high = ((end - start) / left for end in (row.low, row.high))
        predicted = tuple(start + left * max(tau, 0.0) for tau in (expected, low, high))
        measured = tuple(start + left * tau for tau in (row.residual, row.residual_low, row.residual_high))
        ratios.append(ratio(predicted, measured))
    return ratios


def deciding(profile: pd.DataFrame, *, relaxation_epoch: float | None) -> dict[str, float]:
    """Find what decides on a quasi-steady state: its largest distance and its largest effect, see `fptlib.qss.QuasiSteadyState`.

    Parameters
    ----------
    profile
        Table of `fptlib.tables.state_table`.
    relaxation_epoch
        Where the state begins. None or NaN where there is none: then the later half of the tested epochs is looked at.

    Returns
    -------
    dict
        ``distance, p_value, effect, effect_low, effect_high``, all NaN if nothing could be tested.
    """
    names = ("distance", "p_value", "effect", "effect_low", "effect_high")
    if profile.empty:
        return dict.fromkeys(names, math.nan)
    if relaxation_epoch is None or math.isnan(relaxation_epoch):
        late = profile.iloc[len(profile) // 2 :]
    else:
        late = profile[profile["epoch"] >= relaxation_epoch]
    far, moving = late.loc[late["distance"].idxmax()], late.loc[late["effect"].abs().idxmax()]
    return {name: float((far if name in names[:2] else moving)[name]) for name in names}
