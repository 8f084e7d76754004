"""What a perturbation at any epoch leaves, interpolated between the periods at which it was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fptlib.response.sample import Sample
from fptlib.response.verdicts import MIN_SURVIVORS

Epochs = NDArray[np.float64]  # (replicates, H - 1): at epochs 1 .. H - 1
_N_EPOCHS = 40  # epochs at which the drift is looked at, evenly in log(epoch), and interpolated between


@dataclass(frozen=True, slots=True)
class Drift:
    """The drift between ``P0`` and epochs ``1 .. H - 1``, see `Sample.drift`, looked at on a grid of epochs.

    Parameters
    ----------
    share
        How much each epoch counts at each point of the grid, its two neighbours, ``(grid, H - 1)``.
    change
        Of the mean residual time, ``(replicates, grid)``.
    outside, shift
        Share of survivors with a metric not seen at ``P0``, and mean metric less that at ``P0`` in standard deviations, ``(grid,)``.
    """

    share: NDArray[np.float64]
    change: NDArray[np.float64]
    outside: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def of(cls, sample: Sample) -> Drift:
        """Look at a sample."""
        last = sample.horizon - 1
        grid = np.unique(np.round(np.geomspace(1, last, min(_N_EPOCHS, last))).astype(np.int64))
        at = grid.tolist()
        return cls(
            share=_shares(grid, last),
            change=sample.drift(at).T,
            outside=np.array([sample.outside(t) for t in at]),
            shift=np.array([sample.shift(t) for t in at]),
        )


@dataclass(frozen=True, slots=True)
class Interpolated:
    """Samples of one perturbation at one or more periods, in their order; between two periods both count, beyond them the nearest.

    Parameters
    ----------
    samples, drifts
        Drawn together, and the drift of each.
    near
        How much each sample counts at each epoch, ``(samples, H - 1)``.
    """

    samples: tuple[Sample, ...]
    drifts: tuple[Drift, ...]
    near: NDArray[np.float64]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> Interpolated:
        """Put samples together."""
        ordered = sorted(samples, key=lambda sample: sample.period)
        near = _shares(np.array([sample.period for sample in ordered]), ordered[0].horizon - 1)
        return cls(tuple(ordered), tuple(Drift.of(sample) for sample in ordered), near)

    def total(self, weights: Epochs, left: Sequence[Epochs]) -> NDArray[np.float64]:
        """Sum over epochs of what a perturbation there leaves, by each sample, with weights; ``(replicates,)``."""
        parts = [(weights * share * part).sum(axis=1) for share, part in zip(self.near, left, strict=True)]
        return np.asarray(np.sum(parts, axis=0))

    def shares(self, weights: Epochs) -> NDArray[np.float64]:
        """How much each sample counts in all, in the data, ``(samples,)``."""
        counts = self.near @ weights[0]
        return np.asarray(counts / max(float(counts.sum()), 1e-300))

    def drift(self, weights: Epochs) -> tuple[NDArray[np.float64], float, float]:
        """Sum of the changes by the drift with weights, and weighted means of what is outside and of the shift."""
        changes, outside, shift, whole = [], 0.0, 0.0, max(float(weights[0].sum()), 1e-300)
        for near, drift in zip(self.near, self.drifts, strict=True):
            at = (weights * near) @ drift.share.T  # (replicates, grid)
            changes.append((at * drift.change).sum(axis=1))
            met = at[0] > 0
            outside += float(at[0] @ drift.outside) / whole
            shift += float(at[0][met] @ drift.shift[met]) / whole
        return np.asarray(np.sum(changes, axis=0)), outside, shift

    def weakest(self, weights: Epochs) -> Sample:
        """The sample of fewest survivors among those that count for a tenth or more."""
        shares = self.shares(weights)
        counting = [
            sample for sample, share in zip(self.samples, shares, strict=True) if share >= 0.1 or share == shares.max()
        ]
        return min(counting, key=lambda sample: min(sample.n_survivors, MIN_SURVIVORS))

    @property
    def where(self) -> str:
        """The measured periods in words."""
        periods = [str(sample.period) for sample in self.samples]
        if len(periods) == 1:
            return f"at epoch {periods[0]}"
        return f"at epochs {', '.join(periods[:-1])} and {periods[-1]}"

    @property
    def n_survivors(self) -> int:
        """Perturbed survivors of all samples."""
        return sum(sample.n_survivors for sample in self.samples)

    @property
    def n_residual_censored(self) -> int:
        """Those of them that were censored."""
        return sum(sample.n_residual_censored for sample in self.samples)


def _shares(points: NDArray[np.int64], last: int) -> NDArray[np.float64]:
    """Linear interpolation between points, as weights of the points at epochs ``1 .. last``, ``(points, last)``."""
    epoch = np.arange(1, last + 1)
    return np.stack([np.interp(epoch, points, row) for row in np.eye(len(points))])
