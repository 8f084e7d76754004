"""Judges: each holds one kind of claim against the data of a case, and says with what result."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from companion.published.agreement import (
    FEWEST_RUNS,
    TOLERATED,
    Interval,
    Reproduction,
    compare,
    difference,
    interval,
    ratio,
    spell,
)
from companion.published.cases import Case
from fptlib.qss import EFFECT

NOTHING: Interval = (math.nan, math.nan, math.nan)
# The verdict of several is that of the worst of them.
_SEVERITY = (Reproduction.UNTESTED, Reproduction.REPRODUCES, Reproduction.WITHIN, Reproduction.DOES_NOT)
_RESIDUAL = ("residual", "residual_low", "residual_high")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The evidence of the data on a claim; without a score the claim cannot be tested here.

    Parameters
    ----------
    expected
        Expected value, in words.
    ours, unit, digits, n
        Our value with its interval, its unit and decimals, and the runs behind it.
    measure, score, accepted
        What decides, in words; its value and interval; and the range of values that agree with the claim.
    note
        What else to know.
    against
        A reason beyond the interval why the claim does not hold, empty if there is none.
    """

    expected: str = "-"
    ours: Interval = NOTHING
    unit: str = ""
    digits: int = 1
    n: int = 0
    measure: str = ""
    score: Interval = NOTHING
    accepted: tuple[float, float] = (-math.inf, math.inf)
    note: str = ""
    against: str = ""

    @property
    def verdict(self) -> Reproduction:
        """Verdict of the interval of the score."""
        return Reproduction.DOES_NOT if self.against else compare(self.score, self.accepted)


def predictions(table: pd.DataFrame) -> Judgement:
    """Test that predicted means are within 10 % of measured ones, at all periods of a table of `companion.published.agreement.beside`.

    The worst of them is shown: the one with the most severe verdict, and among these the one furthest off. The ratio is the one with a
    common start where the table has it.
    """
    name, verdict = ("paired", "paired_verdict") if "paired" in table else ("ratio", "verdict")
    tested = table[table[verdict] != Reproduction.UNTESTED]
    few = len(table) - len(tested)
    left_out = f"{few} with fewer than {FEWEST_RUNS} runs left out" if few else ""
    if tested.empty:
        return Judgement(note=left_out or "no such prediction")
    severity = tested[verdict].map(lambda v: _SEVERITY.index(Reproduction(v)))
    most_severe = tested[severity == severity.max()]
    worst = most_severe.loc[(most_severe[name] - 1).abs().idxmax()]
    numbers = {v: int((tested[verdict] == v).sum()) for v in Reproduction}
    counts = ", ".join(f"{n} {v}" for v, n in numbers.items() if n)
    note = f"the worst of periods {', '.join(map(str, tested['period']))}: {counts}"
    return _epochs(
        worst,
        expected=f"{spell(interval(worst, suffix='_measured'))} at P = {int(worst['period'])}",
        measure="predicted / measured" + (", common start" if name == "paired" else ""),
        score=interval(worst, (name, f"{name}_low", f"{name}_high")),
        accepted=TOLERATED,
        note="; ".join(part for part in (note, left_out) if part),
    )


def beyond(table: pd.DataFrame) -> Judgement:
    """Test that predictions hold at thresholds that no unperturbed run reaches; the one furthest off of `companion.published.beyond`."""
    if table.empty:
        return Judgement(note="no such prediction is valid")
    ratios = {i: ratio(interval(line), interval(line, suffix="_measured")) for i, line in table.iterrows()}
    furthest = max(ratios, key=lambda i: abs(math.log(ratios[i][0])))
    line = table.loc[furthest]
    return _epochs(
        line,
        expected=f"{spell(interval(line, suffix='_measured'))} at P = {int(line['period'])}",
        measure="predicted / measured",
        score=ratios[furthest],
        accepted=TOLERATED,
        note=f"the furthest off of {len(table)}, at {line['threshold']:g} %",
    )


def optimum(case: Case, predicted: pd.DataFrame | None = None) -> Judgement:
    """Test that the period with the smallest predicted mean is as good as the best measured one, up to 10 %.

    Parameters
    ----------
    case
        The case.
    predicted
        Predictions to choose among, whatever their status; by default the valid ones of the case.

    Notes
    -----
    The source is among the options, since whoever measured there may stay there. It is no evidence by itself, because there the prediction
    is the measurement: without another option the claim cannot be tested.
    """
    options = case.predicted[case.predicted["status"] == "valid"] if predicted is None else predicted
    measured = _measured(case)
    options = options[options["period"].isin(measured.index)]
    if options[options["period"] != case.source].empty:
        reason = f"nothing to choose from but P0 = {case.source}, where the prediction is the measurement"
        return Judgement(note="no prediction is valid" if options.empty else reason)
    chosen, best = int(options.loc[options["mean"].idxmin(), "period"]), int(measured["mean"].idxmin())
    ours, top = (interval(measured.loc[p]) for p in (chosen, best))
    return _epochs(
        measured.loc[chosen],
        expected=f"{spell(top)} at P = {best}",
        measure="mean at the chosen period / smallest measured mean",
        score=(1.0, 1.0, 1.0) if chosen == best else ratio(ours, top),
        accepted=(0.0, TOLERATED[1]),
        note=f"chosen is P = {chosen}",
    )


