"""The command line: parse arguments, call the library, print. Errors are one line on stderr and exit status 2."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer
from typer.exceptions import Exit, TyperException

from fptlib.cli import analysis, output, search, training
from fptlib.errors import InputError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

data_app = typer.Typer(help="Data from elsewhere: what is at hand, and how to get it.")
_ANALYSES: Final = (analysis.inspect, analysis.qss, analysis.predict, analysis.recommend, analysis.plan)
_COMMANDS: Final = {
    f.__name__: f for f in (training.train, training.fork, *_ANALYSES, search.optimise, training.calibrate)
}
_OF_THE_BOOK: Final = ("book", "experiments", "verify")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    # For NumPy, loaded later: on matrices so small more threads wait.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns 0, 1 (a chapter or a script failed), 2 (bad input), or 130 (interrupted)."""
    requested = arguments[0] if arguments else "--help"
    additions = () if requested in _COMMANDS else _additions()
    if requested in _OF_THE_BOOK and not additions:
        return _complain(f"{requested} belongs to the book: clone the project, run make book, and use .venv/bin/fpt")
    app = _application(requested)
    for addition in additions:
        addition.load()(app)
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


def _application(requested: str) -> typer.Typer:
    """Return the command line; of commands that are not asked for only what the list of all of them shows, which is quicker."""
    app = typer.Typer(
        name="fpt",
        help="Treat training as a first-passage process: find out which perturbation helps, and how often.",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    for name, command in _COMMANDS.items():
        app.command(name, help=command.__doc__)(command if name == requested else lambda: None)
    app.add_typer(data_app, name="data")
    return app


def _additions() -> EntryPoints | tuple[()]:
    """Return the commands that the project's checkout adds; a plain installation has none."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution("fptlib-companion").entry_points.select(group="fptlib.commands")
    except PackageNotFoundError:
        return ()


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
