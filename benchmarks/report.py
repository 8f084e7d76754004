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
        return {
            "contender": self.contender,
            "arrangement": self.arrangement,
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


def table(results: list[Result], accuracies: dict[str, list[float]]) -> str:
    """One line for each contender and arrangement, the better arrangement with a star."""
    fastest = best(results)
    peak = fastest[SGEMM.name].gflops
    usual = fastest.get("torch-loader")
    heads = (
        "contender",
        "arrangement",
        "run-epochs/s",
        "lowest",
        "highest",
        "us each",
        "GFLOP/s",
        "of peak",
        "speed-up",
        "others",
    )
    rows = [(*heads, "accuracy")]
    for result in results:
        is_run = result.contender != SGEMM.name
        star = " *" if fastest[result.contender] is result else ""
        rows.append(
            (
                result.contender + star,
                result.arrangement,
                *(_number(value) if is_run else "" for value in (result.rate, min(result.rates), max(result.rates))),
                f"{1e6 / result.rate:.0f}" if is_run else "",
                f"{result.gflops:.1f}",
                f"{result.gflops / peak:.1%}",
                f"{result.rate / usual.rate:.1f}" if is_run and usual else "",
                f"{statistics.median(result.others):.2f}",
                _mean(accuracies.get(result.contender, [])) if star else "",
            )
        )
    return "\n".join(_aligned(rows))


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _mean(values: list[float]) -> str:
    if len(values) < 2:
        return ""
    return f"{statistics.mean(values):.3f} +- {_error(values):.3f}"


def _error(values: list[float]) -> float:
    """Standard error of the mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


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
