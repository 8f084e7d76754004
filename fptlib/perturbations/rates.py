"""Perturbations of the learning rate; the weights stay."""

# bits: what moves trajectories here raises fptlib.spec.ENGINE_VERSION

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self, final

from fptlib.parameters import Below1, Fraction, Positive, PositiveInteger
from fptlib.perturbations.base import Context, Perturbation, Repeat, State, rule


class _OfTheRate(Perturbation):
    """Rules that leave the weights and the momenta as they are."""

    __slots__ = ()
    fresh_optimiser: ClassVar[bool] = False

    def apply(self, state: State, context: Context) -> State:
        """Return the state as it is."""
        return state


@final
@rule("warm_restart")
@dataclass(frozen=True, slots=True)
class WarmRestart(_OfTheRate):
    """Take the learning rate back to its full value, from which it falls along half a cosine.

    Parameters
    ----------
    length
        Epochs in which it falls, 1 or more; by default the period. It stays at the floor until the next restart.
    floor
        What it falls to, as a fraction of the full rate, between 0 and 1.

    Notes
    -----
    In the ``s``-th epoch after a restart (``s`` = 1, 2, ...) the learning rate is ``eta`` times ``floor + (1 - floor) (1 +
    cos(pi (s - 1) / length)) / 2``. Before the first restart it is constant, where SGDR lets it fall from the first epoch on.

    With ``length`` equal to the period, a time left that is measured at one period says nothing of other periods.

    References
    ----------
    I. Loshchilov, F. Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", ICLR 2017.

    Examples
    --------
    >>> [round(WarmRestart(length=2, floor=0.1).rate(since), 3) for since in (1, 2, 3, 4)]
    [1.0, 0.55, 0.1, 0.1]
    """

    length: PositiveInteger | None = None
    floor: Fraction = 0.0

    def timed(self, period: int, repeat: Repeat) -> Self:
        """Return the rule with its length; a ValueError if training could stay without a learning rate."""
        length = self.length or period
        if self.floor == 0 and not (repeat == "periodic" and length == period):
            raise ValueError(
                "floor: 0 can leave training without a learning rate for good; allowed here: above 0, or repeat: periodic "
                "with a length that is the period"
            )
        return replace(self, length=length)

    def rate(self, since: int) -> float:
        """Return the factor on the learning rate in the epoch that is ``since`` (1, 2, ...) epochs after the last perturbation."""
        assert self.length is not None, "known once the rule has a timing"
        done = min((since - 1) / self.length, 1.0)
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * done)) / 2


@final
@rule("rate_bump")
@dataclass(frozen=True, slots=True)
class RateBump(_OfTheRate):
    """Raise the learning rate for some epochs, as much as shrinking the weights would under BatchNorm.

    Parameters
    ----------
    shrink
        Factor on the weights that it stands for, above 0.
    length
        Epochs for which it lasts, 1 or more.

    Notes
    -----
    The learning rate is ``eta / shrink**2`` for ``length`` epochs. Where the loss does not change with the length of ``w``, as
    before BatchNorm, ``g(s w) = g(w) / s``: one step of gradient descent from ``s w`` is ``s w - eta g(w) / s = s (w - (eta / s**2)
    g(w))``, ``s`` times one step from ``w`` with the rate ``eta / s**2``, and the network computes the same.

    It is a control, not the same: after shrinking the rate that counts, ``eta / |w|**2``, falls back by itself, as each step adds
    ``eta**2 |g|**2`` to ``|w|**2``, while the bump ends at once, and acts on layers that are not normalised too.

    References
    ----------
    T. van Laarhoven, "L2 Regularization versus Batch and Weight Normalization", arXiv:1706.05350 (2017).

    Examples
    --------
    >>> [RateBump(shrink=0.5, length=2).rate(since) for since in (1, 2, 3)]
    [4.0, 4.0, 1.0]
    """

    # As shrink-and-perturb has it.
    shrink: Positive = 0.4
    length: PositiveInteger = 5

    def rate(self, since: int) -> float:
        """Return the factor on the learning rate in the epoch that is ``since`` (1, 2, ...) epochs after the last perturbation."""
        return 1 / self.shrink**2 if since <= self.length else 1.0


@final
@rule("rate_drop")
@dataclass(frozen=True, slots=True)
class RateDrop(Perturbation):
    """Multiply the learning rate by a factor for good; the weights and the momenta stay.

    Parameters
    ----------
    factor
        On the learning rate, above 0: below 1 it drops.
    momentum
        SGD's momentum from then on, from 0 to below 1; by default it stays.

    Notes
    -----
    ``eta <- factor * eta``. With ``repeat: once`` training has two phases, and the period is the epoch of the drop; ``periodic``
    repeats it, as a step schedule does.

    References
    ----------
    G. Leclerc, A. Madry, "The Two Regimes of Deep Network Training", arXiv:2002.10376 (2020).

    Examples
    --------
    >>> after = RateDrop(factor=0.5, momentum=0.9).apply(State({}, {}, {}, learning_rate=0.4), Context(dict, ()))
    >>> after.learning_rate, after.momentum
    (0.2, 0.9)
    """

    fresh_optimiser: ClassVar[bool] = False
    factor: Positive = 0.1
    momentum: Below1 | None = None

    def apply(self, state: State, context: Context) -> State:
        """Return the state with another learning rate."""
        momentum = state.momentum if self.momentum is None else self.momentum
        return replace(state, learning_rate=self.factor * state.learning_rate, momentum=momentum)
