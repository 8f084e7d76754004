"""One self-contained page with an answer: what to do, what to measure next, the chart, the numbers, and how it was made.

It loads nothing and works offline.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

import altair as alt
import pandas as pd

from fptlib import charts, tables
from fptlib.charts import render
from fptlib.errors import InputError
from fptlib.files import write_atomically
from fptlib.firstpassage import survival
from fptlib.response import Ranking, final_metrics
from fptlib.study import Study
from fptlib.trajectories import Trajectories

_STYLE = """
body { font: 16px/1.55 system-ui, sans-serif; color: #222; background: #fff; max-width: 64rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; line-height: 1.2; } h2 { font-size: 1.3rem; margin-top: 2.5rem; } h3 { font-size: 1.05rem; }
.advice { border-left: 4px solid #0072B2; padding: .2rem 1rem; background: #f3f7fa; }
.advice p:first-child { font-size: 1.15rem; font-weight: 600; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #ddd; vertical-align: top; white-space: nowrap; }
p, figcaption, .advice { max-width: 44rem; } details { margin: 1rem 0; }
summary { cursor: pointer; } figure { margin: 1.5rem 0; } figcaption { font-size: .9rem; color: #444; }
.vl-static svg, .vl-static img { max-width: 100%; height: auto; } .vl-live { width: 100%; } .none { color: #a33; }
@media print { body { max-width: none; } }
"""


def write(path: Path, answers: Mapping[float, tuple[Study, Ranking] | str]) -> None:
    """Write the page, in one step, to a file whose name ends in ``.html``.

    ``answers`` maps each threshold to the study and its ranking, or to the reason why there is none; one at least has
    an answer.
    """
    if path.suffix not in (".html", ".htm"):
        raise InputError(f"--report {path}: a name that ends in .html is needed")
    known = {x: answer for x, answer in answers.items() if not isinstance(answer, str)}
    study = next(iter(known.values()))[0]
    several, parts = len(answers) > 1, []
    for x, answer in answers.items():
        heading = f"<h2>Threshold {x:g}</h2>\n" if several else ""
        body = f'<p class="none">{html.escape(answer)}</p>' if isinstance(answer, str) else _answer(answer[1])
        parts.append(heading + body)
    rankings = {x: answer[1] for x, answer in known.items()}
    if several and any(p.period for ranking in rankings.values() for p in ranking.predictions):
        caption = (
            "Speed-up over training without perturbation against the threshold: the best period of each perturbation, with its interval. "
            "Means end at the horizon, so that it is a lower bound where unperturbed runs are censored."
        )
        parts.append(f"<h2>Speed-up</h2>\n{_figure(charts.speedup(rankings, metric=_axis(study)), caption)}")
    parts += [_unperturbed(known), _metrics(study), _origin(study, [f"{x:g}" for x in answers])]
    title = "Which perturbation, and how often"
    page = _page(title, f"<main>\n<h1>{title}</h1>\n" + "\n".join(parts) + "\n</main>")
    write_atomically(path, lambda file: file.write(page.encode()))


def save(path: Path, chart: alt.LayerChart) -> None:
    """Write one chart: a picture (``.svg``, ``.png``), or a page that loads nothing (``.html``)."""
    path.parent.mkdir(parents=True, exist_ok=True)
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


def _answer(ranking: Ranking) -> str:
    """Return the advice, the chart, the short table and the whole one, folded."""
    advice = "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in ranking.advice)
    caption = (
        f"Mean first-passage time up to epoch {ranking.horizon} against the period, with {100 * ranking.level:g} % intervals; where the "
        "mean is open, the interval only. Dashed: without perturbation."
    )
    figure = ""
    if any(p.period is not None for p in ranking.predictions):
        plain, cap = ranking.unperturbed.mean, float(ranking.horizon)
        figure = _figure(charts.ranking(ranking.to_frame(), unperturbed=plain, cap=cap), caption)
    shown = tables.shortlist(ranking)
    table = _table(tables.in_words(ranking, shown))
    more = len(ranking.predictions) - len(shown)
    whole = _table(tables.in_words(ranking, ranking.predictions)) if more else ""
    folded = f"<details><summary>All {len(ranking.predictions)} of them</summary>\n{whole}\n</details>" if more else ""
    doubts = "".join(f"<li>{html.escape(line)}</li>" for line in tables.doubts(ranking))
    notes = f"<h3>Notes</h3>\n<ul>{doubts}</ul>" if doubts else ""
    return f'<section class="advice">\n{advice}\n</section>\n{figure}\n{table}\n{folded}\n{notes}'


def _unperturbed(known: Mapping[float, tuple[Study, Ranking]]) -> str:
    """Return the survival of the unperturbed runs, and whether they reach a quasi-steady state."""
    curves = {f"threshold {x:g}": survival(study.ensembles[None].times).to_frame() for x, (study, _) in known.items()}
    figure = _figure(charts.survival(curves), "Share of unperturbed runs still below the threshold.")
    states = {x: ranking.qss for x, (_, ranking) in known.items() if ranking.qss is not None}
    verdicts = [
        f"<p>{f'Threshold {x:g}: ' if len(known) > 1 else ''}<strong>quasi-steady state {tables.verdict(state)}</strong>: "
        f"{html.escape('; '.join(state.reasons))}.</p>"
        for x, state in states.items()
    ]
    return "\n".join(["<h2>Without perturbation</h2>", figure, *verdicts])


def _metrics(study: Study) -> str:
    """Return the final metrics: whether faster is also better."""
    metrics = final_metrics(study)
    rows = tables.metric_rows(metrics)
    parts = [f"<p>{html.escape(line)}</p>" for line in tables.compared(metrics)]
    parts += [
        *([_table(rows)] if rows else []),
        *(f"<p>{html.escape(reason)}.</p>" for reason in tables.unknown(metrics)),
    ]
    return "\n".join(["<h2>Is faster also better?</h2>", *parts])


def _origin(study: Study, thresholds: Sequence[str]) -> str:
    """Return where the runs come from, and with which settings the page was made."""
    named = {"without perturbation": study.unperturbed} | {study.name(key): r for key, r in study.perturbed.items()}
    rows: list[dict[str, object]] = [
        {
            "runs": name,
            "number": runs.n_runs,
            "epochs": runs.n_epochs if isinstance(runs, Trajectories) else runs.horizon,
            "from": runs.meta.get("source", "memory") if isinstance(runs, Trajectories) else "first-passage times",
        }
        for name, runs in named.items()
    ]
    direction, boot = study.target.direction, f"{study.n_boot} bootstrap replicates over seeds, seed {study.seed}"
    settings = html.escape(
        f"{_axis(study)} {', '.join(thresholds)}, {direction}; {boot}; fptlib {metadata.version('fptlib')}"
    )
    return f"<h2>How it was made</h2>\n{_table(rows)}\n<p>{settings[0].upper()}{settings[1:]}.</p>"


def _axis(study: Study) -> str:
    runs = study.unperturbed
    return f"threshold ({runs.metric_name(study.target.metric)})" if isinstance(runs, Trajectories) else "threshold"


def _figure(chart: alt.LayerChart, caption: str) -> str:
    return f"<figure>\n{render.bundle(chart.to_dict())['text/html']}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>"


def _table(rows: Sequence[Mapping[str, object]]) -> str:
    frame = pd.DataFrame([{name: "-" if cell is None else cell for name, cell in row.items()} for row in rows])
    return f'<div class="scroll" tabindex="0">{frame.to_html(index=False, border=0, justify="left")}</div>'
