"""The nearest values of parameters: known answers, coverage, what is noted, what is refused, and digits with a known learning rate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Fpt

from companion import published
from fptlib import calibrate as module
from fptlib import ensemble, spec
from fptlib.calibrate import Calibration, Curve, calibrate
from fptlib.trajectories import Trajectories
from known import ENSEMBLE, small

EPOCHS = np.array([1, 3, 6])
RATE, MOMENTUM = "optimiser.lr=0.01:1:log", "optimiser.momentum=0:0.9"
Find = Callable[..., Calibration]


def mean(lr: float, momentum: float = 0.0) -> np.ndarray:
    """Accuracy that grows with the effective rate, and falls late where it is large."""
    x = np.log(lr / (1 - momentum) * (1 + 0.3 * momentum))
    return 0.5 + np.tanh(x + 2 + np.array([-0.5, 0.0, 0.5])) * np.array([0.2, 0.25, 0.1]) + 0.1 * momentum


@pytest.fixture
def find(monkeypatch: pytest.MonkeyPatch) -> Find:
    """Calibrate where training gives known means and noise of its own for each run, the same at every setting."""
    monkeypatch.setattr(module, "_BOOT", 300)

    def find(target: Curve, over: list[str], *, noise: float = 0.02, seed: int = 0, **how: Any) -> Calibration:
        errors = np.random.default_rng(seed).normal(0, noise, (24, 3))

        def train(here: spec.EnsembleSpec) -> Any:
            values = np.zeros((24, 6))
            values[:, EPOCHS - 1] = mean(here.optimiser.lr, here.optimiser.momentum) + errors
            return Trajectories({"test_metric": values}, np.arange(24), {"trained": values.size})

        monkeypatch.setattr(module.ensemble, "train", train)
        return calibrate(small(), target, over, **how)

    return find


def exact(*at: float) -> Curve:
    return Curve(EPOCHS, mean(*at), np.zeros(3))


def test_without_noise_the_answer_is_exact(find: Find) -> None:
    for truth in (0.02, 0.1, 0.7):
        assert find(exact(truth), [RATE], noise=1e-5).value[0] == pytest.approx(truth, rel=2e-3)
    both = find(exact(0.1, 0.5), [RATE, MOMENTUM], noise=0.002)
    assert both.low[0] <= 0.1 <= both.high[0] < 1.5 * both.low[0]
    assert both.low[1] <= 0.5 <= both.high[1] < 0.7
    assert "are known together better than each alone" in both.notes[0]


def test_intervals_cover_and_the_errors_of_the_target_widen_them(find: Find) -> None:
    truth, n = 0.13, 30
    rng = np.random.default_rng(1)
    for error in (0.0, 0.01):
        curves = [Curve(EPOCHS, mean(truth) + rng.normal(0, error, 3), np.full(3, error)) for _ in range(n)]
        results = [find(curve, [RATE], seed=seed) for seed, curve in enumerate(curves)]
        assert 0.85 * n <= sum(f.low[0] <= truth <= f.high[0] for f in results) <= n
        width = np.median([f.high[0] / f.low[0] for f in results])
        assert width < 1.1 if not error else 1.1 < width < 1.3


def test_notes_say_what_the_interval_does_not(find: Find) -> None:
    assert find(exact(0.1), [RATE]).notes == ()
    assert "end of its range, 0.01; widen" in find(exact(0.01), [RATE]).notes[0]
    shifted = Curve(EPOCHS, mean(0.1) + np.array([0.05, -0.05, 0.05]), np.zeros(3))
    assert "something else differs too" in find(shifted, [RATE]).notes[-1]


CURVE = "epoch,value\n1,0.2\n3,0.4\n"
REFUSED = [
    ("a,b\n1,2\n", "optimiser.lr=0.01:1", "curve.csv, line 2: 1,2; columns epoch (from 1, each once), value and"),
    ("epoch,value\n1,fast\n", "optimiser.lr=0.01:1", "curve.csv, line 2: 1,fast; columns"),
    ("# paper\nepoch,value\n1,0.2\n1,0.2\n", "optimiser.lr=0.01:1", "curve.csv, line 4: 1,0.2; columns"),
    ("epoch,value\n", "optimiser.lr=0.01:1", "no epochs"),
    ("epoch,value\n1,47.1\n", "optimiser.lr=0.01:1", "target: 47.1 is not possible; test_metric is at most 1"),
    (CURVE, "optimiser.lr", "KEY=LOW:HIGH[:log] is needed"),
    (CURVE, "optimiser.lr=1:0.01", "LOW < HIGH"),
    (CURVE, "optimiser.lr=0:1:log", "above 0 with log"),
    (CURVE, "optimiser.rate=0.01:1", "optimiser.rate"),
    (CURVE, "optimiser.lr=0.01:1 --level 95", "level 95.0 is not between 0 and 1"),
    (CURVE, "optimiser.lr=0.01:1 --runs 2", "runs: 2 is not possible; allowed: 4 or more"),
    (CURVE, "optimiser.lr=0.01:1 --over optimiser.lr=0.1:1", "two different ones"),
]


@pytest.mark.parametrize(("curve", "over", "line"), REFUSED)
def test_bad_input_is_one_line_before_anything_is_trained(
    refused: Callable[..., str], tmp_path: Path, curve: str, over: str, line: str
) -> None:
    (tmp_path / "small.yml").write_text(ENSEMBLE)
    (tmp_path / "curve.csv").write_text(curve)
    called = ["calibrate", tmp_path / "small.yml", "--target", tmp_path / "curve.csv", "--over", *over.split()]
    assert line in refused(*called, "--out", tmp_path / "stores")
    assert not (tmp_path / "stores").exists()


def test_the_learning_rate_of_digits_is_found_and_the_same_call_trains_nothing(fpt: Fpt, tmp_path: Path) -> None:
    (tmp_path / "small.yml").write_text(ENSEMBLE)
    truth = spec.load(
        tmp_path / "small.yml", ["optimiser.lr=0.13", "optimiser.momentum=0", "seed=9", "runs=48", "epochs=6"]
    )
    curve = ensemble.train(truth, out=tmp_path, workers=1).metric()[:, EPOCHS - 1]
    rows = zip(EPOCHS, curve.mean(axis=0), curve.std(axis=0, ddof=1) / 48**0.5, strict=True)
    (tmp_path / "curve.csv").write_text("epoch,value,se\n" + "".join(f"{e},{v},{s}\n" for e, v, s in rows))
    called = ["calibrate", tmp_path / "small.yml", "--set", "optimiser.momentum=0", "--target", tmp_path / "curve.csv"]
    called += ["--over", "optimiser.lr=0.01:1:log", "--workers", 1, "--out", tmp_path]
    status, out, err = fpt(*called)
    assert (status, err.startswith("0 run-epochs")) == (0, False)
    status, again, err = fpt(*called)
    assert (status, again, err) == (0, out, "0 run-epochs trained by this call\n")
    answer = json.loads(fpt(*called, "--json")[1])
    assert answer["low"][0] <= 0.13 <= answer["high"][0] < 4 * answer["low"][0]
    assert out.splitlines()[0] == answer["advice"][0]
    assert out.startswith(f"optimiser.lr = {answer['value'][0]:.3g} (95 % interval ")


@pytest.mark.published
def test_the_curve_of_the_paper_is_that_of_the_published_runs(root: Path) -> None:
    curve = Curve.read(root / "params" / "paper" / "cifar10_curve.csv")
    values = published.unperturbed().metric()[:, curve.epoch - 1] / 100
    np.testing.assert_allclose(curve.value, values.mean(axis=0), atol=5e-5)
    np.testing.assert_allclose(curve.se, values.std(axis=0, ddof=1) / len(values) ** 0.5, atol=5e-6)
    assert curve.epoch.tolist() == [1, 2, 5, 10, 15]
