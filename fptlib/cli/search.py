"""The closed loop on the command line, `fpt optimise`: over training of this library, or over somebody's own script."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fptlib.cli import options, output
from fptlib.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from fptlib.cli.scripts import Runs
    from fptlib.search import Search, Settings
    from fptlib.search.result import SearchResult
    from fptlib.trajectories import Target


def optimise(
    threshold: Annotated[float, typer.Option(help="Metric value to reach.")],
    candidates: Annotated[
        list[str],
        typer.Option(
            help="Perturbations to choose from, separated by spaces or given again; parameters after a colon.",
            metavar="'NAME[:KEY=VALUE,...] ...'",
        ),
    ],
    params: Annotated[
        Path | None, typer.Argument(help="Parameters of unperturbed training (YAML); its epochs are the horizon.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(
            help="Command that trains once, instead of PARAMS, with {seed}, {epochs}, {perturbation} (none without), {period} (0 "
            "without), {log} (a CSV file to write) and, if it is to stop there, {threshold}.",
            metavar="'COMMAND'",
        ),
    ] = None,
    horizon: Annotated[int | None, typer.Option(help="Last epoch that counts, with --run.")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Commands at once, with --run: 1, or one for each thread of the scheduler's workers."),
    ] = None,
    set_: options.Set = None,
    periods: Annotated[
        str | None, typer.Option(help="Periods to choose from; a spread of them by default.", metavar="5,10,20")
    ] = None,
    budget: Annotated[
        int | None, typer.Option(help="Run-epochs it may spend; without, what the precision takes.")
    ] = None,
    precision: Annotated[float, typer.Option(help="Relative difference of means not worth telling apart.")] = 0.05,
    metric: options.Metric = None,
    direction: options.DirectionOption = "above",
    epoch_zero: options.EpochZero = None,
    level: options.Level = 0.95,
    seed: options.SeedOption = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for stores, the user's cache by default; with --run for the logs.")
    ] = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    everything: options.Everything = False,
    as_json: options.AsJson = False,
) -> None:
    """Find the perturbation and the period with the smallest mean first-passage time, training as little as that takes.

    What was trained is kept in stores, or with --run in its logs: the same command goes on where it was interrupted.
    """
    from fptlib.cli import answers
    from fptlib.cli.scripts import Runs
    from fptlib.search import Search, Settings
    from fptlib.trajectories import Target

    if (params is None) == (run is None):
        raise InputError("either PARAMS.yml or --run 'COMMAND' is needed, and not both")
    of_scripts = {"--horizon": horizon, "--jobs": jobs, "--epoch-zero": epoch_zero}
    others = {"--set": set_, "--workers": workers} if params is None else of_scripts
    for option in [option for option, value in others.items() if value is not None]:
        raise InputError(f"{option} does not go with {'--run' if params is None else 'PARAMS.yml'}; leave it out")
    target, chosen = Target(threshold, direction, metric), options.integers("--periods", periods)
    how: dict[str, Any] = {"budget": budget, "precision": precision, "level": level, "seed": seed}
    settings = Settings(periods=None if chosen is None else tuple(chosen), **how)
    if params is not None:
        where = {"out": out, "workers": workers, "scheduler": scheduler}
        result, new = _trained(params, set_ or [], target, candidates, settings, where)
    elif run is not None:
        if horizon is None or out is None:
            raise InputError("--run needs --horizon, the last epoch that counts, and --out, a folder for the logs")
        at = Search(candidates, target, horizon=horizon, **asdict(settings))
        with closing(Runs(run, folder=out, target=target, candidates=candidates, epoch_zero=epoch_zero)) as runs:
            result, new = _run(at, runs, budget, jobs, scheduler)
    output.print_json(result.to_dict()) if as_json else answers.print_search(result, everything=everything)
    before = "; the others had been trained before" if new < result.spent else ""
    print(f"{new} run-epochs trained by this call{before}", file=sys.stderr)


def _trained(
    path: Path, changes: list[str], target: Target, texts: list[str], settings: Settings, where: Mapping[str, Any]
) -> tuple[SearchResult, int]:
    """Search over training of this library; return the run-epochs that were trained now too."""
    from fptlib import spec
    from fptlib.response.ranking import DEFAULT_PERIODS
    from fptlib.search import Live, parse
    from fptlib.search import optimise as search
    from fptlib.trajectories import DEFAULT_METRIC

    parameters, candidates = spec.load(path, changes), parse(texts)
    for candidate in candidates:  # before anything is trained
        spec.override(parameters, {"perturbation": {**candidate.rule, "period": 1}})
    periods = settings.periods or tuple(p for p in DEFAULT_PERIODS if p < parameters.epochs)
    at = replace(target, metric=target.metric or DEFAULT_METRIC)
    source = Live(parameters, retirement=at, periods=periods, **where)
    return search(source, candidates, settings=replace(settings, periods=periods)), source.trained


def _run(
    search: Search, runs: Runs, budget: int | None, jobs: int | None, scheduler: str | None
) -> tuple[SearchResult, int]:
    """Search over runs of a command, here or on the workers of a cluster; return the run-epochs that were run now too."""
    from concurrent.futures import ThreadPoolExecutor

    from fptlib import progress
    from fptlib.cli.scripts import ScriptError, perform

    if jobs is not None and jobs < 1:
        raise InputError(f"--jobs {jobs}: at least 1 command at once is needed")
    with ExitStack() as stack:
        if scheduler is None:
            executor: Executor = stack.enter_context(ThreadPoolExecutor(jobs or 1))
        else:
            from fptlib.ensemble import cluster

            client = stack.enter_context(cluster.client(1, scheduler))
            jobs = jobs or sum(client.nthreads().values())
            executor = stack.enter_context(client.get_executor(pure=False))
        steps = stack.enter_context(progress.bar(budget, "run-epochs"))
        try:
            new = perform(search, runs, executor, jobs=jobs or 1, report=steps.update)
        except ScriptError as error:
            steps.close()
            print(f"fpt: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
    for note in runs.notes:
        print(f"note: {output.as_options(note)}", file=sys.stderr)
    result = search.result()
    return replace(result, target=replace(result.target, metric=runs.metric)), new
