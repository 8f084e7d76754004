"""Find the values of one or two parameters with which the mean curve of training comes nearest to a given curve."""

from __future__ import annotations

import csv
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import special

from fptlib import ensemble
from fptlib.errors import InputError
from fptlib.firstpassage.resampling import bootstrap_weights, corrected_interval, generator, weighted_sums
from fptlib.record import Record
from fptlib.spec import EnsembleSpec, override
from fptlib.trajectories import DEFAULT_METRIC

__all__ = ["Axis", "Calibration", "Curve", "calibrate"]

Floats = NDArray[np.float64]
_Point = tuple[float, ...]  # in units of the ranges, 0 to 1

_FIRST: Final = 4  # steps across a range to begin with
_FINEST: Final = 2.0**-10  # the smallest step
_BOOT: Final = 1000
_CANDIDATES: Final = (801, 61)  # values of each parameter at which fitted curves are compared, for one and for two


@dataclass(frozen=True, slots=True)
class Curve:
    """A mean curve to come near to: ``epoch``, ascending, ``value`` and, where known, its standard error ``se``, each ``(points,)``."""

    epoch: NDArray[np.int64]
    value: Floats
    se: Floats

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
        """Read a CSV file with columns ``epoch``, ``value`` and maybe ``se``; lines that begin with ``#`` are comments."""
        try:
            lines = Path(path).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: {getattr(error, 'strerror', None) or 'not a text file'}; a CSV file is needed"
            ) from None
        held = [(n, line) for n, line in enumerate(lines, start=1) if line.strip() and not line.startswith("#")]
        reader = csv.DictReader(line for _, line in held)
        names = [name.strip() for name in reader.fieldnames or ()]
        if sorted(names) not in (["epoch", "value"], ["epoch", "se", "value"]):
            raise InputError(f"{path}: columns {', '.join(names) or 'none'}; allowed: epoch, value and, if known, se")
        reader.fieldnames = names
        points: dict[int, tuple[float, float]] = {}
        for (line, _), row in zip(held[1:], reader, strict=False):
            try:
                epoch, value, se = int(row["epoch"]), float(row["value"]), float(row.get("se", 0))
            except (TypeError, ValueError):
                raise InputError(f"{path}, line {line}: a whole number and numbers are needed") from None
            if epoch < 1 or epoch in points or not (math.isfinite(value) and 0 <= se < math.inf):
                allowed = "epochs from 1, each once; finite values; se from 0"
                raise InputError(f"{path}, line {line}: not possible; allowed: {allowed}")
            points[epoch] = value, se
        if not points:
            raise InputError(f"{path}: no epochs; a row for at least one is needed")
        epochs = sorted(points)
        values = np.array([points[epoch] for epoch in epochs])
        return cls(np.array(epochs), values[:, 0], values[:, 1])


