"""Check answers to the twelve exercises: ``check(2, 41.3)``. Needs NumPy and the two CSV files beside this file.

Every expected value is computed here from the data or from a formula; look only after you have tried.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

THRESHOLD, P0 = 0.942, 30
HERE = Path(__file__).parent


def check(exercise: int, answer: object) -> bool:
    """Print whether an answer is right, with a hint if it is not; return the same.

    Parameters
    ----------
    exercise
        1 to 12.
    answer
        A number, or a list or tuple of numbers or arrays, as the exercise asks for.
    """
    if exercise not in EXPECTED:
        raise ValueError(f"there are exercises 1 to {len(EXPECTED)}, and not {exercise!r}")
    function, tolerance, hint = EXPECTED[exercise]
    expected, given = (
        np.concatenate([np.ravel(part) for part in parts]) for parts in (_list(function()), _list(answer))
    )
    if ... in given.tolist():
        result, hint = False, "replace the dots by your answer"
    elif given.shape != expected.shape:
        result, hint = False, f"{expected.size} numbers are asked for, and these are {given.size}"
    else:
        result = bool(np.allclose(np.asarray(given, float), np.asarray(expected, float), rtol=tolerance, atol=1e-9))
    print(f"Exercise {exercise}: {'right.' if result else f'not yet. Hint: {hint}.'}")
    return result


def _list(answer: object) -> list[object]:
    return list(answer) if isinstance(answer, list | tuple) else [answer]


@cache
def _accuracy(name: str) -> np.ndarray:
    """Accuracies, shape (epochs, runs)."""
    column = np.loadtxt(HERE / f"{name}.csv", delimiter=",", skiprows=1, usecols=2)
    return column.reshape(-1, 100).T


@cache
def _times(name: str) -> tuple[np.ndarray, np.ndarray]:
    above = _accuracy(name) >= THRESHOLD
    reached = above.any(axis=0)
    return np.where(reached, above.argmax(axis=0) + 1, len(above)), reached


def _survival(times: np.ndarray) -> np.ndarray:
    return np.array([(times > k).mean() for k in range(100)])


def _means(plain: np.ndarray, kicked: np.ndarray) -> tuple[float, np.ndarray]:
    """Residual time after `P0`, and the predicted mean at every period from 0."""
    alive = _survival(plain)
    tau = (kicked[kicked > P0] - P0).mean()
    return tau, np.cumsum(alive) - alive + alive * tau


def _restricted_mean() -> float:
    return _times("unperturbed")[0].mean()


def _hazards() -> list[float]:
    times, reached = _times("unperturbed")
    windows = (range(1, 11), range(11, 41), range(41, 101))
    return [sum((reached & (times == k)).sum() for k in w) / sum((times >= k).sum() for k in w) for w in windows]


def _stuck() -> float:
    alive = 0.3 + 0.7 * 0.9 ** np.arange(11)
    return alive[:10].sum() / (1 - alive[10])


def _restart() -> list[float]:
    alive = _survival(_times("unperturbed")[0])
    before = np.cumsum(alive) - alive
    with np.errstate(divide="ignore"):  # before the first arrival every restart is in vain
        mean = before[1:] / (1 - alive[1:])
    return [mean.argmin() + 1, mean.min()]


def _distance() -> float:
    times, accuracy = _times("unperturbed")[0], _accuracy("unperturbed")
    early, late = (np.sort(accuracy[t - 1, times > t]) for t in (20, 40))
    values = np.union1d(early, late)
    ranks = [np.searchsorted(x, values, side="right") / x.size for x in (early, late)]
    return np.abs(ranks[0] - ranks[1]).max()


def _one_frequency() -> list[float]:
    tau, mean = _means(_times("unperturbed")[0], _times("perturbed")[0])
    return [tau, *mean[[10, 20, 50]]]


def _optimum() -> list[float]:
    tau, mean = _means(_times("unperturbed")[0], _times("perturbed")[0])
    return [1 / tau, 11 + mean[11:].argmin()]


def _interval() -> list[float]:
    rng, names = np.random.default_rng(0), ("unperturbed", "perturbed")
    draws = [_means(*(rng.choice(_times(name)[0], len(_times(name)[0])) for name in names))[1][20] for _ in range(1000)]
    return list(np.percentile(draws, [2.5, 97.5]))


EXPECTED: dict[int, tuple[Callable[[], object], float, str]] = {
    1: (
        lambda: list(_times("unperturbed")),
        0,
        "epochs count from 1, and a run that never arrives has time 100 and reached False",
    ),
    2: (_restricted_mean, 1e-3, "a run that never arrives counts as 100 epochs"),
    3: (
        lambda: [4 / 5, 4 / 5 * 2 / 3, 0],
        2e-2,
        "at each arrival multiply by the share of runs at risk that go on; 5 and 8 are no arrivals",
    ),
    4: (lambda: [1 / 0.05, (1 - 0.95**30) / 0.05], 1e-3, "S(k) = 0.95**k; sum the series to infinity, and to k = 29"),
    5: (_hazards, 1e-2, "divide arrivals in the window by the sum over its epochs of the runs still at risk"),
    6: (_stuck, 1e-3, "S(k) = 0.3 + 0.7 * 0.9**k"),
    7: (_restart, 1e-3, "evaluate the formula at every P from 1 to 99 and take the smallest"),
    8: (_distance, 1e-2, "take only runs with time > t at each of the two epochs, and compare with <= at every value"),
    9: (_one_frequency, 1e-2, "tau is the mean of time - 30 over the perturbed runs with time > 30"),
    10: (_optimum, 1e-2, "the first number is 1 / tau; for the second look at periods from 11 on only"),
    11: (_interval, 4e-2, "draw runs of both files with replacement, and repeat the whole prediction with each draw"),
    12: (lambda: (5 + 1 / 0.1) / (12 + 1 / 0.1) - 1, 1e-2, "tau at 20 is 1/0.1; add it to the 5 epochs before"),
}
