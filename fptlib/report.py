"""One self-contained page with a recommendation: its advice, its charts, its numbers. It loads nothing and works offline."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from fptlib import charts, tables
from fptlib.charts import render
from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.firstpassage import first_passage, survival
from fptlib.former import Outcome, Recommendation
from fptlib.trajectories import Direction, Target, Trajectories

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
.advice { border-left: 4px solid #0072B2; padding: .2rem 1rem; background: #f3f7fa; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; min-width: 17rem; } p, figcaption, .advice { max-width: 44rem; } details { margin: 1rem 0; }
summary { cursor: pointer; } figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; color: #444; }
.vl-static svg, .vl-static img { max-width: 100%; height: auto; } .vl-live { width: 100%; } .none { color: #a33; }
@media (max-width: 700px) { td:last-child { min-width: 34rem; } }
@media print { body { max-width: none; } }
"""


def write(
    path: Path,
    answers: Mapping[float, Recommendation | str],
    *,
    unperturbed: Trajectories,
    candidates: Mapping[tuple[str, int], Trajectories],
    outcomes: Mapping[str, Outcome | str],
    direction: Direction = "above",
    metric: str | None = None,
    **options: Any,
) -> None:
    """Write the page.

    Parameters
    ----------
    path
        File to write, in one step.
    answers
        Threshold to its recommendation, or to the reason why there is none.
    unperturbed, candidates, direction, metric
        What the recommendations were made from.
    outcomes
        Final and best metric by ensemble, or why it is not known.
    **options
        Shown among the settings.

    Raises
    ------
    InputError
        If the name does not end in ``.html``.
    """
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--report {path}: a name that ends in .html is needed")
    name = unperturbed.metric_name(metric)
    known = {x: answer for x, answer in answers.items() if not isinstance(answer, str)}
    parts = [_headline(known)]
    table = tables.speedup_table(known)
    if len(answers) > 1 and len(table):
        caption = (
            "Speed-up over training without perturbation against the threshold: the best valid period of each perturbation, with its "
            "interval. Means end at the horizon, so that it is a lower bound where unperturbed runs are censored."
        )
        parts.append(_figure(charts.speedup(table, metric=f"threshold ({name})"), caption))
    parts += [_threshold(x, answer) for x, answer in answers.items()]
    parts.append(_unperturbed(known, unperturbed, direction=direction, metric=metric))
    parts.append(_outcomes(outcomes, name))
    parts.append(_origin(unperturbed, candidates, {"metric": name, "direction": direction, **options}))
    title = "Which perturbation, and how often"
    page = _page(title, f"<main>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</main>")
    write_atomically(path, lambda file: file.write(page.encode()))


def save(path: Path, chart: alt.LayerChart) -> None:
    """Write one chart: a picture (``.svg``, ``.png``), or a page that loads nothing (``.html``)."""
    if path.suffix == ".html":
        page = _page("fpt", render.bundle(chart.to_dict())["text/html"])
        write_atomically(path, lambda file: file.write(page.encode()))
    else:
        chart.properties(width=render.STATIC_WIDTH).save(str(path), scale_factor=2 if path.suffix == ".png" else 1)


def _page(title: str, body: str) -> str:
    """Return a page with everything that it needs."""
    # Nothing in a script may close its element.
    scripts = [part.replace("</script", "<\\/script") for part in (render.library(), render.script())]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        + "\n".join(f"<script>{script}</script>" for script in scripts)
        + "\n</body>\n</html>\n"
    )


