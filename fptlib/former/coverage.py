r"""Intervals that cannot be trusted to cover: too few survivors, or residual times so skewed that a few survivors carry the mean.

Intervals of predictions cover at their level where the mean of the survivors' residual times is nearly normal in its sampling. How far
it is from that is, by Edgeworth's expansion, a matter of :math:`g / \sqrt{n}` with g the skewness of n residual times; Cochran's rule
for plain normal intervals asks for :math:`n > 25 g^2`. The intervals here are corrected for skewness and stand more: `MAX_SKEWNESS` is
as much as they stand in ``benchmarks/interval_coverage.py``.

What no interval can see is a kind of survivor of which the sample has none: of a kind that is one in thirty, thirty survivors have none
in a third of all cases. Whatever is rarer than 3/n may be missing.

References
----------
W. G. Cochran, *Sampling Techniques* (Wiley, 1977), section 2.15. P. Hall, *The Bootstrap and Edgeworth Expansion* (Springer, 1992).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fptlib.errors import InputError
from fptlib.former.verdicts import MIN_SURVIVORS

MAX_SKEWNESS = 0.4  # skewness over root of n; Cochran's rule is 0.2


def mean_skewness(residual_times: ArrayLike) -> float:
    r"""Return the skewness that the mean of these residual times has in its sampling: :math:`g / \sqrt n`; 0 where all are equal.

    Parameters
    ----------
    residual_times
        Residual times in epochs, up to the horizon, shape ``(survivors,)``.

    Examples
    --------
    One survivor in four takes 5 epochs and the others 1: g = 2/sqrt(3), over sqrt(4).

    >>> round(mean_skewness([1, 1, 1, 5]), 6)
    0.57735
    """
    times = np.asarray(residual_times, dtype=np.float64)
    if times.ndim != 1 or not np.isfinite(times).all():
        raise InputError("residual_times must be one finite number for each survivor")
    if len(times) == 0 or np.ptp(times) == 0:
        return 0.0
    deviation = times - times.mean()
    return float(np.mean(deviation**3) / np.mean(deviation**2) ** 1.5 / np.sqrt(len(times)))


def interval_flag(residual_times: ArrayLike) -> str | None:
    """Return one sentence if the interval of a prediction cannot be trusted, else None.

    Parameters
    ----------
    residual_times
        What each survivor contributes to the mean residual time, in epochs: its residual time where that is known, shape ``(survivors,)``.

    Examples
    --------
    >>> interval_flag([4.0] * 12)
    'only 12 survivors; intervals need 30'
    >>> interval_flag([4.0] * 39 + [150.0])
    '1 of 40 survivors takes so much longer that it carries the mean; the interval may be wrong'
    >>> interval_flag(np.arange(40.0)) is None
    True
    """
    times = np.asarray(residual_times, dtype=np.float64)
    skewness = mean_skewness(times)
    n = len(times)
    if n < MIN_SURVIVORS:
        return f"only {n} survivor{'' if n == 1 else 's'}; intervals need {MIN_SURVIVORS}"
    if abs(skewness) <= MAX_SKEWNESS:
        return None
    far = int(np.sum((times - times.mean()) * np.sign(skewness) > 2 * times.std()))
    who = (
        f"{far} of {n} survivors {'takes' if far == 1 else 'take'} so much {'longer' if skewness > 0 else 'less time'}"
    )
    return f"{who} that {'it carries' if far == 1 else 'they carry'} the mean; the interval may be wrong"
