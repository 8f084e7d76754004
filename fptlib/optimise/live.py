"""Trajectories that are trained when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, final

from fptlib.errors import InputError
from fptlib.optimise.candidates import Candidate
from fptlib.optimise.source import Source
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import Retirement, Trajectories


@final
class Live(Source):
    """Trains what a search asks for; everything is kept in stores, so that the same search again trains nothing.

    Parameters
    ----------
    spec
        Parameters of unperturbed training; ``epochs`` is the horizon, ``runs`` is not looked at.
    retirement
        Threshold, direction and metric.
    periods
        Periods that may be asked for: snapshots to fork from are kept at those that unperturbed training passes.
    out, workers, scheduler
        As in `fptlib.ensemble.train`.

    Attributes
    ----------
    trained
        Run-epochs that the engine trained in this process. The ledger counts what the search asked for, stored before or not; the two agree
        for a new search whose numbers of runs are multiples of the engine's unit.

    Raises
    ------
    InputError
        If the parameters are those of perturbed training.
    """

    __slots__ = ("_how", "_periods", "_spec", "trained")

    def __init__(
        self,
        spec: EnsembleSpec,
        *,
        retirement: Retirement,
        periods: Iterable[int],
        out: str | os.PathLike[str] | None = None,
        workers: int | None = None,
        scheduler: str | None = None,
    ) -> None:
        from fptlib.ensemble import UNIT

        if spec.perturbation is not None:
            raise InputError(
                "the search starts from training without perturbation (perturbation: null); candidates are named apart"
            )
        super().__init__(horizon=spec.epochs, retirement=retirement, unit=UNIT)
        self._spec, self._periods, self.trained = spec, sorted(set(periods)), 0
        self._how: dict[str, Any] = {"retirement": retirement, "out": out, "workers": workers, "scheduler": scheduler}

    def _unperturbed(self, n_runs: int, epochs: int) -> Trajectories:
        asked = override(self._spec, {"runs": n_runs, "epochs": epochs})
        return self._train(asked, keep=[p for p in self._periods if p <= epochs])

    def _perturbed(self, candidate: Candidate, period: int, n_runs: int, epochs: int) -> Trajectories:
        # The prefix first, with snapshots: it is shared by all that is perturbed later.
        plain = override(self._spec, {"runs": n_runs, "epochs": period})
        self._train(plain, keep=[p for p in self._periods if p <= period])
        rule = {**candidate.rule, "period": period}
        return self._train(override(self._spec, {"runs": n_runs, "epochs": epochs, "perturbation": rule}))

    def _train(self, spec: EnsembleSpec, keep: Iterable[int] = ()) -> Trajectories:
        from fptlib.ensemble import train

        found = train(spec, keep=keep, **self._how)
        self.trained += int(found.meta["trained"])
        return found
