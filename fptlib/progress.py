"""Progress bar, silent unless somebody watches a terminal."""

from __future__ import annotations

import functools
import os
from typing import IO, NoReturn

from tqdm import tqdm

# Whoever builds the book names here the terminal of its kernels: a kernel's own output ends up in the page.
PROGRESS_VARIABLE = "FPTLIB_PROGRESS"


def bar(total: int | None, desc: str) -> tqdm[NoReturn]:
    """Return a progress bar over ``total`` steps (``None``: an unknown number), silent unless there is a terminal: stderr, or the one
    that ``FPTLIB_PROGRESS`` names.

    >>> with bar(3, "steps") as steps:
    ...     _ = steps.update(3)
    """
    return tqdm(total=total, desc=desc, file=_terminal(os.environ.get(PROGRESS_VARIABLE)), disable=None, leave=False)


@functools.cache
def _terminal(path: str | None) -> IO[str] | None:
    """Open a file to append to, once; None, which stands for stderr, if there is none."""
    try:
        return open(path, "a", buffering=1) if path else None
    except OSError:
        return None
