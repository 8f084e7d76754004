"""The table of claims (``claims.yml``) and the cases it is held against."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from companion.published.datasets import MAIN, SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import JUDGES, Case, Judgement, verdict
from companion.published.table import LISTED_PERIODS, LISTS, VALUES, ends, study, times, values
from fptlib.errors import InputError
from fptlib.study import Key, Study
from fptlib.trajectories import Trajectories

CLAIMS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("claims.yml").read_text())
PERTURBATIONS = {"shrink_perturb": "shrink and perturb", "partial_reset": "partial reset"}
_ABOUT = ("id", "claim", "where", "chapter", "accepted", "judge", "kinds", "note")


def judge(cases: Iterable[Case]) -> pd.DataFrame:
    """Hold every claim against the cases of its kinds; a claim of no kind cannot be tested on anything.

    Returns
    -------
    DataFrame
        Columns ``id, case, title, words, claim, where, chapter, accepted, verdict, measure, score, low, high, ours, note``.
    """
    lines, cases = [], list(cases)
    for row in CLAIMS:
        options = {name: value for name, value in row.items() if name not in _ABOUT}
        for case in [case for case in cases if set(case.kinds) & set(row["kinds"])] if row["kinds"] else [None]:
            try:
                result = Judgement(note=row["note"]) if case is None else JUDGES[row["judge"]](case, **options)
            except InputError as error:
                result = Judgement(note=str(error))
            line = {"id": row["id"], **{name: getattr(case, name, "") for name in ("title", "words")}}
            line |= {"case": getattr(case, "name", ""), **{name: row[name] for name in _ABOUT[1:5]}}
            line |= {"verdict": verdict(result.score, row["accepted"]), **result._asdict()}
            lines.append({**line, "score": result.score.mean, "low": result.score.low, "high": result.score.high})
    return pd.DataFrame(lines)


def cells(cases: Iterable[Case]) -> pd.DataFrame:
    """Collect predictions beside measurements of the cases of one perturbation: columns of `fptlib.response.Comparison` and ``row``."""
    parts = []
    for case in cases:
        if {"one", "far"} & set(case.kinds):
            with contextlib.suppress(InputError):  # no run of the source passes
                parts.append(case.comparison.to_frame().assign(row=case.row))
    return pd.concat(parts, ignore_index=True)


def published_cases(
    thresholds: Iterable[float] = (72.0, 74.0), *, period: int = 50, reached: float = 0.5
) -> list[Case]:
    """Return the cases of the published data.

    Parameters
    ----------
    thresholds, period
        Of the main text: accuracies in per cent, and the period that predicts. Predictions are also tested at 76 and 80 %, which no
        unperturbed run reaches, and on the authors' lists of first-passage times.
    reached
        Share of the unperturbed runs that reach the threshold of the supplementary sets: one of `SHARES`.
    """
    main, cases = partial(_published, MAIN, period=period), []
    for i, threshold in enumerate(thresholds):
        cases.append(main(("set", "two", *(["ends"] if i == 0 else [])), list(PERTURBATIONS), threshold))
        cases += [main(("one",), [name], threshold) for name in PERTURBATIONS]
    cases += [main(("far",), [name], threshold) for threshold in (76.0, 80.0) for name in PERTURBATIONS]
    cases.append(main(("far",), ["partial_reset"], 72.0, lists=True))
    for data in SUPPLEMENTARY:
        known = dataset(data)
        threshold = known.thresholds[SHARES.index(reached)]
        cases.append(_published(data, ("set", "one", "ends"), list(known.periods), threshold, period=known.source))
    return cases


def _published(
    data: str, kinds: tuple[str, ...], names: list[str], threshold: float, *, period: int, lists: bool = False
) -> Case:
    known, sources = dataset(data), [(name, period) for name in names]
    keys = sources if lists else [key for key in known.keys if key[0] in names]
    evidence = study(data, threshold=threshold, keys=keys)
    if lists:
        listed = {(names[0], p): times(threshold, names[0], p, data=LISTS) for p in LISTED_PERIODS}
        evidence = Study(evidence.unperturbed, evidence.perturbed | listed, evidence.target)
    at = f"to {threshold:g} {known.sign}".rstrip() + f", P0 = {period}" + (", measured in the lists" if lists else "")
    return Case(
        name=f"{data}{'_lists' if lists else ''}-{'-'.join(names)}-{threshold:g}-{period}",
        kinds=kinds,
        title=known.title,
        words=f"{' or '.join(PERTURBATIONS[name] for name in names)} {at}",
        study=evidence,
        sources=tuple(key for key in sources if key in evidence.perturbed),
        values=values(data) if "set" in kinds else None,
        best=ends(data=data) if "ends" in kinds else {},
    )


def own_case(
    name: str, title: str, evidence: Study, sources: Iterable[Key], *, kinds: tuple[str, ...] = ("set", "one")
) -> Case:
    """Return the case of a study of your own training runs, with predictions from some of its ensembles."""
    sources, runs, metric = tuple(sources), evidence.unperturbed, None
    if isinstance(runs, Trajectories):
        epochs = [epoch for epoch in VALUES if epoch <= evidence.horizon]
        metric = pd.DataFrame(runs.metric(evidence.target.metric)[:, [epoch - 1 for epoch in epochs]], columns=epochs)
    names = [PERTURBATIONS.get(key[0], key[0].replace("_", " ")) for key in sources]
    words = " or ".join(names) if len(names) < 3 else f"{len(names)} perturbations"
    return Case(
        name=name,
        kinds=kinds,
        title=title,
        words=f"{words} to {evidence.target.threshold:g}, P0 = {sources[0][1]}",
        study=evidence,
        sources=sources,
        values=metric,
    )
