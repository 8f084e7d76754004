"""The rule that says from one run's losses whether it still gets better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from fptlib.errors import InputError
from fptlib.settling import WINDOW, settled

FALLING = np.exp(-np.arange(60) / 8) + 0.05 * np.random.default_rng(0).standard_normal((7, 60))


def test_is_the_interval_of_an_ordinary_regression() -> None:
    found = settled(FALLING, window=9, level=0.9)
    assert found.shape == FALLING.shape
    assert not found[:, :8].any()
    for run, epoch in np.ndindex(7, 52):
        fit = stats.linregress(np.arange(9), FALLING[run, epoch : epoch + 9])
        half = stats.t.ppf(0.95, 7) * fit.stderr
        assert found[run, epoch + 8] == (fit.slope - half <= 0 <= fit.slope + half)


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
