"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fptlib.errors import InputError

if TYPE_CHECKING:
    from fptlib.trajectories import Trajectories

PathArgument = Annotated[
    Path, typer.Argument(help="A store, a folder with one CSV file for each run, or one tidy CSV or Parquet table.")
]
Threshold = Annotated[float, typer.Option(help="Metric value to reach.")]
Thresholds = Annotated[
    str, typer.Option(help="Metric value to reach; several separated by commas.", metavar="X[,X...]")
]
Axis = Annotated[
    str, typer.Option(help="What the logs count: epochs, or evaluations by step.", metavar="auto|epoch|step")
]
Every = Annotated[int | None, typer.Option(help="Steps between the evaluations that count, for logs by step.")]
Periods = Annotated[
    str | None, typer.Option(help="Periods to predict for; a spread of them by default.", metavar="10,20,50")
]
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


def direction_of(text: str) -> Any:
    """Direction that ``--direction`` names."""
    if text not in ("above", "below"):
        raise InputError(f"--direction {text}: choose above or below")
    return text


def reader(axis: str, every: int | None) -> Callable[[Path], Trajectories]:
    """What reads logs as ``--axis`` and ``--every`` say."""
    from fptlib.readers import read

    if axis not in ("auto", "epoch", "step"):
        raise InputError(f"--axis {axis}: choose auto, epoch or step")
    return partial(read, axis=axis, every=every)  # type: ignore[arg-type]


def integers(option: str, text: str) -> list[int]:
    """Whole numbers separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text}: whole numbers separated by commas are needed") from None


def numbers(option: str, text: str) -> list[float]:
    """Numbers separated by commas, each once, in the order given."""
    try:
        found = list(dict.fromkeys(float(part) for part in text.split(",")))
        if not all(map(math.isfinite, found)):
            raise ValueError
        return found
    except ValueError:
        raise InputError(f"{option} {text}: a number, or several separated by commas, are needed") from None


def ending(option: str, path: Path, *known: str) -> None:
    """Make sure that the name of a file to write says what it is to hold."""
    if path.suffix not in known:
        raise InputError(f"{option} {path}: a name that ends in {' or '.join(known)} is needed")


def value_of(key: str, text: str) -> Any:
    """YAML value of ``--set KEY=TEXT``."""
    from fptlib.spec.faults import ParameterError
    from fptlib.spec.written import parse

    try:
        return parse(text)
    except ParameterError:
        raise InputError(f"--set {key}={text}: not a value (numbers, words, true, false)") from None


def with_runs(texts: list[str] | None, runs: int | None) -> list[str]:
    """Overrides, with the number of runs among them if it was given."""
    return list(texts or []) + ([f"runs={runs}"] if runs is not None else [])


def retirement_of(threshold: float | None, direction: str, metric: str) -> Any:
    """Retirement at a threshold; ``None`` without one."""
    from fptlib.trajectories import Retirement

    way = direction_of(direction)
    return None if threshold is None else Retirement(threshold=threshold, direction=way, metric=metric)


def assignments(texts: Iterable[str]) -> dict[str, str]:
    """Keys and values of texts ``key=value``."""
    pairs = [text.partition("=") for text in texts]
    for text, (key, equals, _) in zip(texts, pairs, strict=True):
        if not (key and equals):
            raise InputError(f"--set {text}: key=value is needed")
    return {key: value for key, _, value in pairs}
