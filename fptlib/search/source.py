"""Sources of trajectories and their accounts: recorded or simulated runs here, training in `fptlib.search.live`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.processes import Process
from fptlib.search.candidates import Candidate
from fptlib.trajectories import DEFAULT_METRIC, Target, Trajectories, concatenate, retire
from fptlib.trajectories.record import passages

_BLOCK = 16  # simulated runs are drawn in blocks: more of them leave those that were drawn as they are


@dataclass(slots=True)
class _Account:
    """Epochs of runs 0, 1, ... that are paid, and which of these runs have passed."""

    epochs: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    passed: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    def pay(self, epochs: NDArray[np.int64], passed: NDArray[np.bool_]) -> int:
        """Raise runs to so many epochs; return how many of them are new."""
        self._widen(len(epochs))
        n, before = len(epochs), int(self.epochs.sum())
        self.epochs[:n] = np.maximum(self.epochs[:n], epochs)
        self.passed[:n] |= passed
        return int(self.epochs.sum()) - before

    def missing(self, n_runs: int, epochs: int) -> int:
        """Return the epochs that are not paid of the runs that are not known to have passed."""
        self._widen(n_runs)
        return int(np.maximum(epochs - self.epochs[:n_runs], 0)[~self.passed[:n_runs]].sum())

    def _widen(self, n_runs: int) -> None:
        more = max(n_runs - len(self.epochs), 0)
        self.epochs, self.passed = np.pad(self.epochs, (0, more)), np.pad(self.passed, (0, more))


@dataclass(slots=True)
class Ledger:
    """Account of the run-epochs that had to be trained, by what they were trained for.

    Up to its first perturbation a perturbed run is the unperturbed run of the same number: those epochs are paid once, whoever asks for
    them, and again only where more of them is asked for. A run costs nothing after it has passed. Without ``shared`` each perturbed run is
    paid from its first epoch on.

    >>> ledger, passed = Ledger(), np.array([True, True])
    >>> ledger.charge("kick", period=10, followed=np.array([14, 8]), passed=passed)
    22
    >>> ledger.charge(None, period=None, followed=np.array([12, 8]), passed=passed)
    2
    >>> ledger.spent, ledger.unperturbed
    (24, 20)
    """

    shared: bool = True
    _prefix: _Account = field(default_factory=_Account)
    _after: dict[tuple[str, int], _Account] = field(default_factory=dict)

    def charge(
        self, label: str | None, *, period: int | None, followed: NDArray[np.int64], passed: NDArray[np.bool_]
    ) -> int:
        """Pay for runs 0, 1, ... of one perturbation and period (``None``: unperturbed); return the run-epochs that are new.

        ``followed`` are the epochs of each run, and ``passed`` tells whether it passes at the last of them, ``(runs,)``.
        """
        if label is None or period is None:
            return self._prefix.pay(followed, passed)
        account = self._after.setdefault((label, period), _Account())
        if not self.shared:
            return account.pay(followed, passed)
        before = self._prefix.pay(np.minimum(followed, period), passed & (followed <= period))
        return before + account.pay(np.maximum(followed - period, 0), passed)

    def at_most(self, label: str | None, *, period: int | None, n_runs: int, epochs: int) -> int:
        """Return the run-epochs that asking for so much costs if no further run passes."""
        if label is None or period is None:
            return self._prefix.missing(n_runs, epochs)
        account = self._after.get((label, period), _Account())
        if not self.shared:
            return account.missing(n_runs, epochs)
        return self._prefix.missing(n_runs, min(period, epochs)) + account.missing(n_runs, max(epochs - period, 0))

    @property
    def unperturbed(self) -> int:
        """Run-epochs before any perturbation."""
        return int(self._prefix.epochs.sum())

    def perturbed(self, label: str) -> int:
        """Run-epochs after the first perturbation of a candidate, at all periods."""
        return sum(int(account.epochs.sum()) for (name, _), account in self._after.items() if name == label)

    @property
    def spent(self) -> int:
        """All run-epochs so far."""
        return self.unperturbed + sum(int(account.epochs.sum()) for account in self._after.values())


class Source(ABC):
    """Trajectories on demand; what was asked for before costs nothing, and asking for more of it leaves it as it was.

    Runs are followed up to the ``horizon``, to which all means are restricted, and end when they reach the target ``retirement``. Numbers
    of runs that come cheapest are multiples of ``unit``.
    """

    __slots__ = ("horizon", "ledger", "retirement", "unit")

    def __init__(self, *, horizon: int, retirement: Target, unit: int = 1, ledger: Ledger | None = None) -> None:
        if horizon < 2:
            raise InputError(f"horizon {horizon} of the search is too short; at least 2 epochs are needed")
        self.horizon, self.retirement, self.unit = horizon, retirement, unit
        self.ledger = Ledger() if ledger is None else ledger

    @abstractmethod
    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        """Return what `runs` does, without paying for it."""

    def at_most(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> int:
        """Return the run-epochs that `runs` takes if no further run passes."""
        label = None if candidate is None else candidate.label
        return self.ledger.at_most(label, period=period, n_runs=n_runs, epochs=epochs)

    @final
    def runs(
        self, candidate: Candidate | None = None, period: int | None = None, *, n_runs: int, epochs: int
    ) -> Trajectories:
        """Return runs 0 to ``n_runs - 1``, unperturbed or perturbed with a period, up to an epoch or their passage."""
        runs, label = self._runs(candidate, period, n_runs, epochs), None if candidate is None else candidate.label
        passed = passages(runs, self.retirement)[1]
        self.ledger.charge(label, period=period, followed=runs.lengths, passed=passed)
        return runs


@final
class Recorded(Source):
    """Runs drawn with replacement from records, as if they were trained anew.

    The oracle of a benchmark: what a search finds can be held against the means of the records themselves.

    Records of perturbed runs are told apart by label of the candidate and period. With ``common_seeds`` run ``k`` of every record is one
    seed, as with this library's ensembles, and drawn with all its runs. Otherwise each record is drawn from by itself, and prefixes are
    shared in the accounts only.
    """

    __slots__ = ("_common", "_records", "_seed")

    def __init__(
        self,
        unperturbed: Trajectories,
        perturbed: Mapping[tuple[str, int], Trajectories],
        *,
        retirement: Target,
        seed: int = 0,
        common_seeds: bool = False,
        ledger: Ledger | None = None,
    ) -> None:
        records: dict[tuple[str, int] | None, Trajectories] = {None: unperturbed}
        records.update(perturbed.items())
        super().__init__(horizon=min(t.n_epochs for t in records.values()), retirement=retirement, ledger=ledger)
        if common_seeds and any(not np.array_equal(t.run, unperturbed.run) for t in records.values()):
            raise InputError("records with common seeds must hold the same runs")
        self._common, self._seed = common_seeds, seed
        self._records = {key: _reduced(t, self.horizon, retirement) for key, t in records.items()}

    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        key = None if candidate is None or period is None else (candidate.label, period)
        if key and key not in self._records:
            known = ", ".join(str(other[1]) for other in self._records if other and other[0] == key[0])
            raise InputError(f"{key[0]} was not recorded at period {period}; there is {known or 'nothing'}")
        record, place = self._records[key], 1 + sorted(k for k in self._records if k).index(key) if key else 0
        rng = np.random.default_rng([self._seed, 0 if self._common else place])
        rows = rng.integers(0, record.n_runs, size=n_runs)  # the first n are the same however many are drawn
        drawn = Trajectories(
            metrics={name: values[rows] for name, values in record.metrics.items()},
            run=np.arange(n_runs),
            meta=record.meta,
            followed=record.lengths[rows],
        )
        return drawn.head(epochs=epochs)


def _reduced(record: Trajectories, horizon: int, retirement: Target) -> Trajectories:
    cut = retire(record.head(epochs=horizon), retirement)
    meta: dict[str, Any] = {"retirement": retirement.to_dict()}
    return Trajectories({retirement.name: cut.metrics[retirement.name]}, cut.run, meta, cut.followed)


@final
class Simulated(Source):
    """Runs of known processes: one for each candidate, all alike as long as they are not perturbed.

    Processes are given by label of the candidate; the first one gives the unperturbed runs. Runs of different perturbations or periods have
    nothing in common; prefixes are shared in the accounts.
    """

    __slots__ = ("_processes", "_seed")

    def __init__(self, processes: Mapping[str, Process], *, horizon: int, threshold: float, seed: int = 0) -> None:
        if not processes:
            raise InputError("no process to simulate; at least one is needed")
        super().__init__(horizon=horizon, retirement=Target(threshold, metric=DEFAULT_METRIC))
        self._processes, self._seed = dict(processes), seed

    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        known = list(self._processes)
        if candidate is not None and candidate.label not in known:
            raise InputError(f"no process for candidate {candidate.label}; there is {', '.join(known)}")
        place = 0 if candidate is None else 1 + known.index(candidate.label)
        process, blocks = self._processes[known[max(place - 1, 0)]], []
        for block in range(-(-n_runs // _BLOCK)):
            rng = np.random.default_rng([self._seed, place, period or 0, block])
            runs = process.sample(rng, n_runs=_BLOCK, horizon=self.horizon, period=period)
            blocks.append(Trajectories(runs.metrics, block * _BLOCK + np.arange(_BLOCK)))
        return retire(concatenate(blocks).head(runs=n_runs, epochs=epochs), self.retirement)
