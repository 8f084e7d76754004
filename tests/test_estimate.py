"""What training would cost: counted by hand, and within a stated budget."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fptlib import data, ensemble, models, spec
from fptlib.ensemble import estimate as estimating
from fptlib.ensemble.estimate import estimate, flop_per_run_epoch
from known import small

DIGITS: dict[str, Any] = {
    "data": {"name": "digits", "train_size": 200},
    "model": {"name": "mlp", "widths": [128, 128], "normalisation": "batch"},
    "optimiser": {"name": "sgd", "lr": 0.1},
    "training": {"batch_size": 25},
    "device": "cpu",
}


@pytest.mark.parametrize("drop_last", [False, True])
def test_operations_are_counted(drop_last: bool) -> None:
    requested = spec.override(DIGITS, {"model.widths": [32], "training": {"batch_size": 30, "drop_last": drop_last}})
    source = data.load(requested.data)
    network = models.build(requested.model, shape=source.shape, n_classes=10)
    first, second = 2 * 64 * 32, 2 * 32 * 10
    images = 180 if drop_last else 200
    # Forwards, gradients of both weights, gradient of the hidden layer; and evaluation of 797 images.
    assert flop_per_run_epoch(requested, network, source) == images * (2 * first + 3 * second) + 797 * (first + second)


def test_an_estimate_trains_nothing_and_scales_what_it_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed = []

    def clock(work: Any, images: int, device: str) -> float:
        work(images)
        timed.append(images)
        return 1e-3 * images

    monkeypatch.setattr(estimating, "_timed", clock)
    requested = small(runs=32)
    cost = estimate(requested, out=tmp_path, workers=1)
    assert not list(tmp_path.iterdir())
    assert (cost.runs, cost.epochs, cost.missing, cost.workers) == (32, 6, 32, 1)
    images = 45 + len(data.load(requested.data).y_test)
    assert cost.seconds == pytest.approx(32 * 6 * 1e-3 * images / cost.stack)
    assert max(timed) < images  # and not each of them was needed
    ensemble.train(requested, out=tmp_path, workers=1)
    stored = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    assert stored / 3 < cost.disk < 3 * stored
    again = estimate(spec.override(requested, {"runs": 40}), out=tmp_path, workers=1)
    assert again.missing == 16


_THOUSAND = """
import re, sys
from pathlib import Path
from fptlib import ensemble, spec
requested = spec.load(sys.argv[1], ["runs=1000", "epochs=2", "device=cpu"])
ensemble.train(requested, out=sys.argv[2], workers=1)
# Of this program alone: the resource module would count the memory of the process that started it as well.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 2**20)
"""


@pytest.mark.slow
def test_a_thousand_runs_fit_into_two_gibibytes(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-c", _THOUSAND, str(root / "params" / "ensembles" / "digits_bn.yml"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    assert float(done.stdout) < 2
