"""The claims of arXiv:2502.04121 that its published data can be held against."""

from __future__ import annotations

import math

import pandas as pd

from companion.published import cifar10, lists, supplement
from companion.published.agreement import TOLERATED, ratio
from companion.published.cases import NETWORK, Case, cifar10_case, supplementary_case
from companion.published.claims import About, Claim, untested
from companion.published.judged import case_claims, gain, optimum, predictions

ABSTRACT = "abstract; data of the main text"
SUPPLEMENT = "abstract (transfer); supplementary data"
_SHORT = {"shrink_perturb": "sp", "partial_reset": "pr"}


def main_claims(threshold: float = 72.0, *, period: int = 50) -> list[Claim]:
    """Claims on ResNet-18 and CIFAR-10 at one threshold, in per cent, from the ensembles at one period, in epochs."""
    cases = {name: cifar10_case(name, threshold=threshold, period=period) for name in cifar10.FOLDERS}  # type: ignore[arg-type]
    found: list[Claim] = []
    for name, case in cases.items():
        part = case_claims(
            case,
            prefix=f"{_SHORT[name]}-{threshold:g}-{period}",
            where=ABSTRACT,
            chapter="03_one_frequency",
            parameters=_set("03_one_frequency", published_threshold=threshold, published_period=period),
        )
        found += part[1:] if found else part  # the state is that of the same unperturbed runs
    forced = cifar10.predicted("shrink_perturb", period=period, threshold=threshold, form="2")
    about = _about(
        f"sp-{threshold:g}-{period}-form-2",
        cases["shrink_perturb"].words,
        "The period with the smallest prediction of form 2, whatever its status, is as good as the best measured one",
        parameters=found[0].about.parameters,
    )
    found.append(optimum(cases["shrink_perturb"], about, predicted=forced))
    about = _about(
        f"pr-{threshold:g}-{period}-form-2",
        cases["partial_reset"].words,
        "Form 2, where one perturbation counts, predicts the other periods from 7 on",
        parameters=_set("03_one_frequency", hard_threshold=threshold, hard_period=period),
    )
    found.append(predictions(_form_2(cases["partial_reset"]), about))
    return [*found, _better(cases, threshold), _full_reset(threshold)]


def other_claims(*, period: int = 50) -> list[Claim]:
    """Claims on ResNet-18 and CIFAR-10 that belong to no single threshold."""
    ends = cifar10.final_metrics()
    found = []
    for name, short in _SHORT.items():
        own = ends[ends["runs"].str.startswith(name)]
        best = str(own.loc[own["best"].idxmax(), "runs"])
        about = _about(
            f"{short}-accuracy",
            f"{NETWORK}; {name.replace('_', ' ')}",
            "Perturbation leads to a better accuracy within 200 epochs",
            chapter="05_choosing",
        )
        found.append(gain(ends, about, of=best, over="without perturbation", unit="%"))
        table = cifar10.beyond(name, period=period)  # type: ignore[arg-type]
        found.append(_beyond(table[table["status"] == "valid"], name=name, period=period))
    about = _about(
        f"listed-{period}",
        f"{NETWORK}; partial reset; to {lists.LISTED_THRESHOLD:g} %, P0 = {period}",
        "One period predicts the means of another 400 runs at each of 16 periods, where the prediction is {}",
    )
    table = lists.listed_row(period=period)
    for word, part in (("called valid", table["status"] == "valid"), ("not called valid", table["status"] != "valid")):
        told = About(
            name=about.name + ("" if word == "called valid" else "-unvouched"),
            case=about.case,
            claim=about.claim.format(word),
            where="data of the main text, lists of first-passage times",
            chapter="03_one_frequency",
            parameters=f"published.listed_row(period={period})",
        )
        found.append(predictions(table[part], told))
    return found


def supplementary_claims(name: str, *, threshold: float | None = None, period: int | None = None) -> list[Claim]:
    """Claims on one of `companion.published.supplementary`; by default at the middle threshold and from the period of the rule."""
    case = supplementary_case(name, threshold=threshold, period=period)
    ends = supplement.row_outcomes(name)
    perturbed = ends[ends["runs"] != "without perturbation"]
    parameters = f"published.row({name!r}, threshold={case.threshold:g}, period={case.source})"
    about = About(
        name=f"{name}-metric",
        case=f"{case.title}; shrink perturb",
        claim=f"Perturbation leads to a better metric within {supplement.setup(name).horizon} epochs",
        where=SUPPLEMENT,
        chapter="08_transfer",
        parameters=f"published.row_outcomes({name!r})",
    )
    best = str(perturbed.loc[perturbed["best"].idxmax(), "runs"])
    return [
        *case_claims(
            case,
            prefix=f"{name}-{case.threshold:g}-{case.source}",
            where=SUPPLEMENT,
            chapter="08_transfer",
            parameters=parameters,
        ),
        gain(
            ends,
            about,
            of=best,
            over="without perturbation",
            unit="%" if case.unit else "SSIM",
            digits=1 if case.unit else 3,
        ),
    ]


