"""Commands of the checkout: `fpt book`, `fpt experiments`, `fpt verify`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.exceptions import Exit

from companion import ROOT
from fptlib.cli import output
from fptlib.cli.options import Set, Workers, assignments

Rows = Annotated[list[str] | None, typer.Argument(help="Rows, as params/experiments names them; all by default.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `fpt`; the entry point of the editable installation names this function."""
    for command in (book, experiments, verify):
        app.command()(command)


def book(
    params: Annotated[
        str,
        typer.Option(
            help="Set of parameters; stored: quick, and results kept with the book.", metavar="stored|quick|full"
        ),
    ] = "stored",
    chapter: Annotated[str | None, typer.Option(help="One chapter, executed into _build/runs.")] = None,
    set_: Set = None,
    jobs: Annotated[int, typer.Option(help="Chapters that are executed at the same time.")] = 1,
) -> None:
    """Execute the chapters and build the site, or execute one chapter with other parameters."""
    from companion.build.project import BuildError
    from companion.build.site import build

    overrides = assignments(set_ or [])
    try:
        build(ROOT, profile=params, chapter=chapter, overrides=overrides, jobs=jobs)
    except BuildError as error:
        print(f"fpt: {error}", file=sys.stderr)  # the traceback of the cell follows the first line
        raise Exit(1) from None


def experiments(
    rows: Rows = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is missing and what it would cost.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for stores in between; the user's cache by default.")] = None,
    workers: Workers = None,
) -> None:
    """Train what is missing of the experiments and keep it with the book; the same command goes on where it was interrupted."""
    from companion import experiments as lib

    chosen = lib.load_rows(rows or ())
    lib.refuse_orphans(lib.load_rows().values())
    if dry_run:
        _print_costs(lib, chosen, workers)
        return
    started, trained = time.perf_counter(), 0
    for n, row in enumerate(chosen.values(), start=1):
        _say(f"row {n} of {len(chosen)}: {row.name} ({row.title})")
        trained += lib.keep_row(row, out=out, workers=workers, say=_say)
    _say(f"{trained} run-epochs trained in {output.duration(time.perf_counter() - started)}")
    print(ROOT / "book" / "results" / "ensembles")


def verify(
    rows: Rows = None,
    runs: Annotated[int, typer.Option(help="Runs of each row to train again.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the draw of these runs.")] = 0,
) -> None:
    """Train some of the kept runs again and compare; exit status 1 if they differ by more than is allowed."""
    from companion import experiments as lib

    chosen = lib.load_rows(rows or ())
    compared = lib.verify(chosen, runs=runs, seed=seed)
    table = []
    for c in compared:
        line = {name: getattr(c, name) for name in ("row", "ensemble", "run", "epochs")}
        same = f"epoch {c.first - 1}" if c.first else "the end"
        table.append(line | {"same until": same, "largest difference": f"{c.largest:.3g}"})
    output.print_table(table)
    exact = {c.row for c in compared if c.exact}
    how = [f"bit by bit: {', '.join(sorted(exact))}"] if exact else []
    if others := sorted({c.row for c in compared if not c.exact}):
        how.append(f"first epochs only, as trained on another machine or with other versions: {', '.join(others)}")
    print(f"{len(compared)} runs compared ({'; '.join(how)})")
    faults = [c.fault for c in compared if c.fault]
    for fault in faults:
        print(f"fpt: {fault}", file=sys.stderr)
    if faults:
        raise Exit(1)


def _say(text: str) -> None:
    """Write a line to stderr without tearing a progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)


def _print_costs(lib: Any, rows: dict[str, Any], workers: int | None) -> None:
    from fptlib.ensemble.estimate import estimate
    from fptlib.ensemble.resources import device_of
    from fptlib.ensemble.verbs import worth

    table: list[dict[str, object]] = []
    total = 0.0
    for name, row in rows.items():
        todo, runs = lib.missing_of(row), f"{row.runs} + {row.perturbed_runs} x {len(row.members()) - 1}"
        work = lib.run_epochs(row, todo)
        line = {"row": name, "runs": runs, "epochs": row.epochs, "missing": len(todo), "run-epochs": work}
        each = estimate(row.unperturbed, workers=workers).seconds_per_run_epoch if todo else 0.0
        used = workers or worth(row.unperturbed, row.runs * row.epochs, device_of(row.unperturbed))
        seconds = work * each / used
        total += seconds
        speed = f"{1e3 * each:.3g} ms" if todo else ""
        table.append(line | {"each": speed, "time at most": output.duration(seconds)})
    output.print_table(table)
    print(f"{output.duration(total)} in all, if no run retires and nothing else uses the machine")
