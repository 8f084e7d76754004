"""The command line: parse arguments, call the library, print. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Annotated

import typer
from typer.exceptions import Exit, TyperException

from fptlib.cli import analysis, output, search, training
from fptlib.errors import InputError

app = typer.Typer(
    name="fpt",
    help="Treat training as a first-passage process: find out which perturbation helps, and how often.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Data from elsewhere: what is at hand, and how to get it.")
_analyses = (analysis.inspect, analysis.qss, analysis.predict, analysis.recommend, analysis.plan)
for _command in (training.train, training.fork, *_analyses, search.optimise):
    app.command()(_command)
app.add_typer(data_app, name="data")
_OF_THE_BOOK = ("book", "experiments", "verify")
# Commands that the project's checkout adds; a plain installation has none.
_additions = entry_points(group="fptlib.commands")
for _addition in _additions:
    _addition.load()(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    # For NumPy, loaded later: on matrices so small more threads wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns 0, 1 (a chapter or a script failed), 2 (bad input), or 130 (interrupted)."""
    if arguments and arguments[0] in _OF_THE_BOOK and not _additions:
        return _complain(f"{arguments[0]} belongs to the book: clone the project, run make book, and use .venv/bin/fpt")
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

    output.print_table([dict(zip(("name", "what", "where"), row, strict=True)) for row in catalogue()])


@data_app.command("fetch")
def fetch_data(name: Annotated[str, typer.Argument(help="Name, as fpt data list shows it.")]) -> None:
    """Bring data into the user's cache, checked; prints its folder."""
    from fptlib.sources import BUNDLED, fetch

    if name in BUNDLED:
        print(f"{name} comes with {BUNDLED[name][1]}; nothing to fetch", file=sys.stderr)
        return
    print(fetch(name))


def _complain(message: str) -> int:
    print(f"fpt: {output.as_options(' '.join(message.split()))}", file=sys.stderr)
    return 2
