"""Ways to choose the epoch of a drop of the learning rate: the script in benchmarks, its optimiser, and the tables that are kept."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import fptlib as fpt
from fptlib.perturbations import schedule


@pytest.fixture(scope="module")
def bench(root: Path) -> Iterator[Any]:
    """The script."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root / "benchmarks"))
        yield importlib.import_module("two_regimes")


@pytest.fixture(scope="module")
def tables(root: Path) -> dict[str, pd.DataFrame]:
    """The kept tables by name."""
    return {path.stem: pd.read_csv(path) for path in (root / "book" / "results" / "two_regimes").glob("*.csv")}


def setting(bench: Any, **ways: np.ndarray[Any, Any]) -> Any:
    """Return a setting with accuracies of two runs in 40 epochs."""
    runs = {way: fpt.Trajectories({"test_metric": x, "train_loss": 1 - x}, np.arange(2)) for way, x in ways.items()}
    return bench.Setting("digits, plain", runs, bench.base("digits, plain"), Path())


def test_a_run_comes_from_the_next_ensemble_that_there_is(bench: Any) -> None:
    ways = {f"drop {epoch}": np.full((2, 40), epoch / 100) for epoch in bench.DROPS}
    made = setting(bench, **{"large rate": np.zeros((2, 40))}, **ways)
    assert made.dropped(np.array([2, 7]))[:, 0].tolist() == [0.02, 0.08]
    assert made.dropped(np.array([36, 37]))[:, 0].tolist() == [0.36, 0.0], "after the last one: never"
    assert made.time(np.array([[0.1, 0.4], [0.1, 0.2]]), 0.3).tolist() == [2, 40]


def test_pytorch_waits_until_the_loss_was_not_lower_for_more_than_ten_epochs(bench: Any) -> None:
    falling = np.linspace(2, 1, 40)
    flat = np.where(np.arange(40) < 12, falling, falling[11])  # best in epoch 12
    assert bench.on_plateau(np.stack([falling, flat])).tolist() == [41, 23]


def test_ratios_and_differences_are_of_the_same_seeds(bench: Any) -> None:
    level = np.random.default_rng(0).exponential(size=64)  # differs widely between seeds
    same = bench.ratio(2 * level, level)
    assert (same.mean, same.low, same.high) == pytest.approx((2, 2, 2))
    apart = bench.mean(level)
    assert apart.low < apart.mean < apart.high


def test_summing_sgd_is_sgd_and_keeps_the_balance_of_the_norm(bench: Any) -> None:
    summing = importlib.import_module("fluctuation").SummingSgd
    rate, target = 0.1, torch.tensor([1.0, -2.0])
    w, plain = (torch.tensor([3.0, 4.0], requires_grad=True) for _ in range(2))
    pair = summing([w], lr=rate, weight_decay=0.01), torch.optim.SGD([plain], lr=rate, weight_decay=0.01)
    for _ in range(5):
        for optimiser, x in zip(pair, (w, plain), strict=True):
            optimiser.zero_grad()
            ((x - target) ** 2).sum().backward()
            optimiser.step()
    assert w.tolist() == pytest.approx(plain.tolist())
    kept = pair[0].state[w]
    # |w'|^2 = |w|^2 - 2 eta w u + eta^2 u^2, so that both sides of the test agree where the norm stands still.
    change = rate**2 * kept["square"].sum() - 2 * rate * kept["work"].sum()
    assert float(change) == pytest.approx(float(w.detach().square().sum()) - 25)


def test_every_way_drops_once_and_the_digits_have_their_controls(bench: Any) -> None:
    spec = bench.base("digits, wrong labels")
    ways = dict(bench.variants(spec, digits=True))
    assert spec.data.label_noise == 0.2
    assert [schedule(ways[f"drop {e}"].identity()["perturbation"]).due(2 * e) for e in (2, 36)] == [False, False]
    assert ways["large rate, momentum 0.9"].optimiser.lr == pytest.approx(0.1 * spec.optimiser.lr)
    assert len({way.digest() for way in ways.values()}) == len(ways)
    assert ways["pilot"].digest() == spec.digest(), "more runs of the same, and longer"


def test_kept_tables_are_of_the_same_settings_and_agree(
    bench: Any, root: Path, tables: dict[str, pd.DataFrame]
) -> None:
    about = json.loads((root / "book" / "results" / "two_regimes" / "about.json").read_text())
    assert about["drops"] == list(bench.DROPS)
    done = set(tables["curves"]["setting"])
    assert "digits, plain" in done <= set(bench.SETTINGS)
    assert all(set(tables[name]["setting"]) == done for name in bench.TABLES)
    best = tables["policies"].query("policy == 'best fixed epoch'")
    assert (best["regret_mean"] == 0).all()
    times = tables["times"]
    assert ((times["before"] <= times["time_mean"] + 1e-3) & (times["before"] <= times["drop"])).all()
    curve = tables["curves"].query("setting == 'digits, plain' and way == 'never' or way == 'large rate'")
    assert len(curve) == 2 * len(done)


def test_measures_are_the_claims_on_plain_digits(tables: dict[str, pd.DataFrame]) -> None:
    claims = tables["claims"].query("setting == 'digits, plain'").set_index("quantity")
    measures = tables["measures"].set_index("quantity")
    assert set(claims.index) <= set(measures.index)
    assert measures.loc[claims.index, "mean"].tolist() == pytest.approx(claims["mean"].tolist())
    assert not measures.index.str.contains(",").any()
