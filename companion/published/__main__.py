"""Write the summary: ``FPTLIB_DATA=FOLDER python -m companion.published``."""

from __future__ import annotations

import os
import sys

from companion.published.summary import SUMMARY, available
from companion.published.writing import write_summary

if __name__ == "__main__":
    if not available():
        raise SystemExit(
            f"the published trajectories are not here; name their folder in {os.environ.get('FPTLIB_DATA') or '$FPTLIB_DATA'}"
        )
    write_summary()
    sys.stdout.write(f"wrote {SUMMARY}\n")
