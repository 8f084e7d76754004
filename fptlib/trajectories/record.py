"""The labelled array runs x epochs, all runs of one length or not.

A run may be *retired*: its training stopped once a metric reached a threshold. Or it *ended early*, for a reason that is not recorded:
it is followed to its own last epoch, and censored there. What ended it must have nothing to do with what the metric would have done
next: a time limit has not, stopping a run because it got no better has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fptlib.errors import InputError, meant
from fptlib.trajectories.target import Target, reached

DEFAULT_METRIC = "test_metric"


@dataclass(frozen=True, slots=True, repr=False)
class Trajectories:
    """Metrics of many training runs, epoch by epoch.

    An InputError says that a run, an epoch or a metric is missing, shapes disagree or labels repeat.

    Parameters
    ----------
    metrics
        Name of a metric to its values, float64, shape ``(runs, epochs)``; column ``j`` is epoch ``j + 1``. NaN after the last epoch
        that a run was followed to.
    run
        Label of each run (its seed or number), int64, shape ``(runs,)``, all different.
    meta
        What is known of the origin: ``spec``, ``digest``, ``n_evaluated`` (images behind an accuracy), ``source``; ``retirement`` (as
        `Target.to_dict` makes it) if training stopped at a threshold; of foreign logs what `fptlib.readers.assemble` says.
    followed
        Epochs recorded of each run, int64, shape ``(runs,)``; ``None`` means all of them. A run with fewer was retired, if it had
        reached the retirement by then, or else ended early.

    Examples
    --------
    >>> Trajectories(metrics={"test_metric": np.array([[0.2, 0.5], [0.1, 0.9]])}, run=np.array([3, 4]))
    Trajectories(2 runs, 2 epochs, metrics: test_metric)
    """

    metrics: Mapping[str, NDArray[np.float64]]
    run: NDArray[np.int64]
    meta: Mapping[str, Any] = field(default_factory=dict)
    followed: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        where = self._where
        if not self.metrics:
            raise InputError(f"{where}: no metric; at least one is needed")
        for name, values in self.metrics.items():
            if values.ndim != 2 or values.shape[0] != len(self.run):
                raise InputError(
                    f"{where}: metric {name!r} has shape {values.shape}, expected ({len(self.run)} runs, epochs)"
                )
            if values.size == 0:
                raise InputError(f"{where}: metric {name!r} is empty; at least one run and one epoch are needed")
            if (n := values.shape[1]) != self.n_epochs:
                raise InputError(f"{where}: metric {name!r} has {n} epochs, the others have {self.n_epochs}")
        labels, counts = np.unique(self.run, return_counts=True)
        if counts.max() > 1:
            raise InputError(f"{where}: run {labels[counts > 1][0]} occurs more than once; labels must be unique")
        if self.followed is not None:
            self._check_followed(self.followed)

    def _check_followed(self, followed: NDArray[np.int64]) -> None:
        where, n_epochs = self._where, self.n_epochs
        counts = followed.shape == self.run.shape and np.issubdtype(followed.dtype, np.integer)
        if not counts or not ((followed >= 1) & (followed <= n_epochs)).all():
            raise InputError(f"{where}: followed must hold, for each of {self.n_runs} runs, 1 to {n_epochs} epochs")
        later = self.later
        if late := [name for name, values in self.metrics.items() if not np.isnan(values[later]).all()]:
            raise InputError(
                f"{where}: metric {late[0]!r} has values after the last epoch that its run was followed to"
            )
        retirement = self.retirement
        if not self.complete and retirement is not None and retirement.metric not in self.metrics:
            raise InputError(
                f"{where}: runs were retired at {retirement}, and without this metric it cannot be told which; keep it in the record"
            )

    def __repr__(self) -> str:
        return f"Trajectories({self.n_runs} runs, {self.n_epochs} epochs, metrics: {', '.join(self.metrics)})"

    @property
    def _where(self) -> str:
        return str(self.meta.get("source", "trajectories"))

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return len(self.run)

    @property
    def n_epochs(self) -> int:
        """Return the horizon: epochs recorded for every run that was not retired before and did not end early."""
        return int(next(iter(self.metrics.values())).shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Epochs recorded of each run, shape ``(runs,)``."""
        return np.full(self.n_runs, self.n_epochs) if self.followed is None else self.followed

    @property
    def later(self) -> NDArray[np.bool_]:
        """Test which epochs lie after the last recorded one of their run, shape ``(runs, epochs)``."""
        return np.asarray(np.arange(self.n_epochs) >= self.lengths[:, None])

    @property
    def complete(self) -> bool:
        """Test whether every run was followed to the horizon."""
        return bool((self.lengths == self.n_epochs).all())

    @property
    def retired(self) -> NDArray[np.bool_]:
        """Test which runs were retired before the horizon, shape ``(runs,)``."""
        retirement = self.retirement
        if self.complete or retirement is None:
            return np.zeros(self.n_runs, dtype=bool)
        return (self.lengths < self.n_epochs) & passages(self, retirement)[1]

    @property
    def ended_early(self) -> NDArray[np.bool_]:
        """Test which runs ended before the horizon without being retired, shape ``(runs,)``."""
        return (self.lengths < self.n_epochs) & ~self.retired

    @property
    def n_trained(self) -> int:
        """Number of epochs recorded of all runs together."""
        return int(self.lengths.sum())

    @property
    def retirement(self) -> Target | None:
        """Return where training stopped, as ``meta`` says."""
        content = self.meta.get("retirement")
        return None if content is None else Target.from_dict(content)

    def require_followed(self, target: Target) -> None:
        """Raise an InputError if a run was retired before it could reach the target."""
        retirement, requested = self.retirement, target.on(self)
        if retirement is not None and self.retired.any() and not retirement.covers(requested):
            bound = "at most" if retirement.direction == "above" else "at least"
            raise InputError(
                f"{self._where}: runs were retired at {retirement}, which says nothing of {requested}; ask for "
                f"{retirement.metric} {retirement.direction} {bound} {retirement.threshold:.10g}, or follow the runs further"
            )

    def metric_name(self, name: str | None = None) -> str:
        """Return the name of the metric; by default ``test_metric``, or the only metric there is.

        An InputError lists what there is.
        """
        where, known = self._where, ", ".join(sorted(self.metrics))
        left_out = self.meta.get("left_out", {})  # metrics that the reader of the log could not use
        if name is None:
            alone = len(self.metrics) == 1 and not left_out
            name = next(iter(self.metrics)) if alone else DEFAULT_METRIC
            if name not in self.metrics and name not in left_out:
                beside = f" ({', '.join(sorted(left_out))} left out)" if left_out else ""
                moving = [each for each, values in self.metrics.items() if len(np.unique(values[~self.later])) > 1]
                names = sorted(moving or self.metrics)
                raise InputError(
                    f"{where}: which metric? name one of {', '.join(names)}{beside}, as metric={names[0]!r}"
                )
        if name in left_out:
            raise InputError(left_out[name])
        if name not in self.metrics:
            raise InputError(f"{where}: no metric {name!r}; there is {known}{meant(name, self.metrics)}")
        return name

    def metric(self, name: str | None = None) -> NDArray[np.float64]:
        """Return one metric, shape ``(runs, epochs)``, NaN after the last epoch that a run was followed to; see `metric_name`.

        An InputError says where a value recorded in it is not a finite number.
        """
        name = self.metric_name(name)
        values = self.metrics[name]
        bad = np.argwhere(~(np.isfinite(values) | self.later))
        if len(bad):
            row, column = bad[0]
            raise InputError(
                f"{self._where}: metric {name!r} of run {self.run[row]} at epoch {column + 1} is {values[row, column]}; "
                "finite numbers are needed"
            )
        return values

    def head(self, *, runs: int | None = None, epochs: int | None = None) -> Trajectories:
        """Return the first runs and epochs (all where ``None``)."""
        metrics = {name: values[:runs, :epochs] for name, values in self.metrics.items()}
        followed = self.followed
        if followed is not None:
            followed = np.minimum(followed[:runs], self.n_epochs if epochs is None else epochs)
        return replace(self, metrics=metrics, run=self.run[:runs], followed=followed)