def state(case: Case) -> Judgement:
    """Test that unperturbed training is in a quasi-steady state, as `fptlib.qss.assess_qss` sees it."""
    effect: Interval = tuple(100 * x for x in interval(case.state, ("effect", "effect_low", "effect_high")))  # type: ignore[assignment]
    against = ""
    if not case.state["reached"] and float(case.state["p_value"]) <= 0.05:
        far = f"{case.state['distance']:.2f} while the epoch doubles (p = {case.state['p_value']:.2g})"
        against = f"the distribution of the survivors moves by a distance of {far}"
    return Judgement(
        expected=f"within {100 * EFFECT:.0f} %",
        ours=effect,
        unit="%",
        n=int(case.unperturbed["n_runs"]),
        measure="change of the remaining time by the drift (%)",
        score=effect,
        accepted=(-100 * EFFECT, 100 * EFFECT),
        against=against,
    )


def residual(case: Case) -> Judgement:
    """Test that mean residual times are that at the source, up to 10 %; the worst of them.

    At all periods from the relaxation epoch on, or longer than the source where there is none, after which `FEWEST_RUNS` runs
    were perturbed and as many of them then passed: where hardly any does, the restricted mean is the time that was watched, whatever
    the process.
    """
    measured = (case.measured if case.residuals is None else case.residuals).set_index("period")
    source = interval(measured.loc[case.source], _RESIDUAL)
    first = case.state["relaxation_epoch"] if case.state["reached"] else case.source
    known = measured["n_survivors"] - measured["n_censored"] >= FEWEST_RUNS
    later = measured[known & (measured.index >= first) & (measured.index != case.source)]
    if later.empty or not known[case.source]:
        where = f"at no other period from {first:g} on" if later.empty else f"not at P = {case.source}"
        return Judgement(note=f"{where} did {FEWEST_RUNS} perturbed runs pass")
    ratios = {int(p): ratio(interval(later.loc[p], _RESIDUAL), source) for p in later.index}
    severity = {p: _SEVERITY.index(compare(r, TOLERATED)) for p, r in ratios.items()}
    worst = max(ratios, key=lambda p: (severity[p], abs(math.log(ratios[p][0]))))
    return Judgement(
        expected=f"{spell(source)} at P = {case.source}",
        ours=interval(measured.loc[worst], _RESIDUAL),
        unit="epochs",
        n=int(measured.loc[worst, "n_survivors"]),
        measure="residual time / that at P0",
        score=ratios[worst],
        accepted=TOLERATED,
        note=f"the worst of periods {', '.join(map(str, ratios))} is P = {worst}",
    )


def speedup(case: Case) -> Judgement:
    """Test that the best measured period has a smaller mean than training without perturbation."""
    measured = _measured(case)
    best = int(measured["mean"].idxmin())
    plain = interval(case.unperturbed)
    censored = int(case.unperturbed["n_censored"])
    bound = f"; {censored} unperturbed runs are censored: a lower bound" if censored else ""
    return _epochs(
        measured.loc[best],
        expected=f"below {spell(plain)} epochs",
        measure="speed-up",
        score=ratio(plain, interval(measured.loc[best])),
        accepted=(1.0, math.inf),
        note=f"at P = {best}{bound}",
    )


def faster(one: Case, other: Case) -> Judgement:
    """Test that the best measured mean of one case is smaller than that of another."""
    first, second = (case.measured.loc[case.measured["mean"].idxmin()] for case in (one, other))
    return _epochs(
        first,
        expected=f"below {spell(interval(second))} at P = {int(second['period'])}",
        measure="ratio of the two means",
        score=ratio(interval(first), interval(second)),
        accepted=(0.0, 1.0),
        note=f"at P = {int(first['period'])}",
    )


def gain(ends: pd.DataFrame, *, of: str, over: str, unit: str = "", digits: int = 1) -> Judgement:
    """Test that the best metric of runs, on average, is larger in one ensemble than in another.

    Parameters
    ----------
    ends
        Table of `fptlib.tables.outcome_table`.
    of, over
        Names of the two ensembles in the column ``runs``.
    unit, digits
        Unit of the metric, and decimals.
    """
    by_name = ends.set_index("runs")
    after, before = (interval(by_name.loc[name], ("best", "best_low", "best_high")) for name in (of, over))
    return Judgement(
        expected=f"above {spell(before, digits)}",
        ours=after,
        unit=unit,
        digits=digits,
        n=int(by_name.loc[of, "n_runs"]),
        measure="difference",
        score=difference(after, before),
        accepted=(0.0, math.inf),
        note=f"{of}, against {over}",
    )


def _epochs(line: pd.Series[float], **judgement: Any) -> Judgement:
    """Return the judgement of a mean in epochs."""
    return Judgement(ours=interval(line), unit="epochs", n=int(line["n_runs"]), **judgement)


def _measured(case: Case) -> pd.DataFrame:
    """Return the measurements with enough runs, by period."""
    return case.measured[case.measured["n_runs"] >= FEWEST_RUNS].set_index("period")
