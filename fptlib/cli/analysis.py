"""Commands that read logs and say what they mean: `fpt inspect`, `qss`, `predict`, `recommend`, `plan`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from fptlib.cli import output
from fptlib.cli.options import (
    AsJson,
    Axis,
    DirectionOption,
    Every,
    Level,
    Metric,
    PathArgument,
    Periods,
    SeedOption,
    Threshold,
    Thresholds,
    Unperturbed,
    ending,
    ensembles,
    integers,
    numbers,
    perturbed_paths,
)
from fptlib.errors import InputError


def inspect(path: PathArgument, axis: Axis = "auto", every: Every = None) -> None:
    """Summarise a store, folder or table."""
    runs, _ = ensembles(path, {}, axis=axis, every=every)
    print(f"{path}: {runs.n_runs} runs of {runs.n_epochs} epochs")
    end = f"epoch {runs.n_epochs}"
    if runs.retirement is not None:
        print(f"each followed until {runs.retirement}: {runs.n_trained} run-epochs")
        end = "the end of each"
    rows: list[dict[str, object]] = []
    for name, values in runs.metrics.items():
        known = values[values == values]  # NaN where a run was not followed
        ends = values[range(runs.n_runs), runs.lengths - 1]
        numbers_ = {
            "mean at epoch 1": values[:, 0].mean(),
            f"mean at {end}": ends.mean(),
            "smallest": known.min(),
            "largest": known.max(),
        }
        rows.append({"metric": name, **{column: f"{x:.6g}" for column, x in numbers_.items()}})
    output.print_table(rows)
    for note in runs.meta.get("notes", ()):
        print(f"note: {note}")
    for key in ("digest", "n_evaluated"):
        if key in runs.meta:
            print(f"{key}: {runs.meta[key]}")
    if "spec" in runs.meta:
        print(json.dumps(runs.meta["spec"], indent=1))


def qss(
    path: PathArgument,
    threshold: Threshold,
    metric: Metric = None,
    direction: DirectionOption = "above",
    seed: SeedOption = 0,
    axis: Axis = "auto",
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Test whether unperturbed training reaches a quasi-steady state."""
    from fptlib.cli import answers
    from fptlib.firstpassage import require_passage
    from fptlib.qss import assess_qss
    from fptlib.study import Study
    from fptlib.tables import state_table
    from fptlib.trajectories import Target

    runs, _ = ensembles(path, {}, axis=axis, every=every)
    target = Target(threshold, direction, metric).on(runs)
    runs.require_followed(target)
    require_passage(target, unperturbed=runs.metric(metric))
    state = assess_qss(Study(runs, {}, target, seed=seed))
    if as_json:
        profile = json.loads(state_table(state).to_json(orient="records"))
        output.print_json({**answers.state_json(state), "profile": profile})
    else:
        answers.print_qss(state)


