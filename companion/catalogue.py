"""The library's perturbations for the book: a table with formula and sources of each."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import fptlib.perturbations  # noqa: F401 (makes them known)
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
        r"\theta_L \leftarrow \theta_{L,\mathrm{fresh}}\quad \text{in the last layer}\ L",
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
    r"""Return the catalogue as tables in MyST Markdown, of weights and of learning rates, with formulas and references.

    >>> print(page().splitlines()[-3])  # doctest: +ELLIPSIS
    | warm restart `warm_restart` | $\eta_s = ...$ | {cite:t}`loshchilov2017sgdr` | - | `length` (the period), `floor` 0.0 |
    """
    head = ["| perturbation | update | source | needs | parameters |", "|---|---|---|---|---|"]
    lines, before = list[str](), ""
    for name, (formula, *keys) in CATALOGUE.items():
        rule: Any = kinds_of("perturbation")[name]
        if rule.__module__ != before:  # a table of its own
            lines, before = [*lines, *[""] * bool(lines), *head], rule.__module__
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

    >>> words("shrink_perturb"), words("full_reset")
    ('shrink-and-perturb', 'full reset')
    """
    return "shrink-and-perturb" if name == "shrink_perturb" else name.replace("_", " ")
