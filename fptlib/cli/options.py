"""Options that several commands share, and the values that their texts stand for."""

from __future__ import annotations

import math
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from fptlib.errors import InputError, meant

if TYPE_CHECKING:
    from fptlib.trajectories import Target, Trajectories

Key = TypeVar("Key", bound=Hashable)
PathArgument = Annotated[
    Path, typer.Argument(help="A store, a folder of logs in any format that is known, or one tidy table.")
]
Unperturbed = Annotated[Path, typer.Option(help="Runs without perturbation.")]
Threshold = Annotated[float, typer.Option(help="Metric value to reach.")]
Thresholds = Annotated[
    str, typer.Option(help="Metric value to reach; several separated by commas.", metavar="X[,X...]")
]
Axis = Annotated[
    Literal["auto", "epoch", "step"],
    typer.Option(help="What the logs count: epochs, or evaluations by step.", metavar="auto|epoch|step"),
]
Every = Annotated[int | None, typer.Option(help="Steps between the evaluations that count, for logs by step.")]
EpochZero = Annotated[
    Literal["first", "before"] | None,
    typer.Option(
        help="What epoch 0 of the logs is: the first, or an evaluation before training.", metavar="first|before"
    ),
]
Periods = Annotated[
    str | None, typer.Option(help="Periods to predict for; a spread of them by default.", metavar="10,20,50")
]
Metric = Annotated[
    str | None, typer.Option(help="Column to judge by; test_metric, or the only one, by default.", metavar="COLUMN")
]
DirectionOption = Annotated[
    Literal["above", "below"], typer.Option(help="above: the metric grows; below: it falls.", metavar="above|below")
]
Level = Annotated[float, typer.Option(help="Confidence level of intervals.")]
SeedOption = Annotated[int, typer.Option(help="Seed of the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Everything = Annotated[bool, typer.Option("--all", help="Print whole tables, and every note.")]
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


def ensembles(
    unperturbed: Path, perturbed: Mapping[Key, Path], *, metric: str | None = None, **reading: Any
) -> tuple[Trajectories, dict[Key, Trajectories]]:
    """Read unperturbed runs and perturbed ones, all from different places; ``reading`` are further options of `fptlib.readers.read`."""
    from fptlib.readers import read

    seen = {unperturbed.resolve(): "--unperturbed"}
    for path in perturbed.values():
        if path.resolve() in seen:
            first = seen[path.resolve()]
            raise InputError(f"{first} and --perturbed both name {path}; two different ensembles are needed")
        seen[path.resolve()] = "--perturbed"
    plain = read(unperturbed, metric=metric, **reading)
    return plain, {key: read(path, metric=metric, **reading) for key, path in perturbed.items()}


def perturbed_paths(texts: Iterable[str], *, named: bool, period: int | None = None) -> dict[tuple[str, int], Path]:
    """Return name and period to path of ``NAME:P0=PATH``; of ``[P0=]PATH``, with an empty name, unless ``named``."""
    from fptlib.response.results import WORDS

    paths: dict[tuple[str, int], Path] = {}
    for text in texts:
        parts = re.fullmatch(r"([^:=]+):(\d+)=(.+)" if named else r"()(\d+)=(.+)", text)
        if parts is not None:
            name, at, path = parts[1], int(parts[2]), parts[3]
        elif named:
            raise InputError(f"--perturbed {text}: NAME:P0=PATH is needed, as shrink_perturb:50=logs/every50")
        elif period is None:
            raise InputError(f"--perturbed {text}: which period? write P0={text}, or name it by --period")
        else:
            name, at, path = "", period, text
        near = meant(name, WORDS, cutoff=0.8)
        if near and not name.startswith(tuple(WORDS)):
            raise InputError(
                f"--perturbed {text}: {name!r} is no rule of this library{near} Allowed: {', '.join(WORDS)}, or a "
                "name of your own that is less like them"
            )
        if (name, at) in paths:
            who = f"{name} with period" if name else "period"
            raise InputError(f"--perturbed {text}: {who} {at} was given twice")
        paths[name, at] = Path(path)
    return paths


def integers(option: str, text: str | None) -> list[int] | None:
    """Return whole numbers separated by commas; ``None`` without the option."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{option} {text}: whole numbers separated by commas are needed") from None


def numbers(option: str, text: str) -> list[float]:
    """Return numbers separated by commas, each once, in the order given."""
    try:
        values = list(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError:
        values = [math.nan]
    if not all(map(math.isfinite, values)):
        raise InputError(f"{option} {text}: a number, or several separated by commas, are needed")
    return values


def ending(option: str, path: Path, *known: str) -> None:
    """Make sure that the name of a file to write says what it is to hold."""
    if path.suffix not in known:
        raise InputError(f"{option} {path}: a name that ends in {' or '.join(known)} is needed")


def retirement_of(threshold: float | None, direction: Literal["above", "below"], metric: str) -> Target | None:
    """Return the retirement at a threshold; ``None`` without one."""
    from fptlib.trajectories import Target

    return None if threshold is None else Target(threshold, direction, metric)


def assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Return keys and YAML values of texts ``key=value``."""
    from fptlib.spec.written import parse

    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise InputError(f"--set {text}: key=value is needed")
        try:
            values[key] = parse(value)
        except InputError:
            raise InputError(f"--set {text}: not a value (numbers, words, true, false)") from None
    return values
