# ruff: noqa: T201
"""How many epochs of how many runs a second, for the same work done in PyTorch, in JAX and by fptlib.

Run with ``python benchmarks/throughput.py``; ``--help`` lists the options, README.md says what is measured.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import machine
from cases import CASES, Case, flop_parts, flop_per_epoch
from contenders import CONTENDERS, SGEMM, SLOW
from report import best, disagreement, disturbance, result_of, table
from teams import APART, MissingError, Team, together

from fptlib.cli.output import print_table


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, help="all but the hopeless ones unless given")
    parser.add_argument("--repeats", type=int, default=5, help="measurements of each, in turn")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of one measurement, about")
    parser.add_argument(
        "--patience", type=float, default=2.0, help="seconds to wait for others before each measurement"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to this file")
    return parser.parse_args(arguments)


def _check_flop(case: Case) -> None:
    """Compare our count of operations with PyTorch's."""
    from torch_runs import counted_flop_parts

    ours, counted = flop_parts(case), counted_flop_parts(case)
    if ours != counted:
        raise SystemExit(f"{case.name}: {ours} operations for one image by our count, {counted} by PyTorch's")


def _prepared(teams: list[Team], case: Case, seconds: float) -> list[Team]:
    """The teams that can do the case, ready to work."""
    ready = []
    for team in teams:
        try:
            team.prepare(case.name, seconds)
            ready.append(team)
        except MissingError as missing:
            print(f"left out ({team.arrangement.name}): {missing}")
    return ready


def _measure(teams: list[Team], repeats: int, patience: float) -> None:
    """All teams in turn, each time beginning with another, so that a slow minute of the machine hits everyone."""
    for repeat in range(repeats):
        for i in range(len(teams)):
            teams[(repeat + i) % len(teams)].measure(patience)


def _run_case(case: Case, teams: list[Team], options: argparse.Namespace) -> dict[str, Any]:
    """Measure, print and return the numbers of one case."""
    _check_flop(case)
    flop = flop_per_epoch(case)
    print(f"\n{case.name}: {case.describe()}; {flop / 1e6:.1f} MFLOP per run-epoch", flush=True)
    by_name = options.contenders is not None
    ready = _prepared(
        [team for team in teams if by_name or (team.contender.name, case.name) not in SLOW], case, options.seconds
    )
    _measure(ready, options.repeats, options.patience)
    accuracies = {
        team.contender.name: team.accuracies(case.check_runs)
        for team in ready
        if team.arrangement is APART and team.contender is not SGEMM
    }
    results = [result_of(team, case) for team in ready]
    print_table(table(results, accuracies))
    print(f"accuracy after {case.check_epochs} epochs, mean and standard error over {case.check_runs} runs or more")
    for warning in filter(None, (disagreement(accuracies), disturbance(results))):
        print(warning, flush=True)
    fastest = best(results)
    peak = fastest[SGEMM.name].gflops
    return {
        "work": case.describe(),
        "flop_per_run_epoch": flop_per_epoch(case),
        "peak_gflop_per_second": peak,
        "results": [result.row(peak) for result in results],
        "best": {name: result.arrangement for name, result in fastest.items()},
        "accuracies": accuracies,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the options ask for."""
    options = _options(arguments)
    head = machine.head("torch", "jax", "jaxlib", "numpy")
    print(f"medians of {options.repeats} repeats of about {options.seconds} s, in turn; * better arrangement")
    chosen = [CONTENDERS[name] for name in options.contenders or CONTENDERS]
    with together([SGEMM, *chosen]) as teams:
        cases = {name: _run_case(CASES[name], teams, options) for name in options.cases}
    if options.json is not None:
        settings = {"repeats": options.repeats, "seconds": options.seconds}
        options.json.write_text(json.dumps({**head, "settings": settings, "cases": cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
