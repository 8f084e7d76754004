"""What is kept of the ensembles whose minibatches are drawn in both ways."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def test_what_is_kept_of_every_run_agrees_with_itself(root: Path) -> None:
    kept = pd.read_csv(root / "book" / "results" / "equilibrium" / "drawing.csv")
    times = kept.set_index(["setting", "sampling", "period", "run"]).sort_index()
    assert (times.time[~times.reached] == 100).all()
    assert times.time.between(1, 100).all()
    for setting, runs in (("digits_bn", 200), ("digits_decay", 96)):
        first = {way: times.loc[setting, way, 0] for way in ("reshuffle", "replace")}
        assert all(list(plain.index) == list(range(runs)) for plain in first.values())
        assert (first["reshuffle"].late != first["replace"].late).mean() > 0.9
        for way, plain in first.items():
            for period in set(kept.period[kept.setting == setting]) - {0}:
                # Until they are perturbed runs are those of unperturbed training.
                kicked, early = times.loc[setting, way, period], plain.time <= period
                assert (kicked.time[early] == plain.time[early]).all()
                assert (kicked.time[~early] > period).all()
