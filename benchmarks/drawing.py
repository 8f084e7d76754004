"""Ensembles whose minibatches are drawn with and without replacement between steps: what every run did.

Run with ``OPENBLAS_NUM_THREADS=1 python benchmarks/drawing.py``. It writes ``book/results/equilibrium/drawing.csv``; finished ensembles
are read from the user's store, and an interrupted one is gone on with.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from companion import ROOT
from fptlib import ensemble, first_passage, spec
from fptlib.files import write_atomically

RESULTS = ROOT / "book" / "results" / "equilibrium"
# Of each file in params/ensembles: runs, threshold, periods of shrink-and-perturb (0: none).
SETTINGS = {"digits_bn": (200, 0.942, (0, 20, 50)), "digits_decay": (96, 0.92, (0, 20))}
KICK = {"name": "shrink_perturb", "shrink": 0.4, "perturb": 0.1}
EARLY, LATE = slice(20, 40), slice(-20, None)  # epochs over which a run's accuracy is averaged


def measured() -> Iterator[pd.DataFrame]:
    """Train the ensembles; yield a row for each run of each."""
    for name, (runs, threshold, periods) in SETTINGS.items():
        plain = spec.load(ROOT / "params" / "ensembles" / f"{name}.yml", [f"runs={runs}"])
        for sampling in ("reshuffle", "replace"):
            for period in periods:
                kick = {"perturbation": KICK | {"period": period}} if period else {}
                trained = ensemble.train(spec.override(plain, {"training.sampling": sampling, **kick}))
                times = first_passage(trained, threshold)
                early, late = (trained.metric()[:, epochs] for epochs in (EARLY, LATE))
                passed = {"run": times.run, "time": times.time, "reached": times.observed}
                accuracy = {"early": early.mean(axis=1), "late": late.mean(axis=1), "spread": late.std(axis=1, ddof=1)}
                which = {"setting": name, "sampling": sampling, "period": period}
                yield pd.DataFrame(which | passed | accuracy)


def drawing(folder: Path = RESULTS) -> None:
    """Write what every run did: epoch of passage or last epoch, its mean accuracy early and late, and the deviation late."""
    table = pd.concat(measured()).round({"early": 5, "late": 5, "spread": 5})
    content = table.to_csv(index=False).encode()
    write_atomically(folder / "drawing.csv", lambda file: file.write(content))


if __name__ == "__main__":
    drawing()
