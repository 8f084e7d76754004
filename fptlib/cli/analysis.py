"""Commands that read logs and say what they mean: `fpt inspect`, `qss`, `predict`, `recommend`, `plan`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fptlib.cli import options, output
from fptlib.errors import InputError

if TYPE_CHECKING:
    from fptlib.trajectories import Trajectories

Budgets = Annotated[
    str | None,
    typer.Option(help="Epochs within which to pass: the probability of that, and quantiles, too.", metavar="50,100"),
]


def inspect(
    path: options.PathArgument,
    axis: options.Axis = "auto",
    every: options.Every = None,
    epoch_zero: options.EpochZero = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
) -> None:
    """Summarise a store, folder or table: runs, epochs, metrics, what was adjusted, and the command to type next."""
    from fptlib.cli.overview import overview, print_overview

    runs, _ = options.ensembles(path, {}, axis=axis, every=every, epoch_zero=epoch_zero)
    given = {"axis": None if axis == "auto" else axis, "every": every, "epoch-zero": epoch_zero}
    again = "".join(f" --{option} {value}" for option, value in given.items() if value is not None)
    content = overview(path, runs, options=again)
    output.print_json(content) if as_json else print_overview(content, everything=everything)


def qss(
    path: options.PathArgument,
    threshold: options.Threshold,
    metric: options.Metric = None,
    direction: options.DirectionOption = "above",
    seed: options.SeedOption = 0,
    axis: options.Axis = "auto",
    every: options.Every = None,
    epoch_zero: options.EpochZero = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
) -> None:
    """Test whether unperturbed training reaches a quasi-steady state, and name the epoch at which the learning rate may drop."""
    from fptlib.cli import answers
    from fptlib.qss import assess_qss
    from fptlib.record import plain
    from fptlib.study import Study
    from fptlib.tables import drop
    from fptlib.trajectories import Target

    runs, _ = options.ensembles(path, {}, metric=metric, axis=axis, every=every, epoch_zero=epoch_zero)
    study = Study(runs, {}, Target(threshold, direction, metric), seed=seed)
    study.require_passage()
    state = assess_qss(study)
    if as_json:
        notes = [str(note) for note in study.notes]
        output.print_json(
            state.to_dict() | {"advice": [drop(state)], "profile": plain(list(state.rows())), "notes": notes}
        )
    else:
        answers.print_qss(state, everything=everything)
        print(*(f"note: {note}\n" for note in study.notes), sep="", end="")


def predict(
    unperturbed: options.Unperturbed,
    perturbed: Annotated[
        list[str],
        typer.Option(help="Runs perturbed with one period; given again with other periods.", metavar="[P0=]PATH"),
    ],
    threshold: options.Thresholds,
    period: Annotated[int | None, typer.Option(help="Period P0 of the runs whose PATH has none, in epochs.")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="The perturbation was applied once, at P0, and not again.")
    ] = False,
    periods: options.Periods = None,
    metric: options.Metric = None,
    direction: options.DirectionOption = "above",
    level: options.Level = 0.95,
    seed: options.SeedOption = 0,
    budgets: Budgets = None,
    chart: Annotated[
        Path | None,
        typer.Option(
            help="Draw the answer, or with several thresholds the speed-up, as .svg, .png or .html.", metavar="FILE"
        ),
    ] = None,
    axis: options.Axis = "auto",
    every: options.Every = None,
    epoch_zero: options.EpochZero = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
) -> None:
    """Predict the mean first-passage time at many periods from runs perturbed with one, or a few; say which to use."""
    from fptlib.cli import answers
    from fptlib.response import at_each
    from fptlib.response import predict as respond
    from fptlib.study import Study
    from fptlib.trajectories import Target

    if chart is not None:
        options.ending("--chart", chart, ".svg", ".png", ".html")
    paths = options.perturbed_paths(perturbed, named=False, period=period)
    if period is not None and ("", period) not in paths:
        raise InputError(f"--period {period}: --perturbed was given for {', '.join(str(p) for _, p in paths)}")
    requested, within = options.integers("--periods", periods), options.integers("--budgets", budgets)
    plain, kicked = options.ensembles(unperturbed, paths, metric=metric, axis=axis, every=every, epoch_zero=epoch_zero)
    kicked = _named(kicked)

    def ask(x: float) -> answers.Answer:
        once_only = [name for name, _ in kicked] if once else ()
        study = Study(plain, kicked, Target(x, direction, metric), once=once_only, level=level, seed=seed)
        return answers.answer(study, respond(study, requested), within)

    results = at_each(options.numbers("--threshold", threshold), ask)
    answers.show(results, as_json=as_json, single=True, everything=everything)
    if chart is not None:
        answers.draw(chart, results)


def _named(kicked: Mapping[tuple[str, int], Trajectories]) -> dict[tuple[str, int], Trajectories]:
    """Name a perturbation that was given without: by that of its record, if there is one."""
    from fptlib.trajectories.origin import Origin

    names = {str(Origin.of(runs).perturbation.get("name", "")) for runs in kicked.values()}
    name = next(iter(names)) if len(names) == 1 and "" not in names else "the perturbation"
    return {(name, period): runs for (_, period), runs in kicked.items()}


def recommend(
    unperturbed: options.Unperturbed,
    threshold: options.Thresholds,
    perturbed: Annotated[
        list[str] | None,
        typer.Option(
            help="Runs perturbed with one period; once for each perturbation and period.", metavar="NAME:P0=PATH"
        ),
    ] = None,
    once: Annotated[
        list[str] | None, typer.Option(help="Perturbation that was applied once, at P0, and not again.", metavar="NAME")
    ] = None,
    periods: options.Periods = None,
    metric: options.Metric = None,
    direction: options.DirectionOption = "above",
    level: options.Level = 0.95,
    seed: options.SeedOption = 0,
    budgets: Budgets = None,
    report: Annotated[
        Path | None, typer.Option(help="Write one self-contained page with the charts.", metavar="FILE")
    ] = None,
    axis: options.Axis = "auto",
    every: options.Every = None,
    epoch_zero: options.EpochZero = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
) -> None:
    """Rank perturbations and periods, full reset and doing nothing among them; say what to do and what to measure next."""
    from fptlib.cli import answers
    from fptlib.response import at_each
    from fptlib.response import recommend as rank
    from fptlib.study import Study
    from fptlib.trajectories import Target

    if report is not None:
        options.ending("--report", report, ".html")
    paths = options.perturbed_paths(perturbed or [], named=True)
    requested, within = options.integers("--periods", periods), options.integers("--budgets", budgets)
    plain, kicked = options.ensembles(unperturbed, paths, metric=metric, axis=axis, every=every, epoch_zero=epoch_zero)

    def ask(x: float) -> answers.Answer:
        study = Study(plain, kicked, Target(x, direction, metric), once=tuple(once or ()), level=level, seed=seed)
        return answers.answer(study, rank(study, requested), within)

    results = at_each(options.numbers("--threshold", threshold), ask)
    answers.show(results, as_json=as_json, everything=everything)
    if report is not None:
        from fptlib.report import write

        write(report, {x: each if isinstance(each, str) else each[:2] for x, each in results.items()})
        print(f"report: {report}", file=sys.stderr)


def plan(
    unperturbed: Annotated[Path, typer.Option(help="A pilot of runs without perturbation.")],
    threshold: options.Threshold,
    period: Annotated[int, typer.Option(help="Period P0 of the perturbed runs, in epochs.")],
    perturbed: Annotated[
        Path | None, typer.Option(help="A pilot of perturbed runs; without, as if the perturbation changed nothing.")
    ] = None,
    periods: Annotated[
        str | None, typer.Option(help="Periods to predict for; P0 and those near it by default.", metavar="10,20,50")
    ] = None,
    width: Annotated[float, typer.Option(help="Wanted width of the interval, relative to the mean.")] = 0.2,
    fork: Annotated[
        bool, typer.Option("--fork", help="Perturbed runs go on from unperturbed ones, as fpt fork makes them.")
    ] = False,
    metric: options.Metric = None,
    direction: options.DirectionOption = "above",
    level: options.Level = 0.95,
    seed: options.SeedOption = 0,
    axis: options.Axis = "auto",
    every: options.Every = None,
    epoch_zero: options.EpochZero = None,
    as_json: options.AsJson = False,
) -> None:
    """Say how many unperturbed runs and survivors an interval of a wanted width needs, from a pilot."""
    from fptlib.cli import answers
    from fptlib.response import sample_size
    from fptlib.study import Study
    from fptlib.trajectories import Target

    requested = options.integers("--periods", periods)
    paths = {} if perturbed is None else {("", period): perturbed}
    plain, kicked = options.ensembles(unperturbed, paths, metric=metric, axis=axis, every=every, epoch_zero=epoch_zero)
    study = Study(plain, _named(kicked), Target(threshold, direction, metric), level=level, seed=seed)
    size = sample_size(study, width, periods=requested, period=period, fork=fork)
    if as_json:
        output.print_json(size.to_dict() | {"notes": [str(note) for note in study.notes]})
    else:
        answers.print_plan(size)
        print(*(f"note: {note}\n" for note in study.notes), sep="", end="")
