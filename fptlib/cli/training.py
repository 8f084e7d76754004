"""Commands that train: `fpt train`, `fpt fork`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fptlib.cli import output
from fptlib.cli.options import (
    DirectionOption,
    Out,
    Retire,
    RetireMetric,
    Scheduler,
    Set,
    Workers,
    assignments,
    integers,
    retirement_of,
    value_of,
    with_runs,
)


def train(
    params: Annotated[Path, typer.Argument(help="Parameters of an ensemble (YAML).")],
    set_: Set = None,
    runs: Annotated[int | None, typer.Option(help="Number of runs, instead of the one in the file.")] = None,
    threshold: Retire = None,
    metric: RetireMetric = "test_metric",
    direction: DirectionOption = "above",
    keep: Annotated[
        str | None, typer.Option(help="Epochs after which snapshots are kept, to fork from.", metavar="20,50")
    ] = None,
    out: Out = None,
    workers: Workers = None,
    scheduler: Scheduler = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and train nothing.")] = False,
) -> None:
    """Train an ensemble, or only what a store lacks; prints the folder of the store."""
    from fptlib import ensemble, spec

    parameters = spec.load(params, with_runs(set_, runs))
    retirement = retirement_of(threshold, direction, metric)
    if dry_run:
        from fptlib.ensemble.estimate import estimate

        output.print_cost(estimate(parameters, out=out, retirement=retirement, workers=workers))
        return
    trajectories = ensemble.train(
        parameters,
        out=out,
        retirement=retirement,
        keep=integers("--keep", keep) if keep is not None else (),
        workers=workers,
        scheduler=scheduler,
    )
    print(output.trained(trajectories), file=sys.stderr)
    print(ensemble.store_path(parameters, out=out))


def fork(
    store: Annotated[Path, typer.Argument(help="Store of unperturbed training.")],
    at: Annotated[int, typer.Option(help="Epoch of the first perturbation; its period, where it is repeated.")],
    perturbation: Annotated[str, typer.Option(help="Name of the perturbation, as shrink_perturb.", metavar="NAME")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A parameter of the perturbation, as shrink=0.4.", metavar="KEY=VALUE"),
    ] = None,
    repeat: Annotated[str, typer.Option(help="How often it acts.", metavar="once|periodic")] = "periodic",
    threshold: Retire = None,
    metric: RetireMetric = "test_metric",
    direction: DirectionOption = "above",
    workers: Workers = None,
    scheduler: Scheduler = None,
) -> None:
    """Perturb the runs that had not passed at one epoch, and go on with them only; prints the folder of the new store.

    Without --threshold runs stop where those of the store stopped: at its threshold, or at the horizon.
    """
    from fptlib import ensemble

    parent, retired = ensemble.read_request(store)
    section = {name: value_of(name, text) for name, text in assignments(set_ or []).items()}
    forked = ensemble.fork(
        parent,
        at=at,
        perturbation={"name": perturbation, "repeat": repeat, **section},
        retirement=retirement_of(threshold, direction, metric) or retired,
        out=store.parent,
        workers=workers,
        scheduler=scheduler,
    )
    print(
        f"{forked.n_survivors} of {forked.n_parents} runs went on; {output.trained(forked.trajectories)}",
        file=sys.stderr,
    )
    print(ensemble.store_path(forked.spec, out=store.parent))
