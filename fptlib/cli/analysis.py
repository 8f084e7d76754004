"""Commands that read logs and say what they mean: `fpt inspect`, `qss`, `predict`, `recommend`, `plan`."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fptlib.cli import answers, output
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
    direction_of,
    ending,
    integers,
    numbers,
    reader,
)
from fptlib.errors import InputError


def inspect(path: PathArgument, axis: Axis = "auto", every: Every = None) -> None:
    """Say what a store, folder or table holds."""
    trajectories = reader(axis, every)(path)
    print(f"{path}: {trajectories.n_runs} runs of {trajectories.n_epochs} epochs")
    end = f"epoch {trajectories.n_epochs}"
    if trajectories.retirement is not None:
        print(f"each followed until {trajectories.retirement}: {trajectories.n_trained} run-epochs")
        end = "the end of each"
    output.print_table(
        ("metric", "mean at epoch 1", f"mean at {end}", "smallest", "largest"),
        output.metric_rows(trajectories),
    )
    for note in trajectories.meta.get("notes", ()):
        print(f"note: {note}")
    for key in ("digest", "n_evaluated"):
        if key in trajectories.meta:
            print(f"{key}: {trajectories.meta[key]}")
    if "spec" in trajectories.meta:
        print(json.dumps(trajectories.meta["spec"], indent=1))


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
    """Judge whether unperturbed training reaches a quasi-steady state."""
    from fptlib.firstpassage import require_passage
    from fptlib.qss import judge

    trajectories = reader(axis, every)(path)
    way = direction_of(direction)
    trajectories.require_followed(threshold=threshold, direction=way, metric=trajectories.metric_name(metric))
    require_passage(threshold, direction=way, unperturbed=trajectories.metric(metric))
    state = judge(trajectories, threshold=threshold, direction=way, metric=metric, seed=seed)
    if as_json:
        output.print_json({**output.state_json(state), "profile": output.profile_json(state)})
        return
    print(f"quasi-steady state: {output.state_words(state)}  ({state.n_runs} runs)")
    for reason in state.reasons:
        print(f"  - {reason}")
    columns = ("epoch", "survivors", "distance", "at epoch", "p")
    rows = zip(state.epoch, state.n_survivors, state.distance, state.at, state.p_value, strict=True)
    output.print_table(columns, [(str(t), str(n), f"{d:.2f}", str(a), f"{p:.3f}") for t, n, d, a, p in rows])


def predict(
    unperturbed: Annotated[Path, typer.Option(help="Runs without perturbation.")],
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
    form: Annotated[str, typer.Option(help="Form of the theory.", metavar="auto|2|7")] = "auto",
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
    from fptlib.response import at_each, distribution, outcomes, too_few
    from fptlib.response import predict as respond

    if form not in ("auto", "2", "7"):
        raise InputError(f"--form {form}: choose auto, 2 or 7")
    if chart is not None:
        ending("--chart", chart, ".svg", ".png", ".html")
    paths = _measured(perturbed, period)
    source = period if period is not None else next(iter(paths))
    if source not in paths:
        raise InputError(f"--period {source}: --perturbed was given for {', '.join(map(str, paths))}")
    _different(unperturbed, list(paths.values()))
    read = reader(axis, every)
    plain, kicked = (
        read(unperturbed),
        {p: read(path) for p, path in paths.items()},
    )
    options: dict[str, Any] = {"direction": direction_of(direction), "metric": metric}
    responses = at_each(
        numbers("--threshold", threshold),
        lambda x: respond(
            plain,
            kicked[source],
            period=source,
            threshold=x,
            periods=None if periods is None else integers("--periods", periods),
            form=form,  # type: ignore[arg-type]
            others={p: runs for p, runs in kicked.items() if p != source},
            level=level,
            seed=seed,
            **options,
        ),
    )
    named = {"without perturbation": plain} | {f"perturbed every {p}": runs for p, runs in kicked.items()}
    found = outcomes(named, level=level, seed=seed, **options)
    fates = {
        x: distribution(
            plain,
            kicked[source],
            period=source,
            threshold=x,
            periods=[p.period for p in answer.predictions],
            budgets=integers("--budgets", budgets),
            form=form,  # type: ignore[arg-type]
            level=level,
            seed=seed,
            **options,
        )
        for x, answer in responses.items()
        if budgets is not None and not isinstance(answer, str)
    }
    if as_json:
        told = {x: a if isinstance(a, str) else answers.response_json(a, fates.get(x)) for x, a in responses.items()}
        answers.print_answers(told, found)
    else:
        for x, answer in responses.items():
            answers.print_heading(x, responses)
            print(answer) if isinstance(answer, str) else answers.print_response(answer)
            answers.print_fates(fates.get(x, ()))
        answers.print_speedups(responses)
        answers.print_outcomes(found)
    if chart is not None:
        answers.save_chart(chart, answers.response_chart(responses))
    for x, answer in responses.items():
        if not isinstance(answer, str):
            few = too_few(answer.unperturbed, {("the perturbed ensemble", source): answer.residual.n_runs})
            answers.warn((*answer.notes, *few), x, responses)


def recommend(
    unperturbed: Annotated[Path, typer.Option(help="Runs without perturbation.")],
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
    from fptlib.response import at_each, outcomes
    from fptlib.response import recommend as rank

    if report is not None:
        ending("--report", report, ".html")
    paths = _candidates(perturbed or [])
    _different(unperturbed, list(paths.values()))
    read = reader(axis, every)
    plain, kicked = (
        read(unperturbed),
        {key: read(path) for key, path in paths.items()},
    )
    options: dict[str, Any] = {"direction": direction_of(direction), "metric": metric, "level": level, "seed": seed}
    chosen = None if periods is None else integers("--periods", periods)
    ranked = at_each(
        numbers("--threshold", threshold), lambda x: rank(plain, kicked, threshold=x, periods=chosen, **options)
    )
    named = {"without perturbation": plain} | {f"{name} every {p}": runs for (name, p), runs in kicked.items()}
    found = outcomes(named, **options)
    if as_json:
        answers.print_answers(
            {x: a if isinstance(a, str) else answers.recommendation_json(a) for x, a in ranked.items()}, found
        )
    else:
        for x, answer in ranked.items():
            answers.print_heading(x, ranked)
            print(answer) if isinstance(answer, str) else answers.print_recommendation(answer)
        answers.print_outcomes(found)
    if report is not None:
        from fptlib.report import write

        write(report, ranked, unperturbed=plain, candidates=kicked, outcomes=found, **options)
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
    from fptlib.response import plan as design

    if perturbed is not None:
        _different(unperturbed, [perturbed])
    read = reader(axis, every)
    answer = design(
        read(unperturbed),
        None if perturbed is None else read(perturbed),
        period=period,
        threshold=threshold,
        periods=[period] if periods is None else integers("--periods", periods),
        relative_width=width,
        fork=fork,
        metric=metric,
        direction=direction_of(direction),
        level=level,
        seed=seed,
    )
    if as_json:
        output.print_json(asdict(answer))
    else:
        answers.print_plan(answer)


def _measured(texts: list[str], period: int | None) -> dict[int, Path]:
    """Period to path of ``P0=PATH``; a path alone has the period that ``--period`` names."""
    paths: dict[int, Path] = {}
    for text in texts:
        named = re.fullmatch(r"(\d+)=(.+)", text)
        if named is None and period is None:
            raise InputError(f"--perturbed {text}: which period? write P0={text}, or name it by --period")
        key, path = (int(named[1]), named[2]) if named is not None else (period or 0, text)
        if key in paths:
            raise InputError(f"--perturbed {text}: period {key} was given twice")
        paths[key] = Path(path)
    return paths


def _candidates(texts: list[str]) -> dict[tuple[str, int], Path]:
    """Name and period to path of ``NAME:P0=PATH``."""
    paths: dict[tuple[str, int], Path] = {}
    for text in texts:
        named = re.fullmatch(r"([^:=]+):(\d+)=(.+)", text)
        if named is None:
            raise InputError(f"--perturbed {text}: NAME:P0=PATH is needed, as shrink_perturb:50=logs/every50")
        key = (named[1], int(named[2]))
        if key in paths:
            raise InputError(f"--perturbed {text}: {key[0]} with period {key[1]} was given twice")
        paths[key] = Path(named[3])
    return paths


def _different(unperturbed: Path, perturbed: list[Path]) -> None:
    seen = {unperturbed.resolve(): "--unperturbed"}
    for path in perturbed:
        if path.resolve() in seen:
            raise InputError(
                f"{seen[path.resolve()]} and --perturbed both name {path}; two different ensembles are needed"
            )
        seen[path.resolve()] = "--perturbed"
