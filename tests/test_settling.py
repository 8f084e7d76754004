"""The rule that says from one run's losses whether it still gets better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from fptlib.errors import InputError
from fptlib.qss import assess_qss
from fptlib.settling import WINDOW, settled
from fptlib.study import Study
from fptlib.trajectories import Target
from fptlib.trajectories.origin import Origin
from fptlib.trajectories.store import read_shard

FALLING = np.exp(-np.arange(60) / 8) + 0.05 * np.random.default_rng(0).standard_normal((7, 60))


def test_is_the_interval_of_an_ordinary_regression() -> None:
    result = settled(FALLING, window=9, level=0.9)
    assert result.shape == FALLING.shape
    assert not result[:, :8].any()
    for run, epoch in np.ndindex(7, 52):
        fit = stats.linregress(np.arange(9), FALLING[run, epoch : epoch + 9])
        half = stats.t.ppf(0.95, 7) * fit.stderr
        assert result[run, epoch + 8] == (fit.slope - half <= 0 <= fit.slope + half)


def test_units_do_not_matter_and_equal_losses_are_settled() -> None:
    assert (settled(FALLING) == settled(1000 * FALLING - 3)).all()
    assert (settled(FALLING)[3] == settled(FALLING[3])).all()
    assert (settled(FALLING)[:, :40] == settled(FALLING[:, :40])).all()  # no epoch sees later ones
    assert (settled(np.full(40, 0.1)) == (np.arange(40) >= WINDOW - 1)).all()
    assert not settled(np.linspace(1, 0, 40)).any()
    assert not settled([1.0] * (WINDOW - 1)).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("gap", [np.nan, np.inf])
def test_windows_with_a_loss_that_is_no_number_are_not_settled(gap: float) -> None:
    losses = np.ones(4 * WINDOW)
    losses[WINDOW] = gap
    assert np.flatnonzero(settled(losses)).tolist() == [WINDOW - 1, *range(2 * WINDOW, 4 * WINDOW)]


@pytest.mark.parametrize(
    ("losses", "options", "message"),
    [
        ([1.0], {"window": 2}, "window: 2 is not possible; 3 epochs or more"),
        ([1.0], {"level": 95}, "level: 95 is not between 0 and 1"),
        (1.0, {}, "losses: a single number"),
    ],
)
def test_refuses(losses: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        settled(losses, **options)


def drops(losses: Any, window: int) -> Any:
    result = settled(losses, window=window)
    return np.where(result.any(axis=1), result.argmax(axis=1) + 1, result.shape[1] + 1)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_a_window_is_to_be_twice_as_long_as_the_loss_takes_to_fall(correlation: float) -> None:
    rng, noise = np.random.default_rng(0), np.zeros((400, 150))
    for epoch in range(1, 150):
        fresh = rng.standard_normal(400)
        noise[:, epoch] = correlation * noise[:, epoch - 1] + (1 - correlation**2) ** 0.5 * fresh
    falling = 100 * np.exp(-np.arange(1, 151) / 10)
    relaxed = int(np.argmax(falling < 0.5)) + 1  # half a spread
    false = [np.mean(drops(falling + noise, window) < relaxed) for window in (10, 20, 30)]
    assert false[0] > 0.95
    assert 0.005 < false[1] < 0.15
    assert false[2] == 0
    assert np.median(drops(falling + noise, 20)) - relaxed in range(3, 9)


@pytest.mark.slow
def test_false_and_late_drops_on_kept_ensembles_are_as_many_as_is_said(root: Path) -> None:
    counts, n = {10: [0, 0], 15: [0, 0], 20: [0, 0]}, 0
    for path in sorted((root / "book" / "results" / "ensembles").glob("*.parquet")):
        runs = read_shard(path)
        for metric in ("test_metric", "valid_metric") if Origin.of(runs).unperturbed else ():
            losses = 1 - runs.metrics[metric]
            start = assess_qss(Study(runs, {}, Target(2.0, "above", metric)), n_boot=20).relaxation_epoch
            if start is not None:
                n += len(losses)
                for window, (false, late) in counts.items():
                    at = drops(losses, window)
                    counts[window] = [false + int((at < start).sum()), late + int((at > start + 20).sum())]
    assert (n, counts) == (3008, {10: [503, 4], 15: [125, 200], 20: [0, 916]})
