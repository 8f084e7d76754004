"""The command line: parse arguments, call the library, print. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit, TyperException

from fptlib.cli import output
from fptlib.errors import InputError

app = typer.Typer(
    name="fpt",
    help="Treat training as a first-passage process: find out which perturbation helps, and how often.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data from elsewhere: what is at hand, and how to get it.")
app.add_typer(data_app, name="data")

PathArgument = Annotated[
    Path, typer.Argument(help="A store, a folder with one CSV file for each run, or one tidy CSV or Parquet table.")
]
Threshold = Annotated[float, typer.Option(help="Metric value to reach.")]
Metric = Annotated[
    str | None, typer.Option(help="Column to judge by; test_metric, or the only one, by default.", metavar="COLUMN")
]
DirectionOption = Annotated[str, typer.Option(help="above: the metric grows; below: it falls.", metavar="above|below")]
Level = Annotated[float, typer.Option(help="Confidence level of intervals.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Retire = Annotated[
    float | None, typer.Option(help="Runs stop once they reach this; by default all are followed to the horizon.")
]
RetireMetric = Annotated[str, typer.Option(help="Metric that has to reach the threshold.", metavar="COLUMN")]
Out = Annotated[Path | None, typer.Option(help="Folder for stores; the user's cache by default.")]
Workers = Annotated[int | None, typer.Option(help="Processes on this machine; one for each core by default.")]
Scheduler = Annotated[
    str | None,
    typer.Option(help="Dask scheduler whose workers train, instead of this machine.", metavar="tcp://HOST:PORT"),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Change a parameter; dotted keys.", metavar="KEY=VALUE")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns 0, 1 (a chapter failed), 2 (bad input), or 130 (interrupted)."""
    try:
        status = app(args=list(arguments) or ["--help"], prog_name="fpt", standalone_mode=False)
    except InputError as error:
        return _complain(str(error))
    except TyperException as error:
        return _complain(error.format_message())
    except Exit as stop:
        return int(stop.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads what is still buffered
        return 0
    except OSError as error:
        return _complain(f"{error.filename or 'file system'}: {error.strerror or error}")
    except (KeyboardInterrupt, typer.Abort):
        return 130
    return status if isinstance(status, int) else 0


@app.command()
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

    parameters = spec.load(params, _with_runs(set_, runs))
    retirement = _retirement(threshold, direction, metric)
    if dry_run:
        from fptlib.ensemble.estimate import estimate

        output.print_cost(estimate(parameters, out=out, retirement=retirement, workers=workers))
        return
    trajectories = ensemble.train(
        parameters,
        out=out,
        retirement=retirement,
        keep=_integers("--keep", keep) if keep is not None else (),
        workers=workers,
        scheduler=scheduler,
    )
    print(output.trained(trajectories), file=sys.stderr)
    print(ensemble.store_path(parameters, out=out))


@app.command()
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
    section = {name: _value(name, text) for name, text in _assignments(set_ or []).items()}
    forked = ensemble.fork(
        parent,
        at=at,
        perturbation={"name": perturbation, "repeat": repeat, **section},
        retirement=_retirement(threshold, direction, metric) or retired,
        out=store.parent,
        workers=workers,
        scheduler=scheduler,
    )
    print(
        f"{forked.n_survivors} of {forked.n_parents} runs went on; {output.trained(forked.trajectories)}",
        file=sys.stderr,
    )
    print(ensemble.store_path(forked.spec, out=store.parent))


@app.command()
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


@app.command()
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
    way = _direction(direction)
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


@app.command()
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
        periods=_integers("--periods", periods) if periods is not None else None,
        direction=_direction(direction),
        metric=metric,
        form=form,  # type: ignore[arg-type]
        level=level,
        seed=seed,
    )
    if as_json:
        output.print_json(output.response_json(response))
    else:
        output.print_response(response)


@data_app.command("list")
def list_data() -> None:
    """List data sets and published trajectories, and where they are."""
    from fptlib.sources import catalogue

    output.print_table(("name", "what", "where"), catalogue())


@data_app.command("fetch")
def fetch_data(name: Annotated[str, typer.Argument(help="Name, as fpt data list shows it.")]) -> None:
    """Bring data into the user's cache, checked; prints its folder."""
    from fptlib.sources import BUNDLED, fetch

    if name in BUNDLED:
        print(f"{name} comes with {BUNDLED[name][1]}; nothing to fetch", file=sys.stderr)
        return
    print(fetch(name))


@app.command()
def book(
    params: Annotated[str, typer.Option(help="Set of parameters.", metavar="quick|full")] = "quick",
    chapter: Annotated[str | None, typer.Option(help="One chapter, executed into _build/runs.")] = None,
    set_: Set = None,
) -> None:
    """Execute the chapters and build the site, or execute one chapter with other parameters."""
    from fptlib.book.project import BuildError
    from fptlib.book.site import build

    try:
        build(Path.cwd(), profile=params, chapter=chapter, overrides=_assignments(set_ or []))
    except BuildError as error:
        print(f"fpt: {error}", file=sys.stderr)  # the traceback of the cell follows the first line
        raise Exit(1) from None


def _complain(message: str) -> int:
    print(f"fpt: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _direction(text: str) -> Any:
    if text not in ("above", "below"):
        raise InputError(f"--direction {text}: choose above or below")
    return text


def _integers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text}: whole numbers separated by commas are needed") from None


def _value(key: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(f"--set {key}={text}: not a value (numbers, words, true, false)") from None


def _with_runs(texts: list[str] | None, runs: int | None) -> list[str]:
    return list(texts or []) + ([f"runs={runs}"] if runs is not None else [])


def _retirement(threshold: float | None, direction: str, metric: str) -> Any:
    from fptlib.trajectories import Retirement

    way = _direction(direction)
    return None if threshold is None else Retirement(threshold=threshold, direction=way, metric=metric)


def _assignments(texts: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not (key and equals):
            raise InputError(f"--set {text}: key=value is needed")
    return {key: value for key, _, value in pairs}
