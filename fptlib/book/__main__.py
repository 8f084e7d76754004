"""``python -m fptlib.book [quick|full]``: build the site of the project in the current folder."""

import sys
from pathlib import Path

from fptlib.book.project import BuildError
from fptlib.book.site import build
from fptlib.errors import InputError


def main(arguments: list[str]) -> int:
    """Build and return the exit status: 0, 1 for a failed build, 2 for wrong input."""
    if len(arguments) > 1:
        sys.stderr.write("usage: python -m fptlib.book [quick|full]\n")
        return 2
    try:
        build(Path.cwd(), *arguments)
    except InputError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
