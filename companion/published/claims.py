"""The table of claims (``claims.yml``), the cases it is held against, and how a page shows the result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pandas.io.formats.style import Styler

from companion.published.datasets import MAIN, SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import JUDGES, Case, Judgement, spell, verdict
from companion.published.table import LISTED_PERIODS, LISTS, VALUES, ends, study, times, values
from fptlib.errors import InputError
from fptlib.study import Key, Study
from fptlib.trajectories import Trajectories

CLAIMS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("claims.yml").read_text())
PERTURBATIONS = {"shrink_perturb": "shrink and perturb", "partial_reset": "partial reset"}
_ABOUT = ("id", "claim", "where", "chapter", "accepted", "judge", "kinds", "note")


def judge(cases: Iterable[Case]) -> pd.DataFrame:
    """Hold every claim against the cases of its kinds; a claim of no kind cannot be tested on anything.

    Columns are ``id, claim, where, chapter, accepted, case, title, words, verdict, measure, score, ours, note``; a score is an `Estimate`.
    """
    lines, cases = [], list(cases)
    for row in CLAIMS:
        options = {name: value for name, value in row.items() if name not in _ABOUT}
        for case in [case for case in cases if set(case.kinds) & set(row["kinds"])] if row["kinds"] else [None]:
            try:
                result = Judgement(note=row["note"]) if case is None else JUDGES[row["judge"]](case, **options)
            except InputError as error:
                result = Judgement(note=str(error))
            line = {name: row[name] for name in _ABOUT[:5]} | {"case": getattr(case, "name", "")}
            line |= {name: getattr(case, name, "") for name in ("title", "words")}
            lines.append({**line, "verdict": verdict(result.score, row["accepted"]), **result._asdict()})
    return pd.DataFrame(lines)


def show(claims: pd.DataFrame, *, full: bool = False) -> Styler:
    """Show each claim once, with its cases, their verdicts and what decides; in full also its origin and all numbers."""
    lines = []
    for claim, part in claims.groupby("claim", sort=False):
        line, cases = part.iloc[0], []
        for each in part.itertuples():
            numbers = (each.measure, each.ours, each.note) if full else ()
            small = "".join(f"<br><small>{text}</small>" for text in numbers if text)
            score = spell(each.score, 2) if each.measure else ""
            cases.append(f"{each.title or 'no data'}; {each.words}: <b>{each.verdict}</b> {score}{small}")
        low, high = line["accepted"]
        about = f"{line['where']}; accepted {low:g} to {high:g}; {line['chapter']}" if full else part["measure"].max()
        lines.append({"claim": f"{claim}<br><small>{about}</small>", "cases": "<br>".join(cases)})
    wrap = {"white-space": "normal", "overflow-wrap": "break-word", "vertical-align": "top"}
    return pd.DataFrame(lines).style.hide(axis="index").set_properties(**wrap)


def published_cases(
    thresholds: Iterable[float] = (72.0, 74.0), *, period: int = 50, reached: float = 0.5
) -> list[Case]:
    """Return the cases of the published data.

    ``thresholds``, in per cent, and ``period``, from which is predicted, are those of the main text. Predictions are also tested where no
    unperturbed run arrives, at 76 and 80 %, and on the authors' lists. Of the supplementary sets the share ``reached``, one of `SHARES`,
    of the unperturbed runs reaches the threshold.
    """
    main, cases = partial(_published, MAIN, period=period), []
    for i, threshold in enumerate(thresholds):
        cases.append(main(("set", "two", *(["ends"] if i == 0 else [])), list(PERTURBATIONS), threshold))
        cases += [main(("one",), [name], threshold) for name in PERTURBATIONS]
    beyond = [("shrink_perturb", 76.0), ("partial_reset", 76.0), ("shrink_perturb", 80.0)]
    cases += [main(("far",), [name], threshold) for name, threshold in beyond]
    cases.append(main(("far",), ["partial_reset"], 72.0, lists=True))
    for name, known in ((name, dataset(name)) for name in SUPPLEMENTARY):
        threshold = known.thresholds[SHARES.index(reached)]
        cases.append(_published(name, ("set", "one", "ends"), list(known.periods), threshold, period=known.source))
    return cases


def _published(
    data: str, kinds: tuple[str, ...], names: list[str], threshold: float, *, period: int, lists: bool = False
) -> Case:
    known, sources = dataset(data), [(name, period) for name in names]
    evidence = study(data, threshold=threshold, perturbations=names, keys=sources if lists else None)
    if lists:
        listed = {(names[0], p): times(threshold, names[0], p, data=LISTS) for p in LISTED_PERIODS}
        evidence = Study(evidence.unperturbed, evidence.perturbed | listed, evidence.target)
    at = f"{threshold:g}{' %' if known.unit == 'per cent' else ''}, P0 = {period}{', measured in the lists' if lists else ''}"
    return Case(
        name=f"{data}{'_lists' if lists else ''}-{'-'.join(names)}-{threshold:g}-{period}",
        kinds=kinds,
        title=known.title,
        words=f"{' or '.join(PERTURBATIONS[name] for name in names)} to {at}",
        study=evidence,
        sources=tuple(key for key in sources if key in evidence.perturbed),
        values=values(data),
        best=ends(data=data) if "ends" in kinds else {},
    )


def own_case(
    name: str, title: str, evidence: Study, sources: Iterable[Key], *, kinds: tuple[str, ...] = ("set", "one")
) -> Case:
    """Return the case of a study of your own training runs, with predictions from some of its ensembles."""
    sources, runs, target = tuple(sources), evidence.unperturbed, evidence.target
    if not isinstance(runs, Trajectories):
        raise InputError(f"{name}: a case needs the metric of its unperturbed runs")
    epochs = [epoch for epoch in VALUES if epoch <= evidence.horizon]
    metric = pd.DataFrame(runs.metric(target.metric)[:, [epoch - 1 for epoch in epochs]], columns=epochs)
    names = [key[0].replace("_", " ") for key in sources]
    words = " or ".join(names) if len(names) < 3 else f"{len(names)} perturbations"
    words = f"{words} to {target.threshold:g}, P0 = {sources[0][1]}"
    return Case(name=name, kinds=kinds, title=title, words=words, study=evidence, sources=sources, values=metric)
