"""Ask and tell: the closed loop over training runs of somebody else, its state in a file that several workers may share."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.search.candidates import UNPERTURBED, Candidate, Cell, cell, described, parse
from fptlib.search.loop import Decisions
from fptlib.search.result import SearchResult, Settings
from fptlib.search.source import Ledger, Source
from fptlib.trajectories import DEFAULT_METRIC, Target, Trajectories, reached

_Values = NDArray[np.float64]
_Known = tuple[int, _Values]  # epochs asked for, and the values of a run up to its passage
_NOTHING = (0, np.zeros(0))


@dataclass(frozen=True, slots=True)
class Trial:
    """A training run that is wanted, up to ``epochs``: its seed, and its perturbation with a period (both ``None``: unperturbed).

    ``rule`` has the name of the perturbation and its parameters; the run is known up to epoch ``resume_from``, and may go on from there.
    """

    seed: int
    perturbation: str | None
    period: int | None
    epochs: int
    rule: Mapping[str, Any] | None = None
    resume_from: int = 0

    def __str__(self) -> str:
        return f"{described(self.perturbation, self.period)}, seed {self.seed}"


@final
class Reported(Source):
    """Runs that somebody else trained and told; ``notes`` says so if they show that training does not repeat itself."""

    def __init__(self, *, horizon: int, retirement: Target, resumes: bool) -> None:
        super().__init__(horizon=horizon, retirement=retirement, ledger=Ledger(shared=False))
        self.notes: tuple[str, ...] = ()
        self._resumes = resumes
        self._known: dict[int, dict[Cell, _Known]] = {}  # by seed
        self._spent: dict[Cell, list[int]] = {}

    @property
    def _anew(self) -> bool:
        """True if a run for more epochs is another run: it starts again, and training does not repeat itself."""
        return bool(self.notes) and not self._resumes

    def missing(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> dict[int, _Values]:
        """Return the seeds of the runs that are not known so far, each with what is known of it.

        Where runs are started anew all are, those too that had passed: to start only the others would give them a second chance.
        """
        known = {seed: self._of(cell(candidate, period), seed) for seed in range(n_runs)}
        return {
            seed: values
            for seed, (requested, values) in known.items()
            if (self._anew and requested < epochs) or (len(values) < epochs and not self._passed(values))
        }

    def at_most(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> int:
        """Return the run-epochs of what is missing; a run that cannot be resumed takes all its epochs."""
        missing = self.missing(candidate, period, n_runs, epochs).values()
        return sum(epochs - (len(values) if self._resumes else 0) for values in missing)

    def tell(self, trial: Trial, start: int, values: Sequence[float]) -> None:
        """Add epochs of a run, and compare them with those of its seed."""
        key, own = (trial.perturbation, trial.period), self._known.setdefault(trial.seed, {})
        (requested, before), end, reason = own.get(key, _NOTHING), start + len(values), ""
        if not values:
            reason = "no value was told; a run has one number for each epoch"
        elif end > trial.epochs:
            reason = f"epochs up to {end} were told, {trial.epochs} were asked for; end the run there, or tell the first of them only"
        elif not 0 <= start <= len(before):
            reason = f"{len(before)} epochs are known, and {len(values)} from epoch {start + 1} on were told"
        elif not np.isfinite(values).all():
            i = int(np.isfinite(values).argmin())
            reason = (
                f"the value at epoch {start + i + 1} is {values[i]}, a finite number is needed; if the run diverged for good, "
                "tell a value that no threshold takes for a passage"
            )
        elif end == len(before) < trial.epochs == requested and not self._passed(values):
            reason = f"it ended at epoch {end} again; epoch {trial.epochs} or the threshold is to be reached"
        if reason:
            raise InputError(f"{trial}: {reason}")
        whole = np.concatenate([before[:start], values])
        if self._passed(whole):
            whole = whole[: reached(whole, self.retirement).argmax() + 1]
        for other, (_, theirs) in own.items():
            shared = self.horizon if other == key else min(c[1] or self.horizon for c in (key, other))
            n = min(shared, len(whole), len(theirs))
            for i in [] if self.notes else np.flatnonzero(whole[:n] != theirs[:n])[:1]:
                self.notes = (
                    f"runs of seed {trial.seed} differ before any perturbation ({whole[i]:g} and {theirs[i]:g} at epoch {i + 1}), so each "
                    "run was trained by itself, and anew where more epochs were wanted, which costs more; training repeats itself if all "
                    "generators and the order of the data are seeded, torch.use_deterministic_algorithms(True) is set, nothing depends on "
                    "the number of epochs asked for, and perturbations follow the evaluation",
                )
        own[key] = max((requested, before), (trial.epochs, whole), key=lambda run: (self._anew and run[0], len(run[1])))
        spent = self._spent.setdefault(key, [])
        spent.append(len(values))
        self.ledger.charge(key[0], period=key[1], followed=np.array(spent), passed=np.ones(len(spent), dtype=bool))

    def _of(self, key: Cell, seed: int) -> _Known:
        """Return what is known of a run: the unperturbed one of its seed, if that had passed before the perturbation."""
        own = self._known.get(seed, {})
        plain = own.get(UNPERTURBED, _NOTHING)
        same = not self.notes and len(plain[1]) <= (key[1] or 0) and self._passed(plain[1])
        return plain if same else own.get(key, _NOTHING)

    def _passed(self, values: Sequence[float] | _Values) -> bool:
        return bool(reached(np.asarray(values), self.retirement).any())

    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        rows = [self._of(cell(candidate, period), seed)[1][:epochs] for seed in range(n_runs)]
        values = np.array([np.pad(row, (0, epochs - len(row)), constant_values=np.nan) for row in rows])
        meta = {"retirement": self.retirement.to_dict()}
        return Trajectories({self.retirement.name: values}, np.arange(n_runs), meta, np.array([*map(len, rows)]))


@final
class Search:
    """A search that asks for training runs and is told their metric; it decides as `fptlib.search.optimise` does.

    Parameters
    ----------
    candidates
        Perturbations to choose from, as ``"shrink noise:scale=0.1"`` or in a list, by any names. ``full_reset`` is taken for a restart of
        the training, whose means follow from unperturbed runs.
    target, horizon
        Value to reach, or a `Target` with its direction, and the last epoch that counts.
    resumes
        Whether training runs go on where they ended; otherwise the budget allows for starting them again from epoch 1.
    state
        JSON file that keeps what was asked and told. Workers that name the same file work on one search, and an interrupted search goes
        on. A file of another search raises an InputError; the budget may differ.
    settings
        ``budget``, ``periods`` and the others of `Settings`.

    Notes
    -----
    Deterministic training repeats the unperturbed run of its seed up to the perturbation: where that had reached the threshold by then,
    the perturbed run is not asked for. Where values told show that training does not repeat itself, the result says so.

    >>> search = Search("kick", 0.9, horizon=40, budget=2000)
    >>> trial = search.ask()
    >>> trial.seed, trial.perturbation, trial.epochs
    (0, None, 16)
    >>> search.tell(trial, [0.2, 0.5, 0.93])
    >>> search.result().spent, search.finished
    (3, False)
    """

    def __init__(
        self,
        candidates: str | Iterable[str],
        target: Target | float,
        *,
        horizon: int,
        resumes: bool = False,
        state: str | os.PathLike[str] | None = None,
        **settings: Any,
    ) -> None:
        named, chosen, target = parse(candidates), Settings(**settings), Target.of(target)
        target = replace(target, metric=target.metric or DEFAULT_METRIC)
        about = {"rules": {c.label: c.rule for c in named}, "target": target.to_dict(), "horizon": horizon}
        about |= {"resumes": resumes, "settings": asdict(replace(chosen, budget=None))}  # a larger budget goes on
        about = json.loads(json.dumps(about, default=str))  # as it is read back
        self._state: dict[str, Any] = {"search": about, "out": [], "told": []}
        self._seen, self._path, self._mutex = 0, Path(state) if state else None, threading.Lock()
        self._source = Reported(horizon=horizon, retirement=target, resumes=resumes)
        self._decisions = Decisions(self._source, named, chosen)
        with self._shared():
            pass

    @property
    def finished(self) -> bool:
        """True if no further run is wanted, as far as this process knows."""
        return self._decisions.action is None

    @property
    def doubt(self) -> str:
        """Why the runs told cannot be what was asked for, which ends the search; empty if nothing says so."""
        return self._decisions.doubt

    def ask(self) -> Trial | None:
        """Return a run that is wanted, or ``None`` if there is none now: other workers run the rest, or the search is finished."""
        with self._shared():
            if (a := self._decisions.action) is not None:
                (label, period), rule = cell(a.candidate, a.period), None if a.candidate is None else a.candidate.rule
                for seed, values in self._source.missing(a.candidate, period, a.n_runs, a.epochs).items():
                    if [seed, label, period] not in self._state["out"]:
                        self._state["out"].append([seed, label, period])
                        return Trial(seed, label, period, a.epochs, rule, len(values))
        return None

    def tell(self, trial: Trial, values: Iterable[float], *, start: int = 0) -> None:
        """Tell the metric of a run at epochs ``start + 1``, ``start + 2``, ...; ``start`` is the epoch that it was resumed from.

        All that is told counts as spent. A run may end once it reaches the threshold; what it does then is not looked at. The rest of one
        that ended before, because it was killed, is asked for again. No value, one that is not a finite number, a run that ends again where
        it did before, and more epochs than were asked for raise an InputError.
        """
        report = [trial.seed, trial.perturbation, trial.period, trial.epochs, start, _numbers(trial, values)]
        with self._shared():
            self._take(report)
            self._state["told"].append(report)
            self._state["out"] = [run for run in self._state["out"] if run != report[:3]]

    def release(self) -> None:
        """Ask again for runs whose workers are gone; a result that one of them still tells counts as well."""
        with self._shared():
            self._state["out"] = []

    def result(self) -> SearchResult:
        """Return the result so far: the choice, its interval and grade, the cost, and what to do next."""
        with self._shared():
            return replace(self._decisions.result(), notes=self._source.notes)

    @contextmanager
    def _shared(self) -> Iterator[None]:
        """Take from the file what others asked and told, and write what changes."""
        path = self._path
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._mutex, FileLock(f"{path}.lock") if path else nullcontext():
            before = path.read_text() if path and path.exists() else None
            if path and before is not None:
                self._state = _continued(path, before, self._state)
            for report in self._state["told"][self._seen :]:
                self._take(report)
            yield
            text = json.dumps(self._state)
            if path and text != before:
                write_atomically(path, lambda file: file.write(text.encode()))

    def _take(self, report: Sequence[Any]) -> None:
        """Take what was told, and decide once the runs of an action are there: decisions are a function of what was told."""
        *trial, start, values = report
        self._source.tell(Trial(*trial), start, values)
        self._seen += 1
        while (a := self._decisions.action) is not None:
            request = a.candidate, a.period, a.n_runs, a.epochs
            missing = self._source.missing(*request)
            if missing and self._decisions.payable(a, reserve=False):
                return
            self._decisions.take(None if missing else self._source._runs(*request))


def _numbers(trial: Trial, values: Iterable[float]) -> list[float]:
    with suppress(TypeError, ValueError):
        items = list(values)
        if not isinstance(values, str | Mapping) and not any(map(np.ndim, items)):
            return [*map(float, items)]
    raise InputError(f"{trial}: one number for each epoch is needed")


def _continued(path: Path, text: str, mine: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a state file, which has to go on from mine."""
    try:
        content = dict(json.loads(text))
        differing = [name for name, value in mine["search"].items() if content["search"][name] != value]
        if content["told"][: len(mine["told"])] != mine["told"]:
            differing.append("runs")
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{path}: not the state of a search, or damaged; name another file") from None
    if differing:
        raise InputError(f"{path}: the state of another search (its {', '.join(differing)} differ); name another file")
    return content
