"""Find the values of one or two parameters with which the mean curve of training comes nearest to a given curve."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fptlib import ensemble
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import bootstrap_weights, corrected_interval, generator, weighted_sums
from fptlib.record import Record
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import DEFAULT_METRIC

__all__ = ["Calibration", "Curve", "calibrate"]

Floats = NDArray[np.float64]
_Point = tuple[float, ...]  # in units of the ranges, 0 to 1

_FIRST: Final = 4  # steps across a range to begin with
_FINEST: Final = 2.0**-10  # the smallest step
_MOVES: Final = 30  # of the centre, at steps that stay as they are
_BOOT: Final = 1000
_CANDIDATES: Final = (801, 61)  # values of each parameter at which fitted curves are compared, for one and for two
_ROW: Final = "columns epoch (from 1, each once), value and, if known, se (from 0) are needed"


class Curve(NamedTuple):
    """A mean curve to come near to: values at ascending epochs, and their standard errors (0: exact), each ``(points,)``."""

    epoch: NDArray[np.int64]
    value: Floats
    se: Floats

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a CSV file with columns ``epoch``, ``value`` and maybe ``se``; lines that begin with ``#`` are comments."""
        try:
            lines = [*enumerate(Path(path).read_text(encoding="utf-8").splitlines(), start=1)]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}; {_ROW}") from None
        rows = [(n, [cell.strip() for cell in line.split(",")]) for n, line in lines if line.strip() and line[0] != "#"]
        points: dict[int, tuple[float, float]] = {}
        for number, cells in rows[1:]:
            try:
                row = dict(zip(rows[0][1], cells, strict=True))
                epoch, value, se = int(row["epoch"]), float(row["value"]), float(row.get("se", 0))
                if epoch < 1 or epoch in points or not (math.isfinite(value) and 0 <= se < math.inf):
                    raise ValueError
            except (KeyError, ValueError):
                raise InputError(f"{path}, line {number}: {','.join(cells)}; {_ROW}") from None
            points[epoch] = value, se
        if not points:
            raise InputError(f"{path}: no epochs; {_ROW}")
        values = np.array([points[epoch] for epoch in sorted(points)])
        return cls(np.array(sorted(points)), values[:, 0], values[:, 1])