def concatenate(parts: Iterable[Trajectories]) -> Trajectories:
    """Combine the runs of records with the same metrics, epochs and retirement, in the order given."""
    parts = list(parts)
    first = parts[0]
    for part in parts[1:]:
        if set(part.metrics) != set(first.metrics) or part.n_epochs != first.n_epochs:
            raise InputError("records with different metrics or numbers of epochs cannot be put together")
    meta = first.meta
    if any(part.retirement != first.retirement for part in parts):
        if any(part.retired.any() for part in parts):
            places = " and ".join(sorted({str(part.retirement or "not at all") for part in parts}))
            raise InputError(f"records retired differently ({places}) cannot be put together; cut them alike first")
        meta = {key: value for key, value in meta.items() if key != "retirement"}
    metrics = {name: np.concatenate([part.metrics[name] for part in parts]) for name in first.metrics}
    cut = any(part.followed is not None for part in parts)
    return Trajectories(
        metrics=metrics,
        run=np.concatenate([part.run for part in parts]),
        meta=meta,
        followed=np.concatenate([part.lengths for part in parts]) if cut else None,
    )


def passages(trajectories: Trajectories, target: Target) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the first epoch at which each run reaches a target, censored: time and ``observed``, shape ``(runs,)`` each.

    The time of a run that does not reach it is its last epoch. Values that are not finite reach nothing, or are infinite.
    """
    passed = reached(trajectories.metrics[target.on(trajectories).name], target)  # (runs, epochs)
    observed = np.asarray(passed.any(axis=1))
    return np.where(observed, passed.argmax(axis=1) + 1, trajectories.lengths).astype(np.int64), observed


def holds(trajectories: Trajectories, *, epochs: int, retirement: Target | None) -> bool:
    """Test whether a record has ``epochs`` epochs, of each run or up to where that reaches ``retirement``."""
    if trajectories.n_epochs < epochs:
        return False
    enough = trajectories.lengths >= epochs
    if retirement is not None and retirement.metric in trajectories.metrics:
        enough |= passages(trajectories, retirement)[1]
    return bool(enough.all())


def retire(trajectories: Trajectories, retirement: Target) -> Trajectories:
    """Cut each run where it reaches the target, as training with this retirement would; a run that ended before stays as it is.

    An InputError says where a run was retired before it reached this threshold.

    >>> t = Trajectories(metrics={"acc": np.array([[0.2, 0.5, 0.4], [0.1, 0.2, 0.3]])}, run=np.array([0, 1]))
    >>> cut = retire(t, Target(0.5, metric="acc"))
    >>> cut.lengths, cut.metric()
    (array([2, 3]), array([[0.2, 0.5, nan], [0.1, 0.2, 0.3]]))
    """
    retirement = retirement.on(trajectories)
    followed, observed = passages(trajectories, retirement)
    if (trajectories.retired & ~observed).any():
        where = trajectories._where
        raise InputError(f"{where}: retired at {trajectories.retirement}, and not all runs followed to {retirement}")
    later = np.arange(trajectories.n_epochs) >= followed[:, None]
    metrics = {name: np.where(later, np.nan, values) for name, values in trajectories.metrics.items()}
    meta = {**trajectories.meta, "retirement": retirement.to_dict()}
    return replace(trajectories, metrics=metrics, meta=meta, followed=followed)
