"""One progress bar, shown where somebody can see it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from tqdm import tqdm

# Whoever builds the book names here the file to which the bars of its kernels go: a kernel's own output ends up in the
# page.
PROGRESS_VARIABLE = "FPTLIB_PROGRESS"
# A log file gets a line now and then; a terminal is redrawn ten times a second.
_LOG_INTERVAL_S = 10.0


def bar(total: int, desc: str) -> tqdm[None]:
    """Progress bar over ``total`` steps.

    Drawn on a terminal. Otherwise it goes to the file that ``FPTLIB_PROGRESS`` names, as one line every 10 s unless
    that file is a terminal. Without either it shows nothing.

    Parameters
    ----------
    total
        Number of steps.
    desc
        What is being done.

    Examples
    --------
    >>> with bar(3, "steps") as steps:
    ...     _ = steps.update(3)
    """
    target = os.environ.get(PROGRESS_VARIABLE)
    if target:
        try:
            # Line buffered and appending: several kernels write to the same file.
            file = Path(target).open("a", buffering=1)  # noqa: SIM115
        except OSError:
            return _Bar(total=total, desc=desc, disable=True)
        return _Bar(total=total, desc=desc, file=file, terminal=file.isatty(), close_file=True)
    terminal = sys.stderr is not None and sys.stderr.isatty()
    return _Bar(total=total, desc=desc, terminal=terminal, disable=not terminal)


class _Lines:
    """File in which each redrawing of a bar is a line of its own."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        line = text.strip("\r\n ")
        if line:
            self._file.write(line + "\n")

    def flush(self) -> None:
        self._file.flush()


class _Bar(tqdm):  # type: ignore[type-arg]
    """tqdm that closes the file it was given and writes lines where there is no terminal."""

    def __init__(
        self,
        *,
        total: int,
        desc: str,
        file: IO[str] | None = None,
        terminal: bool = True,
        close_file: bool = False,
        disable: bool = False,
    ) -> None:
        self._own_file = file if close_file else None
        target = file if terminal or file is None else _Lines(file)
        interval = 0.1 if terminal else _LOG_INTERVAL_S
        super().__init__(
            total=total,
            desc=desc,
            file=target,
            mininterval=interval,
            maxinterval=interval,
            disable=disable,
            delay=0 if terminal else interval,  # what is done sooner is not worth a line
            leave=False,
        )

    def close(self) -> None:
        """End the bar."""
        super().close()
        if self._own_file is not None:
            self._own_file.close()
            self._own_file = None
