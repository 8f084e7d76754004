"""The claims: their words, which of them each case is held against, and what decides.

A table of claims has one line for each, with the columns ``name, kind, title, case, claim, where, chapter, parameters, expected, ours, low,
high, unit, digits, n, measure, score, score_low, score_high, accepted_low, accepted_high, verdict, note``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from companion.published import judges, lists, tables
from companion.published.agreement import interval
from companion.published.archive import LISTED_THRESHOLD
from companion.published.cases import Case, published_case
from companion.published.datasets import DATASETS, MAIN, SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import Judgement

_MAIN = "abstract; data of the main text"
_SHORT = {"shrink_perturb": "sp", "partial_reset": "pr"}
# By kind: the words of a claim, the chapter that shows it, and whether it is about predictions that are called valid.
CLAIMS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("claims.yml").read_text())
VOUCHED = tuple(kind for kind, content in CLAIMS.items() if content.get("vouched"))
Line = dict[str, object]


def claim(
    kind: str,
    judgement: Judgement,
    *,
    name: str,
    title: str = DATASETS[MAIN].title,
    case: str = "",
    horizon: int = DATASETS[MAIN].horizon,
    where: str = _MAIN,
    chapter: str | None = None,
    parameters: str | None = None,
) -> Line:
    """Return the line of a claim.

    Parameters
    ----------
    kind
        One of `CLAIMS`.
    judgement
        What the data say.
    name, title, case
        A unique name; the training set-up in words; and perturbation, threshold and ``P0`` in words.
    horizon
        Last epoch, for the words that name it.
    where
        Where it is made, or where the data are.
    chapter, parameters
        The chapter of this book that shows it (stem of its file), and what to execute for it; by default that of the kind, as it is.
    """
    chapter = chapter or CLAIMS[kind]["chapter"]
    return {
        "name": name,
        "kind": kind,
        "title": title,
        "case": case,
        "claim": CLAIMS[kind]["claim"].format(horizon=horizon),
        "where": where,
        "chapter": chapter,
        "parameters": parameters or f"fpt book --chapter {chapter}",
        "expected": judgement.expected,
        **dict(zip(("ours", "low", "high"), judgement.ours, strict=True)),
        **{key: getattr(judgement, key) for key in ("unit", "digits", "n", "measure")},
        **dict(zip(("score", "score_low", "score_high"), judgement.score, strict=True)),
        **dict(zip(("accepted_low", "accepted_high"), judgement.accepted, strict=True)),
        "verdict": str(judgement.verdict),
        "note": "; ".join(part for part in (judgement.against, judgement.note) if part),
    }


def case_claims(case: Case, *, prefix: str, where: str, chapter: str, parameters: str) -> pd.DataFrame:
    """Hold a case against the claims that are made of every case.

    Parameters
    ----------
    case
        What was predicted and measured.
    prefix
        Beginning of the names.
    where, parameters
        As in `claim`.
    chapter
        The chapter that shows residual times and predictions.
    """
    table = case.table
    valid = table["status"] == "valid"
    judgements = {
        "state": judges.state(case),
        "residual": judges.residual(case),
        "predicted": judges.predictions(table[valid]),
        "unvouched": judges.predictions(table[~valid]),
        "optimum": judges.optimum(case),
        "speedup": judges.speedup(case),
    }
    about: dict[str, Any] = {"title": case.title, "case": case.words, "where": where, "parameters": parameters}
    shown = {kind: None if kind in ("state", "speedup") else chapter for kind in judgements}
    return pd.DataFrame(
        [claim(kind, j, name=f"{prefix}-{kind}", chapter=shown[kind], **about) for kind, j in judgements.items()]
    )


def main_claims(threshold: float = 72.0, *, period: int = 50) -> pd.DataFrame:
    """Judge the claims on the data of the main text at one threshold, in per cent, from the ensembles at one period, in epochs."""
    cases = {name: published_case(name, threshold=threshold, period=period) for name in _SHORT}
    forced = {name: tables.predicted(name, period=period, threshold=threshold, form="2") for name in _SHORT}
    prefix = {name: f"{short}-{threshold:g}-{period}" for name, short in _SHORT.items()}
    soft = _set("03_one_frequency", published_threshold=threshold, published_period=period)
    hard = _set("03_one_frequency", hard_threshold=threshold, hard_period=period)
    choosing = _set("05_choosing", published_threshold=threshold)
    about = {"where": _MAIN, "chapter": "03_one_frequency", "parameters": soft}
    sp, pr = (case_claims(case, prefix=prefix[name], **about) for name, case in cases.items())
    one, other = cases.values()
    form_2 = replace(other, predicted=forced["partial_reset"]).table
    form_2 = judges.predictions(form_2[form_2["period"] >= 7])
    best_of_2 = judges.optimum(one, forced["shrink_perturb"])
    at = f"to {threshold:g} %"
    lines = [
        claim("form-2-optimum", best_of_2, name=f"{prefix['shrink_perturb']}-form-2", case=one.words, parameters=soft),
        claim("form-2", form_2, name=f"{prefix['partial_reset']}-form-2", case=other.words, parameters=hard),
        claim("choice", judges.faster(one, other), name=f"choice-{threshold:g}", case=at, parameters=choosing),
        claim(
            "full-reset",
            _full_reset(threshold),
            name=f"full-reset-{threshold:g}",
            case=f"full reset; {at}",
            parameters=choosing,
        ),
    ]
    return pd.concat([sp, pr.iloc[1:], pd.DataFrame(lines)], ignore_index=True)  # one state: that of the same runs


def other_claims(*, period: int = 50) -> pd.DataFrame:
    """Judge the claims on the data of the main text that belong to no single threshold."""
    ends = tables.final_metrics()
    lines = []
    for name, short in _SHORT.items():
        table = tables.beyond(name, period=period)
        words = name.replace("_", " ")
        lines += [
            claim("accuracy", _best(ends, name, unit="%"), name=f"{short}-accuracy", case=words),
            claim(
                "beyond",
                judges.beyond(table[table["status"] == "valid"]),
                name=f"{short}-beyond-{period}",
                case=f"{words}; beyond 74 %, P0 = {period}",
                parameters=_set("05_choosing", beyond_period=period),
            ),
        ]
    table = lists.listed_row(period=period)
    valid = table["status"] == "valid"
    about: dict[str, Any] = {"where": "data of the main text, lists of first-passage times"}
    about |= {"case": f"partial reset; to {LISTED_THRESHOLD:g} %, P0 = {period}"}
    about |= {"parameters": f"published.listed_row(period={period})"}
    for kind, part in (("listed", table[valid]), ("listed-unvouched", table[~valid])):
        name = kind.replace("listed", f"listed-{period}")
        lines.append(claim(kind, judges.predictions(part), name=name, **about))
    return pd.DataFrame(lines)


def supplementary_claims(data: str, *, threshold: float | None = None, period: int | None = None) -> pd.DataFrame:
    """Judge the claims on a supplementary data set; by default at its usual threshold and from its usual period."""
    case = published_case(data=data, threshold=threshold, period=period)
    known, ends = dataset(data), tables.final_metrics(data)
    unit, digits = ("%", 1) if known.sign else (known.unit, 3)
    about: dict[str, Any] = {"where": "abstract (transfer); supplementary data", "chapter": "08_transfer"}
    command = f"published.published_case(data={data!r}, threshold={case.threshold:g}, period={case.source}).table"
    line = claim(
        "metric",
        _best(ends, case.perturbation, unit=unit, digits=digits),
        name=f"{data}-metric",
        title=case.title,
        case=case.perturbation.replace("_", " "),
        horizon=known.horizon,
        parameters=f"published.final_metrics({data!r})",
        **about,
    )
    prefix = f"{data}-{case.threshold:g}-{case.source}"
    own = case_claims(case, prefix=prefix, parameters=command, **about)
    return pd.concat([own, pd.DataFrame([line])], ignore_index=True)


def ratios(thresholds: tuple[float, ...] = (72.0, 74.0), *, period: int = 50, reached: float = 0.5) -> pd.DataFrame:
    """Collect all predictions beside what was measured: main text, lists and supplement.

    Parameters
    ----------
    thresholds, period
        Of the main text, as in `main_claims`.
    reached
        Share of the unperturbed runs that reach the threshold of the supplementary data: one of ``SHARES``.

    Returns
    -------
    DataFrame
        Columns ``case, period, status, form, ratio, ratio_low, ratio_high, verdict``: the ratio with a common start where that is known.
    """
    parts = {}
    for name, words in {"shrink_perturb": "shrink and perturb", "partial_reset": "partial reset"}.items():
        for threshold in thresholds:
            case = published_case(name, threshold=threshold, period=period)
            parts[f"CIFAR-10, {words}, {threshold:g} %"] = case.table
    parts[f"CIFAR-10, partial reset, {LISTED_THRESHOLD:g} %, lists"] = lists.listed_row(period=period)
    for data in SUPPLEMENTARY:
        known = dataset(data)
        case = published_case(data=data, threshold=known.thresholds[SHARES.index(reached)])
        parts[f"{known.short}, {case.threshold:g} {case.unit}".rstrip()] = case.table
    columns = ["case", "period", "status", "form", "ratio", "ratio_low", "ratio_high", "verdict"]
    sharper = {"paired": "ratio", "paired_low": "ratio_low", "paired_high": "ratio_high", "paired_verdict": "verdict"}
    for title, table in parts.items():
        if "paired" in table:
            table = table.drop(columns=list(sharper.values())).rename(columns=sharper)
        parts[title] = table.assign(case=title)[columns]
    return pd.concat(parts.values(), ignore_index=True)


def _best(ends: pd.DataFrame, perturbation: str, *, unit: str, digits: int = 1) -> Judgement:
    """Hold the best metric with a perturbation, at the period where it is largest, against that without."""
    own = ends[ends["runs"].str.startswith(perturbation)]
    best = str(own.loc[own["best"].idxmax(), "runs"])
    return judges.gain(ends, of=best, over="without perturbation", unit=unit, digits=digits)


def _full_reset(threshold: float) -> Judgement:
    """Return what full reset would do, which nobody measured."""
    reason = "no runs with full reset are in the published data"
    if threshold not in tables.RANKED:
        return Judgement(note=reason)
    table = tables.ranking(threshold=threshold)
    options = table[table["perturbation"] == "full_reset"]
    if options.empty:
        return Judgement(note=reason)
    best = options.loc[options["mean"].idxmin()]
    note = f"{reason}; predicted at P = {int(best['period'])}"
    return Judgement(note=note, ours=interval(best), unit="epochs")


def _set(chapter: str, **values: float) -> str:
    """Return the command that executes a chapter with these parameters."""
    return f"fpt book --chapter {chapter} " + " ".join(f"--set {name}={value:g}" for name, value in values.items())