@dataclass(frozen=True, slots=True)
class Axis:
    """A parameter by its dotted ``key``, and the range in which it is sought, evenly or in its logarithm."""

    key: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and self.low < self.high < math.inf and (self.low > 0 or not self.log)):
            above = ", both above 0" if self.log else ""
            raise InputError(f"{self.key}: {self.low:g} to {self.high:g} is no range; allowed: low < high{above}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``key=low:high`` or ``key=low:high:log``.

        >>> Axis.parse("optimiser.lr=0.01:1:log").at(0.5)
        0.1
        """
        key, _, ends = text.partition("=")
        parts = ends.split(":")
        try:
            if not key or len(parts) not in (2, 3) or parts[2:] not in ([], ["log"]):
                raise ValueError
            return cls(key.strip(), float(parts[0]), float(parts[1]), len(parts) == 3)
        except InputError:
            raise
        except ValueError:
            raise InputError(f"{text}: KEY=LOW:HIGH[:log] is needed, as in optimiser.lr=0.01:1:log") from None

    def at(self, share: float) -> float:
        """Return the value at a share of the range, with six digits, so that the same share is always the same store."""
        value = self.low * (self.high / self.low) ** share if self.log else self.low + (self.high - self.low) * share
        return float(f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class Calibration(Record):
    """The nearest values, and how near they come.

    ``value``, ``low`` and ``high`` hold each parameter of ``key`` with the ends of its interval; ``epoch``, ``target``, ``nearest``
    and ``error`` the curve, the one fitted at these values and the standard error of their difference. ``runs`` were trained at each
    of ``points`` settings, ``trained`` run-epochs of them now.
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
    points: int
    trained: int
    notes: tuple[str, ...]

    @property
    def advice(self) -> tuple[str, ...]:
        """The answer in words, a sentence for each parameter."""
        behind = f"{self.runs} runs of {self.epoch[-1]} epochs at each of {self.points} settings"
        rows = zip(self.key, self.value, self.low, self.high, strict=True)
        interval = f"{100 * self.level:g} % interval"
        return tuple(f"{key} = {x:.3g} ({interval} {low:.3g} to {high:.3g}), {behind}" for key, x, low, high in rows)


def calibrate(
    spec: EnsembleSpec,
    target: Curve,
    over: Sequence[Axis],
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
        Everything else of training, the curve, and the parameters with the ranges in which they are sought.
    runs, level, seed
        Runs at each setting, level of the interval, and seed of its bootstrap.
    training
        ``out``, ``workers`` and ``scheduler``, as `fptlib.ensemble.train` has them.

    Notes
    -----
    Nearest means the least sum of squared differences, each divided by its variance: that of the mean of the runs, and the target's own.
    A lattice of five values of each parameter is trained first. Around its nearest point the mean at each epoch is fitted by a quadratic
    polynomial of the parameters; the next points lie around the minimum of the fitted distance, with steps that are halved
    until the interval is as wide as a step. The interval comes from 1000 bootstrap replicates: the same runs are drawn at every setting,
    because run k has the same initial weights and orders at all of them, and the target varies by its standard error
    (without ``se`` it counts as exact). It is that of `fptlib.firstpassage.resampling.corrected_interval`. The search is local
    beyond the first lattice, and the interval knows of chance only: not of a setup that differs from the one sought.
    """
    base = _checked(spec, target, over, runs, level)
    curves: dict[_Point, Floats] = {}
    trained = 0

    def train(points: Iterable[_Point]) -> None:
        nonlocal trained
        for point in points:
            if point not in curves:
                here = override(base, {axis.key: axis.at(x) for axis, x in zip(over, point, strict=True)})
                record = ensemble.train(here, **training)
                curves[point] = record.metric(DEFAULT_METRIC)[:, target.epoch - 1]
                trained += int(record.meta["trained"])

    weights = bootstrap_weights([np.arange(runs)], n_boot=_BOOT, rng=(rng := generator(seed)))
    targets = target.value + target.se * np.vstack(
        [np.zeros(len(target.se)), rng.standard_normal((_BOOT, len(target.se)))]
    )
    steps = np.full(len(over), 1 / _FIRST)
    train(itertools.product(np.linspace(0, 1, _FIRST + 1).tolist(), repeat=len(over)))
    centre, variance, seen = (
        np.array(_nearest(curves, target)),
        np.ones(len(target.value)),
        set[tuple[_Point, _Point]](),
    )
    while True:
        centre = np.clip(centre, steps, 1 - steps)
        train(itertools.product(*([x - h, x, x + h] for x, h in zip(centre.tolist(), steps.tolist(), strict=True))))
        variance = _variance(curves[tuple(centre.tolist())], target, variance)
        found, fitted = _fit(curves, centre, steps, weights, targets, variance)
        ends = [corrected_interval(column, level, n_runs=runs) for column in found.T]
        nearer = np.clip(np.round(found[0] / steps) * steps, steps, 1 - steps)
        move = tuple(nearer.tolist()), tuple(steps.tolist())
        if (abs(nearer - centre) > steps).any() and move not in seen:
            seen.add(move)
        elif (coarse := (np.array([high - low for low, high in ends]) < steps) & (steps > _FINEST)).any():
            steps = np.where(coarse, steps / 2, steps)
            nearer = np.round(found[0] / steps) * steps
        else:
            break
        centre = nearer
    error = np.sqrt(variance)
    return Calibration(
        key=tuple(axis.key for axis in over),
        value=tuple(axis.at(x) for axis, x in zip(over, found[0], strict=True)),
        low=tuple(axis.at(low) for axis, (low, _) in zip(over, ends, strict=True)),
        high=tuple(axis.at(high) for axis, (_, high) in zip(over, ends, strict=True)),
        level=level,
        epoch=target.epoch,
        target=target.value,
        nearest=fitted,
        error=error,
        runs=runs,
        points=len(curves),
        trained=trained,
        notes=tuple(_notes(over, found, ends, (fitted - target.value) / error, target, level)),
    )


def _checked(spec: EnsembleSpec, target: Curve, over: Sequence[Axis], runs: int, level: float) -> EnsembleSpec:
    """Return what is trained, less the parameters; an InputError names what is impossible before anything is trained."""
    if not 1 <= len(over) <= 2 or len({axis.key for axis in over}) < len(over):
        raise InputError(
            f"{', '.join(axis.key for axis in over) or 'nothing'}: one parameter or two different ones are needed"
        )
    if not 0 < level < 1:
        raise InputError(f"level {level} is not between 0 and 1")
    if runs < 4:
        raise InputError(f"runs: {runs} is not possible; allowed: 4 or more, for an interval")
    if len(target.epoch) < len(over):
        raise InputError(f"a target of {len(target.epoch)} epoch cannot tell {len(over)} parameters; give more epochs")
    if target.value.max() > 1:
        raise InputError(
            f"target: {target.value.max():g} is not possible; {DEFAULT_METRIC} is at most 1 (0.72 for 72 %)"
        )
    base = override(spec, {"runs": runs, "epochs": int(target.epoch[-1])})
    for ends in itertools.product((0.0, 1.0), repeat=len(over)):
        override(base, {axis.key: axis.at(x) for axis, x in zip(over, ends, strict=True)})
    return base


def _variance(curves: Floats, target: Curve, otherwise: Floats) -> Floats:
    """Return the variance of the difference of means at each epoch, nowhere so small that one epoch decides alone."""
    variance = curves.var(axis=0, ddof=1) / len(curves) + target.se**2
    return np.maximum(variance, 1e-3 * variance.max()) if 0 < variance.max() < math.inf else otherwise


def _nearest(curves: Mapping[_Point, Floats], target: Curve) -> _Point:
    """Return the trained point whose mean curve is nearest; what diverged is nowhere near."""
    distance = {point: float(np.sum((c.mean(axis=0) - target.value) ** 2)) for point, c in curves.items()}
    if not any(map(math.isfinite, distance.values())):
        raise InputError(f"{DEFAULT_METRIC} is not finite at any of {len(distance)} settings; give other ranges")
    return min((point for point in curves if math.isfinite(distance[point])), key=lambda point: distance[point])


def _fit(
    curves: Mapping[_Point, Floats],
    centre: Floats,
    steps: Floats,
    weights: NDArray[np.float32],
    targets: Floats,
    variance: Floats,
) -> tuple[Floats, Floats]:
    """Return the nearest points of the fitted curves, ``(replicates, parameters)``, row 0 of the data, and its curve ``(epochs,)``."""
    near = {
        p: c for p, c in curves.items() if (abs(np.array(p) - centre) <= 2.01 * steps).all() and np.isfinite(c).all()
    }
    columns = np.concatenate([*near.values()], axis=1)  # (runs, points * epochs)
    means = (weighted_sums(weights, columns) / columns.shape[0]).reshape(len(weights), len(near), -1)
    solve = np.linalg.pinv(_terms((np.array([*near]) - centre) / steps))
    coefficients = np.einsum("tp,bpe->bte", solve, means)
    sides = [
        np.linspace(max(0.0, c - 2 * h), min(1.0, c + 2 * h), _CANDIDATES[len(centre) - 1])
        for c, h in zip(centre, steps, strict=True)
    ]
    candidates = np.stack([side.ravel() for side in np.meshgrid(*sides, indexing="ij")], axis=1)
    terms = _terms((candidates - centre) / steps)
    # The distance is a polynomial too: its coefficients are products of those of the curves.
    scaled = coefficients / variance
    products = np.einsum("bte,bse->bts", scaled, coefficients).reshape(len(weights), -1)
    distance = products @ (terms[:, :, None] * terms[:, None, :]).reshape(len(terms), -1).T
    distance -= 2 * np.einsum("bte,be->bt", scaled, targets) @ terms.T
    chosen = distance.argmin(axis=1)
    return candidates[chosen], terms[chosen[0]] @ coefficients[0]


def _terms(x: Floats) -> Floats:
    """Return the terms of a quadratic polynomial of each row, ``(points, terms)``."""
    squares = [x[:, i] * x[:, j] for i in range(x.shape[1]) for j in range(i, x.shape[1])]
    return np.stack([np.ones(len(x)), *x.T, *squares], axis=1)


def _notes(
    over: Sequence[Axis], found: Floats, ends: Sequence[tuple[float, float]], z: Floats, target: Curve, level: float
) -> Iterable[str]:
    for axis, (low, high) in zip(over, ends, strict=True):
        for at, end in ((low <= 0, axis.low), (high >= 1, axis.high)):
            if at:
                yield f"the interval of {axis.key} reaches the end of its range, {end:g}; widen the range"
    together = len(over) == 2 and bool((found[1:].std(axis=0) > 0).all())
    if together and abs(r := float(np.asarray(np.corrcoef(found[1:].T))[0, 1])) > 0.8:
        yield f"{over[0].key} and {over[1].key} are known together better than each alone (correlation {r:.2f})"
    worst = int(np.argmax(abs(z)))
    # Right for any dependence between epochs, by Bonferroni's inequality.
    if abs(z[worst]) > special.ndtri(1 - (1 - level) / 2 / len(z)):
        yield (
            f"the nearest curve misses the target by {abs(z[worst]):.1f} standard errors at epoch {target.epoch[worst]}: "
            "something else differs too, and the interval does not know it"
        )
