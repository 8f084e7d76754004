"""Commands that train: `fpt train`, `fpt fork` and `fpt calibrate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fptlib.cli import options, output

if TYPE_CHECKING:
    from fptlib.ensemble.estimate import Cost
    from fptlib.trajectories import Trajectories


def train(
    params: Annotated[Path, typer.Argument(help="Parameters of an ensemble (YAML).")],
    set_: options.Set = None,
    runs: Annotated[int | None, typer.Option(help="Number of runs, instead of the one in the file.")] = None,
    threshold: options.Retire = None,
    metric: options.RetireMetric = "test_metric",
    direction: options.DirectionOption = "above",
    keep: Annotated[
        str | None, typer.Option(help="Epochs after which snapshots are kept, to fork from.", metavar="20,50")
    ] = None,
    out: options.Out = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would cost, and train nothing.")] = False,
) -> None:
    """Train an ensemble, or only what a store lacks; prints the folder of the store."""
    from fptlib import ensemble, spec

    parameters = spec.load(params, [*(set_ or []), *([] if runs is None else [f"runs={runs}"])])
    retirement = options.retirement_of(threshold, direction, metric)
    if dry_run:
        from fptlib.ensemble.estimate import estimate

        _print_cost(estimate(parameters, out=out, retirement=retirement, workers=workers))
        return
    trajectories = ensemble.train(
        parameters,
        out=out,
        retirement=retirement,
        keep=options.integers("--keep", keep) or (),
        workers=workers,
        scheduler=scheduler,
    )
    print(_trained(trajectories), file=sys.stderr)
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
    uses: Annotated[
        list[Path] | None,
        typer.Option(
            help="Python file of your own that the store's parameters or the perturbation use.", metavar="FILE"
        ),
    ] = None,
    threshold: options.Retire = None,
    metric: options.RetireMetric = "test_metric",
    direction: options.DirectionOption = "above",
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
) -> None:
    """Perturb the runs that had not passed at one epoch, and go on with them only; prints the folder of the new store.

    Without --threshold runs stop where those of the store stopped: at its threshold, or at the horizon.
    """
    from fptlib import ensemble

    parent, retired = ensemble.read_request(store, uses or ())
    forked = ensemble.fork(
        parent,
        at=at,
        perturbation={"name": perturbation, "repeat": repeat, **options.assignments(set_ or [])},
        retirement=options.retirement_of(threshold, direction, metric) or retired,
        out=store.parent,
        workers=workers,
        scheduler=scheduler,
    )
    survivors = f"{forked.n_survivors} of {forked.n_parents} runs went on"
    print(f"{survivors}; {_trained(forked.trajectories)}", file=sys.stderr)
    print(ensemble.store_path(forked.spec, out=store.parent))


def calibrate(
    params: Annotated[Path, typer.Argument(help="Parameters of an ensemble (YAML).")],
    target: Annotated[
        Path,
        typer.Option(help="Mean curve to come near to: columns epoch, value and, if known, se.", metavar="CURVE.csv"),
    ],
    over: Annotated[
        list[str],
        typer.Option(help="Parameter and its range; given again for a second one.", metavar="KEY=LOW:HIGH[:log]"),
    ],
    set_: options.Set = None,
    runs: Annotated[int, typer.Option(help="Number of runs at each setting.")] = 24,
    level: options.Level = 0.95,
    seed: options.SeedOption = 0,
    out: options.Out = None,
    workers: options.Workers = None,
    scheduler: options.Scheduler = None,
    as_json: options.AsJson = False,
) -> None:
    """Find the values of one or two parameters whose mean curve is nearest to a given one, with their intervals.

    What was trained is kept in stores: the same command goes on where it was interrupted.
    """
    from fptlib import spec
    from fptlib.calibrate import Curve
    from fptlib.calibrate import calibrate as nearest

    where = {"out": out, "workers": workers, "scheduler": scheduler}
    parameters, curve = spec.load(params, set_ or ()), Curve.read(target)
    result = nearest(parameters, curve, over, runs=runs, level=level, seed=seed, **where)
    if as_json:
        output.print_json(result.to_dict() | {"advice": result.advice})
    else:
        print(*result.advice, sep="\n", end="\n\n")
        output.print_table([{k: v if k == "epoch" else f"{v:.4f}" for k, v in row.items()} for row in result.rows()])
        print(*(f"note: {note}\n" for note in result.notes), sep="", end="")
    print(f"{result.trained} run-epochs trained by this call", file=sys.stderr)


def _trained(runs: Trajectories) -> str:
    until = "" if runs.retirement is None else f", each followed until {runs.retirement}"
    return f"{runs.n_runs} runs of {runs.n_epochs} epochs{until}; {runs.meta['trained']} run-epochs trained"


def _print_cost(cost: Cost) -> None:
    rate = cost.flop_per_run_epoch / cost.seconds_per_run_epoch
    total = cost.missing * cost.epochs * cost.flop_per_run_epoch
    processes = f"{cost.workers} process{'es' if cost.workers > 1 else ''}"
    rows = {
        "runs": f"{cost.runs} of {cost.epochs} epochs; {cost.missing} are to be trained",
        "arithmetic": f"{cost.flop_per_run_epoch:.3g} FLOP a run-epoch, {total:.3g} in all",
        "speed": f"{1e3 * cost.seconds_per_run_epoch:.3g} ms a run-epoch, {rate:.3g} FLOP/s: measured here, in a stack of {cost.stack}",
        "time": f"{output.duration(cost.seconds)} with {processes} like this one, if all runs go to the horizon",
        "memory": f"{cost.memory / 2**30:.2f} GiB a process",
        "disk": f"{cost.disk / 2**30:.2f} GiB, snapshots included",
    }
    if not cost.data_at_hand:
        rows["data"] = "not here; random images of the same size and number were used"
    for name, text in rows.items():
        print(f"{name:<12}{text}")
