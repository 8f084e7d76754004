"""Results as numbers and as a table."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import machine
from cases import Case, flop_per_epoch
from contenders import SGEMM, SGEMM_SIZE
from teams import Team

# Mean accuracies further apart than this, and than so many standard errors, are not of the same work.
_TOLERANCE = 0.03
_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Result:
    """One contender in one arrangement, one value for each repeat.

    Parameters
    ----------
    rates
        Run-epochs per second; products per second for the matrix product.
    flop
        Operations of one of them.
    others
        Cores that other processes kept busy meanwhile.
    """

    contender: str
    arrangement: str
    rates: tuple[float, ...]
    flop: int
    others: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Median rate."""
        return statistics.median(self.rates)

    @property
    def gflops(self) -> float:
        """10^9 operations per second."""
        return self.rate * self.flop / 1e9

    def row(self, peak: float) -> dict[str, Any]:
        """For the file."""
        named = {"contender": self.contender, "arrangement": self.arrangement}
        return {
            **named,
            "per_second": list(self.rates),
            "median_per_second": self.rate,
            "gflop_per_second": self.gflops,
            "share_of_peak": self.gflops / peak,
            "cores_of_others": list(self.others),
        }


def result_of(team: Team, case: Case) -> Result:
    """Rates of a team that has been measured."""
    if team.contender is SGEMM:
        flop, epochs = 2 * SGEMM_SIZE**3, 1
    else:
        flop, epochs = flop_per_epoch(case), case.epochs
    rates = tuple(team.trained * epochs / seconds for seconds in team.seconds)
    return Result(team.contender.name, team.arrangement.name, rates, flop, tuple(team.others))


def best(results: list[Result]) -> dict[str, Result]:
    """The faster arrangement of each contender."""
    fastest: dict[str, Result] = {}
    for result in results:
        if result.contender not in fastest or result.rate > fastest[result.contender].rate:
            fastest[result.contender] = result
    return fastest


def table(results: list[Result], accuracies: dict[str, list[float]]) -> list[dict[str, object]]:
    """Return one row for each contender and arrangement, the better arrangement with a star."""
    fastest = best(results)
    peak = fastest[SGEMM.name].gflops
    usual = fastest.get("torch-loader")
    rows: list[dict[str, object]] = []
    for result in results:
        is_run, is_best = result.contender != SGEMM.name, fastest[result.contender] is result
        rates = (result.rate, min(result.rates), max(result.rates))
        named = zip(("run-epochs/s", "lowest", "highest"), rates, strict=True)
        rows.append(
            {
                "contender": result.contender + (" *" if is_best else ""),
                "arrangement": result.arrangement,
                **{name: _number(rate) if is_run else "" for name, rate in named},
                "us each": f"{1e6 / result.rate:.0f}" if is_run else "",
                "GFLOP/s": f"{result.gflops:.1f}",
                "of peak": f"{result.gflops / peak:.1%}",
                "speed-up": f"{result.rate / usual.rate:.1f}" if is_run and usual else "",
                "others": f"{statistics.median(result.others):.2f}",
                "accuracy": _mean(accuracies.get(result.contender, [])) if is_best else "",
            }
        )
    return rows


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _mean(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{statistics.mean(values):.3f} +- {_error(values):.3f}"


def _error(values: list[float]) -> float:
    """Standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def disagreement(accuracies: dict[str, list[float]]) -> str | None:
    """A warning if mean accuracies lie too far apart, and further than chance puts them."""
    measured = {name: (statistics.mean(values), _error(values)) for name, values in accuracies.items() if values}
    apart = [
        f"{first} {mean:.3f}, {second} {other:.3f}"
        for (first, (mean, error)), (second, (other, other_error)) in combinations(measured.items(), 2)
        if abs(mean - other) > max(_TOLERANCE, _ERRORS * math.hypot(error, other_error))
    ]
    if not apart:
        return None
    return f"WARNING: accuracies differ by more than {_TOLERANCE}; is this the same work? {'; '.join(apart)}"


def disturbance(results: list[Result]) -> str | None:
    """A warning if other processes were busy."""
    disturbed = [result for result in results if statistics.median(result.others) > machine.QUIET]
    if not disturbed:
        return None
    listed = ", ".join(f"{result.contender} {result.arrangement}" for result in disturbed)
    return (
        f"WARNING: other processes kept more than {machine.QUIET} cores busy (column others); measure again: {listed}"
    )
