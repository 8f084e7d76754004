"""The ensembles of a study with the target they have to reach: checked, on one horizon, drawn together."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError
from fptlib.firstpassage import Estimate, FirstPassageTimes, first_passage, require_passage, residual_times
from fptlib.firstpassage.estimates import contributions, restricted_mean, survival_curves
from fptlib.firstpassage.resampling import corrected_interval
from fptlib.study.causes import Cause, Note
from fptlib.study.records import Key, Runs, applied_once, check_units, check_unperturbed, differences, origin_of
from fptlib.study.seeds import Ensemble, agreement, joint_weights, parting
from fptlib.trajectories import Target, Trajectories
from fptlib.trajectories.checks import in_words, twins
from fptlib.trajectories.origin import Origin

N_BOOT = 1000
_OTHER_UNIT = 10.0  # factor between metrics that no chance makes: a percentage is a hundred times a fraction
_CHANCE = 4.0  # standard errors: means that differ by more are no chance


@final
class Study:
    """Evidence on perturbations: unperturbed runs, perturbed runs, and the target.

    An InputError says that no run reaches the target, all unperturbed runs do at epoch 1, no perturbed run is left at
    its period, a period is not below the horizon, units differ, a name is of two perturbations, or a record disagrees.

    Parameters
    ----------
    unperturbed
        Runs without perturbation: `Trajectories`, or `FirstPassageTimes`, which have no final metrics.
    perturbed
        Perturbation and period, as ``("shrink_perturb", 20)``, to the runs that were perturbed so; may be empty. Runs of one seed, which
        carry one label and agree until one of them is perturbed, are recognised and drawn together.
    target
        What the metric has to reach: a `Target`, or a number for a threshold from below.
    once
        Names of the perturbations that were applied once, at their period, and not again; a store's record says so by itself.
    level, n_boot, seed
        Confidence level of all intervals, bootstrap replicates over seeds, and the seed of their random numbers.

    Attributes
    ----------
    horizon
        Last epoch that enough runs of every ensemble were followed to; every mean is restricted to it.
    ensembles
        Times, metric and period up to the horizon of the unperturbed runs (key ``None``) and of each perturbed ensemble.
    notes
        What the runs and their records give to think about, each with its `Cause`.

    Examples
    --------
    >>> from fptlib.processes import DelayedGeometric
    >>> process = DelayedGeometric(silent=10, hazard=0.01, silent_after=2, hazard_after=0.2)
    >>> plain, kicked = (process.sample(np.random.default_rng(i), n_runs=300, horizon=120, period=p) for i, p in enumerate([None, 20]))
    >>> study = Study(plain, {("kick", 20): kicked}, 0.5)
    >>> study.horizon, round(study.plain.mean), round(study.mean(("kick", 20)).mean)
    (120, 74, 26)
    """

    def __init__(
        self,
        unperturbed: Runs,
        perturbed: Mapping[Key, Runs],
        target: Target | float,
        *,
        once: Collection[str] = (),
        level: float = 0.95,
        n_boot: int = N_BOOT,
        seed: int = 0,
    ) -> None:
        if not 0 < level < 1:
            raise InputError(f"level {level} is not between 0 and 1")
        if n_boot < 20:
            raise InputError(f"n_boot {n_boot} is too small; at least 20 bootstrap replicates are needed")
        self.unperturbed, self.perturbed, self.target = unperturbed, dict(perturbed), Target.of(target)
        self.level, self.n_boot, self.seed = level, n_boot, seed
        self._options: dict[str, Any] = {"level": level, "n_boot": n_boot, "seed": seed}
        self._check_types()
        check_unperturbed(unperturbed)
        check_units(
            ("the unperturbed runs" if key is None else f"those of {key[0]} ({key[1]})", runs)
            for key, runs in self._runs()
        )
        self.once = frozenset(self._applied_once([once] if isinstance(once, str) else once))
        times = {key: _times(runs, self.target) for key, runs in self._runs()}
        self.length, self.horizon = self._horizons(times)
        self.ensembles = {
            key: Ensemble(_head(times[key], self.horizon), _values(runs, self.target, self.horizon), key and key[1])
            for key, runs in self._runs()
        }
        self._check()
        self.notes = tuple(self._notes())

    def _runs(self) -> Iterator[tuple[Key | None, Runs]]:
        yield None, self.unperturbed
        yield from self.perturbed.items()

    def _check_types(self) -> None:
        for key, runs in self._runs():
            if not isinstance(runs, Trajectories | FirstPassageTimes):
                raise InputError(
                    f"runs of {key or 'no perturbation'} are a {type(runs).__name__}; trajectories or first-passage times are needed"
                )
            named = isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str)
            if key is not None and not (
                named and isinstance(key[1], int | np.integer) and not isinstance(key[1], bool)
            ):
                raise InputError(
                    f"perturbed ensembles are named by perturbation and period, as ('shrink_perturb', 20), and not {key!r}"
                )

    def _applied_once(self, once: Collection[str]) -> Iterator[str]:
        kinds: dict[str, bool] = {}
        for key, runs in self.perturbed.items():
            name, kind = key[0], applied_once(key, runs, once=key[0] in once)
            if kinds.setdefault(name, kind) != kind:
                raise InputError(
                    f"{name} was applied once in one ensemble and periodically in another; give these two names"
                )
        if unknown := set(once) - set(kinds):
            raise InputError(f"once names {', '.join(sorted(unknown))}, of which no runs were given")
        return iter([name for name, kind in kinds.items() if kind])

    def _horizons(self, times: Mapping[Key | None, FirstPassageTimes]) -> tuple[int, int]:
        """Return the length of the shortest record, and the last epoch that enough runs of every ensemble were followed to."""
        lengths = [_length(runs, times[key]) for key, runs in self._runs()]
        known = [length for length in lengths if length is not None]
        shortest = horizon = min(known) if known else max(t.horizon for t in times.values())
        for each in times.values():
            horizon = _head(each, horizon).supported(horizon)
        for name, period in self.perturbed:
            subject = f"period {period} of the runs of {name} is not"
            if not 1 <= period < shortest:
                raise InputError(f"{subject} between 1 and {shortest - 1} (their horizon is {shortest})")
            if period >= horizon:
                raise InputError(f"{subject} before epoch {horizon}, the last that enough runs were followed to")
        return shortest, horizon

    def _check(self) -> None:
        plain, threshold = self.ensembles[None], self.target.threshold
        for key in self.perturbed:
            _require_one_unit(plain, self.ensembles[key])
        if self.perturbed:
            self.require_passage()
        at = "" if plain.values is None else f" ({np.nanmin(plain.values):.4g} to {np.nanmax(plain.values):.4g})"
        other = "below" if self.target.direction == "above" else "above"
        scale = f"is {threshold:g} on the scale of the metric{at}, or is direction={other!r} meant?"
        if plain.times.observed.all() and plain.times.time.max() == 1:
            raise InputError(f"all unperturbed runs reach {threshold:g} at epoch 1: {scale}")
        for key in self.perturbed:
            ensemble = self.ensembles[key]
            if not ensemble.times.running(key[1]).any():
                raise InputError(
                    f"all runs of {key[0]} reach {threshold:g} by epoch {key[1]}; residual times need a shorter period or a harder "
                    f"threshold ({scale})"
                )

    def require_passage(self) -> None:
        """Raise an InputError if no run of any ensemble reaches the target."""
        if any(e.times.observed.any() for e in self.ensembles.values()):
            return
        values = {_name(key): e.values for key, e in self.ensembles.items() if e.values is not None}
        if values:
            require_passage(self.target, **values)
        raise InputError(f"no run reaches the threshold {self.target.threshold:g} within {self.horizon} epochs")

    def _notes(self) -> Iterator[Note]:
        if self.horizon < self.length:
            yield Cause.CUT.note(horizon=self.horizon, length=self.length)
        for key, runs in self._runs():
            if isinstance(runs, Trajectories) and (equal := twins(runs.metric(self.target.metric))):
                name = "unperturbed" if key is None else self.name(key)
                yield Cause.TWICE.note(name=name, equal=in_words(runs, equal))
        for key, runs in self.perturbed.items():
            period, name = key[1], self.name(key)
            until = agreement(self.ensembles[None], self.ensembles[key])
            if until > period:
                words = "to their end" if until >= self.horizon else f"until epoch {until}"
                yield Cause.PERIOD.note(name=name, until=words, period=period)
            elif epoch := parting(self.ensembles[None], self.ensembles[key], period):
                when = f"at epoch {epoch - 1}" if key[0] in self.once else f"every {epoch - 1} epochs"
                yield Cause.EARLIER.note(name=name, epoch=epoch, when=when)
            elif until == 0 and (note := self._unlike(key)) is not None:
                yield note
            if _swapped(self.ensembles[None], self.ensembles[key], period):
                yield Cause.SWAPPED.note(name=name, period=period)
            yield from differences(self.unperturbed, runs, name)

    def _unlike(self, key: Key) -> Note | None:
        """Return a note if the mean up to the first perturbation, where both ensembles are trained alike, or the metric there differs."""
        period, pair = key[1], (self.ensembles[None], self.ensembles[key])
        samples = {Cause.UNLIKE: [contributions(e.times, horizon=period) for e in pair]}  # (runs,) each
        if all(e.values is not None for e in pair):
            alive = [e.times.running(period) for e in pair]
            samples[Cause.UNLIKE_METRIC] = [e.values[a, period - 1] for e, a in zip(pair, alive, strict=True)]  # type: ignore[index]
        for cause, (plain, perturbed) in samples.items():
            if min(len(plain), len(perturbed)) < 10:
                continue
            error = float(np.hypot(*(x.std() / np.sqrt(len(x)) for x in (plain, perturbed))))
            if abs(float(perturbed.mean() - plain.mean())) > _CHANCE * error:
                return cause.note(name=self.name(key), period=period, perturbed=perturbed.mean(), plain=plain.mean())
        return None

    def name(self, key: Key) -> str:
        """Return the name of a perturbed ensemble in words."""
        return f"{key[0]} at epoch {key[1]}" if key[0] in self.once else f"{key[0]} every {key[1]} epochs"

    def origin(self, key: Key | None) -> Origin:
        """Return the record of how an ensemble was trained; key ``None``: the unperturbed one."""
        return origin_of(self.unperturbed if key is None else self.perturbed[key])

    def only(self, *keys: Key) -> Study:
        """Return a study with only some of the perturbed ensembles."""
        return self._with({key: self.perturbed[key] for key in keys}, self.target)

    def at(self, threshold: float) -> Study:
        """Return a study of the same trajectories at another threshold."""
        if not all(isinstance(runs, Trajectories) for _, runs in self._runs()):
            raise InputError("another threshold needs trajectories; first-passage times are those of one threshold")
        return self._with(self.perturbed, Target(threshold, self.target.direction, self.target.metric))

    def _with(self, perturbed: Mapping[Key, Runs], target: Target) -> Study:
        once = self.once & {name for name, _ in perturbed}
        return Study(self.unperturbed, perturbed, target, once=once, **self._options)

    # -- curves: row 0 of the replicates is the data

    @cached_property
    def weights(self) -> dict[Key | None, NDArray[np.float32]]:
        """Return the bootstrap weights of the runs of each ensemble, ``(1 + n_boot, runs)``; a replicate draws the same seeds in all."""
        drawn = joint_weights([*self.ensembles.values()], n_boot=self.n_boot, seed=self.seed)
        return dict(zip(self.ensembles, drawn, strict=True))

    @cached_property
    def survival(self) -> NDArray[np.float64]:
        """Return the survival of the unperturbed runs, ``(horizon + 1, 1 + n_boot)``."""
        return self.curve(None)

    def curve(self, key: Key | None) -> NDArray[np.float64]:
        """Return the survival of an ensemble from the start of training, ``(horizon + 1, 1 + n_boot)``."""
        return survival_curves(self.ensembles[key].times, self.weights[key], horizon=self.horizon).T

    @property
    def plain(self) -> Estimate:
        """Restricted mean first-passage time without perturbation."""
        return self.estimate(self.survival[:-1].sum(axis=0), self.ensembles[None].times)

    def mean(self, key: Key | None = None, *, horizon: int | None = None) -> Estimate:
        """Return the restricted mean of one ensemble alone, at the horizon of the study or at another one."""
        times = _times(self.unperturbed if key is None else self.perturbed[key], self.target)
        at = self.horizon if horizon is None else horizon
        return restricted_mean(times, horizon=at, **self._options)

    def means(self) -> dict[Key, Estimate]:
        """Return the restricted mean of each perturbed ensemble alone."""
        return {key: self.mean(key) for key in self.perturbed}

    def residual(self, key: Key) -> Estimate:
        """Return the mean residual time after the first perturbation, restricted to the epochs left to the horizon."""
        left = residual_times(self.ensembles[key].times, period=key[1])
        return restricted_mean(left, horizon=self.horizon - key[1], **self._options)

    def estimate(self, replicates: NDArray[np.float64], times: FirstPassageTimes) -> Estimate:
        """Return the estimate from the data (first entry) and its replicates (the others)."""
        low, high = corrected_interval(replicates, self.level, n_runs=times.n_runs)
        return Estimate(float(replicates[0]), low, high, times.n_runs, times.n_censored, self.level)


def _name(key: Key | None) -> str:
    return "unperturbed" if key is None else f"{key[0]}_{key[1]}"


def _swapped(plain: Ensemble, perturbed: Ensemble, period: int) -> bool:
    """Test whether the mean metric of the first runs jumps where those of the second are perturbed, and theirs does not."""
    if plain.values is None or perturbed.values is None or period < 2:
        return False
    steps = [np.diff(e.values[:, period - 2 : period + 1], axis=1) for e in (plain, perturbed)]  # type: ignore[index]
    jumps = [each[np.isfinite(each).all(axis=1)] for each in steps]  # (runs, before and at the perturbation)
    if min(map(len, jumps)) < 10:
        return False
    (before, here), (_, there) = (np.abs(each.mean(axis=0)) for each in jumps)
    error = float(np.hypot(*(each[:, 1].std() / np.sqrt(len(each)) for each in jumps)))
    return bool(here - there > _CHANCE * error and here > 3 * max(before, there))


def _times(runs: Runs, target: Target) -> FirstPassageTimes:
    return runs if isinstance(runs, FirstPassageTimes) else first_passage(runs, target)


def _values(runs: Runs, target: Target, horizon: int) -> NDArray[np.float64] | None:
    return None if isinstance(runs, FirstPassageTimes) else runs.metric(target.metric)[:, :horizon]


def _head(times: FirstPassageTimes, horizon: int) -> FirstPassageTimes:
    """Return times as they are known after ``horizon`` epochs."""
    return FirstPassageTimes(np.minimum(times.time, horizon), times.observed & (times.time <= horizon), times.run)


def _length(runs: Runs, times: FirstPassageTimes) -> int | None:
    """Return the epochs of a record; ``None`` for times alone of which none is censored: nothing is left to be followed."""
    if isinstance(runs, Trajectories):
        return runs.n_epochs
    return times.horizon if times.n_censored else None


def _require_one_unit(plain: Ensemble, perturbed: Ensemble) -> None:
    """Refuse two units: up to the first perturbation both ensembles are trained alike, and the metric changes by no such factor."""
    if plain.values is None or perturbed.values is None:
        return
    epoch = perturbed.period or 0
    before, there = (float(np.nanmean(np.abs(e.values[:, epoch - 1]))) for e in (plain, perturbed))  # type: ignore[index]
    if min(before, there) > 0 and max(before / there, there / before) > _OTHER_UNIT:
        raise InputError(
            f"at epoch {epoch}, before they are perturbed at all, the perturbed runs have a metric of {there:.4g} on average and the "
            f"unperturbed ones of {before:.4g}: are both in the same unit?"
        )
