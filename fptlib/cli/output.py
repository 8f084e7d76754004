"""What the command line prints: tables, sentences and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any


def metric_rows(trajectories: Any) -> list[tuple[str, ...]]:
    """For each metric its name, the means at both ends of the runs and the extremes."""
    last = trajectories.lengths - 1
    rows = []
    for name, values in trajectories.metrics.items():
        ends = values[range(len(last)), last]
        known = values[~(values != values)]  # not where a run was not followed
        rows.append((name, *(f"{x:.6g}" for x in (values[:, 0].mean(), ends.mean(), known.min(), known.max()))))
    return rows


def trained(trajectories: Any) -> str:
    """What a call of the engine gave, in words."""
    words = f"{trajectories.n_runs} runs of {trajectories.n_epochs} epochs"
    if trajectories.retirement is not None:
        words += f", each followed until {trajectories.retirement}"
    return f"{words}; {trajectories.meta['trained']} run-epochs trained"


def print_cost(cost: Any) -> None:
    """Rows of what an ensemble costs."""
    rate = cost.flop_per_run_epoch / cost.seconds_per_run_epoch
    total = cost.missing * cost.epochs * cost.flop_per_run_epoch
    processes = f"{cost.workers} process{'es' if cost.workers > 1 else ''}"
    rows = {
        "runs": f"{cost.runs} of {cost.epochs} epochs; {cost.missing} are to be trained",
        "arithmetic": f"{cost.flop_per_run_epoch:.3g} FLOP a run-epoch, {total:.3g} in all",
        "speed": f"{1e3 * cost.seconds_per_run_epoch:.3g} ms a run-epoch, {rate:.3g} FLOP/s: measured here, in a stack of {cost.stack}",
        "time": f"{duration(cost.seconds)} with {processes} like this one, if all runs go to the horizon",
        "memory": f"{cost.memory / 2**30:.2f} GiB a process",
        "disk": f"{cost.disk / 2**30:.2f} GiB, snapshots included",
    }
    if not cost.data_at_hand:
        rows["data"] = "not here; random images of the same size and number were used"
    for name, text in rows.items():
        print(f"{name:<12}{text}")


def duration(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns under their names."""
    if not rows:
        return
    widths = [max(len(row[j]) for row in (columns, *rows)) for j in range(len(columns))]
    for row in (columns, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(content: object) -> None:
    """One JSON object."""
    print(json.dumps(plain(content), indent=1, allow_nan=False))


def plain(value: Any) -> Any:
    """JSON has no NaN or infinity: null stands for a number that is not there."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def state_json(state: Any) -> dict[str, Any]:
    """A verdict on the quasi-steady state as JSON types."""
    return {
        "reached": bool(state.reached),
        "relaxation_epoch": state.relaxation_epoch,
        "reasons": list(state.reasons),
    }


def profile_json(state: Any) -> list[dict[str, Any]]:
    """Distances by epoch as JSON types."""
    from fptlib.tables import state_table

    return list(json.loads(state_table(state).to_json(orient="records")))


def state_words(state: Any) -> str:
    """The verdict in words."""
    return f"reached at epoch {state.relaxation_epoch}" if state.reached else "not reached"


def interval(estimate: Any, number: str = "{:.2f}") -> str:
    """An estimate with its interval."""
    mean, low, high = (number.format(x) for x in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})"


def interval_json(estimate: Any) -> dict[str, float]:
    """An estimate with its interval as JSON types."""
    return {"mean": estimate.mean, "low": estimate.low, "high": estimate.high}