def _headline(known: Mapping[float, Recommendation]) -> str:
    parts = []
    for threshold, answer in known.items():
        heading = f"<h3>Threshold {threshold:g}</h3>\n" if len(known) > 1 else ""
        parts.append(heading + "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in answer.sentences))
    return f'<section class="advice">\n{"".join(parts)}\n</section>'


def _threshold(threshold: float, answer: Recommendation | str) -> str:
    heading = f"<h2>Threshold {threshold:g}</h2>"
    if isinstance(answer, str):
        return f'{heading}\n<p class="none">{html.escape(answer)}</p>'
    table = tables.ranking_table(answer)
    caption = (
        f"Predicted mean first-passage time up to epoch {answer.horizon}, with {100 * answer.level:g} % intervals. Pale: not verified, or "
        "not valid. Dashed: without perturbation."
    )
    figure = _figure(charts.ranking(table, unperturbed=answer.unperturbed.mean, cap=float(answer.horizon)), caption)
    rows = tables.ranking_words(answer)
    n_valid = sum(o.valid for o in answer.ranking)
    shown = _table(rows[:n_valid]) if n_valid else "<p>No prediction is valid.</p>"
    others = len(rows) - n_valid
    summary = f"<details><summary>{others} not verified or not valid</summary>"
    folded = f"{summary}\n{_table(rows[n_valid:])}\n</details>" if others else ""
    return f"{heading}\n{figure}\n{shown}\n{folded}"


def _unperturbed(
    known: Mapping[float, Recommendation], runs: Trajectories, *, direction: Direction, metric: str | None
) -> str:
    curves, profiles, verdicts = {}, {}, []
    for threshold, answer in known.items():
        times = first_passage(runs.head(epochs=answer.horizon), Target(threshold, direction, metric))
        curves[f"threshold {threshold:g}"] = tables.survival_table(survival(times))
        state = answer.quasi_steady_state
        if len(state.epoch):
            profiles[f"threshold {threshold:g}"] = tables.state_table(state)
        reasons = html.escape("; ".join(state.reasons))
        verdicts.append(f"<p>Threshold {threshold:g}: <strong>{tables.state_words(state)}</strong>. {reasons}.</p>")
    parts = [
        "<h2>Without perturbation</h2>",
        _figure(charts.survival(curves), "Share of unperturbed runs still below the threshold."),
    ]
    parts += ["<h3>Quasi-steady state</h3>", *verdicts]
    if profiles:
        caption = "Distance between the metric's distributions over the surviving runs while the epoch doubles; dashed, the tolerance."
        parts.append(
            _figure(
                charts.distance(profiles, tolerance=next(iter(known.values())).quasi_steady_state.tolerance), caption
            )
        )
    return "\n".join(parts)


def _outcomes(outcomes: Mapping[str, Outcome | str], metric: str) -> str:
    rows = tables.outcome_words(outcomes)
    reasons = [f"<p>{html.escape(f'{name}: {end}')}</p>" for name, end in outcomes.items() if isinstance(end, str)]
    horizon = next((end.horizon for end in outcomes.values() if not isinstance(end, str)), None)
    means = f"<p>Mean {html.escape(metric)} at epoch {horizon}, and of the best value of each run up to there.</p>"
    return "\n".join(["<h2>Is faster also better?</h2>", *([means, _table(rows)] if rows else []), *reasons])


def _origin(
    unperturbed: Trajectories, candidates: Mapping[tuple[str, int], Trajectories], settings: Mapping[str, Any]
) -> str:
    named = {"without perturbation": unperturbed} | {
        f"{name} every {p}": runs for (name, p), runs in candidates.items()
    }
    rows: list[dict[str, object]] = [
        {"runs": name, "number": runs.n_runs, "epochs": runs.n_epochs, "from": runs.meta.get("source", "memory")}
        for name, runs in named.items()
    ]
    listed = html.escape(", ".join(f"{key} {value}" for key, value in settings.items()))
    return f"<h2>Made from</h2>\n{_table(rows)}\n<p>fptlib {metadata.version('fptlib')}; {listed}.</p>"


def _figure(chart: alt.LayerChart, caption: str) -> str:
    return f"<figure>\n{render.bundle(chart.to_dict())['text/html']}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    frame = pd.DataFrame([{name: "-" if cell is None else cell for name, cell in row.items()} for row in rows])
    return f'<div class="scroll" tabindex="0">{frame.to_html(index=False, border=0, justify="left")}</div>'
