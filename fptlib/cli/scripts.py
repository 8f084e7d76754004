"""Training runs of a user's own script, started as a search asks for them; the folder of their logs is the only state.

Its finished logs are ``CELL/seedK-epochsN/log.csv``, where a cell is ``none`` or ``PERTURBATION-everyP``; ``.running`` is what is not
finished, and ``failed`` what a run left that failed in the last search. A log that goes on from a shorter one replaces it.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import string
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, final

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fptlib.cli.output import as_options
from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.readers import read
from fptlib.readers.assemble import Zero
from fptlib.search import Search, Trial, parse
from fptlib.trajectories import Target, reached

_NEEDED = ("seed", "epochs", "perturbation", "period", "log")
_LOG, _OUTPUT = "log.csv", "output.txt"
_LAST_LINES, _LONGEST, _POLL_S = 5, 300, 0.5  # lines of output in a message, and the characters of each
_SHELL = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>&1"}


class ScriptError(RuntimeError):
    """A script that failed, in one line."""


@final
class Runs:
    """Runs of one command, with their logs in a folder that no other search uses meanwhile.

    The command has the placeholders ``{seed}``, ``{epochs}``, ``{perturbation}`` (``none``, or the candidate as it was given), ``{period}``
    (0 without perturbation), ``{log}``, and may have ``{threshold}``. An InputError names those that are missing or not known, and says
    where the folder holds logs of another command.
    """

    def __init__(
        self, command: str, *, folder: Path, target: Target, candidates: Sequence[str], epoch_zero: Zero | None = None
    ) -> None:
        self.folder, self.target, self.metric = folder.resolve(), target, target.metric
        self.notes: dict[str, None] = {}
        self._counting: dict[str, Any] = {"metric": target.metric, "epoch_zero": epoch_zero}
        written = [word for text in candidates for word in text.split()]
        self._written = {c.label: word for c, word in zip(parse(written), written, strict=True)}
        if len({"none", *map(_safe, written)}) <= len(written):
            raise InputError(f"candidates {' '.join(written)}: names that differ in letters or digits are needed")
        try:
            self._words = shlex.split(command)
        except ValueError:
            raise InputError("--run: a quotation mark is not closed") from None
        first = self._words[0] if self._words else ""
        if first == "cd" or re.match(r"\w+=", first) or any(w in _SHELL or w.endswith(";") for w in self._words):
            raise InputError(f"--run: no shell runs this; write sh -c '...' around {command.strip()}")
        try:
            fields = (field for word in self._words for field in string.Formatter().parse(word))
            named = {name for _, name, _, _ in fields if name is not None}
            faults = [f"{{{name}}} is missing" for name in _NEEDED if name not in named]
            faults += [f"{{{name}}} is not known" for name in sorted(named.difference(_NEEDED, ["threshold"]))]
            if not faults:
                self._filled(Trial(0, None, None, 1), self.folder)
        except (ValueError, LookupError):
            faults = ["a brace stands alone, or a placeholder holds more than its name"]
        if faults:
            allowed = f"{', '.join(f'{{{name}}}' for name in _NEEDED)} are needed, {{threshold}} is allowed"
            raise InputError(f"--run: {', '.join(faults)}; {allowed}, {{{{ and }}}} are braces")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")
        try:
            self._lock.acquire(blocking=False)
        except Timeout:
            raise InputError(f"{self.folder}: another search is at work in this folder") from None
        record, text = self.folder / "command.txt", f"{command.strip()}\n"
        if record.exists() and (other := record.read_text()) != text:
            message = f"{self.folder}: it holds logs of another command, {other.strip()}; name another folder by --out"
            raise InputError(message)
        write_atomically(record, lambda file: file.write(text.encode()))
        for left in (".running", "failed"):
            shutil.rmtree(self.folder / left, ignore_errors=True)

    def close(self) -> None:
        """Give the folder back."""
        self._lock.release()

    def known(self, trial: Trial) -> NDArray[np.float64] | None:
        """Return the values of a run that was finished before, the shortest that is long enough; ``None`` if there is none."""
        places = self._place(trial).parent.glob(f"seed{trial.seed}-epochs*")
        for place in sorted(places, key=lambda path: int(path.name.rpartition("epochs")[2])):
            values = self._read(place)[: trial.epochs]
            if self._enough(trial, values):
                return values
        return None

    def start(self, trial: Trial) -> tuple[list[str], Path]:
        """Return the words of a run's command, and a folder of its own to run in."""
        kept = self._place(trial)
        # The process is named too: one that was killed may have left scripts that still write.
        place = self.folder / ".running" / f"{kept.parent.name}-{kept.name}-{os.getpid()}"
        place.mkdir(parents=True)
        return self._filled(trial, place), place

    def finish(self, trial: Trial, place: Path, status: int) -> NDArray[np.float64]:
        """Keep the log of a run that has ended, and return its values; a ScriptError says why there are none, and where its output is."""
        unreadable = False
        reason = f"failed with status {status}" if status > 0 else f"was ended by signal {-status}" if status else ""
        if not reason and not (place / _LOG).exists():
            reason = "wrote no log"
        if not reason:
            try:
                values = self._read(place)
                if self._enough(trial, values) and len(values) <= trial.epochs:
                    shutil.rmtree(self._place(trial), ignore_errors=True)  # of a target that was easier to reach
                    self._place(trial).parent.mkdir(exist_ok=True)
                    os.rename(place, self._place(trial))
                    self._drop_beginnings(trial, values)
                    return values
                least = f"{trial.epochs} were asked for, or fewer that reach {self.target.threshold:g}"
                reason = "; ".join([f"logged {len(values)} epochs", least, *self.notes])
            except InputError as error:
                reason, unreadable = str(error), True
        kept = self.folder / "failed" / place.name.rpartition("-")[0]
        kept.parent.mkdir(exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        os.rename(place, kept)
        output = kept / _OUTPUT
        lines = [line.strip() for line in output.read_text(errors="replace").splitlines()] if output.exists() else []
        end = " / ".join([_short(line) for line in lines if line][-_LAST_LINES:]) or "nothing"
        reason = as_options(reason.replace(str(place), str(kept)))
        shown = "" if unreadable else f"; the end of {output}: {end}"
        raise ScriptError(f"{shlex.join(self._filled(trial, kept))}: {reason}{shown}")

    def _drop_beginnings(self, trial: Trial, values: NDArray[np.float64]) -> None:
        """Remove shorter logs of a run that are the beginning of its new one: as two runs they would be one logged twice."""
        for place in [*self._place(trial).parent.glob(f"seed{trial.seed}-epochs*")]:
            if place != self._place(trial) and np.array_equal(shorter := self._read(place), values[: len(shorter)]):
                shutil.rmtree(place)

    def _filled(self, trial: Trial, place: Path) -> list[str]:
        values = {"seed": trial.seed, "epochs": trial.epochs, "period": trial.period or 0, "log": str(place / _LOG)}
        values |= {"perturbation": self._rule(trial), "threshold": self.target.threshold}
        return [word.format(**values) for word in self._words]

    def _rule(self, trial: Trial) -> str:
        """Return the perturbation as it was given."""
        return "none" if trial.perturbation is None else self._written[trial.perturbation]

    def _place(self, trial: Trial) -> Path:
        every = "" if trial.period is None else f"-every{trial.period}"
        return self.folder / f"{_safe(self._rule(trial))}{every}" / f"seed{trial.seed}-epochs{trial.epochs}"

    def _read(self, place: Path) -> NDArray[np.float64]:
        runs = read(place, **self._counting)
        if runs.n_runs != 1:
            raise InputError(f"{place / _LOG}: {runs.n_runs} runs, one is needed")
        self.metric = runs.metric_name(self.target.metric)
        self.notes |= dict.fromkeys(runs.meta.get("notes", ()))
        return np.asarray(runs.metric(self.metric)[0])

    def _enough(self, trial: Trial, values: NDArray[np.float64]) -> bool:
        return len(values) >= trial.epochs or bool(reached(values, self.target).any())


def perform(search: Search, runs: Runs, executor: Executor, *, jobs: int, report: Callable[[int], object]) -> int:
    """Run what a search asks for, ``jobs`` at once, until it has ended; return the run-epochs that were not known before."""
    running: dict[Future[int], tuple[Trial, Path]] = {}
    new = 0
    try:
        while not search.finished:
            while len(running) < jobs and (trial := search.ask()) is not None:
                known = runs.known(trial)
                if known is None:
                    words, place = runs.start(trial)
                    running[executor.submit(execute, words, place, os.getcwd())] = trial, place
                else:
                    search.tell(trial, known)
                    report(len(known))
            failed: ScriptError | None = None
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial, place = running.pop(future)
                try:
                    values = runs.finish(trial, place, future.result())
                except ScriptError as error:
                    failed = error  # once the others that have ended are kept
                    continue
                search.tell(trial, values)
                report(len(values))
                new += len(values)
            if failed:
                raise failed
    finally:
        shutil.rmtree(runs.folder / ".running", ignore_errors=True)  # which ends what still runs
    if search.doubt:
        raise ScriptError(search.doubt)
    return new


def execute(words: Sequence[str], place: Path, directory: str) -> int:
    """Run a command, its output in a file of its place, and return its status; it is ended when its place is removed."""
    with open(place / _OUTPUT, "wb") as output:
        try:
            process = subprocess.Popen(
                words, cwd=directory, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        except OSError as error:
            output.write(f"{error.filename}: {error.strerror}".encode())
            return 127  # as a shell would say
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=_POLL_S)
            if not place.exists():
                with suppress(OSError):
                    os.killpg(process.pid, signal.SIGKILL)
                return process.wait()


def _safe(text: str) -> str:
    """Return a text as part of a file name, on systems that do not tell capitals apart too."""
    return re.sub(r"[^\w.=,+-]", "_", text).lower()


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]} (and {len(line) - _LONGEST} more characters)"
