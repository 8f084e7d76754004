"""The library's perturbations for the book: a table with formula and sources of each, and a chart of what each does to a metric."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import altair as alt
import pandas as pd

import fptlib.perturbations  # noqa: F401 (makes them known)
from fptlib.charts.common import GREY, INK, PALETTE, finish
from fptlib.parameters import kinds_of

# Update rule of each, in LaTeX (a line of a table may end at each `\quad`), and keys of its references.
CATALOGUE: Final[dict[str, tuple[str, ...]]] = {
    "shrink_perturb": (r"\theta \leftarrow s\,\theta + p\,\theta_\mathrm{fresh}", "ash2020warm"),
    "weight_noise": (
        r"\theta \leftarrow \theta + \sigma\,\mathrm{rms}(\theta)\,\xi,\quad \xi \sim \mathcal N(0, 1)",
        "jin2017escape",
        "murray1994synaptic",
    ),
    "full_reset": (r"\theta \leftarrow \theta_\mathrm{fresh}", "pal2017restart"),
    "partial_reset": (r"w \leftarrow u \sim U(\mp n^{-1/2})\quad \text{where}\ |w| < Q_q(|w|)", "meir2025firstpassage"),
    "last_layer_reset": (
        r"\theta_L \leftarrow \theta_{L,\mathrm{fresh}}\quad \text{for the last layer}\ L",
        "li2020rifle",
    ),
    "restart_from_best": (r"\theta \leftarrow \theta_b,\quad b = \text{best epoch so far}", "bae2025resetting"),
    "warm_restart": (
        r"\eta_s = \eta\,[f + \tfrac{1 - f}{2} (1 + \cos \pi \tfrac{s - 1}{\ell})],\quad s = 1, 2, \dots",
        "loshchilov2017sgdr",
    ),
    "rate_bump": (
        r"\eta_s = \eta / s_0^2\quad \text{for}\ s \le \ell\quad (s_0\ \text{= shrink})",
        "vanlaarhoven2017l2",
    ),
    "rate_drop": (r"\eta \leftarrow f\,\eta", "leclerc2020regimes"),
}


def page() -> str:
    r"""Return the catalogue as a table in MyST Markdown, with formulas and references.

    Examples
    --------
    >>> print(page().splitlines()[-2])  # doctest: +ELLIPSIS
    | warm restart `warm_restart` | $\eta_s = ...$ | {cite:t}`loshchilov2017sgdr` | - | `length` (the period), `floor` 0.0 |
    """
    lines = ["| perturbation | update | source | needs | parameters |", "|---|---|---|---|---|"]
    for name, (formula, *keys) in CATALOGUE.items():
        rule: Any = kinds_of("perturbation")[name]
        sources = ", ".join(f"{{cite:t}}`{key}`" for key in keys)
        needs = ", ".join(f"`{need}`" for need in sorted(rule.needs)) or "-"
        fields = ", ".join(f"`{field.name}` {_spelt(field.default)}" for field in dataclasses.fields(rule)) or "-"
        # A bar would end the table's cell, and a formula is never broken by itself.
        parts = formula.replace("|", r"\vert ").split(r"\quad")
        update = " ".join(f"${part.strip()}$" for part in parts)
        lines.append(f"| {words(name)} `{name}` | {update} | {sources} | {needs} | {fields} |")
    return "\n".join(lines) + "\n"


def _spelt(default: Any) -> str:
    return "(to be given)" if default is dataclasses.MISSING else "(the period)" if default is None else str(default)


def words(name: str) -> str:
    """Return the name of a perturbation in prose.

    Examples
    --------
    >>> words("shrink_perturb"), words("full_reset")
    ('shrink-and-perturb', 'full reset')
    """
    return "shrink-and-perturb" if name == "shrink_perturb" else name.replace("_", " ")


def strips(changes: Mapping[str, pd.DataFrame], *, since: int, at: int) -> alt.LayerChart:
    """Draw differences against the epoch, one strip of 1.5 points up and down for each perturbation.

    Parameters
    ----------
    changes
        Differences in points by name: index ``epoch``, columns ``mean, low, high``; see `fptlib.tables.mean_table`.
    since, at
        First epoch that is shown, and the epoch that is marked.
    """
    rows = [
        t.loc[since:].clip(-1.5, 1.5).add(-4 * i).reset_index().assign(curve=words(n))
        for i, (n, t) in enumerate(changes.items())
    ]
    frame, levels = pd.concat(rows), [-4 * i for i in range(len(changes))]
    names = alt.Axis(
        values=levels, title="difference in points, \u00b11 between thin lines", labels=False, ticks=False, grid=False
    )
    y: dict[str, Any] = {"axis": names, "scale": alt.Scale(domain=[levels[-1] - 2, 3], nice=False)}
    lines = pd.DataFrame([{"y": at + d, "opacity": 0.8 if d == 0 else 0.3} for at in levels for d in (-1, 0, 1)])
    labels = pd.DataFrame({"y": [at + 1.7 for at in levels], "text": [words(n) for n in changes]})
    base = alt.Chart(frame).encode(x=alt.X("epoch:Q", title="epoch", scale=alt.Scale(nice=False)))
    curve = alt.Detail("curve:N")
    layers = [
        alt.Chart(lines)
        .mark_rule(color=GREY, strokeWidth=0.7)
        .encode(y="y:Q", opacity=alt.Opacity("opacity:Q", scale=None)),
        base.mark_area(opacity=0.3, color=PALETTE[0]).encode(y=alt.Y("low:Q", **y), y2="high:Q", detail=curve),
        base.mark_line(color=PALETTE[0]).encode(y=alt.Y("mean:Q", **y), detail=curve),
        alt.Chart(labels).mark_text(align="right", color=INK, x="width").encode(y="y:Q", text="text"),
        alt.Chart(pd.DataFrame({"at": [at]})).mark_rule(strokeDash=[6, 4], color=GREY).encode(x="at:Q"),
    ]
    ends = "; ".join(f"{words(n)} {t['mean'].iloc[-1]:+.2f}" for n, t in changes.items())
    return finish(
        layers, f"Difference in points from training without perturbation at the last epoch: {ends}."
    ).properties(height=420)
