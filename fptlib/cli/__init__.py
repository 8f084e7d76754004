"""The command line: parse arguments, call the library, print. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import Exit, TyperException

from fptlib.cli import analysis, experiments, output, training
from fptlib.cli.options import Set, assignments
from fptlib.errors import InputError

app = typer.Typer(
    name="fpt",
    help="Treat training as a first-passage process: find out which perturbation helps, and how often.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data from elsewhere: what is at hand, and how to get it.")
for _command in (
    training.train,
    training.fork,
    analysis.inspect,
    analysis.qss,
    analysis.predict,
    analysis.recommend,
    analysis.plan,
    training.optimise,
    experiments.experiments,
    experiments.verify,
):
    app.command()(_command)
app.add_typer(data_app, name="data")


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
    params: Annotated[
        str,
        typer.Option(
            help="Set of parameters; stored: quick, and results kept with the book.", metavar="stored|quick|full"
        ),
    ] = "stored",
    chapter: Annotated[str | None, typer.Option(help="One chapter, executed into _build/runs.")] = None,
    set_: Set = None,
) -> None:
    """Execute the chapters and build the site, or execute one chapter with other parameters."""
    from fptlib.book.project import BuildError
    from fptlib.book.site import build

    try:
        build(Path.cwd(), profile=params, chapter=chapter, overrides=assignments(set_ or []))
    except BuildError as error:
        print(f"fpt: {error}", file=sys.stderr)  # the traceback of the cell follows the first line
        raise Exit(1) from None


def _complain(message: str) -> int:
    print(f"fpt: {' '.join(message.split())}", file=sys.stderr)
    return 2
