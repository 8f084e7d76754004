"""``python -m fptlib``: the command ``fpt``."""

from fptlib.cli import main

if __name__ == "__main__":
    main()
