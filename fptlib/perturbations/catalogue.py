"""All perturbations that come with the library: one table, from which they are built and the catalogue's page is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

from fptlib.perturbations.base import Perturbation
from fptlib.perturbations.directions import Dash
from fptlib.perturbations.layers import DormantReset, LastLayerReset
from fptlib.perturbations.rates import RateBump, WarmRestart
from fptlib.perturbations.weights import FullReset, PartialReset, RestartFromBest, ShrinkPerturb, WeightNoise
from fptlib.spec import PerturbationSpec, kinds_of


@dataclass(frozen=True, slots=True)
class Entry:
    r"""One row of the catalogue.

    Parameters
    ----------
    name
        What the parameters call it.
    family
        What it acts on.
    value
        Its class. Fields that the section of the parameters has under the same name are taken from there.
    rule
        Update rule, in LaTeX; a line of a table may end at each ``\quad``.
    sources
        Keys of the references.
    derived
        Fields that are worked out from the section.
    """

    name: str
    family: str
    value: type[Perturbation]
    rule: str
    sources: tuple[str, ...]
    derived: tuple[tuple[str, Callable[[Any], Any]], ...] = ()

    @property
    def spec(self) -> type[PerturbationSpec]:
        """Section of the parameters."""
        kind: type[PerturbationSpec] = kinds_of("perturbation")[1][self.name]  # type: ignore[assignment]
        return kind

    def build(self, spec: PerturbationSpec) -> Perturbation:
        """The perturbation that a section describes."""
        worked_out = {name: find(spec) for name, find in self.derived}
        names = [field.name for field in fields(self.value)]  # type: ignore[arg-type]
        return self.value(**{name: worked_out.get(name, getattr(spec, name)) for name in names})

    @property
    def parameters(self) -> dict[str, Any]:
        """Own parameters of the section and their defaults; ``...`` where there is none."""
        own = self.spec.model_fields
        return {
            name: ... if field.is_required() else field.default
            for name, field in own.items()
            if name not in PerturbationSpec.model_fields
        }


CATALOGUE: Final = {
    entry.name: entry
    for entry in (
        Entry(
            "shrink_perturb",
            "all weights",
            ShrinkPerturb,
            r"\theta \leftarrow s\,\theta + p\,\theta_\mathrm{fresh}",
            ("ash2020warm",),
        ),
        Entry(
            "weight_noise",
            "all weights",
            WeightNoise,
            r"\theta \leftarrow \theta + \sigma\,\mathrm{rms}(\theta)\,\xi,\quad \xi \sim \mathcal N(0, 1)",
            ("jin2017escape", "murray1994synaptic"),
        ),
        Entry(
            "dash",
            "all weights",
            Dash,
            r"w \leftarrow \max(\lambda, \cos(w, -\nabla_w \ell))\, w\quad \text{for each unit}",
            ("shin2024dash",),
        ),
        Entry("full_reset", "resets", FullReset, r"\theta \leftarrow \theta_\mathrm{fresh}", ("pal2017restart",)),
        Entry(
            "partial_reset",
            "resets",
            PartialReset,
            r"w \leftarrow u \sim U(\mp n^{-1/2})\quad \text{where}\ |w| < Q_q(|w|)",
            ("meir2025firstpassage",),
        ),
        Entry(
            "last_layer_reset",
            "resets",
            LastLayerReset,
            r"\theta_L \leftarrow \theta_{L,\mathrm{fresh}}\quad \text{for the last layer}\ L",
            ("li2020rifle",),
        ),
        Entry(
            "dormant_reset",
            "resets",
            DormantReset,
            r"w_\mathrm{in} \leftarrow w_\mathrm{fresh},\quad w_\mathrm{out} \leftarrow 0\quad \text{where}\ "
            r"\langle |h_i| \rangle \le \tau\, \overline{\langle |h_j| \rangle}",
            ("sokar2023dormant",),
        ),
        Entry(
            "restart_from_best",
            "resets",
            RestartFromBest,
            r"\theta \leftarrow \theta_b,\quad b = \text{best epoch so far}",
            ("bae2025resetting",),
        ),
        Entry(
            "warm_restart",
            "learning rate",
            WarmRestart,
            r"\eta_s = \eta\,[f + \tfrac{1 - f}{2} (1 + \cos \pi \tfrac{s - 1}{\ell})],\quad s = 1, 2, \dots",
            ("loshchilov2017sgdr",),
            (("length", lambda spec: spec.epochs_of_fall),),
        ),
        Entry(
            "rate_bump",
            "learning rate",
            RateBump,
            r"\eta_s = \eta / s_0^2\quad \text{for}\ s \le \ell\quad (s_0\ \text{= shrink})",
            ("vanlaarhoven2017l2",),
        ),
    )
}


def page(family: str | None = None) -> str:
    r"""The catalogue as a table in MyST Markdown, with formulas and references.

    Parameters
    ----------
    family
        Rows of this family only.

    Examples
    --------
    >>> print(page("learning rate").splitlines()[2])  # doctest: +ELLIPSIS
    | `warm_restart` | $\eta_s = ...$ | {cite:t}`loshchilov2017sgdr` | - | `length` (the period), `floor` 0.0 |
    """
    lines = ["| name | update | source | needs | parameters |", "|---|---|---|---|---|"]
    for entry in CATALOGUE.values():
        if family in (None, entry.family):
            sources = ", ".join(f"{{cite:t}}`{key}`" for key in entry.sources)
            needs = ", ".join(sorted(entry.value.needs)) or "-"
            parameters = ", ".join(f"`{name}` {_spelt(value)}" for name, value in entry.parameters.items()) or "-"
            # A bar would end the table's cell, and a formula is never broken by itself.
            parts = entry.rule.replace("|", r"\vert ").split(r"\quad")
            update = " ".join(f"${part.strip()}$" for part in parts)
            lines.append(f"| `{entry.name}` | {update} | {sources} | {needs} | {parameters} |")
    return "\n".join(lines) + "\n"


def _spelt(default: Any) -> str:
    return "(to be given)" if default is ... else "(the period)" if default is None else str(default)
