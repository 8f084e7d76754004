"""Source of runs that are trained when they are asked for."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any, final

from fptlib.errors import InputError
from fptlib.search.candidates import Candidate, Cell, cell
from fptlib.search.source import Source
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import Target, Trajectories


@final
class Live(Source):
    """Source that trains what a search asks for and keeps everything in stores, so that repeating a search trains nothing.

    ``spec`` are the parameters of unperturbed training (others raise an InputError), whose ``epochs`` are the horizon. Snapshots to fork
    from are kept at those ``periods`` that it passes. ``trained`` are the run-epochs that were trained in this process; the ledger counts
    what the search asked for, stored before or not.
    """

    def __init__(
        self,
        spec: EnsembleSpec,
        *,
        retirement: Target,
        periods: Iterable[int],
        out: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
    ) -> None:
        from fptlib.ensemble import UNIT

        if spec.perturbation is not None:
            message = "the search starts from training without perturbation (perturbation: null)"
            raise InputError(f"{message}; candidates are named apart")
        super().__init__(horizon=spec.epochs, retirement=retirement, unit=UNIT)
        self._spec, self._periods, self.trained = spec, sorted(set(periods)), 0
        self._held: dict[Cell, Trajectories] = {}
        self._how: dict[str, Any] = {"retirement": retirement, "out": out, "workers": workers, "scheduler": scheduler}

    def _runs(self, candidate: Candidate | None, period: int | None, n_runs: int, epochs: int) -> Trajectories:
        """Return runs that are in memory, in a store, or trained now, in whole units."""
        from fptlib.ensemble import train

        if period is not None:  # the prefix first, with snapshots: it is shared by all that is perturbed later
            self._runs(None, None, n_runs, period)
        key = cell(candidate, period)
        held = self._held.get(key)
        if held is None or held.n_runs < n_runs or held.n_epochs < epochs:
            rule = None if candidate is None else {**candidate.rule, "period": period}
            whole = math.ceil(n_runs / self.unit) * self.unit
            requested = override(self._spec, {"runs": whole, "epochs": epochs, "perturbation": rule})
            keep = [p for p in self._periods if p <= epochs] if candidate is None else ()
            runs = train(requested, keep=keep, **self._how)
            self.trained += int(runs.meta["trained"])
            if held is None or (runs.n_runs >= held.n_runs and runs.n_epochs >= held.n_epochs):
                self._held[key] = runs
            held = runs
        return held.head(runs=n_runs, epochs=epochs)
