"""What the command line prints: tables, sentences and JSON."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fptlib.errors import InputError


def metric_rows(trajectories: Any) -> list[tuple[str, ...]]:
    """For each metric its name, the means at both ends of the runs and the extremes."""
    last = trajectories.lengths - 1
    rows = []
    for name, values in trajectories.metrics.items():
        ends = values[range(len(last)), last]
        known = values[~(values != values)]  # not where a run was not followed
        rows.append((name, *(f"{x:.6g}" for x in (values[:, 0].mean(), ends.mean(), known.min(), known.max()))))
    return rows


def trained(trajectories: Any) -> str:
    """What a call of the engine gave, in words."""
    words = f"{trajectories.n_runs} runs of {trajectories.n_epochs} epochs"
    if trajectories.retirement is not None:
        words += f", each followed until {trajectories.retirement}"
    return f"{words}; {trajectories.meta['trained']} run-epochs trained"


def print_cost(cost: Any) -> None:
    """Rows of what an ensemble costs."""
    rate = cost.flop_per_run_epoch / cost.seconds_per_run_epoch
    total = cost.missing * cost.epochs * cost.flop_per_run_epoch
    processes = f"{cost.workers} process{'es' if cost.workers > 1 else ''}"
    rows = {
        "runs": f"{cost.runs} of {cost.epochs} epochs; {cost.missing} are to be trained",
        "arithmetic": f"{cost.flop_per_run_epoch:.3g} FLOP a run-epoch, {total:.3g} in all",
        "speed": f"{1e3 * cost.seconds_per_run_epoch:.3g} ms a run-epoch, {rate:.3g} FLOP/s: measured here, in a stack of {cost.stack}",
        "time": f"{duration(cost.seconds)} with {processes} like this one, if all runs go to the horizon",
        "memory": f"{cost.memory / 2**30:.2f} GiB a process",
        "disk": f"{cost.disk / 2**30:.2f} GiB, snapshots included",
    }
    if not cost.data_at_hand:
        rows["data"] = "not here; random images of the same size and number were used"
    for name, text in rows.items():
        print(f"{name:<12}{text}")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under their names."""
    if not rows:
        return
    widths = [max(len(row[j]) for row in (columns, *rows)) for j in range(len(columns))]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(content: object) -> None:
    """One JSON object."""
    print(json.dumps(plain(content), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """JSON has no NaN or infinity: null stands for a number that is not there."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def state_json(state: Any) -> dict[str, Any]:
    """A verdict on the quasi-steady state as JSON types."""
    return {
        "reached": bool(state.reached),
        "relaxation_epoch": state.relaxation_epoch,
        "reasons": list(state.reasons),
    }


def profile_json(state: Any) -> list[dict[str, Any]]:
    """Distances by epoch as JSON types."""
    from fptlib.tables import state_table

    return list(json.loads(state_table(state).to_json(orient="records")))


def state_words(state: Any) -> str:
    """The verdict in words."""
    return f"reached at epoch {state.relaxation_epoch}" if state.reached else "not reached"


def response_json(response: Any) -> dict[str, Any]:
    """Everything a prediction says as JSON types."""
    best = response.best
    return {
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
            {"period": p.period, "form": p.form, **interval_json(p), "valid": p.valid, "reason": reason(p)}
            for p in response.predictions
        ],
        "best": None
        if best is None
        else {"period": best.period, **interval_json(best), "speedup_at_least": response.speedup_at_least},
    }


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


def interval_json(estimate: Any) -> dict[str, float]:
    """An estimate with its interval as JSON types."""
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}


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
    if path.suffix not in (".svg", ".png", ".html"):
        raise InputError(f"--chart {path}: a name that ends in .svg, .png or .html is needed")
    from fptlib.report import save

    save(path, chart)
    print(f"chart: {path}", file=sys.stderr)


def reason(prediction: Any) -> str:
    """Status of a prediction and what decided it."""
    return f"{prediction.verdict.status.value}: {prediction.verdict.reason}"


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
        (str(p.period), str(p.form), f"{p.mean:.2f}", f"{p.low:.2f} to {p.high:.2f}", p.verdict.status.value, p.verdict.reason)
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


def interval(estimate: Any, number: str = "{:.2f}") -> str:
    """An estimate with its interval."""
    mean, low, high = (number.format(x) for x in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"
