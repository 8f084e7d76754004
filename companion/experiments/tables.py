"""Rows and their results as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from companion.experiments.measure import Measured
from companion.experiments.rows import Row, words


def size_table(rows: Mapping[str, Row]) -> pd.DataFrame:
    """Tabulate what each row trains: columns ``row, network, images, runs, perturbed runs, horizon, P0, other periods, ensembles``."""
    lines = []
    for name, row in rows.items():
        spec = row.unperturbed
        lines.append(
            {
                "row": name,
                "network": _network(spec.model.model_dump(mode="json")),
                "training items": spec.data.n_train,
                "runs": row.runs,
                "perturbed runs": row.perturbed_runs,
                "horizon": row.epochs,
                "P0": row.period,
                "other periods": ", ".join(map(str, sorted(row.periods))),
                "ensembles": len(row.members()),
            }
        )
    return pd.DataFrame(lines)


def _network(model: Mapping[str, Any]) -> str:
    sizes = [f"{key} {value}" for key, value in model.items() if key in ("widths", "channels", "depth", "width")]
    return f"{model['name']} ({', '.join(sizes)}, {model['normalisation']} norm)".replace("[", "").replace("]", "")


def row_table(results: Mapping[str, Measured]) -> pd.DataFrame:
    """Tabulate the results of each row in one line.

    Columns ``row, threshold, censored, mean, low, high, relaxation_epoch``, of the unperturbed runs; ``best, best_mean, best_low,
    best_high``, the best candidate by measurement; ``choice, choice_mean`` and ``after_one_more, after_mean``: what the ensembles at ``P0``
    choose, and with one more ensemble where they name one, with the means measured for these.
    """
    lines = []
    for name, result in results.items():
        plain, state, best = result.means[None], result.ranking.qss, result.means[result.best]
        line = {"row": name, "threshold": result.ranking.target.threshold, "censored": plain.n_censored / plain.n_runs}
        line |= {"mean": plain.mean, "low": plain.low, "high": plain.high}
        line |= {"relaxation_epoch": None if state is None else state.relaxation_epoch, "best": words(result.best)}
        line |= {"best_mean": best.mean, "best_low": best.low, "best_high": best.high}
        choice, after = result.choice(), result.choice(more=True)
        line |= {"choice": words(choice), "choice_mean": result.means[choice].mean}
        lines.append(line | {"after_one_more": words(after), "after_mean": result.means[after].mean})
    return pd.DataFrame(lines)
