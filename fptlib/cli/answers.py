"""Answers of the analysis as the command line prints them: the advice first, then a short table; and as JSON.

Nothing here needs pandas; the commands import it when they run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fptlib import tables
from fptlib.cli.output import print_json, print_table
from fptlib.qss import QuasiSteadyState
from fptlib.record import plain
from fptlib.response import Distribution, Ranking, SampleSize, distributions, final_metrics
from fptlib.study import Study

if TYPE_CHECKING:
    from fptlib.search.result import SearchResult


class Answer(NamedTuple):
    """A ranking with the study that it was made of, and where budgets were asked for, the distribution behind each prediction."""

    study: Study
    ranking: Ranking
    fates: tuple[Distribution, ...] = ()


Answers = Mapping[float, Answer | str]  # threshold to its answer, or to the reason why there is none
_INTERVAL = ("mean", "low", "high")
_ENSEMBLES, _NOTES = 3, 4  # whose final metrics are printed, and notes, so that an answer has at most 30 lines


# -- JSON


def answer(study: Study, ranking: Ranking, budgets: Sequence[int] | None) -> Answer:
    """Return a ranking with what was asked for beside it."""
    return Answer(study, ranking, () if budgets is None else distributions(study, ranking, budgets=budgets))


def _print_answers(answers: Answers, *, single: bool) -> None:
    """Print rankings, or reasons why there is none, as one JSON object: that of one threshold, or a list under ``answers``."""
    listed = [
        {"threshold": x, "error": each} if isinstance(each, str) else _content(each, single=single)
        for x, each in answers.items()
    ]
    print_json(listed[0] if len(listed) == 1 else {"answers": listed})


def _content(answer: Answer, *, single: bool) -> dict[str, Any]:
    content = _of_one(answer.study, answer.ranking) if single else answer.ranking.to_dict()
    if answer.fates:
        content["distributions"] = [_fate_json(fate) for fate in answer.fates]
    return content | {"final_metrics": plain(final_metrics(answer.study))}


def _of_one(study: Study, answer: Ranking) -> dict[str, Any]:
    """Return the predictions for one perturbation under the keys of `fpt predict`."""
    content = answer.to_dict()
    key = next(iter(study.perturbed))
    residual = study.residual(key)
    best, following = content["choice"], content["next"]
    return {
        **{name: content[name] for name in ("threshold", "unperturbed", "qss")},
        "residual": {"period": key[1], "n_survivors": residual.n_runs, **_picked(residual, "n_censored", *_INTERVAL)},
        "predictions": [{k: v for k, v in entry.items() if k != "perturbation"} for entry in content["ranking"]],
        "best": None if best["period"] is None else {k: best[k] for k in ("period", *_INTERVAL, "grade", "speedup")},
        "next_period": following and following["period"],
        **{name: content[name] for name in ("advice", "notes")},
    }


def _fate_json(fate: Distribution) -> dict[str, Any]:
    return {
        **_picked(fate.prediction, "perturbation", "period"),
        "quantiles": plain(fate.quantiles),
        "success": [{"budget": s.budget, **_picked(s.probability, *_INTERVAL)} for s in fate.successes],
    }


def _picked(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


# -- words


def show(answers: Answers, *, as_json: bool, single: bool = False, everything: bool = False) -> None:
    """Print rankings in words, each under its threshold where there are several, or as JSON (``single``: the keys of `fpt predict`)."""
    if as_json:
        _print_answers(answers, single=single)
        return
    for number, (threshold, each) in enumerate(answers.items()):
        if len(answers) > 1:
            print(f"{chr(10) if number else ''}threshold {threshold:g}")
        if isinstance(each, str):
            print(each)
        elif len(answers) > 1 and not everything:
            print(*each.ranking.advice, sep="\n")
        else:
            _show(*each, everything=everything)
    if len(answers) > 1 and not everything:
        print("\n(tables with --all)")


def _show(study: Study, ranking: Ranking, fates: Sequence[Distribution], *, everything: bool) -> None:
    print(*ranking.advice, sep="\n", end="\n\n")
    shown = tables.shortlist(ranking, most=None if everything else tables.MOST_ROWS)
    rows = tables.in_words(ranking, shown)
    if fates:
        cells = {id(fate.prediction): _fate(fate) for fate in fates}
        rows = [{**row, **cells[id(p)], "": row.pop("")} for row, p in zip(rows, shown, strict=True)]
    print_table(rows)
    if len(shown) < len(ranking.predictions):
        print(f"({len(ranking.predictions) - len(shown)} more with --all)")
    print()
    state = ranking.qss
    if state is not None:
        print(f"quasi-steady state: {tables.verdict(state)}" + "".join(f"\n- {r}" for r in state.reasons if everything))
    metrics = final_metrics(study)
    print(*(f"{line}\n" for line in tables.compared(metrics)), sep="", end="")
    print_table(tables.metric_rows(metrics)[: None if everything else _ENSEMBLES])
    notes = [
        *(f"final metric: {line}" for line in tables.unknown(metrics)),
        *(f"note: {line}" for line in tables.doubts(ranking)),
    ]
    print(*notes[: None if everything else _NOTES], sep="\n", end="\n" if notes else "")
    if not everything and len(notes) > _NOTES:
        print(f"({len(notes) - _NOTES} more notes with --all)")


def _fate(fate: Distribution) -> dict[str, str]:
    """Return quantiles, and the probability to pass within a budget, as cells of a row."""
    end = int(fate.epoch[-1])

    def epoch(at: int | None) -> str:
        return f"beyond {end}" if at is None else str(at)

    by = {f"{q.share:.0%} by": f"{epoch(q.epoch)} ({q.low} to {epoch(q.high)})" for q in fate.quantiles}
    shares = {s.budget: s.probability for s in fate.successes}
    return by | {f"within {b}": f"{p.mean:.0%} ({p.low:.0%} to {p.high:.0%})" for b, p in shares.items()}


def print_qss(state: QuasiSteadyState, *, everything: bool = False) -> None:
    """Print whether a quasi-steady state is reached, why, and the distances that this rests on: those that it names, and a dozen or all."""
    print(f"quasi-steady state: {tables.verdict(state)}  ({state.n_runs} runs)", *state.reasons, sep="\n- ")
    print(tables.drop(state))
    names = {"epoch": "epoch", "n_survivors": "survivors", "distance": "distance", "at": "at epoch", "p_value": "p"}
    rows = [{**row, "distance": f"{row['distance']:.2f}", "p_value": f"{row['p_value']:.3f}"} for row in state.rows()]
    step = 1 if everything else max(1, -(-len(rows) // tables.MOST_ROWS))
    named = {int(epoch) for reason in state.reasons for epoch in re.findall(r"(?:epochs?|and) (\d+)", reason)}
    shown = [row for i, row in enumerate(rows[::-1]) if i % step == 0 or row["epoch"] in named][::-1]
    print_table([{column: row[name] for name, column in names.items()} for row in shown])
    if len(shown) < len(rows):
        print(f"({len(rows) - len(shown)} more with --all)")


def draw(path: Path, answers: Answers) -> None:
    """Write the chart of one answer, or of the speed-up against the threshold where there are several."""
    from fptlib import charts, report

    rankings = {x: each if isinstance(each, str) else each.ranking for x, each in answers.items()}
    first = next(each for each in rankings.values() if isinstance(each, Ranking))
    mean = first.unperturbed.mean
    chart = charts.speedup(rankings) if len(answers) > 1 else charts.response(first.to_frame(), unperturbed=mean)
    report.save(path, chart)
    print(f"chart: {path}", file=sys.stderr)


def print_plan(size: SampleSize) -> None:
    """Print the numbers of runs that a wanted interval needs."""
    print(*size.advice, sep="\n", end="\n\n")
    rows: list[dict[str, object]] = []
    for r in size.requirements:
        pairs = zip(r.expected.to_dict().items(), r.cautious.to_dict().values(), strict=True)
        needs = {name.replace("_", "-"): f"{expected} ({cautious})" for (name, expected), cautious in pairs}
        head = {
            "period": r.period,
            "epochs": f"{r.mean:.1f}",
            "width in the pilot": f"{r.width:.0%}",
            "then known": r.grade,
        }
        rows.append(head | needs)
    print_table(rows[: tables.MOST_ROWS])
    if len(rows) > tables.MOST_ROWS:
        print(f"({len(rows) - tables.MOST_ROWS} more with --json)")
    print("in brackets: enough for nine in ten pilots like this one")


def print_search(result: SearchResult, *, everything: bool = False) -> None:
    """Print the result of a search: what to do, how each candidate came out, what was measured or predicted, and with all the steps."""
    print(*result.advice, sep="\n", end="\n\n")
    last = ("measured", "status", "spent")
    print_table([_mean(row, "candidate", "period") | {name: row[name] for name in last} for row in result.rows()])
    print()
    cells = [_mean(p.to_dict(), "perturbation", "period") for p in result.cells]
    print_table(cells[: None if everything else tables.MOST_ROWS])
    if everything:
        print()
        print_table([{"run-epochs": step.spent, "step": step.what} for step in result.steps])


def _mean(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Return some entries of a row, then its mean with the interval and its grade in words."""
    mean = None if row["mean"] is None else f"{row['mean']:.1f}"
    ends = None if row["low"] is None else f"{row['low']:.1f} to {row['high']:.1f}"
    return {**{name: row[name] for name in names}, "epochs": mean, "interval": ends, "known": row["grade"]}
