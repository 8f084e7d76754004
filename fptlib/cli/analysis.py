"""Commands that read logs and say what they mean: `fpt inspect`, `qss`, `predict`, `recommend`, `plan`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fptlib.cli import output
from fptlib.cli.options import (
    AsJson,
    DirectionOption,
    Level,
    Metric,
    PathArgument,
    SeedOption,
    Threshold,
    direction_of,
    integers,
)
from fptlib.errors import InputError


def inspect(path: PathArgument) -> None:
    """Say what a store, folder or table holds."""
    from fptlib import readers

    trajectories = readers.read(path)
    print(f"{path}: {trajectories.n_runs} runs of {trajectories.n_epochs} epochs")
    end = f"epoch {trajectories.n_epochs}"
    if trajectories.retirement is not None:
        print(f"each followed until {trajectories.retirement}: {trajectories.n_trained} run-epochs")
        end = "the end of each"
    output.print_table(
        ("metric", "mean at epoch 1", f"mean at {end}", "smallest", "largest"),
        output.metric_rows(trajectories),
    )
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
    as_json: AsJson = False,
) -> None:
    """Judge whether unperturbed training reaches a quasi-steady state."""
    from fptlib import readers
    from fptlib.firstpassage import require_passage
    from fptlib.qss import judge

    trajectories = readers.read(path)
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
    perturbed: Annotated[Path, typer.Option(help="Runs perturbed with one period.")],
    period: Annotated[int, typer.Option(help="Period P0 of the perturbed runs, in epochs.")],
    threshold: Threshold,
    periods: Annotated[
        str | None, typer.Option(help="Periods to predict for; a spread of them by default.", metavar="10,20,50")
    ] = None,
    metric: Metric = None,
    direction: DirectionOption = "above",
    form: Annotated[str, typer.Option(help="Form of the theory.", metavar="auto|2|7")] = "auto",
    level: Level = 0.95,
    seed: SeedOption = 0,
    as_json: AsJson = False,
) -> None:
    """Predict the mean first-passage time at many periods from runs perturbed with one."""
    from fptlib import readers
    from fptlib.response import predict as respond

    if form not in ("auto", "2", "7"):
        raise InputError(f"--form {form}: choose auto, 2 or 7")
    if unperturbed.resolve() == perturbed.resolve():
        raise InputError(f"--unperturbed and --perturbed both name {perturbed}; two different ensembles are needed")
    response = respond(
        readers.read(unperturbed),
        readers.read(perturbed),
        period=period,
        threshold=threshold,
        periods=integers("--periods", periods) if periods is not None else None,
        direction=direction_of(direction),
        metric=metric,
        form=form,  # type: ignore[arg-type]
        level=level,
        seed=seed,
    )
    if as_json:
        output.print_json(output.response_json(response))
    else:
        output.print_response(response)
