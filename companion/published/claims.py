"""The table of claims (``claims.yml``), the cases it is held against, and how a page shows the result."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from companion import spoken
from companion.published.datasets import MAIN, SHARES, SUPPLEMENTARY, dataset
from companion.published.judges import JUDGES, Case, Judgement, verdict
from companion.published.table import LISTED_PERIODS, LISTS, VALUES, ends, study, times, values
from fptlib.errors import InputError
from fptlib.study import Key, Study
from fptlib.trajectories import Trajectories

CLAIMS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("claims.yml").read_text())
PERTURBATIONS = ("shrink_perturb", "partial_reset")
_ABOUT = ("id", "short", "claim", "where", "chapter", "accepted", "authors", "judge", "kinds", "note")
_OURS = {"reproduces": "holds", "does not reproduce": "does not hold"}  # words for what the authors do not say


def judge(cases: Iterable[Case]) -> pd.DataFrame:
    """Test every claim on the cases of its kinds; a claim without kinds cannot be tested.

    Columns are ``id, short, claim, where, chapter, said, case, title, label, words, verdict, measure, score, ours, note``, where
    ``said`` is whether the authors say so of this data set, and a score is an `Estimate`.
    """
    lines, cases = [], list(cases)
    for row in CLAIMS:
        options = {name: value for name, value in row.items() if name not in _ABOUT}
        for case in [case for case in cases if set(case.kinds) & set(row["kinds"])] if row["kinds"] else [None]:
            try:
                result = Judgement(note=row["note"]) if case is None else JUDGES[row["judge"]](case, **options)
            except InputError as error:
                result = Judgement(note=str(error))
            by_authors = getattr(case, "data", "") in row.get("authors", ())
            outcome = verdict(result.score, row["accepted"])
            outcome = outcome if by_authors else _OURS.get(outcome, outcome)
            line = {name: row[name] for name in _ABOUT[:5]} | {"said": by_authors, "case": getattr(case, "name", "")}
            line |= {name: getattr(case, name, "") for name in ("title", "label", "words")}
            lines.append({**line, "verdict": outcome, **result._asdict()})
    return pd.DataFrame(lines)


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
        cases.append(main(("set", "two", *(["ends"] if i == 0 else [])), [*PERTURBATIONS], threshold))
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
    to = f"{threshold:g}{' %' if known.unit == 'per cent' else ''}"
    kind = names[0].split("_")[0] if kinds[0] in ("one", "far") else ""  # of the main text alone
    return Case(
        name=f"{data}{'_lists' if lists else ''}-{'-'.join(names)}-{threshold:g}-{period}",
        kinds=kinds,
        data=data,
        title=known.title,
        label=f"{known.short}, {to}{f': {kind}' if kind else ''}{', lists' if lists else ''}",
        words=f"{' or '.join(map(spoken, names))} to {to}, P0 = {period}{', measured in the lists' if lists else ''}",
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
    names = [spoken(key[0]) for key in sources]
    words = " or ".join(names) if len(names) < 3 else f"{len(names)} perturbations"
    words = f"{words} to {target.threshold:g}, P0 = {sources[0][1]}"
    label = title if "set" in kinds else f"{title}: {sources[0][0].split('_')[0]}"
    return Case(
        name=name, kinds=kinds, title=title, label=label, words=words, study=evidence, sources=sources, values=metric
    )
