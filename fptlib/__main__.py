"""``python -m fptlib``: the command ``fpt``."""

import sys

if not sys.flags.safe_path:
    del sys.path[0]  # `-m` puts the working folder there, and nothing in it is to be imported

from fptlib.cli import main

if __name__ == "__main__":
    main()
