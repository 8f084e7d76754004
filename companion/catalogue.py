"""The library's perturbations as a table for the book: formula, family and sources of each."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import fptlib.perturbations  # noqa: F401 (makes them known)
from fptlib.parameters import kinds_of


@dataclass(frozen=True, slots=True)
class Entry:
    r"""One row of the catalogue.

    Parameters
    ----------
    family
        What the perturbation acts on.
    formula
        Update rule, in LaTeX; a line of a table may end at each ``\quad``.
    sources
        Keys of the references.
    """

    family: str
    formula: str
    sources: tuple[str, ...]


CATALOGUE: Final = {
    "shrink_perturb": Entry("all weights", r"\theta \leftarrow s\,\theta + p\,\theta_\mathrm{fresh}", ("ash2020warm",)),
    "weight_noise": Entry(
        "all weights",
        r"\theta \leftarrow \theta + \sigma\,\mathrm{rms}(\theta)\,\xi,\quad \xi \sim \mathcal N(0, 1)",
        ("jin2017escape", "murray1994synaptic"),
    ),
    "full_reset": Entry("resets", r"\theta \leftarrow \theta_\mathrm{fresh}", ("pal2017restart",)),
    "partial_reset": Entry(
        "resets",
        r"w \leftarrow u \sim U(\mp n^{-1/2})\quad \text{where}\ |w| < Q_q(|w|)",
        ("meir2025firstpassage",),
    ),
    "last_layer_reset": Entry(
        "resets",
        r"\theta_L \leftarrow \theta_{L,\mathrm{fresh}}\quad \text{for the last layer}\ L",
        ("li2020rifle",),
    ),
    "restart_from_best": Entry(
        "resets",
        r"\theta \leftarrow \theta_b,\quad b = \text{best epoch so far}",
        ("bae2025resetting",),
    ),
    "warm_restart": Entry(
        "learning rate",
        r"\eta_s = \eta\,[f + \tfrac{1 - f}{2} (1 + \cos \pi \tfrac{s - 1}{\ell})],\quad s = 1, 2, \dots",
        ("loshchilov2017sgdr",),
    ),
    "rate_bump": Entry(
        "learning rate",
        r"\eta_s = \eta / s_0^2\quad \text{for}\ s \le \ell\quad (s_0\ \text{= shrink})",
        ("vanlaarhoven2017l2",),
    ),
}


def page() -> str:
    r"""Return the catalogue as a table in MyST Markdown, with formulas and references.

    Examples
    --------
    >>> print(page().splitlines()[-2])  # doctest: +ELLIPSIS
    | `warm_restart` | $\eta_s = ...$ | {cite:t}`loshchilov2017sgdr` | - | `length` (the period), `floor` 0.0 |
    """
    lines = ["| name | update | source | needs | parameters |", "|---|---|---|---|---|"]
    for name, entry in CATALOGUE.items():
        rule: Any = kinds_of("perturbation")[name]
        sources = ", ".join(f"{{cite:t}}`{key}`" for key in entry.sources)
        needs = ", ".join(f"`{need}`" for need in sorted(rule.needs)) or "-"
        fields = ", ".join(f"`{field.name}` {_spelt(field.default)}" for field in dataclasses.fields(rule)) or "-"
        # A bar would end the table's cell, and a formula is never broken by itself.
        parts = entry.formula.replace("|", r"\vert ").split(r"\quad")
        update = " ".join(f"${part.strip()}$" for part in parts)
        lines.append(f"| `{name}` | {update} | {sources} | {needs} | {fields} |")
    return "\n".join(lines) + "\n"


def _spelt(default: Any) -> str:
    return "(to be given)" if default is dataclasses.MISSING else "(the period)" if default is None else str(default)