def predict(
    unperturbed: Unperturbed,
    perturbed: Annotated[
        list[str],
        typer.Option(
            help="Runs perturbed with one period; given again with other periods, each checks what lies between.",
            metavar="[P0=]PATH",
        ),
    ],
    threshold: Thresholds,
    period: Annotated[int | None, typer.Option(help="Period P0 of the runs that predict, in epochs.")] = None,
    periods: Periods = None,
    metric: Metric = None,
    direction: DirectionOption = "above",
    form: Annotated[Literal["auto", "2", "7"], typer.Option(help="Form of the theory.", metavar="auto|2|7")] = "auto",
    level: Level = 0.95,
    seed: SeedOption = 0,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Epochs within which to pass: the probability of that, and quantiles, too.", metavar="50,100"
        ),
    ] = None,
    chart: Annotated[
        Path | None,
        typer.Option(
            help="Draw the answer, or with several thresholds the speed-up, as .svg, .png or .html.", metavar="FILE"
        ),
    ] = None,
    axis: Axis = "auto",
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Predict the mean first-passage time at many periods from runs perturbed with one."""
    from fptlib.cli import answers
    from fptlib.former import at_each, distribution, outcomes, too_few
    from fptlib.former import predict as respond

    if chart is not None:
        ending("--chart", chart, ".svg", ".png", ".html")
    paths = {p: path for (_, p), path in perturbed_paths(perturbed, named=False, period=period).items()}
    source = period if period is not None else next(iter(paths))
    if source not in paths:
        raise InputError(f"--period {source}: --perturbed was given for {', '.join(map(str, paths))}")
    plain, kicked = ensembles(unperturbed, paths, axis=axis, every=every)
    options: dict[str, Any] = {"direction": direction, "metric": metric, "level": level, "seed": seed}
    asked = None if periods is None else integers("--periods", periods)
    others = {p: runs for p, runs in kicked.items() if p != source}
    responses = at_each(
        numbers("--threshold", threshold),
        lambda x: respond(
            plain, kicked[source], period=source, threshold=x, periods=asked, form=form, others=others, **options
        ),
    )
    named = {"without perturbation": plain} | {f"perturbed every {p}": runs for p, runs in kicked.items()}
    ends = outcomes(named, **options)
    fates = {
        x: distribution(answer, budgets=integers("--budgets", budgets))
        for x, answer in responses.items()
        if budgets is not None and not isinstance(answer, str)
    }
    if as_json:
        answers.print_answers(
            {x: a if isinstance(a, str) else answers.response_json(a, fates.get(x)) for x, a in responses.items()}, ends
        )
    else:
        for x, answer in responses.items():
            answers.print_heading(x, responses)
            print(answer) if isinstance(answer, str) else answers.print_response(answer)
            answers.print_fates(fates.get(x, ()))
        answers.print_speedups(responses)
        answers.print_outcomes(ends)
    if chart is not None:
        answers.draw(chart, responses)
    for x, answer in responses.items():
        if not isinstance(answer, str):
            few = too_few(answer.unperturbed, {("the perturbed ensemble", source): answer.residual.n_runs})
            answers.warn((*answer.notes, *few), x, responses)


def recommend(
    unperturbed: Unperturbed,
    threshold: Thresholds,
    perturbed: Annotated[
        list[str] | None,
        typer.Option(
            help="Runs perturbed with one period; once for each perturbation and period.", metavar="NAME:P0=PATH"
        ),
    ] = None,
    periods: Periods = None,
    metric: Metric = None,
    direction: DirectionOption = "above",
    level: Level = 0.95,
    seed: SeedOption = 0,
    report: Annotated[
        Path | None, typer.Option(help="Write one self-contained page with the charts.", metavar="FILE")
    ] = None,
    axis: Axis = "auto",
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Rank perturbations and periods, full reset and doing nothing among them; say what to do and what to measure next."""
    from fptlib.cli import answers
    from fptlib.former import at_each, outcomes
    from fptlib.former import recommend as rank

    if report is not None:
        ending("--report", report, ".html")
    paths = perturbed_paths(perturbed or [], named=True)
    plain, kicked = ensembles(unperturbed, paths, axis=axis, every=every)
    options: dict[str, Any] = {"direction": direction, "metric": metric, "level": level, "seed": seed}
    asked = None if periods is None else integers("--periods", periods)
    ranked = at_each(
        numbers("--threshold", threshold), lambda x: rank(plain, kicked, threshold=x, periods=asked, **options)
    )
    named = {"without perturbation": plain} | {f"{name} every {p}": runs for (name, p), runs in kicked.items()}
    ends = outcomes(named, **options)
    if as_json:
        answers.print_answers(
            {x: a if isinstance(a, str) else answers.recommendation_json(a) for x, a in ranked.items()}, ends
        )
    else:
        for x, answer in ranked.items():
            answers.print_heading(x, ranked)
            print(answer) if isinstance(answer, str) else answers.print_recommendation(answer)
        answers.print_outcomes(ends)
    if report is not None:
        from fptlib.report import write

        write(report, ranked, unperturbed=plain, candidates=kicked, outcomes=ends, **options)
        print(f"report: {report}", file=sys.stderr)


def plan(
    unperturbed: Annotated[Path, typer.Option(help="A pilot of runs without perturbation.")],
    threshold: Threshold,
    period: Annotated[int, typer.Option(help="Period P0 of the perturbed runs, in epochs.")],
    perturbed: Annotated[
        Path | None, typer.Option(help="A pilot of perturbed runs; without, as if the perturbation changed nothing.")
    ] = None,
    periods: Annotated[
        str | None, typer.Option(help="Periods to predict for; P0 by default.", metavar="10,20,50")
    ] = None,
    width: Annotated[float, typer.Option(help="Wanted width of the interval, relative to the mean.")] = 0.2,
    fork: Annotated[
        bool, typer.Option("--fork", help="Perturbed runs go on from unperturbed ones, as fpt fork makes them.")
    ] = False,
    metric: Metric = None,
    direction: DirectionOption = "above",
    level: Level = 0.95,
    seed: SeedOption = 0,
    axis: Axis = "auto",
    every: Every = None,
    as_json: AsJson = False,
) -> None:
    """Say how many unperturbed runs and survivors an interval of a wanted width needs, from a pilot."""
    from fptlib.cli import answers
    from fptlib.former import plan as design

    paths = {} if perturbed is None else {period: perturbed}
    plain, kicked = ensembles(unperturbed, paths, axis=axis, every=every)
    answer = design(
        plain,
        kicked.get(period),
        period=period,
        threshold=threshold,
        periods=[period] if periods is None else integers("--periods", periods),
        relative_width=width,
        fork=fork,
        metric=metric,
        direction=direction,
        level=level,
        seed=seed,
    )
    output.print_json(asdict(answer)) if as_json else answers.print_plan(answer)
