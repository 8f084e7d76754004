"""The command line: parse arguments, call the library, print. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit, TyperException

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
    out: Annotated[Path | None, typer.Option(help="Folder for stores; the user's cache by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes; one for each core by default.")] = None,
) -> None:
    """Train an ensemble, or only what a store lacks; prints the folder of the store."""
    from fptlib import ensemble, spec

    overrides = list(set_ or []) + ([f"runs={runs}"] if runs is not None else [])
    parameters = spec.load(params, overrides)
    trajectories = ensemble.train(parameters, out=out, workers=workers)
    print(f"{trajectories.n_runs} runs of {trajectories.n_epochs} epochs", file=sys.stderr)
    print(ensemble.store_path(parameters, out=out))


@app.command()
def inspect(path: PathArgument) -> None:
    """Say what a store, folder or table holds."""
    from fptlib import readers

    trajectories = readers.read(path)
    print(f"{path}: {trajectories.n_runs} runs of {trajectories.n_epochs} epochs")
    rows = [
        (name, values[:, 0].mean(), values[:, -1].mean(), values.min(), values.max())
        for name, values in trajectories.metrics.items()
    ]
    _print_table(
        ("metric", "mean at epoch 1", f"mean at epoch {trajectories.n_epochs}", "smallest", "largest"),
        [(name, *(f"{value:.6g}" for value in values)) for name, *values in rows],
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
    require_passage(threshold, direction=way, unperturbed=trajectories.metric(metric))
    state = judge(trajectories, threshold=threshold, direction=way, metric=metric, seed=seed)
    if as_json:
        _print_json({**_state_json(state), "profile": _profile_json(state)})
        return
    print(f"quasi-steady state: {_state_words(state)}  ({state.n_runs} runs)")
    for reason in state.reasons:
        print(f"  - {reason}")
    columns = ("epoch", "survivors", "distance", "at epoch", "p")
    rows = zip(state.epoch, state.n_survivors, state.distance, state.at, state.p_value, strict=True)
    _print_table(columns, [(str(t), str(n), f"{d:.2f}", str(a), f"{p:.3f}") for t, n, d, a, p in rows])


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
        periods=_integers(periods) if periods is not None else None,
        direction=_direction(direction),
        metric=metric,
        form=form,  # type: ignore[arg-type]
        level=level,
        seed=seed,
    )
    if as_json:
        _print_json(_response_json(response))
    else:
        _print_response(response)


@data_app.command("list")
def list_data() -> None:
    """List data sets and published trajectories, and where they are."""
    from fptlib.sources import SOURCES, where

    rows = [("digits", "8 x 8 handwritten digits, 1797 images", "comes with scikit-learn")]
    rows += [(name, source.summary, where(name)) for name, source in SOURCES.items()]
    _print_table(("name", "what", "where"), rows)


@data_app.command("fetch")
def fetch_data(name: Annotated[str, typer.Argument(help="Name, as fpt data list shows it.")]) -> None:
    """Bring data into the user's cache, checked; prints its folder."""
    from fptlib.sources import fetch

    if name == "digits":
        print("digits comes with scikit-learn; nothing to fetch", file=sys.stderr)
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


def _integers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--periods {text}: whole numbers separated by commas are needed") from None


def _assignments(texts: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not (key and equals):
            raise InputError(f"--set {text}: key=value is needed")
    return {key: value for key, _, value in pairs}


def _print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    if not rows:
        return
    widths = [max(len(row[j]) for row in (columns, *rows)) for j in range(len(columns))]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_json(content: object) -> None:
    print(json.dumps(_plain(content), indent=1, allow_nan=False))


def _plain(value: Any) -> Any:
    """JSON has no NaN or infinity: null stands for a number that is not there."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _state_json(state: Any) -> dict[str, Any]:
    return {
        "reached": bool(state.reached),
        "relaxation_epoch": state.relaxation_epoch,
        "reasons": list(state.reasons),
    }


def _profile_json(state: Any) -> list[dict[str, Any]]:
    from fptlib.tables import state_table

    return list(json.loads(state_table(state).to_json(orient="records")))


def _state_words(state: Any) -> str:
    return f"reached at epoch {state.relaxation_epoch}" if state.reached else "not reached"


def _response_json(response: Any) -> dict[str, Any]:
    def interval(estimate: Any) -> dict[str, float]:
        return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}

    best = response.best
    return {
        "unperturbed": {
            "n_runs": response.unperturbed.n_runs,
            "n_censored": response.unperturbed.n_censored,
            "horizon": response.horizon,
            "restricted_mean": interval(response.unperturbed),
        },
        "qss": _state_json(response.quasi_steady_state),
        "residual": {
            "period": response.period,
            "n_survivors": response.residual.n_runs,
            "n_censored": response.residual.n_censored,
            **interval(response.residual),
        },
        "predictions": [
            {"period": p.period, "form": p.form, **interval(p), "valid": p.valid, "reason": _reason(p)}
            for p in response.predictions
        ],
        "best": None
        if best is None
        else {"period": best.period, **interval(best), "speedup_at_least": response.speedup_at_least},
    }


def _reason(prediction: Any) -> str:
    return f"{prediction.verdict.status.value}: {prediction.verdict.reason}"


def _print_response(response: Any) -> None:
    mean, residual = response.unperturbed, response.residual
    print(
        f"unperturbed: {_interval(mean)} epochs up to {response.horizon}, {mean.n_runs} runs, {mean.n_censored} censored"
    )
    print(
        f"residual time after epoch {response.period}: {_interval(residual)} epochs, {residual.n_runs} survivors, "
        f"{residual.n_censored} censored"
    )
    print(f"quasi-steady state: {_state_words(response.quasi_steady_state)}")
    for reason in response.quasi_steady_state.reasons:
        print(f"  - {reason}")
    rows = [
        (str(p.period), str(p.form), f"{p.mean:.2f}", f"{p.low:.2f} to {p.high:.2f}", p.verdict.status.value, p.verdict.reason)
        for p in response.predictions
    ]  # fmt: skip
    interval = f"{100 * response.level:g} % interval"
    _print_table(("period", "form", "mean", interval, "status", "reason"), rows)
    best = response.best
    if best is None:
        print("no prediction is valid: measure at another period, with more runs, or at another threshold")
        return
    shortest = min(p.period for p in response.predictions if p.valid)
    edge = " (the shortest valid period tried: a shorter one may be better)" if best.period == shortest else ""
    print(f"best valid period: {best.period}{edge}, {_interval(best)} epochs")
    if response.speedup_at_least > 1:
        print(
            f"mean up to epoch {response.horizon} at least {response.speedup_at_least:.2f} times smaller than without perturbation"
        )
    else:
        print("no valid period is shown to beat training without perturbation")


def _interval(estimate: Any) -> str:
    return f"{estimate.mean:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
