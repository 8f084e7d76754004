"""Which claims a case is held against: the state, the residual time, predictions, the optimum, the speed-up, the final metric."""

from __future__ import annotations

import math

import pandas as pd

from companion.published.agreement import FEWEST_RUNS, TOLERATED, Interval, Reproduction, compare, difference, ratio
from companion.published.cases import Case
from companion.published.claims import About, Claim, untested
from fptlib.qss import EFFECT

# The verdict of several is that of the worst of them.
_SEVERITY = (Reproduction.UNTESTED, Reproduction.REPRODUCES, Reproduction.WITHIN, Reproduction.DOES_NOT)
_RESIDUAL = ("residual", "residual_low", "residual_high")


def case_claims(case: Case, *, prefix: str, where: str, chapter: str, parameters: str) -> list[Claim]:
    """The claims that every case is held against.

    Parameters
    ----------
    case
        What was predicted and measured.
    prefix
        Begins the names.
    where, chapter, parameters
        As in `companion.published.About`.
    """

    def about(name: str, claim: str, stem: str = chapter) -> About:
        return About(
            name=f"{prefix}-{name}", case=case.words, claim=claim, where=where, chapter=stem, parameters=parameters
        )

    table = case.table
    trusted = table["status"] == "valid"
    others = "One period predicts the others, where the prediction is"
    return [
        state(
            case, about("state", "Training without perturbation reaches a quasi-steady state", "02_quasi_steady_state")
        ),
        residual(case, about("residual", "Late enough, the mean residual time does not depend on the period")),
        predictions(table[trusted], about("predicted", f"{others} called valid")),
        predictions(table[~trusted], about("unvouched", f"{others} not called valid")),
        optimum(case, about("optimum", "The best period called valid is as good as the best measured one")),
        speedup(case, about("speedup", "Perturbation makes training faster", "05_choosing")),
    ]


def predictions(table: pd.DataFrame, about: About) -> Claim:
    """Whether predicted means are within 10 % of measured ones, at all periods of a table of `companion.published.beside`.

    The line shows the worst of them: the one with the most severe verdict, and among these the one furthest off. The ratio is the one with
    a common start where the table has it.
    """
    name, decided = ("paired", "paired_verdict") if "paired" in table else ("ratio", "verdict")
    tested = table[table[decided] != Reproduction.UNTESTED]
    few = len(table) - len(tested)
    left_out = f"{few} with fewer than {FEWEST_RUNS} runs left out" if few else ""
    if tested.empty:
        return untested(about, reason=left_out or "no such prediction")
    severity = tested[decided].map(lambda v: _SEVERITY.index(Reproduction(v)))
    worst_of = tested[severity == severity.max()]
    worst = worst_of.loc[(worst_of[name] - 1).abs().idxmax()]
    found = {verdict: int((tested[decided] == verdict).sum()) for verdict in Reproduction}
    counts = ", ".join(f"{n} {verdict}" for verdict, n in found.items() if n)
    note = f"the worst of periods {', '.join(map(str, tested['period']))}: {counts}"
    measured = _interval(worst, ("mean_measured", "low_measured", "high_measured"))
    return Claim(
        about=about,
        expected=f"{_short(measured)} at P = {int(worst['period'])}",
        ours=_interval(worst),
        unit="epochs",
        n=int(worst["n_runs"]),
        measure="predicted / measured" + (", common start" if name == "paired" else ""),
        score=_interval(worst, (name, f"{name}_low", f"{name}_high")),
        accepted=TOLERATED,
        note="; ".join(part for part in (note, left_out) if part),
    )


