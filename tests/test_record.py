"""Records become JSON and tables."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
from numpy.typing import NDArray

from fptlib.firstpassage import Estimate, FirstPassageTimes, hazard, survival
from fptlib.record import Record
from fptlib.trajectories import Target


class Grade(Enum):
    CLOSE = "to 10 %"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Answer(Record):
    grade: Grade
    estimate: Estimate
    sampling: tuple[float, float]
    notes: tuple[str, ...] = ()
    period: int | None = None


@dataclass(frozen=True, slots=True)
class Uneven(Record):
    one: NDArray[np.float64]
    other: NDArray[np.float64]


ANSWER = Answer(Grade.CLOSE, Estimate(2.0, math.nan, math.inf, 8, 1), (1.5, 3.0), notes=("few runs",))
TIMES = FirstPassageTimes(time=np.array([1, 3, 4]), observed=np.array([True, True, False]), run=np.arange(3))


def test_a_record_is_json_whatever_it_holds() -> None:
    estimate = {"mean": 2.0, "low": None, "high": None, "n_runs": 8, "n_censored": 1, "level": 0.95}
    known = {"grade": "to 10 %", "estimate": estimate, "sampling": [1.5, 3.0], "notes": ["few runs"], "period": None}
    assert json.loads(json.dumps(ANSWER.to_dict(), allow_nan=False)) == ANSWER.to_dict() == known
    assert TIMES.to_dict() == {"time": [1, 3, 4], "observed": [True, True, False], "run": [0, 1, 2]}
    assert Target(72).to_dict() == {"threshold": 72.0, "direction": "above", "metric": None}
    json.dumps(hazard(TIMES).to_dict(), allow_nan=False)


def test_the_table_has_a_row_for_each_entry_of_the_arrays_or_else_one() -> None:
    curve = survival(TIMES)
    table = curve.to_frame()
    assert list(table) == ["epoch", "survival", "low", "high"]
    assert all(np.array_equal(table[name], getattr(curve, name)) for name in table)
    assert TIMES.to_frame()["observed"].tolist() == [True, True, False]
    (row,) = ANSWER.rows()
    assert (row["grade"], row["period"], row["estimate_mean"], row["estimate_n_runs"]) == (Grade.CLOSE, None, 2.0, 8)
    assert ANSWER.estimate.to_frame()["n_runs"].tolist() == [8]
    with pytest.raises(TypeError, match="Uneven: arrays of several lengths"):
        Uneven(np.zeros(2), np.zeros(3)).to_frame()
