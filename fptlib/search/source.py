"""Sources of trajectories and their accounts: recorded runs here, training in `fptlib.search.live`."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.search.candidates import UNPERTURBED, Candidate, Cell, cell
from fptlib.trajectories import Target, Trajectories, retire
from fptlib.trajectories.record import passages

_Epochs = NDArray[np.int64]


@dataclass(slots=True)
class Ledger:
    """Account of the run-epochs that had to be trained, by what they were trained for.

    Up to its first perturbation a perturbed run is the unperturbed run of the same number, whose epochs are paid once; without ``shared``
    it is paid from its first epoch on. A run costs nothing after it has passed.

    >>> ledger, passed = Ledger(), np.array([True, True])
    >>> ledger.charge("kick", period=10, followed=np.array([14, 8]), passed=passed)
    22
    >>> ledger.charge(None, period=None, followed=np.array([12, 8]), passed=passed)
    2
    >>> ledger.spent, ledger.unperturbed
    (24, 20)
    """

    shared: bool = True
    # Of runs 0, 1, ...: the epochs paid, and those up to which nothing is to be paid, without end where a run has passed, (2, runs).
    _paid: dict[Cell, _Epochs] = field(default_factory=dict)

    def charge(self, label: str | None, *, period: int | None, followed: _Epochs, passed: NDArray[np.bool_]) -> int:
        """Pay for runs 0, 1, ... of one perturbation and period (``None``: unperturbed); return the run-epochs that are new.

        ``followed`` are the epochs of each run, and ``passed`` tells whether it passes at the last of them, ``(runs,)``.
        """
        before = self.spent
        for paid, start, end in self._accounts((label, period), len(followed)):
            epochs = np.clip(followed, start, end) - start
            np.maximum(paid, [epochs, np.where(passed & (followed <= end), sys.maxsize, epochs)], out=paid)
        return self.spent - before

    def at_most(self, label: str | None, *, period: int | None, n_runs: int, epochs: int) -> int:
        """Return the run-epochs that a request costs if no further run reaches the threshold."""
        accounts = self._accounts((label, period), n_runs)
        due = [np.clip(epochs, start, end) - start - paid[1] for paid, start, end in accounts]
        return sum(int(np.maximum(each, 0).sum()) for each in due)

    @property
    def unperturbed(self) -> int:
        """Run-epochs before any perturbation."""
        return self.perturbed(None)

    def perturbed(self, label: str | None) -> int:
        """Return the run-epochs after the first perturbation of a candidate, at all periods."""
        return sum(int(paid[0].sum()) for (name, _), paid in self._paid.items() if name == label)

    @property
    def spent(self) -> int:
        """All run-epochs so far."""
        return sum(int(paid[0].sum()) for paid in self._paid.values())

    def _accounts(self, cell: Cell, n_runs: int) -> Iterator[tuple[_Epochs, int, int]]:
        """Return the accounts that pay for so many runs, each for the epochs after one and up to another."""
        spans, period = [(cell, 0, sys.maxsize)], cell[1]
        if period is not None and self.shared:
            spans = [(UNPERTURBED, 0, period), (cell, period, sys.maxsize)]
        for key, start, end in spans:
            paid = self._paid.get(key, np.zeros((2, 0), dtype=np.int64))
            self._paid[key] = np.pad(paid, ((0, 0), (0, max(n_runs - paid.shape[1], 0))))
            yield self._paid[key][:, :n_runs], start, end


class Source(ABC):
    """Trajectories on demand; repeating a request costs nothing, and a larger request extends the same runs.

    Runs are followed up to the ``horizon``, to which all means are restricted, and end when they reach the target ``retirement``. Numbers
    of runs that come cheapest are multiples of ``unit``.
    """

    def __init__(self, *, horizon: int, retirement: Target, unit: int = 1, ledger: Ledger | None = None) -> None:
        if horizon < 2:
            raise InputError(f"horizon {horizon} of the search is too short; at least 2 epochs are needed")
        self.horizon, self.retirement, self.unit = horizon, retirement, unit
        self.ledger = Ledger() if ledger is None else ledger

    @abstractmethod
    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        """Return what `runs` does, without paying for it."""

    def at_most(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> int:
        """Return the run-epochs that `runs` takes if no further run reaches the threshold."""
        return self.ledger.at_most(cell(candidate, period)[0], period=period, n_runs=n_runs, epochs=epochs)

    @final
    def runs(
        self, candidate: Candidate | None = None, period: int | None = None, *, n_runs: int, epochs: int
    ) -> Trajectories:
        """Return runs 0 to ``n_runs - 1``, unperturbed or perturbed with a period, up to an epoch or until they reach the threshold."""
        runs = self._runs(candidate, period, n_runs, epochs)
        passed = passages(runs, self.retirement)[1]
        self.ledger.charge(cell(candidate, period)[0], period=period, followed=runs.lengths, passed=passed)
        return runs


@final
class Recorded(Source):
    """Runs drawn with replacement from records, as if they were trained anew: the oracle of a benchmark.

    Records of perturbed runs are told apart by label and period. With ``common_seeds`` run ``k`` of every record is one seed, drawn with
    all its runs; otherwise each record is drawn from by itself, and prefixes are shared in the accounts only.
    """

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
        records: dict[Cell, Trajectories] = {UNPERTURBED: unperturbed, **dict(sorted(perturbed.items()))}
        super().__init__(horizon=min(t.n_epochs for t in records.values()), retirement=retirement, ledger=ledger)
        if common_seeds and any(not np.array_equal(t.run, unperturbed.run) for t in records.values()):
            raise InputError("records with common seeds must hold the same runs")
        self._common, self._seed = common_seeds, seed
        self._records = {key: retire(t.head(epochs=self.horizon), retirement) for key, t in records.items()}

    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        key, name = cell(candidate, period), self.retirement.name
        if key not in self._records:
            known = ", ".join(str(other) for label, other in self._records if label == key[0])
            raise InputError(f"{key[0]} was not recorded at period {period}; there is {known or 'nothing'}")
        record, place = self._records[key], 0 if self._common else list(self._records).index(key)
        rng = np.random.default_rng([self._seed, place])
        rows = rng.integers(0, record.n_runs, size=n_runs)  # the first n are the same however many are drawn
        drawn = Trajectories({name: record.metric(name)[rows]}, np.arange(n_runs), record.meta, record.lengths[rows])
        return drawn.head(epochs=epochs)
