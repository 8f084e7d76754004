"""Rankings in words, as the command line and the report print them, and metrics over runs as frames for charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fptlib.errors import InputError
from fptlib.qss import QuasiSteadyState
from fptlib.response.metrics import FinalMetric
from fptlib.response.results import Prediction, Ranking, least
from fptlib.trajectories import Trajectories

if TYPE_CHECKING:
    import pandas as pd

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_ROWS = 11  # with the names of the columns twelve lines


def shortlist(ranking: Ranking, *, most: int | None = MOST_ROWS) -> list[Prediction]:
    """Return the predictions that matter most, in the order of the ranking; among means, open ones come last, by their lower ends.

    These are the choice, what to measure next, no perturbation, the best of each perturbation, what was measured, and then the smallest,
    ``most`` of them in all; ``None`` for every one.
    """
    by_mean = sorted(ranking.predictions, key=lambda p: np.nan_to_num(p.centre, nan=np.inf))
    best = {p.perturbation: p for p in reversed(by_mean)}.values()
    following = [p for p in by_mean if (p.perturbation, p.period) == ranking.next]
    measured = [p for p in by_mean if p.measured]
    order = [p for group in ([ranking.choice], following, best, measured, by_mean) for p in group]
    chosen = {id(p) for p in list({id(p): p for p in order}.values())[:most]}
    shown = [p for p in ranking.predictions if id(p) in chosen]
    by_period = all(p.perturbation is not None for p in shown)
    return shown if by_period else sorted(shown, key=lambda p: (p.mean is None, p.low if p.mean is None else p.mean))


def in_words(ranking: Ranking, predictions: Sequence[Prediction]) -> list[dict[str, object]]:
    """Return predictions of a ranking as rows of words; ``None`` stands for what a row does not have."""
    marks = {ranking.next: "measure next"} | {(ranking.choice.perturbation, ranking.choice.period): "choice"}
    several = len({p.perturbation for p in ranking.predictions}) > 1
    rows: list[dict[str, object]] = []
    for p in predictions:
        gain, is_open = ranking.speedup(p), p.mean is None
        low, mean, high = (f"{x:.1f}" if x < 10 else f"{x:.0f}" for x in (least(gain.low), gain.mean, gain.high))
        faster = f"{low} to {high}" if is_open else f"{mean} ({low} to {high})"
        row: dict[str, object] = {
            "perturbation": p.perturbation or "no perturbation",
            "period": p.period,
            "epochs": None if is_open else f"{p.mean:.1f}",
            f"{100 * ranking.level:g} % interval": f"{p.low:.1f} to {p.high:.1f}",
            "speed-up": None if p.perturbation is None or np.isnan(gain.low) else faster,
            "known": f"measured{', open' * is_open}" if p.measured else p.grade if is_open else f"predicted {p.grade}",
            "": marks.get((p.perturbation, p.period), ""),
        }
        rows.append(row if several else {name: cell for name, cell in row.items() if name != "perturbation"})
    return rows


def verdict(state: QuasiSteadyState) -> str:
    """Return whether a quasi-steady state was reached, in words."""
    if not len(state.epoch):
        return "cannot be told from these runs"
    return f"reached at epoch {state.relaxation_epoch}" if state.reached else "not reached"


def drop(state: QuasiSteadyState) -> str:
    """Return the sentence that names the last epoch at which to drop the learning rate, or says that there is none to name."""
    if not state.reached:
        return "No advice on when to drop the learning rate: these runs do not show that training settles."
    at = f"by epoch {state.relaxation_epoch}, where training has settled; an earlier drop is often faster"
    return f"If the learning rate is to drop once, drop it {at}."


def spelled(estimate: Any, number: str = ".2f") -> str:
    """Return a mean with its interval in words."""
    return f"{estimate.mean:{number}} ({estimate.low:{number}} to {estimate.high:{number}})"


def metric_rows(metrics: Mapping[str, FinalMetric | str]) -> list[dict[str, object]]:
    """Return the final and best metrics that are known, see `fptlib.response.final_metrics`, in words."""
    return [
        {
            "final metric": name,
            f"mean at epoch {m.horizon}": spelled(m.final, ".5g"),
            "mean of each run's best epoch": spelled(m.best, ".5g"),
        }
        for name, m in metrics.items()
        if not isinstance(m, str)
    ]


def compared(metrics: Mapping[str, FinalMetric | str]) -> list[str]:
    """Return one sentence on what perturbed and unperturbed runs end with; none where that is not known."""
    plain, groups = metrics["without perturbation"], dict[str, list[str]]()
    if isinstance(plain, str):
        return []
    for name, m in metrics.items():
        if m is not plain and not isinstance(m, str):
            apart = (m.final.low > plain.final.high) - (m.final.high < plain.final.low)
            how = ("cannot be told apart from that", "is higher than", "is lower than")[apart]
            groups.setdefault(how, []).append(name)
    parts = [f"with {' and '.join(names)} it {how} without perturbation" for how, names in groups.items()]
    return [f"Final metric, the mean at epoch {plain.horizon}: {'; '.join(parts)}."] if parts else []


def unknown(metrics: Mapping[str, FinalMetric | str]) -> list[str]:
    """Return the reasons for which final metrics are not known, each once, with the ensembles that it concerns."""
    groups = dict[str, list[str]]()
    for name, reason in metrics.items():
        if isinstance(reason, str):
            groups.setdefault(reason, []).append(name)
    return [f"{reason} ({', '.join(names)})" for reason, names in groups.items()]


def doubts(ranking: Ranking) -> list[str]:
    """Return the notes of a ranking and of its predictions, each once, with the periods that it concerns."""
    about: dict[str, dict[str | None, list[int]]] = {}
    for p in ranking.predictions:
        for note in p.notes:
            about.setdefault(str(note), {}).setdefault(p.perturbation, []).append(p.period or 0)
    lines = [str(note) for note in ranking.notes]
    for message, periods in about.items():
        where: dict[str, list[str]] = {}
        for name, at in periods.items():
            where.setdefault(_spans(ranking, name, at), []).append(name or "")
        alike = len(where) == 1 and len(periods) == len({p.perturbation for p in ranking.predictions if p.source})
        places = [span if alike else f"{' and '.join(names)} {span}" for span, names in where.items()]
        lines.append(f"{'; '.join(places)}: {message}")
    return lines


def _spans(ranking: Ranking, name: str | None, periods: list[int]) -> str:
    """Return periods in words, those that follow one another among the predicted ones from the first to the last."""
    own = [p for p in ranking.predictions if p.perturbation == name and p.period is not None]
    known = sorted(p.period or 0 for p in own if not p.measured or p.period in periods)
    spans: list[list[int]] = []
    for place, period in enumerate(known):
        if period not in periods:
            continue
        if spans and place and spans[-1][-1] == known[place - 1]:
            spans[-1].append(period)
        else:
            spans.append([period])
    words = [f"{s[0]} to {s[-1]}" if len(s) > 2 else " and ".join(map(str, s)) for s in spans]
    return f"at period{'' if len(periods) == 1 else 's'} {', '.join(words)}"


def quantile_table(trajectories: Trajectories, *, metric: str | None = None) -> pd.DataFrame:
    """Return the spread of a metric over runs, columns ``epoch, q05, q25, q50, q75, q95, mean``: at each epoch of the runs followed to it.

    Runs that were retired raise an InputError: those that are left are not the ensemble.
    """
    import pandas as pd

    values = trajectories.metric(metric)
    if trajectories.retired.any():
        raise InputError(
            f"{trajectories.meta.get('source', 'trajectories')}: the spread over all runs needs runs followed to the end, and these were "
            f"retired at {trajectories.retirement}; train them without retirement"
        )
    values = values[:, : trajectories.lengths.max()]
    columns = {f"q{round(100 * q):02d}": np.nanquantile(values, q, axis=0) for q in QUANTILES}
    return pd.DataFrame({"epoch": np.arange(1, values.shape[1] + 1), **columns, "mean": np.nanmean(values, axis=0)})


def mean_table(
    trajectories: Trajectories, *, metric: str | None = None, minus: Trajectories | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Return the mean of a metric over two runs or more with its interval (Student's t): columns ``epoch, mean, low, high``.

    With ``minus``, the same runs trained otherwise, it is the mean difference from them, run by run, which leaves out what both owe to
    their seeds. A single run, and other runs in ``minus``, raise an InputError.
    """
    import pandas as pd
    from scipy import special

    values = trajectories.metric(metric)[:, : trajectories.lengths.min()]
    if minus is not None:
        if not np.array_equal(trajectories.run, minus.run):
            raise InputError("minus: not the same runs; a difference run by run needs two training runs of each")
        other = minus.metric(metric)[:, : min(values.shape[1], minus.lengths.min())]
        values = values[:, : other.shape[1]] - other
    if len(values) < 2:
        raise InputError("trajectories: 1 run has no spread; 2 or more are needed for an interval")
    mean = values.mean(axis=0)
    half = special.stdtrit(len(values) - 1, 0.5 + level / 2) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    epoch = np.arange(1, values.shape[1] + 1)
    return pd.DataFrame({"epoch": epoch, "mean": mean, "low": mean - half, "high": mean + half})