def ratios(thresholds: tuple[float, ...] = (72.0, 74.0), *, period: int = 50, reached: float = 0.5) -> pd.DataFrame:
    """All predictions beside what was measured: main text, lists and supplement.

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
    for name, short in _SHORT.items():
        for threshold in thresholds:
            title = f"CIFAR-10, {'shrink and perturb' if short == 'sp' else 'partial reset'}, {threshold:g} %"
            parts[title] = cifar10_case(name, threshold=threshold, period=period).table  # type: ignore[arg-type]
    parts[f"CIFAR-10, partial reset, {lists.LISTED_THRESHOLD:g} %, lists"] = lists.listed_row(period=period)
    for name in supplement.SETUPS:
        threshold = supplement.setup(name).thresholds[supplement.SHARES.index(reached)]
        case = supplementary_case(name, threshold=threshold)
        data = {
            "cifar100": "CIFAR-100",
            "cifar100_momentum": "CIFAR-100, momentum",
            "fc_adam": "fully connected, Adam",
        }[name]
        parts[f"{data}, {case.threshold:g} {case.unit}".rstrip()] = case.table
    return pd.concat([sharper(table).assign(case=title) for title, table in parts.items()], ignore_index=True)


def sharper(table: pd.DataFrame) -> pd.DataFrame:
    """Of a table of `companion.published.beside` the ratio with a common start where there is one, else the plain one."""
    name, verdict = ("paired", "paired_verdict") if "paired" in table else ("ratio", "verdict")
    columns = {name: "ratio", f"{name}_low": "ratio_low", f"{name}_high": "ratio_high", verdict: "verdict"}
    return table[["period", "status", "form", *columns]].rename(columns=columns)


def _form_2(case: Case) -> pd.DataFrame:
    forced = cifar10.predicted(case.perturbation, period=case.source, threshold=case.threshold, form="2")  # type: ignore[arg-type]
    whole = Case(**{**{n: getattr(case, n) for n in Case.__slots__}, "predicted": forced}).table
    return whole[whole["period"] >= 7]


def _better(cases: dict[str, Case], threshold: float) -> Claim:
    """Shrink-and-perturb against partial reset, each at its best measured period."""
    tops = {name: case.measured.loc[case.measured["mean"].idxmin()] for name, case in cases.items()}
    ours, other = ((float(t["mean"]), float(t["low"]), float(t["high"])) for t in tops.values())
    first, second = tops.values()
    return Claim(
        about=_about(
            f"choice-{threshold:g}",
            f"{NETWORK}; to {threshold:g} %",
            "Shrink-and-perturb at its best period is faster than partial reset at its own",
            chapter="05_choosing",
            parameters=_set("05_choosing", published_threshold=threshold),
        ),
        expected=f"below {other[0]:.1f} ({other[1]:.1f} to {other[2]:.1f}) at P = {int(second['period'])}",
        ours=ours,
        unit="epochs",
        n=int(first["n_runs"]),
        measure="ratio of the two means",
        score=ratio(ours, other),
        accepted=(0.0, 1.0),
        note=f"at P = {int(first['period'])}",
    )


def _full_reset(threshold: float) -> Claim:
    """What full reset would do, which nobody measured."""
    table = (
        cifar10.ranking(threshold=threshold) if threshold in cifar10.RANKED else pd.DataFrame(columns=["perturbation"])
    )
    options = table[table["perturbation"] == "full_reset"]
    about = _about(
        f"full-reset-{threshold:g}",
        f"{NETWORK}; full reset; to {threshold:g} %",
        "The unperturbed runs alone predict full reset",
        chapter="05_choosing",
        parameters=_set("05_choosing", published_threshold=threshold),
    )
    reason = "no runs with full reset are in the published data"
    if options.empty:
        return untested(about, reason=reason)
    best = options.loc[options["mean"].idxmin()]
    ours = (float(best["mean"]), float(best["low"]), float(best["high"]))
    return untested(about, reason=f"{reason}; predicted at P = {int(best['period'])}", ours=ours, unit="epochs")


def _beyond(table: pd.DataFrame, *, name: str, period: int) -> Claim:
    """The worst valid prediction at thresholds that no unperturbed run reaches."""
    about = _about(
        f"{_SHORT[name]}-beyond-{period}",
        f"{NETWORK}; {name.replace('_', ' ')}; beyond 74 %, P0 = {period}",
        "Valid predictions hold at thresholds that no unperturbed run reaches",
        chapter="05_choosing",
        parameters=_set("05_choosing", beyond_period=period),
    )
    if table.empty:
        return untested(about, reason="no such prediction is valid")
    found = {
        i: ratio((r.mean, r.low, r.high), (r.mean_measured, r.low_measured, r.high_measured))
        for i, r in zip(table.index, table.itertuples(), strict=True)
    }
    worst = max(found, key=lambda i: abs(math.log(found[i][0])))
    row = table.loc[worst]
    return Claim(
        about=about,
        expected=f"{row['mean_measured']:.1f} ({row['low_measured']:.1f} to {row['high_measured']:.1f}) at P = {int(row['period'])}",
        ours=(float(row["mean"]), float(row["low"]), float(row["high"])),
        unit="epochs",
        n=int(row["n_runs"]),
        measure="predicted / measured",
        score=found[worst],
        accepted=TOLERATED,
        note=f"the furthest off of {len(table)}, at {row['threshold']:g} %",
    )


def _about(
    name: str, case: str, claim: str, *, chapter: str = "03_one_frequency", parameters: str | None = None
) -> About:
    return About(
        name=name,
        case=case,
        claim=claim,
        where=ABSTRACT,
        chapter=chapter,
        parameters=parameters or f"fpt book --chapter {chapter}",
    )


def _set(chapter: str, **values: float) -> str:
    """The command that executes a chapter with these parameters."""
    return f"fpt book --chapter {chapter} " + " ".join(f"--set {name}={value:g}" for name, value in values.items())