class _Axis(NamedTuple):
    key: str
    low: float
    high: float
    log: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        with suppress(ValueError, TypeError):  # the latter where there is no match
            match: Any = re.fullmatch(r"([^=:]+)=([^:]+):([^:]+)(:log)?", text)
            axis = cls(match[1], float(match[2]), float(match[3]), bool(match[4]))
            if (0 if axis.log else -math.inf) < axis.low < axis.high < math.inf:
                return axis
        raise InputError(
            f"{text}: KEY=LOW:HIGH[:log] is needed, LOW < HIGH, above 0 with log, as optimiser.lr=0.01:1:log"
        )

    def at(self, share: float) -> float:
        """Return the value at a share of the range, with six digits, so that the same share is always the same store."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return float(f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class Calibration(Record):
    """The nearest values, and how near they come.

    Each parameter of ``key`` has a ``value`` and an interval, ``low`` to ``high``. At each ``epoch`` the ``target`` stands beside the curve
    fitted at these values, ``nearest``, and the standard ``error`` of their difference.
    """

    key: tuple[str, ...]
    value: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    level: float
    epoch: NDArray[np.int64]
    target: Floats
    nearest: Floats
    error: Floats
    runs: int
    settings: int
    trained: int
    notes: tuple[str, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """The answer in words, a sentence for each parameter."""
        behind = f"{self.runs} runs of {self.epoch[-1]} epochs at each of {self.settings} settings"
        rows, level = zip(self.key, self.value, self.low, self.high, strict=True), f"{100 * self.level:g} %"
        return tuple(
            f"{key} = {x:.3g} ({level} interval {low:.3g} to {high:.3g}), {behind}" for key, x, low, high in rows
        )


def calibrate(
    spec: EnsembleSpec,
    target: Curve,
    over: Sequence[str],
    *,
    runs: int = 24,
    level: float = 0.95,
    seed: int = 0,
    **training: Any,
) -> Calibration:
    r"""Find the values of one or two parameters whose mean ``test_metric`` is nearest to a target, training what stores lack.

    Parameters
    ----------
    spec, target, over
        Everything else of training, the curve, and the parameters with their ranges, as ``optimiser.lr=0.01:1:log``.
    runs, level, seed
        Runs at each setting, level of the interval, and seed of its bootstrap.
    training
        ``out``, ``workers`` and ``scheduler``, as `fptlib.ensemble.train` has them.

    Notes
    -----
    Nearest means the least sum of squared differences, each divided by its variance. Five values of each parameter are trained first.
    Around the nearest, the mean at each epoch is fitted by a quadratic polynomial of the parameters; the next points lie around the
    minimum of the fitted distance, with steps that are halved until the interval is as wide as a step. The interval comes from 1000
    bootstrap replicates: the same runs are drawn at every setting, because run k has the same initial weights and orders at all of
    them, and the target varies by its standard error (see `fptlib.firstpassage.resampling.corrected_interval`). It knows of chance
    only, not of a setup that differs from the one sought, nor of a second minimum that the first points miss.
    """
    axes = [_Axis.parse(text) for text in over]

    def setting(point: _Point) -> EnsembleSpec:
        return override(base, {axis.key: axis.at(x) for axis, x in zip(axes, point, strict=True)})

    if not 1 <= len({axis.key for axis in axes}) == len(axes) <= min(2, len(target.epoch)):
        raise InputError(f"{', '.join(over)}: one parameter, or two different ones and two epochs, are needed")
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1")
    if runs < 4:
        raise InputError(f"runs: {runs} is not possible; allowed: 4 or more, for an interval")
    if (most := target.value.max()) > 1:
        raise InputError(f"target: {most:g} is not possible; {DEFAULT_METRIC} is at most 1 (0.72 for 72 %)")
    base = override(spec, {"runs": runs, "epochs": int(target.epoch[-1])})
    for corner in itertools.product((0.0, 1.0), repeat=len(axes)):
        setting(corner)  # refuses what is impossible before anything is trained
    curves: dict[_Point, Floats] = {}
    trained = 0

    def train(points: Iterable[_Point]) -> None:
        nonlocal trained
        for point in points:
            if point not in curves:
                record = ensemble.train(setting(point), **training)
                curves[point] = record.metric(DEFAULT_METRIC)[:, target.epoch - 1]
                trained += int(record.meta["trained"])

    weights = bootstrap_weights([np.arange(runs)], n_boot=_BOOT, rng=(rng := generator(seed)))
    normal = rng.standard_normal((1 + _BOOT, len(target.se))) * (np.arange(1 + _BOOT) > 0)[:, None]
    steps = np.full(len(axes), 1 / _FIRST)
    train(itertools.product(np.linspace(0, 1, _FIRST + 1).tolist(), repeat=len(axes)))
    distance = {point: float(np.sum((c.mean(axis=0) - target.value) ** 2)) for point, c in curves.items()}
    centre = np.array(min(curves, key=lambda point: (not math.isfinite(distance[point]), distance[point])))
    if not any(map(math.isfinite, distance.values())):
        raise InputError(f"{DEFAULT_METRIC} is not finite at any of {len(curves)} settings; give other ranges")
    variance, moves = np.ones(len(target.value)), 0
    while True:
        centre = np.clip(centre, steps, 1 - steps)
        train(itertools.product(*([x - h, x, x + h] for x, h in zip(centre.tolist(), steps.tolist(), strict=True))))
        there = curves[tuple(centre.tolist())].var(axis=0, ddof=1) / runs + target.se**2
        if 0 < there.max() < math.inf:
            variance = np.maximum(there, 1e-3 * there.max())  # so that no epoch decides alone
        solution, fitted = _fit(curves, centre, steps, weights, target.value + target.se * normal, variance)
        ends = [corrected_interval(column, level, n_runs=runs) for column in solution.T]
        nearer = np.clip(np.round(solution[0] / steps) * steps, steps, 1 - steps)
        if (abs(nearer - centre) > steps).any() and moves < _MOVES:
            moves += 1
        elif (coarse := (np.array([high - low for low, high in ends]) < steps) & (steps > _FINEST)).any():
            steps = np.where(coarse, steps / 2, steps)
            nearer = np.round(solution[0] / steps) * steps
        else:
            break
        centre = nearer
    points = (solution[0], *zip(*ends, strict=True))
    value, low, high = (tuple(axis.at(x) for axis, x in zip(axes, at, strict=True)) for at in points)
    notes = tuple(_notes(axes, solution, ends, (fitted - target.value) / np.sqrt(variance), target, level))
    curve, key = (*target[:2], fitted, np.sqrt(variance)), tuple(axis.key for axis in axes)
    return Calibration(key, value, low, high, level, *curve, runs, len(curves), trained, notes)


def _fit(
    curves: Mapping[_Point, Floats],
    centre: Floats,
    h: Floats,
    weights: NDArray[np.float32],
    targets: Floats,
    variance: Floats,
) -> tuple[Floats, Floats]:
    """Return the nearest points of the fitted curves, ``(replicates, parameters)``, row 0 of the data, and its curve ``(epochs,)``."""
    near = [p for p in curves if (abs(np.array(p) - centre) <= 2.01 * h).all() and np.isfinite(curves[p]).all()]
    columns = np.concatenate([curves[p] for p in near], axis=1)  # (runs, points * epochs)
    means = (weighted_sums(weights, columns) / len(columns)).reshape(len(weights), len(near), -1)
    coefficients = np.einsum("tp,bpe->bte", np.linalg.pinv(_terms((np.array(near) - centre) / h)), means)
    low, high = np.clip([centre - 2 * h, centre + 2 * h], 0, 1)
    candidates = np.array([*itertools.product(*np.linspace(low, high, _CANDIDATES[len(centre) - 1]).T)])
    terms = _terms((candidates - centre) / h)
    # The distance is a polynomial too: its coefficients are products of those of the curves.
    scaled = coefficients / variance
    products = np.einsum("bte,bse->bts", scaled, coefficients).reshape(len(weights), -1)
    distance = products @ (terms[:, :, None] * terms[:, None, :]).reshape(len(terms), -1).T
    chosen = (distance - 2 * np.einsum("bte,be->bt", scaled, targets) @ terms.T).argmin(axis=1)
    return candidates[chosen], terms[chosen[0]] @ coefficients[0]


def _terms(x: Floats) -> Floats:
    """Return the terms of a quadratic polynomial of each row, ``(points, terms)``."""
    squares = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.stack([np.ones(len(x)), *x.T, *squares], axis=1)


def _notes(
    axes: Sequence[_Axis], solution: Floats, ends: Sequence[tuple[float, float]], z: Floats, target: Curve, level: float
) -> Iterable[str]:
    for axis, (low, high) in zip(axes, ends, strict=True):
        for end in [axis.low] * (low <= 0) + [axis.high] * (high >= 1):
            yield f"the interval of {axis.key} reaches the end of its range, {end:g}; widen the range"
    together = len(axes) == 2 and bool((solution[1:].std(axis=0) > 0).all())
    if together and abs(r := float(np.asarray(np.corrcoef(solution[1:].T))[0, 1])) > 0.8:
        yield f"{axes[0].key} and {axes[1].key} are known together better than each alone (correlation {r:.2f})"
    worst = int(np.argmax(abs(z)))
    # Right for any dependence between epochs, by Bonferroni's inequality.
    if abs(z[worst]) > special.ndtri(1 - (1 - level) / 2 / len(z)):
        yield (
            f"the nearest curve misses the target by {abs(z[worst]):.1f} standard errors at epoch {target.epoch[worst]}: "
            "something else differs too, and the interval does not know it"
        )
