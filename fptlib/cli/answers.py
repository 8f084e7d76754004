"""Predictions, recommendations and plans as the command line prints them: for people, and as JSON."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fptlib.cli.output import interval, interval_json, print_json, print_table, state_json, state_words


def response_json(response: Any, fates: Iterable[Any] | None = None) -> dict[str, Any]:
    """Everything a prediction says as JSON types."""
    best = response.best
    content = {
        "unperturbed": {
            "n_runs": response.unperturbed.n_runs,
            "n_censored": response.unperturbed.n_censored,
            "horizon": response.horizon,
            "restricted_mean": interval_json(response.unperturbed),
        },
        "qss": state_json(response.quasi_steady_state),
        "residual": {
            "period": response.period,
            "n_survivors": response.residual.n_runs,
            "n_censored": response.residual.n_censored,
            **interval_json(response.residual),
        },
        "predictions": [
            {
                "period": p.period,
                "form": p.form,
                **interval_json(p),
                "valid": p.valid,
                "status": p.verdict.status.value,
                "reason": reason(p),
            }
            for p in response.predictions
        ],
        "best": None
        if best is None
        else {"period": best.period, **interval_json(best), "speedup_at_least": response.speedup_at_least},
    }
    if fates is not None:
        content["distributions"] = [
            {
                "period": d.prediction.period,
                "quantiles": [{"share": q.share, "epoch": q.epoch, "low": q.low, "high": q.high} for q in d.quantiles],
                "success": [{"budget": s.budget, **interval_json(s.probability)} for s in d.successes],
            }
            for d in fates
        ]
    return content


def recommendation_json(answer: Any) -> dict[str, Any]:
    """A recommendation as JSON types."""
    plain = answer.unperturbed
    return {
        "ranking": [
            {
                "perturbation": o.perturbation,
                "period": o.period,
                **interval_json(o),
                "valid": o.valid,
                "status": o.prediction.verdict.status.value,
                "reason": o.reason,
                "form": o.prediction.form,
                "measured_period": o.source,
                "speedup": interval_json(o.speedup),
                "best_in": o.best_in,
            }
            for o in answer.ranking
        ],
        "advice": answer.advice,
        "unperturbed": {
            "n_runs": plain.n_runs,
            "n_censored": plain.n_censored,
            "horizon": answer.horizon,
            "restricted_mean": interval_json(plain),
        },
        "qss": state_json(answer.quasi_steady_state),
        "best": None
        if answer.best is None
        else {
            "perturbation": answer.best.perturbation,
            "period": answer.best.period,
            **interval_json(answer.best),
            "speedup_at_least": answer.speedup_at_least,
        },
    }


def print_answers(answers: Mapping[float, Any], outcomes: Mapping[str, Any]) -> None:
    """Answers, as JSON types or a reason why there is none, and the final and best metrics: one object.

    One threshold gives its answer itself, several a list of them under ``answers``.
    """
    told = [
        {"threshold": x, **({"error": answer} if isinstance(answer, str) else answer)} for x, answer in answers.items()
    ]
    ends = {
        "outcomes": [
            {"runs": name, "error": found}
            if isinstance(found, str)
            else {
                "runs": name,
                "n_runs": found.final.n_runs,
                "horizon": found.horizon,
                "final": interval_json(found.final),
                "best": interval_json(found.best),
            }
            for name, found in outcomes.items()
        ]
    }
    print_json({**told[0], **ends} if len(told) == 1 else {"answers": told, **ends})


def print_heading(threshold: float, answers: Mapping[float, Any]) -> None:
    """Name the threshold where there are several."""
    if len(answers) > 1:
        first = threshold == next(iter(answers))
        print(f"{'' if first else chr(10)}threshold {threshold:g}")


def print_outcomes(outcomes: Mapping[str, Any]) -> None:
    """Final and best metric of each ensemble: whether faster is also better."""
    known = {name: found for name, found in outcomes.items() if not isinstance(found, str)}
    if known:
        horizon = next(iter(known.values())).horizon
        print(f"\nmetric at epoch {horizon}, and the best of each run up to there (means over runs)")
        rows = [
            (name, str(found.final.n_runs), *(interval(part, "{:.5g}") for part in (found.final, found.best)))
            for name, found in known.items()
        ]
        print_table(("runs", "number", "final", "best"), rows)
    for name, found in outcomes.items():
        if isinstance(found, str):
            print(f"{name}: {found}")


def print_speedups(responses: Mapping[float, Any]) -> None:
    """The best valid prediction at each threshold, where there are several thresholds."""
    if len(responses) < 2:
        return
    rows = []
    for x, answer in responses.items():
        best = None if isinstance(answer, str) else answer.best
        told = ("-", "-", "-") if best is None else (str(best.period), interval(best), f"{answer.speedup_at_least:.2f}")
        rows.append((f"{x:g}", *told))
    print()
    print_table(("threshold", "best valid period", "mean", "at least so many times shorter"), rows)


def print_recommendation(answer: Any) -> None:
    """A recommendation, for people."""
    mean = answer.unperturbed
    print(
        f"unperturbed: {interval(mean)} epochs up to {answer.horizon}, {mean.n_runs} runs, {mean.n_censored} censored"
    )
    print(f"quasi-steady state: {state_words(answer.quasi_steady_state)}")
    best = answer.best
    shown = [o for o in answer.ranking if o.valid or best is None or o.mean < best.mean]
    rows = [
        (
            o.perturbation,
            str(o.period),
            "-" if o.source is None else str(o.source),
            str(o.prediction.form),
            interval(o),
            interval(o.speedup),
            f"{o.best_in:.0%}" if o.valid else "-",
            o.reason,
        )
        for o in shown
    ]
    print_table(("perturbation", "period", "from", "form", "mean", "speed-up", "best in", "status"), rows)
    if len(shown) < len(answer.ranking):
        print(f"({len(answer.ranking) - len(shown)} more, neither valid nor better than the best; --json lists them)")
    for sentence in answer.sentences:
        print(f"- {sentence}")


def print_fates(fates: Sequence[Any]) -> None:
    """Quantiles, and the probability to pass within a budget, by period."""
    if not fates:
        return
    columns = ["period", *(f"{q.share:.0%} passed by" for q in fates[0].quantiles)]
    columns += [f"passed within {s.budget}" for s in fates[0].successes]

    def by(q: Any, horizon: int) -> str:
        epoch, high = (f"beyond {horizon}" if x is None else str(x) for x in (q.epoch, q.high))
        return f"{epoch} ({q.low} to {high})"

    rows = [
        (
            str(d.prediction.period),
            *(by(q, int(d.epoch[-1])) for q in d.quantiles),
            *(interval(s.probability, "{:.0%}") for s in d.successes),
        )
        for d in fates
    ]
    print_table(columns, rows)


def print_plan(answer: Any) -> None:
    """Numbers of runs that a wanted interval needs."""

    def size(found: Any) -> tuple[str, ...]:
        return tuple(str(getattr(found, name)) for name in ("unperturbed", "survivors", "perturbed", "run_epochs"))

    print(
        f"for {100 * answer.level:g} % intervals as wide as {100 * answer.relative_width:g} % of the mean, from runs perturbed every "
        f"{answer.period} epochs, up to epoch {answer.horizon}"
    )
    columns = (
        "period",
        "form",
        "mean",
        "width in the pilot",
        "needs",
        "unperturbed",
        "survivors",
        "perturbed",
        "run-epochs",
    )
    rows = []
    for r in answer.requirements:
        pilot = (str(r.period), str(r.form), f"{r.mean:.2f}", f"{100 * r.pilot_width / r.mean:.0f} %")
        rows += [(*pilot, "expected", *size(r.expected)), ("", "", "", "", "cautious", *size(r.cautious))]
    all_of_them = ("all", "", "", "")
    rows += [(*all_of_them, "expected", *size(answer.expected)), ("", "", "", "", "cautious", *size(answer.cautious))]
    print_table(columns, rows)
    print("cautious: enough for nine in ten replicates of the pilot")
    for note in answer.notes:
        print(f"- {note}")


def search_json(found: Any) -> dict[str, Any]:
    """What a search found and did, as JSON types."""
    best = found.best
    return {
        "threshold": found.threshold,
        "horizon": found.horizon,
        "best": None
        if best is None
        else {
            "perturbation": None if best.candidate is None else best.candidate.label,
            "period": best.period,
            **interval_json(best.estimate),
            "n_runs": best.estimate.n_runs,
            "n_censored": best.estimate.n_censored,
            "basis": best.basis,
        },
        "candidates": [asdict(standing) for standing in found.standings],
        "steps": [asdict(step) for step in found.steps],
        "stopped": found.stopped,
        "decided": found.decided,
        "inside": found.inside,
        "relaxation_epoch": found.relaxation_epoch,
        "measured_first_at": found.fork_period,
        "unperturbed": {"n_runs": found.unperturbed.n_runs, **interval_json(found.unperturbed)},
        "spent": found.spent,
        "spent_unperturbed": found.spent_unperturbed,
    }


def print_search(found: Any) -> None:
    """What a search found and did, for people."""
    rows = []
    for step in found.steps:
        known = step.mean is not None and not math.isnan(step.mean)
        name = step.candidate or "no perturbation" if known else "-"
        period = "-" if step.period is None else str(step.period)
        rows.append((str(step.spent), step.what, name, period, f"{step.mean:.1f}" if known else "-"))
    print_table(("run-epochs", "step", "best so far", "period", "mean"), rows)
    print()
    standings = [
        (
            s.label,
            "-" if s.period is None else str(s.period),
            "-" if s.period is None else interval(s),
            ", ".join(map(str, s.measured)) or "-",
            s.status,
            str(s.spent),
        )
        for s in found.standings
    ]
    print_table(("candidate", "best period", "mean", "measured at", "status", "run-epochs"), standings)
    print()
    print(found.words())
    print(f"spent: {found.spent} run-epochs, {found.spent_unperturbed} of them before any perturbation")
    if found.best is not None and not found.inside:
        print("the chosen period lies at an edge of those allowed: the minimum may lie beyond")
    if not found.settled:
        print("unperturbed training did not come to rest: predictions counted little, and periods were measured")


def warn(sentences: Iterable[str], threshold: float, answers: Mapping[float, Any]) -> None:
    """Warnings on stderr, so that they do not get into what is read by a script."""
    for sentence in sentences:
        where = f"threshold {threshold:g}: " if len(answers) > 1 else ""
        print(f"warning: {where}{sentence}", file=sys.stderr)


def response_chart(responses: Mapping[float, Any]) -> Any:
    """Chart of one response, or of the speed-up against the threshold where there are several."""
    from fptlib import charts, tables

    known = {x: answer for x, answer in responses.items() if not isinstance(answer, str)}
    if len(responses) > 1:
        return charts.speedup(tables.response_speedups(known))
    answer = next(iter(known.values()))
    return charts.response(tables.response_table(answer), period=answer.period, unperturbed=answer.unperturbed.mean)


def save_chart(path: Path, chart: Any) -> None:
    """Write a chart to a file of the kind that its name says."""
    from fptlib.report import save

    save(path, chart)
    print(f"chart: {path}", file=sys.stderr)


def reason(prediction: Any) -> str:
    """Status of a prediction and what decided it."""
    return f"{prediction.verdict.status.value}: {prediction.reason}"


def print_response(response: Any) -> None:
    """Everything a prediction says, for people."""
    mean, residual = response.unperturbed, response.residual
    print(
        f"unperturbed: {interval(mean)} epochs up to {response.horizon}, {mean.n_runs} runs, {mean.n_censored} censored"
    )
    print(
        f"residual time after epoch {response.period}: {interval(residual)} epochs, {residual.n_runs} survivors, "
        f"{residual.n_censored} censored"
    )
    print(f"quasi-steady state: {state_words(response.quasi_steady_state)}")
    for reason in response.quasi_steady_state.reasons:
        print(f"  - {reason}")
    rows = [
        (str(p.period), str(p.form), f"{p.mean:.2f}", f"{p.low:.2f} to {p.high:.2f}", p.verdict.status.value, p.reason)
        for p in response.predictions
    ]  # fmt: skip
    heading = f"{100 * response.level:g} % interval"
    print_table(("period", "form", "mean", heading, "status", "reason"), rows)
    best = response.best
    if best is None:
        print("no prediction is valid: measure at another period, with more runs, or at another threshold")
        return
    shortest = min(p.period for p in response.predictions if p.valid)
    edge = " (the shortest valid period tried: a shorter one may be better)" if best.period == shortest else ""
    print(f"best valid period: {best.period}{edge}, {interval(best)} epochs")
    if response.speedup_at_least > 1:
        print(
            f"mean up to epoch {response.horizon} at least {response.speedup_at_least:.2f} times smaller than without perturbation"
        )
    else:
        print("no valid period is shown to beat training without perturbation")