def optimum(case: Case, about: About, *, predicted: pd.DataFrame | None = None) -> Claim:
    """Whether the period with the smallest predicted mean is as good as the best measured one, up to 10 %.

    Parameters
    ----------
    case, about
        The case and the claim.
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
        return untested(about, reason="no prediction is valid" if options.empty else reason)
    chosen, best = int(options.loc[options["mean"].idxmin(), "period"]), int(measured["mean"].idxmin())
    ours, top = (_interval(measured.loc[p]) for p in (chosen, best))
    return Claim(
        about=about,
        expected=f"{_short(top)} at P = {best}",
        ours=ours,
        unit="epochs",
        n=int(measured.loc[chosen, "n_runs"]),
        measure="mean at the chosen period / smallest measured mean",
        score=(1.0, 1.0, 1.0) if chosen == best else ratio(ours, top),
        accepted=(0.0, TOLERATED[1]),
        note=f"chosen is P = {chosen}",
    )


def state(case: Case, about: About) -> Claim:
    """Whether unperturbed training is in a quasi-steady state, as `fptlib.qss.judge` sees it."""
    mean, low, high = (100 * float(case.state[name]) for name in ("effect", "effect_low", "effect_high"))
    against = ""
    if not case.state["reached"] and float(case.state["p_value"]) <= 0.05:
        far = f"{case.state['distance']:.2f} while the epoch doubles (p = {case.state['p_value']:.2g})"
        against = f"the distribution of the survivors moves by a distance of {far}"
    return Claim(
        about=about,
        expected=f"within {100 * EFFECT:.0f} %",
        ours=(mean, low, high),
        unit="%",
        n=int(case.unperturbed["n_runs"]),
        measure="change of the remaining time by the drift (%)",
        score=(mean, low, high),
        accepted=(-100 * EFFECT, 100 * EFFECT),
        against=against,
    )


def residual(case: Case, about: About) -> Claim:
    """Whether mean residual times are that at the source, up to 10 %; the worst of them.

    At all periods from the relaxation epoch on, or longer than the source where there is none, after which `FEWEST_RUNS` runs
    were perturbed and as many of them then passed: where hardly any does, the restricted mean is the time that was watched, whatever
    the training.
    """
    measured = (case.measured if case.residuals is None else case.residuals).set_index("period")
    source = _interval(measured.loc[case.source], _RESIDUAL)
    first = case.state["relaxation_epoch"] if case.state["reached"] else case.source
    told = measured["n_survivors"] - measured["n_censored"] >= FEWEST_RUNS
    later = measured[told & (measured.index >= first) & (measured.index != case.source)]
    if later.empty or not told[case.source]:
        where = f"at no other period from {first:g} on" if later.empty else f"not at P = {case.source}"
        return untested(about, reason=f"{where} did {FEWEST_RUNS} perturbed runs pass")
    found = {int(p): ratio(_interval(later.loc[p], _RESIDUAL), source) for p in later.index}
    verdicts = {p: _SEVERITY.index(compare(r, TOLERATED)) for p, r in found.items()}
    worst = max(found, key=lambda p: (verdicts[p], abs(math.log(found[p][0]))))
    return Claim(
        about=about,
        expected=f"{_short(source)} at P = {case.source}",
        ours=_interval(measured.loc[worst], _RESIDUAL),
        unit="epochs",
        n=int(measured.loc[worst, "n_survivors"]),
        measure="residual time / that at P0",
        score=found[worst],
        accepted=TOLERATED,
        note=f"the worst of periods {', '.join(map(str, found))} is P = {worst}",
    )


def speedup(case: Case, about: About) -> Claim:
    """Whether the best measured period has a smaller mean than training without perturbation."""
    measured = _measured(case)
    best = int(measured["mean"].idxmin())
    plain = _interval(pd.Series(case.unperturbed))
    censored = int(case.unperturbed["n_censored"])
    bound = f"; {censored} unperturbed runs are censored: a lower bound" if censored else ""
    return Claim(
        about=about,
        expected=f"below {_short(plain)} epochs",
        ours=_interval(measured.loc[best]),
        unit="epochs",
        n=int(measured.loc[best, "n_runs"]),
        measure="speed-up",
        score=ratio(plain, _interval(measured.loc[best])),
        accepted=(1.0, math.inf),
        note=f"at P = {best}{bound}",
    )


def gain(ends: pd.DataFrame, about: About, *, of: str, over: str, unit: str = "", digits: int = 1) -> Claim:
    """Whether the best metric of runs, on average, is larger in one ensemble than in another.

    Parameters
    ----------
    ends
        Table of `fptlib.tables.outcome_table`.
    about
        The claim.
    of, over
        Names of the two ensembles in the column ``runs``.
    unit, digits
        Unit of the metric, and decimals.
    """
    by_name = ends.set_index("runs")
    names = ("best", "best_low", "best_high")
    after, before = (_interval(by_name.loc[name], names) for name in (of, over))
    return Claim(
        about=about,
        expected=f"above {_short(before, digits)}",
        ours=after,
        unit=unit,
        digits=digits,
        n=int(by_name.loc[of, "n_runs"]),
        measure="difference",
        score=difference(after, before),
        accepted=(0.0, math.inf),
        note=f"{of}, against {over}",
    )


def _measured(case: Case) -> pd.DataFrame:
    """Measurements with enough runs, by period."""
    return case.measured[case.measured["n_runs"] >= FEWEST_RUNS].set_index("period")


def _interval(row: pd.Series[float], names: tuple[str, str, str] = ("mean", "low", "high")) -> Interval:
    mean, low, high = (float(row[name]) for name in names)
    return mean, low, high


def _short(found: Interval, digits: int = 1) -> str:
    mean, low, high = found
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
