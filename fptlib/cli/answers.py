"""Predictions, recommendations, plans and searches as the command line prints them: for people, and as JSON.

The commands import this module when they run, because tables need pandas.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fptlib import tables
from fptlib.cli.output import print_json, print_table
from fptlib.errors import InputError
from fptlib.former import Distribution, Outcome, Plan, Recommendation, Response
from fptlib.former.plan import Requirement
from fptlib.qss import QuasiSteadyState
from fptlib.tables import spelled

if TYPE_CHECKING:
    from fptlib.optimise.result import Outcome as Search

_INTERVAL = ("mean", "low", "high")


# -- JSON


def response_json(answer: Response, fates: Iterable[Distribution] | None = None) -> dict[str, Any]:
    """Return everything a prediction says as JSON types."""
    content = {
        **_unperturbed_json(answer),
        "residual": {
            "period": answer.period,
            "n_survivors": answer.residual.n_runs,
            **_picked(answer.residual, "n_censored", *_INTERVAL),
        },
        "predictions": [
            {
                **_picked(p, "period", "form", *_INTERVAL, "valid"),
                "status": p.verdict.status.value,
                "reason": f"{p.verdict.status.value}: {p.reason}",
            }
            for p in answer.predictions
        ],
        "best": _best_json(answer, "period"),
    }
    if fates is not None:
        content["distributions"] = [
            {
                "period": d.prediction.period,
                "quantiles": [_picked(q, "share", "epoch", "low", "high") for q in d.quantiles],
                "success": [{"budget": s.budget, **_picked(s.probability, *_INTERVAL)} for s in d.successes],
            }
            for d in fates
        ]
    return content


def recommendation_json(answer: Recommendation) -> dict[str, Any]:
    """Return a recommendation as JSON types."""
    return {
        "ranking": [
            {
                **_picked(o, "perturbation", "period", *_INTERVAL, "valid"),
                "status": o.prediction.verdict.status.value,
                "reason": o.reason,
                "form": o.prediction.form,
                "measured_period": o.source,
                "speedup": _picked(o.speedup, *_INTERVAL),
                "best_in": o.best_in,
            }
            for o in answer.ranking
        ],
        "advice": answer.advice,
        **_unperturbed_json(answer),
        "best": _best_json(answer, "perturbation", "period"),
    }


def state_json(state: QuasiSteadyState) -> dict[str, Any]:
    """Return a verdict on the quasi-steady state as JSON types."""
    return {"reached": bool(state.reached), **_picked(state, "relaxation_epoch"), "reasons": list(state.reasons)}


def search_json(result: Search) -> dict[str, Any]:
    """Return what a search found and did as JSON types."""
    best = result.best
    return {
        **_picked(result, "threshold", "horizon"),
        "best": None
        if best is None
        else {
            "perturbation": None if best.candidate is None else best.candidate.label,
            "period": best.period,
            **_picked(best.estimate, *_INTERVAL, "n_runs", "n_censored"),
            "basis": best.basis,
        },
        "candidates": [asdict(standing) for standing in result.standings],
        "steps": [asdict(step) for step in result.steps],
        **_picked(result, "stopped", "decided", "inside", "relaxation_epoch"),
        "measured_first_at": result.fork_period,
        "unperturbed": _picked(result.unperturbed, "n_runs", *_INTERVAL),
        **_picked(result, "spent", "spent_unperturbed"),
    }


def print_answers(answers: Mapping[float, dict[str, Any] | str], outcomes: Mapping[str, Outcome | str]) -> None:
    """Print answers, or reasons why there is none, and the final and best metrics as one JSON object.

    One threshold gives its answer itself, several a list of them under ``answers``.
    """
    listed = [
        {"threshold": x, **({"error": answer} if isinstance(answer, str) else answer)} for x, answer in answers.items()
    ]
    ends = [
        {"runs": name, "error": end}
        if isinstance(end, str)
        else {
            "runs": name,
            "n_runs": end.final.n_runs,
            "horizon": end.horizon,
            "final": _picked(end.final, *_INTERVAL),
            "best": _picked(end.best, *_INTERVAL),
        }
        for name, end in outcomes.items()
    ]
    print_json({**(listed[0] if len(listed) == 1 else {"answers": listed}), "outcomes": ends})


def _picked(record: object, *names: str) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}


def _unperturbed_json(answer: Response | Recommendation) -> dict[str, Any]:
    plain = answer.unperturbed
    return {
        "unperturbed": {
            **_picked(plain, "n_runs", "n_censored"),
            "horizon": answer.horizon,
            "restricted_mean": _picked(plain, *_INTERVAL),
        },
        "qss": state_json(answer.quasi_steady_state),
    }


def _best_json(answer: Response | Recommendation, *names: str) -> dict[str, Any] | None:
    if answer.best is None:
        return None
    return {**_picked(answer.best, *names, *_INTERVAL), "speedup_at_least": answer.speedup_at_least}


# -- words


def print_qss(state: QuasiSteadyState) -> None:
    """Print a verdict on the quasi-steady state and the distances that it rests on."""
    _print_state(state, note=f"  ({state.n_runs} runs)")
    print_table(
        [
            {"epoch": t, "survivors": n, "distance": f"{d:.2f}", "at epoch": a, "p": f"{p:.3f}"}
            for t, n, d, a, p in zip(
                state.epoch, state.n_survivors, state.distance, state.at, state.p_value, strict=True
            )
        ]
    )


def print_heading(threshold: float, answers: Mapping[float, Any]) -> None:
    """Name the threshold where there are several."""
    if len(answers) > 1:
        print(f"{'' if threshold == next(iter(answers)) else chr(10)}threshold {threshold:g}")


def print_response(answer: Response) -> None:
    """Print everything a prediction says."""
    _print_unperturbed(answer)
    residual = answer.residual
    print(
        f"residual time after epoch {answer.period}: {spelled(residual)} epochs, {residual.n_runs} survivors, "
        f"{residual.n_censored} censored"
    )
    _print_state(answer.quasi_steady_state)
    print_table(
        [
            {
                **_picked(p, "period", "form"),
                "mean": f"{p.mean:.2f}",
                f"{100 * answer.level:g} % interval": f"{p.low:.2f} to {p.high:.2f}",
                "status": p.verdict.status.value,
                "reason": p.reason,
            }
            for p in answer.predictions
        ]
    )
    best, factor = answer.best, answer.speedup_at_least
    if best is None or factor is None:
        print("no prediction is valid: measure at another period, with more runs, or at another threshold")
        return
    shortest = min(p.period for p in answer.predictions if p.valid)
    edge = " (the shortest valid period tried: a shorter one may be better)" if best.period == shortest else ""
    print(f"best valid period: {best.period}{edge}, {spelled(best)} epochs")
    if factor > 1:
        print(f"mean up to epoch {answer.horizon} at least {factor:.2f} times smaller than without perturbation")
    else:
        print("no valid period is shown to beat training without perturbation")


def print_fates(fates: Sequence[Distribution]) -> None:
    """Print quantiles, and the probability to pass within a budget, by period."""

    def epoch(at: int | None, horizon: int) -> str:
        return f"beyond {horizon}" if at is None else str(at)

    rows: list[dict[str, object]] = []
    for d in fates:
        end = int(d.epoch[-1])
        by = {
            f"{q.share:.0%} passed by": f"{epoch(q.epoch, end)} ({q.low} to {epoch(q.high, end)})" for q in d.quantiles
        }
        within = {f"passed within {s.budget}": spelled(s.probability, "{:.0%}") for s in d.successes}
        rows.append({"period": d.prediction.period, **by, **within})
    print_table(rows)


def print_speedups(responses: Mapping[float, Response | str]) -> None:
    """Print the best valid prediction at each threshold, where there are several thresholds."""
    if len(responses) > 1:
        print()
        print_table(
            [
                {
                    "threshold": f"{best.threshold:g}",
                    "best valid period": best.period,
                    "mean": spelled(best),
                    "speed-up (lower bound)": f"{best.speedup_low:.2f}",
                }
                for best in tables.speedup_table(responses).itertuples()
            ]
        )


def print_recommendation(answer: Recommendation) -> None:
    """Print a recommendation."""
    _print_unperturbed(answer)
    print(f"quasi-steady state: {tables.state_words(answer.quasi_steady_state)}")
    best, rows = answer.best, tables.ranking_words(answer)
    shown = [row for row, o in zip(rows, answer.ranking, strict=True) if o.valid or best is None or o.mean < best.mean]
    print_table(shown)
    if len(shown) < len(rows):
        print(f"({len(rows) - len(shown)} more, neither valid nor better than the best; --json lists them)")
    for sentence in answer.sentences:
        print(f"- {sentence}")


def print_outcomes(outcomes: Mapping[str, Outcome | str]) -> None:
    """Print the final and best metric of each ensemble: whether faster is also better."""
    if rows := tables.outcome_words(outcomes):
        horizon = next(end.horizon for end in outcomes.values() if not isinstance(end, str))
        print(f"\nmetric at epoch {horizon}, and the best of each run up to there (means over runs)")
        print_table(rows)
    for name, end in outcomes.items():
        if isinstance(end, str):
            print(f"{name}: {end}")


def print_plan(answer: Plan) -> None:
    """Print the numbers of runs that a wanted interval needs."""
    print(
        f"for {100 * answer.level:g} % intervals as wide as {100 * answer.relative_width:g} % of the mean, from runs perturbed every "
        f"{answer.period} epochs, up to epoch {answer.horizon}"
    )
    heads: list[dict[str, object]] = [
        {
            "period": r.period,
            "form": r.form,
            "mean": f"{r.mean:.2f}",
            "width in the pilot": f"{100 * r.pilot_width / r.mean:.0f} %",
        }
        for r in answer.requirements
    ]
    heads.append({**dict.fromkeys(heads[0], ""), "period": "all"})
    parts: list[Requirement | Plan] = [*answer.requirements, answer]
    sizes = [(part.expected, part.cautious) for part in parts]
    print_table(
        [
            {**head, "needs": needs, **asdict(size)}
            for head, pair in zip(heads, sizes, strict=True)
            for needs, size in zip(("expected", "cautious"), pair, strict=True)
        ]
    )
    print("cautious: enough for nine in ten replicates of the pilot")
    for note in answer.notes:
        print(f"- {note}")


def print_search(result: Search) -> None:
    """Print what a search found and did."""
    print_table(
        [
            {
                "run-epochs": step.spent,
                "step": step.what,
                "best so far": None if step.mean is None else step.candidate or "no perturbation",
                "period": step.period,
                "mean": None if step.mean is None else f"{step.mean:.1f}",
            }
            for step in result.steps
        ]
    )
    print()
    print_table(
        [
            {
                "candidate": s.label,
                "best period": s.period,
                "mean": None if s.period is None else spelled(s),
                "measured at": ", ".join(map(str, s.measured)) or None,
                "status": s.status,
                "run-epochs": s.spent,
            }
            for s in result.standings
        ]
    )
    print()
    print(result.words())
    print(f"spent: {result.spent} run-epochs, {result.spent_unperturbed} of them before any perturbation")
    if result.best is not None and not result.inside:
        print("the chosen period lies at an edge of those allowed: the minimum may lie beyond")
    if result.relaxation_epoch is None:
        print(
            "unperturbed training reached no quasi-steady state, so predictions were given little weight and periods were measured"
        )


def warn(sentences: Iterable[str], threshold: float, answers: Mapping[float, Any]) -> None:
    """Print warnings on stderr, so that they do not get into what a script reads."""
    where = f"threshold {threshold:g}: " if len(answers) > 1 else ""
    for sentence in sentences:
        print(f"warning: {where}{sentence}", file=sys.stderr)


def draw(path: Path, responses: Mapping[float, Response | str]) -> None:
    """Write the chart of one response, or of the speed-up against the threshold where there are several."""
    from fptlib import charts, report

    known = {x: answer for x, answer in responses.items() if not isinstance(answer, str)}
    if len(responses) > 1:
        table = tables.speedup_table(known)
        if table.empty:
            raise InputError("no prediction is valid at any of the thresholds: there is no speed-up to draw")
        chart = charts.speedup(table)
    else:
        (answer,) = known.values()
        chart = charts.response(
            tables.response_table(answer), period=answer.period, unperturbed=answer.unperturbed.mean
        )
    report.save(path, chart)
    print(f"chart: {path}", file=sys.stderr)


def _print_unperturbed(answer: Response | Recommendation) -> None:
    mean = answer.unperturbed
    print(f"unperturbed: {spelled(mean)} epochs up to {answer.horizon}, {mean.n_runs} runs, {mean.n_censored} censored")


def _print_state(state: QuasiSteadyState, *, note: str = "") -> None:
    print(f"quasi-steady state: {tables.state_words(state)}{note}")
    for reason in state.reasons:
        print(f"  - {reason}")
