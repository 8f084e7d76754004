"""What a search is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from fptlib.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a search is asked for.

    Parameters
    ----------
    periods
        Periods to choose from, in epochs; a spread of them up to the horizon by default.
    budget
        Run-epochs that it may spend, which it never exceeds; ``None`` for as many as the precision takes.
    precision
        Relative difference of means that is not worth telling apart.
    level
        Confidence of every decision and interval.
    batch
        Runs of the first ensembles.
    confirm
        Runs that measure the choice once it is made, and had no part in it; 0 to leave this out.
    max_runs
        Runs at one period at most.
    n_boot, seed
        Bootstrap replicates over seeds, and the seed of their random numbers.

    Raises
    ------
    InputError
        If a value is impossible.
    """

    periods: tuple[int, ...] | None = None
    budget: int | None = None
    precision: float = 0.05
    level: float = 0.95
    batch: int = 8
    confirm: int = 32
    max_runs: int = 1024
    n_boot: int = 500
    seed: int = 0

    def __post_init__(self) -> None:
        if self.periods is not None and (not self.periods or min(self.periods) < 1):
            raise InputError("periods: at least one is needed, each of 1 epoch or more")
        if self.budget is not None and self.budget < 1:
            raise InputError(
                f"budget {self.budget} is not possible; at least 1 run-epoch is needed, or none for no limit"
            )
        if not 0 < self.precision < 1 or not 0.5 < self.level < 1:
            raise InputError(
                f"precision {self.precision:g} must lie between 0 and 1, level {self.level:g} between 0.5 and 1"
            )
        if self.batch < 8 or self.confirm < 0 or self.max_runs < self.batch or self.n_boot < 50:
            raise InputError(
                "batch of 8 runs or more, confirm of 0 or more, max_runs of a batch or more, n_boot of 50 or more are needed"
            )
